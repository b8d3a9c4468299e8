"""What lines do besides plain calls: notices to telephones, ring validation, pulses, messages, parallel phones, terminals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.call.model import Alert, Cause, Party
from firmware.errors import LocalProtocolError
from firmware.line import callerid, tables
from firmware.line import signals as s
from tests.unit.line_bench import COUNTRIES, Bench, Phone

STATES = Path(__file__).resolve().parents[2] / "docs" / "states"


@pytest.mark.parametrize("machine", ["fxo", "fxs"])
def test_documented_states_are_those_that_run(machine: str) -> None:
    assert (STATES / f"{machine}.md").read_text("utf-8") == tables.page(machine), "make states"


# --- a call waits -------------------------------------------------------------------------------------------------------


def mutes(phone: Phone) -> list[bool]:
    return [mute.on for mute in phone.all(s.MuteTalk)]


def alerted(phone: Phone) -> Phone:
    """In a call, told of a waiting one up to the end of the alerting tone."""
    phone.talk().send(s.CallWaiting, Party("13900001111", "Bo"), "07041530")
    phone.run(500)
    tone = phone.all(s.PlayTone)[-1]
    assert tone.tone.name == "cas" and tone.duration_ms == 80 and tone.token >= s.TONE_TOKENS
    return phone.run(80).fact(s.PlayerDone, tone.token)


def test_waiting_call_is_told_between_mutes_after_the_acknowledge() -> None:
    phone = alerted(Phone())
    keys = len(phone.all(s.Key))
    phone.run(100).fact(s.Digit, "D").run(100)
    sent = phone.one(s.SendFsk)
    assert sent.in_call and callerid.parse(sent.payload, "gbk").party == Party("13900001111", "Bo")
    assert mutes(phone) == [True] and len(phone.all(s.Key)) == keys      # the acknowledge is no key of a person
    phone.run(400).fact(s.PlayerDone, sent.token)
    assert mutes(phone) == [True, False] and phone.state == "TALKING"


def test_phone_without_acknowledge_talks_on_at_once() -> None:
    phone = alerted(Phone()).run(300)
    assert mutes(phone) == [True, False] and not phone.all(s.SendFsk)


def test_phone_set_without_waiting_id_only_hears_the_beep() -> None:
    phone = Phone(call_waiting_id=False).talk().send(s.CallWaiting).run(1000)
    assert mutes(phone) == [True, False] and [one.tone.name for one in phone.all(s.PlayTone)][-1] == "call-waiting"


def test_talk_is_given_back_when_the_call_ends_in_the_middle() -> None:
    assert mutes(alerted(Phone()).send(s.HangUp)) == [True, False]
    assert mutes(alerted(Phone()).put_down().run(2000)) == [True, False]


def test_terminal_is_never_interrupted_and_gets_a_clear_channel() -> None:
    phone = Phone(terminal="fax").talk().send(s.CallWaiting).run(1000)
    assert not mutes(phone) and phone.one(s.ClearChannel)


# --- messages wait ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "kind"), [("fsk", callerid.MDMF_WAITING), ("fsk-single", callerid.SDMF_WAITING)])
def test_idle_telephone_is_told_of_messages_once(form: str, kind: int) -> None:
    phone = Phone(message_waiting=form).send(s.ShowMessages, True).run(4000)
    sent = phone.one(s.SendFsk)
    assert sent.payload[0] == kind and callerid.parse(sent.payload).waiting is True and phone.feeds()[-1] == s.FEED_ON_HOOK_TX
    phone.fact(s.PlayerDone, sent.token).run(300_000)
    assert phone.state == "IDLE" and len(phone.all(s.SendFsk)) == 1
    assert not [change for change in phone.all(s.StateChanged) if change.state != "idle"]


def test_lifted_telephone_never_gets_the_message_and_hears_stutter() -> None:
    phone = Phone().send(s.ShowMessages, True).run(3100)
    assert phone.state == "NOTIFYING"
    phone.lift()
    assert phone.state == "DIAL_TONE" and phone.tone() == "stutter"
    phone.run(1000)
    assert phone.tone() == "dial" and not phone.all(s.SendFsk)
    phone.put_down().run(5000)
    assert len(phone.all(s.SendFsk)) == 1                    # told once it lies down again


@pytest.mark.parametrize(("tone", "heard"), [(True, "stutter"), (False, "dial")])
def test_dial_tone_stutters_while_calls_are_diverted(tone: bool, heard: str) -> None:
    phone = Phone(diverted_tone=tone).send(s.ShowDiverted, True).run(100).lift()
    assert phone.state == "DIAL_TONE" and phone.tone() == heard and not phone.all(s.SendFsk)
    phone.send(s.ShowDiverted, False).put_down().run(1500).lift()
    assert phone.tone() == "dial"


def test_call_goes_before_messages() -> None:
    phone = Phone().send(s.ShowMessages, True).run(3500).ring().run(100)
    assert phone.state == "RINGING" and phone.feeds()[-1] == s.FEED_RINGING


def test_lamp_is_lit_by_polarity_while_the_telephone_is_idle() -> None:
    assert Phone(lamp="polarity").send(s.ShowMessages, True).feeds()[-1] == s.FEED_REVERSED
    assert Phone(lamp="polarity").send(s.ShowMessages, True).lift().feeds()[-1] == s.FEED_ACTIVE


# --- other services of a telephone -----------------------------------------------------------------------------------------


def test_hotline_dials_at_once_or_after_its_time() -> None:
    assert Phone(hotline="201").lift().one(s.Offered).called == "201"
    slow = Phone(hotline="201", hotline_s=4).lift()
    assert slow.tone() == "dial" and slow.run(4100).one(s.Offered).called == "201"
    assert Phone(hotline="201", hotline_s=4).lift().keys("102").run(5000).one(s.Offered).called == "102"


def test_polarity_is_reversed_while_an_outgoing_call_is_answered() -> None:
    phone = Phone(reversal=True).talk()
    assert phone.feeds()[-1] == s.FEED_REVERSED
    assert phone.send(s.HangUp).run(600).feeds()[-2:] == [s.FEED_OPEN, s.FEED_ACTIVE]
    assert Phone(reversal=True).talk_in().feeds()[-1] == s.FEED_ACTIVE


def test_open_switch_interval_is_one_drive_that_media_times() -> None:
    phone = Phone(open_switch_ms=300).talk().send(s.HangUp)
    assert phone.all(s.Drive)[-1] == s.Drive(s.FEED_OPEN, 300, s.FEED_ACTIVE)


def test_caller_id_by_keys_comes_before_ringing() -> None:
    phone = Phone(caller_id_scheme="dtmf").ring()
    assert not phone.all(s.Ringing)
    phone.run(500)
    sent = phone.one(s.SendDtmf)
    assert callerid.parse_dtmf(sent.digits) == Party("13912345678")
    assert phone.fact(s.PlayerDone, sent.token).run(300).one(s.Ringing)


def test_slams_and_chatter_are_counted() -> None:
    phone = Phone().talk()
    for closed_ms, open_ms in ((30, 40), (20, 40), (25, 3000)):
        phone.put_down().run(open_ms if closed_ms != 25 else 40).lift().run(closed_ms)
    phone.put_down().run(3000)
    assert phone.state == "IDLE" and phone.machine.state.hook.slams == 1 and phone.machine.state.hook.chatter >= 3
    assert Phone().talk().put_down().run(3000).machine.state.hook.slams == 0


def test_without_flash_a_hang_up_is_known_soon() -> None:
    assert Phone(flash=False).talk().put_down().run(300).one(s.Ended).cause is Cause.NORMAL


# --- ringing of a line ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("country", COUNTRIES)
def test_bursts_shorter_or_longer_than_the_countrys_are_no_ring(country: str) -> None:
    least, most = Bench(country).profile.ring_burst_accept_ms
    for length, rings in ((least - 20, 0), (least + 20, 1), (most - 20, 1), (most + 100, 0)):
        bench = Bench(country)
        bench.fact(s.RingBurst, True).run(length).fact(s.RingBurst, False)
        assert bench.machine.state.rings == rings, length
        bench.run(15_000)
        assert bench.state == "IDLE" and len(bench.all(s.Missed)) == rings and not bench.all(s.Offered)


def test_chattering_burst_is_one_ring() -> None:
    bench = Bench("CN")
    for _ in range(5):
        bench.fact(s.RingBurst, True).run(150).fact(s.RingBurst, False).run(50)
    assert bench.machine.state.rings == 1


def test_ringing_just_before_a_seizure_is_a_call() -> None:
    bench = Bench().fact(s.RingBurst, True).run(100).fact(s.RingBurst, False)
    assert not bench.machine.allows(s.Dial)


# --- dialling ---------------------------------------------------------------------------------------------------------------


def test_pulses_are_dialled_by_media_and_loop_breaks_mean_nothing() -> None:
    bench = Bench("DE", dialling="pulse").send(s.Dial, "110").run(20).fact(s.LoopCurrent, True, 25.0).run(700).tone("dial", 5).run(400)
    sent = bench.one(s.SendPulses)
    assert (sent.digits, sent.break_ms + sent.make_ms, sent.between_ms) == ("110", 100, 750)
    for _ in range(12):
        bench.fact(s.LoopCurrent, False).run(60).fact(s.LoopCurrent, True, 25.0).run(40)
    assert bench.run(2000).fact(s.PlayerDone, sent.token).run(20).state == "WAIT_ANSWER"
    assert bench.fact(s.LoopCurrent, True, 25.0).run(3000).state == "WAIT_ANSWER"
    with pytest.raises(LocalProtocolError, match="pulses"):
        Bench(dialling="pulse").send(s.Dial, "*21")


def test_line_set_for_it_dials_without_dial_tone() -> None:
    bench = Bench(no_dial_tone="dial", dial_tone_wait_s=2).send(s.Dial, "123").run(20).fact(s.LoopCurrent, True, 25.0).run(3000)
    assert bench.one(s.SendDtmf).digits == "123"


def test_stuttering_dial_tone_tells_of_messages_and_steady_one_that_there_are_none() -> None:
    bench = Bench().send(s.Dial, "123").run(20).fact(s.LoopCurrent, True, 25.0).run(600)
    bench.fact(s.ToneHeard, "stutter", 2, bench.now - 400).run(700).tone("dial", 5)
    assert bench.one(s.MessageWaiting).on
    bench.send(s.HangUp).run(5000).send(s.Dial, "123").run(20).fact(s.LoopCurrent, True, 25.0).run(700).tone("dial", 5)
    assert [event.on for event in bench.all(s.MessageWaiting)] == [True, False]


def test_idle_line_hears_the_messages_of_the_exchange() -> None:
    bench = Bench(message_waiting="fsk", caller_id="none")
    assert bench.all(s.Detect)[-1].fsk
    bench.fact(s.FskMessage, callerid.build_waiting(True)).run(10)
    assert bench.one(s.MessageWaiting).on


def test_parallel_telephone_shows_by_its_share_of_the_current() -> None:
    bench = Bench().talk_in().fact(s.LoopCurrent, True, 24.0).run(100)
    bench.fact(s.LoopCurrent, True, 20.0)
    assert not bench.all(s.ParallelPhone)
    bench.fact(s.LoopCurrent, True, 14.0)
    assert bench.one(s.ParallelPhone).on and bench.all(s.StateChanged)[-1].detail
    assert not bench.fact(s.LoopCurrent, True, 24.0).all(s.ParallelPhone)[-1].on and bench.state == "TALKING"


# --- whatever happens -------------------------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 15, 45, 80, 300, 1500, 6000])), max_size=30)


@given(STEPS, st.sampled_from(["none", "polarity"]), st.sampled_from(["phone", "fax"]), st.booleans())
def test_services_never_leave_a_telephone_mute_or_stuck(steps: list[tuple[int, int]], lamp: str, terminal: str, reversal: bool) -> None:
    phone = Phone(lamp=lamp, terminal=terminal, reversal=reversal)
    wants: list[tuple[type[Any], tuple[Any, ...]]] = [
        (s.CallWaiting, (Party("1"),)), (s.ShowMessages, (True,)), (s.ShowMessages, (False,)), (s.Ring, (Party("2"), Alert.QUEUE)),
        (s.Answer, ()), (s.HangUp, ()),
    ]  # fmt: skip
    for index, wait in steps:
        if index < len(wants):
            kind, values = wants[index]
            if kind is s.HangUp or phone.machine.allows(kind):
                phone.send(kind, *values)
        elif index == 6:
            phone.lift()
        elif index == 7:
            phone.put_down()
        else:
            phone.fact(s.Digit, "D" if index == 8 else "2")
        if phone.machine.state.muted:
            assert phone.state == "TALKING"
        for sent in phone.all(s.SendFsk)[-1:]:
            if wait > 1000:
                phone.fact(s.PlayerDone, sent.token)
        phone.run(wait)
    phone.put_down().run(130_000)
    if phone.state == "NOTIFYING":
        phone.fact(s.PlayerDone, phone.machine.state.notify_token).run(10_000)
    muted = mutes(phone)
    assert phone.state == "IDLE" and not phone.machine.state.call
    assert muted == [index % 2 == 0 for index in range(len(muted))] and len(muted) % 2 == 0
    rung = sum(change.state == "ringing" for change in phone.all(s.StateChanged))
    assert len(phone.all(s.Ended)) == len(phone.all(s.Offered)) + rung
