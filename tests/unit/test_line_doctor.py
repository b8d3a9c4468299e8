"""The line doctor's judgments, words, self-test rules and caller id votes: pure functions."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.line import callerid_auto as auto
from firmware.line.doctor import (
    ChipView,
    Compared,
    EchoView,
    LastEnd,
    LoopTest,
    PortView,
    better_gain_db,
    better_setting,
    judge,
    judge_current,
    judge_echo,
    judge_loop,
)
from firmware.line.doctor_facts import ago, facts
from firmware.line.doctor_texts import DETAILS, SAYINGS, advise, say
from firmware.line.selftest import Reading, carry, due, verdict

GOOD_ECHO = EchoView(3, 18.0, 28.0, 4, -62.0, 40, 1, 0, -20.0)


def line(**facts: Any) -> PortView:
    """A healthy idle line but for what the test says."""
    healthy = {"kind": "fxo", "endpoint": "line/3", "jack": "3", "state": "IDLE", "available": "idle", "battery": True, "volts": 48.0}
    return PortView(**{**healthy, **facts})


def phone(**facts: Any) -> PortView:
    healthy = {"kind": "fxs", "endpoint": "101", "jack": "1", "state": "IDLE", "available": "idle", "volts": 48.0}
    return PortView(**{**healthy, **facts})


def codes(view: PortView) -> list[str]:
    return [finding.code for finding in judge(view)]


# --- an installer's findings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (line(), ["well"]),
        (line(battery=None, volts=0.0), ["not-measured", "well"]),
        (line(battery=False, volts=0.0), ["no-voltage"]),
        (line(volts=8.2, state="IN_USE"), ["parallel"]),
        (line(volts=-12.0), ["parallel"]),
        (line(volts=19.0), ["low-voltage"]),
        (line(volts=24.0), ["weak-voltage", "well"]),
        (line(volts=72.0), ["high-voltage"]),
        (line(volts=-48.0, reversed=True), ["reversed", "well"]),
        (line(volts=-48.0, reversed=True, uses_polarity=True), ["reversed"]),
        (line(off_hook_ma=12.0), ["long-line", "well"]),
        (line(off_hook=True, in_call=True, state="TALKING", volts=8.0, milliamps=25.0), ["busy"]),
        (line(off_hook=True, in_call=True, state="TALKING", volts=5.0, milliamps=0.0), ["no-current"]),
        (line(detail="no dial tone"), ["no-dial-tone"]),
        (line(detail="no loop current"), ["no-current"]),
        (line(test_failed="no-dial-tone", test_s=5), ["no-dial-tone"]),
        (line(dial_tone_ms=4000), ["slow-dial-tone", "well"]),
        (line(with_id=0, without_id=5), ["no-caller-id"]),
        (line(with_id=1, without_id=5), ["well"]),
        (line(with_id=0, without_id=5, caller_id_expected=False), ["well"]),
        (line(with_id=4, without_id=2, caller_id_errors=2), ["caller-id-damaged"]),
        (line(guesses=2), ["release-guessed"]),
        (line(last_end=LastEnd("normal", "silence", 0.4, "", True, 60)), ["release-guessed"]),
        (line(last_end=LastEnd("normal", "polarity", 0.95, "", True, 60)), ["well"]),
        (line(chip=ChipView("link", "isolation link", out=True, name=("a", "b"), todo=("c", "d"))), ["chip-out"]),
        (line(chip=ChipView("chip-reset", "", faults_today=1)), ["chip-fault"]),
        (line(chip=ChipView(faults_today=3)), ["chip-recovered", "well"]),
        (line(echo=GOOD_ECHO), ["well"]),
        (phone(), ["well"]),
        (phone(volts=6.0), ["no-feed"]),
        (phone(state="LOCKOUT", off_hook=True, milliamps=20.0, seconds=400), ["left-off-hook"]),
        (phone(state="TALKING", off_hook=True, in_call=True, milliamps=20.0, seconds=4000), ["busy"]),
        (phone(state="TALKING", off_hook=True, in_call=True, milliamps=8.0), ["phone-far", "busy"]),
    ],
)
def test_what_an_installer_would_say(view: PortView, expected: list[str]) -> None:
    assert codes(view) == expected


def test_a_dead_line_is_not_also_accused_of_having_no_dial_tone() -> None:
    assert codes(line(battery=False, volts=0.0, test_failed="no-dial-tone", detail="no dial tone")) == ["no-voltage"]


def test_worst_comes_first() -> None:
    view = line(volts=24.0, without_id=9, detail="no dial tone", echo=EchoView(2, 6.0, 20.0, 3, -45.0))
    weights = [finding.weight for finding in judge(view)]
    assert weights == sorted(weights, key=("fault", "warning", "hint", "good").index) and weights[0] == "fault"


@pytest.mark.parametrize(
    ("milliamps", "code"), [(0.4, "no-current"), (7.0, "low-current"), (12.0, "long-line"), (25.0, ""), (75.0, "high-current")]
)
def test_loop_current(milliamps: float, code: str) -> None:
    assert [one.code for one in judge_current(milliamps)] == ([code] if code else [])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"noise_dbm0": -45.0}, ["noisy"]),
        ({"noise_dbm0": -35.0}, ["very-noisy"]),
        ({"erl_db": 6.0}, ["poor-match"]),
        ({"erl_db": 12.0, "erle_db": 8.0}, ["echo-left"]),
        ({"erl_db": 30.0, "erle_db": 8.0}, []),
        ({"audible": 9}, ["echo-heard"]),
        ({"clipped": 5}, ["too-loud"]),
        ({"level_dbm0": -34.0}, ["too-quiet"]),
        ({"calls": 0, "erl_db": 1.0}, []),
    ],
)
def test_echo_in_words(change: dict[str, Any], expected: list[str]) -> None:
    values = {name: getattr(GOOD_ECHO, name) for name in GOOD_ECHO.__struct_fields__}
    assert [one.code for one in judge_echo(EchoView(**{**values, **change}))] == expected


def test_gain_is_changed_only_where_it_is_worth_it() -> None:
    def gain(level: float, clipped: int = 0) -> float:
        return better_gain_db(EchoView(2, 18.0, 25.0, 4, -60.0, level_dbm0=level, clipped=clipped))

    assert [gain(-20.0), gain(-25.0), gain(-45.0), gain(-10.0), gain(0.0), gain(-19.0, 3)] == [0.0, 6.0, 6.0, -6.0, 0.0, -3.0]


def test_a_termination_is_changed_for_three_decibels() -> None:
    tried = [Compared("10", 14.0), Compared("0", 16.5), Compared("5", 18.0)]
    best = better_setting(tried, "10")
    assert best is not None and best.setting == "5"
    assert better_setting(tried[:2], "10") is None and better_setting(tried, "9") is None and better_setting([], "0") is None


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (LoopTest(48.0, None, 0.5, 1.0, None), []),
        (LoopTest(foreign_volts=48.0), ["foreign-voltage"]),
        (LoopTest(feed_volts=4.0), ["no-feed"]),
        (LoopTest(leak_kohms=8.0), ["leak"]),
        (LoopTest(loop_ohms=12.0), ["shorted"]),
        (LoopTest(loop_ohms=600.0), []),
        (LoopTest(loop_ohms=1500.0), ["phone-far-ohms"]),
        (LoopTest(ren=0.0), ["nothing-rings"]),
        (LoopTest(ren=6.5), ["too-many-bells"]),
        (None, []),
    ],
)
def test_line_test_of_a_telephone_jack(test: LoopTest | None, expected: list[str]) -> None:
    assert [one.code for one in judge_loop(test)] == expected


_views = st.builds(
    PortView, kind=st.sampled_from(["fxo", "fxs"]), endpoint=st.just("line/1"), jack=st.just("1"),
    battery=st.sampled_from([None, True, False]),
    volts=st.floats(-130, 130), milliamps=st.floats(0, 130), off_hook=st.booleans(), in_call=st.booleans(), seconds=st.integers(0, 10**6),
    state=st.sampled_from(["IDLE", "IN_USE", "NO_LINE", "TALKING", "LOCKOUT", ""]), reversed=st.booleans(), with_id=st.integers(0, 9),
    without_id=st.integers(0, 9), caller_id_errors=st.integers(0, 9), guesses=st.integers(0, 9), off_hook_ma=st.floats(0, 120),
    echo=st.none() | st.builds(
        EchoView, st.integers(0, 5), st.floats(0, 40), st.floats(0, 60), st.integers(0, 128), st.floats(-90, -10), st.integers(0, 99),
        st.integers(0, 99), st.integers(0, 9), st.floats(-60, 0),
    ),
    chip=st.none() | st.builds(
        ChipView, st.sampled_from(["", "link"]), st.just("x"), st.booleans(), st.integers(0, 3), st.just(("name", "名称")),
        st.just(("do", "处理")),
    ),
    detail=st.sampled_from(["", "no dial tone", "no loop current"]), test_s=st.integers(-1, 99), ring_s=st.integers(-1, 10**7),
    caller_s=st.integers(-1, 10**7),
)  # fmt: skip


@pytest.mark.hypothesis
@given(_views)
def test_every_port_gets_whole_sentences_in_both_languages(view: PortView) -> None:
    found = judge(view)
    assert found, "a port about which nothing can be said"
    for finding in found:
        for language in ("en", "zh"):
            for text in (say(finding, language), advise(finding, language, view.jack)):
                assert "{" not in text and "?" not in text.replace("socket?", "").replace("plugged in?", ""), (finding, text)
    for fact in facts(view):
        assert fact.name_en and fact.name_zh and fact.value_en and fact.value_zh


def test_texts_name_the_same_values_in_both_languages() -> None:
    def names(text: str) -> set[str]:
        return {field for _, field, _, _ in string.Formatter().parse(text) if field}

    for code, saying in SAYINGS.items():
        assert names(saying.en) == names(saying.zh) and names(saying.do_en) == names(saying.do_zh), code
        assert bool(saying.do_en) == bool(saying.do_zh), code
        assert any("\u4e00" <= character <= "\u9fff" for character in saying.zh), code


def test_what_machines_say_of_their_state_is_known_in_chinese() -> None:
    folder = Path(__file__).parents[2] / "firmware" / "line"
    source = "\n".join(path.read_text("utf-8") for path in folder.glob("fx*.py"))
    said = set(re.findall(r'_(?:enter|fault)\((?:"[A-Z_]+", )?"([a-z][^"]+)"', source))
    assert len(said) >= 6 and said <= set(DETAILS), said - set(DETAILS)


def test_facts_say_what_was_measured_and_leave_out_the_rest() -> None:
    found = {fact.code: fact for fact in facts(line(off_hook=True, milliamps=22.4, volts=-8.0, reversed=True))}
    assert found["voltage"].value_en == "8 V, polarity reversed" and found["current"].value_zh == "22.4 毫安"
    assert not {"caller", "ring", "echo", "chip", "test", "hang-up"} & set(found)
    end = LastEnd("normal", "busy-tone", 0.92, "", True, 7200)
    told = {fact.code: fact for fact in facts(line(last_end=end, ring_s=61, rings=2, caller="139", caller_s=61, with_id=1))}
    assert told["hang-up"].value_en == "2 h ago: hang-up by the other side; busy tone, 92 % sure"
    assert told["ring"].value_en == "1 min ago, 2 rings" and told["caller"].value_zh == "139，1 分钟前"
    assert [ago(seconds)[0] for seconds in (5, 90, 4000, 200_000)] == ["5 s ago", "1 min ago", "1 h ago", "2 days ago"]


# --- self-test -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reading", "failed"),
    [
        (Reading("fxo", 48.0, 25.0, 400), ""),
        (Reading("fxo", 0.0), "no-voltage"),
        (Reading("fxo", 8.0), "parallel"),
        (Reading("fxo", 19.0, 25.0, 400), "low-voltage"),
        (Reading("fxo", 48.0, None, None, cause="line-fault"), "no-current"),
        (Reading("fxo", 48.0, 25.0, None, cause="no-dial-tone"), "no-dial-tone"),
        (Reading("fxo", 48.0, 25.0, None), "no-dial-tone"),
        (Reading("fxo", 48.0, 6.0, 400), "low-current"),
        (Reading("fxo", 48.0, 25.0, None, cause="congestion"), "no-dial-tone"),
        (Reading("fxs", 48.0), ""),
        (Reading("fxs", 5.0), "no-feed"),
        (Reading("fxs", 48.0, off_hook=True), "left-off-hook"),
    ],
)
def test_verdict_of_a_self_test(reading: Reading, failed: str) -> None:
    assert verdict(reading) == failed
    assert not failed or failed in SAYINGS


def test_failures_are_counted_in_a_row_and_broken_off_tests_do_not_count() -> None:
    bad, good = Reading("fxo", 48.0, cause="no-dial-tone"), Reading("fxo", 48.0, 25.0, 300)
    first = carry(None, "line/1", bad, 1000)
    second = carry(first, "line/1", bad, 2000)
    assert first is not None and second is not None and (first.in_row, second.in_row) == (1, 2)
    assert carry(second, "line/1", Reading("fxo", 48.0, broken_off="a call comes"), 3000) is None
    well = carry(second, "line/1", good, 4000)
    assert well is not None and (well.in_row, well.failed, well.dial_tone_ms) == (0, "", 300)


def test_the_hour_of_the_self_test() -> None:
    def at(minute: int, *, last: str = "2026-01-01", quiet: int = 3_600_000, calls: int = 0, begin: str = "23:30") -> bool:
        return due(begin, minute, "2026-01-02", last, quiet, calls=calls)

    assert at(23 * 60 + 30) and at(10) and at(149)                   # three hours, over midnight
    assert not at(23 * 60 + 29) and not at(150) and not at(12 * 60)
    assert not at(23 * 60 + 30, last="2026-01-02")                   # once a day
    assert not at(23 * 60 + 30, calls=1) and not at(23 * 60 + 30, quiet=599_999)
    assert not at(23 * 60 + 30, begin="")


# --- caller id --------------------------------------------------------------------------------------------------------------


def voted(*schemes: str | None, start: int = 1000, step: int = 3_600_000) -> tuple[auto.Tally, int]:
    tally, now = auto.Tally(), start
    for scheme in schemes:
        tally = auto.settle(auto.vote(tally, now, scheme), now)  # type: ignore[arg-type]
        now += step
    return tally, now


def test_a_week_of_calls_fixes_the_scheme() -> None:
    tally, now = voted("v23", "v23", None, "v23")
    assert auto.decide(tally, now).decision == "listening" and auto.wide(tally)
    after = auto.settle(tally, 1000 + auto.WEEK_MS)
    assert after.fixed == "v23" and not auto.wide(after)
    assert auto.describe(after, now)[0] == "FSK V.23, after the first ring (100 % of 3 calls)"


def test_many_calls_that_agree_need_no_week_and_those_that_differ_are_heard_on() -> None:
    assert voted(*["dtmf"] * auto.ENOUGH)[0].fixed == "dtmf"
    tally, _ = voted(*["dtmf", "bell202"] * auto.ENOUGH)
    assert not tally.fixed and auto.decide(tally, 1000 + auto.WEEK_MS).decision == "mixed"


def test_a_line_without_caller_id_is_reported_and_still_listened_to() -> None:
    tally, _ = voted(*[None] * 6)
    none = auto.settle(tally, 1000 + auto.WEEK_MS)
    assert none.fixed == "none" and auto.wide(none)
    assert "line has no caller id" in auto.describe(none, 0)[0] and "没有来电显示" in auto.describe(none, 0)[1]
    ordered = auto.settle(auto.vote(none, 2000 + auto.WEEK_MS, "bell202"), 2000 + auto.WEEK_MS)
    assert ordered.fixed == ""
    few, _ = voted(None, None)
    assert auto.decide(few, 1000 + auto.WEEK_MS).decision == "listening"


def test_a_fixed_line_that_loses_its_number_listens_again() -> None:
    tally, now = voted(*["bell202"] * auto.ENOUGH)
    for missed in range(auto.LAPSE):
        assert tally.fixed == "bell202", missed
        tally = auto.settle(auto.vote(tally, now + missed, None), now + missed)
    assert tally.fixed == "" and tally.calls == 0


@pytest.mark.hypothesis
@given(st.lists(st.sampled_from(["bell202", "v23", "dtmf", None]), max_size=60), st.integers(1, 20 * 86_400_000))
def test_votes_never_contradict_themselves(schemes: list[str | None], step: int) -> None:
    tally, now = voted(*schemes, step=step)
    assert auto.with_number(tally) <= tally.calls <= len(schemes)
    result = auto.decide(tally, now)
    assert (result.decision == "fixed") == bool(result.scheme)
    if result.scheme:
        assert result.share >= auto.SHARE or tally.fixed
    assert all(auto.describe(tally, now))


