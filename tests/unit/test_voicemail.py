"""Message boxes: leaving, hearing, PINs, forwarding, greetings, prompts of the site; every scenario also with a restart at each step."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.call.mailroom import DAY_MS, MailRoom, Message
from firmware.call.model import Cause
from firmware.config.schema.calls import InboundRoute
from firmware.config.schema.voicemail import Mailbox, Voicemail
from tests.unit.call_stage import Phone
from tests.unit.mail_stage import WALL, MailStage, mail_config


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def restart(request: pytest.FixtureRequest) -> bool:
    """Whether the whole state goes through JSON after every input."""
    return bool(request.param)


def stage_of(restart: bool, **changes: Any) -> MailStage:
    return MailStage(mail_config(**changes), restart=restart)


def events(stage: MailStage, kind: str) -> list[dict[str, Any]]:
    return [action.data for _, _, action in stage.done if type(action).__name__ == "Record" and action.kind == kind]


# --- leaving ----------------------------------------------------------------------------------------------------------


def test_a_caller_leaves_a_message_and_is_told_when_it_is_answered(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.ring_in()
    stage.run(7000)
    assert stage.heard[leg] == ["vm.away", "vm.start", "beep"]
    stage.say_something(leg, 5000)
    stage.run(6000)
    stage.press(leg, "#")
    stage.run(3000)
    stage.press(leg, "1")
    stage.run(10_000)
    assert stage.heard[leg][3:] == ["vm.choice", "vm.bye"]
    (message,) = stage.left("night")
    assert message.number == "13800000001"
    assert 5000 < message.length < 8000
    assert stage.only().cause is Cause.NORMAL
    stage.at_rest()


def test_hanging_up_while_speaking_keeps_what_was_said(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.ring_in()
    stage.run(9000)
    stage.leave(leg)
    stage.run(5000)
    assert len(stage.left("night")) == 1
    stage.at_rest()


def test_hanging_up_before_the_tone_leaves_nothing(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.ring_in()
    stage.run(2000)
    stage.leave(leg)
    stage.run(5000)
    assert stage.left("night") == []
    stage.at_rest()


def test_silence_ends_the_message_and_is_not_part_of_it() -> None:
    stage = stage_of(False)
    leg = stage.ring_in()
    stage.run(7000)
    stage.say_something(leg, 4000)
    stage.run(30_000)
    (message,) = stage.left("night")
    assert message.length < 6500
    assert stage.heard[leg][3:] == ["vm.bye"]
    stage.at_rest()


def test_a_caller_who_talks_on_is_ended_at_the_longest_message() -> None:
    boxes = {"night": Mailbox(extensions=["101"], longest_s=20, silence_s=0)}
    stage = stage_of(False, mailboxes=boxes)
    stage.ring_in()
    stage.run(60_000)
    (message,) = stage.left("night")
    assert 19_900 <= message.length <= 20_200
    stage.at_rest()


def test_a_short_message_is_asked_for_again_but_not_for_ever(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.ring_in()
    stage.run(6300)
    for _ in range(4):
        stage.press(leg, "#")
        stage.run(4300)
    stage.run(5000)
    assert stage.heard[leg] == ["vm.away", "vm.start", "beep", *(["vm.short", "beep"] * 3), "vm.short"]
    assert stage.left("night") == []
    stage.at_rest()


def test_a_caller_who_says_nothing_leaves_no_message() -> None:
    stage = stage_of(False)
    leg = stage.ring_in()
    stage.run(90_000)
    assert stage.heard[leg][-1] == "vm.short"
    assert stage.left("night") == []
    stage.at_rest()


def test_the_choice_lets_one_listen_and_record_again(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.ring_in()
    stage.run(7000)
    stage.say_something(leg, 3000)
    stage.run(4000)
    stage.press(leg, "#")
    stage.run(1000)
    stage.press(leg, "2")
    stage.run(1000)
    assert any(one.startswith("file take/") for one in stage.heard[leg])
    stage.press(leg, "3")
    stage.run(3000)
    assert len(stage.dropped) == 1
    stage.say_something(leg, 3000)
    stage.run(4000)
    stage.leave(leg)
    stage.run(3000)
    assert len(stage.left("night")) == 1
    stage.at_rest()


def test_a_full_box_and_a_full_disk_say_so(restart: bool) -> None:
    stage = stage_of(restart, mailboxes={"night": Mailbox(extensions=["101"], most=1)})
    stage.put("night")
    leg = stage.ring_in()
    stage.run(8000)
    assert stage.heard[leg] == ["vm.full"]
    other = stage_of(restart)
    other.room.refused = "3 MB free"
    leg = other.ring_in()
    other.run(8000)
    assert other.heard[leg] == ["vm.full"]
    other.at_rest()


def test_an_extension_that_does_not_answer_has_its_calls_taken(restart: bool) -> None:
    stage = stage_of(restart, inbound=[InboundRoute(to="extension/101", greeting=False, notice=False)])
    stage.phones["101"] = Phone(answer_ms=-1)
    leg = stage.ring_in()
    stage.run(39_000)
    assert stage.heard[leg][-3:] == ["vm.away", "vm.start", "beep"]
    stage.leave(leg)
    stage.run(3000)
    assert [one.box for one in stage.room.all()] == ["101"]
    stage.at_rest()


def test_a_colleague_who_calls_a_busy_extension_reaches_its_box(restart: bool) -> None:
    stage = stage_of(restart)
    stage.phones["101"] = Phone(reject=Cause.BUSY)
    leg = stage.dial("203", "101")
    stage.run(9000)
    assert "vm.away" in stage.heard[leg]
    stage.leave(leg)
    stage.run(3000)
    (message,) = stage.left("101")
    assert message.number == "203"
    stage.at_rest()


# --- hearing ----------------------------------------------------------------------------------------------------------


def test_the_owner_hears_messages_from_the_own_telephone_without_a_pin(restart: bool) -> None:
    stage = stage_of(restart)
    one, two = stage.put("101", "0755111"), stage.put("101", "0755222")
    leg = stage.dial("101", "*97")
    stage.run(3000)
    assert stage.heard[leg] == ["vm.new", "vm.at.today", "vm.from", f"file message/101/{one.id}", "vm.keys.short"]
    stage.run(6000)
    assert not one.heard                                        # not before its end
    stage.run(3000)
    assert one.heard
    stage.press(leg, "2")
    stage.run(1000)
    assert f"file message/101/{two.id}" in stage.heard[leg]
    stage.press(leg, "3")
    stage.run(6000)
    assert stage.left("101") == [one]
    stage.press(leg, "#")
    stage.run(5000)
    stage.at_rest()


def test_who_hangs_up_in_the_middle_finds_the_message_new_again(restart: bool) -> None:
    stage = stage_of(restart)
    one = stage.put("101")
    leg = stage.dial("101", "*97")
    stage.run(4000)
    stage.leave(leg)
    stage.run(2000)
    assert not one.heard
    stage.at_rest()


def test_another_telephone_needs_number_and_pin(restart: bool) -> None:
    stage = stage_of(restart)
    one = stage.put("101")
    leg = stage.dial("204", "*97")
    stage.run(1000)
    assert stage.heard[leg] == ["vm.ask.box"]
    stage.press(leg, "101#")
    stage.run(500)
    stage.press(leg, "7391#")
    stage.run(3000)
    assert f"file message/101/{one.id}" in stage.heard[leg]
    assert "7391" not in str([action for _, _, action in stage.done])
    stage.leave(leg)
    stage.run(1000)
    stage.at_rest()


def test_wrong_pins_close_the_box_to_strangers_for_longer_each_time(restart: bool) -> None:
    stage = stage_of(restart, voicemail=Voicemail(pin_tries=3, pin_wait_s=60))
    for series in range(2):
        leg = stage.dial("204", "*97101")
        for _ in range(3):
            stage.run(2500)
            stage.press(leg, "0000#")
        stage.run(6000)
        assert stage.heard[leg][-1] == "vm.bad.ended"
        now = stage.board.wall(stage.now)
        assert stage.room.closed("101", now)
        assert not stage.room.opens(stage.config, "101", "7391", now)        # the right one neither
        stage.run(60_000 << series)
        assert not stage.room.closed("101", stage.board.wall(stage.now))
    assert stage.room.opens(stage.config, "101", "7391", stage.board.wall(stage.now))
    stage.at_rest()


def test_an_unknown_box_cannot_be_told_from_a_wrong_pin(restart: bool) -> None:
    stage = stage_of(restart)
    heard = []
    for box in ("101", "555"):
        leg = stage.dial("204", f"*97{box}")
        stage.run(1000)
        stage.press(leg, "0000#")
        stage.run(2000)
        heard.append(list(stage.heard[leg]))
        stage.leave(leg)
        stage.run(1000)
    assert heard[0] == heard[1]


def test_a_message_is_forwarded_kept_as_new_and_kept_for_good(restart: bool) -> None:
    stage = stage_of(restart)
    one = stage.put("101")
    leg = stage.dial("101", "*97")
    stage.run(4000)
    stage.press(leg, "5")
    stage.run(500)
    stage.press(leg, "202#")
    stage.run(500)
    assert stage.heard[leg][-2:] == ["vm.sent", "vm.keys"]
    assert [copy.origin for copy in stage.left("202")] == ["101"]
    stage.press(leg, "6")
    stage.run(200)
    assert not stage.left("101")[0].heard
    stage.leave(leg)
    leg = stage.dial("101", "*97")
    stage.run(4000)
    stage.press(leg, "7")
    stage.run(3000)
    assert one.saved
    stage.leave(leg)
    stage.run(2000)
    stage.at_rest()


def test_the_caller_is_called_back_with_the_rights_of_the_telephone(restart: bool) -> None:
    stage = stage_of(restart)
    one = stage.put("101", "62001234")
    leg = stage.dial("101", "*97")
    stage.run(4000)
    stage.press(leg, "4")
    stage.run(8000)
    line = stage.leg_at("line/1")
    assert stage.talking(leg, line)
    assert one.heard
    stage.leave(leg)
    stage.run(3000)
    stage.at_rest()


def test_an_emergency_number_as_caller_is_not_called_back(restart: bool) -> None:
    stage = stage_of(restart)
    stage.put("101", "110")
    leg = stage.dial("101", "*97")
    stage.run(4000)
    stage.press(leg, "4")
    stage.run(1000)
    assert stage.heard[leg][-1] == "vm.no.callback"
    assert not stage.leg_at("line/1")


def test_the_night_box_is_the_second_box_of_its_telephones(restart: bool) -> None:
    stage = stage_of(restart)
    stage.put("night")
    leg = stage.dial("101", "*97")
    stage.run(5000)
    assert stage.heard[leg] == ["vm.none.new", "vm.end"]
    stage.press(leg, "8")
    stage.run(3000)
    assert "vm.new" in stage.heard[leg]
    stage.leave(leg)
    stage.run(1000)
    stage.at_rest()


def test_a_greeting_is_recorded_accepted_and_heard_by_callers(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.dial("201", "*97900")
    stage.run(5000)
    stage.press(leg, "9")
    stage.run(500)
    stage.press(leg, "1")
    stage.run(5000)
    stage.say_something(leg, 2000)
    stage.run(3000)
    stage.press(leg, "#")
    stage.run(3000)
    assert stage.room.greetings == set()                        # not before it is accepted
    stage.press(leg, "1")
    stage.run(1000)
    assert stage.room.greetings == {"night"}
    stage.leave(leg)
    stage.run(1000)
    caller = stage.ring_in()
    stage.run(1000)
    assert stage.heard[caller] == ["file greeting/night"]
    stage.leave(caller)
    stage.run(3000)
    stage.at_rest()


def test_who_hangs_up_without_accepting_keeps_the_old_greeting(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.dial("201", "*97900")
    stage.run(5000)
    stage.press(leg, "91")
    stage.run(8000)
    stage.leave(leg)
    stage.run(3000)
    assert stage.room.greetings == set()
    assert stage.kept == []
    stage.at_rest()


def test_a_prompt_is_recorded_with_the_pin_of_the_studio(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.dial("202", "*77")
    stage.run(500)
    stage.press(leg, "1111#")
    stage.run(500)
    assert stage.heard[leg][-2:] == ["vm.bad.pin", "vm.ask.pin"]
    stage.press(leg, "8264#")
    stage.run(500)
    stage.press(leg, "11#")
    stage.run(500)
    stage.press(leg, "2")
    stage.run(6000)
    stage.run(3000)
    stage.press(leg, "#")
    stage.run(2000)
    stage.press(leg, "1")
    stage.run(500)
    assert [one.take.name for one in stage.kept] == ["en/greet.morning"]
    stage.leave(leg)
    stage.run(1000)
    stage.at_rest()


def test_an_owner_from_outside_opens_the_box_over_its_greeting(restart: bool) -> None:
    stage = stage_of(restart)
    stage.put("night")
    leg = stage.ring_in()
    stage.run(1000)
    stage.press(leg, "*")
    stage.run(500)
    stage.press(leg, "5173#")
    stage.run(3000)
    assert "vm.new" in stage.heard[leg]
    stage.leave(leg)
    stage.run(1000)
    stage.at_rest()


# --- the room ---------------------------------------------------------------------------------------------------------


def test_old_messages_go_and_late_ones_are_told() -> None:
    conf = mail_config(mailboxes={"101": Mailbox(extensions=["101"], keep_days=10, keep_new_days=30)})
    room = MailRoom()
    now = 100 * DAY_MS + WALL
    room.add(Message("old", "101", now - 40 * DAY_MS, 1000, heard=now - 11 * DAY_MS))
    room.add(Message("kept", "101", now - 40 * DAY_MS, 1000, heard=now - 11 * DAY_MS, saved=True))
    room.add(Message("new", "101", now - 29 * DAY_MS, 1000, due=now - 28 * DAY_MS))
    room.add(Message("forgotten", "101", now - 31 * DAY_MS, 1000))
    assert sorted(one.id for one in room.outdated(conf, now)) == ["forgotten", "old"]
    assert [one.id for one in room.overdue(now)] == ["new"]
    assert room.counts("101") == (2, 2)
