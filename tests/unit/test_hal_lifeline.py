"""The lifeline rule: when the relay has current, over random lives of the processes; and its two bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firmware.hal.lifeline import GRACE_MS, LEAST_LOOKS, LifelineRule, LifelineWord, Seen

ALL = Seen(True, True, True)


def test_it_opens_only_when_everybody_is_there() -> None:
    for ready in (False, True):
        for core in (False, True):
            for media in (False, True):
                assert LifelineRule().judge(0, Seen(ready, core, media)) is (ready and core and media)


def test_a_restart_does_not_close_it_a_longer_absence_does() -> None:
    for gone in (Seen(True, False, True), Seen(False, True, False), Seen(False, False, False)):
        rule = LifelineRule()
        assert rule.judge(1000, ALL)
        for look in range(1, LEAST_LOOKS):
            assert rule.judge(1000 + GRACE_MS - LEAST_LOOKS + look, gone)
        assert not rule.judge(1000 + GRACE_MS, gone)
        assert not rule.judge(1000 + GRACE_MS + 1, Seen(False, True, True))
        assert rule.judge(1000 + GRACE_MS + 2, ALL)


def test_a_parent_that_was_itself_stopped_looks_again_before_it_gives_the_line_away() -> None:
    gone, stopped_ms = Seen(True, False, False), 10 * GRACE_MS
    rule = LifelineRule()
    assert rule.judge(0, ALL)
    assert rule.judge(stopped_ms, gone)         # heartbeats stood still with the machine
    assert rule.judge(stopped_ms + 1000, ALL)
    assert rule.judge(2 * stopped_ms, gone)
    for look in range(1, LEAST_LOOKS):
        assert rule.judge(2 * stopped_ms + look, gone) is (look < LEAST_LOOKS - 1)


def test_an_end_closes_it_at_once() -> None:
    rule = LifelineRule()
    assert rule.judge(0, ALL)
    assert not rule.judge(1, ALL._replace(ending=True))


STEP = st.tuples(st.integers(1, 4000), st.booleans(), st.booleans(), st.booleans(), st.sampled_from([False] * 9 + [True]))


@given(st.lists(STEP, max_size=60))
def test_current_means_that_all_were_there_within_the_grace_time(steps: list[tuple[int, bool, bool, bool, bool]]) -> None:
    rule, now, good, missed = LifelineRule(), 0, None, 0
    for pause, *flags in steps:
        now += pause
        seen = Seen(*flags)
        on = rule.judge(now, seen)
        missed = 0 if seen.pair_ready and seen.core and seen.media else missed + 1
        if seen.ending:
            assert not on
            continue
        if seen.pair_ready and seen.core and seen.media:
            good = now
            assert on
        elif on:
            assert good is not None
            assert now - good < GRACE_MS or missed < LEAST_LOOKS


def test_the_word_tells_both_ways() -> None:
    word = LifelineWord()
    assert (word.pair_ready, word.relay, word.joined) == (False, "none", False)
    word.pair_ready = True
    assert word.joined
    for state in ("released", "energised", "stuck", "none"):
        word.relay = state  # type: ignore[assignment]
        assert word.relay == state
    word.relay = "energised"
    assert not word.joined
