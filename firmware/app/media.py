"""Composition root of the media process: rings, line card, RTP sockets, clips, engine, descriptor channel.

Theory of operation: the engine's native threads do the work; the event loop here only beats the heart, takes recording files from the
descriptor channel and answers core's hello with the names of the clips (their position is their number) and the UDP ports; requests to
line chips go on to their thread (`app/chips.py`), those about RTP ports to the side (`media/side.py`), which also answers STUN and DTLS.
It holds no state that core needs. SIGTERM stops the engine, which finishes the recordings first, then the lines are left.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import wave
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from firmware.app.chips import Chips, chips_of
from firmware.app.handover import Handover
from firmware.call.spoken import group_of, spoken
from firmware.dsp.engine import Engine
from firmware.dsp.ring import RingSegment
from firmware.errors import HardwareError
from firmware.media.dtls import Handshakes
from firmware.media.side import Side, SideLoop
from firmware.prompts import clip_files, site_root
from firmware.runtime.health import BEAT_MS
from firmware.runtime.loop import Loop
from firmware.runtime.memory import give_back

PAGE = 200  # clip names in one message
MESSAGE = 1 << 12

log = logging.getLogger("branchpbx.media")


def main(handover: Handover) -> int:
    """Entry point of the forked process."""
    for each in (*handover.sip_listeners, handover.control, handover.manage, handover.channel_core):
        each.close()
    handover.leave_keys()
    jitter = (handover.config.rtp.jitter_min_ms, handover.config.rtp.jitter_max_ms)
    world_fd = handover.world_fd if handover.world_fd >= 0 else None
    fds, reports = [each.fileno() for each in handover.rtp], [each.fileno() for each in handover.rtcp]
    chips = chips_of(handover)
    ready = {"", *spoken(handover.config)}      # what else is asked for comes from core (`media/clips.py`)
    clips = sorted(one for one in clip_files(site=site_root(handover.state)).items() if group_of(one[0]) in ready)
    slots = {*handover.board.slots_fxo, *handover.board.slots_fxs}
    return run(handover.ring, handover.event_fd, handover.channel_media, world_fd, fds, clips, jitter, chips, reports, slots)


def run(
    ring: RingSegment,
    event_fd: int,
    channel: socket.socket,
    world_fd: int | None,
    rtp_fds: Sequence[int],
    clips: Sequence[tuple[str, Path]],
    jitter: tuple[int, int],
    chips: Chips | None = None,
    rtcp_fds: Sequence[int] = (),
    slots: Collection[int] | None = None,
) -> int:
    """Serve until SIGTERM; returns the exit status. `clips` by number, `jitter` = (least, most) ms, `slots`: those with lines."""
    engine = Engine(ring, event_fd, world_fd, list(rtp_fds), jitter, lines=chips is not None, rtcp_fds=list(rtcp_fds), slots=slots)
    ready = chips.prepare_beside(engine, lambda: ring.beat("media")) if chips is not None else None
    load_clips(engine, clips)
    ring.beat("media")
    if ready is not None:
        ready()
    give_back()
    return _serve(engine, ring, channel, chips)


def load_clips(engine: Engine, clips: Sequence[tuple[str, Path]]) -> None:
    """Read the WAV files into the engine; one that cannot be used is logged and left out."""
    for name, path in clips:
        try:
            engine.load_clip(name, read_clip(path))
        except (OSError, EOFError, wave.Error, ValueError) as error:
            log.error("clip %s: %s cannot be used (%s); build the prompts again", name, path, error)


def read_clip(source: Path | IO[bytes]) -> bytes:
    """Samples of an 8 kHz mono 16-bit WAV file; raises ValueError naming what differs."""
    with wave.open(str(source) if isinstance(source, Path) else source, "rb") as file:
        form = (file.getframerate(), file.getnchannels(), file.getsampwidth() * 8)
        if form != (8000, 1, 16):
            raise ValueError(f"it has {form[0]} Hz, {form[1]} channels, {form[2]} bit; needed are 8000 Hz, 1 channel, 16 bit")
        return file.readframes(file.getnframes())


def _serve(engine: Engine, ring: RingSegment, channel: socket.socket, chips: Chips | None) -> int:
    loop = Loop()
    loop.stop_on(signal.SIGTERM)
    engine.start()
    if chips is not None:
        chips.begin(engine)
    log.info(
        "media runs: %d clips, %d RTP ports, real-time priority %s, memory %s",
        len(engine.clips), len(engine.local_ports),
        "granted" if engine.realtime else "not granted", "locked" if engine.locked else "not locked",
    )  # fmt: skip
    channel.setblocking(False)
    side = side_of(engine, loop, channel)
    loop.add_reader(engine.side_fd, side.ready)
    loop.add_reader(channel.fileno(), lambda: _on_channel(engine, channel, side, chips))

    def beat() -> None:
        ring.beat("media")
        if chips is not None:
            chips.beat()
        loop.call_later(BEAT_MS / 1000, beat)

    beat()
    loop.run()
    loop.close()
    if chips is not None:
        chips.stop()
    engine.stop()
    if chips is not None:
        chips.rest()
    log.info("media has stopped")
    return 0


def side_of(engine: Engine, loop: SideLoop, channel: socket.socket) -> Side:
    """The side of the RTP ports; what it tells core goes over the descriptor channel."""

    def tell(port: int, what: str, facts: Mapping[str, Any]) -> None:
        _send(channel, json.dumps({"news": what, "port": port, "facts": facts}).encode())

    side = Side(engine, loop, tell)
    Handshakes(side)
    return side


def _on_channel(engine: Engine, channel: socket.socket, side: Side, chips: Chips | None = None) -> None:
    while True:
        try:
            raw, fds, _, _ = socket.recv_fds(channel, MESSAGE, 4)
        except BlockingIOError:
            return
        if not raw:
            return
        try:
            _answer(engine, channel, side, chips, json.loads(raw), fds)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("descriptor channel: message %r is not understood (%s)", raw[:24], error)
            for fd in fds:
                os.close(fd)


def _answer(engine: Engine, channel: socket.socket, side: Side, chips: Chips | None, message: dict[str, object], fds: list[int]) -> None:
    if message["do"] == "file":
        number = message["file"]
        if not isinstance(number, int) or len(fds) != 1:
            raise ValueError("a file message carries a number and one descriptor")
        key, ident, coded = message.get("key", ""), message.get("ident", ""), message.get("coded", "")
        if not (isinstance(key, str) and isinstance(ident, str) and isinstance(coded, str)):
            raise ValueError("key and ident of a file are hexadecimal text, its coding is a name")
        engine.attach_file(number, fds[0], bytes.fromhex(key), bytes.fromhex(ident), coded)
        return
    if message["do"] == "chip":
        if chips is None:
            _send(channel, json.dumps({"answer": message["id"], "result": None, "error": "this board has no line chips"}).encode())
        else:
            chips.asked(message, lambda answer: _send(channel, answer))
        return
    if message["do"] == "side":
        _ask_side(side, channel, message)
        return
    if message["do"] in ("clip", "forget"):
        _ask_clip(engine, channel, message, fds)
        return
    if message["do"] != "hello":
        raise ValueError("unknown request")
    first = message["from"]
    if not isinstance(first, int) or first < 0:
        raise ValueError("from must be a number")
    if first == 0 and chips is not None:
        chips.service.tell_again()
    names = engine.clips
    reply = {"nonce": message["nonce"], "clips": names[first : first + PAGE], "total": len(names), "rtp": engine.local_ports}
    _send(channel, json.dumps(reply).encode())


def _ask_clip(engine: Engine, channel: socket.socket, message: dict[str, object], fds: list[int]) -> None:
    """Load a clip from a descriptor, or forget one, while the engine runs."""
    result, error = None, ""
    if message["do"] == "forget":
        number = message["number"]
        if not isinstance(number, int):
            raise ValueError("a clip is forgotten by its number")
        engine.drop_clip(number)
    else:
        name = message["name"]
        if not isinstance(name, str) or len(fds) != 1:
            raise ValueError("a clip has a name and one descriptor")
        with os.fdopen(fds.pop(), "rb") as file:
            try:
                samples = read_clip(file)
                result = [engine.load_clip(name, samples), len(samples)]
            except (OSError, EOFError, wave.Error, ValueError, MemoryError, HardwareError) as wrong:
                error = f"clip {name}: {wrong}"
    _send(channel, json.dumps({"answer": message["id"], "result": result, "error": error}).encode())


def _ask_side(side: Side, channel: socket.socket, message: dict[str, object]) -> None:
    port, what, args = message["port"], message["what"], message["args"]
    if not (isinstance(port, int) and isinstance(what, str) and isinstance(args, dict)):
        raise ValueError("a side request has port, what and args")
    result, error = None, ""
    try:
        result = side.asked(port, what, args)
    except (ValueError, KeyError, TypeError) as wrong:
        error = f"{what}: {wrong}"
    if message["id"]:
        _send(channel, json.dumps({"answer": message["id"], "result": result, "error": error}).encode())


def _send(channel: socket.socket, data: bytes) -> None:
    try:
        channel.send(data)
    except BlockingIOError:
        log.warning("descriptor channel is full; core asks again")
