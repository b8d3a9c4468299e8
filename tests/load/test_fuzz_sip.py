"""The fuzzer of the SIP stack: a short run finds nothing, and it does find what is planted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firmware.media.ice import IceLite
from firmware.net import sip_ws
from firmware.sip import parse, session_reliable
from firmware.sip.headers import Headers
from tools.fuzz_sip import KEPT, KINDS, Fuzzer, seeds


@pytest.fixture
def fuzzer(seed: int) -> Iterator[Fuzzer]:
    made = Fuzzer(seed, seeds())
    yield made
    made.close()


def test_short_run_finds_nothing(fuzzer: Fuzzer) -> None:
    for _ in range(2500):
        fuzzer.step()
    assert fuzzer.failures == [] and len(fuzzer.lines) > 1000


@pytest.mark.parametrize("kind", KINDS)
def test_kept_inputs_find_nothing(fuzzer: Fuzzer, kind: str) -> None:
    kept = sorted(KEPT.glob(f"*.{kind}"))
    assert kept
    for path in kept:
        fuzzer.execute(kind, path.read_bytes(), traced=False)
    assert fuzzer.failures == []


def _until_found(fuzzer: Fuzzer, kind: str, most: int) -> str:
    """What the first failure says, among `most` inputs of a kind."""
    fuzzer.kinds, fuzzer.shares = [kind], [1]
    for _ in range(most):
        fuzzer.step()
        if fuzzer.failures:
            return fuzzer.failures[0][2]
    return ""


def test_planted_fault_is_found(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = parse._loose_request

    def faulty(start: str, headers: Headers) -> object:
        if "%00" in start:
            raise IndexError("planted")
        return plain(start, headers)

    monkeypatch.setattr(parse, "_loose_request", faulty)
    fuzzer.corpus["sip"] = [b"INVITE  sip:%00@x SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n"] * 20 + fuzzer.corpus["sip"]
    assert "planted" in _until_found(fuzzer, "sip", 6000)


def test_what_a_call_leaves_behind_is_found(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_reliable.Reliable, "acknowledged", lambda *_: None)      # a PRACK that nobody answers
    assert "left after the calls" in _until_found(fuzzer, "call", 6000)


def test_a_websocket_without_bounds_is_found(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_ws.SipWss, "ended", lambda *_: None)
    assert "left of a WebSocket" in _until_found(fuzzer, "ws", 50)


def test_an_agent_that_believes_everybody_is_found(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware.media.ice.VALID_MOST", 1000)
    monkeypatch.setattr(IceLite, "_named", lambda *_: True)
    monkeypatch.setattr("firmware.sip.stun.Stun.genuine", lambda *_: True)
    assert "without bound" in _until_found(fuzzer, "side", 3000)
