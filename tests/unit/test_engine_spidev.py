"""The scanner over SPI devices: one message per chain and scan, chains shared with Python, a bus that fails.

A chain is a socket here; behind it stands a board of simulated chips that lives one ms per scan. Nothing asserts how fast that goes.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware.dsp import abi
from firmware.hal.scan import read_frames, write_frames
from tests.unit.chip_stage import FRAMING, PLAN, SLOTS, Watch, powered, scan_all
from tests.unit.engine_stage import Stage

ROOT = Path(__file__).resolve().parent.parent.parent
ON_HOOK, OFF_HOOK = 0, 1


class Rig:
    """Engine without a world, with two chains of simulated chips behind sockets."""

    def __init__(self) -> None:
        self.sim = powered()
        self.messages: list[tuple[int, bytes, bytes]] = []
        self.dead = [False, False]
        self.ends = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        self.stage = Stage(world=False, prepare=self.prepare)
        self.threads = [threading.Thread(target=self.serve, args=(chain,), daemon=True) for chain in range(2)]
        self.lock = threading.Lock()
        for thread in self.threads:
            thread.start()
        for slot, (kind, _) in SLOTS.items():
            self.stage.do("watch", slot, abi.pack_word({"fxo": 1, "fxs": 2}[kind]))

    def prepare(self, engine: object) -> None:
        self.stood = scan_all(engine, self.sim)  # type: ignore[arg-type]
        for chain, (ours, _) in enumerate(self.ends):
            engine.spidev(chain, ours.fileno(), 2_000_000)  # type: ignore[attr-defined]

    def serve(self, chain: int) -> None:
        while data := self.ends[chain][1].recv(4096):
            with self.lock:
                reply = bytes(byte for sent in data for byte in self.sim.chips.transfer(chain, [sent]))
                self.messages.append((chain, data, reply))
                if chain == 0:
                    self.sim.step()
            self.ends[chain][1].send(reply[:-1] if self.dead[chain] else reply)

    def until(self, true: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 20
        while not true():
            self.stage.gather()
            assert time.monotonic() < deadline, f"never came: {what}"
            time.sleep(0.002)

    def scans(self, n: int) -> None:
        """Wait until so many more scans were made."""
        goal = len(self.messages) + 2 * n
        self.until(lambda: len(self.messages) >= goal, f"{n} scans")

    def close(self) -> None:
        self.stage.close()
        for ours, theirs in self.ends:
            theirs.shutdown(socket.SHUT_RDWR)
            ours.close()
        for thread in self.threads:
            thread.join(10)
        for _, theirs in self.ends:
            theirs.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    one = Rig()
    one.scans(50)
    yield one
    one.close()


def accesses(chain: int, data: bytes) -> list[bytes]:
    return [data[at : at + 3] for at in range(0, len(data), 3)]


def test_a_scan_is_one_message_per_chain_with_the_bytes_of_the_scan_table(rig: Rig) -> None:
    rig.scans(300)
    reads = {
        (0 if kind == "fxo" else 1, bytes(read_frames(FRAMING[kind], number, poll.register))[:-1])
        for kind, number in SLOTS.values() for poll in PLAN[kind].polls
    }  # fmt: skip
    seen = {(chain, access[:-1]) for chain, data, _ in rig.messages for access in accesses(chain, data)}
    assert seen == reads
    for kind, number in SLOTS.values():  # what is polled each ms is in every message
        first = bytes(read_frames(FRAMING[kind], number, PLAN[kind].polls[0].register))[:-1]
        of_kind = [data for chain, data, _ in rig.messages if chain == (0 if kind == "fxo" else 1)]
        assert all(first in {access[:-1] for access in accesses(0, data)} for data in of_kind)
    figures = rig.stage.engine.scan_figures
    assert figures["messages"] >= 2 * figures["scans"] - 4 - figures["skipped"]
    assert figures["bus_us"] > 0 and figures["bus_errors"] == 0 and set(figures["garbage"].values()) == {0}


def test_events_and_drives_go_over_the_device(rig: Rig) -> None:
    rig.until(lambda: len(rig.stage.named("battery")) >= 4, "voltages of all ports")
    rig.stage.do("drive", 0, abi.pack_drive(OFF_HOOK))
    rig.until(lambda: rig.stage.named("loop_current", 0), "loop current")
    rig.sim.fxs[0].set(lifted=1)
    rig.until(lambda: rig.stage.named("loop", 4), "the loop of the telephone")
    rig.stage.do("drive", 0, abi.pack_drive(ON_HOOK, 50, OFF_HOOK))
    rig.until(lambda: not rig.sim.fxo[0].state["closed"], "the flash")
    rig.until(lambda: rig.sim.fxo[0].state["closed"], "its end")
    rig.stage.do("pulse", 0, abi.pack_pulse(5, "3", 30, 20, 300))
    rig.until(lambda: rig.stage.named("pulse_sent", 0), "the digit")
    instants = [at for name, _, at, _ in rig.stage.events if name in ("battery", "loop_current", "loop", "pulse_sent")]
    assert all(at <= rig.stage.ring.tick * 10 + 10 for at in instants)
    writes = [access for chain, data, _ in rig.messages for access in accesses(chain, data) if chain == 0 and not access[0] & 0x40]
    hook = [bytes(write_frames("si3050", 0, 5, value)) for value in (0x00, 0x01, 0x08)]
    written = [access for access in writes if access[1] == 5]
    assert written[:2] == hook[:2] and set(written) == set(hook)
    if rig.stage.engine.scan_figures["late"] < 15:  # a make of 20 ms that a scanner slept through is not written
        assert written == hook[:2] + [hook[2], *hook[:2]] * 4
    # The board lives one ms per scan, the scanner by the clock: where it was late, the board's 25 ms are not over yet.
    assert [note for note in rig.sim.illegal if note[2] != "overload-protect-early"] == []


def test_python_has_a_chain_for_itself_and_drives_wait(rig: Rig) -> None:
    engine = rig.stage.engine
    assert engine.lock_chain(0)
    assert not engine.lock_chain(0, 5)
    before = len([1 for chain, _, _ in rig.messages if chain == 0])
    rig.stage.do("drive", 0, abi.pack_drive(OFF_HOOK))
    goal = len(rig.messages) + 40
    rig.until(lambda: len(rig.messages) >= goal, "scans of the other chain")
    after = len([1 for chain, _, _ in rig.messages if chain == 0])
    assert after - before <= 1
    engine.unlock_chain(0)
    rig.until(lambda: rig.sim.fxo[0].state["closed"], "the drive")
    assert engine.scan_figures["skipped"] >= 20


def test_a_held_chip_is_left_alone_while_its_neighbour_is_scanned(rig: Rig) -> None:
    assert rig.stage.engine.hold_chip(0, True)
    start = len(rig.messages)
    rig.scans(50)
    sent = [access for chain, data, _ in rig.messages[start:] for access in accesses(chain, data) if chain == 0]
    assert {access[0] & 0x0F for access in sent} == {8}  # position 1, bits reversed
    rig.stage.engine.hold_chip(0, False)
    rig.until(lambda: rig.messages[-1][1][:1] == bytes([0x60]) or rig.messages[-2][1][:1] == bytes([0x60]), "the chip again")


def test_a_bus_that_fails_is_told_and_gives_no_facts(rig: Rig) -> None:
    rig.until(lambda: len(rig.stage.named("battery")) >= 4, "voltages of all ports")
    rig.scans(500)
    rig.stage.gather()
    rig.stage.events.clear()
    watch = Watch(rig.stage.engine, lambda engine, found: None, 50)
    rig.dead[0] = True
    rig.until(lambda: {fault[1:3] for fault in watch.faults} >= {(0, "bus"), (1, "bus")}, "the fault")
    rig.stage.do("drive", 0, abi.pack_drive(OFF_HOOK))
    rig.scans(100)
    rig.dead[0] = False
    rig.scans(200)
    watch.end()
    assert rig.sim.fxo[0].state["closed"]
    assert {fault[1] for fault in watch.faults} == {0, 1}
    rig.stage.gather()
    assert [event for event in rig.stage.events if event[0] in ("ring_burst", "polarity", "loop", "ring_trip")] == []
    assert rig.stage.engine.scan_figures["bus_errors"] >= 3


# --- the kernel's side ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["native", "armhf"])
@pytest.mark.parametrize("n", [1, 6, 500, 501, 1100])
def test_a_message_is_one_byte_per_chip_select(machine: str, n: int, tmp_path: Path) -> None:
    program = tmp_path / "probe"
    compiler = "cc" if machine == "native" else "arm-linux-gnueabihf-gcc"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-static", f"-I{ROOT}/firmware/dsp", str(ROOT / "tests/unit/spi_probe.c")]
    subprocess.run([compiler, *flags, "-o", program], check=True)
    command = [str(program), str(n)] if machine == "native" else ["qemu-arm", str(program), str(n)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    parts = [500] * (n // 500) + ([n % 500] if n % 500 else [])
    expected, at = [], 0
    for part in parts:
        expected.append(f"ioctl 9 k 0 {part}")
        for k in range(part):
            expected.append(f"{(at + k) * 7 % 256} 1 {int(k + 1 < part)} 1500000 8")
        at += part
    assert lines == [*expected, "result 0", f"replies 0 failing {-errno.EIO}"]


def test_devices_are_named_before_the_start_and_not_beside_a_world() -> None:
    from firmware.errors import HardwareError

    stage = Stage()
    with pytest.raises(HardwareError, match="before the engine starts"):
        stage.engine.spidev(0, os.dup(0))
    stage.close()
    with pytest.raises(HardwareError, match="world"):
        Stage(prepare=lambda engine: engine.spidev(0, 0))
