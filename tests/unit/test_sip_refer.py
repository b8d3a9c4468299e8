"""Transfer by the telephone's own key: REFER on the wire (RFC 3515, 3891, 3892, 4488) and in the switchboard (RFC 5589)."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.call import actions as do
from firmware.call.model import Cause, LegHeld, LegReferred
from firmware.config.schema.people import Extension
from firmware.sip import events as ev
from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Request, Response, respond
from firmware.sip.parse import parse_datagram
from firmware.sip.refer import PATIENCE_S, parse_refer
from firmware.sip.replaces import Replaces, parse_replaces
from firmware.sip.uri import escape_user
from tests.unit.call_stage import Phone, Stage, config
from tests.unit.sip_stage import PBX, PHONE, Network, audio, authorize, make_endpoint, request, sdp

# --- on the wire ------------------------------------------------------------------------------------------------------


class Wire:
    """A telephone of account 200, only bytes, in one or two calls with the PBX."""

    def __init__(self, seed: int) -> None:
        self.net = Network(seed)
        self.pbx = self.net.add(PBX, make_endpoint(seed, trusting="200"))
        self.cseq = 1
        self.tags: dict[str, str] = {}

    def call(self, name: str) -> str:
        """A confirmed call; our id of it."""
        self.net.inject(PHONE, PBX, request("INVITE", call_id=name, branch=name, body=b"").render())
        (incoming,) = self.net.take(PBX, ev.IncomingCall)
        assert isinstance(incoming, ev.IncomingCall)
        self.net.send(PBX, ev.AnswerCall(incoming.call, audio(PBX).offer()))
        ok = [one for where, data in self.net.strays if isinstance(one := parse_datagram(data), Response) and one.call_id == name][-1]
        assert ok.status == 200
        self.tags[name] = ok.to.tag
        body = sdp().build()
        self.net.inject(PHONE, PBX, request("ACK", call_id=name, branch=name + "k", to_tag=ok.to.tag, body=body).render())
        assert len(self.net.take(PBX, ev.CallConfirmed)) == 1
        return incoming.call

    def say(self, name: str, method: str, *extra: tuple[str, str], body: bytes = b"") -> list[Request | Response]:
        self.cseq += 1
        sent = request(method, call_id=name, branch=f"{name}{self.cseq}", cseq=self.cseq, to_tag=self.tags[name], extra=extra, body=body)
        return self.net.inject(PHONE, PBX, sent.render())  # type: ignore[return-value]

    def outside(self, name: str, *extra: tuple[str, str], user: str = "200", to: str = "<sip:202@h>") -> list[Any]:
        """A REFER outside of a dialog, with digest; what comes of it."""
        headers = (*((("Refer-To", to),) if to else ()), ("Contact", "<sip:200@192.0.2.20:5062>"), *extra)
        first = request("REFER", user=user, call_id=name, branch=name + "a", extra=headers)
        (challenge,) = self.net.inject(PHONE, PBX, first.render())
        assert isinstance(challenge, Response) and challenge.status == 407
        again = request("REFER", user=user, call_id=name, branch=name + "b", cseq=2, extra=headers)
        return self.net.inject(PHONE, PBX, authorize(again, challenge, user, "pw" + user).render())

    def notifies(self) -> list[Request]:
        """NOTIFYs not seen before, answered 200."""
        found, seen = [], set()
        self.net._collect(PBX)
        for _, data in list(self.net.strays):
            message = parse_datagram(data)
            if isinstance(message, Request) and message.method == "NOTIFY" and message.via.branch not in seen:
                seen.add(message.via.branch)
                found.append(message)
        self.net.strays = [(where, data) for where, data in self.net.strays if not data.startswith(b"NOTIFY")]
        for message in found:
            self.net.inject(PHONE, PBX, respond(message, 200).render())
        return found

    def told(self) -> list[tuple[str, str]]:
        """Status and subscription state of all NOTIFYs until none comes."""
        told = []
        while more := self.notifies():
            told += [(one.body.decode().split()[1], one.headers.get("subscription-state").split(";")[0]) for one in more]
        return told


@pytest.fixture
def wire(seed: int) -> Wire:
    return Wire(seed)


def test_refer_is_accepted_told_trying_and_then_the_outcome(wire: Wire) -> None:
    call = wire.call("c1")
    accepted, trying = wire.say("c1", "REFER", ("Refer-To", "<sip:202@192.0.2.1>"), ("Referred-By", "<sip:200@192.0.2.1>"))
    assert isinstance(accepted, Response) and accepted.status == 202
    assert isinstance(trying, Request) and trying.headers.get("event") == f"refer;id={wire.cseq}"
    assert trying.headers.get("content-type").startswith("message/sipfrag")
    assert wire.told() == [("100", "active")]
    (event,) = wire.net.take(PBX, ev.Referred)
    assert isinstance(event, ev.Referred) and (event.call, event.number, event.replaces, event.by) == (call, "202", "", "200")
    wire.net.send(PBX, ev.ReportReferral(call, event.referral, 200))
    wire.net.send(PBX, ev.ReportReferral(call, event.referral, 486))  # a second one is too late
    assert wire.told() == [("200", "terminated")]
    assert wire.pbx.statistics()["referrals"] == wire.pbx.statistics()["subscriptions"] == 0


def test_the_notifies_survive_the_bye_of_the_transferor(wire: Wire) -> None:
    call = wire.call("c1")
    wire.say("c1", "REFER", ("Refer-To", "<sip:202@192.0.2.1>"))
    (event,) = wire.net.take(PBX, ev.Referred)
    assert isinstance(event, ev.Referred)
    (over,) = wire.say("c1", "BYE")
    assert isinstance(over, Response) and over.status == 200 and len(wire.net.take(PBX, ev.CallEnded)) == 1
    wire.net.send(PBX, ev.ReportReferral(call, event.referral, 486))
    assert wire.told() == [("100", "active"), ("486", "terminated")]


def test_the_outcome_waits_for_no_answer_to_trying(wire: Wire) -> None:
    call = wire.call("c1")
    wire.say("c1", "REFER", ("Refer-To", "<sip:202@192.0.2.1>"))
    (event,) = wire.net.take(PBX, ev.Referred)
    assert isinstance(event, ev.Referred)
    wire.net.send(PBX, ev.ReportReferral(call, event.referral, 200))
    wire.net.send(PBX, ev.EndCall(call))
    wire.net._collect(PBX)
    said = [parse_datagram(data) for _, data in wire.net.strays]
    order = [one.method for one in said if isinstance(one, Request) and one.method in ("NOTIFY", "BYE")]
    assert order == ["NOTIFY", "NOTIFY", "BYE"]
    assert wire.told() == [("100", "active"), ("200", "terminated")]
    assert wire.pbx.statistics()["subscriptions"] == 0


def test_nobody_reports_for_too_long(wire: Wire) -> None:
    wire.call("c1")
    wire.say("c1", "REFER", ("Refer-To", "<sip:202@192.0.2.1>"))
    assert wire.told() == [("100", "active")]
    wire.net.run(PATIENCE_S * 1000 + 10)
    assert wire.told() == [("408", "terminated")]


def replaces(wire: Wire, name: str, *, turned: bool = False) -> str:
    to, by = (wire.tags[name], "ft") if not turned else ("ft", wire.tags[name])
    return f"<sip:600@192.0.2.1?Replaces={escape_user(name)}%3Bto-tag%3D{to}%3Bfrom-tag%3D{by}>"


@pytest.mark.parametrize("turned", [False, True])
def test_replaces_names_the_other_call_of_the_phone(wire: Wire, turned: bool) -> None:
    first, second = wire.call("c1"), wire.call("c2")
    wire.say("c1", "REFER", ("Refer-To", replaces(wire, "c2", turned=turned)))
    (event,) = wire.net.take(PBX, ev.Referred)
    assert isinstance(event, ev.Referred) and (event.call, event.replaces) == (first, second)


def test_replaces_of_an_unknown_or_the_same_or_anothers_dialog(wire: Wire) -> None:
    wire.call("c1")
    wire.call("c2")
    wire.tags["gone"] = "x"
    for name in ("gone", "c1"):
        wire.say("c1", "REFER", ("Refer-To", replaces(wire, name)))
        assert wire.told() == [("100", "active"), ("481", "terminated")]
    other = next(session for session in wire.pbx.calls._sessions.values() if session.state.dialog and session.state.dialog.call_id == "c2")
    other.state.account = "201"
    wire.say("c1", "REFER", ("Refer-To", replaces(wire, "c2")))
    assert wire.told() == [("100", "active"), ("481", "terminated")] and wire.net.take(PBX, ev.Referred) == []


@pytest.mark.parametrize(
    ("status", "extra"),
    [
        (400, ()),
        (400, (("Refer-To", "<sip:1@h>, <sip:2@h>"),)),
        (400, (("Refer-To", "<tel:202>"),)),
        (400, (("Refer-To", "<sip:202@h;method=BYE>"),)),
        (400, (("Refer-To", "<sip:202@h?Replaces=abc%3Bto-tag%3D1>"),)),
        (400, (("Refer-To", "<sip:192.0.2.1>"),)),
        (420, (("Refer-To", "<sip:202@h>"), ("Require", "multiple-refer"))),
    ],
)
def test_bad_refers(wire: Wire, status: int, extra: tuple[tuple[str, str], ...]) -> None:
    wire.call("c1")
    (answer,) = wire.say("c1", "REFER", *extra)
    assert isinstance(answer, Response) and answer.status == status
    assert wire.net.take(PBX, ev.Referred) == [] and wire.pbx.statistics()["subscriptions"] == 0


def test_one_at_a_time_none_outside_of_a_call_and_none_told_when_not_wanted(wire: Wire) -> None:
    assert [one.status for one in wire.outside("c0")] == [603]
    wire.call("c1")
    only = wire.say("c1", "REFER", ("Refer-To", "<sip:202@h>"), ("Refer-Sub", "false"))
    assert len(only) == 1 and isinstance(only[0], Response) and (only[0].status, only[0].headers.get("refer-sub")) == (202, "false")
    (second,) = wire.say("c1", "REFER", ("Refer-To", "<sip:203@h>"))
    assert isinstance(second, Response) and second.status == 491
    assert wire.told() == []


@pytest.mark.parametrize("turned", [False, True])
def test_target_dialog_names_the_call_that_is_handed_over(wire: Wire, turned: bool) -> None:
    call = wire.call("c1")
    tags = ("ft", wire.tags["c1"])
    local, remote = reversed(tags) if turned else tags
    target = ("Target-Dialog", f"c1;local-tag={local};remote-tag={remote}")
    accepted, trying = wire.outside("r1", target, ("Require", "tdialog"), ("Record-Route", "<sip:edge.example;lr>"))
    assert (accepted.status, accepted.call_id, bool(accepted.to.tag), "contact" in accepted.headers) == (202, "r1", True, True)
    assert accepted.to.tag != wire.tags["c1"] and accepted.headers.get("record-route") == "<sip:edge.example;lr>"
    assert (trying.call_id, trying.to.tag, trying.from_.tag) == ("r1", "ft", accepted.to.tag)     # in the dialog that the REFER made
    (event,) = wire.net.take(PBX, ev.Referred)
    assert isinstance(event, ev.Referred) and (event.call, event.number) == (call, "202")
    assert wire.told()[0] == ("100", "active")
    wire.net.send(PBX, ev.ReportReferral(call, event.referral, 200))
    assert wire.told() == [("200", "terminated")] and wire.pbx.statistics()["subscriptions"] == 0


def test_outside_of_a_call_nothing_is_referred_but_ones_own_call(wire: Wire) -> None:
    wire.call("c1")
    own = f"c1;local-tag=ft;remote-tag={wire.tags['c1']}"
    stranger = wire.outside("r0", ("Target-Dialog", own), user="201")
    unknown = wire.outside("r1", ("Target-Dialog", "c9;local-tag=a;remote-tag=b"))
    none = wire.outside("r2")
    assert [one.status for one in (*stranger, *unknown, *none)] == [603, 603, 603]
    bad = [wire.outside(f"b{n}", ("Target-Dialog", value))[0].status for n, value in enumerate(("c1", "c1;local-tag=a", f"{own}, {own}"))]
    assert bad == [400, 400, 400]
    assert wire.outside("r3", ("Target-Dialog", own), to="")[0].status == 400
    assert wire.outside("r4", ("Target-Dialog", own), ("Require", "norefersub"))[0].status == 420
    assert wire.net.take(PBX, ev.Referred) == [] and wire.pbx.statistics()["subscriptions"] == 0
    wire.say("c1", "BYE")
    assert wire.outside("r5", ("Target-Dialog", own))[0].status == 603


def test_an_emergency_number_opens_no_referral_and_a_carrier_is_declined(seed: int) -> None:
    """Who is let through to call for help has proved nothing; trunks answer no challenge."""
    for account, status in (("200", 407), ("trunk/main", 603)):
        net = Network(seed)
        net.add(PBX, make_endpoint(seed, trusting=account))
        (answer,) = net.inject(PHONE, PBX, request("REFER", "sip:110@192.0.2.1", extra=(("Refer-To", "<sip:202@h>"),)).render())
        assert isinstance(answer, Response) and answer.status == status


def test_the_refer_subscription_can_be_ended(wire: Wire) -> None:
    call = wire.call("c1")
    wire.say("c1", "REFER", ("Refer-To", "<sip:202@h>"))
    (event,) = wire.net.take(PBX, ev.Referred)
    assert isinstance(event, ev.Referred)
    wire.told()
    ended = wire.say("c1", "SUBSCRIBE", ("Event", f"refer;id={wire.cseq}"), ("Expires", "0"))
    assert isinstance(ended[0], Response) and ended[0].status == 200
    assert wire.told() == [("100", "terminated")]
    wire.net.send(PBX, ev.ReportReferral(call, event.referral, 200))
    assert wire.told() == []


def test_values() -> None:
    assert parse_replaces("a@b;from-tag=1;to-tag=2;early-only") == Replaces("a@b", "2", "1", True)
    for text in ("", ";to-tag=1;from-tag=2", "a;to-tag=1", "a;to-tag=1;to-tag=1;from-tag=2"):
        with pytest.raises(SyntaxProblem):
            parse_replaces(text)
    asked = parse_refer(request("REFER", extra=(("Refer-To", "sip:%2A43@h;user=phone"),)))
    assert (asked.number, asked.replaces) == ("*43", None)


# --- in the switchboard -----------------------------------------------------------------------------------------------


def reports(stage: Stage) -> list[Cause | None]:
    return [action.cause for _, _, action in stage.done if isinstance(action, do.ReportReferral)]


def outside_talks(stage: Stage, to: str = "201") -> tuple[str, str]:
    """A caller from outside talks with an extension: (line, phone)."""
    stage.phones["line/1"] = Phone(500)
    phone = stage.dial(to, "913800000000")
    stage.run(10_000)
    line = stage.leg_at("line/1")
    assert stage.talking(phone, line)
    return line, phone


@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("restart", [True, False])
def test_blind_transfer(stays: bool, restart: bool) -> None:
    stage = Stage(restart=restart)
    stage.phones["203"] = Phone(3000)
    line, phone = outside_talks(stage)
    stage.give(LegHeld(phone, stage.now))
    stage.give(LegReferred(phone, stage.now, "t1", "203"))
    assert stage.heard[line][-1] == "music"
    stage.run(1000)
    if not stays:
        stage.leave(phone)
    stage.run(5000)
    target = stage.leg_at("203")
    assert stage.talking(line, target) and reports(stage) == [None] and phone not in stage.legs
    stage.leave(line)
    stage.run(2000)
    stage.at_rest()
    legs = {leg.endpoint: leg.cause for leg in stage.only().legs.values()}
    assert legs["201"] is Cause.TRANSFERRED


@pytest.mark.parametrize(("on_hold", "reject"), [(True, Cause.BUSY), (False, Cause.BUSY), (True, Cause.NO_ANSWER)])
def test_a_blind_transfer_that_fails_goes_back_to_the_phone_that_stayed(on_hold: bool, reject: Cause) -> None:
    stage = Stage()
    stage.phones["203"] = Phone(reject=reject)
    line, phone = outside_talks(stage)
    if on_hold:
        stage.give(LegHeld(phone, stage.now))
    stage.give(LegReferred(phone, stage.now, "t1", "203"))
    stage.run(3000)
    assert reports(stage) == [reject]
    assert stage.talking(line, phone) is not on_hold
    assert not on_hold or stage.state(line).held_by == phone
    stage.leave(phone)
    stage.run(2000)
    stage.at_rest()


def test_a_phone_that_left_is_rung_again() -> None:
    stage = Stage()
    stage.phones["203"] = Phone(answer_ms=-1)
    stage.phones["201"] = Phone(2000)
    line, phone = outside_talks(stage)
    stage.give(LegReferred(phone, stage.now, "t1", "203"))
    stage.leave(phone)
    stage.run(40_000)
    assert reports(stage) == [Cause.NO_ANSWER] and stage.talking(line, stage.leg_at("201"))
    stage.leave(line)
    stage.run(2000)
    stage.at_rest()


def test_the_rights_are_those_of_the_phone_that_hands_over() -> None:
    extensions = {"201": Extension(kind="sip", permission="internal"), "202": Extension(kind="sip"), "203": Extension(kind="sip")}
    stage = Stage(config(extensions=extensions, agents={}, queues={}, menus={}, inbound=[]))
    caller = stage.dial("202", "201")
    stage.run(6000)
    phone = stage.leg_at("201")
    assert stage.talking(caller, phone)
    stage.give(LegReferred(phone, stage.now, "t1", "913800000000"))
    stage.run(1000)
    assert reports(stage) == [Cause.REFUSED] and stage.talking(caller, phone)
    stage.give(LegReferred(phone, stage.now, "t2", "*43"))
    assert reports(stage)[1:] == [Cause.UNREACHABLE] and stage.talking(caller, phone)


def consult(stage: Stage, number: str = "203") -> tuple[str, str, str, str]:
    """201 talks with the line, holds it and talks with 203: (line, phone's leg, its second leg, 203's leg)."""
    line, phone = outside_talks(stage)
    stage.give(LegHeld(phone, stage.now))
    second = stage.dial("201", number)
    stage.run(6000)
    return line, phone, second, stage.leg_at(number)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_attended_transfer(turned: bool, restart: bool) -> None:
    stage = Stage(restart=restart)
    line, phone, second, target = consult(stage)
    assert stage.talking(second, target)
    main = stage.board.contact_of(line)
    named, other = (phone, second) if not turned else (second, phone)
    stage.give(LegReferred(named, stage.now, "t1", "", other))
    stage.run(1000)
    assert reports(stage) == [None] and stage.talking(line, target)
    assert stage.board.contact_of(target) == main and list(stage.board.contacts) == [main]
    stage.leave(target)
    stage.run(2000)
    stage.at_rest()
    causes = [leg.cause for contact in stage.closed.values() for leg in contact.legs.values() if leg.endpoint == "201"]
    assert causes == [Cause.TRANSFERRED, Cause.TRANSFERRED]


def test_a_consultation_that_still_rings_becomes_a_blind_transfer() -> None:
    stage = Stage()
    stage.phones["203"] = Phone(20_000)
    line, phone, second, _ = consult(stage)
    stage.give(LegReferred(phone, stage.now, "t1", "", second))
    stage.run(25_000)
    assert reports(stage) == [None] and stage.talking(line, stage.leg_at("203"))
    stage.leave(line)
    stage.run(2000)
    stage.at_rest()


def test_what_cannot_be_handed_over() -> None:
    stage = Stage()
    line, phone, second, target = consult(stage)
    stage.give(LegReferred(phone, stage.now, "t1", "", target))  # somebody else's leg
    stage.give(LegReferred(phone, stage.now, "t2", "", "L-unknown"))
    stage.give(LegReferred(phone, stage.now, "t3", "", phone))
    stage.give(LegReferred("L-unknown", stage.now, "t4", "203"))
    assert reports(stage) == [Cause.REFUSED, Cause.UNREACHABLE, Cause.REFUSED, Cause.UNREACHABLE]
    assert stage.talking(second, target) and stage.state(line).held_by == phone


def test_the_far_party_leaves_while_it_is_handed_over() -> None:
    stage = Stage()
    stage.phones["203"] = Phone(answer_ms=-1)
    line, phone = outside_talks(stage)
    stage.give(LegReferred(phone, stage.now, "t1", "203"))
    stage.run(1000)
    stage.leave(line)
    stage.run(2000)
    assert reports(stage) == [Cause.CANCELLED]
    stage.at_rest()
