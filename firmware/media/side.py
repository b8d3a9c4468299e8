"""The side of the media process: what arrives at RTP sockets beside RTP, and what it leads to (L3).

Theory of operation
-------------------
The engine's RTP thread sorts STUN and DTLS out (RFC 7983) into a bounded queue; its eventfd wakes the event loop of the media process,
which runs this. STUN goes to the port's ICE-lite agent (`ice.py`), DTLS to whoever called `on_dtls`; answers leave by the same socket.
What is decided here reaches the port's configuration through the engine's tick: a nominated address, SRTP keys. Core asks through the
descriptor channel (`Media.side`): "ice" names a port's credentials, other requests belong to those who registered them; "end" forgets the
port. A datagram carries the number of its port's opening: what is asked for under an opening that is over changes nothing. On a port with
ICE only addresses that passed a check may speak DTLS. A port without ICE answers no STUN: we tell strangers nothing. Invariants: one
thread, no waiting; a batch is bounded, so the heart beats on; bounded state: one agent for each port.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from firmware.media.ice import Address, IceLite
from firmware.sip import stun

BATCH = 32                      # datagrams taken in one turn of the loop
UFRAG = range(4, 257)           # RFC 8839 section 5.4
PWD = range(22, 257)

log = logging.getLogger("branchpbx.media")


class SideEngine(Protocol):
    """What is used of `dsp.engine.Engine`."""

    @property
    def side_fd(self) -> int: ...
    def side_take(self, most: int = 32) -> list[tuple[int, int, bytes, Address]]: ...
    def side_send(self, port: int, data: bytes, remote: Address) -> bool: ...
    def side_nominate(self, port: int, opened: int, remote: Address | None) -> None: ...
    def side_keys(self, port: int, opened: int, suite: str, send: bytes, receive: bytes) -> None: ...
    def side_opening(self, port: int) -> int: ...


class Later(Protocol):
    """A timer of the event loop."""

    def cancel(self) -> None: ...


class SideLoop(Protocol):
    """What is used of the event loop."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Later: ...
    def call_soon(self, callback: Callable[[], object]) -> object: ...


class Side:
    """See the theory of operation above. `tell_core` sends a message to core: port, what, facts."""

    def __init__(self, engine: SideEngine, loop: SideLoop, tell_core: Callable[[int, str, Mapping[str, Any]], None]) -> None:
        self._engine, self._loop, self._tell = engine, loop, tell_core
        self._agents: dict[int, IceLite] = {}
        self._opened: dict[int, int] = {}       # of the datagram that came last
        self._dtls: Callable[[int, bytes, Address], None] | None = None
        self._nominated: list[Callable[[int, Address], None]] = []
        self._ended: list[Callable[[int], None]] = []
        self._requests: dict[str, Callable[[int, Mapping[str, Any]], Any]] = {"ice": self._ice, "end": self._end}

    # --- who takes part ----------------------------------------------------------------------------------------------------

    def on_dtls(self, fn: Callable[[int, bytes, Address], None]) -> None:
        """Give `fn` every DTLS datagram: port, bytes, source."""
        self._dtls = fn

    def on_request(self, what: str, fn: Callable[[int, Mapping[str, Any]], Any]) -> None:
        """`fn` answers `Media.side(port, what, ...)` of core with something JSON can hold; a ValueError is the refusal."""
        self._requests[what] = fn

    def on_nominated(self, fn: Callable[[int, Address], None]) -> None:
        """Tell `fn` when ICE has chosen a port's remote address, or another."""
        self._nominated.append(fn)

    def on_end(self, fn: Callable[[int], None]) -> None:
        """Tell `fn` when a port's call is over."""
        self._ended.append(fn)

    def nominated(self, port: int) -> Address | None:
        """The remote address ICE has chosen; None: none yet, or no ICE."""
        agent = self._agents.get(port)
        return None if agent is None else agent.nominated

    # --- what they may do --------------------------------------------------------------------------------------------------

    def send(self, port: int, data: bytes, remote: Address) -> bool:
        """A datagram from the port's socket; False when the system did not take it (it is repeated by its protocol)."""
        return self._engine.side_send(port, data, remote)

    def keys(self, port: int, suite: str, send: bytes, receive: bytes) -> None:
        """SRTP under these keys from the next tick on, on a port that was opened for keys of DTLS."""
        self._engine.side_keys(port, self._opening(port), suite, send, receive)

    def later(self, seconds: float, fn: Callable[[], object]) -> Later:
        """Call `fn` then."""
        return self._loop.call_later(seconds, fn)

    def tell(self, port: int, what: str, **facts: Any) -> None:
        """Tell core: a `SideNews` there."""
        self._tell(port, what, facts)

    # --- what arrives ------------------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """The engine's eventfd is readable."""
        try:
            os.eventfd_read(self._engine.side_fd)
        except BlockingIOError:
            pass
        self._turn()

    def _turn(self) -> None:
        batch = self._engine.side_take(BATCH)
        for port, opened, data, source in batch:
            if opened != self._engine.side_opening(port):
                continue        # of a call that is over
            self._opened[port] = opened
            try:
                self._datagram(port, data, source)
            except Exception:
                log.exception("port %d: a datagram of %d bytes from %s failed", port, len(data), source)
        if len(batch) == BATCH:
            self._loop.call_soon(self._turn)

    def _datagram(self, port: int, data: bytes, source: Address) -> None:
        agent = self._agents.get(port)
        if data[0] < 4:
            message = stun.parse(data)
            if agent is not None and message is not None:
                self._check(port, agent, message, source)
        elif self._dtls is not None and (agent is None or source in agent.valid):
            self._dtls(port, data, source)

    def _check(self, port: int, agent: IceLite, message: stun.Stun, source: Address) -> None:
        before = agent.nominated
        answer = agent.check(message, source)
        if answer is None:
            return
        if answer.nominated and agent.nominated != before:
            log.info("port %d: ICE nominates %s:%d", port, *source)
            self._engine.side_nominate(port, self._opening(port), source)
        self.send(port, answer.data, source)
        if answer.nominated and agent.nominated != before:
            for fn in self._nominated:
                fn(port, source)

    def _opening(self, port: int) -> int:
        opened = self._opened.get(port)
        return self._engine.side_opening(port) if opened is None else opened

    # --- what core asks ----------------------------------------------------------------------------------------------------

    def asked(self, port: int, what: str, args: Mapping[str, Any]) -> Any:
        """Carry out a request of core. Raises ValueError with what is wrong."""
        request = self._requests.get(what)
        if request is None:
            raise ValueError(f"media knows no request {what!r}")
        return request(port, args)

    def _ice(self, port: int, args: Mapping[str, Any]) -> None:
        """`ufrag`, `pwd`, `remote_ufrag` ("" where it is not known yet); an empty `ufrag` ends ICE on the port."""
        ufrag, pwd, remote = args["ufrag"], args["pwd"], args.get("remote_ufrag", "")
        if not ufrag:
            if self._agents.pop(port, None) is not None:
                self._engine.side_nominate(port, self._engine.side_opening(port), None)
            return
        if len(ufrag) not in UFRAG or len(pwd) not in PWD:
            raise ValueError("ICE credentials are 4 to 256 and 22 to 256 characters long (RFC 8839 section 5.4)")
        agent = self._agents.get(port)
        if agent is not None and (agent.ufrag, agent.pwd) == (ufrag, pwd):
            agent.remote_ufrag = remote
            return              # no restart: what was nominated holds
        self._agents[port] = IceLite(ufrag, pwd, remote)

    def _end(self, port: int, args: Mapping[str, Any]) -> None:
        self._agents.pop(port, None)
        self._opened.pop(port, None)
        for fn in self._ended:
            fn(port)
