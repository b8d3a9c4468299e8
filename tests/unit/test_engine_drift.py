"""The card's clock and a SIP phone's differ by 200 ppm: the tone each side hears has no click (3 minutes; an hour in `make soak-lines`).

The stage's blocks are the card's clock; the phone sends a packet whenever its own has passed 20 ms and hears what the engine sends. A click
is energy far from the tone: per Hann window of 32 ms, all bins more than 250 Hz away from it. A-law noise of the tone is 38 dB below it.
A machine that stops the test for two seconds makes the engine tick without a block: such a minute is not judged, and there may be few.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from firmware.dsp import abi
from tests.unit.engine_stage import PEAK, Phone, Samples, Stage, power, sine

MINUTES = 60 if int(os.environ.get("BRANCHPBX_SOAK", "1")) > 1 else 3
BLOCKS = 6000  # a minute
LEVEL = -20.0
CLICK = -50.0
SLOT, PORT = 4, 16
N, HOP = 256, 64


def stray(x: Samples, hz: float) -> float:
    """The loudest window's level beside the tone, dBm0."""
    frames = np.lib.stride_tricks.sliding_window_view(x.astype(float), N)[::HOP]
    window = np.hanning(N)
    spectrum = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    far = np.abs(np.fft.rfftfreq(N, 1 / 8000) - hz) > 250
    watts = 2 * spectrum[:, far].sum(axis=1) / (N * (window**2).sum())
    return float(10 * np.log10(max(watts.max(), 1e-3) / (PEAK**2 / 2)))


def test_a_hard_splice_would_be_seen() -> None:
    tone = sine(437, LEVEL, 4000)
    assert stray(tone, 437) < -75
    assert stray(np.concatenate([tone[:2000], tone[2002:]]), 437) > CLICK


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(rtp=1)
    yield one
    one.close()


@pytest.mark.parametrize(("ppm", "hz"), [(200, 437.0), (-200, 437.0), (200, 1004.0), (-200, 1004.0)])
def test_200_ppm_between_card_and_phone_give_no_click(stage: Stage, ppm: int, hz: float) -> None:
    phone = Phone(stage.local(PORT))
    stage.rtp(PORT, phone)
    stage.line(SLOT)
    stage.do("join", SLOT, abi.pack_join(0, True, True))
    stage.do("join", PORT, abi.pack_join(0, True, True))
    sent = 0

    def work(block: int) -> None:
        nonlocal sent
        while sent * 20.0 <= block * 10.0 * (1 + ppm * 1e-6):
            phone.send(sine(hz, LEVEL, 160, sent * 160))
            sent += 1
        phone.receive()

    stage.each.append(work)
    stage.captures[SLOT] = lambda at: sine(hz + 300, LEVEL, 80, at)
    stage.tick(300)
    silent, judged = stage.engine.silent_ticks, 0
    kept: dict[str, Samples] = {"line": np.zeros(0, np.int16), "phone": np.zeros(0, np.int16)}
    for minute in range(MINUTES):
        stage.played.clear()
        phone.packets.clear()
        stage.tick(BLOCKS)
        heard = {"line": (stage.heard(SLOT, 0, BLOCKS), hz), "phone": (phone.heard(), hz + 300)}
        if stage.engine.silent_ticks != silent:
            silent = stage.engine.silent_ticks
            kept = dict.fromkeys(kept, np.zeros(0, np.int16))
            continue
        judged += 1
        for who, (sound, tone) in heard.items():
            sound = np.concatenate([kept[who], sound])
            kept[who] = sound[-N:]
            assert power(sound) == pytest.approx(LEVEL, abs=0.5), f"{who}, minute {minute}"
            assert stray(sound, tone) < CLICK, f"{who}, minute {minute}"
        assert abs(len(phone.packets) - BLOCKS // 2) <= 1
    assert judged >= MINUTES * 2 // 3
