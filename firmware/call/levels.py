"""The level of spoken prompts (L1, pure).

Speech is levelled by the power of the frames in which somebody speaks (20 ms, within 25 dB of the loudest), to -16 dBm0 as
`tools/make_prompts.py` does, never beyond the peak. Silence at both ends is cut to 100 ms.
"""

from __future__ import annotations

import math
from array import array
from operator import mul

RATE = 8000
FRAME = RATE // 50
FULL_SCALE_RMS = 22750 / math.sqrt(2)       # 0 dBm0
SPEECH_DBM0 = -16.0
PEAK = 30000
EDGE = RATE // 10
QUIET = -55.0                   # dBm0


def levelled(samples: array[int]) -> array[int]:
    """Trimmed and at the level of prompts; what has no speech in it is returned as it is."""
    powers = [sum(map(mul, frame, frame)) / FRAME for frame in (samples[i : i + FRAME] for i in range(0, len(samples) - FRAME + 1, FRAME))]
    loudest = max(powers, default=0.0)
    if loudest <= (FULL_SCALE_RMS * 10 ** (QUIET / 20)) ** 2:
        return samples
    spoken = [index for index, power in enumerate(powers) if power > loudest / 316]
    samples = samples[max(0, spoken[0] * FRAME - EDGE) : (spoken[-1] + 1) * FRAME + EDGE]
    rms = math.sqrt(sum(powers[index] for index in spoken) / len(spoken))
    gain = min(FULL_SCALE_RMS * 10 ** (SPEECH_DBM0 / 20) / rms, PEAK / max((abs(one) for one in samples), default=1))
    return array("h", [round(one * gain) for one in samples])
