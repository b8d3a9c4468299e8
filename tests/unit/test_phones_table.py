"""The table of legs: found by extension as by looking through all; and what a step of a call gives to be sent goes out within the step."""

from __future__ import annotations

import random

from firmware.call.model import Alert, LegEvent, LegOffered, Party
from firmware.core.phones_leg import PhoneLeg
from firmware.core.phones_table import Legs
from firmware.sip.offer import OfferAnswer
from tests.unit.phones_stage import Desk, House


def test_legs_of_an_extension_are_those_found_by_looking() -> None:
    legs, plain = Legs(), dict[str, PhoneLeg]()
    chance = random.Random(7)
    for step in range(2000):
        leg = f"L{chance.randrange(40)}"
        if leg in plain:
            assert legs.pop(leg, None) is plain.pop(leg)
            assert legs.pop(leg, None) is None
        else:
            legs[leg] = plain[leg] = PhoneLeg(leg, str(200 + chance.randrange(5)), True, [], OfferAnswer("192.0.2.1", 0, str(step)))
        assert dict(legs) == plain
        for extension in ("200", "201", "202", "203", "204", "999"):
            assert legs.of(extension) == [state for state in plain.values() if state.extension == extension]
    for leg in list(plain):
        legs.pop(leg, None)
    assert not legs and not legs._of


def test_the_called_telephone_is_asked_before_the_call_is_written_down() -> None:
    """Who handles a call's beginning writes and tells much; the INVITE must not wait for that."""
    house = House(41)
    anna, berta = Desk(house, "200", ("192.0.2.20", 5062)), Desk(house, "201", ("192.0.2.21", 5062))
    assert anna.register() == berta.register() == 200
    sent: list[bool] = []

    def offered(event: LegEvent) -> None:
        if isinstance(event, LegOffered):
            house.phones.originate("L9", "201", number="201", caller=Party("200"), alert=Alert.NORMAL, ring_ms=5000)
            sent.append(any(outgoing.data.startswith(b"INVITE ") for _, outgoing in house.wire))

    house.phones._bus.subscribe(LegEvent, offered)
    house.dial(anna, "201")
    assert sent == [True]
