"""Backups by console command: onto a stick and from it, while the appliance runs.

A restore cannot change files under processes that have them open. It is unpacked and checked here, laid aside whole in `DIR/restore`
(mode 0700), and the appliance starts anew: the next start, which holds the lock of the state folder and has nothing open, puts everything
in its
place before it reads anything (`apply_pending`). A power cut at any point leaves the old site or the new one: the mark `ready` is written
last and
removed last, and doing it twice does what once does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import firmware
from firmware.app import backup as tool
from firmware.app.site import site_of
from firmware.config.diff import diff
from firmware.config.schema.tree import Config
from firmware.control.backup_commands import BackupMake, BackupPreview, BackupRestore, BackupResult, RestoreRow
from firmware.control.gate import Gate
from firmware.errors import CommandError, PbxError, StoreError
from firmware.store import sealing
from firmware.store.configuration import ConfigurationStore
from firmware.store.files import sync_folder, write_atomic
from firmware.update import backup

SUFFIX = ".bak"
MOST_ROWS = 400
WORDS = {"added": "新增", "removed": "删除", "changed": "修改"}

log = logging.getLogger("branchpbx.backup")


class BackupPart:
    """See the theory of operation above. `config` is what is stored and runs; `restart` starts the appliance anew."""

    def __init__(self, state: Path, config: Callable[[], Config], restart: Callable[[], None]) -> None:
        self._state = state
        self._config = config
        self._restart = restart
        self._busy = asyncio.Lock()

    def attach(self, gate: Gate) -> None:
        """Answer the three commands."""
        gate.handle(BackupMake, self._make)
        gate.handle(BackupPreview, self._preview)
        gate.handle(BackupRestore, self._restore)

    async def _make(self, command: BackupMake) -> BackupResult:
        path = self._path(command.name)
        if len(command.passphrase) < sealing.LEAST_PASSPHRASE:
            raise CommandError(f"the passphrase is too short; give at least {sealing.LEAST_PASSPHRASE} characters")
        async with self._busy:
            count, size = await asyncio.get_running_loop().run_in_executor(None, self._made, path, command.passphrase)
        says, says_zh = f"{count} files, {size} bytes, proved by a trial restore", f"{count} 个文件，{size} 字节，已通过试恢复验证"
        return BackupResult(str(path), says, says_zh)

    async def sealed_to(self, path: Path, recipient: bytes) -> int:
        """Write a proved backup that only the holder of the key's other half can open; its size. Raises StoreError."""
        async with self._busy:
            return (await asyncio.get_running_loop().run_in_executor(None, self._made, path, "", recipient))[1]

    def _made(self, path: Path, passphrase: str, recipient: bytes = b"") -> tuple[int, int]:
        device = sealing.Device(self._state / "device").public.device
        content = backup.collect(self._state, device, self._config().site.name, firmware.__version__, int(time.time() * 1000))
        return len(content.files), tool.write_proved(content, path, self._state, passphrase=passphrase, recipient=recipient)

    async def _preview(self, command: BackupPreview) -> list[RestoreRow]:
        async with self._busy:
            content, config = await self._opened(command.name, command.passphrase)
        rows = []
        for change in diff(self._config(), config)[:MOST_ROWS]:
            old, new = ("" if value is None else str(value) for value in (change.old, change.new))
            rows.append(RestoreRow(change.kind, change.path, f"{WORDS[change.kind]} {change.path}", old, new))
        rows += [RestoreRow("file", name, name) for name in content.files if name != backup.SITE]
        if content.meta.device != self._own():
            rows += [RestoreRow("todo", english, chinese) for english, chinese in backup.REDO]
        return rows

    async def _restore(self, command: BackupRestore) -> BackupResult:
        async with self._busy:
            content, config = await self._opened(command.name, command.passphrase)
            if content.meta.device != self._own() and not command.replace:
                raise CommandError(
                    f"the backup is of box {content.meta.device}, this is {self._own()}; give `replace true` and this box takes its place"
                )
            if config.board != self._config().board:
                raise CommandError(f"the backup is of a box with board {config.board}, this one has {self._config().board}")
            await asyncio.get_running_loop().run_in_executor(None, lay_aside, content, self._state)
        log.warning("a backup of box %s is restored: the appliance starts anew", content.meta.device)
        asyncio.get_running_loop().call_later(0.5, self._restart)
        return BackupResult(command.name, "the appliance starts anew with it; `show revisions` and `rollback 1` lead back",
                            "设备正在以该备份重新启动；可用 show revisions 与 rollback 1 退回")  # fmt: skip

    def _own(self) -> str:
        return sealing.Device(self._state / "device").public.device

    async def _opened(self, name: str, passphrase: str) -> tuple[backup.Content, Config]:
        path = self._path(name)

        def read() -> backup.Content:
            try:
                if path.stat().st_size > sealing.MOST_PLAIN + 4096:
                    raise CommandError(f"{path} is too large for a backup")
                return backup.unpack(path.read_bytes(), passphrase=passphrase)
            except OSError as error:
                raise CommandError(f"{path}: cannot be read ({error.strerror})") from error

        content = await asyncio.get_running_loop().run_in_executor(None, read)
        site = site_of(content.files[backup.SITE], backup.SITE, clips=False)
        if site.config is None:
            raise CommandError(f"the configuration in the backup does not fit this box or version: {site.problems[0].text()}")
        return content, site.config

    def _path(self, name: str) -> Path:
        folder = self._config().central.folder
        if not folder or not Path(folder).is_dir():
            raise CommandError("there is no stick; plug one in, and let `central.folder` name the folder where it appears")
        return Path(folder) / f"{name}{SUFFIX}"


# --- the next start ---------------------------------------------------------------------------------------------------


def lay_aside(content: backup.Content, state: Path) -> None:
    """Keep a whole, checked backup for the next start. Raises StoreError."""
    folder = state / "restore"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "ready").unlink(missing_ok=True)
        write_atomic(folder / "content", msgspec.msgpack.encode(content), mode=0o600)
        write_atomic(folder / "ready", b"", mode=0o600)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror}); nothing was changed") from error


def apply_pending(state: Path, fingerprint: str) -> bool:
    """Put a backup that was laid aside in its place; True when there was one. The lock of the state folder is held.

    `fingerprint`: of a site file on the command line, which the backup overrules once. Raises StoreError when the disk does not take it:
    then the appliance does not start on half a site.
    """
    folder = state / "restore"
    if not (folder / "ready").is_file():
        return False
    try:
        content = msgspec.msgpack.decode((folder / "content").read_bytes(), type=backup.Content)
    except (OSError, msgspec.MsgspecError) as error:
        log.error("the backup that was laid aside cannot be read (%s); the site stays as it is", error)
        _clear(folder)
        return False
    backup.lay_down(content, state)
    store = ConfigurationStore(state / "config")
    made = datetime.fromtimestamp(content.meta.wall_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = content.files[backup.SITE].decode()
    if not store.book.startup or store.text(store.book.startup) != text:
        store.over("a backup was restored")
        store.commit(text, "restore", f"backup of {content.meta.device}, {made}", how="import")
    if fingerprint:
        store.note_import(fingerprint)
    with contextlib.suppress(PbxError):
        if content.meta.device != sealing.Device(state / "device").public.device:
            write_atomic(state / "replaced.json", tool.replacement(content.meta), mode=0o600)
    _clear(folder)
    log.warning("the backup of box %s of %s was restored", content.meta.device, made)
    return True


def _clear(folder: Path) -> None:
    (folder / "ready").unlink(missing_ok=True)
    sync_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)

