"""INVITE with Replaces (RFC 3891): what a dialog alone tells, and what it leads to between telephones."""

from __future__ import annotations

import pytest

from firmware.sip import events as ev
from firmware.sip.message import Response, respond
from firmware.sip.parse import parse_datagram
from firmware.sip.replaces import MOST_REMEMBERED, REMEMBERED_MS, Over, Replaces
from tests.unit.sip_stage import PBX, PHONE, SDP, Network, make_endpoint, request

TAKER = ("192.0.2.21", 5064)


def invite(net: Network, replaces: str, name: str = "r1", *, method: str = "INVITE") -> int:
    """The final or first answer to an INVITE with this Replaces, of another telephone; 0 when it is offered to the owner."""
    sent = request(method, call_id=name, branch=name, source=TAKER, user="201", extra=(("Replaces", replaces),))
    answers = net.inject(TAKER, PBX, sent.render())
    final = [one.status for one in answers if isinstance(one, Response) and one.status >= 200]
    return final[0] if final else 0


@pytest.fixture
def net(seed: int) -> Network:
    """A PBX that takes everybody for account 201."""
    net = Network(seed)
    net.add(PBX, make_endpoint(seed, trusting="201"))
    return net


def ring_out(net: Network) -> str:
    """We call a telephone, which rings with To-tag "far": the value of Replaces that names it."""
    from tests.unit.sip_stage import audio

    net.send(PBX, ev.PlaceCall("out", "sip:202@192.0.2.20:5062", net.flow(PBX, PHONE), audio(PBX).offer(), number="100"))
    sent = next(parse_datagram(data) for where, data in net.strays if where == PHONE and data.startswith(b"INVITE"))
    assert sent is not None and not isinstance(sent, Response)
    ringing = respond(sent, 180, to_tag="far", headers=(("Contact", "<sip:202@192.0.2.20:5062>"),))
    net.inject(PHONE, PBX, ringing.render())
    return f"{sent.call_id};to-tag={sent.from_.tag};from-tag=far"


def test_a_call_of_ours_that_rings_is_named_whichever_way_round_the_tags_are(net: Network) -> None:
    value = ring_out(net)
    call_id, to_tag, from_tag = value.split(";")
    assert invite(net, value) == 0
    assert invite(net, f"{call_id};from-tag={to_tag[7:]};to-tag={from_tag[9:]};early-only", "r2") == 0
    found = [one for one in net.take(PBX, ev.IncomingCall) if isinstance(one, ev.IncomingCall)]
    assert [one.replaced for one in found] == ["out", "out"]
    assert found[1].replaces is not None and found[1].replaces.early_only and not (found[0].replaces and found[0].replaces.early_only)


def test_a_call_that_rings_at_us_is_481_and_one_that_nobody_knows_is_left_to_the_owner(net: Network) -> None:
    net.inject(PHONE, PBX, request("INVITE", call_id="in1", branch="in1", body=SDP).render())
    (incoming,) = net.take(PBX, ev.IncomingCall)
    ringing = [one for where, data in net.strays if where == PHONE and isinstance(one := parse_datagram(data), Response)]
    net.send(PBX, ev.RingCall(incoming.call))  # type: ignore[attr-defined]
    ringing = [one for where, data in net.strays if where == PHONE and isinstance(one := parse_datagram(data), Response)]
    tag = ringing[-1].to.tag
    assert tag and invite(net, f"in1;to-tag={tag};from-tag=ft") == 481
    assert invite(net, "L1@lamp;to-tag=L1;from-tag=lamp", "r2") == 0
    (lamp,) = net.take(PBX, ev.IncomingCall)
    assert isinstance(lamp, ev.IncomingCall) and lamp.replaced == "" and lamp.replaces == Replaces("L1@lamp", "L1", "lamp")


def test_an_answered_call_may_be_replaced_but_not_early_only_and_one_that_is_over_is_declined(net: Network) -> None:
    from tests.unit.sip_stage import audio

    net.inject(PHONE, PBX, request("INVITE", call_id="in1", branch="in1").render())
    (incoming,) = net.take(PBX, ev.IncomingCall)
    net.send(PBX, ev.AnswerCall(incoming.call, audio(PBX).offer()))  # type: ignore[attr-defined]
    ok = [one for where, data in net.strays if isinstance(one := parse_datagram(data), Response) and one.status == 200][-1]
    net.inject(PHONE, PBX, request("ACK", call_id="in1", branch="in1k", to_tag=ok.to.tag, body=SDP).render())
    value = f"in1;to-tag={ok.to.tag};from-tag=ft"
    assert invite(net, value + ";early-only") == 486
    assert invite(net, value, "r2") == 0
    net.inject(PHONE, PBX, request("BYE", call_id="in1", branch="in1b", to_tag=ok.to.tag, cseq=2).render())
    assert invite(net, value, "r3") == 603
    net.run(REMEMBERED_MS + 1000)
    assert invite(net, value, "r4") == 0                 # unknown by now: the owner says 481


@pytest.mark.parametrize("value", ["", "c1", "c1;to-tag=1", "c1;to-tag=1;from-tag=2, c2;to-tag=1;from-tag=2"])
def test_what_cannot_be_read_is_400(net: Network, value: str) -> None:
    assert invite(net, value) == 400 and net.take(PBX, ev.IncomingCall) == []


def test_other_methods_may_not_replace(net: Network) -> None:
    assert invite(net, "c1;to-tag=1;from-tag=2", method="OPTIONS") == 400


def test_what_is_over_is_remembered_in_bounds() -> None:
    over = Over()
    for n in range(2 * MOST_REMEMBERED):
        over.add((f"c{n}", "a", "b"), 0)
    assert len(over) == MOST_REMEMBERED
    last = Replaces(f"c{2 * MOST_REMEMBERED - 1}", "b", "a")
    assert over.refusal(Replaces("c5", "a", "b"), 0) is None and over.refusal(last, 0) is not None
