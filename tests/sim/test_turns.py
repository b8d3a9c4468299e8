"""A turn of talk that the loop of its source cuts in two sounds as one."""

from __future__ import annotations

import numpy as np

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
