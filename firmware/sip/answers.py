"""Answers that need no state: where they go, refusals and challenges (L1).

Theory of operation
-------------------
RFC 3261 sections 18.2.2 and 22, RFC 3581. Everything up to and including the challenge is answered without keeping state,
so hostile traffic costs no memory; the To-tag of such answers is a keyed hash, equal for repeats.
Invariant: unknown users get what a wrong password gets.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable

from firmware.sip import events as ev
from firmware.sip.auth import DigestServer, Outcome, hashed
from firmware.sip.envelope import stamp
from firmware.sip.errors import SyntaxProblem
from firmware.sip.flow import WEB, Flow, Outgoing
from firmware.sip.message import Request, respond
from firmware.sip.validate import Refusal


class Answers:
    """`key` makes To-tags; `write(outgoing)` and `emit(event)` take what comes out; `counters` are the endpoint's."""

    def __init__(
        self,
        digest: DigestServer,
        key: bytes,
        write: Callable[[Outgoing], None],
        emit: Callable[[ev.Event], None],
        counters: Counter[str],
    ) -> None:
        self._digest = digest
        self._tag_of = hashed(hashlib.blake2s(digest_size=8, key=key))
        self._write = write
        self._emit = emit
        self._counters = counters

    @staticmethod
    def reply_flow(request: Request, flow: Flow) -> Flow:
        """Where answers go (section 18.2.2, RFC 3581); `received` and `rport` are written into the top Via."""
        host, port = flow.remote
        try:
            if stamp(request, host, port):
                return flow
            via = request.via
        except SyntaxProblem:
            return flow
        if via.host != host:
            request.set_top_via(via.with_params(received=host))
        if flow.reliable:
            return flow
        told = via.port or 5060
        return flow if told == port else Flow(flow.transport, (host, told), flow.local)

    def refuse(self, request: Request, refusal: Refusal, flow: Flow) -> None:
        """Answer without keeping state."""
        seed = "|".join((request.headers.get("via"), request.call_id, request.headers.get("cseq"), request.headers.get("from")))
        tag = self._tag_of(seed.encode("utf-8", "surrogateescape"))
        response = respond(request, refusal.status, to_tag=tag, reason=refusal.reason, headers=refusal.headers)
        self._write(Outgoing(flow.transport, flow.remote, response.render(), flow.local))

    def authenticate(self, request: Request, reply: Flow, source: str, now: int) -> str | None:
        """The account that sent a request, or None after it was challenged."""
        outcome, user = self._digest.check(request, source, now)
        if outcome is Outcome.RIGHT:
            return user
        if outcome is Outcome.WRONG:
            self._counters["authentication-failures"] += 1
            self._emit(ev.AuthenticationFailed(now, request.method, source))
        status, name = (401, "WWW-Authenticate") if request.method == "REGISTER" else (407, "Proxy-Authenticate")
        agent = request.headers.get("user-agent")
        browser = reply.transport in WEB
        challenges = self._digest.challenges(source, now, stale=outcome is Outcome.STALE, agent=agent, single=browser)
        self.refuse(request, Refusal(status, headers=tuple([(name, value) for value in challenges])), reply)
        return None
