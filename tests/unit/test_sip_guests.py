"""Who may call an emergency number without proving who he is, and that nobody may call anything else so."""

from __future__ import annotations

import msgspec

from firmware.config.schema.people import Extension
from firmware.config.schema.tree import Config
from firmware.core.phones_guests import MOST_PER_HOST, MOST_REMEMBERED, EmergencyGuests
from firmware.sip.flow import Flow
from firmware.sip.message import Request
from firmware.sip.parse import parse_datagram
from firmware.sip.registrar import Binding

INVITE = (
    "INVITE sip:{to}@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5070;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n"
    "From: <sip:{user}@10.0.0.1>;tag=a\r\nTo: <sip:{to}@10.0.0.1>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n"
    "Contact: <sip:{user}@10.0.0.9:5070>\r\nContent-Length: 0\r\n\r\n"
)
HERE = Flow("udp", ("10.0.0.9", 5070), ("10.0.0.1", 5060))


def request(to: str, user: str = "201") -> Request:
    parsed = parse_datagram(INVITE.format(to=to, user=user).encode())
    assert isinstance(parsed, Request)
    return parsed


class Stage:
    def __init__(self) -> None:
        self.registered: dict[str, list[Binding]] = {}
        self.live: list[str] = []
        config = msgspec.structs.replace(Config(), extensions={"201": Extension(kind="sip")})
        self.guests = EmergencyGuests(config, lambda user: self.registered.get(user, []), lambda: self.live)


def test_only_emergency_numbers_are_identified() -> None:
    stage = Stage()
    assert stage.guests.identify(request("110"), HERE) == "sip/10.0.0.9:5070"
    for number in ("101", "1100", "*11", "", "9962001234"):
        assert stage.guests.identify(request(number), HERE) == ""


def test_phone_registered_from_there_counts_as_itself_and_from_elsewhere_as_guest() -> None:
    stage = Stage()
    stage.registered["201"] = [Binding("sip:201@10.0.0.9:5070", "c", 1, 0, 60_000, HERE)]
    assert stage.guests.identify(request("110"), HERE) == "201"
    elsewhere = msgspec.structs.replace(HERE, remote=("10.0.0.66", 5070))
    assert stage.guests.identify(request("110"), elsewhere) == "sip/10.0.0.66:5070"


def test_one_host_has_few_guest_calls_and_memory_is_bounded() -> None:
    stage = Stage()
    stage.live = [f"sip/10.0.0.9:{port}" for port in range(MOST_PER_HOST)]
    assert stage.guests.identify(request("110"), HERE) == ""
    stage.live = []
    flows = [msgspec.structs.replace(HERE, remote=("10.0.0.9", 6000 + n)) for n in range(MOST_REMEMBERED + 5)]
    names = [stage.guests.identify(request("110"), flow) for flow in flows]
    assert sum(bool(stage.guests.binding(name, 0)) for name in names) == MOST_REMEMBERED


def test_guest_who_called_can_be_reached_at_his_contact() -> None:
    stage = Stage()
    guest = stage.guests.identify(request("110", "stranger"), HERE)
    (binding,) = stage.guests.binding(guest, 5)
    assert binding.uri == "sip:stranger@10.0.0.9:5070"
    assert binding.flow == HERE
    assert stage.guests.binding("sip/10.0.0.8:5070", 5) == []
