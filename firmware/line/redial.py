"""How often one number may be tried again by the equipment itself (L1, pure).

Theory of operation
-------------------
National rules keep automatic equipment from hammering a number that does not answer: so many attempts in a row, more of them where each
met busy or congestion tone, with pauses between them, then a rest (47 CFR 68.318 (b)(1) and its like; `Profile.redial`). A person who dials
once per attempt is free. An attempt is *automatic* when who asks for it says so, or when it follows the end of the last one sooner than a
person can lay down, lift and dial. What nobody dialled is no attempt: a line without dial tone, a glare, a fault. Emergency
numbers are exempt, which the caller of this part sees to. One `RedialGuard` serves one line group.
Invariants: a refusal says why and until when; an answered call, and a person's attempt, clear the count; memory is bounded.
"""

from __future__ import annotations

from typing import Final

import msgspec

from firmware.call.model import Cause
from firmware.line.profiles import RedialRule

#: Sooner than this after a failed attempt no person has dialled the same number again.
PERSON_MS: Final = 2000
MAX_NUMBERS: Final = 500
#: Ends of a dialled call that say that it did not come about.
FAILED: Final = frozenset({Cause.BUSY, Cause.CONGESTION, Cause.NO_ANSWER, Cause.UNREACHABLE, Cause.REJECTED})


class Attempts(msgspec.Struct):
    """What is known of one number: attempts in a row, how the last ended, and until when it rests (engine ms)."""

    count: int = 0
    all_busy: bool = True
    ended_at: int = -1
    cause: Cause = Cause.NO_ANSWER
    rests_until: int = -1


class Refusal(msgspec.Struct, frozen=True):
    """Not now: until when, why, and how the last attempt ended."""

    until: int
    why: str
    cause: Cause


class RedialGuard:
    """See the theory of operation; `numbers` is all it remembers."""

    def __init__(self, rule: RedialRule) -> None:
        self.rule = rule
        self.numbers: dict[str, Attempts] = {}

    def check(self, number: str, now: int, *, automatic: bool = False) -> Refusal | None:
        """Whether an attempt may begin; a person's begins the count anew."""
        known = self.numbers.get(number)
        if known is None:
            return None
        if not automatic and now - known.ended_at >= PERSON_MS:
            del self.numbers[number]
            return None
        until = max(known.rests_until, known.ended_at + self._pause_ms(known.count))
        if now >= until:
            if known.rests_until >= 0:
                del self.numbers[number]                     # it has rested
            return None
        rests = known.rests_until > now
        why = f"{known.count} attempts in a row, the number rests" if rests else f"attempt {known.count + 1} comes too soon"
        return Refusal(until, f"{why} for another {-(-(until - now) // 1000)} s (last attempt: {known.cause})", known.cause)

    def _pause_ms(self, done: int) -> int:
        """Least pause after that many attempts."""
        pauses = self.rule.pauses_s
        return pauses[min(done, len(pauses)) - 1] * 1000 if pauses and done else 0

    def ended(self, number: str, now: int, cause: Cause, *, dialled: bool, answered: bool) -> None:
        """An attempt is over."""
        if answered:
            self.numbers.pop(number, None)
            return
        if not dialled or cause not in FAILED:
            return
        known = self.numbers.pop(number, None) or Attempts()
        known.count += 1
        known.all_busy = known.all_busy and cause in (Cause.BUSY, Cause.CONGESTION)
        known.ended_at, known.cause = now, cause
        if known.count >= (self.rule.busy_attempts if known.all_busy else self.rule.attempts):
            known.rests_until = now + self.rule.block_s * 1000
        self.numbers[number] = known                         # the latest last: the oldest is forgotten first
        if len(self.numbers) > MAX_NUMBERS:
            del self.numbers[next(iter(self.numbers))]
