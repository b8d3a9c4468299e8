"""Asks services for the call graph: the customer register, the centre (L6, in the management process; SYS-04).

Theory of operation
-------------------
Core says that questions wait (`LookupWaits`); each is posted as JSON `{"node": NAME, "site": ..., "ask": {...}}` over HTTPS with the bearer
token of the site, and must be answered with a JSON object of at most MOST_BYTES whose members are texts, numbers or truth values. What
is longer or deeper is dropped, redirections are not followed. At most AT_ONCE questions are on their way. A service that failed
FAILURES times in a row is left alone for PAUSE_S: its callers go `otherwise` at once instead of waiting for nothing, each of them.
Nothing here blocks a call: whoever waits has a time limit of his own in core. aiohttp is loaded before the first question, and only where
one is configured: that takes seconds on a small processor.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from firmware.call.lookup_actions import MOST_FIELDS, MOST_TEXT
from firmware.config.schema.tree import Config
from firmware.control.client import CommandFailed, NotRunning
from firmware.control.commands import ShowStatus
from firmware.control.lookup_commands import LookupAnswer, LookupQuestions, Question

log = logging.getLogger("branchpbx.lookup")
MOST_BYTES = 16_384
AT_ONCE = 16
FAILURES = 3
PAUSE_S = 30.0
RETRY_S = 0.5
IDLE_S = 5.0
Ask = Callable[..., Awaitable[Any]]
Follow = Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]


class UnusableAnswer(ValueError):
    """A service said something that is no answer."""


def members(data: bytes) -> dict[str, str]:
    """The members of an answer as texts. Raises UnusableAnswer."""
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise UnusableAnswer(f"the answer is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise UnusableAnswer("the answer is no JSON object")
    plain: dict[str, str] = {}
    for name, value in found.items():
        if isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, str | int | float) and len(plain) < MOST_FIELDS and name.isidentifier() and len(name) <= MOST_TEXT:
            plain[name] = "".join(one for one in str(value) if one.isprintable())[:MOST_TEXT]
    return plain


class LookupDesk:
    """See the theory of operation. `ask(path, **args)` is a command of core, `follow(args)` its events."""

    def __init__(self, config: Callable[[], Config], ask: Ask, follow: Follow, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._ask = ask
        self._follow = follow
        self._clock = clock
        self._failed: dict[str, tuple[int, float]] = {}          # url -> failures in a row, when it may be asked again
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled; only where a node asks anything."""
        try:
            while True:
                if not any(node.kind == "lookup" for node in self._config().ivr.values()):
                    await asyncio.sleep(IDLE_S)
                    continue
                with contextlib.suppress(NotRunning):
                    await self._serve()
                await asyncio.sleep(RETRY_S)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _serve(self) -> None:
        await asyncio.to_thread(importlib.import_module, "firmware.net.https")
        # From the next event on as it is now, so that none is missed between the look and the listening.
        status = await self._ask(ShowStatus.path)
        await self._take()
        async for _ in self._follow({"from": status["events"], "types": ["LookupWaits"]}):
            await self._take()

    async def _take(self) -> None:
        for question in msgspec.convert(await self._ask(LookupQuestions.path), list[Question]):
            task = asyncio.ensure_future(self._one(question))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, question: Question) -> None:
        try:
            if len(self._tasks) > AT_ONCE:
                reply: tuple[dict[str, str], str] = ({}, "too many questions at once")
            else:
                reply = await self.answer(question)
            await self._ask(LookupAnswer.path, number=question.number, why=reply[1][:200], values=reply[0])
        except (NotRunning, CommandFailed) as error:
            log.info("call control does not take an answer: %s", error)

    async def answer(self, question: Question) -> tuple[dict[str, str], str]:
        """Members of the service's answer, or why there is none."""
        config = self._config()
        node = config.ivr.get(question.node)
        if node is None or not node.url:
            return {}, "the node is gone"
        failures, again = self._failed.get(node.url, (0, 0.0))
        if failures >= FAILURES and self._clock() < again:
            return {}, f"left alone after {failures} failures"
        from firmware.net.https import HttpError, ask

        body = msgspec.json.encode({"node": question.node, "site": config.site.name, "ask": question.ask})
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if config.lookup.token:
            headers["Authorization"] = f"Bearer {config.lookup.token}"
        try:
            data = await ask(node.url, self._context(config), body, most=MOST_BYTES, timeout_s=node.wait_s, headers=headers)
            found = members(data)
        except (HttpError, UnusableAnswer, OSError) as error:
            self._failed[node.url] = (failures + 1, self._clock() + PAUSE_S)
            log.info("node %s: %s", question.node, error)
            return {}, str(error)
        self._failed.pop(node.url, None)
        return found, ""

    @staticmethod
    def _context(config: Config) -> ssl.SSLContext:
        from firmware.net import tls

        return tls.client_context(Path(config.lookup.ca) if config.lookup.ca else None)
