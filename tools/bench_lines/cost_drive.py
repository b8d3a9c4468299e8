"""Runs the scanner, or its peer, over a number of milliseconds and nothing else: what the counters of `cost.py` run.

    python -m tools.bench_lines.cost_drive drill|peer SCANS PORTS.json
    python -m tools.bench_lines.cost_drive live SECONDS PORTS.json

`spi_kernel.c` is preloaded, so that every access is answered. Few imports, because this also runs on the armhf Python. `live` is the
engine with its own threads in real time, and the thread that keeps the chips over simulated ones; it prints its counts as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SPEED_HZ = 2_000_000


def read_ports(path: str) -> list[dict[str, Any]]:
    """The ports of `cost.py`, with their plans as the scanner reads them: by attribute names."""
    ports: list[dict[str, Any]] = json.loads(Path(path).read_text(encoding="utf-8"))
    for port in ports:
        plan = port["plan"]
        for name in ("polls", "guards", "bits", "levels"):
            plan[name] = [SimpleNamespace(**row) for row in plan[name]]
        plan["drives"] = {code: [SimpleNamespace(**write) for write in writes] for code, writes in plan["drives"].items()}
        port["plan"] = SimpleNamespace(**plan)
        port["base"] = {int(register): value for register, value in port["base"].items()}
    return ports


def drill(scans: int, ports: list[dict[str, Any]]) -> int:
    """Ours: the scanner's functions, one message per chain and ms."""
    from firmware.dsp.scan_drill import ScanDrill

    scanner = ScanDrill()
    files = [os.open("/dev/null", os.O_RDWR) for _ in range(2)]
    for port in ports:
        told = {name: port[name] for name in ("slot", "kind", "plan", "chain", "framing", "position", "base")}
        scanner.add(**told, fd=files[port["chain"]])
    scanner.run(scans)
    figures = scanner.figures
    return 1 if figures["garbage"] or figures["bus_errors"] or figures["messages"] != 2 * scans else 0


def peer(scans: int, ports: list[dict[str, Any]]) -> int:
    """The same reads at the same ms by python-periphery, one transfer per byte; the values are kept, nothing is made of them."""
    sys.path += [path for path in os.environ["PEER_PATH"].split(os.pathsep) if path]
    from periphery import SPI

    chains = [SPI("/dev/null", 0, SPEED_HZ) for _ in range(2)]
    values: dict[tuple[int, int], int] = {}
    for ms in range(scans):
        for port in ports:
            slot, transfer = port["slot"], chains[port["chain"]].transfer
            for poll in port["plan"].polls:
                if (ms + slot) // poll.every != (ms - 1 + slot) // poll.every:
                    reply = [0]
                    for byte in (port["select"], 0x80 | poll.register if port["kind"] == "fxs" else poll.register, 0xFF):
                        reply = transfer([byte])
                    values[slot, poll.register] = reply[0]
    return 0


def live(seconds: int, ports: list[dict[str, Any]]) -> int:
    """The engine in real time, idle: what its scanner asks of the kernel, and what Python does meanwhile."""
    import ctypes
    import threading
    import time

    from firmware.dsp.engine import Engine
    from firmware.dsp.ring import RingSegment

    from .cost_board import operation

    counts = (ctypes.c_uint64 * 5).in_dll(ctypes.CDLL(None), "spi_kernel_counts")
    ring, event = RingSegment.create(), os.eventfd(0, os.EFD_NONBLOCK)
    engine = Engine(ring, event, None, [], lines=True)
    files = [os.open("/dev/null", os.O_RDWR) for _ in range(2)]
    for port in ports:
        told = {name: port[name] for name in ("chain", "framing", "position", "base")}
        engine.scan(port["slot"], port["kind"], port["plan"], **told)
    for chain, fd in enumerate(files):
        engine.spidev(chain, fd, SPEED_HZ)
    service = operation()
    calls = [0]

    def called(frame: object, what: str, value: object) -> None:
        calls[0] += what == "call"

    class Face:
        """The engine, its waits counted."""

        wakes = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def hardware_wait(self, until: int) -> list[tuple[int, str, int, int]]:
            found = engine.hardware_wait(until)
            Face.wakes += 1
            return found

    def keep() -> None:
        sys.setprofile(called)
        service.run(Face(), lambda: engine.now)

    engine.start(lock_memory=False)
    keeper = threading.Thread(target=keep)
    keeper.start()
    time.sleep(2)  # the first looks
    before = [*counts, engine.scan_figures["scans"], Face.wakes, calls[0], engine.scan_figures["late"]]
    began = time.monotonic()
    time.sleep(seconds)
    after = [*counts, engine.scan_figures["scans"], Face.wakes, calls[0], engine.scan_figures["late"]]
    took = time.monotonic() - began
    service.stop()
    keeper.join(10)
    engine.stop()
    names = ("messages", "bytes", "sleeps", "other", "most", "scans", "wakes", "calls", "late")
    found = {name: last - first for name, first, last in zip(names, before, after, strict=True)}
    print(json.dumps({**found, "most": after[4], "seconds": took, "up": sum(port.up for port in service.ports.values())}))
    return 0


def main(words: list[str]) -> int:
    """As above."""
    how, amount, ports = words[0], int(words[1]), read_ports(words[2])
    if how == "live":
        return live(amount, ports)
    return {"drill": drill, "peer": peer}[how](amount, ports)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
