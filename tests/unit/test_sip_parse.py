"""Syntax: URIs, headers, framing. What cannot be framed is refused; everything else is kept as received."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.errors import RemoteProtocolError
from firmware.sip.errors import SyntaxProblem
from firmware.sip.headers import Headers
from firmware.sip.message import Request, Response, parse_via
from firmware.sip.parse import MAX_BODY, MAX_HEADER, Broken, Ping, StreamFramer, parse_datagram
from firmware.sip.sdp import parse_sdp
from firmware.sip.uri import escape_user, parse_name_addr, parse_uri
from firmware.sip.validate import check_support, check_syntax
from tests.unit.sip_stage import SDP, make_endpoint, request

OPTIONS = request("OPTIONS").render()


def test_headers_compare_without_case_and_compact_names_are_the_same() -> None:
    headers = Headers([("v", "one"), ("VIA", "two"), ("X-Own", "a"), ("m", "<sip:a@b>"), ("x-own", "b, c")])
    assert headers.get_all("Via") == ["one", "two"] and headers.get("contact") == "<sip:a@b>"
    assert headers.values("X-OWN") == ["a", "b", "c"] and "Max-Forwards" not in headers
    assert [name for name, _ in headers] == ["v", "VIA", "X-Own", "m", "x-own"]


def test_a_value_with_a_line_break_is_never_added() -> None:
    with pytest.raises(SyntaxProblem):
        Headers().add("Subject", "a\r\nContact: <sip:evil@x>")


def test_uri_round_trip_keeps_escapes_ports_and_parameters() -> None:
    for text in (
        "sip:alice@example.com",
        "sips:%61l%20ice:pw@[2001:db8::1]:5061;transport=tcp;lr?Subject=a%20b",
        "sip:192.0.2.1:5060",
        "tel:+1234",
    ):
        assert parse_uri(text).render() == text
    assert parse_uri("sip:%61l%20ice@x").user_text == "al ice"
    assert parse_uri("sip:*11%23@x").user_text == "*11#" and escape_user("a b@c") == "a%20b%40c"


@pytest.mark.parametrize(
    "text", ["", "sip:", "sip:@x", "sip:a@", "sip:a@b@c", "sip:a b@c", "sip:a@[::g]", "sip:a@h:99999", "sip:a@h:", "sip:a%4@h", ":x"]
)
def test_a_malformed_uri_is_a_syntax_problem(text: str) -> None:
    with pytest.raises(SyntaxProblem):
        parse_uri(text)


def test_name_addr_forms() -> None:
    quoted = parse_name_addr('"Bell, \\"A\\"" <sip:a@b;x=1>;tag=t;q="0,5"')
    assert (quoted.display, quoted.tag, quoted.uri.param("x"), quoted.param("q")) == ('Bell, "A"', "t", "1", '"0,5"')
    plain = parse_name_addr("sip:a@b;tag=9")
    assert plain.tag == "9" and plain.uri.params == () and not plain.bracketed


def test_via_forms() -> None:
    via = parse_via("SIP / 2.0 / UDP  [2001:db8::9]:5070 ;branch=z9hG4bKx;rport")
    assert (via.transport, via.host, via.port, via.branch, via.param("rport")) == ("udp", "2001:db8::9", 5070, "z9hG4bKx", "")
    assert via.with_params(rport="99", received="192.0.2.1").render().endswith(";branch=z9hG4bKx;rport=99;received=192.0.2.1")


def test_keep_alives_are_no_messages() -> None:
    assert parse_datagram(b"\r\n\r\n") is None and parse_datagram(b"") is None and parse_datagram(b"\x00\x00") is None
    framer = StreamFramer()
    assert framer.feed(b"\r\n") == []
    assert framer.feed(b"\r\n") == [Ping()]
    assert [type(item) for item in framer.feed(b"\r\n\r\n" + OPTIONS + b"\r\n")] == [Ping, Request]


def test_a_crlf_alone_in_the_middle_of_a_message_is_part_of_it() -> None:
    framer = StreamFramer()
    at = OPTIONS.index(b"\r\n")
    assert framer.feed(OPTIONS[:at]) == [] and framer.feed(b"\r\n") == []
    (message,) = framer.feed(OPTIONS[at + 2 :])
    assert isinstance(message, Request) and message.method == "OPTIONS" and not message.problems


def test_two_messages_in_one_segment() -> None:
    assert [type(item) for item in StreamFramer().feed(OPTIONS + OPTIONS)] == [Request, Request]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n\r\n", 400),
        (OPTIONS.replace(b"Content-Length: 0", b"Content-Length: x"), 400),
        (OPTIONS.replace(b"Content-Length: 0", f"Content-Length: {MAX_BODY + 1}".encode()), 513),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nX: " + b"a" * (MAX_HEADER + 10), 513),
    ],
)
def test_a_stream_that_cannot_be_followed_is_broken_for_good(data: bytes, status: int) -> None:
    framer = StreamFramer()
    (broken,) = framer.feed(data)
    assert isinstance(broken, Broken) and broken.status == status
    assert framer.feed(OPTIONS) == [] and framer.buffered == 0


def test_bare_lf_does_not_end_a_line() -> None:
    smuggled = OPTIONS.replace(b"Max-Forwards: 70\r\n", b"Max-Forwards: 70\nContent-Length: 99\r\n")
    message = parse_datagram(smuggled)
    assert isinstance(message, Request) and len(message.headers.get_all("content-length")) == 1
    refusal = check_syntax(message)
    assert refusal is not None and refusal.status == 400


def test_datagram_without_the_empty_line_is_refused_not_dropped() -> None:
    message = parse_datagram(OPTIONS[:-4])
    assert isinstance(message, Request)
    refusal = check_syntax(message)
    assert refusal is not None and refusal.status == 400


def test_a_clean_request_passes() -> None:
    assert check_syntax(request("INVITE", body=SDP)) is None and check_support(request("INVITE", body=SDP)) is None


def test_max_forwards_zero_is_refused_for_options_too() -> None:
    for method in ("OPTIONS", "INVITE", "REGISTER"):
        asked = request(method)
        asked.headers.set("Max-Forwards", "0")
        refusal = check_syntax(asked)
        assert refusal is not None and refusal.status == 483


def test_require_of_anything_unknown_is_420_naming_it() -> None:
    refusal = check_support(request("INVITE", extra=(("Require", "100rel, path, precondition, timer"),)))
    assert refusal is not None and refusal.status == 420 and refusal.headers == (("Unsupported", "path, precondition"),)


@given(st.binary(max_size=400))
def test_any_bytes_raise_nothing_but_a_remote_protocol_error(data: bytes) -> None:
    for parse in (parse_datagram, parse_sdp):
        try:
            message = parse(data)
        except RemoteProtocolError:
            continue
        if isinstance(message, Request):
            _ = check_syntax(message) or check_support(message)
    StreamFramer().feed(data)


@given(st.data())
def test_any_damage_to_a_real_message_is_survived_by_the_endpoint(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(["INVITE", "REGISTER", "OPTIONS", "BYE", "ACK", "CANCEL", "INFO"]))
    damaged = bytearray(
        request(method, body=SDP, extra=(("Authorization", 'Digest username="200", realm="branchpbx", nonce="x"'),)).render()
    )
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not damaged:
            return
    endpoint = make_endpoint(1)
    for transport in ("udp", "tcp"):
        endpoint.receive(bytes(damaged), ("198.51.100.9", 5060), transport, 5, ("192.0.2.1", 5060))
        for outgoing in endpoint.output():
            answer = parse_datagram(outgoing.data)
            assert answer is None or (isinstance(answer, Response) and not answer.problems)
    assert endpoint.statistics()["sessions"] == 0


@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(1, 4))
def test_cuts_of_a_stream_do_not_matter(cuts: list[int], count: int) -> None:
    stream = b"".join(
        request("INVITE", cseq=number + 1, body=SDP * (number % 2)).render() + b"\r\n" * (number % 3) for number in range(count)
    )
    whole = [item.render() for item in StreamFramer().feed(stream) if isinstance(item, Request)]
    framer, got, at = StreamFramer(), list[bytes](), 0
    for size in cuts + [len(stream)]:
        got += [item.render() for item in framer.feed(stream[at : at + size]) if isinstance(item, Request)]
        at += size
    assert got == whole and len(whole) == count
