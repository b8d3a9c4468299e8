"""What eight ports cost: instructions of a scan on x86 and on ARM, system calls, time on the bus, and what Python does.

Theory of operation. `spi_kernel.c` stands in for spidev, so that ours and the peer call the same "kernel" and every read finds the
registers of chips that the drivers brought up. Instructions are counted as those of the signal blocks are: a shorter and a longer run, the
difference divided by the milliseconds between them. They include the stand-in, some ten for each byte, for both. System calls are those of
the scanner thread of an engine that runs in real time; beside it runs the thread that keeps the chips.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import periphery

from .cost_board import write_ports
from .shared import Goal, Section, Table, count

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
BUILD = TOP / "build" / "bench"
DRILL, PEER = (2000, 6000), (500, 1500)  # ms of the shorter and of the longer run
LIVE_S = {True: 12, False: 42}
BYTE_US, GAP_US = 4.0, 0.5  # eight bits at 2 MHz; chip select is high for 440 ns at least, with 45 ns before and after
SCANS = 1000  # a second
COMPILER = {"x86": "cc", "arm": "arm-linux-gnueabihf-gcc"}


def kernel(machine: str) -> Path:
    """The stand-in for spidev."""
    target = BUILD / f"spi_kernel_{machine}.so"
    BUILD.mkdir(parents=True, exist_ok=True)
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([COMPILER[machine], *flags, "-o", str(target), str(HERE / "spi_kernel.c"), "-ldl"], check=True)
    return target


def environment(registers: Path) -> dict[str, str]:
    """For a run of `cost_drive`."""
    return {**count.FIXED, "SPI_KERNEL_TABLE": str(registers), "PEER_PATH": str(Path(periphery.__file__).resolve().parent.parent)}


def start(words: list[str]) -> list[str]:
    return ["-c", "import sys; from tools.bench_lines.cost_drive import main; sys.exit(main(sys.argv[1:]))", *words]


def callgrind(words: list[str], registers: Path) -> int:
    """Instructions of a whole process on this machine."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-P", "-S", *start(words)]
    text = count.run(command, {**environment(registers), "PYTHONPATH": str(TOP), "LD_PRELOAD": str(kernel("x86"))})
    return int(text.split("Collected : ")[1].split()[0])


def emulated(words: list[str], registers: Path) -> int:
    """Instructions of a whole process on ARM."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "count"
        plugin = {"QEMU_PLUGIN": f"{count.compiled('count_arm.c')},out={target}", "QEMU_SET_ENV": f"LD_PRELOAD={kernel('arm')}"}
        count.run([str(TOP / "tools" / "dsp_arm.sh"), "run", *start(words)], {**environment(registers), **plugin})
        return int(target.read_text())


def per_scan(how: str, span: tuple[int, int], ports: tuple[Path, Path], arm: bool) -> float:
    """Instructions of one ms."""
    counter = emulated if arm else callgrind
    registers, described = ports
    counter([how, "1", str(described)], registers)  # fills the cache of compiled Python
    short, long = (counter([how, str(scans), str(described)], registers) for scans in span)
    return (long - short) / (span[1] - span[0])


def live(seconds: int, ports: tuple[Path, Path]) -> dict[str, Any]:
    """Counts of an engine in real time."""
    command = [sys.executable, "-m", "tools.bench_lines.cost_drive", "live", str(seconds), str(ports[1])]
    extra = {**environment(ports[0]), "LD_PRELOAD": str(kernel("x86"))}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TOP, env={**os.environ, **extra})
    found: dict[str, Any] = json.loads(done.stdout)
    if found["up"] != 8:
        raise RuntimeError(f"{found['up']} of 8 ports were in service at the end")
    return found


def measure(quick: bool, seed: int) -> Section:
    """Count everything. There is nothing to draw: `seed` changes nothing."""
    fault = count.tools_missing() or count.prepare_arm()
    if fault:
        raise RuntimeError(fault)
    with tempfile.TemporaryDirectory() as folder:
        states = {"all at rest": write_ports(Path(folder), False), "all in conversation": write_ports(Path(folder), True)}
        ours = {state: [per_scan("drill", DRILL, ports, arm) for arm in (False, True)] for state, ports in states.items()}
        theirs = per_scan("peer", PEER, states["all in conversation"], False)
        run = live(LIVE_S[quick], states["all at rest"])
    second = SCANS / run["scans"]  # everything below is per second of scans, so that a late scan is none too few
    moved, messages, sleeps, other = (run[name] * second for name in ("bytes", "messages", "sleeps", "other"))
    calls = messages + sleeps + other
    wakes, python = run["wakes"] / run["seconds"], run["calls"] / run["seconds"]
    bus = moved * (BYTE_US + GAP_US) / 1e6
    busiest = ours["all in conversation"]
    rows: list[list[str | float]] = [[f"scanner, {state}", round(x86), round(arm)] for state, (x86, arm) in ours.items()]
    rows.append(["python-periphery, the same reads", round(theirs), "-"])
    tables = [
        Table("Instructions of one scan of eight ports (1 ms)", ("what", "x86-64", "ARM"), rows,
              "Four FXO and four FXS chips, two chains: take, build, carry, decode, detectors. The peer moves the same bytes one by one, "
              "each in a transfer of its own as the framing demands, and keeps the values; it decodes nothing."),
        Table("System calls in a second of scans", ("call", "ours", "python-periphery"),
              [["SPI messages", round(messages), round(moved)], ["sleeps", round(sleeps), SCANS], ["other", round(other), "-"],
               ["all", round(calls), round(moved) + SCANS]],
              f"Counted in the scanner thread over {run['seconds']:.0f} s in real time; at most {run['most']} bytes in a message, "
              f"{run['late']} of {run['scans']} scans left out because they were late. The peer's are what its way of transfers comes to."),
        Table("The bus in a second", ("what", "value"),
              [["bytes", round(moved)], ["time of both chains together, ms", round(1000 * bus, 1)],
               ["share of one bus", f"{100 * bus:.1f} %"],
               ["share of each bus when every chain has its own", f"{50 * bus:.1f} %"]],
              f"2 MHz: {BYTE_US:g} us for a byte and {GAP_US:g} us for its chip select (440 ns high, 45 ns set-up and hold)."),
        Table("Python beside the scanner, ports idle", ("what", "in a second"),
              [["scans", round(run["scans"] / run["seconds"])], ["scans that call Python", 0 if not wakes else f"at most {wakes:.2f}"],
               ["wakes of the thread that keeps the chips", f"{wakes:.2f}"], ["Python functions it calls", f"{python:.0f}"]],
              "The only thread of Python that touches chips sleeps in the engine; it wakes for faults, requests and the patrol (each port "
              "every ten seconds, which reads the chip's registers by drivers)."),
    ]  # fmt: skip
    goals = [
        Goal("scan of eight ports, x86-64", busiest[0], 20_000.0, "instr/ms", False),
        Goal("scan of eight ports, ARM", busiest[1], 20_000.0, "instr/ms", False),
        Goal("instructions beside python-periphery", theirs / busiest[0], 20.0, "times fewer", True),
        Goal("system calls of the scanner", calls, 3000.0 * 1.01, "calls/s", False),
        Goal("system calls beside one transfer per byte", (moved + SCANS) / calls, 5.0, "times fewer", True),
        Goal("bus at 2 MHz, both chains on one", 100 * bus, 50.0, "%", False),
        Goal("wakes of Python while ports are idle", wakes, 2.0, "1/s", False),
    ]
    return Section("cost", "Cost of eight ports", tables, goals)
