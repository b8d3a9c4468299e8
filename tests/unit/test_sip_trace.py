"""What a trace keeps of a message: where it went, and nothing that proves a password or decrypts a call."""

from __future__ import annotations

import pytest

from firmware.sip.flow import Flow
from firmware.sip.trace import TRACE_LENGTH, TRACES_KEPT, Traces, hide_proofs

FLOW = Flow("tls", ("192.0.2.7", 5061), ("192.0.2.1", 5061))


def _message(*lines: str, body: str = "") -> bytes:
    return ("\r\n".join(("INVITE sip:100@pbx SIP/2.0", *lines)) + "\r\n\r\n" + body).encode()


@pytest.mark.parametrize("name", ["Authorization", "Proxy-Authorization", "AUTHORIZATION "])
def test_a_digest_loses_its_response_and_keeps_who_it_was(name: str) -> None:
    line = f'{name}: Digest username="201", realm="pbx", nonce="n1", uri="sip:pbx",\r\n response="0123456789abcdef", cnonce="c", qop=auth'
    told = hide_proofs(_message("Via: SIP/2.0/UDP a", line, "To: <sip:100@pbx>")).decode()
    assert "0123456789abcdef" not in told and 'response="*"' in told
    assert 'username="201"' in told and 'nonce="n1"' in told and "To: <sip:100@pbx>" in told


def test_other_proofs_are_hidden_whole() -> None:
    info = 'Authentication-Info: rspauth=abc, nextnonce="n2", qop=auth'
    told = hide_proofs(_message("Authorization: Basic c2VjcmV0OnNlY3JldA==", info))
    assert b"c2VjcmV0" not in told and b"abc" not in told and b"n2" not in told and b"Authorization: basic *" in told


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("application/dtmf-relay", "Signal=7\r\nDuration=160\r\n", "Signal=*\r\nDuration=160\r\n"),
        ("application/dtmf-relay;x=1", "Duration=160\r\nSignal= #\r\n", "Duration=160\r\nSignal= *\r\n"),
        ("application/dtmf", "7\r\n", "*\r\n"),
        ("text/plain", "Signal=7\r\n", "Signal=7\r\n"),
    ],
)
def test_a_key_is_not_shown(kind: str, body: str, shown: str) -> None:
    head = f"INFO sip:100@pbx SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    traces = Traces({"one"})
    traces.open("one")
    traces.add("one", 1, "in", FLOW, (head + body).encode())
    assert traces.lines("one")[0].data.decode() == head + shown


def test_a_body_is_left_as_it_is() -> None:
    message = _message("Content-Type: text/plain", body="Authorization: Digest response=\"stays\"\r\n")
    assert hide_proofs(message) == message


def test_messages_are_kept_with_both_ends_and_in_bounds() -> None:
    living = {"one"}
    traces = Traces(living)
    traces.open("one")
    for at in range(TRACE_LENGTH + 5):
        body = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:S3cr3t\r\n"
        traces.add("one", at, "out", FLOW, _message('Authorization: Digest response="aa11"', body=body))
    lines = traces.lines("one")
    assert len(lines) == TRACE_LENGTH and lines[-1].at == TRACE_LENGTH + 4
    assert (lines[0].peer, lines[0].local, lines[0].transport) == (FLOW.remote, FLOW.local, "tls")
    assert b"aa11" not in lines[0].data and b"S3cr3t" not in lines[0].data
    for number in range(TRACES_KEPT + 10):
        traces.open(f"call {number}")
    assert traces.lines("one"), "a living call keeps its trace"
