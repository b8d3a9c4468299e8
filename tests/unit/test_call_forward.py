"""Call forwarding by the telephone itself (302): whose rights, how often, and what the wire says."""

from __future__ import annotations

import msgspec
import pytest

from firmware.call import actions as do
from firmware.call.model import Cause, Evidence, LegEnded, LegForwarded
from firmware.config.schema.people import Extension
from firmware.sip import events as ev
from firmware.sip.forward import forward_of
from firmware.sip.headers import Headers
from firmware.sip.message import Response
from tests.unit.call_stage import Phone, Stage, config
from tests.unit.phones_stage import Desk, House


def send_on(stage: Stage, endpoint: str, number: str) -> None:
    """The telephone that rings there sends the call on."""
    leg = stage.leg_at(endpoint)
    stage.give(LegForwarded(leg, stage.now, number))
    stage._end(leg, Cause.TRANSFERRED, Evidence("sip-302", detail=f"to {number}"), True)
    stage.run(500)


def records(stage: Stage, kind: str) -> list[dict[str, object]]:
    return [one.data for _, _, one in stage.done if isinstance(one, do.Record) and one.kind == kind]


@pytest.mark.parametrize("restart", [False, True])
def test_a_call_is_sent_on_to_a_colleague_who_is_shown(restart: bool) -> None:
    stage = Stage(restart=restart)
    stage.phones["202"], stage.phones["203"] = Phone(answer_ms=-1), Phone(1000)
    caller = stage.dial("201", "202")
    stage.run(500)
    send_on(stage, "202", "203")
    stage.run(2000)
    assert stage.talking(caller, stage.leg_at("203")) and records(stage, "forwarded") == [{"by": "202", "to": "203"}]
    shown = [one.party.number for _, _, one in stage.done if isinstance(one, do.ShowParty) and one.leg == caller]
    assert shown == ["203"]
    stage.leave(caller)
    stage.run(1000)
    stage.at_rest()
    causes = {leg.endpoint: leg.cause for leg in stage.only().legs.values()}
    assert causes["202"] is Cause.TRANSFERRED


def test_it_goes_out_with_the_rights_of_the_telephone_that_forwards() -> None:
    extensions = {"201": Extension(kind="sip", permission="international"), "202": Extension(kind="sip", permission="internal"),
                  "203": Extension(kind="sip")}  # fmt: skip
    stage = Stage(config(extensions=extensions, agents={}, queues={}, menus={}, inbound=[]))
    stage.phones["202"] = stage.phones["203"] = Phone(answer_ms=-1)
    stage.phones["line/1"] = Phone(500)
    caller = stage.dial("201", "202")
    stage.run(500)
    send_on(stage, "202", "913800000000")
    stage.run(1000)
    assert caller not in stage.legs and not stage.leg_at("line/1") and records(stage, "forward-failed")
    caller = stage.dial("201", "203")
    stage.run(500)
    send_on(stage, "203", "913800000000")
    stage.run(5000)
    assert stage.talking(caller, stage.leg_at("line/1"))


@pytest.mark.parametrize("number", ["110", "9110", "*43", "777"])
def test_no_forwarding_reaches_an_emergency_number_a_code_or_nobody(number: str) -> None:
    stage = Stage()
    stage.phones["202"] = Phone(answer_ms=-1)
    caller = stage.dial("201", "202")
    stage.run(500)
    send_on(stage, "202", number)
    stage.run(1000)
    assert caller not in stage.legs and not any(stage.leg_at(f"line/{n}") for n in (1, 2, 3, 4))
    stage.at_rest()


def test_a_circle_ends() -> None:
    stage = Stage()
    stage.phones["202"] = stage.phones["203"] = Phone(answer_ms=-1)
    caller = stage.dial("201", "202")
    stage.run(500)
    for turn in range(4):
        send_on(stage, "203" if turn % 2 else "202", "202" if turn % 2 else "203")
    stage.run(1000)
    assert caller not in stage.legs and len(records(stage, "forwarded")) == 3 and len(records(stage, "forward-failed")) == 1
    stage.at_rest()


def test_a_transfer_follows_a_forwarding_and_a_queue_does_not() -> None:
    stage = Stage()
    stage.phones["202"], stage.phones["203"], stage.phones["204"] = Phone(500), Phone(answer_ms=-1), Phone(500)
    caller = stage.dial("201", "202")
    stage.run(2000)
    middle = stage.leg_at("202")
    stage.press(middle, "*3203")
    stage.run(500)
    send_on(stage, "203", "204")
    stage.run(2000)
    assert stage.talking(middle, stage.leg_at("204"))
    stage.leave(middle)
    stage.leave(caller)
    stage.run(2000)
    stage.phones["201"] = Phone(answer_ms=-1)
    stage.log_in("8001", "201")
    line = stage.ring_in()
    stage.run(4000)
    stage.press(line, "1")
    stage.run(1500)
    stage.press(line, "1")
    stage.run(3000)
    send_on(stage, "201", "913800000000")
    assert stage.state(line).phase.value == "queued" and not stage.leg_at("line/2")


@pytest.mark.parametrize(
    ("status", "contacts", "number"),
    [(302, ["<sip:203@192.0.2.1>"], "203"), (301, ["<sip:203@x>;q=0.2", "<sip:204@x>;q=0.7"], "204"), (302, ["<tel:+49-30-1>"], "+49301"),
     (302, ["<sip:192.0.2.9>", "<<"], ""), (302, [], ""), (300, ["<sip:203@x>"], ""), (486, ["<sip:203@x>"], ""),
     (302, ["<sip:203@x>;q=nan", "<sip:204@x>;q=0.1"], "204")],
)  # fmt: skip
def test_what_a_redirection_names(status: int, contacts: list[str], number: str) -> None:
    assert forward_of(Response(status, "x", Headers([("Contact", one) for one in contacts]))) == number


def test_a_302_of_one_contact_stops_the_others_and_is_told(seed: int) -> None:
    house = House(seed)
    first, second = Desk(house, "202", ("192.0.2.32", 5070)), Desk(house, "202", ("192.0.2.33", 5071))
    first.register()
    second.register()
    house.ring("L1", "202")
    (one,), (two,) = first.take(ev.IncomingCall), second.take(ev.IncomingCall)
    second.send(ev.RingCall(two.call))
    first.send(ev.RefuseCall(one.call, 302, headers=(("Contact", "<sip:203@192.0.2.1>"),)))
    house.settle()
    (told,) = house.take(LegForwarded)
    assert told.number == "203"
    (ended,) = house.take(LegEnded)
    assert ended.cause is Cause.TRANSFERRED and second.take(ev.CallEnded)
    assert msgspec.structs.asdict(ended.evidence)["detail"] == "to 203"
