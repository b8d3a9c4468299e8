"""Mail of voice messages and reports: a queue in `manage.db`, tried again with growing pauses (L6, in the management process).

Theory of operation
-------------------
Core says which messages wait (`voicemail outbox`), `report_mail` which reports are due; each has a row in the table `mail` with its tries
and when the next one is due. A mail
is sent in a thread. That the server took it is written down and synced before core is told, and core is told again after a restart in
between; so a power cut sends a mail twice at worst, under the same Message-ID, and never loses one. A refusal for good, or a queue older
than `give_up_h`, ends as "failed" at the message, which stays in its box. After `alarm_after` failures in a row, and for each mail that
failed for good, the alarm "voicemail:mail" is raised; the next mail that is taken clears it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, tzinfo
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

import msgspec

from firmware.app.report_mail import BOX as REPORT_BOX
from firmware.app.report_mail import ReportMail
from firmware.config.schema.tree import Config
from firmware.control.client import CommandFailed, NotRunning
from firmware.control.voicemail_commands import MailTask
from firmware.net.mail import MailRefusedError, compose, read_audio, send
from firmware.store.db import Database

log = logging.getLogger("branchpbx.mail")
POLL_S = 2.0
HOUR_MS = 3_600_000
Ask = Callable[..., Awaitable[Any]]


class Mailer:
    """See the theory of operation. `ask(path, **args)` is a command of core; `now()` Unix ms."""

    def __init__(
        self, config: Config, db: Database, ask: Ask, zone: tzinfo, now: Callable[[], int] = lambda: int(time.time() * 1000)
    ) -> None:
        self._config = config
        self._settings = config.mail
        self._db = db
        self._ask = ask
        self._zone = zone
        self._now = now
        self._reports = ReportMail(config, ask, zone, now)
        self._failures = 0
        self._alarmed: str | None = None

    def configure(self, config: Config, zone: tzinfo) -> None:
        """Take over another configuration."""
        self._config, self._settings, self._zone = config, config.mail, zone
        self._reports.configure(config, zone)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            if self._settings.host:
                try:
                    await self.work()
                except (NotRunning, CommandFailed) as error:
                    log.info("call control does not answer now: %s", error)
            await asyncio.sleep(POLL_S)

    async def work(self) -> None:
        """One look at what waits."""
        tasks = msgspec.convert(await self._ask("voicemail outbox"), list[MailTask]) + self._reports.tasks()
        known = {(row["box"], row["message"]): row for row in self._db.query("SELECT * FROM mail")}
        for task in tasks:
            row = known.pop((task.box, task.message), None)
            if row is not None and row["accepted_ms"] is not None:
                if not task.box.startswith(REPORT_BOX):
                    await self._told(task, "sent")
            elif row is None or row["next_ms"] <= self._now():
                await self._try(task, row)
        for box, message in known:               # delivered and told, or deleted meanwhile
            self._db.execute("DELETE FROM mail WHERE box = ? AND message = ?", (box, message))

    async def _try(self, task: MailTask, row: Any) -> None:
        first = row["first_ms"] if row is not None else self._now()
        tries = (row["tries"] if row is not None else 0) + 1
        self._db.execute(
            "INSERT INTO mail (box, message, address, first_ms, next_ms, tries) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (box, message) DO UPDATE SET tries = excluded.tries, address = excluded.address",
            (task.box, task.message, task.address, first, self._now(), tries),
        )
        try:
            if task.box.startswith(REPORT_BOX):
                mail = await self._reports.letter(task, self._ident(task))
            else:
                mail = await asyncio.to_thread(self._letter, task)
            answer = await asyncio.to_thread(send, self._settings, mail)
        except MailRefusedError as error:
            await self._refused(task, error, first, tries)
            return
        self._db.execute("UPDATE mail SET accepted_ms = ?, answer = ? WHERE box = ? AND message = ?",
                         (self._now(), answer, task.box, task.message))  # fmt: skip
        await asyncio.to_thread(self._db.flush, 5.0)
        log.info("message %s of box %s: mail to %s %s at try %d", task.message, task.box, task.address, answer, tries)
        self._failures = 0
        await self._alarm("")
        await self._told(task, "sent")

    async def _refused(self, task: MailTask, error: MailRefusedError, first: int, tries: int) -> None:
        self._failures += 1
        log.warning("message %s of box %s: mail to %s not taken at try %d: %s", task.message, task.box, task.address, tries, error)
        if error.final or self._now() - first > self._settings.give_up_h * HOUR_MS:
            await self._told(task, f"failed: {error}"[:300])
            await self._alarm(f"{task.address}: {error}")
            return
        pause = min(self._settings.retry_first_s << min(tries - 1, 20), self._settings.retry_most_s) * 1000
        self._db.execute("UPDATE mail SET next_ms = ?, answer = ? WHERE box = ? AND message = ?",
                         (self._now() + pause, str(error), task.box, task.message))  # fmt: skip
        if self._failures >= self._settings.alarm_after:
            await self._alarm(str(error))

    async def _told(self, task: MailTask, state: str) -> None:
        if task.box.startswith(REPORT_BOX):
            # Its row stays until the next report of its kind is due; one that failed for good is not tried again.
            self._db.execute("UPDATE mail SET accepted_ms = coalesce(accepted_ms, ?), answer = CASE WHEN accepted_ms IS NULL THEN ? "
                             "ELSE answer END WHERE box = ? AND message = ?", (self._now(), state, task.box, task.message))  # fmt: skip
            await asyncio.to_thread(self._db.flush, 5.0)
            return
        await self._ask("voicemail mailed", box=task.box, message=task.message, state=state)

    async def _alarm(self, text: str) -> None:
        if text != self._alarmed:
            self._alarmed = text
            await self._ask("voicemail alarm", text=text[:300])

    # --- mails --------------------------------------------------------------------------------------------------------

    def _ident(self, task: MailTask) -> str:
        return hashlib.sha256(f"{self._config.site.name}/{task.box}/{task.message}/{task.at_ms}".encode()).hexdigest()[:32]

    def _letter(self, task: MailTask) -> EmailMessage:
        settings, local = self._settings, datetime.fromtimestamp(task.at_ms / 1000, self._zone)
        who = task.name or task.number
        when = local.isoformat(" ", "minutes")[:16]
        if settings.language == "zh":
            caller = f"{who}（{task.number}）" if task.name and task.number else who or "未知号码"
            subject = f"{task.title}：{caller}的语音留言"
            text = f"信箱：{task.title}\n来自：{caller}\n时间：{when}\n时长：{task.seconds}秒\n"
        else:
            caller = f"{who} ({task.number})" if task.name and task.number else who or "an unknown number"
            subject = f"{task.title}: voice message from {caller}"
            text = f"Box: {task.title}\nFrom: {caller}\nTime: {when}\nLength: {task.seconds} s\n"
        audio = read_audio(task.path) if task.attach else None
        name, date = f"{local:%Y%m%d-%H%M%S}.wav", format_datetime(local)
        return compose(settings, task.address, subject, text, self._ident(task), audio=audio, name=name, date=date)

    async def test(self, address: str) -> str:
        """Send a test mail at once; what the server said. Raises MailRefusedError."""
        settings, now = self._settings, datetime.fromtimestamp(self._now() / 1000, self._zone)
        if not settings.host:
            raise MailRefusedError("there is no mail server: set mail.host", final=True)
        chinese = settings.language == "zh"
        subject = f"{self._config.site.name}：测试邮件" if chinese else f"{self._config.site.name}: test mail"
        text = "语音留言邮件可以送达。\n" if chinese else "Mail of voice messages arrives here.\n"
        mail = compose(settings, address, subject, text, f"test-{self._now()}", date=format_datetime(now))
        return await asyncio.to_thread(send, settings, mail)
