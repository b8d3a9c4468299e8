"""Flows (RFC 5626), Path (RFC 3327), keep-alives, and phones behind a router."""

from __future__ import annotations

import pytest

from firmware.call.model import Cause, LegEnded
from firmware.core.phones import WAY_MS
from firmware.sip import events as ev
from firmware.sip import stun
from firmware.sip.endpoint import Endpoint
from firmware.sip.flow import Address, Flow
from firmware.sip.keep_alive import behind_router
from firmware.sip.message import Request, Response, respond
from firmware.sip.networks import Networks, hidden, scope
from firmware.sip.parse import parse_datagram
from firmware.sip.registrar import MAX_CONTACTS, Registrar, Registration, next_contact
from firmware.sip.validate import Refusal
from tests.unit.phones_stage import Desk, House
from tests.unit.sip_stage import PBX, PHONE, authorize, make_endpoint, request

URN = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'
NAT = ("203.0.113.9", 40123)


def registered(registrar: Registrar, contact: str, *extra: tuple[str, str], port: int = 5062, call_id: str = "r", vias: int = 1,
               now: int = 0, transport: str = "udp") -> Registration | Refusal:  # fmt: skip
    asked = request("REGISTER", call_id=call_id, extra=(("Contact", contact), *extra))
    for number in range(vias - 1):
        asked.headers.add("Via", f"SIP/2.0/UDP 192.0.2.7{number};branch=z9hG4bKp{number}")
    return registrar.register("200", asked, Flow(transport, ("192.0.2.20", port), PBX), now)


# --- RFC 5626 -----------------------------------------------------------------------------------------------------------


def test_two_flows_of_one_phone_are_one_target() -> None:
    registrar = Registrar()
    supported = ("Supported", "path, outbound")
    for number, transport in ((1, "tcp"), (2, "tls")):
        answer = registered(registrar, f"<sip:200@192.0.2.20:5062>;reg-id={number};{URN}", supported, port=6000 + number,
                            call_id=f"c{number}", now=number, transport=transport)  # fmt: skip
        assert isinstance(answer, Registration) and ("Require", "outbound") in answer.headers
    registered(registrar, "<sip:200@192.0.2.30:5062>", port=7000, call_id="other", now=3)
    targets = registrar.targets("200", 10)
    assert [[one.flow.transport for one in ways] for ways in targets] == [["udp"], ["tls", "tcp"]]
    registrar.connection_lost("tls", ("192.0.2.20", 6002))
    assert [[one.flow.transport for one in ways] for ways in registrar.targets("200", 10)] == [["udp"], ["tcp"]]


def test_a_flow_that_returns_replaces_itself_only() -> None:
    registrar = Registrar()
    for number, port in ((1, 6001), (2, 6002), (1, 6003)):
        registered(registrar, f"<sip:200@192.0.2.20:5062>;reg-id={number};{URN}", port=port, call_id=f"c{port}", now=port)
    assert [one.flow.remote[1] for one in registrar.bindings("200", 9000)] == [6003, 6002]


@pytest.mark.parametrize("reg_id", ["reg-id=1", f"reg-id=0;{URN}", f"reg-id=x;{URN}", f"reg-id=99999999999;{URN}"])
def test_a_reg_id_that_means_nothing_is_none(reg_id: str) -> None:
    registrar = Registrar()
    answer = registered(registrar, f"<sip:200@192.0.2.20:5062>;{reg_id}", ("Supported", "outbound"))
    assert isinstance(answer, Registration) and ("Require", "outbound") not in answer.headers
    assert registrar.bindings("200", 0)[0].reg_id == ""


def test_a_proxy_that_keeps_no_flow_is_said_so() -> None:
    registrar = Registrar()
    contact = f"<sip:200@10.0.0.5>;reg-id=1;{URN}"
    answer = registered(registrar, contact, vias=2)
    assert isinstance(answer, Refusal) and answer.status == 439
    answer = registered(registrar, contact, ("Path", "<sip:192.0.2.70;lr>"), vias=2)
    assert isinstance(answer, Refusal) and answer.status == 439
    answer = registered(registrar, contact, ("Path", "<sip:192.0.2.71;lr>, <sip:token@192.0.2.70;lr;ob>"), vias=2)
    assert isinstance(answer, Registration)


# --- RFC 3327 -----------------------------------------------------------------------------------------------------------


def test_path_is_answered_and_leads_back() -> None:
    registrar = Registrar()
    path = "<sip:edge@192.0.2.71;lr>, <sip:inner@192.0.2.70;lr>"
    answer = registered(registrar, "<sip:200@10.0.0.5>", ("Path", path), ("Supported", "path"))
    assert isinstance(answer, Registration)
    assert [value for name, value in answer.headers if name == "Path"] == ["<sip:edge@192.0.2.71;lr>", "<sip:inner@192.0.2.70;lr>"]
    uri, routes = next_contact(registrar.bindings("200", 0)[0])
    assert uri == "sip:200@10.0.0.5" and routes == ("<sip:edge@192.0.2.71;lr>", "<sip:inner@192.0.2.70;lr>")


def test_phones_of_one_account_behind_one_proxy_stay_apart() -> None:
    registrar = Registrar()
    for host in ("10.0.0.5", "10.0.0.6"):
        registered(registrar, f"<sip:200@{host}>", ("Path", "<sip:edge@192.0.2.71;lr>"), call_id=host)
    assert len(registrar.bindings("200", 0)) == 2


def test_path_is_bounded() -> None:
    registrar = Registrar()
    registered(registrar, "<sip:200@10.0.0.5>", ("Path", ", ".join(f"<sip:p{n}@192.0.2.71;lr>" for n in range(40))))
    assert len(registrar.bindings("200", 0)[0].path) == MAX_CONTACTS


def test_a_register_may_require_what_we_do() -> None:
    endpoint = make_endpoint(1)
    answer = register_at(endpoint, PHONE, "<sip:200@192.0.2.20:5062>", ("Require", "path, outbound"))
    assert answer.status == 200 and answer.headers.tokens("supported") == ["path", "outbound"]


# --- keep-alives --------------------------------------------------------------------------------------------------------


def datagrams(endpoint: Endpoint, source: Address, data: bytes, now: int = 1000) -> list[bytes]:
    endpoint.receive(data, source, "udp", now, PBX)
    out = endpoint.output()
    assert all(one.destination == source for one in out)
    return [one.data for one in out]


def register_at(endpoint: Endpoint, source: Address, contact: str, *extra: tuple[str, str], now: int = 1000) -> Response:
    first = request("REGISTER", source=source, call_id="k", branch="k1", extra=(("Contact", contact), *extra))
    (data,) = datagrams(endpoint, source, first.render(), now)
    challenge = parse_datagram(data)
    again = request("REGISTER", source=source, call_id="k", branch="k2", cseq=2, extra=(("Contact", contact), *extra))
    assert isinstance(challenge, Response)
    (data,) = datagrams(endpoint, source, authorize(again, challenge, "200", "pw200").render(), now)
    answer = parse_datagram(data)
    assert isinstance(answer, Response)
    return answer


@pytest.mark.parametrize("source", [NAT, ("2001:db8::7", 5062)])
def test_stun_on_the_sip_port_tells_where_a_phone_is_seen(source: Address) -> None:
    endpoint, transaction = make_endpoint(1), bytes(range(12))
    (data,) = datagrams(endpoint, source, stun.build(stun.BINDING_REQUEST, transaction, [(stun.SOFTWARE, b"phone")]))
    answer = stun.parse(data)
    assert answer is not None and answer.kind == stun.BINDING_SUCCESS and answer.transaction == transaction
    assert stun.read_xor_address(answer.attributes[stun.XOR_MAPPED_ADDRESS], transaction) == source
    assert len(data) <= 52, "an answer must not be worth a reflection"


def test_stun_that_asks_for_more_is_refused_and_other_bytes_are_not_answered() -> None:
    endpoint, transaction = make_endpoint(1), bytes(12)
    (data,) = datagrams(endpoint, NAT, stun.build(stun.BINDING_REQUEST, transaction, [(0x0003, b"\0\0\0\6")]))
    answer = stun.parse(data)
    assert answer is not None and stun.read_error_code(answer.attributes[stun.ERROR_CODE]) == 420
    whole = stun.build(stun.BINDING_REQUEST, transaction, [])
    for bad in (whole[:-1], whole[:20], whole[:-1] + b"x", stun.build(stun.BINDING_INDICATION, transaction, []), b"\0\1", b"\0" * 64,
                stun.build(stun.BINDING_SUCCESS, transaction, [])):  # fmt: skip
        assert datagrams(endpoint, NAT, bad) == []
    assert datagrams(endpoint, NAT, b"\r\n\r\n") == []


def run(endpoint: Endpoint, start: int, ms: int) -> list[tuple[int, Request]]:
    """What an endpoint sends by itself, repetitions aside; OPTIONS are answered."""
    seen: dict[str, tuple[int, Request]] = {}
    while (due := endpoint.deadline()) is not None and due <= start + ms:
        endpoint.expire(due)
        for out in endpoint.output():
            message = parse_datagram(out.data)
            assert isinstance(message, Request) and out.transport == "udp"
            if message.via.branch not in seen:
                seen[message.via.branch] = (due, message)
                assert out.destination == NAT and message.uri == "sip:200@10.0.0.5:5060"
                endpoint.receive(respond(message, 405, to_tag="x").render(), out.destination, "udp", due, PBX)
    return list(seen.values())


def test_a_phone_behind_a_router_is_kept_reachable() -> None:
    endpoint = make_endpoint(1)
    assert register_at(endpoint, NAT, "<sip:200@10.0.0.5:5060>").status == 200
    sent = run(endpoint, 1000, 120_000)
    assert {one.method for _, one in sent} == {"OPTIONS"} and 4 <= len(sent) <= 8
    assert max(later - at for (at, _), (later, _) in zip(sent, sent[1:], strict=False)) <= 25_000
    assert endpoint.registrar.bindings("200", 121_000)
    # A restarted process goes on.
    other = make_endpoint(2)
    other.restore_registrations(endpoint.registrations(), 121_000)
    assert run(other, 121_000, 60_000)
    # With the registration ends the keep-alive.
    sent = run(endpoint, 121_000, 8_000_000)
    assert max(at for at, _ in sent) < 3_601_000 and len(endpoint.keep_alive) == 0


def test_who_is_where_he_says_is_left_alone() -> None:
    endpoint = make_endpoint(1)
    register_at(endpoint, PHONE, f"<sip:200@{PHONE[0]}:{PHONE[1]}>")
    assert len(endpoint.keep_alive) == 0
    off = make_endpoint(1, keep_alive_s=0)
    register_at(off, NAT, "<sip:200@10.0.0.5:5060>")
    assert len(off.keep_alive) == 0 and behind_router(off.registrar.bindings("200", 1000)[0])


# --- addresses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "local"), ("169.254.3.4", "local"), ("::1", "local"), ("fe80::1%eth0", "local"), ("10.1.2.3", "private"),
        ("172.31.255.1", "private"), ("192.168.0.1", "private"), ("100.64.0.1", "private"), ("fd00::1", "private"), ("8.8.8.8", "public"),
        ("172.32.0.1", "public"), ("198.51.100.1", "public"), ("2001:db8::1", "public"), ("phone.example", ""), ("", ""),
    ],
)  # fmt: skip
def test_scopes(host: str, expected: str) -> None:
    assert scope(host) == expected


def test_an_address_that_a_router_hides() -> None:
    assert hidden("10.0.0.5", "203.0.113.9") and hidden("203.0.113.9", "10.0.0.5")
    assert not hidden("10.0.0.5", "192.168.1.7") and not hidden("phone.example", "10.0.0.5")


def test_each_network_is_told_its_address() -> None:
    networks = Networks([(("10.8.0.0/24", "fd08::/16"), "10.8.0.1"), (("192.168.7.0/24",), "")], "198.51.100.7")
    local = ("192.168.1.2", 5060)
    told = {
        "10.8.0.77": "10.8.0.1", "192.168.7.9": "192.168.1.2", "192.168.1.9": "192.168.1.2", "203.0.113.5": "198.51.100.7",
        "198.51.100.7": "198.51.100.7", "2001:db8::5": "192.168.1.2", "127.0.0.1": "192.168.1.2", "100.64.1.1": "192.168.1.2",
    }  # fmt: skip
    for remote, address in told.items():
        assert networks.told(remote, local) == (address, 5060), remote
    networks.use("198.51.100.8")
    assert networks.told("203.0.113.5", local) == ("198.51.100.8", 5060)
    assert Networks().told("203.0.113.5", local) is local


# --- two ways to one phone, through the phones part -----------------------------------------------------------------------


def test_a_phone_with_two_flows_rings_once_and_on_the_one_that_works(seed: int) -> None:
    house = House(seed)
    old, new = (Desk(house, "201", ("192.0.2.20", port)) for port in (5062, 6062))
    for number, desk in ((1, old), (2, new)):
        contact = f"<sip:desk{number}@192.0.2.20:{desk.address[1]}>;reg-id={number};{URN}"
        asked = request("REGISTER", user="201", call_id=f"f{number}", extra=(("Contact", contact), ("Supported", "outbound")))
        house.phones.endpoint.registrar.register("201", asked, Flow("udp", desk.address, PBX), house.clock.now() + number)
    house.ring("L1", "201")
    assert len(new.take(ev.IncomingCall)) == 1 and old.take(ev.IncomingCall) == [], "the newest way, and only that"
    house.phones.hang_up("L1", Cause.NO_ANSWER)
    house.run(100)
    del house.desks[new.address]              # its router has forgotten it, and says nothing
    house.ring("L2", "201")
    house.run(WAY_MS - 50)
    assert old.take(ev.IncomingCall) == []
    house.run(100)
    (incoming,) = old.take(ev.IncomingCall)
    assert incoming.called == "desk1", "the contact of that flow is asked for"
    assert [one for one in house.take(LegEnded) if one.leg == "L2"] == []
