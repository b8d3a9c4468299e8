"""The codecs of the serial line on MicroPython, unchanged: the same vectors, and a box that speaks with the tool over a pseudo-terminal."""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.wire import frame, proof, provision, tlv
from firmware.wire.detect import Detector
from tests.unit.wire_line import ToolOwner

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "build" / "micropython"
VECTORS = ROOT / "tests" / "vectors" / "wire" / "codec.json"


@pytest.fixture(scope="module")
def runner() -> list[str]:
    """Command that runs MicroPython; the test is "not run" where it could not be fetched."""
    missing = ROOT / "build" / "micropython.missing"
    if missing.is_file():
        pytest.skip(f"not run: {missing.read_text().strip()}")
    if not (PACKAGES / "node_modules").is_dir():
        pytest.skip("not run: MicroPython was not fetched; tools/micropython.sh does it")
    return ["node", str(ROOT / "tests" / "micropython" / "run.mjs"), str(ROOT), str(PACKAGES)]


def test_cpython_keeps_to_the_vectors() -> None:
    vectors = json.loads(VECTORS.read_text())
    for kind, epoch, seq, payload, sent in vectors["frames"]:
        assert frame.encode(kind, epoch, seq, bytes.fromhex(payload)).hex() == sent
    for stream, frames in vectors["streams"]:
        assert [[*one[:3], one[3].hex()] for one in frame.Decoder().feed(bytes.fromhex(stream))] == frames
    for data, records in vectors["records"]:
        found = tlv.decode(bytes.fromhex(data))
        assert (None if found is None else [[tag, found[tag].hex()] for tag in sorted(found)]) == records
    for key, message, digest in vectors["proofs"]:
        assert proof.hmac_sha256(bytes.fromhex(key), bytes.fromhex(message)).hex() == digest
    for stream, (console, found, rest) in vectors["detector"]:
        detector, said = Detector(), b""
        for byte in bytes.fromhex(stream):
            said += detector.receive(bytes([byte]), 0)
        said += detector.expire(1000)
        assert [said.hex(), detector.found, detector.rest.hex()] == [console, found, rest]


def test_micropython_makes_the_same_of_every_vector(runner: list[str]) -> None:
    done = subprocess.run([*runner, "vectors", str(VECTORS)], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == json.loads(VECTORS.read_text())


@pytest.fixture
def line(runner: list[str]) -> Iterator[int]:
    """The tool's end of a pseudo-terminal with a box on MicroPython at the other one."""
    ours, theirs = os.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    box = subprocess.Popen([*runner, "device", os.ttyname(theirs)], stdout=subprocess.PIPE, text=True)
    try:
        assert box.stdout is not None
        assert box.stdout.readline() == "ready\n"
        yield ours
    finally:
        box.kill()
        box.wait(10)
        assert box.stdout is not None
        box.stdout.close()
        os.close(ours)
        os.close(theirs)


def test_a_tool_on_cpython_and_a_box_on_micropython_move_files_both_ways(line: int) -> None:
    tool = ToolOwner(115200, random.Random(1))
    content = random.Random(2).randbytes(60_000)
    began = time.monotonic()

    def until(ident: int) -> None:
        while ident not in tool.results:
            now = int((time.monotonic() - began) * 1000)
            assert now < 120_000, (tool.machine.statistics(), tool.events[-3:])
            for _ in range(8):
                tool.act(now)
                out = tool.machine.output()
                if not out:
                    break
                while out:
                    out = out[os.write(line, out) :]
            ready, _, _ = select.select([line], [], [], 0.01)
            if ready:
                tool.machine.receive(os.read(line, 4096), now)
            due = tool.machine.deadline()
            if due is not None and now >= due:
                tool.machine.expire(now)

    os.write(line, b"a person types\r")
    tool.machine.send(("open",), 0)
    tool.machine.send(("request", 1, "grüße".encode(), False), 0)
    until(1)
    assert tool.results[1] == (provision.OK, b"did " + "grüße".encode())
    assert tlv.as_text(tool.said("welcome")[0][1], tlv.MODEL) == "micropython"
    tool.put(2, b"f", content, int((time.monotonic() - began) * 1000))
    until(2)
    assert tool.results[2] == (provision.OK, b"")
    tool.get(3, b"f", int((time.monotonic() - began) * 1000))
    until(3)
    assert bytes(tool.fetching[3][1]) == content
