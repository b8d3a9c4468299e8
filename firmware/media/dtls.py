"""DTLS handshakes of RTP ports: which port has one, over which address, and what becomes of it (L3).

Theory of operation
-------------------
`Handshakes` takes part in the side of the media process (`side.py`). Core's request "dtls" (role, fingerprint of the far certificate,
remote address) begins the handshake of a port (`dsp/dtls.pyx`); the same request again changes nothing but where we send, another
fingerprint or role begins anew (RFC 8842 section 5.1). With ICE, who is active waits until an address is nominated. When the handshake is
complete the port gets its SRTP keys, and core hears of it in a `SideNews`; so it does of one that failed for good.
"fingerprint" gives the digest of our certificate, which is made at the first question, lives in this process alone and ends with it.
Whoever can reach the port can disturb a handshake, as a stranger whose certificate is not the one: the port then waits for a proper one
with a fresh session, at most AGAIN times and until LIMIT_S. Answers go to the source of what caused them.
Invariants: a port has at most one session and one timer; keys reach a port only from a proven far end, once for each session.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from firmware.dsp.dtls import DtlsCertificate, DtlsSession
from firmware.media.ice import Address
from firmware.media.side import Later

AGAIN = 5                       # sessions that may fail before the port gives up
LIMIT_S = 20.0                  # from the request to the keys
DIGEST = 32                     # bytes of SHA-256

log = logging.getLogger("branchpbx.media")


class SidePorts(Protocol):
    """What is used of `Side`."""

    def on_dtls(self, fn: Callable[[int, bytes, Address], None]) -> None: ...
    def on_request(self, what: str, fn: Callable[[int, Mapping[str, Any]], Any]) -> None: ...
    def on_nominated(self, fn: Callable[[int, Address], None]) -> None: ...
    def on_end(self, fn: Callable[[int], None]) -> None: ...
    def nominated(self, port: int) -> Address | None: ...
    def send(self, port: int, data: bytes, remote: Address) -> bool: ...
    def keys(self, port: int, suite: str, send: bytes, receive: bytes) -> None: ...
    def later(self, seconds: float, fn: Callable[[], object]) -> Later: ...
    def tell(self, port: int, what: str, **facts: Any) -> None: ...


class _Port:
    """The handshake of one port."""

    def __init__(self, role: str, fingerprint: bytes, session: DtlsSession) -> None:
        self.role = role
        self.fingerprint = fingerprint
        self.session = session
        self.remote: Address | None = None
        self.told = False               # core knows what became of it
        self.failures = 0
        self.timer: Later | None = None
        self.limit: Later | None = None


class Handshakes:
    """See the theory of operation above."""

    def __init__(self, side: SidePorts) -> None:
        self._side = side
        self._ports: dict[int, _Port] = {}
        self._certificate: DtlsCertificate | None = None
        side.on_request("fingerprint", lambda port, args: self.certificate.digest.hex(":").upper())
        side.on_request("dtls", self._asked)
        side.on_dtls(self._arrived)
        side.on_nominated(self._nominated)
        side.on_end(self._forget)

    @property
    def certificate(self) -> DtlsCertificate:
        """Ours, of this start."""
        if self._certificate is None:
            self._certificate = DtlsCertificate()
        return self._certificate

    # --- core ---------------------------------------------------------------------------------------------------------

    def _asked(self, port: int, args: Mapping[str, Any]) -> str:
        """`role`, `fingerprint` (64 hexadecimal digits, "" ends DTLS on the port), `remote` ([address, port] or None); gives the state."""
        role, digest = args["role"], bytes.fromhex(args["fingerprint"])
        remote = (str(args["remote"][0]), int(args["remote"][1])) if args.get("remote") else self._side.nominated(port)
        if not digest:
            self._forget(port)
            return "closed"
        if role not in ("active", "passive") or len(digest) != DIGEST:
            raise ValueError("a handshake needs a role, active or passive, and a SHA-256 fingerprint")
        known = self._ports.get(port)
        if known is not None and (known.role, known.fingerprint) == (role, digest):
            known.remote = remote or known.remote
            self._flush(port, known)
            return known.session.state
        self._forget(port)
        state = self._ports[port] = _Port(role, digest, DtlsSession(role, self.certificate, digest))
        state.remote = remote
        state.limit = self._side.later(LIMIT_S, lambda: self._late(port, state))
        self._flush(port, state)
        return state.session.state

    # --- the media path -----------------------------------------------------------------------------------------------

    def _arrived(self, port: int, data: bytes, source: Address) -> None:
        state = self._ports.get(port)
        if state is None:
            return
        state.session.receive(data)
        out = state.session.output()
        if out and state.session.state != "failed":
            state.remote = source
        for datagram in out:
            self._side.send(port, datagram, source)
        self._settle(port, state)

    def _nominated(self, port: int, remote: Address) -> None:
        state = self._ports.get(port)
        if state is not None:
            state.remote = remote
            self._flush(port, state)

    def _expired(self, port: int, state: _Port) -> None:
        state.timer = None
        state.session.expire()
        self._flush(port, state)
        self._settle(port, state)

    def _flush(self, port: int, state: _Port) -> None:
        """Send what waits, once it is known where to."""
        if state.remote is not None:
            for datagram in state.session.output():
                self._side.send(port, datagram, state.remote)
        self._rearm(port, state)

    def _rearm(self, port: int, state: _Port) -> None:
        if state.timer is not None:
            state.timer.cancel()
            state.timer = None
        wait = state.session.wait()
        if wait is not None:
            # without an address nothing can be repeated: it is only looked at now and then
            state.timer = self._side.later(wait if state.remote is not None else max(wait, 1.0), lambda: self._expired(port, state))

    def _settle(self, port: int, state: _Port) -> None:
        """What the session has come to."""
        session = state.session
        if session.state == "failed" and not state.told:
            state.failures += 1
            log.info("port %d: DTLS handshake failed: %s", port, session.reason)
            if state.failures < AGAIN and state.limit is not None:
                state.session = DtlsSession(state.role, self.certificate, state.fingerprint)
                self._flush(port, state)
                return
            self._over(port, state, session.reason)
        elif session.state == "connected" and not state.told:
            keys = session.keys()
            if keys is None:
                self._over(port, state, "no keys")
            else:
                self._side.keys(port, *keys)
                self._done(state)
                log.info("port %d: DTLS handshake complete, %s", port, keys[0])
                self._side.tell(port, "dtls", state="connected", suite=keys[0])
        self._rearm(port, state)

    def _late(self, port: int, state: _Port) -> None:
        state.limit = None
        if not state.told:
            self._over(port, state, state.session.reason or "no handshake in time")

    def _over(self, port: int, state: _Port, why: str) -> None:
        self._done(state)
        state.session.close()
        self._side.tell(port, "dtls", state="failed", why=why)

    def _done(self, state: _Port) -> None:
        state.told = True
        if state.limit is not None:
            state.limit.cancel()
            state.limit = None

    def _forget(self, port: int) -> None:
        state = self._ports.pop(port, None)
        if state is not None:
            for timer in (state.timer, state.limit):
                if timer is not None:
                    timer.cancel()
