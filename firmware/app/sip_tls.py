"""SIP over TLS and secure WebSocket as core runs them: certificates, contexts, the shells, alarms and `show certificates`.

Theory of operation
-------------------
Where the folder holds a certificate from before, TLS listens at once; else when the certificate has been made, a fraction of a
second later (telephones that connect meanwhile wait in the listener's queue). `certify` runs in the background at each start, when
the names of the box change, and where something falls due: looked at every hour. A certificate from elsewhere that cannot be used is
an alarm, and the box's own takes its place: calls go on. Clocks: validity is of the world outside, so the system's clock counts.
Browsers get the same certificate; the module that serves them is loaded with the first listener that has it (2 MB of memory).
Invariant: TLS never keeps SIP over UDP and TCP waiting.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from pathlib import Path

from firmware.app.certify import Answer, Ask, Row, certify
from firmware.app.sockets import reachable
from firmware.config.schema.system import Sip
from firmware.control.gate import Gate
from firmware.control.tls_commands import CertificateRow, ShowCertificates
from firmware.errors import StoreError
from firmware.net import tls
from firmware.net.sip_tcp import Owner
from firmware.net.sip_tls import SipTls
from firmware.runtime.alarms import Alarms
from firmware.sip.flow import Outgoing
from firmware.store.certificates import RENEW_AT, Paths

HOUR_S = 3600.0
DAY_MS = 86_400_000
WARN_DAYS = 30        # a certificate from elsewhere: somebody has to get a new one
USES = {
    "server": ("this box", "本机"),
    "ca": ("this box's CA: telephones trust it", "本机 CA：话机应信任"),
    "clients-ca": ("CA of client certificates", "客户端证书 CA"),
    "carriers-ca": ("CA of carriers", "运营商 CA"),
    "carriers": ("shown to carriers", "向运营商出示"),
}

log = logging.getLogger("branchpbx.tls")


def names_of(bind: str, host: str, further: Sequence[str]) -> list[str]:
    """Addresses and names under which telephones know this box; the first is the one they are told."""
    found = [reachable(bind), *([reachable("0.0.0.0")] if bind == "::" else []), *further]
    if host and host != "localhost" and host.replace("-", "").replace(".", "").isalnum():
        found.append(host)
    return [one for one in dict.fromkeys(_plain(name) for name in found) if one not in ("0.0.0.0", "::")]


def _plain(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


class TlsPart:
    """See the theory of operation above. `told`: addresses of this box that some networks are told."""

    def __init__(
        self,
        *,
        listener: socket.socket | None,
        wss: socket.socket | None = None,
        config: Sip,
        state: Path,
        bind: str,
        box: str,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        alarms: Alarms,
        zone: tzinfo,
        told: Sequence[str] = (),
    ) -> None:
        self._listener = listener
        self._wss_listener = wss
        self._config = config
        self._paths = Paths(state / "tls")
        self._bind = bind
        self._box = box
        self._owner = owner
        self._loop = loop
        self._alarms = alarms
        self._zone = zone
        self._told = tuple(told)
        self._names: list[str] = []
        self._rows: list[Row] = []
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.shell: SipTls | None = None
        self.wss: SipTls | None = None

    async def start(self) -> None:
        """Listen, now or as soon as there is a certificate; does not wait for it."""
        if self._listener is None and self._wss_listener is None:
            return
        if self._paths.complete() or self._config.tls_certificate:
            await self._listen()
        self._task = self._loop.create_task(self._certify())
        self._timer = self._loop.call_later(HOUR_S, self._hourly)

    def attach(self, gate: Gate) -> None:
        """Answer `show certificates`."""
        gate.handle(ShowCertificates, lambda _: [self._row(row) for row in self._rows])

    def send(self, outgoing: Outgoing) -> None:
        """Bytes for a peer; without a listener, or before it has a certificate, nobody is connected."""
        shell = self.wss if outgoing.transport == "wss" else self.shell
        if shell is not None:
            shell.send(outgoing.data, outgoing.destination, close=outgoing.close, name=outgoing.name)
        elif not outgoing.close:
            self._loop.call_soon(self._owner.connection_lost, outgoing.transport, outgoing.destination)

    async def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for shell in (self.shell, self.wss):
            if shell is not None:
                await shell.close()

    def _further(self) -> list[str]:
        """Names beside those of the machine: configured ones, and how it is known outside."""
        return [*self._config.tls_names, *filter(None, [self._config.external_address]), *self._told]

    # --- certificates -------------------------------------------------------------------------------------------------

    async def _certify(self) -> None:
        self._names = names_of(self._bind, socket.gethostname(), self._further())
        ask = Ask(str(self._paths.folder), self._names, self._box, self._files())
        try:
            told = await self._loop.run_in_executor(None, certify, ask)
        except StoreError as error:
            told = Answer(problem=str(error), rows=self._rows)
        self._rows = told.rows
        if told.problem:
            self._alarms.raise_(
                "tls:own",
                f"certificates of this box: {told.problem}; free space on the disk and restart",
                f"本机证书：{told.problem}；请检查磁盘后重启",
            )
        else:
            self._alarms.clear("tls:own")
        if told.changed:
            log.info("certificate for %s made", ", ".join(self._names))
        if told.changed or not self._listening:
            await self._listen()
        self._watch()

    def _hourly(self) -> None:
        self._timer = self._loop.call_later(HOUR_S, self._hourly)
        changed = self._names != names_of(self._bind, socket.gethostname(), self._further())
        if (changed or self._falls_due()) and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._certify())
        self._watch()

    def _falls_due(self) -> bool:
        if self._config.tls_certificate:
            return False                 # the box's own stands behind it, and is looked at when core starts
        own = next((row.certificate for row in self._rows if row.file == str(self._paths.server)), None)
        return own is None or own.ends_ms - time.time() * 1000 < RENEW_AT.total_seconds() * 1000

    def _files(self) -> dict[str, str]:
        config = self._config
        files = {
            "server": config.tls_certificate or str(self._paths.server), "ca": str(self._paths.ca), "clients-ca": config.tls_clients_ca,
            "carriers-ca": config.tls_carriers_ca, "carriers": config.tls_carriers_certificate,
        }  # fmt: skip
        return {use: file for use, file in files.items() if file}

    def _watch(self) -> None:
        """Alarms for what has ended or soon will, and cannot be renewed from here."""
        now = time.time() * 1000
        for row in self._rows:
            kind, (use, use_zh) = f"tls:expiry:{row.use}", USES[row.use]
            left = int((row.certificate.ends_ms - now) // DAY_MS) if row.certificate is not None else WARN_DAYS
            if left >= WARN_DAYS:
                self._alarms.clear(kind)
                continue
            how, how_zh = (f"ends in {left} days", f"剩余 {left} 天") if left >= 0 else ("has expired", "已过期")
            self._alarms.raise_(
                kind,
                f"certificate ({use}) {row.file} {how}; put a new one there and restart",
                f"证书（{use_zh}）{row.file} {how_zh}；请更换文件并重启",
            )

    # --- the shell ----------------------------------------------------------------------------------------------------

    @property
    def _listening(self) -> bool:
        return (self._listener is None or self.shell is not None) and (self._wss_listener is None or self.wss is not None)

    async def _listen(self) -> None:
        """Start the shells, or give them the certificates that there are now."""
        server = self._contexted("server", self._server, self._own_server)
        client = self._contexted("carriers", self._client, self._own_client)
        if server is None or client is None:
            return
        for standing in (self.shell, self.wss):
            if standing is not None:
                standing.use(server, client)
        # Duplicates: what this process closes at its end must stay open for the next one.
        if self.shell is None and self._listener is not None:
            self.shell = SipTls(self._listener.dup(), self._owner, self._loop, server, client)
            await self.shell.start()
            log.info("SIP over TLS on %s:%d", *self.shell.local)
        if self.wss is None and self._wss_listener is not None:
            from firmware.net.sip_ws import SipWss

            self.wss = SipWss(self._wss_listener.dup(), self._owner, self._loop, server, client, admit=self._admits)
            await self.wss.start()
            log.info("SIP over secure WebSocket on %s:%d", *self.wss.local)

    def _admits(self, origin: str | None) -> bool:
        """Pages of this box, by all its names, and those that the configuration names."""
        from firmware.net.sip_ws import admits

        return admits(origin, self._names, self._config.wss_origins)

    def _contexted(
        self, use: str, configured: Callable[[], ssl.SSLContext], own: Callable[[], ssl.SSLContext]
    ) -> ssl.SSLContext | None:
        kind, (name, name_zh) = f"tls:file:{use}", USES[use]
        try:
            made = configured()
            self._alarms.clear(kind)
            return made
        except (OSError, ValueError) as error:
            text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            self._alarms.raise_(
                kind,
                f"certificate ({name}) cannot be used: {text}; correct the files of sip.tls_* and restart",
                f"证书（{name_zh}）无法使用：{text}；请改正 sip.tls_* 所指文件后重启",
            )
        try:
            return own()
        except (OSError, ValueError):
            return None

    def _server(self) -> ssl.SSLContext:
        config = self._config
        if not config.tls_certificate:
            return self._own_server()
        chain = Path(config.tls_certificate)
        key = Path(config.tls_key) if config.tls_key else chain
        return tls.server_context(chain, key, clients=config.tls_clients, client_ca=self._clients_ca())

    def _own_server(self) -> ssl.SSLContext:
        paths = self._paths
        return tls.server_context(paths.server, paths.server_key, clients=self._config.tls_clients, client_ca=self._clients_ca())

    def _clients_ca(self) -> Path:
        return Path(self._config.tls_clients_ca) if self._config.tls_clients_ca else self._paths.ca

    def _client(self) -> ssl.SSLContext:
        config = self._config
        chain = Path(config.tls_carriers_certificate) if config.tls_carriers_certificate else None
        key = Path(config.tls_carriers_key) if config.tls_carriers_key else None
        return tls.client_context(Path(config.tls_carriers_ca) if config.tls_carriers_ca else None, chain=chain, key=key)

    @staticmethod
    def _own_client() -> ssl.SSLContext:
        return tls.client_context(None)

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _row(self, row: Row) -> CertificateRow:
        use, found = USES[row.use], row.certificate
        if found is None:
            return CertificateRow(*use, "", "", "", "", "", 0, f"cannot be read: {row.problem}", f"无法读取：{row.problem}", "", row.file)
        left = int((found.ends_ms - time.time() * 1000) // DAY_MS)
        verdict = ("valid", "有效") if left >= WARN_DAYS else ("expires soon", "即将过期") if left >= 0 else ("expired", "已过期")
        return CertificateRow(
            *use, found.subject, ", ".join(found.names), found.issuer, self._local(found.begins_ms), self._local(found.ends_ms), left,
            *verdict, found.fingerprint, row.file,
        )  # fmt: skip

    def _local(self, wall_ms: int) -> str:
        return datetime.fromtimestamp(wall_ms / 1000, self._zone).isoformat(" ", "minutes")[:16]
