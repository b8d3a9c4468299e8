"""DTLS-SRTP in session descriptions: whose certificate, and who speaks first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sip.dtls_sdp import Dtls, agreed, answer_to, attributes, fingerprint_of, setup_of
from firmware.sip.sdp import Description, parse_sdp

DIGEST = bytes(range(32))
OTHER = bytes(range(200, 232))
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
LINE = "m=audio 4000 {profile} 8\r\n"


def text_of(digest: bytes) -> str:
    return digest.hex(":").upper()


def description(session: str, line: str, profile: str = "UDP/TLS/RTP/SAVPF") -> Description:
    return parse_sdp((HEAD + session + LINE.format(profile=profile) + line).encode())


def told(session: str, line: str) -> tuple[bytes | None, str]:
    found = description(session, line)
    return fingerprint_of(found, found.media[0]), setup_of(found, found.media[0])


def test_a_fingerprint_survives_the_wire() -> None:
    text = "".join(f"a={name}:{value}\r\n" for name, value in attributes(text_of(DIGEST), "actpass"))
    assert "a=fingerprint:sha-256 00:01:02:" in text
    assert told("", text) == (DIGEST, "actpass")
    assert told(text, "") == (DIGEST, "actpass")


def test_what_a_line_says_goes_before_what_the_session_says() -> None:
    session = f"a=fingerprint:SHA-256 {text_of(OTHER).lower()}\r\na=setup:passive\r\n"
    assert told(session, "") == (OTHER, "passive")
    assert told(session, f"a=fingerprint:sha-256 {text_of(DIGEST)}\r\na=setup:active\r\n") == (DIGEST, "active")
    two = f"a=fingerprint:sha-512 {':'.join(['AB'] * 64)}\r\na=fingerprint:sha-256 {text_of(DIGEST)}\r\n"
    assert told("", two)[0] == DIGEST
    assert told("", "") == (None, "")


@pytest.mark.parametrize(
    ("setup", "answered", "settled"),
    [
        ("actpass", "passive", None), ("active", "passive", "passive"), ("passive", "active", "active"),
        ("holdconn", None, None), ("", None, None),
    ],
)  # fmt: skip
def test_we_leave_the_beginning_to_the_peer_where_we_may(setup: str, answered: str | None, settled: str | None) -> None:
    text = f"a=fingerprint:sha-256 {text_of(DIGEST)}\r\n" + (f"a=setup:{setup}\r\n" if setup else "")
    offer = description("", text)
    assert answer_to(offer, offer.media[0]) == (None if answered is None else Dtls(answered, DIGEST))  # type: ignore[arg-type]
    assert agreed(offer, offer.media[0]) == (None if settled is None else Dtls(settled, DIGEST))  # type: ignore[arg-type]
    plain = description("", text, "RTP/SAVP")
    assert answer_to(plain, plain.media[0]) is None


@given(st.text("0123456789ABCDEFabcdef: sh-2+", max_size=120))
def test_a_fingerprint_is_32_bytes_or_none(value: str) -> None:
    found, _ = told("", f"a=fingerprint:{value}\r\na=setup:actpass\r\n")
    assert found is None or len(found) == 32


@pytest.mark.parametrize(
    "value", ["", "sha-256", "sha-256 " + ":".join(["0"] * 32), "sha-256 " + ":".join(["+1"] * 32), "sha-256 " + ":".join(["00"] * 31)]
)
def test_nonsense_is_no_fingerprint(value: str) -> None:
    assert told("", f"a=fingerprint:{value}\r\n")[0] is None
