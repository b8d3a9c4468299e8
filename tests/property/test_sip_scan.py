"""What is read in one pass is what the reader of the whole grammar reads: usual messages, all vectors, and both with a few bytes changed.

The readers in Python are the reference: `scan` stands before them and may give up, never differ. `Headers` are held against a plain list.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from firmware.sip import auth, envelope, message, parse, scan, sdp, uri, validate, via
from firmware.sip.errors import SyntaxProblem, Unframeable
from firmware.sip.headers import Headers, canonical, display_name
from firmware.sip.message import Message, Request, Response
from firmware.sip.names import CANONICAL

VECTORS = sorted((Path(__file__).resolve().parent.parent / "vectors" / "sip-torture").rglob("*.dat"))
USUAL = (
    b"INVITE sip:1100@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK-7-1;rport\r\n"
    b"From: <sip:1000@192.0.2.1>;tag=7x\r\n"
    b'To: "Anna \xe5\xbc\xa0" <sip:1100@192.0.2.1>\r\nCall-ID: 1-7@192.0.2.9\r\nCSeq: 2 INVITE\r\n'
    b'Contact: <sip:1000@192.0.2.9:5062>;+sip.instance="<urn:x>"\r\n'
    b'Proxy-Authorization: Digest username="1000",realm="branchpbx",nc=00000001,qop=auth,uri="sip:a@b",nonce="f.1",response="0f",'
    b"algorithm=MD5\r\nX-Any-Thing: 5\r\nm: <sip:b@[2001:db8::1]>, <sip:c@d>\r\nMax-Forwards: 70\r\nContent-Length: 0",
    b"SIP/2.0 180 Ringing\r\nVia: SIP/2.0/TCP pbx.example;branch=z9hG4bK1;received=192.0.2.7;RPORT=5\r\n"
    b"f:<sip:a@b>;tag=1\r\nt: sip:c@d;tag=2\r\ni: 9\r\nCSeq: 1 INVITE\r\nl: 0",
    b"SIP/2.0 200 \r\nVia:SIP/2.0/TLS [2001:db8::2]:5061;branch=z9hG4bK3\r\nContact: *\r\nExpires:\t60 ",
)
PIECES = (
    "1 INVITE", "2147483647 ", "2147483648 ", "00000000000 ACK",
    "SIP/2.0/UDP ", "sip/2.0/tcp ", "SIP/2.0/WSS  ", "a.example", "-a", "a-", "a.", "192.0.2.1", ":5060", ":", ":65536", ":0", ":00005",
    "[2001:db8::1]", ";branch=z9hG4bK1", ";rport", ";RPort=5060", ";=", ";", "=", ",", " ", "\t", "\x1c", "\x85", "\x00", "\u00a0", '"',
    "\\", "<", ">", "sip:1@b", '"Anna"', '"a\\"b"', "Anna", "<sip:1000@192.0.2.1>", "<sip:a@b;lr>", ";tag=1x", ';x="a;b"', "nonce=",
    'Realm="a,b"', "qop=auth", 'uri="sip:%3C"', "\u5f20",
)  # fmt: skip
FIELDS = ("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Supported", "Route", "Expires")
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)


def outcome(read: Callable[[Any], Any], given_to: Any) -> Any:
    """What a reader gives, or how it refuses."""
    try:
        return read(given_to)
    except SyntaxProblem as problem:
        return f"refused: {problem.what}"


def told(found: tuple[Message, list[str]]) -> tuple[Any, ...]:
    one, problems = found
    if isinstance(one, Request):
        return ("request", one.method, one.uri, one.version, one.headers.items, problems)
    assert isinstance(one, Response)
    return ("response", one.status, one.reason, one.version, one.headers.items, problems)


def head(data: bytes) -> bool:
    """Both readers on the head of a message; whether the usual one took it."""
    usual = scan.head(data, CANONICAL, parse.MAX_HEADER_LINES - 1)
    try:
        whole = told(parse._any_head(data))
    except Unframeable:
        assert usual is None
        return False
    if usual is None:
        return False
    assert told(parse._parse_head(data)) == whole
    return True


def changed(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, new in edits:
        place = at % (len(data) + 1)
        data = data[:place] + new + data[place + length :]
    return data


KEYS = ("tag", "TAG", "rport", "received", "x", "\u0130", "i")
PAIRS = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([None, "", "1", "\u5f20"])), max_size=5).map(tuple)


@given(PAIRS, st.sampled_from(["tag", "rport", "x", "i", "y"]))
def test_parameters_are_pairs(pairs: tuple[tuple[str, str | None], ...], name: str) -> None:
    mine = [value or "" for key, value in pairs if key.lower() == name]
    assert scan.find_param(pairs, name) == (mine[0] if mine else None)
    assert scan.render_params(pairs) == "".join(f";{key}" if value is None else f";{key}={value}" for key, value in pairs)
    held = [key for key, _ in pairs]
    changed = scan.with_params(pairs, {name: "new"})
    assert [key for key, _ in changed] == (held if name in held else [*held, name])
    assert [value for key, value in changed if key != name] == [value for key, value in pairs if key != name]
    assert (name, "new") in changed


SLIPS = [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b";", b"<", b'"', b"\x00", b"\xff", b"\xe5\xbc", b"V"]
edits = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3), st.sampled_from(SLIPS) | st.binary(max_size=2)), max_size=4)


def test_the_usual_is_read_in_one_pass() -> None:
    assert all(head(data) for data in USUAL)
    parameters = (("branch", "z9hG4bK-7-1"), ("rport", None))
    assert scan.via("SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK-7-1;rport") == ("udp", "192.0.2.9", 5062, parameters)
    assert scan.name_addr('"Anna" <sip:1@b>;tag=1') == ("sip:1@b", "Anna", (("tag", "1"),))
    assert scan.digest('username="1000", nc=00000001') == {"username": "1000", "nc": "00000001"}


def test_every_vector_is_read_alike() -> None:
    assert VECTORS
    for path in VECTORS:
        head(path.read_bytes().partition(b"\r\n\r\n")[0])


@given(st.sampled_from([*USUAL, *(path.read_bytes().partition(b"\r\n\r\n")[0] for path in VECTORS)]), edits)
def test_heads_are_read_alike(data: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    head(changed(data, changes))


BODIES = st.sampled_from([b"", b"v=0\r\n", b"\r\n\r\n", b"\x00" * 9])


def whole(data: bytes) -> bool:
    """Both readers on a datagram, and on what it asks; whether the usual one took it."""
    usual = envelope.datagram(data, CANONICAL, parse.MAX_HEADER_LINES - 1, parse.MAX_HEADER)
    if usual is None:
        return False
    other = parse._any_datagram(data)
    assert other is not None and not other.problems and usual.body == other.body
    assert told((usual, [])) == told((other, []))
    if isinstance(usual, Request) and envelope.plain(usual):
        assert isinstance(other, Request) and validate._any_syntax(other) is None
        assert envelope.server_key(usual) == envelope.server_key(other)
    elif isinstance(usual, Response) and envelope.usable(usual):
        assert isinstance(other, Response) and validate._any_usable(other)
    return True


def test_usual_datagrams_are_read_in_one_pass() -> None:
    assert all(whole(data + b"\r\n\r\n") for data in USUAL)
    assert not whole(USUAL[0]) and not whole(b"\r\n" + USUAL[0] + b"\r\n\r\n")
    fine = USUAL[0].replace(b"m: <sip:b@[2001:db8::1]>, <sip:c@d>\r\n", b"") + b"\r\n\r\n"
    request = parse.parse_datagram(fine)
    assert isinstance(request, Request) and envelope.plain(request)
    for path in VECTORS:
        whole(path.read_bytes())


@given(st.sampled_from([*USUAL, *(path.read_bytes() for path in VECTORS)]), edits, BODIES, st.integers(0, 12))
def test_datagrams_are_read_alike(data: bytes, changes: list[tuple[int, int, bytes]], body: bytes, length: int) -> None:
    data = changed(data.replace(b"Content-Length: 0", b"Content-Length: %d" % length), changes)
    whole(data if b"\r\n\r\n" in data else data + b"\r\n\r\n" + body)


@given(st.lists(st.tuples(st.sampled_from(FIELDS), texts), max_size=2), st.sampled_from(["INVITE", "REGISTER", "ACK", "FOO"]), texts)
def test_what_is_plain_has_no_fault(others: list[tuple[str, str]], method: str, uri: str) -> None:
    fields = {"Via": "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1", "From": "<sip:a@b>;tag=1", "To": "<sip:a@b>", "Call-ID": "9",
              "CSeq": f"1 {method}", "Contact": "<sip:a@b>"}  # fmt: skip
    fields.update((name, value) for name, value in others if "\r" not in value and "\n" not in value)
    request = Request(method, uri or "sip:a@b", Headers(fields.items()))
    if envelope.plain(request):
        assert validate._any_syntax(Request(method, uri or "sip:a@b", Headers(fields.items()))) is None


ANSWER = {"Via": "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1", "From": "<sip:a@b>;tag=1", "To": "<sip:a@b>;tag=2", "Call-ID": "9",
          "CSeq": "1 INVITE"}  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(FIELDS), texts), max_size=2), st.sampled_from([0, 99, 100, 200, 699, 700]))
def test_an_answer_that_is_usable_has_no_fault(others: list[tuple[str, str]], status: int) -> None:
    fields = {**ANSWER, **{name: value for name, value in others if "\r" not in value and "\n" not in value}}
    if envelope.usable(Response(status, "", Headers(fields.items()))):
        assert validate._any_usable(Response(status, "", Headers(fields.items())))


def test_the_usual_answer_is_judged_natively() -> None:
    assert envelope.usable(Response(200, "OK", Headers(ANSWER.items())))
    assert not envelope.usable(Response(200, "OK", Headers([("Via", ANSWER["Via"]), *ANSWER.items()])))
    assert not envelope.usable(Response(200, "OK", Headers({**ANSWER, "Via": "SIP/2.0/UDP 192.0.2.9"}.items())))


@given(PAIRS)
def test_where_an_answer_goes_is_written_as_two_parameters(pairs: tuple[tuple[str, str | None], ...]) -> None:
    top = via.Via("udp", "192.0.2.9", 0, pairs)
    request = Request("OPTIONS", "sip:a@b", Headers(ANSWER.items()))
    request.set_top_via(top)
    told = envelope.stamp(request, "192.0.2.7", 5070)
    assert told == (top.param("rport") is not None)
    assert request.via == (top.with_params(rport="5070", received="192.0.2.7") if told else top)
    assert request.headers.get("via") == request.via.render()


BODY = (
    b"v=0\r\no=- 7 7 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\na=sendrecv\r\nm=audio 4000 RTP/AVP 8 101\r\n"
    b"a=rtpmap:8 PCMA/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\nm=video 0 RTP/AVP 31\r\nc=IN IP6 2001:db8::1\r\n"
)
LINE = st.sampled_from(
    [b"v=0", b"o=- 1 18446744073709551616 IN IP4 a", b"s=", b"c=IN IP4 ", b"c=IN IP4 a/1", b"c=in ip4 a", b"m=audio 65536 RTP/AVP 0",
     b"m=AUDIO 5/2 RTP/AVP 0", b"m=a 5 b", b"m=audio 5 RTP/AVP 0", b"a=", b"a=:", b"a=x: y", b"a= x", b"t= ", b"t=1 2", b"b=AS:64", b"=",
     b"x", b"a=\xe5", b"a=\x1cx", b"a=x\x00", b"a=x\ry", b"", b" "]
)  # fmt: skip


def described(data: bytes) -> bool:
    """Both readers on a description; whether the usual one took it."""
    if scan.sdp(data, sdp.MAX_LINES, sdp.MAX_MEDIA) is None:
        return False
    assert sdp.parse_sdp(data) == outcome(sdp._any_sdp, data)
    return True


def test_usual_descriptions_are_read_in_one_pass() -> None:
    assert described(BODY)
    for path in VECTORS:
        described(path.read_bytes().partition(b"\r\n\r\n")[2])


@given(st.lists(st.tuples(st.integers(0, 13), LINE), max_size=3), edits)
def test_descriptions_are_read_alike(lines: list[tuple[int, bytes]], changes: list[tuple[int, int, bytes]]) -> None:
    written = BODY.split(b"\r\n")
    for place, line in lines:
        written.insert(place, line)
    described(b"\r\n".join(written))
    described(changed(b"\r\n".join(written), changes))


@given(st.sampled_from([b"a=x\r\n", b"m=audio 0 RTP/AVP 0\r\n"]), st.integers(0, 3), st.sampled_from([12, 387]))
def test_too_long_descriptions_are_not_for_one_pass(line: bytes, more: int, near: int) -> None:
    data = BODY + line * (near + more)
    assert described(data) == (not isinstance(outcome(sdp._any_sdp, data), str))


@given(st.integers(250, 260))
def test_too_many_lines_are_not_for_one_pass(lines: int) -> None:
    data = b"OPTIONS sip:a SIP/2.0" + b"\r\nRoute: <sip:b>" * lines
    assert head(data) == (lines < parse.MAX_HEADER_LINES)


@given(texts)
def test_values_are_read_alike(text: str) -> None:
    if scan.via(text) is not None:
        assert message.parse_via(text) == outcome(via._any_via, text)
    if scan.params(text) is not None:
        assert scan.params(text) == outcome(uri._params, text.strip())
    if scan.name_addr(text) is not None:
        assert outcome(uri._name_addr, text) == outcome(uri._any_name_addr, text)
    if scan.cseq(text) is not None:
        assert message.parse_cseq(text) == outcome(via._any_cseq, text)
    if scan.digest(text) is not None:
        assert scan.digest(text) == outcome(auth._any_digest, text)


COPIED = ("via", "to", "from", "call-id", "cseq")
NAMES = ("Via", "v", "via", "VIA", "To", "t", "X-One", "x-one", "Content-Length", "l", "Route")
LINES = ("", "a", "a, b", '"x, y", z', " c ", "<sip:a,b>, d", "\u5f20")
pairs = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(LINES)), max_size=8)


@given(pairs, st.sampled_from(NAMES), st.sampled_from(["", "new", "a, b"]))
def test_headers_are_a_list_of_lines(lines: list[tuple[str, str]], name: str, value: str) -> None:
    headers, key = Headers(lines), canonical(name)
    mine = [one for written, one in lines if canonical(written) == key]
    assert list(headers) == lines and len(headers) == len(lines)
    assert (name in headers) == bool(mine) and headers.get_all(name) == mine and headers.get(name, "none") == (mine[0] if mine else "none")
    assert headers.values(name) == [part for one in mine for part in uri.split_outside(one, ",") if part]
    assert headers.count(key) == len(mine)
    assert headers.repeated() == (len({canonical(written) for written, _ in lines}) != len(lines))
    wire = [f"{written}: {one}" for written, one in lines if canonical(written) != "content-length"]
    assert headers.render("S", b"ab") == "\r\n".join(["S", *wire, "Content-Length: 2\r\n\r\n"]).encode() + b"ab"
    copied = [(display_name(canonical(written)), one) for written, one in lines if canonical(written) in COPIED]
    assert list(headers.answering("", False, bool)) == copied
    places = [place for place, (written, _) in enumerate(lines) if canonical(written) == key]
    rest = [(written, one) for written, one in lines if canonical(written) != key]
    headers.set(name, value)
    assert list(headers) == ([*rest[: places[0]], (name, value), *rest[places[0] :]] if places else [*rest, (name, value)])
    headers.replace_first(name, "first")
    assert headers.values(name) == ["first", *(part for part in uri.split_outside(value, ",")[1:] if part)]
    headers.remove(name)
    assert list(headers) == rest
    try:
        headers.add(name, "a\r\nb")
    except SyntaxProblem:
        assert list(headers) == rest
    else:
        raise AssertionError("a line break was taken")
