"""The ears of simulated people: what a person has not heard is silence, never the end of an earlier conversation."""

from __future__ import annotations

import math
import struct

from firmware.sim.hearing import Ear
from firmware.sim.people import busy_heard

BUSY_HZ = 450.0
SILENCE = bytes(160)
ROUND = 1024  # blocks of history
LOOKED = 400  # blocks that somebody at a telephone goes by


def _tone(block: int, freq: float = BUSY_HZ) -> bytes:
    samples = (round(8000 * math.sin(2 * math.pi * freq * (80 * block + i) / 8000)) for i in range(80))
    return struct.pack("<80h", *samples)


def _busy(ear: Ear, first: int, blocks: int) -> int:
    """Busy tone of 350 ms on and off; the block after it."""
    for block in range(first, first + blocks):
        ear.feed(_tone(block) if (block - first) // 35 % 2 == 0 else SILENCE, block)
    return first + blocks


def _ear() -> Ear:
    ear = Ear(seconds=1.0)
    ear.listening = True
    ear.tones(1800.0, BUSY_HZ)
    return ear


def _gone(ear: Ear) -> bool:
    return busy_heard(ear.pattern(1, -35.0, LOOKED))


def test_busy_tone_is_heard() -> None:
    ear = _ear()
    _busy(ear, 5000, 35 * 5)
    assert _gone(ear)


def test_who_lifts_anew_does_not_hear_how_the_last_call_ended() -> None:
    for later in (10, LOOKED // 2, ROUND - 5, ROUND, ROUND + LOOKED // 4, 2 * ROUND):
        ear = _ear()
        end = _busy(ear, 5000, 35 * 5)
        ear.listening = False
        ear.restart()
        ear.listening = True
        for block in range(end + later, end + later + 4):
            ear.feed(_tone(block), block)
            assert not _gone(ear), f"{later} blocks after the last call"
            assert ear.level(100) < -6.0 - 10 * math.log10(25)  # four loud blocks of a hundred


def test_what_came_while_nobody_listened_is_silence() -> None:
    for later in (50, LOOKED, ROUND - 4 * 35, ROUND, 3 * ROUND):
        ear = _ear()
        end = _busy(ear, 5000, 35 * 5)
        for block in range(end, end + later):
            ear.feed(SILENCE, block)
        ear.listening = False
        at = end + later
        while at < end + later + ROUND:  # heard by nobody
            ear.feed(_tone(at), at)
            at += 1
        ear.listening = True
        for block in range(at, at + 4):
            ear.feed(SILENCE, block)
            assert not _gone(ear) and ear.level(100) < -90.0


def test_other_meters_begin_anew() -> None:
    ear = _ear()
    _busy(ear, 5000, 35 * 5)
    ear.tones(BUSY_HZ, 1800.0)
    assert ear.pattern(1, -35.0, LOOKED) == []
    assert ear.pattern(0, -35.0, LOOKED) == []


def test_dial_tone_and_ringback_cut_short_by_an_answer_are_no_busy_tone() -> None:
    """As it happened: 290 ms of an earlier call, 550 ms of dial tone, 310 ms of keys, 530 ms of ringback."""
    ear = _ear()
    ear.feed(_tone(5000), 5000)
    at = 5001
    for sounding, blocks in ((True, 40), (False, 29), (True, 55), (False, 16)):
        if blocks == 55:
            ear.restart()
        for _ in range(blocks):
            ear.feed(_tone(at) if sounding else SILENCE, at)
            at += 1
    ear.tones(1800.0, BUSY_HZ)  # has dialled, and begins to listen
    for sounding, blocks in ((False, 15), (True, 53), (False, 5)):
        for _ in range(blocks):
            ear.feed(_tone(at) if sounding else SILENCE, at)
            at += 1
            assert not _gone(ear)
