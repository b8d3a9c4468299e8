"""Analog phones on FXS jacks and their owners."""

from __future__ import annotations

import pytest

from firmware.errors import PbxError
from firmware.sim.callerid import fsk_message
from firmware.sim.hearing import Ear
from firmware.sim.people import AnswerPlan
from firmware.sim.phones import EmergencyRefused
from firmware.sim.signal import FskSource, Mouth, ToneSource
from tests.sim.stand_in import FEED_ACTIVE, FEED_OPEN, FEED_REVERSED, FEED_RINGING, FEED_TX, Box


def test_a_lifted_phone_draws_loop_current_and_follows_polarity() -> None:
    box = Box()
    facts = box.keep_facts(4)
    box.run(50)
    assert facts[-1] == (480, 0, 0, 0)
    box.town.phone(1).lift()
    box.run(50)
    assert facts[-1] == (100, 200, 0, 0)
    box.drive(4, FEED_REVERSED)
    box.run(50)
    assert facts[-1] == (-100, 200, 0, 0)
    box.drive(4, FEED_OPEN)
    box.run(50)
    assert facts[-1] == (0, 0, 0, 0)


def test_a_ringing_phone_counts_rings_and_trips_when_lifted() -> None:
    box = Box()
    phone = box.town.phone(2)
    facts = box.keep_facts(5)
    for _ in range(3):
        box.drive(5, FEED_RINGING)
        box.run(1000)
        box.drive(5, FEED_TX)
        box.run(4000)
    assert phone.rings == 3
    assert phone.ringing
    assert max(fact[3] for fact in facts) == 0
    box.drive(5, FEED_RINGING)
    box.run(200)
    phone.lift()
    box.run(150)
    assert max(fact[3] for fact in facts) > 340
    assert facts[-1][1] == pytest.approx(200, abs=10)
    assert phone.wire.feed == FEED_ACTIVE, "the chip feeds by itself after the trip"


def test_the_display_shows_caller_id_sent_between_rings() -> None:
    box = Box()
    mouth = Mouth()
    box.drive(4, FEED_RINGING)
    box.run(1000)
    box.drive(4, FEED_TX)
    box.playing[4] = mouth.block
    box.run(500)
    mouth.play(FskSource(fsk_message("13800138000", "Li", "", 0), "bell202"))
    box.run(2000)
    assert box.town.phone(1).display["number"] == "13800138000"
    assert box.town.phone(1).display["name"] == "Li"


def test_dialled_keys_reach_the_box_and_pulses_break_the_loop() -> None:
    box = Box()
    phone = box.town.phone(1)
    phone.lift()
    box.run(50)
    tape, facts = box.keep(4), box.keep_facts(4)
    phone.press("201#")
    box.run(1000)
    ear = Ear()
    ear.listening = ear.wants_digits = True
    for block in range(len(tape) // 160):
        ear.feed(bytes(tape[160 * block : 160 * block + 160]), block)
    assert "".join(key for key, _, _ in ear.take_digits()) == "201#"
    facts.clear()
    box.run(phone.pulse("3", break_share=0.67) + 50)
    breaks = "".join("0" if fact[1] == 0 else "1" for fact in facts).strip("1").split("1" * 33)
    assert [len(part) for part in breaks] == [67, 67, 67]


def test_a_flash_opens_the_loop_for_its_time() -> None:
    box = Box()
    phone = box.town.phone(1)
    phone.lift()
    box.run(50)
    facts = box.keep_facts(4)
    phone.flash(120)
    box.run(400)
    assert sum(1 for fact in facts if fact[1] == 0) == 120
    assert phone.lifted


@pytest.mark.parametrize("keys", ["110", "9110", "*3119", "120#"])
def test_no_test_tool_dials_an_emergency_number_by_accident(keys: str) -> None:
    box = Box()
    with pytest.raises(EmergencyRefused, match="--emergency-drill"):
        box.town.dial(1, keys)
    phone = box.town.phone(1)
    phone.lift()
    box.run(50)
    phone.press(keys[0])
    with pytest.raises(EmergencyRefused):
        for key in keys[1:]:
            phone.press(key)
    assert box.town.dial(2, keys, drill=True).ident


def test_somebody_at_a_desk_answers_talks_and_leaves_at_busy_tone() -> None:
    box = Box()
    box.town.staff_phone(1, AnswerPlan(after_ms=1500, tone_hz=1100, partners_hz=(700.0,)))
    box.drive(4, FEED_RINGING)
    box.run(1000)
    box.drive(4, FEED_TX)
    assert box.until(lambda: box.town.phone(1).lifted, 3000)
    box.drive(4, FEED_ACTIVE)
    partner, busy = Mouth(), Mouth()
    partner.play(ToneSource([((700.0,), -16.0, 0.0)]))
    busy.play(ToneSource([((450.0,), -10.0, 350.0), ((), 0.0, 350.0)]))
    box.playing[4] = partner.block
    tape = box.keep(4)
    box.run(3000)
    assert box.town.phone(1).lifted
    box.playing[4] = busy.block
    assert box.until(lambda: not box.town.phone(1).lifted, 5000)
    person = next(p for p in box.town.people.values() if p.kind == "phone")
    box.run(50)
    assert person.done
    assert (person.rings, person.ended_by) == (1, "far")
    assert person.partners["700"] == pytest.approx(-16.0, abs=0.3)
    assert len(tape) > 0


def test_keys_that_others_silenced_do_not_hide_an_emergency_number() -> None:
    box = Box()
    phone = box.town.phone(1)
    phone.lift()
    box.run(50)
    phone.press("102")
    phone.say(ToneSource([((440.0,), -16.0, 0.0)]))  # takes the place of the keys before they sounded
    with pytest.raises(EmergencyRefused):
        phone.press("110")
    phone.press("62001110")  # only ends like one


def test_one_person_dials_on_a_phone_at_a_time() -> None:
    box = Box()
    first = box.town.dial(1, "102", stay=True)
    with pytest.raises(PbxError, match="sim phone 1 hang-up"):
        box.town.dial(1, "103", stay=True)
    box.town.put_down(1)
    assert first.done
    box.run(100)
    assert not box.town.phone(1).lifted
    assert box.town.dial(1, "103", stay=True).ident
