"""The good night behind the last words of the box, at its time of day and only then."""

from __future__ import annotations

import pytest

from firmware.call import actions as do
from firmware.call.times import LocalTime, day_part
from firmware.config.schema.system import DayPart
from tests.unit.call_stage import Stage, config
from tests.unit.mail_stage import MailStage, mail_config

PARTS = [
    DayPart(start="00:00", greeting="greet.morning"), DayPart(start="18:00", greeting="greet.evening"),
    DayPart(start="21:00", greeting="greet.evening", closing="bye.night"),
]  # fmt: skip


def test_the_part_of_the_day_has_its_closing() -> None:
    found = [day_part(PARTS, LocalTime(2026, 3, 2, hour, 0)) for hour in (0, 18, 20, 21, 23)]
    assert [one.closing for one in found if one is not None] == ["", "", "", "bye.night", "bye.night"]
    assert day_part([], LocalTime(2026, 3, 2, 23, 0)) is None


@pytest.mark.parametrize(("hour", "closing"), [(20, False), (22, True)])
def test_after_a_rating(hour: int, closing: bool) -> None:
    stage = Stage(config(day_parts=PARTS))
    stage.local = LocalTime(2026, 3, 2, hour, 0)
    stage.log_in("8001", "201")
    leg = stage.ring_in()
    stage.run(500)
    stage.press(leg, "11")
    stage.run(9_000)
    stage.leave(stage.leg_at("201"))
    stage.run(1_000)
    stage.press(leg, "1")
    assert stage.heard[leg][-2:] == (["rate.bye", "bye.night"] if closing else ["rate.ask", "rate.bye"])
    assert bool([one for _, _, one in stage.done if isinstance(one, do.Record) and one.kind == "closing"]) is closing
    stage.run(20_000)
    assert leg not in stage.legs
    stage.at_rest()


@pytest.mark.parametrize("closing", [False, True])
def test_after_a_message(closing: bool) -> None:
    stage = MailStage(mail_config(day_parts=PARTS if closing else PARTS[:2]))
    stage.local = LocalTime(2026, 3, 2, 23, 0)
    leg = stage.ring_in()
    stage.run(7_000)
    stage.say_something(leg, 5_000)
    stage.run(6_000)
    stage.press(leg, "#")
    stage.run(3_000)
    stage.press(leg, "1")
    stage.run(10_000)
    assert stage.heard[leg][3:] == ["vm.choice", "vm.bye", *(["bye.night"] if closing else [])]
    stage.at_rest()
