"""The FXS machine and the hook classifier: what a telephone does, and what it must hear, feel and cause."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.call.model import Alert, Cause, Party
from firmware.config.schema.ports import FxsPhone
from firmware.errors import LocalProtocolError, RemoteProtocolError
from firmware.line import callerid, tables
from firmware.line import signals as s
from firmware.line.fxs import FXS_TABLE, Fxs, FxsFacts
from firmware.line.profiles import profile
from firmware.line.pulse import Flashed, HookClassifier, HookMode, HungUp, LiftedUp, PulseDigit, PulseLimits
from tests.unit.line_bench import COUNTRIES, plan
from tests.unit.line_bench import Phone as Bench

# --- the hook -----------------------------------------------------------------------------------------------------------


def classify(breaks: list[tuple[int, int]], mode: HookMode, end: int = 5000) -> list[Any]:
    """Events of a telephone lifted at 0 and opened for each (wait, break)."""
    hook, now = HookClassifier(PulseLimits()), 0
    hook.set_mode(mode)
    hook.receive(True, 0)
    for wait, length in breaks:
        hook.receive(False, now + wait)
        hook.receive(True, now + wait + length)
        now += wait + length
    hook.expire(now + end)
    return hook.events()[1:]


@pytest.mark.parametrize("count", range(1, 11))
@pytest.mark.parametrize("length", [35, 60, 67, 100])
def test_pulses_are_digits(count: int, length: int) -> None:
    assert [event.digit for event in classify([(100 - min(length, 60), length)] * count, HookMode.DIAL)] == [str(count % 10)]


def test_too_many_pulses_are_no_digit() -> None:
    assert classify([(40, 60)] * 12, HookMode.DIAL) == []


@pytest.mark.parametrize(("length", "what"), [(10, []), (50, []), (79, []), (80, [Flashed]), (500, [Flashed]), (800, [Flashed])])
def test_flash_window_in_a_call(length: int, what: list[type]) -> None:
    assert [type(event) for event in classify([(1000, length)], HookMode.TALK)] == what


def test_break_beyond_the_flash_is_a_hang_up_with_its_beginning() -> None:
    events = classify([(1000, 900)], HookMode.TALK)
    assert events[0] == HungUp(1801, 1000) and isinstance(events[1], LiftedUp)
    assert classify([(1000, 260)], HookMode.QUIET)[0] == HungUp(1250, 1000)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2000)), max_size=60), st.sampled_from(list(HookMode)))
def test_hook_events_alternate_whatever_comes(steps: list[tuple[bool, int]], mode: HookMode) -> None:
    hook, now, lifted = HookClassifier(PulseLimits()), 0, False
    hook.set_mode(mode)
    for closed, wait in steps:
        hook.receive(closed, now)
        now += wait
        hook.expire(now)
        for event in hook.events():
            if isinstance(event, LiftedUp):
                assert not lifted
                lifted = True
            elif isinstance(event, HungUp):
                assert lifted
                lifted = False
            else:
                assert lifted and (not isinstance(event, PulseDigit) or event.digit in "1234567890")


# --- dialling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("country", COUNTRIES)
def test_lifting_gives_dial_tone_and_keys_make_a_call(country: str) -> None:
    bench = Bench(country).lift()
    assert (bench.state, bench.tone()) == ("DIAL_TONE", "dial")
    bench.keys("2")
    assert (bench.state, bench.tone()) == ("COLLECTING", "")
    bench.keys("01")
    assert bench.one(s.Offered).called == "201" and bench.state == "CALLING"


@pytest.mark.parametrize(("rate", "share"), [(100, 60), (100, 67), (50, 60), (120, 55)])
def test_pulse_dialling_makes_the_same_call(rate: int, share: int) -> None:
    assert Bench().lift().run(300).pulses("201", rate, share).one(s.Offered).called == "201"


def test_inter_digit_time_ends_an_open_number() -> None:
    bench = Bench().lift().keys("95551234").run(3900)
    assert not bench.all(s.Offered)
    assert bench.run(200).one(s.Offered).called == "95551234"


def test_hash_ends_an_open_number() -> None:
    assert Bench().lift().keys("95551234#").one(s.Offered).called == "95551234"


def test_star_codes_are_numbers() -> None:
    assert Bench().lift().keys("*43").one(s.Offered).called == "*43"


@pytest.mark.parametrize("country", COUNTRIES)
def test_emergency_numbers_are_complete_whatever_the_plan_says(country: str) -> None:
    for number in (*profile(country).emergency, "119"):
        assert Bench(country).lift().keys(number).one(s.Offered).called == number


def test_impossible_number_gives_congestion_tone_and_no_call() -> None:
    bench = Bench().lift().keys("5")
    assert (bench.state, bench.tone()) == ("REORDER", "congestion") and not bench.all(s.Offered)


def test_telephone_left_off_hook_howls_and_is_locked_out() -> None:
    bench = Bench().lift().run(15_100)
    assert bench.state == "REORDER"
    bench.run(30_000)
    assert (bench.state, bench.tone()) == ("HOWLER", "howler")
    bench.run(60_000)
    assert (bench.state, bench.tone()) == ("LOCKOUT", "")
    assert bench.put_down().run(300).state == "IDLE"


def test_flash_while_dialling_begins_again() -> None:
    bench = Bench().lift().keys("20").flash(400)
    assert (bench.state, bench.tone()) == ("DIAL_TONE", "dial")
    assert bench.keys("101").one(s.Offered).called == "101"


# --- calling ------------------------------------------------------------------------------------------------------------


def test_call_hears_ringback_then_is_cut_through() -> None:
    bench = Bench().lift().keys("201").send(s.Progress)
    assert bench.tone() == "ringback"
    bench.send(s.Answer)
    assert (bench.state, bench.tone()) == ("TALKING", "") and bench.one(s.Answered).evidence.kind == "command"


@pytest.mark.parametrize(("cause", "tone"), [(Cause.BUSY, "busy"), (Cause.CONGESTION, "congestion"), (Cause.UNREACHABLE, "congestion")])
def test_call_that_fails_hears_why(cause: Cause, tone: str) -> None:
    bench = Bench().lift().keys("201").send(s.HangUp, cause)
    assert (bench.state, bench.tone(), bench.one(s.Ended).by_far) == ("REORDER", tone, False)
    assert s.FEED_OPEN not in bench.feeds()


def test_caller_who_hangs_up_before_the_answer_has_cancelled() -> None:
    bench = Bench().lift().keys("201").put_down().run(900)
    ended = bench.one(s.Ended)
    assert (ended.cause, ended.by_far, ended.evidence.kind, bench.state) == (Cause.CANCELLED, True, "on-hook", "IDLE")


def test_hanging_up_ends_the_call_by_the_telephone() -> None:
    bench = Bench().talk()
    opened = bench.now
    ended = bench.put_down().run(900).one(s.Ended)
    assert (ended.cause, ended.by_far) == (Cause.NORMAL, True) and str(opened) in ended.evidence.detail
    assert bench.state == "IDLE" and isinstance(bench.all(s.CloseAudio)[-1], s.CloseAudio)


def test_flash_is_told_and_the_call_goes_on() -> None:
    bench = Bench().talk().flash(200).run(3000)
    assert bench.one(s.HookFlash) and bench.state == "TALKING" and not bench.all(s.Ended)


def test_rotary_telephone_dials_behind_its_flash() -> None:
    bench = Bench().talk().flash(300).run(800).pulses("31").run(500)
    assert [key.digit for key in bench.all(s.Key)] == ["3", "1"] and len(bench.all(s.HookFlash)) == 1
    assert not Bench().talk().pulses("3").all(s.Key)          # without a flash these are dips of the line


@pytest.mark.parametrize("shows_open", [True, False])
def test_far_end_gone_opens_the_loop_then_gives_busy_tone(shows_open: bool) -> None:
    """Whether or not the scanner shows our own open line as an open loop."""
    bench = Bench().talk().send(s.HangUp, Cause.NORMAL)
    assert (bench.state, bench.feeds()[-1]) == ("FAR_GONE", s.FEED_OPEN) and bench.one(s.Ended).by_far is False
    if shows_open:
        bench.run(10).put_down()
    bench.run(500)
    assert bench.feeds()[-1] == s.FEED_ACTIVE
    if shows_open:
        bench.run(20).lift()
    bench.run(400)
    assert (bench.state, bench.tone()) == ("REORDER", "busy")
    assert bench.put_down().run(900).state == "IDLE"


def test_telephone_put_down_in_the_open_interval_is_idle_after_it() -> None:
    bench = Bench().talk().send(s.HangUp, Cause.NORMAL).run(10).put_down().run(900)
    assert bench.state == "IDLE" and bench.feeds()[-1] == s.FEED_ACTIVE
    assert bench.lift().state == "DIAL_TONE"


def test_who_hung_up_first_is_known_when_both_do() -> None:
    ended = Bench().talk().put_down().run(400).send(s.HangUp, Cause.NORMAL).one(s.Ended)
    assert ended.by_far and ended.evidence.kind == "on-hook" and ended.evidence.confidence < 1


# --- ringing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("country", ["CN", "US", "DE", "FR", "AU"])
def test_ringing_follows_the_cadence_with_caller_id_in_the_first_silence(country: str) -> None:
    bench = Bench(country)
    start = bench.now
    bench.ring().run(20_000)
    sent = bench.one(s.SendFsk)
    assert sent.standard == bench.profile.caller_id.standard
    parsed = callerid.parse(sent.payload, bench.profile.caller_id.charset)
    assert (parsed.party, parsed.when) == (Party("13912345678", "Anna"), "07041530")
    index = bench.actions.index(sent)
    before = [a.code for a in bench.actions[:index] if isinstance(a, s.Drive)]
    assert before[-1] == s.FEED_ON_HOOK_TX and before.count(s.FEED_RINGING) == len(bench.profile.ring_cadence_ms) // 2
    assert set(bench.feeds()) == {s.FEED_ACTIVE, s.FEED_RINGING, s.FEED_ON_HOOK_TX}
    assert bench.one(s.Ringing).at == start


def test_uk_caller_id_goes_before_ringing_after_reversal_and_alert_tone() -> None:
    bench = Bench("UK").ring()
    assert bench.feeds()[-1] == s.FEED_REVERSED_TX and not bench.all(s.Ringing)
    bench.run(400)
    assert bench.all(s.PlayTone)[-1].tone.freqs_hz == (2130.0, 2750.0)
    bench.run(400).fact(s.PlayerDone, bench.one(s.SendFsk).token).run(250)
    assert bench.feeds()[-1] == s.FEED_RINGING and bench.one(s.Ringing)


@pytest.mark.parametrize("country", COUNTRIES)
def test_ring_trip_stops_ringing_then_cuts_through(country: str) -> None:
    bench = Bench(country).ring().run(2500)
    while bench.feeds()[-1] != s.FEED_RINGING:
        bench.run(50)
    bench.fact(s.RingTrip)
    assert bench.feeds()[-1] == s.FEED_ACTIVE and not bench.all(s.Answered)
    bench.run(30).lift()
    assert bench.state == "TALKING" and bench.one(s.Answered).evidence.kind == "off-hook"


def test_lifting_in_the_silence_answers_too_and_stops_caller_id() -> None:
    bench = Bench().ring().run(1700)
    assert bench.all(s.SendFsk)
    bench.lift()
    assert bench.state == "TALKING" and s.StopPlayer() in bench.actions[-6:]


def test_false_ring_trip_rings_on() -> None:
    bench = Bench().ring().run(500).fact(s.RingTrip).run(250)
    assert bench.state == "RINGING" and bench.feeds()[-1] == s.FEED_RINGING


def test_nobody_lifts() -> None:
    bench = Bench().ring(ring_ms=20_000).run(20_100)
    assert bench.one(s.Ended).cause is Cause.NO_ANSWER and bench.state == "IDLE" and bench.feeds()[-1] == s.FEED_ACTIVE


def test_caller_leaves_as_the_telephone_is_lifted() -> None:
    bench = Bench().ring().run(300).send(s.HangUp, Cause.CANCELLED).run(200).lift()
    assert (bench.state, bench.tone()) == ("REORDER", "busy") and len(bench.all(s.Ended)) == 1
    late = Bench().ring().run(300).send(s.HangUp, Cause.CANCELLED).run(1500).lift()
    assert late.state == "DIAL_TONE"


def test_alerts_sound_different() -> None:
    times = []
    for alert in (Alert.NORMAL, Alert.RECALL, Alert.EMERGENCY):
        bench = Bench(caller_id=False).ring(alert=alert)
        start = bench.now
        while bench.feeds()[-1] == s.FEED_RINGING:
            bench.run(10)
        times.append(bench.now - start)
    assert len(set(times)) == 3


def test_busy_telephone_cannot_be_rung() -> None:
    with pytest.raises(LocalProtocolError, match="Ring in state DIAL_TONE"):
        Bench().lift().ring()


# --- adoption and table -------------------------------------------------------------------------------------------------


def again(bench: Bench, closed: bool | None, gap: int) -> Bench:
    bench.now += gap
    bench.machine = Fxs.restore(bench.machine.config, bench.profile, plan, (), bench.machine.snapshot())
    bench.actions.clear()
    bench.events.clear()
    bench.machine.attach(FxsFacts(closed), bench.now)
    bench.drain()
    return bench


def test_adopted_call_is_not_driven_and_hanging_up_in_the_gap_counts() -> None:
    bench = again(Bench().talk(), True, 2000)
    assert bench.state == "TALKING" and not bench.actions
    gone = again(Bench().talk(), False, 2000).run(900)
    assert gone.one(s.Ended).evidence.kind == "on-hook" and gone.state == "IDLE"


def test_ringing_telephone_rings_on_after_the_gap() -> None:
    bench = again(Bench().ring().run(1500), False, 1800)
    assert bench.state == "RINGING" and not bench.actions
    bench.run(6000)
    assert s.FEED_RINGING in bench.feeds()


def test_snapshot_that_is_none_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        Fxs.restore(FxsPhone(), profile("CN"), plan, (), b"\x00\x01")


def test_table_is_whole() -> None:
    assert tables.faults(Fxs) == []
    assert all(state in tables.mermaid() for state in FXS_TABLE)


INPUTS: list[Any] = [
    lambda at: s.Loop(at, True), lambda at: s.Loop(at, False), lambda at: s.RingTrip(at), lambda at: s.Digit(at, "1"),
    lambda at: s.Digit(at, "9"), lambda at: s.Digit(at, "#"), lambda at: s.Digit(at, "*"), lambda at: s.Digit(at, "A"),
    lambda at: s.PlayerDone(at, 1), lambda at: s.ToneHeard(at, "busy", 3, at), lambda at: s.Ring(at, Party("1")),
    lambda at: s.Progress(at), lambda at: s.Answer(at), lambda at: s.HangUp(at), lambda at: s.HangUp(at, Cause.BUSY),
    lambda at: s.SendDigits(at, "12"), lambda at: s.CallWaiting(at, Party("5")), lambda at: s.ShowMessages(at, True),
    lambda at: s.ShowMessages(at, False), lambda at: s.Digit(at, "D"),
]  # fmt: skip


def representatives() -> dict[str, Bench]:
    benches = [Bench(), Bench().ring(), Bench().lift(), Bench().lift().keys("2"), Bench().lift().keys("201"), Bench().talk()]
    benches += [Bench().talk_in(), Bench().send(s.ShowMessages).run(3100)]
    benches += [Bench().talk().send(s.HangUp), Bench().lift().keys("5"), Bench().lift().run(46_000), Bench().lift().run(106_000)]
    return {bench.state: bench for bench in benches}


def settle(bench: Bench, what: str = "") -> None:
    """Put down and left alone for 120 s a telephone is idle, whatever happened before."""
    bench.put_down().run(120_000)
    if bench.state == "NOTIFYING":                           # nobody confirmed the message: it is tried again each minute
        bench.fact(s.PlayerDone, bench.machine.state.notify_token).run(10_000)
    assert bench.state == "IDLE", f"{what}: {bench.state}"
    assert not bench.machine.state.call and bench.feeds()[-1] == s.FEED_ACTIVE
    rung = sum(1 for change in bench.all(s.StateChanged) if change.state == "ringing")
    assert len(bench.all(s.Ended)) == len(bench.all(s.Offered)) + rung


def test_every_input_in_every_state_keeps_to_the_table_and_to_the_way_home() -> None:
    assert set(representatives()) == set(FXS_TABLE)
    for state in FXS_TABLE:
        for make in INPUTS:
            bench = representatives()[state]
            given_ = make(bench.now)
            if isinstance(given_, s.Intention) and not isinstance(given_, s.HangUp) and not bench.machine.allows(type(given_)):
                with pytest.raises(LocalProtocolError):
                    bench.machine.send(given_)
                continue
            (bench.machine.send if isinstance(given_, s.Intention) else bench.machine.receive)(given_)
            bench.drain()
            settle(bench, f"{state} {given_}")


@settings(max_examples=settings.default.max_examples * 3 // 2, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(range(len(INPUTS))), st.sampled_from([0, 10, 60, 300, 900, 5000, 40_000])), max_size=40),
       st.sampled_from(COUNTRIES))
def test_no_sequence_of_inputs_sticks_a_telephone(steps: list[tuple[int, int]], country: str) -> None:
    bench = Bench(country)
    for index, wait in steps:
        given_ = INPUTS[index](bench.now)
        if not isinstance(given_, s.Intention):
            bench.machine.receive(given_)
        elif isinstance(given_, s.HangUp) or bench.machine.allows(type(given_)):
            bench.machine.send(given_)
        bench.drain()
        assert (bench.feeds()[-1] == s.FEED_RINGING) <= (bench.state == "RINGING")
        assert (bench.feeds()[-1] == s.FEED_OPEN) <= (bench.state == "FAR_GONE")
        bench.run(wait)
        if index % 5 == 0:
            bench.machine = Fxs.restore(bench.machine.config, bench.profile, plan, ("119",), bench.machine.snapshot())
    settle(bench)
