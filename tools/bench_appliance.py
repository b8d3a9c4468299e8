"""The appliance under measurement: started as a user starts it, watched from outside.

Theory of operation. CPU time is what the kernel accounts to each thread; memory is the proportional set size. The statistics of
the tick and the samples on the lines are read from the shared-memory segments of the running product, through the descriptors of
its media process.
`LineWatch` copies what passes each line while a phase runs and finds in it the onsets of the bursts that the telephones say; their time is
the moment the sample is on the wire: sample k of block n is there k/8 ms after the block's beginning, 10 ms before the block is delivered.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import wave
from array import array
from pathlib import Path
from typing import Any

from firmware.dsp.ring import RingSegment
from firmware.sim.client import ProductClient, WorldClient
from firmware.sim.segment import layout

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = ("parent", "media", "core", "manage", "world")
SECRET = "bench-secret-of-the-loopback"
SLOTS, BLOCKS, SAMPLES = 16, 16, 80
BLOCK_NS = 10_000_000
ONSET = 3500
QUIET_BLOCKS = 30
DEPTH_AT = struct.Struct("<12xI")  # playback_depth of world_segment.h


def site(extensions: list[str], rtp_ports: int) -> str:
    """A site file: 4 lines that ring SIP phones (callers 1...) or analog phones (callers 2...), and many SIP phones."""
    lines = ["board = \"world\"", "schema = 1", "[site]", "name = \"Bench\"", "[sip]", "port = 0", "[rtp]", f"calls = {rtp_ports}"]
    for jack in range(1, 5):
        lines += [f"[ports.fxo.{jack}]", "answer_after_rings = 1", "caller_id = \"dtmf\"", f"[ports.fxs.{jack}]", "caller_id = false"]
        lines += [f"[extensions.10{jack}]", "kind = \"fxs\"", f"jack = \"{jack}\""]
    for number in extensions:
        lines += [f"[extensions.{number}]", "kind = \"sip\"", f"secret = \"{SECRET}\""]
    for jack in range(1, 5):
        for caller, to in (("2", f"10{jack}"), ("", extensions[jack - 1])):
            lines += ["[[inbound]]", f"lines = [\"{jack}\"]", f"caller = \"{caller}\"", f"to = \"extension/{to}\""]
            lines += ["greeting = false", "notice = false"]
    return "\n".join(lines) + "\n"


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process so far."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return total


def pss_kb(pid: int) -> int:
    """Proportional set size."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def pin(pid: int, cpus: set[int]) -> None:
    """Keep every thread of a process on these CPUs."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cpus)


def shared_memory(pid: int, name: str) -> int:
    """A descriptor of our own of a memfd that a process holds."""
    folder = Path(f"/proc/{pid}/fd")
    for entry in folder.iterdir():
        try:
            if f"memfd:{name}" in str(entry.readlink()):
                return os.open(entry, os.O_RDWR)
        except FileNotFoundError:
            continue
    raise RuntimeError(f"process {pid} holds no shared memory {name!r}: is it the media process of this release?")


class LineWatch:
    """Onsets on the lines while the `with` block runs: `said[slot]` and `played[slot]`, CLOCK_MONOTONIC ns."""

    def __init__(self, media: int, slots: list[int]) -> None:
        self.said: dict[int, list[float]] = {slot: [] for slot in slots}
        self.played: dict[int, list[float]] = {slot: [] for slot in slots}
        fd = shared_memory(media, "branchpbx-world")
        self._map = mmap.mmap(fd, 0)
        os.close(fd)
        self._at = layout()
        self._depth = DEPTH_AT.unpack_from(self._map, 0)[0]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="line-watch")
        self._loud: dict[tuple[str, int], int] = {}
        self._offset = self._clock()

    def _word(self, name: str) -> int:
        value: int = struct.unpack_from("<Q", self._map, self._at[name])[0]
        return value

    def _clock(self) -> int:
        """CLOCK_MONOTONIC ns of the beginning of block 0, from the earliest of 12 deliveries: a late look only makes it later."""
        found = []
        for _ in range(12):
            before = self._word("delivered")
            while (delivered := self._word("delivered")) == before:
                pass
            found.append(time.monotonic_ns() - delivered * BLOCK_NS)
            time.sleep(0.004)
        return min(found)

    def __enter__(self) -> LineWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._map.close()

    def _watch(self) -> None:
        done = self._word("ticked")
        while not self._stop.wait(0.03):
            ticked = self._word("ticked")
            for block in range(max(done, ticked - BLOCKS + 3), ticked):
                for slot in self.said:
                    self._look("capture", self.said[slot], block, slot, 0)
                    self._look("playback", self.played[slot], block, slot, self._depth)
            done = ticked

    def _look(self, where: str, onsets: list[float], block: int, slot: int, shift: int) -> None:
        at = self._at[where] + ((block % BLOCKS) * SLOTS + slot) * SAMPLES * 2
        samples = array("h", self._map[at : at + 2 * SAMPLES])
        if max(samples) < ONSET and min(samples) > -ONSET:
            return
        if block - self._loud.get((where, slot), -QUIET_BLOCKS) >= QUIET_BLOCKS:
            first = next(k for k, value in enumerate(samples) if abs(value) >= ONSET)
            onsets.append(self._offset + (block + shift) * BLOCK_NS + first * 125_000)
        self._loud[where, slot] = block


class Box:
    """`branchpbx run` in a folder of its own."""

    def __init__(self, folder: Path, extensions: list[str], rtp_ports: int, host: str = "127.0.0.1") -> None:
        self.state = folder / "box"
        self.state.mkdir(parents=True)
        self.host = host
        config = folder / "site.toml"
        config.write_text(site(extensions, rtp_ports), encoding="utf-8")
        self.output = (folder / "output.log").open("wb")
        command = [sys.executable, "-m", "firmware", "run", "--config", str(config), "--state", str(self.state), "--bind", host]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT)
        self._wait(folder)
        self.pids = {name: int((self.state / "run" / f"{name}.pid").read_text()) for name in PROCESSES}
        fd = shared_memory(self.pids["media"], "branchpbx-rings")
        self.ring = RingSegment.attach(fd)
        os.close(fd)

    def _wait(self, folder: Path) -> None:
        end = time.monotonic() + 30
        while True:
            try:
                self.ctl("show status")
                self.world("status")
                return
            except Exception as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    said = (folder / "output.log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"the appliance does not answer ({error}); it said:\n{said}") from error
                time.sleep(0.1)

    @property
    def sip(self) -> tuple[str, int]:
        """Where SIP listens."""
        endpoints = json.loads((self.state / "run" / "endpoints.json").read_text())
        return self.host, int(endpoints["sip_port"])

    def ctl(self, command: str, **args: Any) -> Any:
        """One command over the control socket."""
        client = ProductClient(self.state)
        try:
            return client.ask(command, **args)
        finally:
            client.close()

    def world(self, do: str, **facts: Any) -> dict[str, Any]:
        """One request to the simulated world."""
        client = WorldClient(self.state)
        try:
            return client.ask(do, **facts)
        finally:
            client.close()

    def cpu(self) -> dict[str, int]:
        """CPU time of each process in ns."""
        return {name: cpu_ns(self.pids[name]) for name in PROCESSES}

    def memory(self) -> dict[str, int]:
        """Proportional set size of each process in kB."""
        return {name: pss_kb(self.pids[name]) for name in PROCESSES}

    def pin(self, product: set[int], world: set[int]) -> None:
        """The product on some CPUs, the world on others."""
        for name, pid in self.pids.items():
            pin(pid, world if name == "world" else product)

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.output.close()


def write_bursts(path: Path, burst: bytes, every_ms: int, seconds: int) -> None:
    """A WAV file in which a telephone says a burst again and again."""
    turn = (bytes(every_ms * 16 // 2) + burst + bytes(every_ms * 16))[: every_ms * 16]
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(turn * (seconds * 1000 // every_ms))
