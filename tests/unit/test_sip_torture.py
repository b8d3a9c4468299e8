"""The torture messages of RFC 4475 and RFC 5118: each gets the disposition that its RFC demands.

The table names the section and, in few words, what the section asks of a user agent and registrar. Where a section leaves
a choice ("reasonable", "acceptable", "could"), the words say so and the status is the choice made here.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from firmware.errors import RemoteProtocolError
from firmware.sip import events as ev
from firmware.sip.endpoint import Endpoint
from firmware.sip.message import Request, Response
from firmware.sip.parse import StreamFramer, parse_datagram
from firmware.sip.validate import check_support, check_syntax, usable_response
from tests.unit.sip_stage import PBX, authorize, make_endpoint

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "sip-torture"
GOOD = 0  # taken as well formed and processed
KEPT = -1  # a response that a client transaction may take
DROPPED = -2  # a response that is discarded, never answered


class Case(NamedTuple):
    section: str
    demand: str
    status: int


RFC4475 = {
    "wsinv": Case("3.1.1.1", "well formed; its To has a tag, so the dialog is looked for", GOOD),
    "intmeth": Case("3.1.1.2", "well formed; an endpoint does not know the method", 501),
    "esc01": Case("3.1.1.3", "well formed; escapes are equal to the characters", GOOD),
    "escnull": Case("3.1.1.4", "well formed; two distinct contacts are registered", GOOD),
    "esc02": Case("3.1.1.5", "well formed; an endpoint would reject it with 501", 501),
    "lwsdisp": Case("3.1.1.6", "should be accepted as well formed", GOOD),
    "longreq": Case("3.1.1.7", "well formed", GOOD),
    "dblreq": Case("3.1.1.8", "the REGISTER is handled, trailing octets of the datagram are ignored", GOOD),
    "semiuri": Case("3.1.1.9", "well formed; the user is 'user;par=u@example.net'", GOOD),
    "transports": Case("3.1.1.10", "well formed; processed whatever the lower transports are", GOOD),
    "mpart01": Case("3.1.1.11", "framed as well formed; MESSAGE is not offered, hence 405", 405),
    "unreason": Case("3.1.1.12", "well formed response", KEPT),
    "noreason": Case("3.1.1.13", "well formed response", KEPT),
    "badinv01": Case("3.1.2.1", "should be answered 400", 400),
    "clerr": Case("3.1.2.2", "over UDP 400", 400),
    "ncl": Case("3.1.2.3", "answered with an error", 400),
    "scalar02": Case("3.1.2.4", "400 because of CSeq", 400),
    "scalarlg": Case("3.1.2.5", "discarded", DROPPED),
    "quotbal": Case("3.1.2.6", "should be answered 400", 400),
    "ltgtruri": Case("3.1.2.7", "always reasonable: 400", 400),
    "lwsruri": Case("3.1.2.8", "should be answered 400", 400),
    "lwsstart": Case("3.1.2.9", "acceptable to reject as malformed", 400),
    "trws": Case("3.1.2.10", "acceptable to reject as malformed", 400),
    "escruri": Case("3.1.2.11", "acceptable: 400", 400),
    "baddate": Case("3.1.2.12", "should not be rejected by those who do not use Date", GOOD),
    "regbadct": Case("3.1.2.13", "reasonable: 400", 400),
    "badaspec": Case("3.1.2.14", "reasonable: 400", 400),
    "baddn": Case("3.1.2.15", "always reasonable: 400", 400),
    "badvers": Case("3.1.2.16", "505", 505),
    "mismatch01": Case("3.1.2.17", "400", 400),
    "mismatch02": Case("3.1.2.18", "501 (400 is acceptable, 501 better)", 501),
    "bigcode": Case("3.1.2.19", "simply dropped", DROPPED),
    "badbranch": Case("3.2.1", "could be 400, or fall back to the identification of RFC 2543", GOOD),
    "insuf": Case("3.3.1", "ideally 400", 400),
    "unkscm": Case("3.3.2", "416", 416),
    "novelsc": Case("3.3.3", "416 where the scheme is never accepted", 416),
    "unksm2": Case("3.3.4", "a registrar answers 400: To must be a SIP URI", 400),
    "bext01": Case("3.3.5", "420 with Unsupported listing what Require names", 420),
    "invut": Case("3.3.6", "an endpoint answers 415", 415),
    "regaut01": Case("3.3.7", "a registrar that authenticates answers 401 with a scheme it understands", GOOD),
    "multi01": Case("3.3.8", "400", 400),
    "mcl01": Case("3.3.9", "an error; over TCP the connection is closed", 400),
    "bcast": Case("3.3.10", "an endpoint simply discards it", DROPPED),
    "zeromf": Case("3.3.11", "483 where it would be forwarded, as every call through a B2BUA is", 483),
    "cparam01": Case("3.3.12", "registered; the parameter belongs to the header", GOOD),
    "cparam02": Case("3.3.13", "registered; the parameter belongs to the URI", GOOD),
    "regescrt": Case("3.3.14", "registered; the escaped Route stays in the URI", GOOD),
    "sdp01": Case("3.3.15", "406 with Warning 399 (400 is appropriate too)", 406),
    "inv2543": Case("3.4.1", "should be accepted; the body is the rest of the datagram", GOOD),
}
RFC5118 = {
    "ipv6-good": Case("4.1", "well formed", GOOD),
    "ipv6-bad": Case("4.2", "400: an IPv6 reference without brackets", 400),
    "port-ambiguous": Case("4.3", "well formed: 5070 is part of the address", GOOD),
    "port-unambiguous": Case("4.4", "well formed: port 5070", GOOD),
    "via-received-param-with-delim": Case("4.5", "accepted with brackets", GOOD),
    "via-received-param-no-delim": Case("4.5", "accepted without brackets", GOOD),
    "ipv6-in-sdp": Case("4.6", "well formed", GOOD),
    "mult-ip-in-header": Case("4.7", "well formed", GOOD),
    "mult-ip-in-sdp": Case("4.8", "well formed", GOOD),
    "ipv4-mapped-ipv6": Case("4.9", "well formed", GOOD),
    "ipv6-bug-abnf-3-colons": Case("4.10", "accepted in spite of the third colon", GOOD),
    "ipv6-correct-abnf-2-colons": Case("4.10", "well formed", GOOD),
}
CASES = {**{f"rfc4475/{name}": case for name, case in RFC4475.items()}, **{f"rfc5118/{name}": case for name, case in RFC5118.items()}}
REQUESTS = sorted(name for name, case in CASES.items() if case.status >= 0)
AFTER_CHALLENGE = (406, 415, 420)  # refusals of what we do not offer: for those whom we know
SOURCE = ("198.51.100.7", 5060)


def torture(name: str) -> bytes:
    return (FOLDER / f"{name}.dat").read_bytes()


def expected(name: str, *, guests: bool) -> int:
    """The final status, or 100 for an INVITE that became a call."""
    status = CASES[name].status
    method = torture(name).split(None, 1)[0].decode()
    if name == "rfc4475/wsinv":
        return 481  # of no dialog that we have
    if method == "INVITE" and status in (GOOD, *AFTER_CHALLENGE) and not guests:
        return 407
    return status or {"INVITE": 100, "REGISTER": 401, "OPTIONS": 200, "BYE": 481}[method]


def statuses(endpoint: Endpoint) -> list[int]:
    answers = [parse_datagram(outgoing.data) for outgoing in endpoint.output() if outgoing.data]
    return [answer.status for answer in answers if isinstance(answer, Response)]


def test_every_message_has_a_disposition() -> None:
    found = {f"{path.parent.name}/{path.stem}" for path in FOLDER.glob("*/*.dat")}
    assert found == set(CASES) and (len(RFC4475), len(RFC5118)) == (49, 12)
    assert len({case.section for case in RFC4475.values()}) == 49


@pytest.mark.parametrize("name", sorted(CASES))
def test_disposition(name: str) -> None:
    wanted = CASES[name].status
    if name == "rfc4475/bigcode":
        with pytest.raises(RemoteProtocolError):
            parse_datagram(torture(name))
        return
    message = parse_datagram(torture(name))
    if wanted < 0:
        assert isinstance(message, Response) and usable_response(message) is (wanted == KEPT)
        return
    assert isinstance(message, Request)
    refusal = check_syntax(message) or check_support(message)
    assert (refusal.status if refusal else GOOD) == wanted


@pytest.mark.parametrize("name", sorted(CASES))
def test_over_udp_with_strangers_challenged(name: str, seed: int) -> None:
    endpoint = make_endpoint(seed)
    endpoint.receive(torture(name), SOURCE, "udp", 1000, PBX)
    assert statuses(endpoint) == ([expected(name, guests=False)] if CASES[name].status >= 0 else [])
    assert endpoint.statistics()["transactions"] == 0 and endpoint.statistics()["sessions"] == 0


def test_over_udp_with_guests_allowed_all_get_what_their_section_asks(seed: int) -> None:
    right = []
    for name, case in CASES.items():
        endpoint = make_endpoint(seed, trusting="guest")
        endpoint.receive(torture(name), SOURCE, "udp", 1000, PBX)
        answered = statuses(endpoint)
        calls = [event for event in endpoint.events() if isinstance(event, ev.IncomingCall)]
        wanted = [expected(name, guests=True)] if case.status >= 0 else []
        if answered == wanted and bool(calls) == (wanted == [100]):
            right.append(name)
    assert sorted(CASES.keys() - set(right)) == []


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("guests", [False, True])
def test_over_tcp_byte_by_byte(name: str, guests: bool, seed: int) -> None:
    endpoint = make_endpoint(seed, trusting="guest" if guests else "")
    data = torture(name)
    closed = False
    answered: list[int] = []
    for at in range(len(data)):
        endpoint.receive(data[at : at + 1], SOURCE, "tcp", 1000, PBX)
        out = endpoint.output()
        closed = closed or any(outgoing.close for outgoing in out)
        messages = [parse_datagram(outgoing.data) for outgoing in out if outgoing.data.strip()]
        answered += [message.status for message in messages if isinstance(message, Response)]
    if name == "rfc4475/clerr":
        assert answered == []  # 9999 bytes were announced: the rest may still come
    elif name == "rfc4475/inv2543":
        assert answered == [400]  # Content-Length is mandatory on a stream
    elif name == "rfc4475/dblreq":
        assert answered == [401, 400 if guests else 407]  # on a stream the second message counts; its description is broken
    else:
        assert answered == [expected(name, guests=guests)]
    # framing that cannot be followed any more ends the connection (section 3.3.9)
    assert closed is (name in ("rfc4475/dblreq", "rfc4475/inv2543", "rfc4475/mcl01", "rfc4475/ncl"))


@pytest.mark.parametrize(
    ("name", "user", "contacts"),
    [
        ("cparam01", "watson", ["<sip:+19725552222@gw1.example.net>;unknownparam"]),
        ("cparam02", "watson", ["<sip:+19725552222@gw1.example.net;unknownparam>"]),
        ("regescrt", "user", ["<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"]),
        ("escnull", "null-\x00-null", ["<sip:%00@host5.example.com>", "<sip:%00%00@host5.example.com>"]),
        ("dblreq", "j.user", ["<sip:j.user@host.example.com>"]),
        ("regaut01", "j.user", []),
    ],
)
def test_registrations_succeed_with_credentials_and_answer_the_contact_as_it_came(
    name: str, user: str, contacts: list[str], seed: int
) -> None:
    endpoint = make_endpoint(seed, secrets={user: "secret"})
    asked = parse_datagram(torture(f"rfc4475/{name}"))
    assert isinstance(asked, Request)
    endpoint.receive(asked.render(), SOURCE, "udp", 1000, PBX)
    (challenge,) = [parse_datagram(outgoing.data) for outgoing in endpoint.output()]
    assert isinstance(challenge, Response) and challenge.status == 401
    again = authorize(asked, challenge, user, "secret")
    again.headers.replace_first("via", again.via.with_params(branch="z9hG4bKagain").render())
    endpoint.receive(again.render(), SOURCE, "udp", 1001, PBX)
    (answer,) = [parse_datagram(outgoing.data) for outgoing in endpoint.output()]
    assert isinstance(answer, Response) and answer.status == 200
    assert [value.rpartition(";expires=")[0] for value in answer.headers.get_all("contact")] == contacts


@pytest.mark.parametrize(
    "start",
    [
        b"INVITE sip:600@pbx",
        b"INVITE sip:600@pbx SIP/2.0 and more",
        b"INVITE",
        b"INVITE sip:600@pbx HTTP/1.1",
        b"INVITE\tsip:600@pbx\tSIP/2.0",
    ],
)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_request_with_a_readable_via_is_answered_however_bad_its_first_line_is(start: bytes, transport: str, seed: int) -> None:
    rest = (
        b"\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@c>\r\nCall-ID: x\r\n"
        b"CSeq: 1 INVITE\r\nl: 0\r\n\r\n"
    )
    endpoint = make_endpoint(seed)
    endpoint.receive(start + rest, SOURCE, transport, 1000, PBX)
    assert statuses(endpoint) == [400]


def test_a_line_of_spaces_costs_no_more_than_its_length(seed: int) -> None:
    # a backtracking pattern would need minutes for these
    endpoint = make_endpoint(seed)
    spaces = b" " * 60_000
    for data in (b"INVITE" + spaces + b"x\r\n\r\n", b"A" + spaces + b"b" + spaces[:1000] + b"SIP/2\r\nVia: x\r\n\r\n"):
        endpoint.receive(data, SOURCE, "udp", 1000, PBX)
    for line in (b"Via: ", b"To: ", b"CSeq: ", b"Contact: ", b"Authorization: "):
        endpoint.receive(b"OPTIONS sip:a SIP/2.0\r\n" + line + b'a"' + spaces + b"x\r\n\r\n", SOURCE, "udp", 1000, PBX)
    assert endpoint.statistics()["transactions"] == 0


def test_framer_finds_the_same_messages_however_the_stream_is_cut() -> None:
    # as framed once, so that a Content-Length that lies about its body does not end the stream early
    messages = [parse_datagram(torture(name)) for name in CASES if name not in ("rfc4475/bigcode", "rfc4475/esc02")]
    stream = b"\r\n".join(message.render() for message in messages if message is not None)

    def cut(size: int) -> list[bytes]:
        framer = StreamFramer()
        out: list[bytes] = []
        for at in range(0, len(stream), size):
            out += [message.render() for message in framer.feed(stream[at : at + size]) if isinstance(message, Request | Response)]
        return out

    whole = cut(len(stream))
    assert whole == cut(1) == cut(7) == cut(1460)
    assert len(whole) == len(messages)
