"""A carrier is asked to take a call back for a number (blind REFER), and what is done where it cannot."""

from __future__ import annotations

from firmware.call.model import Cause, LegAnswered, LegEnded
from firmware.sip.headers import Headers
from firmware.sip.message import Request
from tests.unit.test_trunks import ready
from tests.unit.trunk_stage import ANSWER, CARRIER, TrunkStage


def told(house: TrunkStage, refer: Request, status: str) -> None:
    """The carrier says by NOTIFY what came of our REFER."""
    headers = Headers([
        ("Via", f"SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKn{status[:3]}"), ("Max-Forwards", "70"), ("From", refer.headers.get("to")),
        ("To", refer.headers.get("from")), ("Call-ID", refer.call_id), ("CSeq", f"{status[:3]} NOTIFY"), ("Event", "refer"),
        ("Subscription-State", "active" if status < "2" else "terminated;reason=noresource"),
        ("Content-Type", "message/sipfrag;version=2.0"),
    ])  # fmt: skip
    house.give(Request("NOTIFY", "sip:x@192.0.2.1", headers, f"SIP/2.0 {status}\r\n".encode()), CARRIER)


def taken_back(house: TrunkStage) -> Request:
    """N1 talks to us over the trunk, and N2 would be dialled for it: the REFER in its place."""
    first = house.call("1", leg="N1")
    house.reply(first, 200, body=ANSWER)
    house.sent.clear()
    house.phones.give_back("N1", "N2")
    house.originate("0138", leg="N2")
    refer = house.take("REFER")
    assert refer.call_id == first.call_id and refer.headers.get("refer-to") == "<sip:0138@carrier.example>"
    assert not any(isinstance(one, Request) and one.method == "INVITE" for _, one in house.sent) and len(house.media.allocated) == 1
    return refer


def test_a_carrier_takes_a_call_back_for_a_number() -> None:
    house = ready()
    refer = taken_back(house)
    house.reply(refer, 202)
    told(house, refer, "180 Ringing")
    assert not house.of(LegEnded)
    told(house, refer, "200 OK")
    assert [(one.leg, one.cause) for one in house.of(LegEnded)] == [("N1", Cause.TRANSFERRED), ("N2", Cause.TRANSFERRED)]
    assert not house.media.allocated and house.take("BYE").call_id == refer.call_id


def test_a_carrier_that_does_not_know_refer_has_the_number_dialled_here() -> None:
    house = ready()
    refer = taken_back(house)
    house.reply(refer, 405)
    invite = house.take("INVITE")
    assert invite.uri.startswith("sip:0138@") and not house.of(LegEnded)
    house.reply(invite, 200, body=ANSWER)
    assert [one.leg for one in house.of(LegAnswered)] == ["N1", "N2"] and len(house.media.allocated) == 2


def test_a_number_that_the_carrier_could_not_reach_ends_the_try_only() -> None:
    house = ready()
    refer = taken_back(house)
    house.reply(refer, 202)
    told(house, refer, "486 Busy Here")
    assert [(one.leg, one.cause) for one in house.of(LegEnded)] == [("N2", Cause.BUSY)]
    house.sent.clear()
    house.phones.give_back("N1", "N3")               # and it may be asked again
    house.originate("0139", leg="N3")
    assert house.take("REFER").headers.get("refer-to") == "<sip:0139@carrier.example>"
    house.phones.hang_up("N3", Cause.CANCELLED)      # given up here, where nothing rings
    assert [one.leg for one in house.of(LegEnded)] == ["N3"]


def test_a_caller_who_leaves_while_the_carrier_tries_leaves_nothing_behind() -> None:
    house = ready()
    refer = taken_back(house)
    house.reply(refer, 202)
    house.phones.hang_up("N1", Cause.NORMAL)
    house.phones.hang_up("N2", Cause.CANCELLED)
    house.reply(house.take("BYE"), 200)
    told(house, refer, "200 OK")
    assert sorted(one.leg for one in house.of(LegEnded)) == ["N1", "N2"] and not house.media.allocated and not house.phones.snapshot()


def test_a_restart_of_call_control_while_the_carrier_tries_keeps_the_caller_and_gives_up_the_try() -> None:
    house = ready()
    house.reply(taken_back(house), 202)
    kept = house.phones.snapshot()
    (port,) = house.media.allocated
    after = ready()
    assert not after.phones.adopt("N2", kept["N2"], -1)
    assert after.phones.adopt("N1", kept["N1"], port) and list(after.phones.snapshot()) == ["N1"]
