"""Composition root of the media process: rings, line card, RTP sockets, clips, engine, descriptor channel.

Theory of operation: the engine's native threads do the work; the event loop here only beats the heart, takes recording files
from the descriptor channel and answers core's hello with the names of the clips (their position is their number) and the UDP
ports. It holds no state that core needs. SIGTERM stops the engine, which finishes the recordings first.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import wave
from collections.abc import Sequence
from pathlib import Path

from firmware.app.handover import Handover
from firmware.dsp.engine import Engine
from firmware.dsp.ring import RingSegment
from firmware.prompts import clip_files
from firmware.runtime.health import BEAT_MS

PAGE = 200  # clip names in one message
MESSAGE = 1 << 12

log = logging.getLogger("branchpbx.media")


def main(handover: Handover) -> int:
    """Entry point of the forked process."""
    for each in (handover.sip_udp, handover.sip_tcp, handover.control, handover.manage, handover.channel_core):
        each.close()
    jitter = (handover.config.rtp.jitter_min_ms, handover.config.rtp.jitter_max_ms)
    world_fd = handover.world_fd if handover.world_fd >= 0 else None
    fds = [each.fileno() for each in handover.rtp]
    return run(handover.ring, handover.event_fd, handover.channel_media, world_fd, fds, sorted(clip_files().items()), jitter)


def run(
    ring: RingSegment,
    event_fd: int,
    channel: socket.socket,
    world_fd: int | None,
    rtp_fds: Sequence[int],
    clips: Sequence[tuple[str, Path]],
    jitter: tuple[int, int],
) -> int:
    """Serve until SIGTERM; returns the exit status. `clips` in the order of their numbers, `jitter` = (least, most) ms."""
    engine = Engine(ring, event_fd, world_fd, list(rtp_fds), jitter)
    load_clips(engine, clips)
    ring.beat("media")
    return asyncio.run(_serve(engine, ring, channel))


def load_clips(engine: Engine, clips: Sequence[tuple[str, Path]]) -> None:
    """Read the WAV files into the engine; one that cannot be used is logged and left out."""
    for name, path in clips:
        try:
            engine.load_clip(name, read_clip(path))
        except (OSError, EOFError, wave.Error, ValueError) as error:
            log.error("clip %s: %s cannot be used (%s); build the prompts again", name, path, error)


def read_clip(path: Path) -> bytes:
    """Samples of an 8 kHz mono 16-bit WAV file; raises ValueError naming what differs."""
    with wave.open(str(path), "rb") as file:
        form = (file.getframerate(), file.getnchannels(), file.getsampwidth() * 8)
        if form != (8000, 1, 16):
            raise ValueError(f"it has {form[0]} Hz, {form[1]} channels, {form[2]} bit; needed are 8000 Hz, 1 channel, 16 bit")
        return file.readframes(file.getnframes())


async def _serve(engine: Engine, ring: RingSegment, channel: socket.socket) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    engine.start()
    log.info(
        "media runs: %d clips, %d RTP ports, real-time priority %s, memory %s",
        len(engine.clips), len(engine.local_ports),
        "granted" if engine.realtime else "not granted", "locked" if engine.locked else "not locked",
    )  # fmt: skip
    channel.setblocking(False)
    loop.add_reader(channel.fileno(), _on_channel, engine, channel)

    def beat() -> None:
        ring.beat("media")
        loop.call_later(BEAT_MS / 1000, beat)

    beat()
    await stop.wait()
    loop.remove_reader(channel.fileno())
    engine.stop()
    log.info("media has stopped")
    return 0


def _on_channel(engine: Engine, channel: socket.socket) -> None:
    while True:
        try:
            raw, fds, _, _ = socket.recv_fds(channel, MESSAGE, 4)
        except BlockingIOError:
            return
        if not raw:
            return
        try:
            _answer(engine, channel, json.loads(raw), fds)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("descriptor channel: message %r is not understood (%s)", raw[:80], error)
            for fd in fds:
                os.close(fd)


def _answer(engine: Engine, channel: socket.socket, message: dict[str, object], fds: list[int]) -> None:
    if message["do"] == "file":
        number = message["file"]
        if not isinstance(number, int) or len(fds) != 1:
            raise ValueError("a file message carries a number and one descriptor")
        engine.attach_file(number, fds[0])
        return
    if message["do"] != "hello":
        raise ValueError("unknown request")
    first = message["from"]
    if not isinstance(first, int) or first < 0:
        raise ValueError("from must be a number")
    names = engine.clips
    reply = {"nonce": message["nonce"], "clips": names[first : first + PAGE], "total": len(names), "rtp": engine.local_ports}
    try:
        channel.send(json.dumps(reply).encode())
    except BlockingIOError:
        log.warning("descriptor channel is full; core asks again")
