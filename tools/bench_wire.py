"""The scripted mode of the serial line beside ZMODEM (lrzsz), over the same pseudo-terminals at the rate of a line: `make bench-wire`.

Theory of operation. Two pseudo-terminals are joined by a carrier that lets pass as many bytes as a line of this rate carries (ten bits a
byte) in each direction, and turns bits at the given rate. Ours is the host tool's session and the product's scripted mode with management's
spool behind it, every piece checked, written and acknowledged; theirs is `sz` and `rz`. Each file goes once; the share is bytes of the file
over what the line could have carried in the whole time, log-in apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import select
import subprocess
import sys
import tempfile
import threading
import time
import tty
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TICK_S = 0.004
LIMIT_S = 180


class Carrier(threading.Thread):
    """Carries bytes between two descriptors at a rate; `flip`: share of bits that are turned."""

    def __init__(self, one: int, other: int, baud: int, flip: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._ends, self._per_s, self._flip = (one, other), baud / 10, flip
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self.start()

    def close(self) -> None:
        """Stop carrying."""
        self._ended.set()
        self.join(5)

    def run(self) -> None:
        last, room = time.monotonic(), [0.0, 0.0]
        while not self._ended.is_set():
            time.sleep(TICK_S)
            now = time.monotonic()
            most = self._per_s * 0.05 + 1
            for way, (source, target) in enumerate((self._ends, self._ends[::-1])):
                room[way] = min(most, room[way] + (now - last) * self._per_s)
                while room[way] >= 1 and select.select([source], [], [], 0)[0]:
                    data = os.read(source, min(4096, int(room[way])))
                    room[way] -= len(data)
                    self._put(target, self._bent(data))
            last = now

    def _bent(self, data: bytes) -> bytes:
        if not self._flip:
            return data
        out = bytearray(data)
        for place in range(len(out)):
            if self._random.random() < 8 * self._flip:
                out[place] ^= 1 << self._random.randrange(8)
        return bytes(out)

    def _put(self, target: int, data: bytes) -> None:
        view = memoryview(data)
        while view and not self._ended.is_set():
            if select.select([], [target], [], 0.1)[1]:
                view = view[os.write(target, view[:512]) :]


def pair() -> tuple[int, int, str]:
    """A raw pseudo-terminal: both descriptors and the name of the second."""
    ours, theirs = os.openpty()
    for descriptor in (ours, theirs):
        tty.setraw(descriptor)
    return ours, theirs, os.ttyname(theirs)


def ours(content: bytes, baud: int, flip: float) -> tuple[float, dict[str, int]]:
    """Seconds that our transfer takes, and counters of the line."""
    stage: Any = import_module("tests.unit.provision_stage")
    with tempfile.TemporaryDirectory() as folder, stage.Box(Path(folder) / "box") as box:
        near, far, name = pair()
        carrier = Carrier(near, box.tool_fd, baud, flip, 1)
        try:
            open_port = import_module("tools.provision.line").open_port
            tool = box.tool(baud=min(baud, 115200), opener=lambda _: open_port(name, 115200), patience_s=LIMIT_S)
            # The carrier has the rate, not the pseudo-terminals: both machines are told of it.
            tool.connect()
            if baud > 115200:
                assert tool.raise_rate(baud)
            began = time.monotonic()
            tool.put("bundle", "bench.bin", content)
            took, counters = time.monotonic() - began, tool.statistics()
            tool.close()
            time.sleep(0.3)
        finally:
            carrier.close()
            os.close(near)
            os.close(far)
    return took, counters


def theirs(content: bytes, baud: int, flip: float) -> float:
    """Seconds that ZMODEM takes; infinite where it gives up or needs more than the limit."""
    with tempfile.TemporaryDirectory() as folder:
        source, into = Path(folder) / "bench.bin", Path(folder) / "into"
        source.write_bytes(content)
        into.mkdir()
        near, near_end, _ = pair()
        far, far_end, _ = pair()
        carrier = Carrier(near, far, baud, flip, 1)
        big = ["-8"] if baud > 115200 else []
        began = time.monotonic()
        receive = subprocess.Popen(["rz", "-b", "-q", "-y"], stdin=far_end, stdout=far_end, stderr=subprocess.DEVNULL, cwd=into)
        send = subprocess.Popen(["sz", "-b", "-q", *big, str(source)], stdin=near_end, stdout=near_end, stderr=subprocess.DEVNULL)
        whole = False
        try:
            send.wait(LIMIT_S)
            took = time.monotonic() - began
            # The sender ends when the receiver has acknowledged the end of the file; the receiver then waits for a last word.
            whole = (into / "bench.bin").is_file() and (into / "bench.bin").read_bytes() == content
        except subprocess.TimeoutExpired:
            took = float("inf")
        finally:
            for process in (send, receive):
                process.kill()
                process.wait()
            carrier.close()
            for descriptor in (near, near_end, far, far_end):
                os.close(descriptor)
    return took if whole else float("inf")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one rate, a small file")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench" / "wire.json")
    options = parser.parse_args()
    plan = [(9600, 20_000, 0.0), (115200, 300_000, 0.0), (921600, 2_000_000, 0.0), (3_000_000, 4_000_000, 0.0), (115200, 200_000, 1e-5)]
    if options.quick:
        plan = [(115200, 60_000, 0.0)]
    rows: list[dict[str, Any]] = []
    print(f"{'baud':>8} {'bytes':>9} {'bits turned':>11} {'ours s':>7} {'share':>6} {'ZMODEM s':>9} {'share':>6} {'ratio':>6}  repeated")
    for baud, size, flip in plan:
        content = random.Random(size).randbytes(size)
        took, counters = ours(content, baud, flip)
        other = theirs(content, baud, flip)
        share, other_share = size * 10 / baud / took, size * 10 / baud / other
        ratio = share / other_share if other_share else None
        rows.append(
            {
                "baud": baud, "bytes": size, "bits_turned": flip, "ours_s": round(took, 2), "ours_share": round(share, 3),
                "zmodem_s": round(other, 2) if other_share else None, "zmodem_share": round(other_share, 3),
                "ratio": round(ratio, 3) if ratio else None, "counters": counters,
            }
        )  # fmt: skip
        told = (f"{other:9.2f} {other_share:6.3f}", f"{ratio:6.3f}") if ratio else (f"{'gave up':>9} {'-':>6}", f"{'-':>6}")
        print(f"{baud:>8} {size:>9} {flip:>11g} {took:7.2f} {share:6.3f} {told[0]} {told[1]}  {counters['repeated']}", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": platform.machine(), "python": platform.python_version(), "rows": rows}, indent=1) + "\n")
    print(f"written to {options.json.relative_to(ROOT) if options.json.is_relative_to(ROOT) else options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
