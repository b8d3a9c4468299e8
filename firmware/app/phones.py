"""Provisioning of desk telephones as manage runs it: HTTPS, plug and play, the book on disk, console commands.

Theory of operation
-------------------
`Desk` (surfaces/phones) decides who gets which file; this part gives it sockets, a clock, the certificates of the box and a place on
disk. The libraries for it (aiohttp, jinja2: some 15 MB) are loaded when the service is switched on and not before. `phones.json` is
written before a file with passwords goes out: a power cut can cost a telephone its second try, never hand passwords out twice. What
changes the configuration goes through the candidate like every other change, as the person who gave the command; where others have
changes pending there, the telephone's join them and wait for the next commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from firmware.app.certify import Ask, certify
from firmware.app.phone_commands import PhoneCommands
from firmware.app.phone_zones import told_of
from firmware.app.sip_tls import names_of
from firmware.app.sockets import reachable
from firmware.config.schema.tree import Config
from firmware.control.gate import Gate, Peer, Reply
from firmware.errors import StoreError
from firmware.net import tls
from firmware.net.source import SourceAddress
from firmware.store.certificates import Paths
from firmware.store.files import move_aside, write_atomic

if TYPE_CHECKING:
    from firmware.net.https import Answer, Get, HttpService
    from firmware.net.multicast import GroupSocket
    from firmware.sip.pnp import PlugAndPlay
    from firmware.surfaces.phones.desk import Desk
    from firmware.surfaces.phones.settings import Service
    from firmware.surfaces.phones.zones import Told

HOUR_S = 3600
LOOK_S = 5.0          # how often certificates and book are looked at
ASSIGNER = Peer("provisioning", "admin")

log = logging.getLogger("branchpbx.provisioning")

Perform = Callable[[Peer, str, Any], Awaitable[Reply]]
AskCore = Callable[..., Awaitable[Any]]


class PhonesPart:
    """See the theory of operation above. `perform` gives a command in somebody's name, `core` asks call control."""

    def __init__(
        self, *, config: Config, state: Path, bind: str, sip_port: int, sip_tls_port: int, perform: Perform, core: AskCore
    ) -> None:
        self.config = config
        self._state = state
        self._bind = bind
        self._ports = (sip_port, sip_tls_port)
        self._source = SourceAddress(bind)
        self.proposed: Callable[[], Config | None] = lambda: None
        """The configuration that a commit would put into effect; given by who knows it."""
        self._perform = perform
        self.core = core
        self._changed = asyncio.Event()
        self._service: HttpService | None = None
        self._group: GroupSocket | None = None
        self._pnp: PlugAndPlay | None = None
        self._pnp_timer: asyncio.TimerHandle | None = None
        self._shown: tuple[float, ...] = ()
        self.desk: Desk | None = None
        self.https_port = self.http_port = 0
        self.listening = asyncio.Event()

    def attach(self, gate: Gate) -> None:
        """Answer the commands about telephones."""
        PhoneCommands(self, self._perform).attach(gate)

    def configure(self, config: Config) -> None:
        """Another configuration took effect."""
        before, self.config = self.config.provisioning, config
        listening = [(one.enabled, one.port, one.bootstrap_port, one.pnp) for one in (before, config.provisioning)]
        if listening[0] != listening[1]:
            self._changed.set()
        elif self.desk is not None:
            self._tell_desk()

    async def run(self) -> None:
        """Serve while the configuration says so. A child of manage's supervisor."""
        try:
            while True:
                self._changed.clear()
                if self.config.provisioning.enabled:
                    await self._start()
                while not self._changed.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), LOOK_S)
                    if self.desk is not None:
                        await self._look()
                await self._end()
        finally:
            await self._end()

    # --- starting and ending ------------------------------------------------------------------------------------------

    def open_desk(self) -> Desk:
        """The desk with its book; also where the service is off, for the commands."""
        if self.desk is None:
            from firmware.surfaces.phones.desk import Desk

            self.desk = Desk(self._load(), lambda: secrets.token_urlsafe(16))
            self._tell_desk()
        return self.desk

    async def _start(self) -> None:
        from firmware.net.https import HttpService

        self.open_desk()
        settings = self.config.provisioning
        context = await self._certificates()
        self._service = HttpService(self._answer)
        try:
            self.https_port = await self._service.listen(self._bind, settings.port, context)
            if settings.bootstrap_port:
                self.http_port = await self._service.listen(self._bind, settings.bootstrap_port, None)
        except OSError as error:
            text = f"provisioning.port {settings.port} on {self._bind}: {error.strerror or error}; set another port"
            log.error("telephones cannot fetch their settings: %s", text)
            await self._service.close()
            self._service = None
            return
        self._tell_desk()
        if settings.pnp:
            self._join()
        write_atomic(
            self._state / "run" / "provisioning.json",
            json.dumps({"https": self.https_port, "http": self.http_port, "pnp": self._group is not None}).encode(),
        )
        self.listening.set()
        log.info("settings of telephones at https port %d", self.https_port)

    async def _end(self) -> None:
        if self._pnp_timer is not None:
            self._pnp_timer.cancel()
            self._pnp_timer = None
        if self._group is not None:
            self._group.close()
            self._group = self._pnp = None
        if self._service is not None:
            await self._service.close()
            self._service = None
        self.https_port = self.http_port = 0
        self.listening.clear()
        if self.desk is not None:
            self.keep()

    async def _certificates(self) -> ssl.SSLContext:
        """The certificate of the box. Where SIP over TLS is off nobody else makes it."""
        paths = Paths(self._state / "tls")
        own = not (self.config.sip.tls or self.config.sip.wss)
        while True:
            if own:
                further = [*self.config.sip.tls_names, *filter(None, [self.config.provisioning.address])]
                names = names_of(self._bind, socket.gethostname(), further)
                ask = Ask(str(paths.folder), names, self.config.site.name, {})
                with contextlib.suppress(StoreError):
                    await asyncio.get_running_loop().run_in_executor(None, certify, ask)
            if paths.complete():
                with contextlib.suppress(OSError):
                    self._context = tls.server_context(paths.server, paths.server_key)
                    self._shown = _stamps(paths)
                    return self._context
            await asyncio.sleep(0.5)

    async def _look(self) -> None:
        """Every few seconds: a renewed certificate is shown from now on; what the book learned goes to disk."""
        paths = Paths(self._state / "tls")
        if self._service is not None and paths.complete() and _stamps(paths) != self._shown:
            with contextlib.suppress(OSError):
                self._context.load_cert_chain(paths.server, paths.server_key)
                self._shown = _stamps(paths)
                self._tell_desk()
        self.keep()

    # --- the desk -----------------------------------------------------------------------------------------------------

    def host(self, peer: str = "") -> str:
        """This box as telephones reach it: the configured address, else the one of ours that leads to `peer`."""
        found = self.config.provisioning.address or (self._source(peer.partition("%")[0]) if peer else "") or reachable(self._bind)
        return f"[{found}]" if ":" in found else found

    def _place(self, peer: str = "") -> Service:
        from firmware.surfaces.phones.settings import Service

        host, settings = self.host(peer), self.config.provisioning
        port = self.https_port or settings.port
        boot = self.http_port or settings.bootstrap_port
        ca = f"http://{host}:{boot}/ca.crt" if boot else f"https://{host}:{port}/ca.crt"
        return Service(host, *self._ports, f"https://{host}:{port}/", ca)

    def _tell_desk(self) -> None:
        assert self.desk is not None
        authority = Paths(self._state / "tls").ca
        self.desk.configure(self.config, self._place(), authority.read_bytes() if authority.is_file() else b"", int(time.time()))
        self.keep()

    def entrance(self, mac: str = "", peer: str = "") -> str:
        """Where a telephone begins: over plain HTTP where that is on (it learns whom to trust there), else over HTTPS."""
        desk = self.open_desk()
        boot = self.http_port or self.config.provisioning.bootstrap_port
        if boot:
            return f"http://{self.host(peer)}:{boot}/"
        desk.service = self._place(peer)
        return desk.link(mac) if mac else desk.service.url

    @property
    def joined(self) -> bool:
        """True while telephones that ask the multicast address are answered."""
        return self._group is not None

    def zone(self) -> Told:
        """The time zone of the branch for telephones."""
        return told_of(self.config.site.time_zone, int(time.time() * 1000))

    async def _answer(self, got: Get) -> Answer:
        from firmware.net.https import Answer

        desk = self.open_desk()
        try:
            zone = self.zone()
            desk.service = self._place(got.source)
            reply = desk.answer(got.path, got.source, got.agent, zone, int(time.time()), secure=got.secure)
            if reply.assign is not None and await self.assign(*reply.assign):
                desk.service = self._place(got.source)
                reply = desk.answer(got.path, got.source, got.agent, zone, int(time.time()), secure=got.secure)
            if reply.secret:
                self._served(reply.mac)
                log.info("telephone %s at %s fetched its settings with passwords", reply.mac, got.source)
        except StoreError as error:
            log.error("%s", error)
            return Answer(503, b"try again later\n", "text/plain")
        return Answer(reply.status, reply.body, reply.content)

    def _served(self, mac: str) -> None:
        """Passwords may leave once this is on disk. Raises StoreError; then they stay, and the telephone may ask again."""
        try:
            self.keep()
        except StoreError:
            self.open_desk().book.phones[mac].armed_until = int(time.time()) + HOUR_S
            raise

    async def assign(self, mac: str, vendor: str, model: str) -> bool:
        """Give an unknown telephone the next free extension, while the installer's window is open."""
        desk = self.open_desk()
        number = desk.free_extension()
        if not number:
            return False
        says = await PhoneCommands(self, self._perform).enter(ASSIGNER, mac, vendor, model, number)
        log.info("telephone %s (%s %s) given extension %s: %s", mac, vendor, model, number, says[0])
        return mac in self.config.phones

    # --- plug and play ------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        from firmware.net.multicast import GroupSocket
        from firmware.sip.pnp import GROUP, PORT, PlugAndPlay

        own = reachable(self._bind)
        if ":" in own:
            log.warning("plug and play of telephones knows IPv4 only, and this box listens on %s", own)
            return
        self._pnp = PlugAndPlay(lambda digits: secrets.token_hex((digits + 1) // 2)[:digits])
        try:
            self._group = GroupSocket(GROUP, PORT, own, asyncio.get_running_loop(), self._heard)
        except OSError as error:
            log.warning("telephones that ask %s cannot be answered: %s", GROUP, error.strerror or error)
            self._pnp = None

    def _heard(self, data: bytes, source: tuple[str, int]) -> None:
        if self._pnp is None or self._group is None:
            return
        self._pnp.receive(data, source, _now_ms(), (self._source(source[0]) or reachable(self._bind), self._group.port))
        desk = self.open_desk()
        for asked in self._pnp.events():
            wanted = desk.met(asked.mac, asked.vendor, asked.model, source[0], int(time.time()))
            if asked.mac in self.config.phones:
                self._pnp.offer(asked.key, self.entrance(asked.mac, source[0]), _now_ms())
            elif wanted is not None:
                task = asyncio.ensure_future(self._assign_asked(asked.key, wanted, source[0]))
                task.add_done_callback(lambda done: done.exception())
        self._flush()

    async def _assign_asked(self, key: str, wanted: tuple[str, str, str], peer: str) -> None:
        if await self.assign(*wanted) and self._pnp is not None:
            self._pnp.offer(key, self.entrance(wanted[0], peer), _now_ms())
            self._flush()

    def _flush(self) -> None:
        if self._pnp is None or self._group is None:
            return
        for outgoing in self._pnp.output():
            self._group.send(outgoing.data, outgoing.destination)
        due = self._pnp.deadline()
        if self._pnp_timer is not None:
            self._pnp_timer.cancel()
        self._pnp_timer = None
        if due is not None:
            self._pnp_timer = asyncio.get_running_loop().call_later(max(0, due - _now_ms()) / 1000, self._expire)

    def _expire(self) -> None:
        if self._pnp is not None:
            self._pnp.expire(_now_ms())
            self._flush()

    # --- the book -----------------------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return self._state / "phones.json"

    def _load(self) -> Any:
        from firmware.surfaces.phones.desk import Book

        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Book)
        except FileNotFoundError:
            return Book()
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s cannot be read (%s); it is moved aside, and every telephone must be armed again", self._file, error)
            with contextlib.suppress(OSError):
                move_aside(self._file, "unusable")
            return Book()

    def keep(self) -> None:
        """Write what has changed. Raises StoreError."""
        assert self.desk is not None
        book = self.desk.book
        if not book.changed:
            return
        book.changed = False
        try:
            write_atomic(self._file, msgspec.json.encode(book), mode=0o600)
        except OSError as error:
            book.changed = True
            raise StoreError(f"{self._file}: cannot be written ({error.strerror}); telephones get no passwords until it can") from error


def _stamps(paths: Paths) -> tuple[float, ...]:
    with contextlib.suppress(OSError):
        return tuple(path.stat().st_mtime for path in (paths.ca, paths.server, paths.server_key))
    return ()


def _now_ms() -> int:
    return int(time.monotonic() * 1000)

