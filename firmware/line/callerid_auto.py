"""Which caller id scheme does this line speak: counted over a week of calls, then decided (L1, pure).

Theory of operation
-------------------
A line whose scheme is not known listens for every scheme at once: FSK of both standards in front of and behind the first ring, alerting
tones, and keys. Each incoming call votes: the scheme its number came in and its place, or "none". `decide` says what the votes amount to:
`listening` until a week has passed or enough calls agree, then `fixed` to one scheme, `none` where a week of calls had none at all, or
`mixed`, which goes on listening for everything. A line that was fixed and then misses its number in five calls in a row listens again:
the operator may have changed the exchange. Damaged messages count for their scheme but not as numbers: they prove the service.
Sources: ETSI EN 300 659-1 (places, alerting tones), GR-30, line-card facts section 1.7.
Invariants: counts never go down but by `forget`; the verdict depends on the tally and on time alone.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Scheme = Literal["bell202", "v23", "dtmf"]
Place = Literal["before", "after"]
Decision = Literal["listening", "fixed", "none", "mixed"]
SCHEMES: Final[tuple[Scheme, ...]] = ("bell202", "v23", "dtmf")

WEEK_MS: Final = 7 * 86_400_000
ENOUGH: Final = 20                   # calls that agree are as good as a week
LEAST: Final = 3                     # calls with a number before a line is fixed
LEAST_NONE: Final = 5                # calls without one before a line is said to have none
SHARE: Final = 0.9                   # of the calls with a number
LAPSE: Final = 5                     # calls in a row without a number on a fixed line


class Tally(msgspec.Struct, frozen=True):
    """What a line's calls had; `began` and `last` Unix ms."""

    began: int = 0
    last: int = 0
    calls: int = 0
    bell202: int = 0
    v23: int = 0
    dtmf: int = 0
    before: int = 0                  # of those, in front of the first ring
    damaged: int = 0
    alert_tones: int = 0
    missing_in_row: int = 0
    fixed: str = ""                  # scheme that was decided, "none", or ""


class Verdict(msgspec.Struct, frozen=True):
    """What the votes amount to; `scheme` only when fixed; `share` of the calls with a number that were in it."""

    decision: Decision
    scheme: str = ""
    place: str = ""
    share: float = 0.0
    days_left: int = 0


def vote(tally: Tally, now: int, scheme: Scheme | None, place: Place = "after", *, damaged: int = 0, alert_tone: bool = False) -> Tally:
    """The tally after one more incoming call; `scheme` None = it had no number."""
    change: dict[str, object] = {
        "began": tally.began or now, "last": now, "calls": tally.calls + 1, "damaged": tally.damaged + damaged,
        "alert_tones": tally.alert_tones + alert_tone, "missing_in_row": 0 if scheme else tally.missing_in_row + 1,
    }  # fmt: skip
    if scheme is not None:
        change[scheme] = getattr(tally, scheme) + 1
        change["before"] = tally.before + (place == "before")
    return msgspec.structs.replace(tally, **change)


def with_number(tally: Tally) -> int:
    """Calls that brought one."""
    return tally.bell202 + tally.v23 + tally.dtmf


def decide(tally: Tally, now: int) -> Verdict:
    """What is known of the line's scheme at this instant (Unix ms)."""
    if tally.fixed in SCHEMES:
        return Verdict("fixed", tally.fixed, _place(tally), _share(tally, tally.fixed))
    if tally.fixed == "none":
        return Verdict("none")
    age = now - tally.began if tally.began else 0
    left = max(0, -(-(WEEK_MS - age) // 86_400_000)) if tally.began else 7
    found = with_number(tally)
    best = max(SCHEMES, key=lambda scheme: getattr(tally, scheme))
    share = _share(tally, best)
    over = bool(tally.began) and age >= WEEK_MS
    if found >= LEAST and share >= SHARE and (over or found >= ENOUGH):
        return Verdict("fixed", best, _place(tally), share)
    if not over:
        return Verdict("listening", days_left=int(left))
    if not found and tally.calls >= LEAST_NONE:
        return Verdict("none")
    return Verdict("mixed", share=share) if found >= LEAST else Verdict("listening")


def settle(tally: Tally, now: int) -> Tally:
    """The tally with its verdict written down, or begun anew where a fixed line has lost its number."""
    if tally.fixed in SCHEMES and tally.missing_in_row >= LAPSE:
        return Tally(began=now, last=now)
    if tally.fixed == "none":
        return Tally(began=now, last=now) if with_number(tally) else tally
    verdict = decide(tally, now)
    if verdict.decision == "fixed":
        return msgspec.structs.replace(tally, fixed=verdict.scheme)
    return msgspec.structs.replace(tally, fixed="none") if verdict.decision == "none" else tally


def wide(tally: Tally) -> bool:
    """True while the line must listen for every scheme in every place (one without caller id goes on: it may be ordered any day)."""
    return tally.fixed not in SCHEMES


def _share(tally: Tally, scheme: str) -> float:
    found = with_number(tally)
    return getattr(tally, scheme) / found if found else 0.0


def _place(tally: Tally) -> str:
    found = with_number(tally)
    return "" if not found else "before" if tally.before * 2 > found else "after"


TEXTS: Final[dict[Decision, tuple[str, str]]] = {
    "listening": ("listening for every scheme, {days} days left, {found} of {calls} calls had a number",
                  "正在监听所有制式，还剩 {days} 天，{calls} 次来电中 {found} 次有号码"),
    "fixed": ("{scheme}, {place} the first ring ({share} % of {found} calls)",
              "{scheme}，首次振铃{place_zh}（{found} 次来电中占 {share} %）"),
    "none": ("line has no caller id ({calls} calls): order it from the operator",
             "线路没有来电显示（{calls} 次来电）：请向运营商申请开通"),
    "mixed": ("several schemes: {bell202} Bell 202, {v23} V.23, {dtmf} DTMF; all are listened for",
              "多种制式：Bell 202 {bell202} 次，V.23 {v23} 次，DTMF {dtmf} 次；继续全部监听"),
}  # fmt: skip
NAMES: Final = {"bell202": "FSK Bell 202", "v23": "FSK V.23", "dtmf": "DTMF"}


def describe(tally: Tally, now: int) -> tuple[str, str]:
    """The verdict in words, English and Chinese."""
    verdict = decide(tally, now)
    values = {
        "days": verdict.days_left, "found": with_number(tally), "calls": tally.calls, "scheme": NAMES.get(verdict.scheme, ""),
        "place": verdict.place, "place_zh": "之前" if verdict.place == "before" else "之后", "share": round(100 * verdict.share),
        "bell202": tally.bell202, "v23": tally.v23, "dtmf": tally.dtmf,
    }  # fmt: skip
    english, chinese = TEXTS[verdict.decision]
    return english.format_map(values), chinese.format_map(values)
