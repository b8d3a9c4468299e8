"""Recordings on their way to the centre, in the night window, in the management process (L6; I6).

Theory of operation
-------------------
Call control says which recordings wait (`recordings outbox`) and is told which the centre has (`recordings sent`); this part reads their
files, sealed as they lie, and moves them with `fleet/transfer.py`, one at a time and no faster than `kbit_s`. Each recording is two files
at the centre: itself, and then its record, signed by this box; so a record says that all is there. Links of the chain go as documents of
their own, before the recordings and when all of them are there: they also tell what was erased here.
What is on its way has a row in `manage.db` with the address that the centre gave, on the disk before the first byte goes out; how far it
is the centre is asked. That the centre has it is on the disk before call control is told, which notes it once; only then the rows go. So a
break anywhere leads to the same end, and what was sent twice is the same file at the same address.
A recording that is removed here on its way (its file has no name any more, or it has left the catalogue) is taken back from the centre.
Invariants: nothing is sent outside the window unless a person said so; a file that is not what the chain says is never sent; no audio
process waits for this one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from firmware.app.upload_papers import Papers
from firmware.config.schema.recording import Upload
from firmware.config.schema.tree import Config
from firmware.control.client import CommandFailed, NotRunning
from firmware.control.gate import asking
from firmware.control.recording_commands import ChainLinks, RecordingsWaiting, WaitingRow
from firmware.control.upload_commands import UploadResult
from firmware.errors import CommandError, PbxError
from firmware.fleet import transfer
from firmware.fleet.transfer import Fault, Nights, Pace, Pauses, Transfer
from firmware.net import tls
from firmware.store.db import Database
from firmware.surfaces.cli.errors import chinese
from firmware.update.nightly import open_window

log = logging.getLogger("branchpbx.upload")
LOOK_S = 30.0
LINKS = 200
STATES = {"off": "未启用", "waiting": "等待时段", "sending": "正在上传", "pausing": "故障后等待", "idle": "已全部上传"}
Ask = Callable[..., Awaitable[Any]]
State = Literal["going", "there", "back"]


class Row(Struct):
    """A file on its way, as in the table `uploads`."""

    name: str
    kind: str
    path: str
    size: int
    digest: str
    body: bytes | None = None
    url: str = ""
    state: State = "going"


class Kept(Struct):
    """What is remembered besides: the last link of the chain that the centre has, recordings sent, when, the last fault, the nights."""

    chain: int = 0
    sent: int = 0
    sent_ms: int = 0
    text: str = ""
    text_zh: str = ""
    nights: Nights = msgspec.field(default_factory=Nights)


class _BrokenError(Exception):
    """It does not go on now."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


class _StoppedError(Exception):
    """The window has ended, a person said so, or the settings are others: no fault."""


class UploadPart:
    """See the theory of operation. `core` asks call control; `wall_s` Unix time; `sleep` waits."""

    def __init__(
        self, *, state: Path, config: Callable[[], Config], db: Database, core: Ask, wall_s: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._state = state
        self._config = config
        self._db = db
        self._core = core
        self._wall_s = wall_s
        self._sleep = sleep
        self._papers = Papers(state)
        columns = ", ".join(Row.__struct_fields__)
        self._rows = {row["name"]: Row(*row) for row in db.query(f"SELECT {columns} FROM uploads")}
        kept = db.query("SELECT value FROM upload_state WHERE name = 'kept'")
        self.kept = msgspec.json.decode(kept[0]["value"], type=Kept) if kept else Kept()
        self._by = ""                       # who said `upload now`, "" nobody
        self._wake = asyncio.Event()
        self._pauses = Pauses()
        self._not_before = 0.0              # Unix time
        self._waiting = self._bytes = self._confirmed = 0
        self._sending: Row | None = None
        self._busy = False
        self._settings = Upload()
        self._pace = Pace(self._settings.kbit_s)
        self._held: dict[str, Fault] = {}   # recordings that cannot be sent, and why
        self._abilities = transfer.Abilities()

    async def run(self) -> None:
        """The task of manage."""
        while True:
            await self.look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_S)
            self._wake.clear()

    async def look(self) -> None:
        """Do what is due now; in the window until all is there, it ends, or a fault."""
        settings, now = self._config().recording.upload, self._wall_s()
        day = self._day(settings) if settings.url else ""
        if not settings.url:
            self._by = ""
            return
        if (day or self._by) and now >= self._not_before:
            with suppress(NotRunning, CommandFailed):
                await self._outbox(settings, "")
        if self.kept.nights.at(day, self._waiting > 0):
            self._note([])
        if not (day or self._by) or now < self._not_before:
            return
        self._settings, self._busy = settings, True
        if self._pace.kbit_s != settings.kbit_s:
            self._pace = Pace(settings.kbit_s)
        try:
            await self._session(settings)
        except _StoppedError:
            log.info("recordings: no more are sent for now")
        except (NotRunning, CommandFailed) as error:
            log.info("call control does not answer now: %s", error)
        except (_BrokenError, PbxError, OSError) as error:
            self._failed(error.fault if isinstance(error, _BrokenError) else Fault(str(error), chinese(str(error)) or str(error)))
        else:
            self._by = ""
            self._pauses.failed = 0
        finally:
            self._busy, self._sending = False, None

    def _failed(self, fault: Fault) -> None:
        pause = self._pauses.next_s()
        self._not_before = self._wall_s() + pause
        self.kept.text, self.kept.text_zh = fault.text[:300], fault.text_zh[:300]
        self._note([])
        log.warning("recordings are not sent: %s; tried again in %d s", fault.text, pause)

    # --- commands -----------------------------------------------------------------------------------------------------

    async def shown(self) -> UploadResult:
        """For `show upload`."""
        config, settings = self._config(), self._config().recording.upload
        if settings.url and not self._busy:
            with suppress(NotRunning, CommandFailed):
                await self._outbox(settings, "")
        state = "off" if not settings.url else "sending" if self._busy else "idle" if not self._waiting else "waiting"
        if state == "waiting" and self._wall_s() < self._not_before and (self._by or self._day(settings)):
            state = "pausing"
        row, kept = self._sending, self.kept
        last = datetime.fromtimestamp(kept.sent_ms / 1000, ZoneInfo(config.site.time_zone)).isoformat(" ", "seconds")[:19]
        return UploadResult(
            state, STATES[state], f"{settings.begin}-{settings.end}" if settings.url else "", self._waiting, self._bytes,
            row.name if row else "", self._confirmed if row else 0, row.size if row else 0, kept.sent, last if kept.sent_ms else "",
            kept.nights.bad, *(("off: recording.upload.url is not set", "未启用：未设置 recording.upload.url") if state == "off" else
                               (kept.text, kept.text_zh)),
        )  # fmt: skip

    def begin(self) -> Awaitable[UploadResult]:
        """For `upload now`. Raises CommandError where recordings stay here."""
        if not self._config().recording.upload.url:
            raise CommandError("recordings stay here: recording.upload.url is not set")
        self._by, self._not_before = asking(), 0.0
        self._held.clear()
        self._wake.set()
        return self.shown()

    def stop(self) -> Awaitable[UploadResult]:
        """For `upload stop`."""
        self._by = ""
        return self.shown()

    def alarms(self) -> dict[str, list[str]]:
        """What a person must know, by kind: English, Chinese."""
        settings, found = self._config().recording.upload, dict[str, list[str]]()
        if not settings.url:
            return found
        if self.kept.nights.bad >= settings.alarm_nights:
            why, why_zh = self.kept.text or "the log says more", self.kept.text_zh or "详见日志"
            found["upload:nights"] = [
                f"no recording has reached the centre for {self.kept.nights.bad} nights: {why}",
                f"已连续 {self.kept.nights.bad} 夜没有录音送达中心：{why_zh}",
            ]
        if self._held:
            path, fault = next(iter(self._held.items()))
            found["upload:held"] = [
                f"{len(self._held)} recordings are not sent; {path}: {fault.text}",
                f"{len(self._held)} 份录音未上传；{path}：{fault.text_zh}",
            ]
        return found

    # --- a session ----------------------------------------------------------------------------------------------------

    def _day(self, settings: Upload) -> str:
        day = open_window(self._wall_s(), settings.begin, settings.end, ZoneInfo(self._config().site.time_zone))
        return day.isoformat() if day is not None else ""

    def _may(self) -> bool:
        """Whether another byte may go out."""
        return self._config().recording.upload == self._settings and bool(self._by or self._day(self._settings))

    def _go(self) -> None:
        if not self._may():
            raise _StoppedError

    async def _outbox(self, settings: Upload, recording: str) -> RecordingsWaiting:
        found = await self._core("recordings outbox", queues=settings.queues, lines=settings.lines, recording=recording)
        box = msgspec.convert(found, RecordingsWaiting)
        self._waiting, self._bytes = box.waiting, box.bytes
        return box

    async def _session(self, settings: Upload) -> None:
        """Send until nothing waits. Raises _BrokenError, _StoppedError."""
        box = await self._outbox(settings, "")
        listed = {row.path for row in box.rows}
        self._held = {path: fault for path, fault in self._held.items() if path in listed}
        if listed <= self._held.keys() and not self._rows and not await self._links():
            return
        from firmware.net.https import Exchange

        headers = {"Tus-Resumable": transfer.VERSION, "User-Agent": "BranchPBX"}
        if settings.token:
            headers["Authorization"] = f"Bearer {settings.token}"
        try:
            context = tls.client_context(Path(settings.ca) if settings.ca else None)
        except OSError as error:
            text = f"recording.upload.ca: {settings.ca} cannot be read ({error.strerror})"
            raise _BrokenError(Fault(text, f"recording.upload.ca：{settings.ca} 无法读取（{error.strerror}）")) from error
        async with Exchange(context, headers) as line:
            self._abilities = await self._able(line, settings)
            self._moved(settings)
            await self._settle(line)
            await self._send_chain(line)
            while True:
                self._go()
                todo = [row for row in (await self._outbox(settings, "")).rows if row.path not in self._held]
                if not todo:
                    break
                for one in todo:
                    self._go()
                    await self._recording(line, one)
            await self._send_chain(line)

    async def _able(self, line: Any, settings: Upload) -> transfer.Abilities:
        from firmware.net.https import HttpError

        request = transfer.ask_abilities(settings.url)
        try:
            status, headers = await line.ask(request.method, request.url, request.headers, timeout_s=30.0)
        except HttpError as error:
            raise _BrokenError(Fault(f"the centre is not reached: {error}", f"无法连接中心：{error}")) from error
        found = transfer.abilities(transfer.Answer(status, headers))
        if isinstance(found, Fault):
            raise _BrokenError(found)
        return found

    def _moved(self, settings: Upload) -> None:
        """Another centre is configured: what the one before has of a file on its way is of no use here."""
        for row in list(self._rows.values()):
            if row.url and not transfer.same_machine(row.url, settings.url):
                if row.state == "back":
                    self._drop(row)
                else:
                    row.url, row.state = "", "going"
                    self._save(row)

    async def _settle(self, line: Any) -> None:
        """What an earlier session, or an earlier process, left behind."""
        for row in [row for row in self._rows.values() if row.kind == "recording"]:
            record = self._rows.get(f"record/{row.path}")
            if row.state == "there" and record is not None and record.state == "there":
                await self._tell(row, record)
            elif row.state != "back" and not (await self._outbox(self._settings, row.path)).there:
                await self._back(row.path)
        for row in [row for row in self._rows.values() if row.state == "back"]:
            await self._take_back(line, row)

    async def _recording(self, line: Any, one: WaitingRow) -> None:
        """One recording, its record, and the note that the centre has both."""
        file = self._folder() / one.path
        row = self._rows.get(f"recording/{one.path}")
        if row is None:
            row = Row(f"recording/{one.path}", "recording", one.path, one.bytes, one.link.digest)
        if row.state == "going":
            try:
                found = await asyncio.to_thread(_digest, file)
            except OSError as error:
                if not await self._is_there(one.path):
                    return
                text = f"{one.path}: cannot be read ({error.strerror})"
                raise _BrokenError(Fault(text, f"{one.path}：无法读取（{error.strerror}）")) from error
            if found != one.link.digest:
                if await self._is_there(one.path):
                    text = "is not what the chain says; `recordings verify` tells more"
                    await self._hold(line, one.path, Fault(text, "与校验链不符；recordings verify 可查看"))
                return
            if 0 < self._abilities.most < row.size:
                await self._hold(line, one.path, transfer.TOO_LARGE)
                return
            try:
                here = await self._move(line, row, file)
            except _BrokenError as error:
                if not error.fault.final:
                    raise
                await self._hold(line, one.path, error.fault)
                return
            if not here:
                await self._back(one.path)
                await self._take_back(line, row)
                return
        record = self._rows.get(f"record/{one.path}")
        if record is None:
            body = await asyncio.to_thread(self._papers.record, one, file, self._settings.recipient)
            record = self._document(f"record/{one.path}", "record", one.path, body)
        if record.state == "going":
            await self._move(line, record, None)
        await self._tell(row, record)
        for left in [left for left in self._rows.values() if left.state == "back"]:
            await self._take_back(line, left)

    async def _tell(self, row: Row, record: Row) -> None:
        """Call control notes that the centre has it; then it is off this list."""
        said = await self._core("recordings sent", recording=row.path, who=self._by or "night", where=row.url)
        if not said["sent"]:                # removed here in the last moment
            await self._back(row.path)
            return
        self._waiting, self._bytes = max(0, self._waiting - 1), max(0, self._bytes - row.size)
        self.kept.sent, self.kept.sent_ms = self.kept.sent + 1, int(self._wall_s() * 1000)
        self.kept.nights.well()
        self.kept.text = self.kept.text_zh = ""
        self._drop(row, record)
        log.info("%s: is at the centre", row.path)

    async def _links(self) -> list[Any]:
        found = msgspec.convert(await self._core("recordings chain", after=self.kept.chain, most=LINKS), ChainLinks)
        if found.last < self.kept.chain:    # the catalogue was made anew
            self.kept.chain = 0
            found = msgspec.convert(await self._core("recordings chain", after=0, most=LINKS), ChainLinks)
        return [found.before, *found.links] if found.links else []

    async def _send_chain(self, line: Any) -> None:
        """Links that the centre has not got yet."""
        while True:
            self._go()
            row = next((row for row in self._rows.values() if row.kind == "chain"), None)
            if row is None:
                links = await self._links()
                if not links:
                    return
                before, *rest = links
                body = await asyncio.to_thread(self._papers.chain, before, rest)
                row = self._document(f"chain/{rest[0].seq}-{rest[-1].seq}", "chain", f"chain-{rest[0].seq}-{rest[-1].seq}", body)
            if row.state == "going":
                await self._move(line, row, None)
            self.kept.chain = int(row.name.rpartition("-")[2])
            self._drop(row)

    # --- one file -----------------------------------------------------------------------------------------------------

    async def _move(self, line: Any, row: Row, file: Path | None) -> bool:
        """Bring a file to the centre; False when it is not here any more. Raises _BrokenError, _StoppedError."""
        source = await asyncio.to_thread(_Source, file, row.body or b"")
        try:
            facts = self._papers.facts(row.kind, row.path, row.digest)
            way = Transfer(self._settings.url, row.size, facts, url=row.url, piece=transfer.piece_of(self._settings.kbit_s))
            self._sending, self._confirmed = row, 0
            self._save(row)
            while (request := way.request()) is not None:
                self._go()
                body = await asyncio.to_thread(source.read, request.begin, request.end)
                if body is None:
                    return False
                for event in await self._ask(line, way, request, body):
                    await self._happened(row, event)
            if await asyncio.to_thread(source.read, 0, 0) is None:
                return False
        finally:
            source.close()
            self._sending = None
        row.state = "there"
        await self._keep(row)
        return True

    async def _ask(self, line: Any, way: Transfer, request: transfer.Request, body: bytes) -> list[transfer.Event]:
        from firmware.net.https import HttpError

        headers = dict(request.headers)
        if body and self._abilities.checksum:
            sum_ = hashlib.new(self._abilities.checksum, body).digest()
            headers["Upload-Checksum"] = f"{self._abilities.checksum} {base64.b64encode(sum_).decode()}"
        timeout_s = 30 + 3 * len(body) * 8 / 1000 / self._settings.kbit_s
        try:
            status, got = await line.ask(
                request.method, request.url, headers, timeout_s=timeout_s, body=self._blocks(body) if body else None, size=len(body)
            )
        except HttpError as error:
            self._go()                      # broken off by ourselves: no fault
            return way.broken(str(error))
        return way.answered(transfer.Answer(status, got))

    async def _blocks(self, body: bytes) -> AsyncIterator[bytes]:
        """The body at the pace of `kbit_s`; what may not go out any more ends the request."""
        for at in range(0, len(body), transfer.BLOCK):
            block = body[at : at + transfer.BLOCK]
            wait_us = self._pace.wait_us(len(block), time.monotonic_ns() // 1000)
            if wait_us:
                await self._sleep(wait_us / 1e6)
            if not self._may():
                raise ConnectionAbortedError("the window has ended")
            yield block

    async def _happened(self, row: Row, event: transfer.Event) -> None:
        if isinstance(event, transfer.Opened):
            row.url = event.url
            await self._keep(row)
        elif isinstance(event, transfer.Lost):
            row.url = ""
            self._save(row)
        elif isinstance(event, transfer.Confirmed):
            if event.offset > self._confirmed:
                self._pauses.failed = 0
            self._confirmed = event.offset
        elif isinstance(event, Fault):
            raise _BrokenError(event)

    async def _back(self, path: str) -> None:
        """A recording was removed here: what the centre has of it shall go."""
        for name in (f"recording/{path}", f"record/{path}"):
            row = self._rows.get(name)
            if row is not None:
                row.state = "back"
                await self._keep(row)

    async def _take_back(self, line: Any, row: Row) -> None:
        if row.url and self._abilities.termination:
            way = Transfer(self._settings.url, row.size, {}, url=row.url)
            way.end()
            while (request := way.request()) is not None:
                self._go()
                for event in await self._ask(line, way, request, b""):
                    await self._happened(row, event)
            log.info("%s: was removed here, the centre was told to forget it", row.path)
        elif row.url:
            log.warning("%s: was removed here, but the centre cannot be told to forget what it has of it", row.path)
        self._drop(row)

    async def _hold(self, line: Any, path: str, fault: Fault) -> None:
        """A recording is left out, and what the centre has of it goes."""
        self._held[path] = fault
        log.error("%s: %s; it is not sent", path, fault.text)
        row = self._rows.get(f"recording/{path}")
        if row is not None:
            await self._back(path)
            await self._take_back(line, row)

    async def _is_there(self, path: str) -> bool:
        return (await self._outbox(self._settings, path)).there

    # --- what is kept -------------------------------------------------------------------------------------------------

    def _folder(self) -> Path:
        folder = self._config().recording.folder
        return Path(folder) if folder else self._state / "recordings"

    def _document(self, name: str, kind: str, path: str, body: bytes) -> Row:
        return Row(name, kind, path, len(body), hashlib.sha256(body).hexdigest(), body)

    def _save(self, row: Row) -> None:
        self._rows[row.name] = row
        columns = Row.__struct_fields__
        marks = ", ".join("?" * len(columns))
        self._db.execute(f"INSERT OR REPLACE INTO uploads ({', '.join(columns)}) VALUES ({marks})", msgspec.structs.astuple(row))

    async def _keep(self, row: Row) -> None:
        """On the disk when this returns. Raises _BrokenError: without it nothing goes on."""
        self._save(row)
        if not await asyncio.to_thread(self._db.flush, 5.0):
            text = "what is being sent cannot be noted: the disk is full or does not answer"
            raise _BrokenError(Fault(text, "无法记录上传状态：磁盘已满或无响应"))

    def _drop(self, *rows: Row) -> None:
        for row in rows:
            self._rows.pop(row.name, None)
        self._note([("DELETE FROM uploads WHERE name = ?", (row.name,)) for row in rows])

    def _note(self, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
        kept = msgspec.json.encode(self.kept).decode()
        self._db.transaction([*statements, ("INSERT OR REPLACE INTO upload_state (name, value) VALUES ('kept', ?)", (kept,))])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Source:
    """What a file is read from; a recording without a name was removed while it was open. Methods may block."""

    def __init__(self, path: Path | None, body: bytes) -> None:
        self._body = body
        self._file = path.open("rb") if path is not None else None

    def read(self, begin: int, end: int) -> bytes | None:
        """Bytes of a piece, None when the file is gone."""
        if self._file is None:
            return self._body[begin:end]
        self._file.seek(begin)
        content = self._file.read(end - begin)
        return content if os.fstat(self._file.fileno()).st_nlink else None

    def close(self) -> None:
        """No more is read."""
        if self._file is not None:
            self._file.close()
