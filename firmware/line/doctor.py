"""The line doctor's judgment: from what is known of a port to what a person should do (L1, pure).

Theory of operation
-------------------
`PortView` is everything that core knows of one jack at one instant; `judge` looks at it as an experienced installer does, worst first, and
answers with findings: a code, how bad it is, and the figures of its sentence. The sentences themselves are data in both languages
(`doctor_texts.py`). Nothing here measures or decides for a call: a wrong diagnosis costs a walk, never a conversation.
Sources of the limits: line-card facts of the project, sections 1.4 and 1.6 (line voltage, loop current), Si3050 data sheet 5.9 (LCS), ITU-T
G.168 (echo), the country profiles.
Invariants: a port with nothing wrong has exactly one finding, "well" or what it is busy with; every code has a text in both languages; a
view that knows nothing (just started) accuses nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Weight = Literal["fault", "warning", "hint", "good"]
WEIGHTS: Final[tuple[Weight, ...]] = ("fault", "warning", "hint", "good")

NO_LINE_VOLTS: Final = 3.0  # below: no battery
PARALLEL_VOLTS: Final = 18.0  # below, on-hook: another telephone holds the line
LOW_VOLTS: Final = 20.0
WEAK_VOLTS: Final = 36.0  # an adapter or a PBX feeds 24 V; an exchange 48 V
HIGH_VOLTS: Final = 60.0
LEAST_MA: Final = 10.0  # below, the exchange may not see us off-hook at all
LONG_MA: Final = 18.0  # a telephone works, quietly
MOST_MA: Final = 60.0
FEED_VOLTS: Final = 20.0  # FXS: less on an open loop is no feed
NOISY_DBM0: Final = -50.0
VERY_NOISY_DBM0: Final = -40.0
POOR_ERL_DB: Final = 10.0
POOR_ERLE_DB: Final = 15.0
STALE_S: Final = 30 * 86400
UNSURE: Final = 0.65  # a release that is believed less than this was a guess
CALLS_WITHOUT_ID: Final = 5
SLOW_TONE_MS: Final = 3000
LONG_OFF_HOOK_S: Final = 300


class Finding(msgspec.Struct, frozen=True):
    """One thing to know: `values` fill the sentence of `code`."""

    code: str
    weight: Weight
    values: Mapping[str, str] = {}


class LastEnd(msgspec.Struct, frozen=True):
    """How the last call on a port ended; `seconds` ago."""

    cause: str
    kind: str
    confidence: float
    detail: str
    by_far: bool
    seconds: int


class EchoView(msgspec.Struct, frozen=True):
    """Echo figures of the last calls (medians): dB, ms, dBm0; `calls` that were long enough to count."""

    calls: int
    erl_db: float
    erle_db: float
    delay_ms: int
    noise_dbm0: float
    words: int = 0
    audible: int = 0
    clipped: int = 0
    level_dbm0: float = 0.0  # of the line's speech, 0 = not measured


class ChipView(msgspec.Struct, frozen=True):
    """Health of the chip. `fault`: its kind, "" = well; `name`, `todo` in words, English and Chinese; `text`: step and what was read."""

    fault: str = ""
    text: str = ""
    out: bool = False
    faults_today: int = 0
    name: tuple[str, str] = ("", "")
    todo: tuple[str, str] = ("", "")


class LoopTest(msgspec.Struct, frozen=True):
    """A telephone jack's line test: what the chip measured; None where it cannot."""

    feed_volts: float | None = None
    loop_ohms: float | None = None
    foreign_volts: float | None = None
    ren: float | None = None
    leak_kohms: float | None = None


class PortView(msgspec.Struct, frozen=True, kw_only=True):
    """A port as the doctor sees it; numbers as measured, -1 or None for never and unknown. Times ago in seconds."""

    kind: Literal["fxo", "fxs"]
    endpoint: str
    jack: str
    label: str = ""
    state: str = ""
    available: str = ""
    detail: str = ""
    seconds: int = 0
    battery: bool | None = None
    volts: float = 0.0
    reversed: bool = False
    uses_polarity: bool = False
    milliamps: float = 0.0
    off_hook: bool = False
    in_call: bool = False
    ring_s: int = -1
    rings: int = 0
    caller: str = ""
    caller_s: int = -1
    with_id: int = 0
    without_id: int = 0
    caller_id_expected: bool = True
    caller_id_errors: int = 0
    last_end: LastEnd | None = None
    guesses: int = 0  # of the last ten releases, those that were guessed
    echo: EchoView | None = None
    chip: ChipView | None = None
    test_failed: str = ""  # code of the last self-test's failure
    test_s: int = -1
    dial_tone_ms: int = -1
    off_hook_ma: float = 0.0  # loop current seen last while off-hook
    loop: LoopTest | None = None
    alarms: tuple[tuple[str, str], ...] = ()    # English, Chinese


def judge(view: PortView) -> list[Finding]:
    """What is to be said of a port, worst first."""
    found = [*_chip(view), *(_fxo(view) if view.kind == "fxo" else _fxs(view))]
    if not any(one.weight in ("fault", "warning") for one in found):
        found.append(Finding("busy" if view.in_call else "well", "good"))
    return sorted(found, key=lambda one: WEIGHTS.index(one.weight))


def _chip(view: PortView) -> list[Finding]:
    chip = view.chip
    if chip is None or not (chip.fault or chip.faults_today):
        return []
    values = {
        "name_en": chip.name[0], "name_zh": chip.name[1], "todo_en": chip.todo[0], "todo_zh": chip.todo[1],
        "count": str(chip.faults_today),
    }  # fmt: skip
    if chip.out:
        return [Finding("chip-out", "fault", values)]
    return [Finding("chip-fault", "warning", values)] if chip.fault else [Finding("chip-recovered", "hint", values)]


# --- outside lines ------------------------------------------------------------------------------------------------------


def _fxo(view: PortView) -> list[Finding]:
    if view.chip is not None and view.chip.out:
        return []
    feed = _feed(view)
    found = list(feed)
    if not any(one.weight == "fault" for one in feed):
        found += _tests(view)
    return [*found, *_caller_id(view), *_release(view), *judge_echo(view.echo)]


def _feed(view: PortView) -> list[Finding]:
    """Voltage at rest, current while seized."""
    size = abs(view.volts)
    volts = {"volts": f"{size:.0f}"}
    if view.battery is None and not size:
        return [Finding("not-measured", "hint")] if not view.off_hook else []
    if view.off_hook:
        return judge_current(view.milliamps)
    found = []
    if view.battery is False or size < NO_LINE_VOLTS:
        return [Finding("no-voltage", "fault")]
    if "ringing voltage without end" in view.detail:
        found.append(Finding("ring-stuck", "fault"))
    if view.state == "IN_USE" or size < PARALLEL_VOLTS:
        found.append(Finding("parallel", "warning", volts))
    elif size < LOW_VOLTS:
        found.append(Finding("low-voltage", "warning", volts))
    elif size < WEAK_VOLTS:
        found.append(Finding("weak-voltage", "hint", volts))
    elif size > HIGH_VOLTS:
        found.append(Finding("high-voltage", "warning", volts))
    if view.reversed:
        found.append(Finding("reversed", "warning" if view.uses_polarity else "hint"))
    if view.off_hook_ma:
        found += judge_current(view.off_hook_ma)
    return found


def judge_current(milliamps: float) -> list[Finding]:
    """Loop current of a line that we hold off-hook."""
    values = {"milliamps": f"{milliamps:.0f}"}
    if milliamps < 1:
        return [Finding("no-current", "fault", values)]
    if milliamps < LEAST_MA:
        return [Finding("low-current", "warning", values)]
    if milliamps < LONG_MA:
        return [Finding("long-line", "hint", values)]
    return [Finding("high-current", "warning", values)] if milliamps > MOST_MA else []


def _tests(view: PortView) -> list[Finding]:
    found = []
    if view.test_failed == "no-dial-tone" or "no dial tone" in view.detail:
        found.append(Finding("no-dial-tone", "fault"))
    elif "no loop current" in view.detail or view.test_failed == "no-current":
        found.append(Finding("no-current", "fault", {"milliamps": "0"}))
    elif view.dial_tone_ms >= SLOW_TONE_MS:
        found.append(Finding("slow-dial-tone", "hint", {"seconds": f"{view.dial_tone_ms / 1000:.1f}"}))
    return found


def _caller_id(view: PortView) -> list[Finding]:
    calls = view.with_id + view.without_id
    if not view.caller_id_expected or not calls:
        return []
    if view.caller_id_errors and view.caller_id_errors * 3 >= calls:
        return [Finding("caller-id-damaged", "warning", {"count": str(view.caller_id_errors), "calls": str(calls)})]
    if view.without_id >= CALLS_WITHOUT_ID and not view.with_id:
        return [Finding("no-caller-id", "warning", {"calls": str(calls)})]
    return []


def _release(view: PortView) -> list[Finding]:
    end = view.last_end
    if view.guesses >= 2 or (end is not None and end.kind == "silence"):
        return [Finding("release-guessed", "warning", {"count": str(max(view.guesses, 1))})]
    return []


# --- echo ---------------------------------------------------------------------------------------------------------------


def judge_echo(echo: EchoView | None) -> list[Finding]:
    """Echo, noise and level in words; empty when there is nothing to say or nothing was measured."""
    if echo is None or not echo.calls:
        return []
    found = []
    values = {
        "erl": f"{echo.erl_db:.0f}", "erle": f"{echo.erle_db:.0f}", "delay": str(echo.delay_ms), "noise": f"{echo.noise_dbm0:.0f}",
        "level": f"{echo.level_dbm0:.0f}", "audible": str(echo.audible), "words": str(echo.words),
    }  # fmt: skip
    if echo.noise_dbm0 > VERY_NOISY_DBM0:
        found.append(Finding("very-noisy", "warning", values))
    elif echo.noise_dbm0 > NOISY_DBM0:
        found.append(Finding("noisy", "hint", values))
    if echo.erl_db < POOR_ERL_DB:
        found.append(Finding("poor-match", "warning", values))
    if echo.erle_db < POOR_ERLE_DB and echo.erl_db + echo.erle_db < 35.0:
        found.append(Finding("echo-left", "warning", values))
    elif echo.words >= 20 and echo.audible * 10 > echo.words:
        found.append(Finding("echo-heard", "warning", values))
    if echo.clipped:
        found.append(Finding("too-loud", "warning", values))
    elif echo.level_dbm0 and echo.level_dbm0 < -30.0:
        found.append(Finding("too-quiet", "hint", values))
    return found


def better_gain_db(echo: EchoView) -> float:
    """Change of the gain from the line that brings its speech to about -19 dBm0, in whole dB within 6; 0 = leave it."""
    if echo.clipped:
        return -3.0
    if not echo.level_dbm0:
        return 0.0
    wanted = round(-19.0 - echo.level_dbm0)
    return float(max(-6, min(6, wanted))) if abs(wanted) >= 4 else 0.0


class Compared(msgspec.Struct, frozen=True):
    """One termination that was tried: name or number of the setting, echo return loss in dB (more is better)."""

    setting: str
    erl_db: float


def better_setting(tried: list[Compared], present: str, least_gain_db: float = 3.0) -> Compared | None:
    """The termination worth changing to: better than the present one by 3 dB at least; None = keep it."""
    now = next((one.erl_db for one in tried if one.setting == present), None)
    best = max(tried, key=lambda one: one.erl_db, default=None)
    if best is None or best.setting == present or now is None:
        return None
    return best if best.erl_db - now >= least_gain_db else None


# --- telephones ---------------------------------------------------------------------------------------------------------


def _fxs(view: PortView) -> list[Finding]:
    if view.chip is not None and view.chip.out:
        return []
    found = []
    if view.state in ("HOWLER", "LOCKOUT") or (view.off_hook and not view.in_call and view.seconds >= LONG_OFF_HOOK_S):
        found.append(Finding("left-off-hook", "warning", {"time": f"{view.seconds // 60}:{view.seconds % 60:02}"}))
    elif not view.off_hook and 0 < abs(view.volts) < FEED_VOLTS and view.state == "IDLE":
        found.append(Finding("no-feed", "fault", {"volts": f"{abs(view.volts):.0f}"}))
    elif view.off_hook and 0 < view.milliamps < LEAST_MA:
        found.append(Finding("phone-far", "hint", {"milliamps": f"{view.milliamps:.0f}"}))
    return [*found, *judge_loop(view.loop), *(one for one in judge_echo(view.echo) if one.code != "too-quiet")]


def judge_loop(test: LoopTest | None) -> list[Finding]:
    """A telephone jack's line test in words."""
    if test is None:
        return []
    found = []
    if test.foreign_volts is not None and abs(test.foreign_volts) > 6.0:
        found.append(Finding("foreign-voltage", "fault", {"volts": f"{abs(test.foreign_volts):.0f}"}))
    if test.feed_volts is not None and abs(test.feed_volts) < FEED_VOLTS:
        found.append(Finding("no-feed", "fault", {"volts": f"{abs(test.feed_volts):.0f}"}))
    if test.leak_kohms is not None and test.leak_kohms < 20.0:
        found.append(Finding("leak", "warning", {"kohms": f"{test.leak_kohms:.0f}"}))
    if test.loop_ohms is not None and test.loop_ohms < 60.0:
        found.append(Finding("shorted", "fault", {"ohms": f"{test.loop_ohms:.0f}"}))
    elif test.loop_ohms is not None and test.loop_ohms > 1400.0:
        found.append(Finding("phone-far-ohms", "hint", {"ohms": f"{test.loop_ohms:.0f}"}))
    if test.ren is not None and test.ren < 0.1:
        found.append(Finding("nothing-rings", "hint"))
    elif test.ren is not None and test.ren > 5.0:
        found.append(Finding("too-many-bells", "warning", {"ren": f"{test.ren:.1f}"}))
    return found
