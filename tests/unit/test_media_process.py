"""The media process itself: it serves the channel, ends cleanly on SIGTERM, and a SIGKILL leaves readable recordings."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from firmware.app.media import run
from firmware.dsp import abi
from firmware.dsp.ring import CommandWriter, RingSegment
from tests.unit.engine_stage import level, sine


class Process:
    """A forked media process without a line card (real time), and core's end of everything."""

    def __init__(self, folder: Path) -> None:
        with wave.open(str(folder / "beep.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(sine(1000, -10, 8000).tobytes())
        self.ring = RingSegment.create()
        self.ring.set_core_present(True)
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.wake = select.poll()
        self.wake.register(self.event_fd, select.POLLIN)
        far, self.channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind(("127.0.0.1", 0))
        clips = [("beep", folder / "beep.wav"), ("broken", folder / "absent.wav")]
        self.pid = os.fork()
        if self.pid == 0:
            status = 9
            try:
                status = run(self.ring, self.event_fd, far, None, [self.rtp.fileno()], clips, (20, 200))
            finally:
                os._exit(status)
        far.close()
        self.channel.settimeout(20)

    def kill(self, number: int) -> int:
        os.kill(self.pid, number)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def pass_ticks(self, n: int) -> None:
        """The engine runs in real time here; each wake of the eventfd is a tick at least."""
        until = self.ring.tick + n
        self.ring.set_horizon(until)
        while self.ring.tick < until:
            assert self.wake.poll(20_000), "the engine stands still"
            os.eventfd_read(self.event_fd)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    one = Process(tmp_path)
    yield one
    if one.pid:
        one.kill(signal.SIGKILL)


def hello(process: Process) -> dict[str, object]:
    process.channel.send(json.dumps({"do": "hello", "nonce": "n1", "from": 0}).encode())
    reply: dict[str, object] = json.loads(process.channel.recv(65536))
    return reply


def test_hello_names_clips_and_udp_ports_and_nonsense_is_survived(process: Process) -> None:
    wrong = (b'{"do": "dance"}', b'{"do": "hello", "nonce": "x", "from": -1}', b'{"do": "file", "file": 1}')
    for nonsense in (b"\xff", b"{}", b"[1]", *wrong):
        process.channel.send(nonsense)
    assert hello(process) == {"nonce": "n1", "clips": ["beep"], "total": 1, "rtp": [process.rtp.getsockname()[1]]}


def test_sigterm_finishes_the_recordings_and_ends_with_status_0(process: Process, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    hello(process)
    writer = CommandWriter(process.ring)
    writer.write(abi.COMMANDS["play"], 0, abi.pack_play(1, [0], 1.0, True, False))
    writer.write(abi.COMMANDS["record"], 0, abi.pack_record(1, 5))
    with path.open("w+b") as file:
        socket.send_fds(process.channel, [b'{"do": "file", "file": 5}'], [file.fileno()])
    process.pass_ticks(60)
    assert process.kill(signal.SIGTERM) == 0
    with wave.open(str(path)) as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    assert len(frames) >= 4700
    assert level(frames[:4000, 1], 1000) == pytest.approx(-10, abs=0.2)


def test_a_killed_media_process_leaves_a_readable_recording(process: Process, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    hello(process)
    writer = CommandWriter(process.ring)
    writer.write(abi.COMMANDS["play"], 0, abi.pack_play(1, [0], 1.0, True, False))
    writer.write(abi.COMMANDS["record"], 0, abi.pack_record(1, 5))
    with path.open("w+b") as file:
        socket.send_fds(process.channel, [b'{"do": "file", "file": 5}'], [file.fileno()])
    process.pass_ticks(80)
    process.kill(signal.SIGKILL)
    size = path.stat().st_size
    with wave.open(str(path)) as file:
        count = file.getnframes()
        frames = np.frombuffer(file.readframes(count), np.int16).reshape(-1, 2)
    assert 44 + count * 4 <= size
    assert count >= 4000  # at most a fifth of a second is missing
    assert level(frames[:4000, 1], 1000) == pytest.approx(-10, abs=0.2)
