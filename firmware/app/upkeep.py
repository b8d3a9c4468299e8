"""What manage does by itself at night: a sealed backup, and asking for a newer firmware within its window.

Theory of operation
-------------------
Once a minute the clock of the branch is looked at; `update/nightly.py` says what is due. STATE/upkeep.json remembers on which day each was
done, written before an update is asked for and after a backup is made, so that a restart asks for no update twice and leaves no backup out.
A backup that fails is tried again every quarter of an hour of that day, `show upkeep` says why, and an alarm is up until one was made, also
over restarts; the oldest of its own are removed only after a new one was proved. An update is a wish to the agent like any by hand: it
refuses what is not newer, installs while calls go on and waits for idle lines. If it still
waits when the window ends, the wish of this part, and no other, is taken back until the next night.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from firmware.config.schema.tree import Config
from firmware.control.gate import Gate
from firmware.control.upkeep_commands import ShowUpkeep, UpkeepRow
from firmware.errors import PbxError
from firmware.store.files import write_atomic
from firmware.surfaces.cli.errors import chinese
from firmware.update import nightly, spool
from firmware.update.machine import Request

LOOK_S = 20.0
AGAIN = timedelta(minutes=15)
PREFIX = "auto-"
SUFFIX = ".bak"
FILE = "upkeep.json"

log = logging.getLogger("branchpbx.upkeep")
MakeBackup = Callable[[Path, bytes], Awaitable[int]]


class Done(Struct):
    """What is remembered. Days as YYYY-MM-DD; `failed`: the latest try of a backup; `asked`: address of the update that this part has
    asked for and that may wait still."""

    backup: str = ""
    says: str = ""
    says_zh: str = ""
    failed: bool = False
    update: str = ""
    asked: str = ""


class Upkeep:
    """See the theory of operation above. `make` writes a proved backup sealed to a key (its size); `run`: the agent's spool folder."""

    def __init__(self, state: Path, config: Callable[[], Config], make: MakeBackup, run: Path = spool.RUN) -> None:
        self._path = state / FILE
        self._state, self._config, self._make, self._run = state, config, make, run
        self._retry: datetime | None = None
        self.done = Done()
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            self.done = msgspec.json.decode(self._path.read_bytes(), type=Done)

    def attach(self, gate: Gate) -> None:
        """Answer `show upkeep`."""
        gate.handle(ShowUpkeep, lambda _: self.rows())

    async def run(self) -> None:
        """The task of manage."""
        while True:
            await self.look(datetime.fromtimestamp(time.time(), UTC))
            await asyncio.sleep(LOOK_S)

    async def look(self, utc: datetime) -> None:
        """Do what is due at that time."""
        config = self._config()
        now = utc.astimezone(ZoneInfo(config.site.time_zone))
        await self._backup(config, now)
        self._update(config, now)

    def rows(self) -> list[UpkeepRow]:
        """For `show upkeep`."""
        config = self._config()
        update = config.update
        return [
            UpkeepRow("backup", config.backup.at, self.done.backup,
                      *_off(config.backup.at, "backup.at", self.done.says, self.done.says_zh), "备份"),
            UpkeepRow("update", f"{update.begin}-{update.end}" if update.url else "", self.done.update,
                      *_off(update.url, "update.url", self.done.asked, self.done.asked), "升级"),
        ]  # fmt: skip

    def alarms(self) -> dict[str, list[str]]:
        """What a person must know, by kind: English, Chinese. A backup that nobody wants any more fails no longer."""
        if not self.done.failed or not self._config().backup.at:
            return {}
        last = self.done.backup
        said = f"the nightly backup fails: {self.done.says}" + (f"; the latest good one is of {last}" if last else "; there is none yet")
        told = f"每日备份失败：{self.done.says_zh}" + (f"；最近一次成功的备份为 {last}" if last else "；尚无成功的备份")
        return {"backup:nightly": [said, told]}

    def _note(self) -> None:
        try:
            write_atomic(self._path, msgspec.json.encode(self.done), mode=0o600)
        except OSError as error:
            log.warning("%s: cannot be written (%s)", self._path, error.strerror)

    # --- backup -------------------------------------------------------------------------------------------------------

    async def _backup(self, config: Config, now: datetime) -> None:
        wanted = config.backup
        if not nightly.daily_due(now, wanted.at, _day(self.done.backup)) or (self._retry is not None and now < self._retry):
            return
        folder = Path(config.central.folder)
        path = folder / f"{PREFIX}{now:%Y%m%d}{SUFFIX}"
        try:
            if not await asyncio.to_thread(folder.is_dir):
                raise PbxError(f"{folder}: is not there; plug the stick in")
            from firmware.store import sealing

            size = await self._make(path, sealing.unb64(wanted.recipient, "the recipient's key"))
            removed = await asyncio.to_thread(self._tidy, folder, wanted.keep)
        except (PbxError, OSError) as error:
            self._retry = now + AGAIN
            said, self.done.says = self.done.says, str(error)
            self.done.says_zh = chinese(str(error)) or str(error)
            if said != self.done.says or not self.done.failed:
                self.done.failed = True
                self._note()
            log.error("the daily backup failed: %s; tried again in %d min", error, AGAIN.seconds // 60)
            return
        self._retry, self.done.failed = None, False
        self.done.backup = now.date().isoformat()
        self.done.says, self.done.says_zh = f"{path.name}, {size} bytes", f"{path.name}，{size} 字节"
        log.info("backup %s, %d bytes; %d older removed", path, size, removed)
        self._note()

    def _tidy(self, folder: Path, keep: int) -> int:
        mine = sorted(path for path in folder.glob(f"{PREFIX}????????{SUFFIX}") if path.is_file())
        for path in mine[:-keep]:
            path.unlink()
        return len(mine[:-keep])

    # --- update -------------------------------------------------------------------------------------------------------

    def _update(self, config: Config, now: datetime) -> None:
        wanted = config.update
        day = nightly.window_day(now, wanted.begin, wanted.end) if wanted.url else None
        if self.done.asked and (day is None or day.isoformat() != self.done.update):
            self._take_back()
        if day is None or day.isoformat() == self.done.update:
            return
        begun = (now.hour * 60 + now.minute - nightly.minutes(wanted.begin)) % 1440
        if begun < nightly.spread_minutes(config.site.name, wanted.begin, wanted.end):
            return
        status = spool.read(self._run)
        if status is None or status.phase != "idle":
            return                              # no agent, or it is busy with somebody else's wish
        source = wanted.url.replace("{channel}", wanted.channel)
        self.done.update, self.done.asked = day.isoformat(), source
        self._note()
        log.info("asking for %s", source)
        with contextlib.suppress(OSError):
            spool.put(spool.Wish("install", Request(source)), self._run)

    def _take_back(self) -> None:
        """The window is over."""
        status = spool.read(self._run)
        if status is not None and status.phase in ("checking", "installing"):
            return                              # it waits when that is done, and is taken back then
        if status is not None and status.phase == "waiting":
            with contextlib.suppress(OSError):
                spool.put(spool.Wish("cancel"), self._run)
            log.info("%s waited for idle lines until the window ended; it is tried again", self.done.asked)
        self.done.asked = ""
        self._note()


def _off(wanted: str, setting: str, says: str, told: str) -> tuple[str, str]:
    """What is told of something that the configuration wants, and how it is switched on where it does not."""
    return (says, told) if wanted else (f"off: {setting} is not set", f"未启用：未设置 {setting}")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
