"""The guard of the SIP port: rates, blocks, crowding, who is never locked out, and that memory is bounded."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.app.views import show_blocks
from firmware.control.commands import registered
from firmware.sip import guard as limits
from firmware.sip.auth import ALGORITHMS
from firmware.sip.endpoint import Endpoint
from firmware.sip.guard import FIRST_BLOCK_MS, LONGEST_BLOCK_MS, Rates, SourceGuard, source_key
from firmware.sip.message import Response
from firmware.sip.parse import parse_datagram
from firmware.sip.settings import Settings
from tests.unit.phones_stage import House
from tests.unit.sip_stage import PBX, authorize, request, token_source

FAR, NEAR, TRUNK = "203.0.113.9", "192.168.1.20", "198.51.100.1"
VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "sip-torture"


def guard(**rates: float) -> SourceGuard:
    return SourceGuard(Rates(**rates), exempt=[TRUNK])


def flood(guard: SourceGuard, address: str, count: int, now: int = 0) -> int:
    return sum(guard.admit(address, now) for _ in range(count))


def test_far_stranger_is_blocked_for_a_minute_then_two_and_shown() -> None:
    one = guard()
    assert flood(one, FAR, 300) == 100 and flood(one, FAR, 10, FIRST_BLOCK_MS - 1) == 0
    (block,) = one.blocks(5)
    assert (block.source, block.until, block.why, block.times) == (FAR, FIRST_BLOCK_MS, "too many messages", 1)
    assert [(event.what, event.subject) for event in one.events()] == [("blocked", FAR)]
    assert flood(one, FAR, 300, FIRST_BLOCK_MS) == 100 and one.blocks(FIRST_BLOCK_MS)[0].until == 3 * FIRST_BLOCK_MS
    now = 0
    for _ in range(12):
        now = max([now, *(block.until for block in one.blocks(now))])
        flood(one, FAR, 300, now)
    assert one.blocks(now)[0].until - now == LONGEST_BLOCK_MS


def test_proven_exempt_and_own_addresses_are_never_dropped() -> None:
    one = guard()
    one.proved(FAR, "200", 0)
    assert flood(one, FAR, 5000, 1) == 5000 and flood(one, TRUNK, 5000, 1) == 5000 and flood(one, "127.0.0.1", 5000, 1) == 5000
    for _ in range(100):
        one.failed(FAR, "201", True, 2)
    assert one.admit(FAR, 3) and one.blocks(3) == []


def test_right_password_lifts_the_block_of_its_source() -> None:
    one = guard()
    flood(one, FAR, 300)
    one.proved(FAR, "200", 1)
    assert one.admit(FAR, 2) and one.blocks(2) == []


def test_near_phone_with_an_old_password_is_slowed_but_gets_in_as_soon_as_it_is_right() -> None:
    one = guard()
    for number in range(500):
        one.failed(NEAR, "200", True, number)
    assert one.blocks(500) == []
    assert sum(one.admit(NEAR, 1000 + at) for at in range(0, 10_000, 50)) in (9, 10, 11)
    one.proved(NEAR, "200", 12_000)
    assert flood(one, NEAR, 500, 12_001) == 500


def test_guessing_from_many_addresses_closes_the_account_but_not_to_the_phone_that_has_it() -> None:
    one = guard()
    one.proved(FAR, "200", 0)
    for number in range(limits.ACCOUNT_FAILURES):
        one.failed(f"198.18.{number}.1", "200", True, 10)
    assert one.closed("198.18.77.1", "200", 11) and not one.closed("198.18.77.1", "201", 11)
    assert not one.closed(FAR, "200", 11) and not one.closed(NEAR, "200", 11)
    assert not one.closed("198.18.77.1", "200", 11 + limits.ACCOUNT_CLOSED_MS)
    assert "account-closed" in [event.what for event in one.events()]
    for _ in range(limits.FAILURES):
        one.failed(NEAR, "200", True, 12)
    assert one.closed(NEAR, "200", 13)  # a near one that guesses itself


def test_wrong_passwords_block_a_far_source_whether_the_account_exists_or_not() -> None:
    for known in (True, False):
        one = guard()
        for _ in range(limits.FAILURES):
            assert one.admit(FAR, 0)
            one.failed(FAR, "999", known, 0)
        assert not one.admit(FAR, 1) and one.blocks(1)[0].why == "wrong passwords"


def test_crowd_of_strangers_is_told_so_and_others_are_not() -> None:
    one = guard(all_strangers=10, all_burst=50)
    one.proved(NEAR, "200", 0)
    for number in range(200):
        one.admit(f"198.18.0.{number}", 0)
    assert one.crowded("198.18.1.1", 0) and not one.crowded(NEAR, 0) and not one.crowded(TRUNK, 0)
    assert [event.what for event in one.events()] == ["crowded"]
    assert not one.crowded("198.18.1.1", 1000)


def test_clearing_one_and_all() -> None:
    one = guard()
    for address in (FAR, "203.0.113.10"):
        flood(one, address, 300)
    assert one.clear(FAR, 1) == 1 and one.clear(FAR, 1) == 0 and one.admit(FAR, 2) and not one.admit("203.0.113.10", 2)
    assert one.clear("", 3) == 1 and one.blocks(4) == []


def test_sources_are_networks_of_64_bits_and_mapped_addresses_are_ipv4() -> None:
    assert source_key("2001:db8::1") == source_key("2001:db8::ffff:1") == "2001:db8::/64" != source_key("2001:db8:0:1::1")
    assert source_key("::ffff:203.0.113.9") == FAR and source_key("fe80::1%eth0") == "fe80::/64"
    assert source_key("x" * 200) == "x" * 64


@given(
    st.lists(
        st.tuples(st.sampled_from(["admit", "failed", "crowded", "closed", "proved"]), st.integers(0, 40), st.integers(0, 500)),
        max_size=300,
    )
)
def test_whatever_happens_a_proven_phone_gets_through_and_no_near_one_is_blocked(steps: list[tuple[str, int, int]]) -> None:
    one = guard(far_burst=5, near_burst=5, all_burst=20)
    one.proved("192.168.1.200", "200", 0)
    now = 0
    for what, host, after in steps:
        now += after
        address = f"192.168.1.{host}" if host % 2 else f"198.18.0.{host}"
        match what:
            case "admit":
                one.admit(address, now)
            case "failed":
                one.failed(address, "200", True, now)
            case "crowded":
                one.crowded(address, now)
            case "closed":
                one.closed(address, "200", now)
            case _:
                one.proved(address, "201", now)
        assert one.admit("192.168.1.200", now) and not one.crowded("192.168.1.200", now) and not one.closed("192.168.1.200", "200", now)
        assert not any(block.source.startswith("192.168.") for block in one.blocks(now))


def guarded(seed: int) -> tuple[Endpoint, SourceGuard]:
    one = guard()
    return Endpoint(Settings(), {"200": "pw200", "201": "pw201"}, token_source(seed), guard=one), one


def register(endpoint: Endpoint, host: str, password: str, now: int, number: int, algorithm: str = "MD5") -> list[int]:
    """One registration as a phone makes it; the statuses it got."""
    got = []
    source = (host, 5062)
    asked = request("REGISTER", branch=f"a{number}", call_id=f"r{host}", cseq=2 * number + 1, source=source)
    endpoint.receive(asked.render(), source, "udp", now, PBX)
    first = [parse_datagram(outgoing.data) for outgoing in endpoint.output()]
    for challenge in first:
        assert isinstance(challenge, Response)
        got.append(challenge.status)
        if challenge.status == 401:
            again = request("REGISTER", branch=f"b{number}", call_id=f"r{host}", cseq=2 * number + 2, source=source)
            endpoint.receive(authorize(again, challenge, "200", password, algorithm=algorithm).render(), source, "udp", now, PBX)
            got += [answer.status for out in endpoint.output() if isinstance(answer := parse_datagram(out.data), Response)]
    return got


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_phone_registers_through_a_flood_and_a_guesser_does_not(algorithm: str, seed: int) -> None:
    endpoint, one = guarded(seed)
    assert register(endpoint, NEAR, "pw200", 0, 0, algorithm) == [401, 200]
    for number in range(1, 40):
        got = register(endpoint, FAR, "wrong", 10 * number, number, algorithm)
        assert got == ([401, 401] if number <= limits.FAILURES else [])
    assert register(endpoint, FAR, "pw200", 500, 100, algorithm) == []
    assert register(endpoint, NEAR, "pw200", 600, 1, algorithm) == [401, 200]
    assert register(endpoint, "192.168.1.77", "pw200", 700, 1, algorithm) == [401, 200]
    assert [block.source for block in one.blocks(700)] == [FAR] and endpoint.statistics()["blocked"] > 0


def test_crowd_is_answered_503_with_retry_after_without_work(seed: int) -> None:
    endpoint, one = guarded(seed)
    one.proved(NEAR, "200", 0)
    for number in range(2000):
        one.admit(f"198.18.{number % 250}.{number // 250}", 0)
    work = endpoint.digest.work
    source = ("198.18.255.1", 5062)
    for method in ("INVITE", "REGISTER", "OPTIONS"):
        endpoint.receive(request(method, branch=method, source=source).render(), source, "udp", 0, PBX)
        (answer,) = [parse_datagram(outgoing.data) for outgoing in endpoint.output()]
        assert isinstance(answer, Response) and answer.status == 503 and answer.headers.get("Retry-After") == "10"
    assert endpoint.digest.work == work and register(endpoint, NEAR, "pw200", 1, 0) == [401, 200]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_emergency_call_of_a_blocked_source_is_let_through_with_all_that_belongs_to_it(transport: str, seed: int) -> None:
    one = guard()
    endpoint = Endpoint(
        Settings(), {"200": "pw200"}, token_source(seed), lambda asked, flow: "sip/guest" if asked.uri.startswith("sip:112@") else "", one
    )
    source = (FAR, 5062)
    flood(one, FAR, 300)

    def ask(uri: str, method: str = "INVITE", now: int = 10) -> list[int]:
        message = request(method, uri, source=source, transport=transport.upper(), branch=f"x{uri[4:7]}", call_id=uri)
        endpoint.receive(message.render(), source, transport, now, PBX)
        answers = [parse_datagram(outgoing.data) for outgoing in endpoint.output() if outgoing.data]
        return [answer.status for answer in answers if isinstance(answer, Response)]

    assert ask("sip:600@192.0.2.1") == []
    assert ask("sip:112@192.0.2.1", now=11) == []  # one look in 400 ms: the phone sends again
    assert ask("sip:112@192.0.2.1", now=511) == [100] and one.blocks(511) == []
    assert ask("sip:112@192.0.2.1", "CANCEL", now=600)[0] == 200
    assert ask("sip:600@192.0.2.1", "OPTIONS", now=700) == [200]
    for _ in range(50):
        one.failed(FAR, "200", True, 800)
    assert one.blocks(800) == [] and sum(one.admit(FAR, at) for at in range(1000, 6000, 50)) <= 6


def test_bytes_of_a_blocked_source_end_its_connection(seed: int) -> None:
    endpoint, one = guarded(seed)
    flood(one, FAR, 300)
    endpoint.receive(b"OPTIONS", (FAR, 40000), "tcp", 1, PBX)
    (outgoing,) = endpoint.output()
    assert outgoing.close and not outgoing.data


def hostile(source: random.Random, number: int, messages: list[bytes]) -> bytes:
    """A torture message, cut, spoilt or grown; or a well-formed request of a stranger."""
    kind = number % 5
    if kind == 0:
        return request(source.choice(["REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE"]), branch=f"h{number}", call_id=f"h{number}").render()
    data = bytearray(source.choice(messages))
    if kind == 1:
        return bytes(data[: source.randrange(len(data))])
    if kind == 2:
        for _ in range(8):
            data[source.randrange(len(data))] = source.randrange(256)
    elif kind == 3:
        at = data.find(b"\r\n") + 2
        data[at:at] = b"X-%d: %s\r\n" % (number, b"a" * source.randrange(4000)) * 3
    else:
        credentials = (
            b'Authorization: Digest username="%d", realm="branchpbx", nonce="%x", uri="sip:a", response="%x", qop=auth, '
            b'nc=00000001, cnonce="x"\r\n'
        )
        at = data.find(b"\r\n") + 2
        data[at:at] = credentials % (number, number, number)
    return bytes(data)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_thousands_of_hostile_messages_leave_memory_and_registrations_as_they_were(transport: str, seed: int) -> None:
    source = random.Random(seed)
    messages = [path.read_bytes() for path in sorted(VECTORS.glob("*/*.dat"))]
    endpoint, one = guarded(seed)
    assert register(endpoint, NEAR, "pw200", 0, 0) == [401, 200]
    registered = endpoint.registrations()
    sizes = []
    number = now = 0
    tracemalloc.start()
    try:
        for _ in range(3):
            for _ in range(1500):
                number += 1
                now += source.randrange(20)
                address = (f"198.{18 + number % 2}.{source.randrange(256)}.{source.randrange(256)}", 5060)
                endpoint.receive(hostile(source, number, messages), address, transport, now, PBX)
                endpoint.output()
                endpoint.events()
                one.events()
                if transport == "tcp":
                    endpoint.connection_lost("tcp", address, now)
            endpoint.expire(now)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert endpoint.registrations() == registered and endpoint.statistics()["transactions"] <= 1
    assert endpoint.statistics()["sessions"] == endpoint.statistics()["connections"] == 0
    assert one.statistics()["strangers"] <= limits.MOST_STRANGERS and one.statistics()["blocks"] <= limits.MOST_BLOCKS
    # the first round fills the bounded tables and caches; after it nothing may grow
    assert sizes[2] - sizes[1] < 400_000, sizes
    assert sizes[2] < 12_000_000, sizes


def test_tables_stay_bounded_under_any_number_of_sources() -> None:
    one = guard(far_burst=1)
    for number in range(2 * limits.MOST_STRANGERS + limits.MOST_STRANGERS // 8):
        address = f"198.{18 + number % 2}.{number // 250 % 250}.{number % 250}"
        one.admit(address, 0)
        one.admit(address, 0)
        one.failed(f"198.18.{number % 250}.{number // 250}", f"{number}", False, 0)
        one.proved(f"198.19.{number % 250}.{number // 250}", str(number), 0)
    sizes = one.statistics()
    assert sizes["strangers"] <= limits.MOST_STRANGERS and sizes["proven"] <= limits.MOST_PROVEN and sizes["blocks"] <= limits.MOST_BLOCKS
    assert len(one.events()) <= limits.MOST_EVENTS


def test_console_shows_blocks_and_lifts_them(seed: int) -> None:
    house = House(seed % 1000)
    for _ in range(150):
        house.phones.receive(b"OPTIONS sip:x SIP/2.0\r\n\r\n", (FAR, 5060), "udp", PBX)
    (row,) = show_blocks(house.phones, house.clock)
    assert (row.source, row.why, row.seconds_left, row.times) == (FAR, "too many messages", 60, 1)
    assert house.phones.guard.clear(row.source, house.clock.now()) == 1 and show_blocks(house.phones, house.clock) == []
    assert {"show blocks", "block clear"} <= set(registered())
