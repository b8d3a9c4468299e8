"""SOS keys that name a service and no number (RFC 5031, RFC 6881): which number that is, and that nothing stands in its way."""

from __future__ import annotations

import msgspec
import pytest

from firmware.call.model import LegEnded, LegOffered
from firmware.config.emergency import dialled, emergency_numbers, services
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config
from firmware.line.profiles import COUNTRIES
from firmware.sip import events as ev
from firmware.sip.message import Request
from firmware.sip.service import service_of
from tests.unit.phones_stage import CONFIG, Desk, House
from tests.unit.sip_stage import SDP, request


@pytest.mark.parametrize(
    ("uri", "service"),
    [
        ("urn:service:sos", "urn:service:sos"),
        ("URN:service:SOS.Fire", "urn:service:sos.fire"),
        ("urn:service:sos.ecall.manual", "urn:service:sos.ecall.manual"),
        ("urn:service:counseling", ""),
        ("urn:service:sosx", ""),
        ("urn:service:sos.", ""),
        ("urn:service:sos.a.b.c.d.e", ""),
        ("urn:service:sos." + "a" * 400, ""),
        ("sip:sos@192.0.2.1", ""),
        ("urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF", ""),
    ],
)
def test_which_uris_name_an_emergency_service(uri: str, service: str) -> None:
    assert service_of(uri) == service


def test_every_service_of_every_country_is_an_emergency_number() -> None:
    for country in COUNTRIES:
        assert services(country)["sos"], country
        assert set(services(country).values()) <= set(emergency_numbers(country)), country


@pytest.mark.parametrize(
    ("country", "called", "number"),
    [
        ("CN", "urn:service:sos", "110"),
        ("CN", "urn:service:sos.fire", "119"),
        ("CN", "urn:service:sos.ambulance.x", "120"),
        ("CN", "urn:service:sos.marine", "110"),
        ("DE", "urn:service:sos.fire", "112"),
        ("FR", "urn:service:sos.police", "17"),
        ("US", "urn:service:sos.fire", "911"),
        ("CN", "202", "202"),
    ],
)
def test_a_service_is_the_number_of_the_country(country: str, called: str, number: str) -> None:
    assert dialled(called, Config(site=Site(country=country))) == number  # type: ignore[arg-type]


def test_a_branch_may_say_otherwise_but_never_another_than_an_emergency_number() -> None:
    own = Config(emergency_numbers=["999"], emergency_services={"mountain": "999", "fire": "120", "police": "202"})
    assert [dialled(f"urn:service:sos.{kind}", own) for kind in ("mountain", "fire", "police")] == ["999", "120", "110"]


def sos(desk: Desk, uri: str, name: str = "s1", method: str = "INVITE", **more: object) -> Request:
    return request(method, uri, user=desk.number, source=desk.address, call_id=name, branch=name, **more)  # type: ignore[arg-type]


def test_an_sos_key_reaches_the_number_without_password_and_can_be_cancelled(seed: int) -> None:
    house = House(seed % 1000)
    desk = Desk(house, "200", ("192.0.2.20", 5062))
    uri = "urn:service:sos.fire"
    assert [one.status for one in house.raw(desk.address, sos(desk, uri, body=SDP))] == [100]
    (offered,) = house.take(LegOffered)
    assert offered.called == "119" and offered.endpoint == "sip/192.0.2.20:5062"
    answers = house.raw(desk.address, sos(desk, uri, method="CANCEL"))
    assert sorted(one.status for one in answers) == [200, 487]
    (ended,) = house.take(LegEnded)
    assert ended.leg == offered.leg
    house.raw(desk.address, sos(desk, uri, method="ACK"))
    house.nothing_left()


def test_a_registered_telephone_counts_as_itself_and_others_schemes_are_416(seed: int) -> None:
    house = House(seed % 1000, msgspec.structs.replace(CONFIG, emergency_services={"sos": "120"}))
    desk = Desk(house, "200", ("192.0.2.20", 5062))
    assert desk.register() == 200
    house.raw(desk.address, sos(desk, "urn:service:sos", body=SDP))
    (offered,) = house.take(LegOffered)
    assert (offered.called, offered.endpoint) == ("120", "200")
    for number, (method, uri) in enumerate([("INVITE", "urn:service:counseling"), ("OPTIONS", "urn:service:sos"), ("INVITE", "tel:110")]):
        (answer,) = house.raw(desk.address, sos(desk, uri, f"o{number}", method, body=SDP if method == "INVITE" else b""))
        assert answer.status == 416


def test_a_switch_to_fax_is_refused_and_the_call_goes_on(seed: int) -> None:
    """T.38 (RFC 3362) in a re-INVITE, alone or beside the audio line put out: 488, and speech stays as it was (RFC 3261 section 14.2)."""
    house = House(seed % 1000)
    desk = Desk(house, "200", ("192.0.2.20", 5062))
    assert desk.register() == 200
    house.ring("L1", "200")
    call = desk.answer()
    (port,) = house.media.allocated
    before = house.media.open[port]
    agreed = desk.endpoint.calls._sessions[call].state
    image = b"m=image 4010 udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxRateManagement:transferredTCF\r\n"
    head = SDP[: SDP.index(b"m=audio")]
    audio = SDP[SDP.index(b"m=audio") :]
    for body in (head + image, head + audio.replace(b"m=audio 4000", b"m=audio 0") + image):
        session = desk.endpoint.calls._sessions[call]
        session.offers._send(body, house.clock.now())
        house.settle()
        (refused,) = desk.take(ev.OfferRefused)
        assert refused.status == 488
        assert house.media.open[port] == before and house.take(LegEnded) == [] and agreed.phase == "confirmed"
    desk.send(ev.EndCall(call))
    house.run(5000)
    (ended,) = house.take(LegEnded)
    assert ended.leg == "L1"
    house.nothing_left()
