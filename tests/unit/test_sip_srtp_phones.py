"""Encrypted speech of SIP extensions: who is offered it, who may refuse it, and what is kept of its keys."""

from __future__ import annotations

import base64
import logging
from typing import Any

import msgspec
import pytest

from firmware.call.model import Cause, LegAnswered, LegEnded, LegHeld, LegOffered
from firmware.config.schema.lab import Lab
from firmware.config.schema.people import Extension
from firmware.config.schema.tree import Config
from firmware.media.events import SrtpKeys
from firmware.sip import events as ev
from firmware.sip import sdes
from firmware.sip.offer import NotAcceptable, OfferAnswer
from tests.unit.phones_stage import Desk, House
from tests.unit.sip_stage import SDP, request

TLS, UDP = ("192.0.2.21", 5062), ("192.0.2.22", 5066)
SECRET = bytes(range(65, 65 + 46))                 # what the telephones of these tests send under


def config(setting: str = "offer", *, lab: bool = False) -> Config:
    people = {number: Extension(kind="sip", srtp=setting) for number in ("200", "201", "202")}  # type: ignore[arg-type]
    return Config(extensions=people, lab=Lab(open=lab))


def house_of(setting: str = "offer", *, lab: bool = False) -> House:
    return House(7, config(setting, lab=lab))


def desk_of(house: House, transport: str, number: str = "201", *, srtp: bool = True, address: tuple[str, int] = TLS) -> Desk:
    desk = Desk(house, number, address, transport)
    if srtp:
        desk.negotiation.srtp = "required"
        desk.negotiation.secure = sdes.offer(tuple(sdes.SUITES), lambda size: SECRET[:size])
    assert desk.register() == 200
    return desk


def offered(desk: Desk) -> list[tuple[str, int]]:
    """Profile and number of crypto lines of each offer that a telephone was made."""
    lines = [event.offer.media[0] for event in desk.events if isinstance(event, ev.IncomingCall) and event.offer is not None]
    return [(line.proto, len(sdes.lines_of(line.attributes))) for line in lines]


def opened(house: House) -> SrtpKeys | None:
    (answered,) = house.take(LegAnswered)
    keys = house.media.open[answered.port]["srtp"]
    assert keys is None or isinstance(keys, SrtpKeys)
    return keys


def secured(house: House, desk: Desk) -> SrtpKeys:
    house.ring("L1", desk.number)
    desk.answer()
    keys = opened(house)
    assert keys is not None
    return keys


def secrets(desk: Desk, keys: SrtpKeys) -> list[bytes]:
    return [form for key in (keys.send, keys.receive, SECRET[:30]) for form in (key, base64.b64encode(key), key.hex().encode())]


def test_a_telephone_over_tls_is_offered_encryption_first_and_media_gets_its_keys() -> None:
    house = house_of()
    desk = desk_of(house, "tls")
    keys = secured(house, desk)
    assert offered(desk) == []
    assert house.phones.contacts("201")[0]["speech"] == keys.suite
    assert keys.suite == "AES_CM_128_HMAC_SHA1_80"
    assert keys.receive == SECRET[:30]
    assert desk.negotiation.path is not None
    assert desk.negotiation.path.keys is not None
    assert desk.negotiation.path.keys.receive == keys.send


@pytest.mark.parametrize(
    ("setting", "transport", "lab", "offer"),
    [
        ("offer", "tls", False, ("RTP/SAVP", 4)), ("required", "tls", False, ("RTP/SAVP", 4)), ("no", "tls", False, ("RTP/AVP", 0)),
        ("offer", "wss", False, ("UDP/TLS/RTP/SAVPF", 0)), ("offer", "udp", False, ("RTP/AVP", 0)), ("offer", "tcp", False, ("RTP/AVP", 0)),
        ("offer", "udp", True, ("RTP/AVP", 0)), ("required", "udp", True, ("RTP/SAVP", 4)), ("no", "udp", True, ("RTP/AVP", 0)),
    ],
)  # fmt: skip
def test_keys_are_offered_over_encrypted_signalling_only(setting: str, transport: str, lab: bool, offer: tuple[str, int]) -> None:
    house = house_of(setting, lab=lab)
    desk = desk_of(house, transport)
    idle = {"RTP/AVP": "clear"}.get(offer[0], "encrypted only" if setting == "required" else "encrypted first")
    assert house.phones.contacts("201")[0]["speech"] == idle
    house.ring("L1", "201")
    assert offered(desk) == [offer]
    assert (b"a=crypto" in house.phones.trace("L1")[0].data) == (offer[1] > 0)


def refuse(desk: Desk) -> tuple[str, int]:
    """A telephone refuses what it is offered, and tells what that was."""
    (told,) = offered(desk)
    (incoming,) = desk.take(ev.IncomingCall)
    with pytest.raises(NotAcceptable):
        desk.negotiation.receive_offer(incoming.offer)
    desk.send(ev.RefuseCall(incoming.call, 488))
    return told


def test_a_telephone_that_cannot_is_called_again_in_clear_unless_encryption_is_required() -> None:
    for setting, ends in (("offer", False), ("required", True)):
        house = house_of(setting)
        desk = desk_of(house, "tls", srtp=False)
        house.ring("L1", "201")
        assert refuse(desk) == ("RTP/SAVP", 4)
        assert refuse(desk) == ("UDP/TLS/RTP/SAVP", 0)
        if ends:
            (ended,) = house.take(LegEnded)
            assert ended.evidence.kind == "sip-488"
            continue
        assert offered(desk) == [("RTP/AVP", 0)]
        desk.answer()
        assert opened(house) is None
        house.phones.hang_up("L1", Cause.NORMAL)
        house.settle()
        house.nothing_left()


@pytest.mark.parametrize(("transport", "first"), [("tls", ("RTP/SAVP", 4)), ("udp", ("RTP/AVP", 0))])
def test_a_telephone_that_insists_on_dtls_is_offered_that_next(transport: str, first: tuple[str, int]) -> None:
    house = house_of()
    desk = desk_of(house, transport, srtp=False)
    desk.negotiation.preference = ("pcma",)
    desk.negotiation.dtls = ":".join(["AB"] * 32)
    house.ring("L1", "201")
    assert offered(desk) == [first]
    (incoming,) = desk.take(ev.IncomingCall)
    desk.send(ev.RefuseCall(incoming.call, 488))
    assert offered(desk) == [("UDP/TLS/RTP/SAVP", 0)]
    (incoming,) = desk.take(ev.IncomingCall)
    desk.send(ev.AnswerCall(incoming.call, desk.negotiation.receive_offer(incoming.offer)))
    assert opened(house) == SrtpKeys("DTLS", b"", b"")
    assert house.phones.contacts("201")[0]["speech"] == "DTLS-SRTP"
    assert house.phones.snapshot_leg("L1")


def test_what_refuses_everything_ends_as_refused() -> None:
    house = house_of()
    desk = desk_of(house, "udp")
    desk.negotiation.preference = ("pcma",)
    house.ring("L1", "201")
    assert refuse(desk) == ("RTP/AVP", 0)
    assert refuse(desk) == ("UDP/TLS/RTP/SAVP", 0)
    (ended,) = house.take(LegEnded)
    assert ended.evidence.kind == "sip-488"
    house.nothing_left()


def test_required_without_tls_is_neither_called_nor_heard_but_for_an_emergency() -> None:
    house = house_of("required")
    desk = desk_of(house, "udp")
    assert house.phones.contacts("201")[0]["speech"] == "none: needs TLS"
    house.ring("L1", "201")
    (ended,) = house.take(LegEnded)
    assert (ended.cause, ended.evidence.detail) == (Cause.UNREACHABLE, "speech must be encrypted, which needs SIP over TLS")
    assert house.media.allocated == set()
    with pytest.raises(ValueError):
        house.dial(desk, "202")
    refused = house.last(488)
    assert refused.headers.get("warning") == '304 branchpbx "speech must be encrypted, which needs SIP over TLS"'
    house.raw(TLS, request("INVITE", "sip:110@192.0.2.1", source=TLS, user="201", call_id="d2", branch="d2", body=SDP))
    (emergency,) = house.take(LegOffered)
    house.phones.answer(emergency.leg)
    house.settle()
    assert opened(house) is None


def test_a_telephone_without_tls_that_offers_keys_is_told_why_they_are_not_taken() -> None:
    house = house_of()
    desk = desk_of(house, "udp")
    with pytest.raises(ValueError):
        house.dial(desk, "202", offer=desk.negotiation.offer().build())
    assert house.last(488).headers.get("warning") == '304 branchpbx "RTP/SAVP needs SIP over TLS, and an extension that may encrypt"'


def test_required_over_tls_refuses_a_clear_offer_at_the_start_and_within_the_call() -> None:
    house = house_of("required")
    desk = desk_of(house, "tls")
    with pytest.raises(ValueError):
        house.dial(desk, "202")
    assert "RTP/SAVP" in house.last(488).headers.get("warning")
    house.take(LegOffered)
    keys = secured(house, desk)
    call = next(iter(desk.endpoint.calls._sessions))
    clear = OfferAnswer(TLS[0], 4000, "77", version=7)
    desk.send(ev.OfferAgain(call, clear.offer()))
    (refused,) = desk.take(ev.OfferRefused)
    assert refused.status == 488
    (port,) = house.media.open.values()
    assert port["srtp"] == keys


def test_a_caller_is_answered_in_kind() -> None:
    house = house_of()
    desk = desk_of(house, "tls")
    plain = house.dial(desk, "202")
    house.phones.answer(plain.leg)
    house.settle()
    assert opened(house) is None
    sealed = house.dial(desk, "202", name="d2", offer=desk.negotiation.offer().build())
    house.phones.answer(sealed.leg)
    house.settle()
    keys = opened(house)
    assert keys is not None
    assert keys.receive == SECRET[:30]


def test_each_contact_has_keys_of_its_own_and_the_one_that_answers_counts() -> None:
    house = house_of()
    first, second = desk_of(house, "tls"), desk_of(house, "tls", address=("192.0.2.31", 5064))
    third = desk_of(house, "udp", srtp=False, address=UDP)
    house.ring("L1", "201")
    assert [offered(desk) for desk in (first, second, third)] == [[("RTP/SAVP", 4)], [("RTP/SAVP", 4)], [("RTP/AVP", 0)]]
    second.answer()
    keys = opened(house)
    assert keys is not None
    (other,) = first.take(ev.IncomingCall)
    assert keys.send not in [line.key for line in sdes.lines_of(other.offer.media[0].attributes)]
    house.phones.hang_up("L1", Cause.NORMAL)
    house.settle()
    third.events.clear()
    house.ring("L2", "201")
    third.answer()
    assert opened(house) is None


def test_hold_keeps_the_keys_and_a_peer_may_change_its_own() -> None:
    house = house_of()
    desk = desk_of(house, "tls")
    keys = secured(house, desk)
    call = next(iter(desk.endpoint.calls._sessions))
    desk.negotiation.hold = True
    desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
    assert len(house.take(LegHeld)) == 1
    (port,) = house.media.open.values()
    assert (port["srtp"], port["send"]) == (keys, False)
    desk.take(ev.OfferAnswered)
    desk.negotiation.secure = sdes.offer(tuple(sdes.SUITES), lambda size: b"Z" * size)
    desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
    (port,) = house.media.open.values()
    assert port["srtp"] == SrtpKeys(keys.suite, keys.send, b"Z" * 30)


@pytest.mark.parametrize("remembered", [True, False])
def test_no_journal_log_or_trace_has_a_key_and_an_adopted_call_goes_on(caplog: pytest.LogCaptureFixture, remembered: bool) -> None:
    caplog.set_level(logging.DEBUG)
    house = house_of()
    desk = desk_of(house, "tls")
    house.ring("L1", "201")
    ringing = house.phones.snapshot()["L1"]
    desk.answer()
    keys = opened(house)
    assert keys is not None
    journal = house.phones.snapshot()
    texts = [ringing, *journal.values(), house.phones.registrations(), caplog.text.encode()]
    texts += [line.data for line in house.phones.trace("L1")]
    for secret in secrets(desk, keys):
        assert not any(secret in text for text in texts)
    (port,) = house.media.open
    before = dict(house.media.open[port])
    if not remembered:
        house.vault.wipe(port)
    house.phones = house.start(8)
    house.phones.restore_registrations(house.kept)
    assert house.phones.adopt("L1", journal["L1"], port)
    house.settle()
    assert house.media.open[port] == before                     # media goes on: nothing was opened or changed
    desk.connect()
    assert desk.register(cseq=7) == 200
    call = next(iter(desk.endpoint.calls._sessions))
    desk.negotiation.hold = True
    desk.send(ev.OfferAgain(call, desk.negotiation.offer()))
    (answer,) = desk.take(ev.OfferAnswered)
    path = desk.negotiation.receive_answer(answer.answer)
    assert path.keys is not None
    now: Any = house.media.open[port]["srtp"]
    assert (now.receive, path.keys.receive) == (keys.receive, now.send)
    assert (now == keys) is remembered              # telephones that take no other key within a call go on hearing us
    house.phones.hang_up("L1", Cause.NORMAL)
    house.settle()
    assert house.vault.recall(port, "L1") is None


def test_a_caller_adopted_before_its_answer_is_not_answered_in_clear() -> None:
    house = house_of()
    desk = desk_of(house, "tls")
    leg = house.dial(desk, "202", offer=desk.negotiation.offer().build())
    journal = house.phones.snapshot()[leg.leg]
    house.phones = house.start(8)
    assert house.phones.adopt(leg.leg, journal, -1)
    house.phones.answer(leg.leg)
    house.settle()
    (ended,) = house.take(LegEnded)
    assert (ended.cause, house.media.open, house.media.allocated) == (Cause.SYSTEM, {}, set())


def test_a_late_offer_over_tls_is_encrypted() -> None:
    house = house_of()
    desk = desk_of(house, "tls")
    leg = house.dial(desk, "202", offer=b"")
    house.phones.answer(leg.leg)
    house.settle()
    body = house.last(200).body
    assert b"RTP/SAVP" in body
    assert body.count(b"a=crypto") == 4


def test_msgpack_of_a_leg_is_small_and_whole() -> None:
    house = house_of()
    desk = desk_of(house, "tls")
    secured(house, desk)
    data = house.phones.snapshot_leg("L1")
    assert len(data) < 12_000
    assert msgspec.msgpack.decode(data)["leg"]["negotiation"]["path"]["suite"] == "AES_CM_128_HMAC_SHA1_80"
