"""Location of servers (RFC 3263): order, fall-backs, memory; DNS is a table here."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sip.locate import (
    FAILED_S,
    MAX_ANSWERS,
    MAX_TARGETS,
    MAX_WAITING,
    MIN_TTL_S,
    Answer,
    Locator,
    Naptr,
    Question,
    Srv,
    Target,
    fails_over,
    weighted,
)
from firmware.sip.uri import parse_uri

Zone = Mapping[tuple[str, str], tuple[Naptr | Srv | str, ...]]


def drive(locator: Locator, uri: str, zone: Zone, now: int = 0, ttl_s: int = 60, **options: object) -> tuple[list[Target], list[Question]]:
    """Locate a URI with a zone as the DNS; the targets and what was asked."""
    got: list[list[Target]] = []
    asked: list[Question] = []
    locator.locate(parse_uri(uri), now, got.append, **options)  # type: ignore[arg-type]
    while not got:
        questions = locator.questions()
        assert questions, "nothing is asked, nothing is given"
        for question in questions:
            asked.append(question)
            locator.answered(question, Answer(zone.get((question.name, question.kind), ()), ttl_s), now)
    assert len(got) == 1
    return got[0], asked


def fixed(value: float = 0.0) -> Locator:
    return Locator(lambda: value)


def shown(targets: list[Target]) -> list[str]:
    return [f"{one.transport} {one.host} {one.port}" for one in targets]


FULL: Zone = {
    ("example.com", "NAPTR"): (
        Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com"),
        Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com"),
        Naptr(100, 50, "S", "sip+d2u", "_sip._udp.example.com"),
        Naptr(10, 50, "s", "SIP+D2S", "_sip._sctp.example.com"),
        Naptr(5, 50, "u", "E2U+sip", ""),
    ),
    ("_sips._tcp.example.com", "SRV"): (Srv(1, 0, 5061, "tls.example.com"),),
    ("_sip._tcp.example.com", "SRV"): (Srv(1, 0, 5060, "b.example.com"), Srv(0, 0, 5070, "a.example.com.")),
    ("_sip._udp.example.com", "SRV"): (Srv(0, 0, 5060, "a.example.com"),),
    ("a.example.com", "A"): ("192.0.2.1", "192.0.2.2"),
    ("b.example.com", "A"): ("192.0.2.3",),
    ("tls.example.com", "A"): ("192.0.2.9",),
}


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("sip:192.0.2.1", "udp 192.0.2.1 5060"), ("sips:192.0.2.1", "tls 192.0.2.1 5061"),
        ("sip:a@192.0.2.1:5080;transport=tcp", "tcp 192.0.2.1 5080"), ("sip:[2001:db8::0:1]", "udp 2001:db8::1 5060"),
        ("sip:x@example.com;maddr=192.0.2.7", "udp 192.0.2.7 5060"), ("sip:192.0.2.1;transport=tls", "tls 192.0.2.1 5061"),
        ("sip:[::ffff:192.0.2.8]:5062", "udp 192.0.2.8 5062"),
    ],
)  # fmt: skip
def test_a_numeric_host_needs_no_dns(uri: str, target: str) -> None:
    targets, asked = drive(fixed(), uri, {})
    assert shown(targets) == [target] and asked == []


def test_naptr_decides_the_transport_and_srv_the_servers() -> None:
    targets, asked = drive(fixed(), "sip:example.com", FULL)
    assert shown(targets) == [
        "tls 192.0.2.9 5061", "tcp 192.0.2.1 5070", "tcp 192.0.2.2 5070", "tcp 192.0.2.3 5060", "udp 192.0.2.1 5060", "udp 192.0.2.2 5060",
    ]  # fmt: skip
    assert {one.name for one in targets} == {"example.com"}, "a certificate must name what was asked for, not what DNS made of it"
    assert asked[0] == Question("example.com", "NAPTR")


def test_sips_is_tls_only() -> None:
    assert shown(drive(fixed(), "sips:example.com", FULL)[0]) == ["tls 192.0.2.9 5061"]
    assert drive(fixed(), "sips:example.com;transport=udp", FULL)[0] == drive(fixed(), "sips:example.com;transport=tcp", FULL)[0]


def test_a_transport_in_the_uri_skips_naptr_and_a_port_skips_srv() -> None:
    targets, asked = drive(fixed(), "sip:example.com;transport=tcp", FULL)
    assert shown(targets)[0] == "tcp 192.0.2.1 5070" and {one.kind for one in asked} == {"SRV", "A"}
    targets, asked = drive(fixed(), "sip:a.example.com:5099", FULL)
    assert shown(targets) == ["udp 192.0.2.1 5099", "udp 192.0.2.2 5099"] and {one.kind for one in asked} == {"A"}


def test_without_naptr_srv_is_asked_and_without_srv_addresses() -> None:
    zone = {key: value for key, value in FULL.items() if key[1] != "NAPTR"}
    assert shown(drive(fixed(), "sip:example.com", zone)[0])[0] == "tls 192.0.2.9 5061"
    plain: Zone = {("pbx.example.com", "A"): ("192.0.2.40",)}
    assert shown(drive(fixed(), "sip:pbx.example.com", plain)[0]) == ["udp 192.0.2.40 5060"]
    assert shown(drive(fixed(), "sips:pbx.example.com", plain)[0]) == ["tls 192.0.2.40 5061"]
    assert shown(drive(fixed(), "sip:pbx.example.com;transport=tcp", plain)[0]) == ["tcp 192.0.2.40 5060"]
    assert drive(fixed(), "sip:nowhere.example.com", {})[0] == []


def test_a_service_that_is_decidedly_absent_has_no_targets() -> None:
    zone: Zone = {("_sip._udp.example.com", "SRV"): (Srv(0, 0, 0, "."),), ("example.com", "A"): ("192.0.2.1",)}
    assert drive(fixed(), "sip:example.com", zone)[0] == []


def test_the_caller_may_narrow_the_transports() -> None:
    targets, _ = drive(fixed(), "sip:example.com", FULL, transports=("udp",))
    assert {one.transport for one in targets} == {"udp"}


def test_both_families_in_the_order_liked() -> None:
    zone: Zone = {("h.example.com", "A"): ("192.0.2.1",), ("h.example.com", "AAAA"): ("2001:db8::1",)}
    locator = Locator(lambda: 0.0, families=("AAAA", "A"))
    assert shown(drive(locator, "sip:h.example.com", zone)[0]) == ["udp 2001:db8::1 5060", "udp 192.0.2.1 5060"]


def test_weights_are_shares() -> None:
    draw = random.Random(7).random
    records = [Srv(0, 60, 5060, "a"), Srv(0, 30, 5060, "b"), Srv(0, 10, 5060, "c"), Srv(0, 0, 5060, "z"), Srv(1, 100, 5060, "later")]
    first: Counter[str] = Counter()
    for _ in range(4000):
        order = [one.target for one in weighted(records, draw)]
        assert order[-1] == "later" and sorted(order) == ["a", "b", "c", "later", "z"]
        first[order[0]] += 1
    assert first["a"] / 4000 == pytest.approx(0.6, abs=0.04) and first["c"] / 4000 == pytest.approx(0.1, abs=0.03)
    equal = Counter(weighted([Srv(0, 0, 1, "a"), Srv(0, 0, 1, "b")], draw)[0].target for _ in range(2000))
    assert equal["a"] / 2000 == pytest.approx(0.5, abs=0.06)


@given(st.lists(st.builds(Srv, st.integers(0, 3), st.integers(0, 65535), st.integers(1, 65535), st.sampled_from("abcdef"))), st.randoms())
def test_no_record_is_lost_and_priorities_hold(records: list[Srv], chance: random.Random) -> None:
    order = weighted(records, chance.random)
    assert Counter(order) == Counter(records)
    assert [one.priority for one in order] == sorted(one.priority for one in records)


def test_answers_live_as_long_as_they_say() -> None:
    locator = fixed()
    assert drive(locator, "sip:a.example.com:5060", FULL, now=0, ttl_s=60)[1]
    assert drive(locator, "sip:a.example.com:5060", FULL, now=59_999)[1] == []
    assert drive(locator, "sip:a.example.com:5060", FULL, now=60_000)[1]
    assert drive(fixed(), "sip:a.example.com:5060", FULL, ttl_s=0)[0], "a time to live of 0 still ends the procedure"
    locator = fixed()
    drive(locator, "sip:a.example.com:5060", FULL, ttl_s=0)
    assert drive(locator, "sip:a.example.com:5060", FULL, now=MIN_TTL_S * 1000 - 1)[1] == []


def test_what_is_not_there_is_remembered_and_what_failed_is_asked_again_soon() -> None:
    locator = fixed()
    assert drive(locator, "sip:gone.example.com:5060", {}, ttl_s=3600)[0] == []
    assert drive(locator, "sip:gone.example.com:5060", {}, now=299_000)[1] == []
    assert drive(locator, "sip:gone.example.com:5060", {}, now=300_000)[1]
    got: list[list[Target]] = []
    locator.locate(parse_uri("sip:broken.example.com:5060"), 0, got.append)
    (question,) = locator.questions()
    locator.answered(question, Answer((), 3600, failed=True), 0)
    assert got == [[]]
    assert drive(locator, "sip:broken.example.com:5060", {}, now=FAILED_S * 1000)[1]


def test_a_question_is_asked_once_for_all_who_wait() -> None:
    locator, got = fixed(), []
    for _ in range(3):
        locator.locate(parse_uri("sip:a.example.com:5060"), 0, got.append)
    (question,) = locator.questions()
    assert locator.questions() == []
    locator.answered(question, Answer(("192.0.2.1",), 60), 0)
    assert [shown(one) for one in got] == [["udp 192.0.2.1 5060"]] * 3


def test_who_failed_is_tried_last_for_a_while() -> None:
    locator = fixed()
    first = drive(locator, "sip:example.com;transport=tcp", FULL)[0]
    locator.failed(first[0], 1000)
    assert drive(locator, "sip:example.com;transport=tcp", FULL, now=1000)[0] == [*first[1:], first[0]]
    assert drive(locator, "sip:example.com;transport=tcp", FULL, now=30_999)[0][-1] == first[0]
    assert drive(locator, "sip:example.com;transport=tcp", FULL, now=31_000)[0] == first
    locator.failed(first[0], 40_000, retry_after_s=45)
    assert drive(locator, "sip:example.com;transport=tcp", FULL, now=84_000)[0][-1] == first[0]
    locator.works(first[0])
    assert drive(locator, "sip:example.com;transport=tcp", FULL, now=84_000)[0] == first


def test_only_a_server_or_flow_that_is_out_of_service_leads_to_the_next_target() -> None:
    assert [status for status in range(200, 700) if fails_over(status)] == [430, 503]


def test_tables_are_bounded() -> None:
    locator, got = fixed(), []
    for index in range(MAX_WAITING + 5):
        locator.locate(parse_uri(f"sip:h{index}.example.com:5060"), 0, got.append)
    assert got == [[]] * 5 and locator.statistics()["refused"] == 5
    for index in range(2 * MAX_ANSWERS):
        locator.answered(Question(f"x{index}", "A"), Answer(), 0)
    assert locator.statistics()["answers"] == MAX_ANSWERS
    for index in range(1000):
        locator.failed(Target("udp", "192.0.2.1", index), 0)
    assert locator.statistics()["set_aside"] <= 256
    many: Zone = {("_sip._udp.example.com", "SRV"): tuple(Srv(0, 1, 1 + index, "h.example.com") for index in range(500)),
                  ("h.example.com", "A"): tuple(f"192.0.2.{index}" for index in range(200))}  # fmt: skip
    assert len(drive(fixed(), "sip:example.com", many)[0]) == MAX_TARGETS


def test_while_dns_is_silent_its_last_word_holds_for_a_day() -> None:
    locator, silent = fixed(), Answer((), 0, failed=True)
    uri = parse_uri("sip:a.example.com:5060")
    assert len(drive(locator, "sip:a.example.com:5060", FULL, ttl_s=60)[0]) == 2
    for now, expected in ((61_000, 2), (3_600_000, 2), (86_300_000, 2), (86_500_000, 0)):
        got: list[list[Target]] = []
        locator.locate(uri, now, got.append)
        waited = not got
        (question,) = locator.questions()
        locator.answered(question, silent, now)
        assert [len(one) for one in got] == [expected], now
        assert waited == (now in (61_000, 86_500_000)), "once it is known to be silent, nobody waits for it"
    # What it says then counts, also that nothing is there any more.
    assert len(drive(locator, "sip:a.example.com:5060", FULL, now=90_000_000)[0]) == 2, "it is back"
    assert drive(locator, "sip:a.example.com:5060", {}, now=90_100_000)[0] == []


names = st.sampled_from(
    ["example.com", "a.example.com", "_sip._udp.example.com", "_sips._tcp.example.com", ".", "", "x" * 300, "192.0.2.1", "a b"]
)
records = st.one_of(
    st.builds(Naptr, st.integers(0, 65535), st.integers(0, 65535), st.sampled_from(["s", "S", "a", "u", ""]),
              st.sampled_from(["SIP+D2U", "SIPS+D2T", "sip+d2t", "SIP+D2S", "", "x"]), names),
    st.builds(Srv, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535), names),
    st.sampled_from(["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "nonsense", ""]),
)  # fmt: skip


@given(st.data(), st.sampled_from(["sip:example.com", "sips:example.com", "sip:example.com;transport=tcp", "sip:example.com:5070"]),
       st.sampled_from([("A",), ("AAAA", "A")]))  # fmt: skip
def test_whatever_dns_says_the_procedure_ends_within_its_bounds(data: st.DataObject, uri: str, families: tuple[Any, ...]) -> None:
    locator = Locator(lambda: data.draw(st.floats(0, 1, exclude_max=True)), families=families)
    got: list[list[Target]] = []
    locator.locate(parse_uri(uri), 0, got.append)
    rounds = 0
    while not got:
        questions = locator.questions()
        assert questions and rounds < 4, "NAPTR, SRV, addresses, and addresses of the host itself"
        rounds += 1
        for question in questions:
            answer = Answer(tuple(data.draw(st.lists(records, max_size=6))), data.draw(st.integers(0, 1 << 33)), data.draw(st.booleans()))
            locator.answered(question, answer, 0)
    assert len(got) == 1 and len(got[0]) <= MAX_TARGETS and locator.questions() == []
    assert {one.host for one in got[0]} <= {"192.0.2.1", "2001:db8::1"} and {one.transport for one in got[0]} <= {"udp", "tcp", "tls"}
    assert all(0 < one.port <= 65535 for one in got[0])
    if uri.startswith("sips:"):
        assert {one.transport for one in got[0]} <= {"tls"}
