"""The FXO machine: what a line does in each country, and what must be made of it."""

from __future__ import annotations

import pytest

from firmware.call.model import Cause, Evidence, Party
from firmware.errors import LocalProtocolError
from firmware.line import callerid
from firmware.line import signals as s
from tests.unit.line_bench import COUNTRIES, Bench

# --- from outside -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("country", COUNTRIES)
def test_caller_id_between_rings_is_offered_after_the_second_ring(country: str) -> None:
    bench = Bench(country)
    start = bench.now
    bench.burst().run(700).fsk(Party("13912345678", "ANNA"))
    assert not bench.all(s.Offered)
    bench.run(bench.profile.ring_gap_ms() - 700).burst().run(500)
    offer = bench.one(s.Offered)
    assert offer.caller == Party("13912345678", "ANNA")
    assert (offer.rings, offer.ring_started) == (2, start)
    assert bench.state == "RINGING"


@pytest.mark.parametrize("country", COUNTRIES)
def test_second_ring_without_caller_id_still_offers_the_call(country: str) -> None:
    bench = Bench(country).ring(3)
    assert bench.one(s.Offered).caller == Party(reason="unavailable")


@pytest.mark.parametrize("country", COUNTRIES)
def test_one_ring_setting_waits_for_caller_id_and_no_longer(country: str) -> None:
    waiting = Bench(country, answer_after_rings=1).burst()
    waiting.run(3900)
    assert not waiting.all(s.Offered)
    waiting.run(1500)
    assert waiting.one(s.Offered).rings == 1
    told = Bench(country, answer_after_rings=1).burst().run(700).fsk(Party("110"))
    assert told.run(500).one(s.Offered).caller.number == "110"


def test_double_rings_of_the_uk_count_once() -> None:
    bench = Bench("UK", caller_id="none", answer_after_rings=3)
    bench.ring(2)
    assert bench.machine.state.rings == 2 and not bench.all(s.Offered)
    assert bench.ring(1).one(s.Offered).rings == 3


def test_uk_caller_id_comes_before_the_first_ring() -> None:
    bench = Bench("UK", answer_after_rings=1)
    assert bench.all(s.Detect)[-1].fsk == "auto"
    bench.fact(s.Polarity, True).run(800).fsk(Party("02079460000")).run(400).burst().run(500)
    assert bench.one(s.Offered).caller.number == "02079460000"


@pytest.mark.parametrize("keys", ["D01055551234C", "A01055551234#", "01055551234"])
def test_chinese_dtmf_caller_id_before_the_first_ring(keys: str) -> None:
    bench = Bench("CN", answer_after_rings=1)
    assert bench.all(s.Detect)[-1].digits
    bench.keys(keys).run(300).burst().run(100)
    assert bench.one(s.Offered).caller.number == "01055551234"


@pytest.mark.parametrize("pause", [400, 900, 1700])
def test_caller_who_comes_within_the_guard_time_is_known(pause: int) -> None:
    bench = Bench("CN").talk_in().send(s.HangUp).run(pause)
    assert bench.state == "GUARD"
    bench.keys("D01055551234C").run(300).ring(1).burst().run(100)
    assert bench.all(s.Offered)[-1].caller.number == "01055551234"
    early = Bench("CN").talk_in().send(s.HangUp).run(600).keys("D110C").run(200).burst().run(4000).burst().run(500)
    assert early.all(s.Offered)[-1].caller.number == "110"
    stale = Bench("CN").talk_in().send(s.HangUp).run(600).keys("D110C").run(8000).ring(2)
    assert stale.all(s.Offered)[-1].caller.number == ""


def test_ring_that_begins_right_after_a_release_counts_and_a_transient_does_not() -> None:
    bench = Bench("CN").talk_in().send(s.HangUp).run(430)
    start = bench.now
    bench.burst().run(700).fsk(Party("110")).run(bench.profile.ring_gap_ms() - 700).burst().run(500)
    offer = bench.all(s.Offered)[-1]
    assert (offer.caller.number, offer.rings, offer.ring_started) == ("110", 2, start)
    click = Bench("CN").talk_in().send(s.HangUp).run(320).fact(s.RingBurst, True).run(100).fact(s.RingBurst, False).run(3000)
    assert click.state == "IDLE" and not click.all(s.Missed)


def test_dtmf_caller_id_after_the_first_ring() -> None:
    bench = Bench("CN", answer_after_rings=1, caller_id="dtmf").burst().run(400).keys("D01055551234C")
    assert bench.one(s.Offered).caller.number == "01055551234"


def test_keys_that_no_ring_follows_are_forgotten() -> None:
    bench = Bench("CN", caller_id="dtmf").keys("D110C").run(8000).ring(2)
    assert bench.one(s.Offered).caller == Party(reason="unavailable")


def test_broken_caller_id_is_counted_and_does_not_stop_the_call() -> None:
    bench = Bench("CN").burst().run(500).fact(s.FskMessage, b"\x80\x05\x02\xff").run(3500).burst().run(500)
    assert bench.one(s.Offered).caller == Party(reason="unavailable")
    assert bench.machine.state.caller_id_errors == 1


def test_private_number_keeps_its_reason() -> None:
    assert Bench("CN").burst().run(500).fsk(Party(reason="private")).run(3500).burst().run(500).one(s.Offered).caller.reason == "private"


@pytest.mark.parametrize("country", COUNTRIES)
def test_ringing_that_stops_before_the_offer_is_a_missed_call(country: str) -> None:
    bench = Bench(country, answer_after_rings=3).burst().run(600).fsk(Party("5551234")).run(10_000)
    missed = bench.one(s.Missed)
    assert (missed.caller.number, missed.rings) == ("5551234", 1)
    assert bench.state == "IDLE" and not bench.all(s.Ended)


@pytest.mark.parametrize("country", COUNTRIES)
def test_caller_who_leaves_while_offered_ends_the_leg(country: str) -> None:
    bench = Bench(country).ring(3).run(10_000)
    ended = bench.one(s.Ended)
    assert (ended.cause, ended.by_far, ended.evidence.kind) == (Cause.CANCELLED, True, "ring-stopped")
    assert bench.state == "IDLE" and not bench.all(s.Missed) and s.Drive(1) not in bench.actions


def test_declined_ringing_is_left_to_ring_and_not_offered_again() -> None:
    bench = Bench("CN").ring(2).send(s.HangUp, Cause.REJECTED)
    assert bench.one(s.Ended).by_far is False
    bench.ring(3)
    assert bench.state == "RINGING" and len(bench.all(s.Offered)) == 1
    bench.run(10_000)
    assert bench.state == "IDLE" and len(bench.all(s.Ended)) == 1


def test_answer_goes_off_hook_with_a_fresh_canceller() -> None:
    bench = Bench("CN").ring(2).send(s.Answer)
    names = [type(action).__name__ for action in bench.actions[-3:]]
    assert names == ["OpenAudio", "Detect", "Drive"] and bench.hook() == s.LINE_OFF_HOOK
    bench.run(30).fact(s.LoopCurrent, True, 24.0).run(300)
    assert bench.one(s.Answered).evidence.kind == "off-hook"


def test_ringing_without_end_is_a_line_fault() -> None:
    bench = Bench("CN").fact(s.RingBurst, True).run(61_000)
    assert bench.state == "NO_LINE" and bench.all(s.StateChanged)[-1].state == "fault"
    bench.fact(s.RingBurst, False).run(2000)
    assert bench.state == "IDLE"


def test_message_waiting_signal_is_no_call() -> None:
    bench = Bench("UK").fact(s.FskMessage, callerid.build_waiting(True)).run(1000)
    assert bench.one(s.MessageWaiting).on and bench.state == "IDLE"


# --- release ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("country", COUNTRIES)
def test_busy_tone_ends_a_call_from_outside(country: str) -> None:
    bench = Bench(country).talk_in()
    specs = {spec.name: spec for spec in bench.all(s.Detect)[-1].tones}
    assert specs["busy"].cycles == 3
    began = bench.now
    bench.run(2100).fact(s.ToneHeard, "busy", 3, began)
    ended = bench.one(s.Ended)
    assert (ended.cause, ended.by_far, ended.evidence.kind) == (Cause.NORMAL, True, "busy-tone")
    assert str(began) in ended.evidence.detail
    assert bench.hook() == s.LINE_ON_HOOK and bench.state == "RELEASING"
    assert bench.run(2000).state == "IDLE"


@pytest.mark.parametrize("country", COUNTRIES)
def test_loop_loss_ends_a_call_after_its_time_and_not_before(country: str) -> None:
    bench = Bench(country, loop_drop_release_ms=250).talk_in().fact(s.LoopCurrent, False)
    bench.run(240)
    assert bench.state == "TALKING"
    bench.run(20)
    ended = bench.one(s.Ended)
    assert (ended.evidence.kind, ended.by_far) == ("loop-drop", True)


@pytest.mark.parametrize("dip", [20, 50, 120])
def test_dips_of_the_loop_are_no_release(dip: int) -> None:
    bench = Bench("US").talk_in()
    for _ in range(5):
        bench.fact(s.LoopCurrent, False).run(dip).fact(s.LoopCurrent, True).run(500)
    assert bench.state == "TALKING" and bench.machine.state.release.quiet_since_sign is (dip > 50)


def test_current_missing_right_after_answer_is_a_transient() -> None:
    bench = Bench("CN").ring(2).send(s.Answer).run(20).fact(s.LoopCurrent, True).run(200).fact(s.LoopCurrent, False).run(400)
    assert bench.fact(s.LoopCurrent, True).run(2000).state == "TALKING"


def test_reversal_ends_an_answered_call_but_the_answers_own_does_not() -> None:
    bench = Bench("CN").ring(2).send(s.Answer).run(20).fact(s.LoopCurrent, True).run(300).fact(s.Polarity, True).run(2000)
    assert bench.state == "TALKING"
    ended = bench.fact(s.Polarity, False).one(s.Ended)
    assert (ended.evidence.kind, ended.by_far) == ("polarity", True)


def test_reversal_means_nothing_where_it_is_not_configured() -> None:
    assert Bench("CN", polarity_release=False).talk_in().fact(s.Polarity, True).run(5000).state == "TALKING"


def test_dial_tone_in_a_call_is_a_release_once_no_held_note_lasts_so_long() -> None:
    bench = Bench("US").talk_in()
    dial = next(spec for spec in bench.all(s.Detect)[-1].tones if spec.name == "dial")
    assert dial.cycles == 600
    assert bench.tone("dial", 600).one(s.Ended).evidence.kind == "dial-tone"


def test_dial_tone_from_the_first_moment_on_says_that_the_caller_left_before_the_answer() -> None:
    bench = Bench("CN").talk_in()
    early = next(spec for spec in bench.all(s.Detect)[-1].tones if spec.name == "dial?")
    hook_at = bench.machine.state.hook_at
    late = bench.run(1500).fact(s.ToneHeard, "dial?", early.cycles, hook_at + 2100)
    assert late.state == "TALKING"
    ended = bench.fact(s.ToneHeard, "dial?", early.cycles, hook_at + 300).one(s.Ended)
    assert (ended.cause, ended.evidence.kind, ended.by_far) == (Cause.CANCELLED, "dial-tone", True)


def test_what_is_dialled_into_is_not_taken_for_a_caller_who_left() -> None:
    bench = Bench("CN").dialled().run(3000).fact(s.Voice, True).run(2500)
    assert bench.all(s.Answered)
    assert "dial?" not in {spec.name for spec in bench.all(s.Detect)[-1].tones}


def test_silence_is_the_last_resort_and_earlier_after_half_a_sign() -> None:
    plain = Bench("CN").talk_in().run(59_000).fact(s.Voice, True).run(100).fact(s.Voice, False).run(1_799_000)
    assert plain.state == "TALKING"
    assert plain.run(2000).one(s.Ended).evidence == Evidence("silence", 0.4, "no voice for 1800000 ms")
    hinted = Bench("CN").talk_in().fact(s.LoopCurrent, False).run(120).fact(s.LoopCurrent, True).run(59_000)
    assert hinted.state == "TALKING"
    assert hinted.run(2000).one(s.Ended).evidence.confidence == 0.6


def test_who_hung_up_first_is_known_when_both_do() -> None:
    ours = Bench("CN").talk_in().send(s.HangUp, Cause.NORMAL)
    assert ours.one(s.Ended).by_far is False and ours.one(s.Ended).evidence.kind == "command"
    theirs = Bench("CN").talk_in().fact(s.LoopCurrent, False).run(100).send(s.HangUp, Cause.NORMAL)
    assert theirs.one(s.Ended).by_far is True and theirs.one(s.Ended).evidence.kind == "loop-drop"


def test_guard_time_keeps_the_line_from_being_seized() -> None:
    bench = Bench("CN").talk_in().send(s.HangUp)
    bench.run(1900)
    assert not bench.machine.allows(s.Dial)
    assert bench.run(200).machine.allows(s.Dial)


def test_new_call_in_the_guard_time_is_taken() -> None:
    bench = Bench("CN", caller_id="none").talk_in().send(s.HangUp).run(700).ring(2)
    assert len(bench.all(s.Offered)) == 2


def test_flash_breaks_the_loop_for_the_countrys_time() -> None:
    bench = Bench("US").talk_in()
    start = bench.now
    bench.send(s.Flash).fact(s.LoopCurrent, False).run(550)
    assert bench.drives[-2:] == [(start, s.LINE_ON_HOOK), (start + 550, s.LINE_OFF_HOOK)]
    assert bench.all(s.Drive)[-1] == s.Drive(s.LINE_ON_HOOK, 550, s.LINE_OFF_HOOK)      # media keeps the time, not we
    assert bench.run(40).fact(s.LoopCurrent, True).run(3000).state == "TALKING"


def test_line_that_does_not_come_back_after_a_flash_is_released() -> None:
    bench = Bench("US").talk_in().send(s.Flash).run(20).fact(s.LoopCurrent, False).run(3000)
    assert bench.one(s.Ended).evidence.kind == "loop-drop"


def test_keys_of_the_caller_are_told() -> None:
    assert [key.digit for key in Bench("CN").talk_in().keys("12#").all(s.Key)] == ["1", "2", "#"]


# --- outgoing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("country", COUNTRIES)
def test_outgoing_call_waits_for_dial_tone_pauses_and_dials(country: str) -> None:
    bench = Bench(country)
    bench.send(s.Dial, "5551234")
    assert bench.hook() == s.LINE_OFF_HOOK and not bench.all(s.SendDtmf)
    bench.run(20).fact(s.LoopCurrent, True).run(1500)
    assert bench.state == "WAIT_DIAL_TONE"
    heard = bench.now
    bench.tone("dial", 5).run(200)
    assert not bench.all(s.SendDtmf)
    bench.run(150)
    sent = bench.one(s.SendDtmf)
    assert sent.digits == "5551234" and sent.level_dbm0 == bench.profile.dtmf_high_dbm0
    assert 200 <= bench.now - heard <= 500


@pytest.mark.parametrize("country", COUNTRIES)
def test_ringback_then_voice_is_an_answer(country: str) -> None:
    bench = Bench(country).talk_out()
    assert bench.one(s.Ringing) and bench.one(s.EarlyAudio)
    evidence = bench.one(s.Answered).evidence
    assert (evidence.kind, evidence.confidence) == ("voice", 0.85)


def test_ringback_that_stops_is_an_answer_with_less_confidence() -> None:
    bench = Bench("CN").dialled().tone("ringback", 1).run(5000).fact(s.ToneStopped, "ringback").run(5000)
    assert bench.one(s.Answered).evidence.kind == "ringback-stopped" and bench.one(s.Answered).evidence.confidence == 0.6


@pytest.mark.parametrize("country", COUNTRIES)
def test_ringback_heard_as_voice_is_no_answer(country: str) -> None:
    bench = Bench(country).dialled()
    for index in range(4):
        for phase, ms in enumerate(bench.profile.tone("ringback").cadence_ms):
            bench.fact(s.Voice, phase % 2 == 0).run(ms)
        bench.fact(s.ToneHeard, "ringback", index + 1, bench.now - 5000)
    assert bench.state == "WAIT_ANSWER"


def test_speech_over_missed_ringback_is_an_answer() -> None:
    assert Bench("CN").dialled().run(3000).fact(s.Voice, True).run(2500).one(s.Answered).evidence.kind == "voice"
    bench = Bench("CN").dialled()
    for _ in range(4):
        bench.fact(s.Voice, True).run(840).fact(s.Voice, False).run(500)
    assert bench.run(1000).one(s.Answered).evidence.kind == "voice"


def test_ringback_that_does_not_come_again_is_an_answer() -> None:
    """One burst, then the called party lifts and says nothing: the tone detector never had a whole cycle."""
    bench = Bench("CN").dialled().run(500).fact(s.Voice, True).run(1340).fact(s.Voice, False).run(9000)
    evidence = bench.one(s.Answered).evidence
    assert (evidence.kind, evidence.confidence) == ("ringback-stopped", 0.55)


def test_clicks_on_the_line_are_no_answer() -> None:
    bench = Bench("CN").dialled()
    for _ in range(6):
        bench.fact(s.Voice, True).run(480).fact(s.Voice, False).run(1500)
    assert bench.state == "WAIT_ANSWER"


@pytest.mark.parametrize("country", COUNTRIES)
@pytest.mark.parametrize("after_ringback", [False, True])
@pytest.mark.parametrize("name", ["busy", "congestion", "unobtainable"])
def test_refusal_tone_that_also_sounds_like_voice_is_no_answer(country: str, name: str, after_ringback: bool) -> None:
    """The voice detector hears any sound and adds 400 ms to it; the tone detector speaks at the end of its cycles."""
    bench = Bench(country).dialled()
    if name not in bench.profile.tones:
        return
    if after_ringback:
        bench.tone("ringback", 1).run(4000)
    spec = next((spec for spec in bench.all(s.Detect)[-1].tones if spec.name == name), None)
    if spec is None:
        return                                                # the same sound as busy
    on, off = (spec.cadence_ms or (10_000, 10))[:2]
    start, voice, silent_for = bench.now, False, 10_000
    while bench.now - start < 8000 and not bench.all(s.Ended):
        elapsed = bench.now - start
        sounding = elapsed % (on + off) < on if len(spec.cadence_ms) < 4 else True
        silent_for = 0 if sounding else silent_for + 10
        if voice != (sounding or silent_for < 400):
            voice = not voice
            bench.fact(s.Voice, voice)
        if after_ringback and elapsed == on:
            bench.fact(s.ToneStopped, "ringback")
        for heard in bench.all(s.Detect)[-1].tones:
            if heard.name.rstrip("?") == name and elapsed == heard.cycles * (heard.period_ms or 100):
                bench.fact(s.ToneHeard, heard.name, heard.cycles, start)
        bench.run(10)
    assert bench.one(s.Ended).cause in (Cause.BUSY, Cause.CONGESTION, Cause.UNREACHABLE)
    assert not bench.all(s.Answered)


def test_line_that_is_reversed_at_rest_still_shows_its_release() -> None:
    bench = Bench("CN")
    assert bench.machine.state.reversed is None              # the scanner reports changes only
    bench.talk_in().fact(s.Polarity, False)
    assert bench.one(s.Ended).evidence.kind == "polarity"


def test_idle_line_listens_for_caller_id_without_a_canceller() -> None:
    assert Bench("CN").actions[-2:] == [s.OpenAudio(echo=False), s.Detect(digits=True)]
    assert not Bench("CN", caller_id="none").all(s.OpenAudio)


def test_nothing_recognised_is_an_answer_of_little_confidence() -> None:
    assert Bench("CN").dialled().run(31_000).one(s.Answered).evidence.confidence == 0.3


def test_polarity_answer_waits_for_the_reversal_and_the_next_is_the_release() -> None:
    bench = Bench("CN", polarity_answer=True).dialled().run(100).fact(s.Polarity, True).run(100).fact(s.Polarity, False).run(1000)
    assert bench.state == "WAIT_ANSWER"
    bench.fact(s.Voice, True).run(5000).fact(s.Voice, False)
    assert bench.state == "WAIT_ANSWER"
    bench.fact(s.Polarity, True)
    assert bench.one(s.Answered).evidence.kind == "polarity"
    ended = bench.run(3000).fact(s.Polarity, False).one(s.Ended)
    assert (ended.evidence.kind, ended.cause) == ("polarity", Cause.NORMAL)


def test_reversal_that_nobody_announced_is_believed_when_no_refusal_follows() -> None:
    bench = Bench("CN").dialled().run(2000).fact(s.Polarity, True)
    assert bench.state == "WAIT_ANSWER"
    assert bench.run(6000).one(s.Answered).evidence.kind == "polarity"
    refused = Bench("CN").dialled().run(2000).fact(s.Polarity, True).run(2100).tone("busy").run(5000)
    assert refused.one(s.Ended).cause is Cause.BUSY and not refused.all(s.Answered)


def test_the_first_reversal_after_an_answer_by_ear_proves_it_and_the_next_ends_it() -> None:
    """Music instead of ringback sounds like an answer; the true one must not be taken for the release."""
    bench = Bench("CN").talk_out().run(4500).fact(s.Polarity, True).run(3000)
    assert bench.state == "TALKING"
    ended = bench.run(20_000).fact(s.Polarity, False).one(s.Ended)
    assert (ended.evidence.kind, ended.by_far, ended.cause) == ("polarity", True, Cause.NORMAL)


def test_a_reversal_after_an_answer_by_ear_and_release_tone_are_a_release() -> None:
    bench = Bench("CN").talk_out().run(9000).fact(s.Polarity, True).run(500).tone("busy").run(500)
    assert bench.one(s.Ended).by_far


def test_reversal_and_back_before_the_ear_is_sure_is_an_answer_and_its_release() -> None:
    bench = Bench("CN").dialled().run(3000)
    answered = bench.now
    bench.fact(s.Polarity, True).run(2500).fact(s.Polarity, False)
    assert (bench.one(s.Answered).at, bench.one(s.Answered).evidence.kind) == (answered, "polarity")
    ended = bench.one(s.Ended)
    assert (ended.at, ended.by_far, ended.cause, ended.evidence.kind) == (bench.now, True, Cause.NORMAL, "polarity")
    assert bench.run(5000).state == "IDLE"


def test_short_answer_in_the_silence_of_the_ringback_is_told_when_the_next_ring_is_missing() -> None:
    bench = Bench("CN").dialled().run(1000).tone("ringback", 1).run(1000)
    answered = bench.now
    bench.fact(s.Polarity, True).run(3200)
    left = bench.fact(s.Polarity, False).now
    assert bench.run(500).state == "WAIT_ANSWER"
    bench.fact(s.ToneStopped, "ringback")
    assert (bench.one(s.Answered).at, bench.one(s.Ended).at, bench.one(s.Ended).by_far) == (answered, left, True)


def test_reversals_before_ringback_and_within_it_are_no_answer() -> None:
    before = Bench("CN").dialled().run(1000).fact(s.Polarity, True).run(500).tone("ringback", 1).run(1000).fact(s.Polarity, False)
    assert before.run(3000).state == "WAIT_ANSWER" and not before.all(s.Ended)
    within = Bench("CN").dialled().run(1000).tone("ringback", 1).run(1000).fact(s.Polarity, True).run(7000)
    assert within.state == "WAIT_ANSWER"
    within.fact(s.Polarity, False).run(3000)
    assert within.state == "WAIT_ANSWER" and not within.all(s.Answered)
    rang_on = Bench("CN").dialled().run(1000).tone("ringback", 1).run(1000)
    rang_on.fact(s.Polarity, True).run(2000).fact(s.Polarity, False).run(9000)
    assert rang_on.fact(s.ToneStopped, "ringback").run(1000).state == "WAIT_ANSWER" and not rang_on.all(s.Ended)
    transient = Bench("CN").dialled().run(1000).fact(s.Polarity, True).run(300).fact(s.Polarity, False).run(10_000)
    assert transient.state == "WAIT_ANSWER" and not transient.all(s.Answered)


@pytest.mark.parametrize(("tone", "cause"), [("busy", Cause.BUSY), ("congestion", Cause.CONGESTION), ("unobtainable", Cause.UNREACHABLE)])
def test_tones_that_refuse_the_call(tone: str, cause: Cause) -> None:
    ended = Bench("CN").dialled().run(2000).tone(tone).one(s.Ended)
    assert ended.cause is cause and ended.by_far


def test_a_refusal_tone_that_our_own_sound_lost_for_a_moment_is_no_answer() -> None:
    bench = Bench("CN").dialled().run(300).fact(s.Voice, True).run(1200)
    for _ in range(3):
        bench.tone("congestion?", 1).run(600).fact(s.ToneStopped, "congestion?").run(2200)
        assert bench.state == "WAIT_ANSWER"
    assert bench.tone("congestion", 3).one(s.Ended).cause is Cause.CONGESTION
    spoken = Bench("CN").dialled().run(300).fact(s.Voice, True).run(1200).tone("congestion?", 1).run(600)
    assert spoken.fact(s.ToneStopped, "congestion?").run(6000).one(s.Answered).evidence.kind == "voice"


def test_no_answer_ends_after_the_ring_time() -> None:
    bench = Bench("CN").dialled(ring_ms=20_000)
    for _ in range(3):
        bench.tone("ringback", 1).run(5000)
    bench.run(6000)
    assert bench.one(s.Ended).cause is Cause.NO_ANSWER and not bench.one(s.Ended).by_far


def test_no_dial_tone_is_a_fault_of_the_line() -> None:
    bench = Bench("CN").send(s.Dial, "110").run(20).fact(s.LoopCurrent, True).run(6000)
    assert bench.one(s.Ended).cause is Cause.NO_DIAL_TONE and bench.machine.state.fault == "no dial tone"


def test_emergency_call_dials_without_dial_tone() -> None:
    bench = Bench("CN").send(s.Dial, "110", emergency=True).run(20).fact(s.LoopCurrent, True).run(2000)
    assert bench.one(s.SendDtmf).digits == "110"


def test_no_loop_current_is_a_line_fault() -> None:
    bench = Bench("CN").send(s.Dial, "110").run(50).fact(s.LoopCurrent, False).run(2000)
    assert bench.one(s.Ended).cause is Cause.LINE_FAULT


def test_glare_gives_the_line_to_the_incoming_call() -> None:
    bench = Bench("CN").send(s.Dial, "5551234").run(20).fact(s.LoopCurrent, True).run(100).fact(s.RingBurst, True)
    ended, offer = bench.one(s.Ended), bench.one(s.Offered)
    assert ended.cause is Cause.CONGESTION and "glare" in ended.evidence.detail and offer.rings == 1
    bench.run(200).send(s.Answer).run(100)
    assert bench.state == "TALKING" and not bench.all(s.SendDtmf)
    bench.run(2000).tone("busy").run(3000)
    assert len(bench.all(s.Ended)) == 2 and bench.state == "IDLE"


@pytest.mark.parametrize("keys", ["D13800138000C", "D13800138000"])
def test_glare_keeps_who_was_announced_before_the_ring(keys: str) -> None:
    bench = Bench("CN").keys(keys)
    bench.run(300).send(s.Dial, "5551234").run(20).fact(s.LoopCurrent, True).run(100).fact(s.RingBurst, True)
    assert bench.one(s.Offered).caller.number == "13800138000"
    bench.fact(s.RingBurst, False).send(s.Answer).run(3000).tone("busy").run(5000)
    bench.send(s.Dial, "5551234").run(20).fact(s.LoopCurrent, True).run(100).fact(s.RingBurst, True)
    assert [offer.caller.number for offer in bench.all(s.Offered)] == ["13800138000", ""]


def test_who_was_announced_long_ago_is_not_the_caller_of_a_glare() -> None:
    bench = Bench("CN").keys("D13800138000C").run(7000).send(s.Dial, "5551234").run(20).fact(s.LoopCurrent, True)
    bench.run(100).fact(s.RingBurst, True)
    assert not bench.one(s.Offered).caller.number


def test_glare_that_nobody_takes_is_released() -> None:
    bench = Bench("CN").send(s.Dial, "5551234").run(20).fact(s.LoopCurrent, True).run(100).fact(s.RingBurst, True).run(21_000)
    assert bench.all(s.Ended)[-1].cause is Cause.NO_ANSWER
    bench.fact(s.RingBurst, False).run(3000)
    assert bench.state == "IDLE"


def test_dial_string_pauses_and_waits_again() -> None:
    bench = Bench("CN").send(s.Dial, "9w123p45").run(20).fact(s.LoopCurrent, True).run(700).tone("dial", 5).run(400)
    assert bench.all(s.SendDtmf)[-1].digits == "9"
    bench.run(200).fact(s.PlayerDone, bench.all(s.SendDtmf)[-1].token)
    assert bench.state == "WAIT_DIAL_TONE"
    bench.run(500).tone("dial", 5).run(400)
    assert bench.all(s.SendDtmf)[-1].digits == "123"
    bench.run(600).fact(s.PlayerDone, bench.all(s.SendDtmf)[-1].token).run(1900)
    assert len(bench.all(s.SendDtmf)) == 2
    bench.run(200)
    assert bench.all(s.SendDtmf)[-1].digits == "45"


def test_dialling_goes_on_when_media_does_not_confirm() -> None:
    bench = Bench("CN").send(s.Dial, "110").run(20).fact(s.LoopCurrent, True).run(700).tone("dial", 5).run(5000)
    assert bench.state == "WAIT_ANSWER"


# --- health -------------------------------------------------------------------------------------------------------------


def test_line_without_battery_leaves_service_after_a_second() -> None:
    bench = Bench("CN").fact(s.Battery, False, 0.0).run(900)
    assert bench.state == "IDLE"
    assert bench.run(200).state == "NO_LINE" and not bench.machine.allows(s.Dial)
    bench.fact(s.Battery, True, 48.0).run(400)
    assert bench.state == "IDLE"
    assert [change.state for change in bench.all(s.StateChanged)] == ["idle", "fault", "idle"]


def test_parallel_telephone_keeps_the_line_from_being_seized() -> None:
    bench = Bench("CN").fact(s.Battery, True, 8.0)
    assert bench.state == "IN_USE" and not bench.machine.allows(s.Dial)
    assert bench.fact(s.Battery, True, 19.0).state == "IN_USE"
    assert bench.fact(s.Battery, True, 48.0).state == "IDLE"


def test_illegal_intention_names_state_and_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="Answer in state IDLE"):
        Bench("CN").send(s.Answer)
    with pytest.raises(LocalProtocolError, match="dial string"):
        Bench("CN").send(s.Dial, "call me")
