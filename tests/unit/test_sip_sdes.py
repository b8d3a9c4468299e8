"""Keys in session descriptions (RFC 4568): the lines of the RFC, offers and answers, and what nobody should send."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import abi
from firmware.sip import sdes
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import Flow
from firmware.sip.sdes import Crypto, accept, answer, hide_keys, lines_of, offer, parse_crypto
from firmware.sip.trace import Traces

KEY = base64.b64encode(bytes(range(30))).decode()
PLAIN = f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"


class Keys:
    """A new key each time."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, n: int) -> bytes:
        self.made += 1
        return bytes([self.made]) * n


def crypto(*values: str) -> list[tuple[str, str]]:
    return [("rtpmap", "0 PCMU/8000"), *(("crypto", value) for value in values)]


def test_the_suites_are_those_of_the_media_engine() -> None:
    assert {name: size for name, (_, size) in abi.SUITES.items()} == sdes.SUITES


def test_the_lines_of_the_rfc_are_read() -> None:
    """RFC 4568 sections 4, 5 and 6.1."""
    one = parse_crypto("1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:32")
    assert (one.tag, one.suite, one.life, one.mki, one.usable) == (1, "AES_CM_128_HMAC_SHA1_80", 2**20, True, False)
    assert one.key == base64.b64decode("PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR")
    two = parse_crypto(
        "2 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm|2^20|1:4;"
        "inline:QUJjZGVmMTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5|2^20|2:4"
    )
    assert (two.keys, two.mki, two.usable) == (2, True, False)
    three = parse_crypto("1 F8_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm|2^20|1:4 FEC_ORDER=FEC_SRTP")
    assert (three.suite, three.key, three.usable) == ("F8_128_HMAC_SHA1_80", b"", False)


@pytest.mark.parametrize("suite", sdes.SUITES)
def test_what_is_built_is_read_again(suite: str) -> None:
    line = Crypto(7, suite, bytes(range(sdes.SUITES[suite])), 2**31, parameters=("WSH=128",))
    assert parse_crypto(line.build()) == line
    assert line.usable
    unpadded = parse_crypto(line.build().replace("=|", "|").replace("=|", "|"))
    assert unpadded.key == line.key


@pytest.mark.parametrize(
    ("rest", "usable"),
    [
        ("", True), ("|2^48", True), ("|2^31", True), ("|1048576", True), ("|1048575", False), ("|2^19", False), ("|1:4", False),
        ("|2^31|1:1", False), (" KDR=0", True), (" KDR=1", False), (" WSH=64", True), (" WSH=63", False), (" WSH=x", False),
        (" UNENCRYPTED_SRTP", False), (" UNENCRYPTED_SRTCP", False), (" UNAUTHENTICATED_SRTP", False), (" FEC_ORDER=SRTP_FEC", False),
        (" -new=1", True), (" new=1", False), (" -a WSH=64 KDR=0", True), (" unencrypted_srtp", False),
    ],
)  # fmt: skip
def test_a_line_is_used_only_as_far_as_we_can_honour_it(rest: str, usable: bool) -> None:
    assert parse_crypto(PLAIN + rest).usable is usable


@pytest.mark.parametrize(
    "value",
    [
        "", "1", PLAIN[2:], PLAIN.replace("inline", "outline"), PLAIN.replace("inline:", ""), PLAIN[:-4], PLAIN + "AAAA", PLAIN + "|",
        PLAIN + "|0", PLAIN + "|2^49", PLAIN + "|2^99999", PLAIN + "|" + "9" * 15, PLAIN + "|-1", PLAIN + "|2^31|2^31",
        PLAIN + "|2^31|1:4|", PLAIN + "|1:0", PLAIN + "|1:129", PLAIN + "|256:1", PLAIN + "|:", PLAIN.replace(KEY[:4], "+-*/"),
        "1234567890" + PLAIN[1:], "-" + PLAIN, "x" + PLAIN, f"{PLAIN};inline:{KEY}", f"{PLAIN};", PLAIN + " x" * 600,
        PLAIN.replace(KEY[:1], "é"), PLAIN + "\n", "١" + PLAIN[1:],
    ],
)  # fmt: skip
def test_malformed_lines_are_refused(value: str) -> None:
    with pytest.raises(SyntaxProblem):
        parse_crypto(value)


def test_the_first_line_we_can_honour_is_answered_with_its_tag_and_a_key_of_ours() -> None:
    keys = Keys()
    found = answer(
        crypto(f"1 F8_128_HMAC_SHA1_80 inline:{KEY}", f"2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4", "nonsense",
               f"4 AES_CM_128_HMAC_SHA1_32 inline:{KEY}", f"5 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), tuple(sdes.SUITES), keys,
    )  # fmt: skip
    assert found is not None
    ours, theirs = found
    assert (ours.tag, ours.suite, ours.key) == (4, "AES_CM_128_HMAC_SHA1_32", b"\x01" * 30)
    assert theirs.key == bytes(range(30))
    later = answer(crypto(f"1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}"), tuple(sdes.SUITES), keys, ours)
    assert later is not None
    assert (later[0].tag, later[0].key, keys.made) == (1, ours.key, 1)      # a later offer does not change what we send under
    changed = answer(crypto(PLAIN), tuple(sdes.SUITES), keys, ours)
    assert changed is not None
    assert changed[0].key == b"\x02" * 30
    assert answer(crypto(PLAIN), ("AEAD_AES_128_GCM",), keys) is None
    assert answer(crypto(), tuple(sdes.SUITES), keys) is None


def test_an_offer_has_a_key_for_each_line_and_its_answer_must_take_one() -> None:
    lines = offer(tuple(sdes.SUITES), Keys())
    assert [line.tag for line in lines] == [1, 2, 3, 4]
    assert len({line.key[:20] for line in lines}) == 4
    assert lines_of(("crypto", line.build()) for line in lines) == list(lines)
    gcm = Crypto(2, "AEAD_AES_128_GCM", b"their gcm key and its salt!!")
    assert accept(crypto(gcm.build()), lines) == (lines[1], gcm)
    small = gcm.build().replace(gcm.suite, gcm.suite.lower()).replace("inline", "INLINE")
    assert accept(crypto(small), lines)[1] == gcm


@pytest.mark.parametrize(
    "values",
    [
        [], [PLAIN, PLAIN], [PLAIN.replace("1 ", "9 ", 1)], [PLAIN.replace("_80", "_32")], [PLAIN + "|1:4"], [PLAIN + " UNENCRYPTED_SRTP"],
        ["x"], [f"1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(bytes([1]) * 30).decode()}"],
    ],
)  # fmt: skip
def test_answers_that_take_something_else_are_refused(values: list[str]) -> None:
    with pytest.raises(SyntaxProblem):
        accept(crypto(*values), offer(("AES_CM_128_HMAC_SHA1_80",), Keys()))


def test_a_repeated_tag_counts_once_and_only_so_many_lines_are_read() -> None:
    other = base64.b64encode(bytes(30)).decode()
    assert [line.key for line in lines_of(crypto(PLAIN, f"1 AES_CM_128_HMAC_SHA1_80 inline:{other}"))] == [bytes(range(30))]
    many = [PLAIN.replace("1 ", f"{n} ", 1) for n in range(1, 200)]
    assert len(lines_of(crypto(*many))) == sdes.MAX_LINES


def test_no_text_shows_a_key() -> None:
    line = parse_crypto(PLAIN)
    assert KEY not in f"{line!r} {line} {[line]}"
    assert hide_keys(f"a=crypto:{PLAIN}|2^31;inline:{KEY}|1:4\r\na=ptime:20".encode()) == (
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:*|2^31;inline:*|1:4\r\na=ptime:20"
    )
    traces = Traces(["call"])
    traces.open("call")
    flow = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.2", 5060))
    traces.add("call", 0, "in", flow, f"INVITE sip:1@x SIP/2.0\r\n\r\nv=0\r\na=crypto:{PLAIN}\r\n".encode())
    assert KEY.encode() not in traces.lines("call")[0].data
    assert traces.lines("call")[0].data.endswith(b"inline:*\r\n")
    with pytest.raises(SyntaxProblem) as caught:
        parse_crypto(PLAIN[:-1])
    assert KEY[:10] not in str(caught.value)


@given(st.one_of(st.text(max_size=300), st.text("12 AESCM_80inline:|^;=+/\t-", max_size=120).map(lambda rest: PLAIN[:40] + rest)))
def test_any_text_is_a_line_or_a_syntax_problem(text: str) -> None:
    try:
        line = parse_crypto(text)
    except SyntaxProblem:
        return
    assert line.keys >= 1
    assert 1 <= line.life <= sdes.MAX_LIFE
    assert not line.usable or len(line.key) == sdes.SUITES[line.suite]
