"""What telephones are told of people (P-Asserted-Identity, Privacy, Referred-By) and by which way they get keys."""

from __future__ import annotations

import msgspec
import pytest

from firmware.call.model import Cause, Party
from firmware.config.schema.people import Extension
from firmware.core.phones_shown import party_headers, referred_by, way_of_keys
from firmware.sip import events as ev
from firmware.sip.message import Request, Response, respond
from firmware.sip.parse import parse_datagram
from tests.unit.phones_stage import CONFIG, Desk, House
from tests.unit.sip_stage import SDP, authorize, request

PHONE = ("192.0.2.31", 5070)


def test_headers_name_who_may_be_named() -> None:
    assert party_headers(Party("201", 'An"na'), "h:5070") == (("P-Asserted-Identity", '"An\\"na" <sip:201@h:5070>'),)
    assert party_headers(Party("201"), "h") == (("P-Asserted-Identity", "<sip:201@h>"),)
    assert party_headers(Party(), "h") == () == referred_by(Party("201"), "h")
    hidden = dict(party_headers(Party("201", "Anna", "private"), "h"))
    assert hidden["Privacy"] == "id" and "201" not in hidden["P-Asserted-Identity"] and "Anna" not in hidden["P-Asserted-Identity"]
    assert referred_by(Party("201", by="202"), "h") == (("Referred-By", "<sip:202@h>"),)


@pytest.mark.parametrize(
    ("setting", "agreed", "allows", "way"),
    [("auto", True, True, "media"), ("auto", False, True, "info"), ("auto", False, False, "media"), ("info", True, False, "info"),
     ("rfc4733", False, True, "media"), ("inband", False, True, "media")],
)  # fmt: skip
def test_keys_go_the_way_the_phone_takes_them(seed: int, setting: str, agreed: bool, allows: bool, way: str) -> None:
    house = House(seed)
    desk = Desk(house, "201", PHONE)
    desk.register()
    leg = house.dial(desk, "*43").leg
    house.phones.answer(leg)
    state = house.phones._table.legs[leg]
    assert state.negotiation.path is not None
    path = msgspec.structs.replace(state.negotiation.path, dtmf_type=101 if agreed else None)
    assert way_of_keys(setting, path, allows) == way


class Hand:
    """A telephone that a test plays by hand, in a call with the house."""

    def __init__(self, house: House, *, body: bytes = SDP, allow: str = "INVITE, ACK, BYE, CANCEL, UPDATE, INFO") -> None:
        self.house = house

        def invite(branch: str, cseq: int) -> Request:
            return request("INVITE", "sip:*43@192.0.2.1", user="201", source=PHONE, call_id="h1", branch=branch, cseq=cseq, body=body,
                           extra=(("Allow", allow),))  # fmt: skip

        (challenge,) = house.raw(PHONE, invite("h1a", 1))
        house.raw(PHONE, authorize(invite("h1b", 2), challenge, "201", "pw201"))
        from firmware.call.model import LegOffered

        (offered,) = house.take(LegOffered)
        self.leg = offered.leg
        self.got: list[Request] = []
        # What the house sends to this telephone is kept: the wire of the stage carries it nowhere else.
        house.phones._transmit = lambda outgoing: self._keep(outgoing.data)  # type: ignore[method-assign]
        self.answers: list[Response] = []
        house.phones.answer(self.leg)
        ok = next(one for one in self.answers if one.status == 200)
        self.tag = ok.to.tag
        house.phones.receive(
            request("ACK", "sip:*43@192.0.2.1", user="201", source=PHONE, call_id="h1", branch="h1k", cseq=2, to_tag=self.tag).render(),
            PHONE, "udp", ("192.0.2.1", 5060),
        )  # fmt: skip

    def _keep(self, data: bytes) -> None:
        message = parse_datagram(data)
        if isinstance(message, Response):
            self.answers.append(message)
        elif isinstance(message, Request):
            self.got.append(message)

    def reply(self, status: int) -> None:
        self.house.phones.receive(respond(self.got[-1], status).render(), PHONE, "udp", ("192.0.2.1", 5060))


def house_with(seed: int, **changes: object) -> House:
    extension = Extension(kind="sip", name="Desk 201", **changes)  # type: ignore[arg-type]
    return House(seed, msgspec.structs.replace(CONFIG, extensions={**CONFIG.extensions, "201": extension}))


def test_a_transfer_changes_the_display_by_update(seed: int) -> None:
    house = House(seed)
    hand = Hand(house)
    house.phones.introduce(hand.leg, Party("202", "Bo"))
    assert [one.method for one in hand.got] == ["UPDATE"]
    assert hand.got[0].headers.get("p-asserted-identity") == '"Bo" <sip:202@192.0.2.1:5060>'
    hand.reply(200)
    house.phones.introduce(hand.leg, Party())
    house.phones.introduce("L-unknown", Party("202"))
    assert len(hand.got) == 1
    house.phones.introduce(hand.leg, Party("202", "Bo", "private"))
    assert hand.got[1].headers.get("privacy") == "id" and b"202" not in hand.got[1].headers.get("p-asserted-identity").encode()


WITHOUT_EVENTS = SDP.replace(b" 101\r\na=rtpmap:101 telephone-event/8000", b"")


def test_a_phone_without_rfc_4733_gets_info_or_tones(seed: int) -> None:
    house = House(seed)
    hand = Hand(house, body=WITHOUT_EVENTS)
    house.phones.send_digits(hand.leg, "12")
    assert [one.body for one in hand.got] == [b"Signal=1\r\nDuration=160\r\n"] and house.media.dtmf == []
    hand.reply(488)                                             # refused: what is left goes as tones
    assert [digits for _, digits in house.media.dtmf] == ["12"]


def test_a_phone_that_allows_no_info_gets_tones(seed: int) -> None:
    house = House(seed)
    hand = Hand(house, body=WITHOUT_EVENTS, allow="INVITE, ACK, BYE, CANCEL")
    house.phones.send_digits(hand.leg, "7")
    assert hand.got == [] and [digits for _, digits in house.media.dtmf] == ["7"]


def test_the_setting_forces_a_way(seed: int) -> None:
    house = house_with(seed, dtmf="info")
    hand = Hand(house)
    house.phones.send_digits(hand.leg, "5")
    assert [one.method for one in hand.got] == ["INFO"]
    house.phones.hang_up(hand.leg, Cause.NORMAL)
    house = house_with(seed, dtmf="inband")
    hand = Hand(house)
    answer = next(one for one in hand.answers if one.status == 200)
    assert b"telephone-event" not in answer.body
    (opened,) = house.media.open.values()
    assert opened["dtmf_type"] is None
    house.phones.send_digits(hand.leg, "5")
    assert hand.got == [] and [digits for _, digits in house.media.dtmf] == ["5"]


def test_calls_to_a_phone_name_the_caller_and_who_hands_over(seed: int) -> None:
    house = House(seed)
    desk = Desk(house, "202", ("192.0.2.32", 5070))
    desk.register()
    sent: list[bytes] = []
    transmit = house.phones._transmit

    def tap(outgoing):  # type: ignore[no-untyped-def]
        sent.append(outgoing.data)
        transmit(outgoing)

    house.phones._transmit = tap  # type: ignore[method-assign]
    house.ring("L1", "202", caller=Party("0123", "Out", by="203"))
    house.ring("L2", "202", caller=Party("0123", "Out", "private"))
    invites = [one for data in sent if isinstance(one := parse_datagram(data), Request) and one.method == "INVITE"]
    assert invites[0].headers.get("p-asserted-identity") == '"Out" <sip:0123@192.0.2.1:5060>'
    assert invites[0].headers.get("referred-by") == "<sip:203@192.0.2.1:5060>"
    assert b"0123" not in invites[1].render() and invites[1].headers.get("privacy") == "id"
    assert desk.take(ev.IncomingCall)
