"""DNS for the locator: its questions out, their answers in (L3).

Theory of operation
-------------------
The library (dnspython) speaks the protocol, with TCP where an answer is truncated; what it says becomes `sip.locate` records, and the
locator keeps them, so the library caches nothing. It is loaded with the first question: a site without names never pays for it.
Name servers are those of the system, read again when its file changes, or those that the configuration names. `LIFETIME_S` is the most
that a question may cost, all servers and repetitions together. Bounds: `MAX_UNDER_WAY` questions at once, further ones wait their turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from firmware.sip.locate import FAILED_S, MAX_NEGATIVE_S, Answer, Locator, Naptr, Question, Srv

LIFETIME_S = 4.0
TRY_S = 1.5
MAX_UNDER_WAY = 16
SYSTEM_FILE = Path("/etc/resolv.conf")

log = logging.getLogger("branchpbx.dns")


class Dns:
    """Shell of one locator; call `ask` after each use of it. `servers`: "address" or "address:port" ("[v6]:port"), none: the system's."""

    def __init__(
        self, locator: Locator, now: Callable[[], int], loop: asyncio.AbstractEventLoop, servers: Sequence[str] = ()
    ) -> None:
        self._locator = locator
        self._now = now
        self._loop = loop
        self._servers = tuple(servers)
        self._resolver: Any = None
        self._stamp: tuple[int, int] = (0, 0)
        self._queue: deque[Question] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.asked = 0
        self.failed = 0

    def ask(self) -> None:
        """Send what the locator wants to know."""
        self._queue.extend(self._locator.questions())
        while self._queue and len(self._tasks) < MAX_UNDER_WAY:
            task = self._loop.create_task(self._one(self._queue.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def close(self) -> None:
        """Give up what is under way."""
        self._queue.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def statistics(self) -> dict[str, int]:
        """Questions asked, failed, under way."""
        return {"asked": self.asked, "failed": self.failed, "under_way": len(self._tasks)}

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self.ask()

    async def _one(self, question: Question) -> None:
        self.asked += 1
        try:
            answer = await self._resolve(question)
        except Exception as problem:             # whatever the library makes of what a server sent: the question has no answer
            self.failed += 1
            log.warning("DNS: %s %s has no answer: %s", question.name, question.kind, problem or type(problem).__name__)
            answer = Answer((), FAILED_S, failed=True)
        try:
            self._locator.answered(question, answer, self._now())
        except Exception:
            log.exception("what %s %s leads to failed", question.name, question.kind)

    async def _resolve(self, question: Question) -> Answer:
        import dns.asyncresolver
        import dns.resolver

        try:
            found = await self._library().resolve(question.name + ".", question.kind, lifetime=LIFETIME_S, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN as nothing:
            return Answer((), _negative_ttl(nothing))
        records = tuple(made for one in found.rrset or () if (made := _record(question.kind, one)) is not None)
        return Answer(records, int(found.chaining_result.minimum_ttl))

    def _library(self) -> Any:
        """The library's resolver, made anew when the system's name servers have changed."""
        import dns.asyncresolver
        import dns.nameserver

        stamp = (0, 0)
        if not self._servers:
            try:
                status = SYSTEM_FILE.stat()
                stamp = (status.st_mtime_ns, status.st_ino)
            except OSError:
                stamp = (-1, -1)
        if self._resolver is None or stamp != self._stamp:
            if self._resolver is not None:
                self._locator.forget()
            made = dns.asyncresolver.Resolver(configure=not self._servers)
            if self._servers:
                made.nameservers = [dns.nameserver.Do53Nameserver(*_server(one)) for one in self._servers]
            made.timeout = TRY_S
            made.cache = None
            self._resolver, self._stamp = made, stamp
        return self._resolver


def _server(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port.lstrip(":") or 53)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, int(port)
    return text, 53


def _record(kind: str, data: Any) -> Naptr | Srv | str | None:
    """A record of the library as one of ours."""
    if kind == "NAPTR":
        if data.regexp:
            return None
        return Naptr(data.order, data.preference, _text(data.flags), _text(data.service), data.replacement.to_text(omit_final_dot=True))
    if kind == "SRV":
        return Srv(data.priority, data.weight, data.port, data.target.to_text(omit_final_dot=True))
    return str(data.address)


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")


def _negative_ttl(nothing: Any) -> int:
    """How long a name may be believed not to exist (RFC 2308 section 5)."""
    for response in nothing.responses().values():
        for rrset in response.authority:
            for one in rrset:
                minimum = getattr(one, "minimum", None)
                if minimum is not None:
                    return int(min(rrset.ttl, minimum))
    return MAX_NEGATIVE_S
