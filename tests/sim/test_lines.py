"""The exchange and its lines, as a box without call control sees them."""

from __future__ import annotations

import math

import pytest

from firmware.sim.callerid import read_message
from firmware.sim.hearing import Ear, FskReceiver, loudness, measure
from firmware.sim.people import CallPlan, Press, read_presses
from firmware.sim.signal import Mouth, NoiseSource, ToneSource, dtmf
from tests.sim.stand_in import OFF_HOOK, ON_HOOK, Box


def hear(tape: bytes, standard: str = "bell202") -> Ear:
    ear = Ear()
    ear.listening = ear.wants_digits = True
    ear.fsk = FskReceiver(standard)
    for block in range(len(tape) // 160):
        ear.feed(tape[160 * block : 160 * block + 160], block)
    return ear


def test_an_idle_line_shows_battery_and_no_current() -> None:
    box = Box()
    facts = box.keep_facts(0)
    box.run(100)
    assert all(fact == (480, 0, 0, 0) for fact in facts)


def test_ringing_has_the_country_frequency_voltage_and_cadence() -> None:
    box = Box()
    facts = box.keep_facts(0)
    box.town.call_in(CallPlan("13800138000", 1, caller_id="none", patience_ms=20_000))
    box.run(11_000)
    ac = [fact[2] / 10 for fact in facts]
    start = next(i for i, volts in enumerate(ac) if abs(volts) > 5)
    burst = ac[start : start + 1000]
    assert math.sqrt(sum(v * v for v in burst) / len(burst)) == pytest.approx(90.0, abs=2.0)
    crossings = sum(1 for a, b in zip(burst, burst[1:], strict=False) if a < 0 <= b)
    assert crossings in (24, 25)
    assert max(abs(v) for v in ac[start + 1010 : start + 4990]) == 0
    assert max(abs(v) for v in ac[start + 5010 : start + 5900]) > 100


@pytest.mark.parametrize(("country", "standard"), [("CN", "bell202"), ("UK", "v23")])
def test_fsk_caller_id_comes_between_the_first_two_rings(country: str, standard: str) -> None:
    box = Box(country_name=country)
    tape = box.keep(1)
    box.town.call_in(CallPlan("13800138000", 2, name="Wang", patience_ms=20_000))
    box.run(6_000)
    ear = hear(bytes(tape), standard)
    assert ear.fsk is not None
    assert [read_message(kind, data)["number"] for kind, data in ear.fsk.messages] == ["13800138000"]
    assert read_message(*ear.fsk.messages[0])["name"] == "Wang"


def test_a_private_number_is_not_sent() -> None:
    box = Box()
    tape = box.keep(0)
    box.town.call_in(CallPlan("13800138000", 1, reason="private", patience_ms=20_000))
    box.run(6_000)
    ear = hear(bytes(tape))
    assert ear.fsk is not None
    shown = read_message(*ear.fsk.messages[0])
    assert (shown["number"], shown["reason"]) == ("", "private")


def test_dtmf_caller_id_comes_before_the_first_ring() -> None:
    box = Box()
    tape, facts = box.keep(0), box.keep_facts(0)
    box.town.call_in(CallPlan("02088776655", 1, caller_id="dtmf", patience_ms=20_000))
    box.run(6_000)
    digits = hear(bytes(tape)).take_digits()
    assert "".join(key for key, _, _ in digits) == "D02088776655C"
    ring_at = next(i for i, fact in enumerate(facts) if abs(fact[2]) > 50)
    assert ring_at - (digits[-1][1] + digits[-1][2]) > 200


def test_off_hook_trips_the_ring_and_answers() -> None:
    box = Box()
    facts = box.keep_facts(0)
    person = box.town.call_in(CallPlan("13800138000", 1))
    box.run(2_000)
    box.drive(0, OFF_HOOK)
    box.run(500)
    assert person.answered >= 0
    assert person.rings == 1
    assert facts[-1][1] == pytest.approx((48 - 6) / 950 * 10_000, abs=2)
    assert facts[-1][2] == 0


def test_the_caller_is_told_when_the_box_hangs_up() -> None:
    box = Box()
    person = box.town.call_in(CallPlan("13800138000", 1))
    box.run(1_000)
    box.drive(0, OFF_HOOK)
    box.run(1_000)
    box.drive(0, ON_HOOK)
    box.run(1_000)
    assert person.done
    assert person.ended_by == "far"
    assert box.town.exchange.line(1).state == "idle"


@pytest.mark.parametrize("release", ["polarity", "loop-drop", "busy"])
def test_the_far_end_hang_up_is_signalled_as_the_line_is_set(release: str) -> None:
    box = Box()
    box.town.exchange.line(1).release = (release,)
    box.town.call_in(CallPlan("13800138000", 1, hang_up_after_ms=2000))
    box.run(1_000)
    box.drive(0, OFF_HOOK)
    box.run(1_500)
    facts, tape = box.keep_facts(0), box.keep(0)
    box.run(4_000)
    assert any(fact[0] < 0 for fact in facts) == (release == "polarity")
    assert sum(1 for fact in facts if fact[1] == 0) == pytest.approx(500 if release == "loop-drop" else 0, abs=20)
    busy = measure(bytes(tape), 450, 2.5, 4.0) > -25
    assert busy == (release == "busy")


def test_dialling_a_number_reaches_its_person_with_dial_tone_and_ringback() -> None:
    box = Box()
    line = box.town.exchange.line(3)
    line.answer_reversal = True
    tape = box.keep(2)
    box.drive(2, OFF_HOOK)
    box.run(1_000)
    assert measure(bytes(tape), 450, 0.5, 1.0) == pytest.approx(-10.0, abs=0.5)
    mouth = Mouth()
    mouth.play(dtmf("13900139000", on_ms=80, off_ms=80))
    box.playing[2] = mouth.block
    box.run(2_500)
    assert str(line.state) == "ringback"
    assert line.call is not None
    assert line.call.digits == "13900139000"
    facts = box.keep_facts(2)
    box.run(3_500)
    assert str(line.state) == "talking"
    assert facts[0][0] > 0 > facts[-1][0]


def test_dial_pulses_are_counted() -> None:
    box = Box()
    box.drive(0, OFF_HOOK)
    box.run(1_000)
    for digit in (1, 1, 9):
        for _ in range(digit):
            box.drive(0, ON_HOOK)
            box.run(60)
            box.drive(0, OFF_HOOK)
            box.run(40)
        box.run(700)
    box.run(2_000)
    assert [call.number for call in box.town.exchange.emergencies] == ["119"]


def test_the_hybrid_returns_what_the_box_says_at_the_set_loss() -> None:
    box = Box()
    wire = box.town.exchange.line(1).wire
    wire.hiss(-99)
    box.town.call_in(CallPlan("13800138000", 1))
    box.run(500)
    box.drive(0, OFF_HOOK)
    box.run(500)
    mouth = Mouth()
    mouth.play(NoiseSource(-15.0, 7))
    box.playing[0] = mouth.block
    for loss in (10.0, 24.0):
        wire.hybrid(erl_db=loss, delay_ms=4.0)
        box.run(100)
        tape = box.keep(0)
        box.run(1_000)
        assert loudness(bytes(tape)) == pytest.approx(-15.0 - loss, abs=1.0)


def test_speech_reaches_the_caller_at_level() -> None:
    box = Box()
    box.town.call_in(CallPlan("13800138000", 1, say="tone:700", partners_hz=(1000.0,)))
    box.run(1_000)
    box.drive(0, OFF_HOOK)
    mouth = Mouth()
    mouth.play(ToneSource([((1000.0,), -12.0, 0.0)]))
    box.playing[0] = mouth.block
    tape = box.keep(0)
    box.run(3_000)
    person = next(iter(box.town.people.values()))
    assert person.partners["1000"] == pytest.approx(-12.0, abs=0.3)
    assert measure(bytes(tape), 700, 1.0, 2.5) == pytest.approx(-16.0, abs=0.3)


@pytest.mark.parametrize(("fault", "dc", "current"), [("cut", 0, 0), ("low-battery", 200, 0), ("parallel", 80, 0), ("reversed", -480, 0)])
def test_line_faults_show_in_the_facts(fault: str, dc: int, current: int) -> None:
    box = Box()
    line = box.town.exchange.line(1)
    line.fault(fault, True)
    facts = box.keep_facts(0)
    box.run(50)
    assert facts[-1][:2] == (dc, current)
    line.fault(fault, False)
    box.run(50)
    assert facts[-1][:2] == (480, 0)


def test_a_caller_presses_a_key_after_the_prompt_and_in_it() -> None:
    box = Box()
    person = box.town.call_in(CallPlan("13800138000", 1, presses=(Press("1", "menu"), Press("2", "voice"))))
    box.run(500)
    box.drive(0, OFF_HOOK)
    mouth = Mouth()
    prompt = [((400.0, 900.0), -20.0, 3000.0), ((), 0.0, 4000.0)]
    mouth.play(ToneSource(prompt))
    box.playing[0] = mouth.block
    answered = box.segment.block * 10
    tape = box.keep(0)
    box.run(12_000)
    assert [keys for keys, _ in person.pressed] == ["1", "2"]
    assert person.pressed[0][1] - answered == pytest.approx(4000, abs=250)
    assert person.pressed[1][1] - answered == pytest.approx(7700, abs=250)
    assert "".join(key for key, _, _ in hear(bytes(tape)).take_digits()) == "12"


def test_written_presses_are_read() -> None:
    assert read_presses("1@menu, 2,9@3.5") == (Press("1", "menu"), Press("2", "menu"), Press("9", "after", 3.5))
    with pytest.raises(ValueError, match="menu, voice"):
        read_presses("1@soon")


def test_a_busy_line_gives_the_caller_busy() -> None:
    box = Box()
    box.drive(0, OFF_HOOK)
    box.run(100)
    person = box.town.call_in(CallPlan("13800138000", 1))
    box.run(100)
    assert person.outcome == "busy"


def test_a_seizure_before_the_first_ring_is_an_outgoing_call_and_the_caller_hears_busy() -> None:
    box = Box()
    person = box.town.call_in(CallPlan("02088776655", 1, caller_id="dtmf"))
    box.run(1_000)
    box.drive(0, OFF_HOOK)
    box.run(1_500)
    assert (person.outcome, person.done) == ("busy", True)
    line = box.town.exchange.line(1)
    assert str(line.state) == "dial-tone"
    assert [call.direction for call in box.town.exchange.calls] == ["in", "out"]
