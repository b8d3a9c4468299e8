"""How good a call over IP is: what arrived, what the far end reported, and the grade an average listener would give (L1).

Theory of operation
-------------------
The grade follows the E-model, ITU-T G.107: R = 93.2 - Id - Ie,eff with all other parameters at their defaults (Ro - Is = 93.2, A = 0).
Delay after the approximation of Cole and Rosenbluth (Voice over IP Performance Monitoring, 2001) of G.107 clause 7.4: Id = 0.024 d +
0.11 (d - 177.3) H(d - 177.3), d = one-way delay in ms: half the round trip, a jitter buffer of twice the jitter, one packet, and what
is in flight in coders. Loss after G.107 clause 7.5: Ie,eff = Ie + (95 - Ie) Ppl / (Ppl + Bpl) for random loss; Ie = 0 and Bpl = 25.1 for
G.711 with concealment (G.113 Appendix I). The wide-band codecs have no values on the narrow-band scale; they are graded like G.711.
MOS from R: G.107 Annex B. A grade is an estimate of the network's share only: nobody listened to the sound.
"""

from __future__ import annotations

import msgspec

PACKET_MS = 20
CODER_MS = 5
DEFAULT_R = 93.2
LOSS_ROBUSTNESS = 25.1
LEAST_PACKETS = 50              # a second: below that there is nothing to grade


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one leg since its port was opened. Times in ms, loss in percent; None: not known, or nobody reported it.

    What has no prefix is what arrives at us; `far` is what the far end reports of what we send.
    """

    codec: str = ""
    suite: str = ""             # of SRTP, "" = in clear
    received: int
    sent: int
    lost: int
    loss: float
    jitter_ms: float
    worst_jitter_ms: float
    mos: float | None
    far_lost: int | None = None
    far_loss: float | None = None
    far_jitter_ms: float | None = None
    far_mos: float | None = None
    round_trip_ms: float | None = None
    worst_round_trip_ms: float | None = None
    reports_sent: int = 0
    reports_received: int = 0
    reports_refused: int = 0


def rating(loss_percent: float, one_way_ms: float) -> float:
    """R of the E-model, 0 to 93.2."""
    delay = 0.024 * one_way_ms + 0.11 * max(0.0, one_way_ms - 177.3)
    loss = 95 * loss_percent / (loss_percent + LOSS_ROBUSTNESS)
    return max(0.0, DEFAULT_R - delay - loss)


def mos(r: float) -> float:
    """Mean opinion score of a rating (G.107 Annex B), 1.0 to 4.5."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def grade(loss_percent: float, jitter_ms: float, round_trip_ms: float | None) -> float:
    """MOS of one direction."""
    one_way = (round_trip_ms or 0.0) / 2 + 2 * jitter_ms + PACKET_MS + CODER_MS
    return round(mos(rating(loss_percent, one_way)), 2)
