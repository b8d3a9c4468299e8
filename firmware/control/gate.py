"""The one place every command passes: role check, idempotency, dispatch, audit, typed replies.

Theory of operation
-------------------
`perform` never raises: what goes wrong becomes `{"ok": false, "error": {"kind", "message"}}`. Kinds: "unknown_command",
"bad_arguments", "not_allowed", "unavailable" (no part answers it now), "refused" (the part says why), "internal" (a bug,
logged). A request with a `key` that was seen from the same peer is answered from the kept reply, also while the first one
still runs: a command repeated after a broken connection is executed once.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from firmware.control.audit import CommandGiven, redacted
from firmware.control.commands import BadArgumentsError, Command, accept, lookup, registered
from firmware.control.roles import Role, allows
from firmware.errors import NotAllowed, PbxError
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock

C = TypeVar("C", bound=Command)
Reply = dict[str, Any]
KEPT_REPLIES = 256

log = logging.getLogger("branchpbx.gate")


class Peer(Struct, frozen=True):
    """Who asks, as the transport has established it."""

    name: str
    role: Role


NOBODY = Peer("", "viewer")
_ASKING: ContextVar[Peer] = ContextVar("asking")


def asking() -> str:
    """Name of the peer whose command is being answered; for handlers that keep who saw what."""
    return asker().name


def asker() -> Peer:
    """The peer whose command is being answered; for handlers whose rules know roles beyond that of the command."""
    return _ASKING.get(NOBODY)


class Gate:
    """See the theory of operation above. One per core process."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._handlers: dict[type[Command], Callable[[Any], Any]] = {}
        self._kept: OrderedDict[tuple[str, str], asyncio.Future[Reply]] = OrderedDict()

    def handle(self, command: type[C], fn: Callable[[C], object | Awaitable[object]]) -> None:
        """Attach the part that answers `command`: `fn(command)` returns the result or an awaitable of it."""
        if command in self._handlers:
            raise ValueError(f"{command.path!r} has a handler already")
        self._handlers[command] = fn

    def answers(self, path: str) -> bool:
        """True when a part answers this command now."""
        command = lookup(path)
        return command is not None and command in self._handlers

    async def perform(self, peer: Peer, path: str, args: Any, key: str = "") -> Reply:
        """Run one command for `peer`; the reply without its id."""
        if not key:
            return await self._perform(peer, path, args)
        slot = (peer.name, key)
        kept = self._kept.get(slot)
        if kept is not None:
            self._kept.move_to_end(slot)
            return await asyncio.shield(kept)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._kept[slot] = future
        while len(self._kept) > KEPT_REPLIES:
            self._kept.popitem(last=False)
        try:
            reply = await self._perform(peer, path, args)
        except BaseException:
            self._kept.pop(slot, None)
            if not future.done():
                future.set_result(failure("internal", "the command was interrupted"))
            raise
        future.set_result(reply)
        return reply

    async def _perform(self, peer: Peer, path: str, args: Any) -> Reply:
        kind = lookup(path)
        if kind is None:
            near = get_close_matches(path, registered(), n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "`show commands` lists them all"
            return failure("unknown_command", f"there is no command {path!r}; {hint}")
        try:
            command = accept(kind, args)
        except BadArgumentsError as error:
            return failure("bad_arguments", str(error))
        reply = await self._dispatch(peer, kind, command)
        if kind.mutates:
            outcome = "ok" if reply["ok"] else str(reply["error"]["kind"])
            self._bus.publish(
                CommandGiven(
                    at=self._clock.now(),
                    wall_ms=self._clock.wall_ms(),
                    peer=peer.name,
                    role=peer.role,
                    command=path,
                    args=redacted(command),
                    outcome=outcome,
                )
            )
        return reply

    async def _dispatch(self, peer: Peer, kind: type[Command], command: Command) -> Reply:
        if not allows(peer.role, kind.role):
            return failure("not_allowed", f"{kind.path} needs the role {kind.role}; {peer.name} has {peer.role}")
        handler = self._handlers.get(kind)
        if handler is None:
            return failure("unavailable", f"nothing answers {kind.path} now; try again after the appliance has started")
        _ASKING.set(peer)
        try:
            result = handler(command)
            if inspect.isawaitable(result):
                result = await result
            return {"ok": True, "result": msgspec.to_builtins(result)}
        except NotAllowed as error:
            return failure("not_allowed", str(error))
        except PbxError as error:
            return failure("refused", str(error), getattr(error, "facts", None))
        except Exception as error:
            log.exception("%s failed", kind.path)
            return failure("internal", f"{kind.path} failed ({type(error).__name__}); the log has the details")


def failure(kind: str, message: str, facts: dict[str, Any] | None = None) -> Reply:
    """An error reply; `facts` are further members of the error (an exception's `facts`), for surfaces that lay them out."""
    return {"ok": False, "error": {"kind": kind, "message": message, **(facts or {})}}
