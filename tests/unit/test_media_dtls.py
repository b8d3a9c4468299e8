"""DTLS of RTP ports: two sides of media processes, strangers between them, and what core hears."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from firmware.dsp.dtls import DtlsCertificate, DtlsSession
from firmware.media.dtls import AGAIN, LIMIT_S, Handshakes
from firmware.media.ice import Address

A: Address = ("192.0.2.1", 20000)
B: Address = ("192.0.2.2", 30000)
STRANGER: Address = ("192.0.2.66", 6666)


class Timer:
    def __init__(self, at: float, fn: Callable[[], object]) -> None:
        self.at, self.fn, self.live = at, fn, True

    def cancel(self) -> None:
        self.live = False


class Wire:
    """Carries datagrams at once; timers run on a clock that follows OpenSSL's where that has to be waited for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, int, Timer]] = []
        self.order = itertools.count()
        self.sides: dict[Address, Stage] = {}
        self.sent: list[tuple[Address, Address, bytes]] = []
        self.queue: list[tuple[Address, Address, bytes]] = []
        self.lost = 0

    def run(self, seconds: float = 30) -> None:
        end = self.now + seconds
        while True:
            while self.queue:
                source, to, data = self.queue.pop(0)
                if self.lost:
                    self.lost -= 1
                elif to in self.sides:
                    self.sides[to].dtls(16, data, source)
            due = [entry for entry in self.timers if entry[2].live]
            self.timers = due
            heapq.heapify(self.timers)
            if not due or self.timers[0][0] > end:
                self.now = end
                return
            at, _, timer = heapq.heappop(self.timers)
            if at - self.now < 1:
                time.sleep(max(0.0, at - self.now))    # OpenSSL repeats on the machine's clock
            self.now = max(self.now, at)
            timer.live = False
            timer.fn()


class Stage:
    """Stands for `Side`: one port, 16."""

    def __init__(self, wire: Wire, address: Address) -> None:
        self.wire, self.address = wire, address
        self.requests: dict[str, Callable[[int, Mapping[str, Any]], Any]] = {}
        self.installed: list[tuple[int, str, bytes, bytes]] = []
        self.news: list[dict[str, Any]] = []
        self.chosen: Address | None = None
        wire.sides[address] = self
        self.handshakes = Handshakes(self)

    def on_dtls(self, fn: Callable[[int, bytes, Address], None]) -> None:
        self.dtls = fn

    def on_request(self, what: str, fn: Callable[[int, Mapping[str, Any]], Any]) -> None:
        self.requests[what] = fn

    def on_nominated(self, fn: Callable[[int, Address], None]) -> None:
        self.nominate = fn

    def on_end(self, fn: Callable[[int], None]) -> None:
        self.end = fn

    def nominated(self, port: int) -> Address | None:
        return self.chosen

    def send(self, port: int, data: bytes, remote: Address) -> bool:
        self.wire.sent.append((self.address, remote, data))
        self.wire.queue.append((self.address, remote, data))
        return True

    def keys(self, port: int, suite: str, send: bytes, receive: bytes) -> None:
        self.installed.append((port, suite, send, receive))

    def later(self, seconds: float, fn: Callable[[], object]) -> Timer:
        timer = Timer(self.wire.now + seconds, fn)
        heapq.heappush(self.wire.timers, (timer.at, next(self.wire.order), timer))
        return timer

    def tell(self, port: int, what: str, **facts: Any) -> None:
        assert (port, what) == (16, "dtls")
        self.news.append(facts)

    def ask(self, role: str, far: Stage, remote: Address | None) -> str:
        digest = far.requests["fingerprint"](-1, {}).replace(":", "").lower()
        state = self.requests["dtls"](16, {"role": role, "fingerprint": digest, "remote": list(remote) if remote else None})
        assert isinstance(state, str)
        return state


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def sides(wire: Wire) -> tuple[Stage, Stage]:
    return Stage(wire, A), Stage(wire, B)


def agreed(a: Stage, b: Stage, times: int = 1) -> None:
    assert (len(a.installed), len(b.installed)) == (times, times)
    (_, suite, send, receive), (_, other, back, forth) = a.installed[-1], b.installed[-1]
    assert (suite, send, receive) == (other, forth, back)
    assert a.news[-1] == b.news[-1] == {"state": "connected", "suite": suite}


def test_both_ports_get_keys_that_fit_and_core_hears_of_it(wire: Wire, sides: tuple[Stage, Stage]) -> None:
    a, b = sides
    assert b.ask("passive", a, A) == "handshake"
    a.ask("active", b, B)
    wire.run(1)
    agreed(a, b)


def test_the_same_request_again_changes_nothing_and_another_certificate_begins_anew(wire: Wire, sides: tuple[Stage, Stage]) -> None:
    a, b = sides
    b.ask("passive", a, A)
    a.ask("active", b, B)
    wire.run(1)
    count = len(wire.sent)
    assert a.ask("active", b, B) == "connected"
    assert b.ask("passive", a, None) == "connected"
    wire.run(60)
    assert len(wire.sent) == count
    agreed(a, b)
    c = Stage(wire, ("192.0.2.3", 9))
    c.ask("passive", a, A)
    a.ask("active", c, c.address)
    wire.run(1)
    assert len(a.installed) == 2
    assert a.installed[-1][2:] == (c.installed[-1][3], c.installed[-1][2])


def test_with_ice_the_active_side_waits_for_a_nominated_address(wire: Wire, sides: tuple[Stage, Stage]) -> None:
    a, b = sides
    b.ask("passive", a, None)
    a.ask("active", b, None)
    wire.run(3)
    assert wire.sent == []
    a.nominate(16, B)
    wire.run(3)
    agreed(a, b)


def test_an_address_that_was_nominated_before_the_request_is_used(wire: Wire, sides: tuple[Stage, Stage]) -> None:
    a, b = sides
    a.chosen = B
    b.ask("passive", a, None)
    a.ask("active", b, None)
    wire.run(1)
    agreed(a, b)


def test_lost_flights_are_repeated(wire: Wire, sides: tuple[Stage, Stage]) -> None:
    a, b = sides
    wire.lost = 3
    b.ask("passive", a, A)
    a.ask("active", b, B)
    wire.run(10)
    agreed(a, b)


def test_a_stranger_with_another_certificate_does_not_end_the_call(wire: Wire, sides: tuple[Stage, Stage]) -> None:
    a, b = sides
    b.ask("passive", a, A)
    stranger = DtlsSession("active", DtlsCertificate(), b.handshakes.certificate.digest)
    for _ in range(10):
        for datagram in stranger.output():
            b.dtls(16, datagram, STRANGER)
        for source, to, data in wire.queue:
            if (source, to) == (B, STRANGER):
                stranger.receive(data)
        wire.queue.clear()
    assert stranger.keys() is None
    assert (b.installed, b.news) == ([], [])
    b.dtls(16, bytes([22, 254, 253]) + bytes(50), STRANGER)
    a.ask("active", b, B)
    wire.run(5)
    agreed(a, b)
    assert wire.sent[-1][1] in (A, B)


def test_a_far_end_that_never_has_the_certificate_fails_and_core_hears_why(wire: Wire, sides: tuple[Stage, Stage]) -> None:
    a, b = sides
    c = Stage(wire, ("192.0.2.3", 9))
    b.ask("passive", c, A)                             # c's certificate is awaited, a speaks
    a.ask("active", b, B)
    wire.run(LIMIT_S + 1)
    assert (a.installed, b.installed) == ([], [])
    for side in (a, b):
        (news,) = side.news
        assert news["state"] == "failed"
        assert news["why"]
    assert b.handshakes._ports[16].failures <= AGAIN


def test_silence_ends_in_time_and_a_call_that_is_over_leaves_nothing(wire: Wire, sides: tuple[Stage, Stage]) -> None:
    a, b = sides
    a.ask("passive", b, B)
    wire.run(LIMIT_S + 1)
    assert a.news == [{"state": "failed", "why": "no handshake in time"}]
    b.ask("active", a, None)
    b.end(16)
    b.dtls(16, bytes(100), A)
    b.nominate(16, A)
    wire.run(LIMIT_S + 1)
    assert (b.news, b.handshakes._ports) == ([], {})
    assert not any(timer.live for _, _, timer in wire.timers)


@pytest.mark.parametrize(
    "args",
    [
        {"role": "actpass", "fingerprint": "00" * 32, "remote": None}, {"role": "active", "fingerprint": "00" * 31, "remote": None},
        {"role": "active", "fingerprint": "xy", "remote": None},
    ],
)  # fmt: skip
def test_nonsense_is_refused(sides: tuple[Stage, Stage], args: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        sides[0].requests["dtls"](16, args)
    assert sides[0].handshakes._ports == {}


def test_an_empty_fingerprint_ends_dtls_on_the_port(wire: Wire, sides: tuple[Stage, Stage]) -> None:
    a, b = sides
    a.ask("active", b, B)
    assert a.requests["dtls"](16, {"role": "active", "fingerprint": "", "remote": None}) == "closed"
    wire.run(LIMIT_S + 1)
    assert (a.news, a.handshakes._ports) == ([], {})
