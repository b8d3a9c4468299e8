"""The console's part of manage: who may log in, what the box sees of its network, and the services that bring people to the console.

Theory of operation
-------------------
Handlers answer from the configuration that runs, which `configuration()` gives each time, so a new user can log in as soon as he is
committed. Checking a password takes its time on purpose and is done on a thread, one at a time; every log-in, right or wrong, is in the
audit trail by name. The first administrator of a box without users, and a person's own new password, go through the same commands as any
change (`set`, `commit`), asked in the person's name with the rights that this one change needs; they are refused while the candidate
holds other changes, so that nobody commits another's work by choosing a password.
`Services` keeps the console on the serial port and the SSH service running as processes of their own, as the configuration says.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

import firmware
from firmware.config.schema.tree import Config
from firmware.config.schema.users import User
from firmware.control import console_commands as c
from firmware.control import passwords
from firmware.control.gate import Gate, Peer, Reply, asking
from firmware.control.roles import Role
from firmware.errors import CommandError, NotAllowed
from firmware.net import host
from firmware.runtime.health import memory_kb
from firmware.store.files import write_atomic

LOOKUP_S = 8.0
PROCESSES = ("parent", "media", "core", "manage", "world")

log = logging.getLogger("branchpbx.console")
Perform = Callable[[Peer, str, Any], Awaitable[Reply]]


class ConsolePart:
    """See the theory of operation above. `perform` runs a command of any part; `audit` keeps who logged in (user, where, outcome)."""

    def __init__(
        self,
        state: Path,
        configuration: Callable[[], Config],
        perform: Perform,
        audit: Callable[[str, str, str, str], None],
        consoles: Callable[[], list[c.ConsoleRow]] = list,
    ) -> None:
        self._state = state
        self._config = configuration
        self._perform = perform
        self._audit = audit
        self._consoles = consoles
        self._one = asyncio.Lock()

    def attach(self, gate: Gate) -> None:
        """Register every handler of this module."""
        gate.handle(c.ShowConsoleState, lambda _: self._facts())
        gate.handle(c.ConsoleLogin, self._login)
        gate.handle(c.ConsoleKey, self._key)
        gate.handle(c.ConsoleWho, lambda _: self._who())
        gate.handle(c.ConsoleFirst, self._first)
        gate.handle(c.ConsolePassword, self._password)
        gate.handle(c.ConsoleProgress, lambda _: self._progress())
        gate.handle(c.ConsoleKeep, self._keep)
        gate.handle(c.ShowUsers, lambda _: self._users())
        gate.handle(c.ShowConsoles, lambda _: self._consoles())
        gate.handle(c.ShowInterfaces, lambda _: _interfaces())
        gate.handle(c.ShowNeighbours, lambda _: [c.NeighbourRow(*msgspec.structs.astuple(one)) for one in host.neighbours()])
        gate.handle(c.ShowRoutes, lambda _: [c.RouteRow(*msgspec.structs.astuple(one)) for one in host.routes()])
        gate.handle(c.ShowMemory, lambda _: self._memory())
        gate.handle(c.Ping, _ping)
        gate.handle(c.Lookup, _lookup)

    def _facts(self) -> c.ConsoleState:
        config = self._config()
        console = config.console
        return c.ConsoleState(
            site=config.site.name,
            version=firmware.__version__,
            fresh=not config.users,
            language=console.language,
            idle_s=console.idle_s,
            wrong_wait_s=console.wrong_wait_s,
            terminal=console.terminal,
            columns=console.columns,
            rows=console.rows,
        )

    # --- people -------------------------------------------------------------------------------------------------------

    async def _login(self, command: c.ConsoleLogin) -> c.LoginResult:
        user = self._config().users.get(command.user)
        async with self._one:
            stored = user.password if user is not None else ""
            right = await asyncio.to_thread(passwords.verify, command.password, stored)
        right = right and user is not None
        self._audit(command.user, user.role if user is not None else "viewer", command.where, "ok" if right else "wrong")
        if user is None or not right:
            raise NotAllowed(f"{command.user} or its password is wrong")
        return _known(command.user, user)

    def _key(self, command: c.ConsoleKey) -> c.LoginResult:
        user = self._config().users.get(command.user)
        self._audit(command.user, user.role if user is not None else "viewer", command.where, "ok" if user is not None else "wrong")
        if user is None:
            raise NotAllowed(f"{command.user} or its password is wrong")
        return _known(command.user, user)

    def _who(self) -> c.LoginResult:
        name = asking().partition("@")[0]
        user = self._config().users.get(name)
        if user is None:
            raise NotAllowed(f"{name} is no user of this console any more")
        return _known(name, user)

    async def _first(self, command: c.ConsoleFirst) -> c.LoginResult:
        if self._config().users:
            raise NotAllowed("the console has its users already; an administrator adds more with `set users.NAME.role`")
        peer = Peer(asking(), "admin")
        path = f"users.{command.user}"
        for setting, value in (("role", '"admin"'), ("password", f'"{command.stored}"'), ("language", f'"{command.language}"')):
            await self._ask(peer, "set", {"setting": f"{path}.{setting}", "value": value})
        await self._ask(peer, "commit", {"note": f"first administrator {command.user}"})
        return c.LoginResult(command.user, "", "admin", command.language)

    async def _password(self, command: c.ConsolePassword) -> None:
        who = asking()
        user = who.partition("@")[0]
        if user not in self._config().users:
            raise NotAllowed(f"{user} or its password is wrong")
        trial = await self._ask(Peer(who, "admin"), "show trial", {})
        if trial["candidate_changes"] or trial["state"] == "trial":
            raise CommandError("the candidate holds other changes, or a trial runs: `commit`, `confirm` or `discard` first")
        await self._ask(Peer(who, "admin"), "set", {"setting": f"users.{user}.password", "value": f'"{command.stored}"'})
        await self._ask(Peer(who, "admin"), "commit", {"note": f"new password of {user}"})

    async def _ask(self, peer: Peer, path: str, args: dict[str, Any]) -> Any:
        reply = await self._perform(peer, path, args)
        if not reply["ok"]:
            raise CommandError(str(reply["error"]["message"]))
        return reply["result"]

    def _users(self) -> list[c.UserRow]:
        return [
            c.UserRow(name, user.name, user.role, user.language, bool(user.password), len(user.ssh_keys))
            for name, user in self._config().users.items()
        ]

    def _progress(self) -> str:
        try:
            return (self._state / "setup.json").read_text("utf-8")
        except (OSError, ValueError):
            return ""

    def _keep(self, command: c.ConsoleKeep) -> None:
        path = self._state / "setup.json"
        try:
            write_atomic(path, command.text.encode(), mode=0o600)
        except OSError as error:
            raise CommandError(f"{path}: cannot be written ({error.strerror}); check disk and rights") from error

    # --- the box ------------------------------------------------------------------------------------------------------

    def _memory(self) -> list[c.MemoryRow]:
        rows = []
        try:
            lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        except OSError:
            lines = []
        facts = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
        for what, name in (("total", "MemTotal"), ("available", "MemAvailable")):
            if name in facts:
                rows.append(c.MemoryRow(what, int(facts[name])))
        for name in PROCESSES:
            try:
                pid = int((self._state / "run" / f"{name}.pid").read_text("ascii"))
            except (OSError, ValueError):
                continue
            rows.append(c.MemoryRow(name, memory_kb(pid)))
        return rows


def _known(name: str, user: User) -> c.LoginResult:
    role: Role = user.role
    return c.LoginResult(name, user.name, role, user.language)


def _interfaces() -> list[c.InterfaceRow]:
    return [
        c.InterfaceRow(one.name, one.state, " ".join(one.addresses), one.mac, one.mtu, one.received, one.sent, one.errors)
        for one in host.interfaces()
    ]


async def _resolve(name: str) -> list[tuple[str, str]]:
    """(address, "IPv4" or "IPv6") of a name. Raises CommandError."""
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM), LOOKUP_S)
    except (OSError, TimeoutError, UnicodeError) as error:
        why = getattr(error, "strerror", "") or "no answer in time"
        raise CommandError(f"{name} cannot be resolved ({why}); check the name, and `show interfaces`") from error
    return list(dict.fromkeys((str(address[0]), "IPv6" if family == socket.AF_INET6 else "IPv4") for family, _, _, _, address in found))


async def _lookup(command: c.Lookup) -> list[c.LookupRow]:
    return [c.LookupRow(command.name, address, kind) for address, kind in await _resolve(command.name)]


async def _ping(command: c.Ping) -> list[c.PingRow]:
    address = (await _resolve(command.host))[0][0]
    rows = []
    for seq in range(1, command.count + 1):
        answer = await asyncio.to_thread(host.ping, address, seq)
        rows.append(c.PingRow(seq, address, answer.said, None if answer.ms is None else round(answer.ms, 2), answer.how))
        if seq < command.count:
            await asyncio.sleep(max(0.0, 1.0 - (answer.ms or 1000.0) / 1000))
    return rows
