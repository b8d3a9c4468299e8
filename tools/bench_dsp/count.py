"""Instructions per sample of a block, on x86 by callgrind and on ARM by a plug-in of qemu's user-mode emulation.

Theory of operation. A process runs `drive.py` for a shorter and for a longer stretch of the same sound; the difference of the two counts
divided by the difference of the stretches is what a sample costs, and start-up, Python and the first block cancel out. Both lengths are
whole rounds of the sound beyond the first, so that both differences see the same sound. Counts repeat to within a few instructions
whatever else the machine does. What single blocks of 10 ms cost is told by marks in one run (`of_blocks`), on both under emulation.
spandsp's debug lines are kept from being formatted (`quiet.c`), so that they do not count.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

from .drive import EMPTY, Block, own_blocks, peer_blocks

TOP = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
BUILD = TOP / "build" / "bench"
SIGNALS = BUILD / "signals"
FIXED = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": ""}
GETPPID = {"armhf": 64, "x86-64": 110}  # numbers of the system call
SECONDS = 2  # of sound; a run takes one round or two


class CountFailed(RuntimeError):
    """A counting run broke."""


class NoBlock(RuntimeError):
    """This tree has no such block."""


@cache
def compiled(source: str, *flags: str) -> Path:
    """A shared object of one C file."""
    path = HERE / source
    target = BUILD / path.with_suffix(".so").name
    if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", *flags, "-o", f"{target}.part", str(path)], check=True)
        Path(f"{target}.part").replace(target)
    return target


def run(command: list[str], environment: dict[str, str]) -> str:
    """Output of a counting run."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TOP, env={**os.environ, **environment})
    if done.returncode == 3:
        raise NoBlock(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise CountFailed(f"{' '.join(command[-5:])}: status {done.returncode}: {done.stderr.strip()[-600:]}")
    return done.stderr


def arguments(block: str, samples: int) -> list[str]:
    start = "import sys; from tools.bench_dsp.drive import main; sys.exit(main(sys.argv[1:]))"
    return ["-c", start, block, str(samples), str(SIGNALS)]


def callgrind(block: str, samples: int) -> int:
    """Instructions of a whole process on this machine."""
    environment = {**FIXED, "PYTHONPATH": str(TOP)}
    if block in peer_blocks():
        environment["LD_PRELOAD"] = str(compiled("quiet.c"))
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-P", "-S", *arguments(block, samples)]
    text = run(command, environment)
    found = re.search(r"Collected : (\d+)", text)
    if not found:
        raise CountFailed(f"callgrind says no count for {block}: {text[-600:]}")
    return int(found[1])


def emulated(block: str, samples: int) -> int:
    """Instructions of a whole process on ARM; `tools/dsp_arm.sh build` has made it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "count"
        environment = {"QEMU_PLUGIN": f"{compiled('count_arm.c')},out={target}", **FIXED}
        run([str(TOP / "tools" / "dsp_arm.sh"), "run", *arguments(block, samples)], environment)
        return int(target.read_text())


def of_blocks(block: str, samples: int, arm: bool) -> list[float]:
    """Instructions per sample of each 10 ms of the block's sound, without what a call with no sound costs."""
    spec = own_blocks()[block]
    words = [*arguments(block, samples), "marks"]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "count"
        environment = {"QEMU_PLUGIN": f"{compiled('count_arm.c')},out={target},mark={GETPPID['armhf' if arm else 'x86-64']}", **FIXED}
        if arm:
            run([str(TOP / "tools" / "dsp_arm.sh"), "run", *words], environment)
        else:
            run(["qemu-x86_64", "-cpu", "max", sys.executable, "-P", "-S", *words], {**environment, "PYTHONPATH": str(TOP)})
        counts = [int(line) for line in target.read_text().split()]
    wanted = samples * 100 // spec.rate + EMPTY + 1
    if len(counts) < wanted + 1:
        raise CountFailed(f"{block}: {len(counts) - 1} marks, {wanted} expected")
    counts = counts[-wanted - 1 : -1]  # the last count is that of the whole process
    spent = [after - before for before, after in pairwise(counts)]
    return [100.0 * (cost - spent[-1]) / spec.rate for cost in spent[:-EMPTY]]


def per_sample(block: str, arm: bool) -> float:
    """Instructions per sample; not a number where this tree has no such block."""
    spec: Block = {**own_blocks(), **peer_blocks()}[block]
    counter = emulated if arm else callgrind
    try:
        short, long = counter(block, SECONDS * spec.rate), counter(block, 2 * SECONDS * spec.rate)
    except NoBlock:
        return float("nan")
    if long <= short:
        raise CountFailed(f"{block}: {short} instructions for the shorter run, {long} for the longer")
    return (long - short) / (SECONDS * spec.rate)


def many(blocks: list[str], arm: bool) -> dict[str, float]:
    """Several, as many at a time as there are processors; the first run fills the cache of compiled Python."""
    (emulated if arm else callgrind)(blocks[0], SECONDS * 8000)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return dict(zip(blocks, pool.map(lambda block: per_sample(block, arm), blocks), strict=True))


def tools_missing() -> str:
    """What has to be installed before anything is counted."""
    return "" if shutil.which("valgrind") else "valgrind is missing; tools/setup.sh bench installs it"


def prepare_arm() -> str:
    """Builds for ARM; what went wrong, if something did."""
    done = subprocess.run([str(TOP / "tools" / "dsp_arm.sh"), "build"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()
