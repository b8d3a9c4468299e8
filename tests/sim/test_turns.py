"""A turn of talk that the loop of its source cuts in two sounds as one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from firmware.sim.hearing import Ear
from firmware.sim.people import PARTNER_MS, Listener, Person
from firmware.sim.signal import Mouth, ToneSource


def test_tone_that_follows_a_tone_goes_on_without_a_jump() -> None:
    mouth = Mouth()
    mouth.play(ToneSource([((1050.0,), -16.0, 105.0), ((), 0.0, 200.0), ((1050.0,), -16.0, 105.0)]))
    sound = np.concatenate([np.frombuffer(mouth.block(), dtype="<i2") for _ in range(82)]).astype(float)
    peak = 22750 * 10 ** (-16 / 20)
    joined = sound[305 * 8 : 515 * 8]  # the last phase and the first of the next round
    assert np.max(np.abs(np.diff(joined))) < 1.05 * peak * 2 * np.pi * 1050 / 8000
    level = np.abs(joined[:1600] @ np.exp(-2j * np.pi * 1050 * np.arange(1600) / 8000)) * 2 / 1600
    assert abs(20 * np.log10(level / peak)) < 0.2


def test_end_of_a_turn_that_is_half_a_tone_is_not_the_partners_level() -> None:
    clock: Any = SimpleNamespace(now=0)
    ear, mouth, person = Ear(), Mouth(), Person("p", "phone", "4")
    listener = Listener(person, ear, clock, (880.0,))
    lasts = PARTNER_MS + 50
    mouth.play(ToneSource([((880.0,), -16.0, lasts), ((), 0.0, 4000.0)]))
    for block in range(200):
        clock.now = block * 10
        ear.feed(mouth.block(), block)
        if block % 4 == 1:
            listener.look()
    assert person.partners["880"] == pytest.approx(-16, abs=0.2)
