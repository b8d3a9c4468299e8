"""`python -m tools.bench_sip.inside`: what a registration and a call cost in call control alone, one thread, no sockets, no neighbours.

Theory of operation
-------------------
The composition of core is built as `app/core.py` builds it, around an engine that only says yes, and is given the datagrams of the
scenarios of `make bench-sip` by hand; what it sends goes back into a list. Only the time of this thread inside core counts (the
telephones' share and the store's writer do not), so that a change shows on a machine that is busy with other things. Clock: a tick for
each three calls, as at 300 calls a second, and `in_flight` calls at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import hashlib
import os
import pstats
import socket
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from firmware.app.core import COLLECT, Core
from firmware.app.handover import Handover
from firmware.app.site import read_site
from firmware.core.phones_vault import make_ledger, make_vault
from firmware.runtime.alarms import Alarms
from firmware.runtime.clock import EngineClock
from firmware.sip.flow import Outgoing

from .scenarios import CALLED, CALLERS, USERS

PROFILE = Path(__file__).resolve().parents[2] / "tests" / "load" / "office-200.toml"
PBX = ("127.0.0.1", 5060)
PHONES = ("127.0.0.1", 7000)
SDP = (
    "v=0\r\no=sipp 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 101\r\n"
    "a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
)


class Ring:
    """The clock words of an engine that is never late."""

    def __init__(self) -> None:
        self.tick = 1000
        self.wall_base_ms = 1_767_225_600_000
        self.epoch = 1

    def set_horizon(self, tick: int) -> None:
        """Nobody has to be woken."""

    def beat(self, name: str) -> None:
        """Nobody watches."""


class Answer:
    """An engine's yes."""

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        fn(self)

    def cancelled(self) -> bool:
        return False

    def exception(self) -> None:
        return None

    def result(self) -> str:
        return ":".join(["5A"] * 32)


class Port(NamedTuple):
    """What `allocate_rtp` gives."""

    port: int
    local_port: int


class Engine:
    """Hands out ports; every other command is done."""

    adopted = False

    def __init__(self) -> None:
        self.free = deque(range(16, 240))
        self.open: set[int] = set()
        self.hear: list[Callable[[Any], None]] = []

    def subscribe(self, fn: Callable[[Any], None]) -> None:
        """The engine has no news."""
        self.hear.append(fn)

    def allocate_rtp(self, tag: str) -> Port:
        """The port that rested longest."""
        port = self.free.popleft()
        self.open.add(port)
        return Port(port, 20_000 + 2 * port)

    def close_rtp(self, port: int) -> None:
        """Give one back."""
        self.open.remove(port)
        self.free.append(port)

    def quality(self, port: int) -> None:
        """Nothing was counted."""

    def waiting(self, port: int) -> frozenset[str]:
        """No event waits."""
        return frozenset()

    def __getattr__(self, name: str) -> Callable[..., Answer]:
        return lambda *args, **kwargs: Answer()


class Inside(Core):
    """Core without its shell."""

    def __init__(self, handover: Handover, ring: Ring, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(handover)
        self._loop = loop
        self.ring = ring
        self.clock = EngineClock(ring, real=True)
        self.media = Engine()  # type: ignore[assignment]
        self.alarms = Alarms(self.bus, self.clock)
        self.wire: list[Outgoing] = []
        self._build_phones()
        self._open_stores()
        self._build_parts()
        self._begin([])
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)

    def _transmit(self, outgoing: Outgoing) -> None:
        self.wire.append(outgoing)


def header(message: bytes, name: bytes) -> bytes:
    """Value of a header, as the telephones read it."""
    at = message.index(b"\r\n" + name + b": ") + len(name) + 4
    return message[at : message.index(b"\r\n", at)]


class Stage:
    """Telephones around core; `spent` is the time of this thread in core, ns."""

    def __init__(self, core: Inside) -> None:
        self.core = core
        self.spent = 0
        self.count = 0

    def give(self, message: str) -> list[bytes]:
        """A datagram of a telephone; what core sends for it."""
        data, core = message.encode(), self.core
        began = time.thread_time_ns()
        core._received(data, PHONES, "udp", PBX, 0)
        self.spent += time.thread_time_ns() - began
        sent = [one.data for one in core.wire]
        core.wire.clear()
        return sent

    def tick(self) -> None:
        """10 ms pass."""
        self.core.ring.tick += 1
        began = time.thread_time_ns()
        self.core.clock.run_due()
        self.core.calls.records.flush()
        self.spent += time.thread_time_ns() - began
        self.core.wire.clear()

    def message(self, start: str, call: str, cseq: str, user: str, to: str, *, branch: str, extra: str = "", body: str = "") -> str:
        """As SIPp writes it."""
        content = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}" if body else "Content-Length: 0\r\n\r\n"
        return (
            f"{start} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:7000;branch=z9hG4bK-{branch};rport\r\n"
            f"From: <sip:{user}@127.0.0.1>;tag=5x{call}\r\n{to}\r\nCall-ID: {call}@127.0.0.1\r\nCSeq: {cseq}\r\n"
            f"{extra}Max-Forwards: 70\r\n{content}"
        )

    def digest(self, challenge: bytes, method: str, uri: str, user: str) -> str:
        """SIPp's answer to a challenge (MD5, qop=auth)."""
        text = challenge.decode()
        realm, nonce = text.split('realm="')[1].split('"')[0], text.split('nonce="')[1].split('"')[0]
        ha1 = hashlib.md5(f"{user}:{realm}:pw{user}".encode()).hexdigest()
        ha2 = hashlib.md5(f"{method}:{uri}".encode()).hexdigest()
        proof = hashlib.md5(f"{ha1}:{nonce}:00000001:c0ffee:auth:{ha2}".encode()).hexdigest()
        return (
            f'Digest username="{user}",realm="{realm}",cnonce="c0ffee",nc=00000001,qop=auth,uri="{uri}",nonce="{nonce}",'
            f'response="{proof}",algorithm=MD5\r\n'
        )

    def register(self, user: str) -> None:
        """Two requests, both answered."""
        self.count += 1
        call, uri = f"r{self.count}", "sip:127.0.0.1"
        contact = f"Contact: <sip:{user}@127.0.0.1:7000>\r\n"
        to = f"To: <sip:{user}@127.0.0.1>"
        lasting = contact + "Expires: 3600\r\n"
        (challenge,) = self.give(self.message(f"REGISTER {uri}", call, "1 REGISTER", user, to, branch=call + "a", extra=lasting))
        proof = "Authorization: " + self.digest(header(challenge, b"WWW-Authenticate"), "REGISTER", uri, user)
        (answer,) = self.give(self.message(f"REGISTER {uri}", call, "2 REGISTER", user, to, branch=call + "b", extra=proof + lasting))
        assert answer.startswith(b"SIP/2.0 200"), answer

    def call(self, user: str, called: str) -> Callable[[], None]:
        """Set up; gives what hangs up."""
        self.count += 1
        call, uri = f"c{self.count}", f"sip:{called}@127.0.0.1:5060"
        contact = f"Contact: <sip:{user}@127.0.0.1:7000>\r\n"
        to = f"To: <sip:{called}@127.0.0.1>"
        sent = self.give(self.message(f"INVITE {uri}", call, "1 INVITE", user, to, branch=call + "a", extra=contact, body=SDP))
        refusal = sent[-1]
        self.give(self.message(f"ACK {uri}", call, "1 ACK", user, "To: " + header(refusal, b"To").decode(), branch=call + "a"))
        name = b"WWW-Authenticate" if b" 401 " in refusal[:16] else b"Proxy-Authenticate"
        proof = ("Authorization: " if name[0] == 87 else "Proxy-Authorization: ") + self.digest(header(refusal, name), "INVITE", uri, user)
        sent = self.give(self.message(f"INVITE {uri}", call, "2 INVITE", user, to, branch=call + "b", extra=contact + proof, body=SDP))
        invite = next(one for one in sent if one.startswith(b"INVITE"))
        sent = self.give(self.answer(invite, "180 Ringing", f"5a{call}", ""))
        assert any(one.startswith(b"SIP/2.0 180") for one in sent), sent
        sent = self.give(self.answer(invite, "200 OK", f"5a{call}", SDP))
        answer = next(one for one in sent if one.startswith(b"SIP/2.0 200"))
        assert any(one.startswith(b"ACK") for one in sent), sent
        target = header(answer, b"Contact").decode().strip("<>").split(">")[0]
        tagged = "To: " + header(answer, b"To").decode()
        self.give(self.message(f"ACK {target}", call, "2 ACK", user, tagged, branch=call + "c"))

        def end() -> None:
            sent = self.give(self.message(f"BYE {target}", call, "3 BYE", user, tagged, branch=call + "d"))
            bye = next(one for one in sent if one.startswith(b"BYE"))
            assert any(one.startswith(b"SIP/2.0 200") for one in sent), sent
            self.give(self.answer(bye, "200 OK", "", ""))

        return end

    def answer(self, request: bytes, status: str, tag: str, body: str) -> str:
        """A called telephone's answer."""
        lines = [f"{name.decode()}: {header(request, name).decode()}" for name in (b"Via", b"From", b"To", b"Call-ID", b"CSeq")]
        if tag:
            lines[2] += f";tag={tag}"
        content = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}" if body else "Content-Length: 0\r\n\r\n"
        return f"SIP/2.0 {status}\r\n" + "\r\n".join(lines) + f"\r\nContact: <sip:phone@127.0.0.1:7000>\r\n{content}"

    def batch(self, calls: int, in_flight: int) -> float:
        """Microseconds of a call."""
        began, live = self.spent, deque[Callable[[], None]]()
        for index in range(calls + in_flight):
            if index == in_flight:
                began = self.spent
            live.append(self.call(CALLERS[index % 100], CALLED[index % 100]))
            if len(live) > in_flight:
                live.popleft()()
            if index % 3 == 0:
                self.tick()
        spent = self.spent - began
        for end in live:
            end()
        self.tick()
        return spent / calls / 1000

    def registrations(self, count: int) -> float:
        """Microseconds of a registration."""
        began = self.spent
        for index in range(count):
            self.register(USERS[index % 200])
            if index % 15 == 0:
                self.tick()
        return (self.spent - began) / count / 1000

    def close(self) -> None:
        """Write what waits, and let go of the loop."""
        for database in self.core._databases:
            database.close(5.0)
        self.core._loop.close()
        self.core._handover.sip_udp.close()
        self.core._handover.sip_tcp.close()
        self.core._handover.leave_keys()


def build(folder: Path) -> Stage:
    """Core in a folder."""
    state = folder / "state"
    for name in ("run", "log", "recordings", "keys"):
        (state / name).mkdir(parents=True)
    udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
    for one in (udp, tcp):
        one.bind(("127.0.0.1", 0))
    site, ring = read_site(PROFILE), Ring()
    assert site.config is not None and site.board is not None, site.problems
    handover = Handover(
        state=state, config=site.config, board=site.board, bind="127.0.0.1", speed=100, ring=ring, event_fd=-1,  # type: ignore[arg-type]
        channel_media=udp, channel_core=udp, world_fd=-1, sip_udp=udp, sip_tcp=tcp, rtp=[], rtcp=[], control=tcp, manage=tcp,
        keys_fd=make_vault(), registrations_fd=make_ledger(),
    )  # fmt: skip
    return Stage(Inside(handover, ring, asyncio.new_event_loop()))


def main() -> int:
    """Measure and say."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench_sip.inside")
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--calls", type=int, default=150)
    parser.add_argument("--in-flight", type=int, default=30)
    parser.add_argument("--profile", choices=("", "call", "registration"), default="", help="functions by their own time (cProfile)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-inside-") as folder:
        stage = build(Path(folder))
        stage.registrations(200)
        stage.batch(60, options.in_flight)
        if options.profile:
            profile = cProfile.Profile(time.thread_time)
            profile.enable()
            if options.profile == "call":
                stage.batch(300, options.in_flight)
            else:
                stage.registrations(1500)
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(70)
        else:
            registrations = [stage.registrations(600) for _ in range(options.batches)]
            calls = [stage.batch(options.calls, options.in_flight) for _ in range(options.batches)]
            for name, found in (("registration", registrations), ("call", calls)):
                told = f"best {min(found):.0f} us, median {statistics.median(found):.0f} us of {len(found)} batches"
                print(f"{name}: {told}; load {os.getloadavg()[0]:.1f}")
        stage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
