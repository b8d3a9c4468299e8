"""Reports by mail: which are due, and what their letters say (L6, in the management process).

Theory of operation. `reports.mail` names who gets them and `reports.mail_at` when: each morning the report of the day before, on the
first of a month that of the last month, on the first of January that of the last year, as text with every figure as CSV. A report stays a
task of the mailer's queue until the next of its kind is due, so what was accepted is remembered by the queue's own row; nothing is sent
twice, and one that could not be sent for hours is sent when the server is back. After the appliance was off for days the latest report of
each kind is sent, not every one that was missed. Reports name no callers; who reads them should be allowed to see figures of agents where
they are in reports (`reports.people`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, tzinfo
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from firmware.config.schema.tree import Config
from firmware.control.voicemail_commands import MailTask
from firmware.net.mail import compose

BOX = "report/"
TITLES = {"day": ("daily report", "日报"), "month": ("monthly report", "月报"), "year": ("yearly report", "年报")}
Ask = Callable[..., Awaitable[Any]]


class ReportMail:
    """See the theory of operation. `ask(path, **args)` is a command of core; `now()` Unix ms."""

    def __init__(self, config: Config, ask: Ask, zone: tzinfo, now: Callable[[], int]) -> None:
        self._config, self._ask, self._zone, self._now = config, ask, zone, now

    def configure(self, config: Config, zone: tzinfo) -> None:
        """Take over another configuration."""
        self._config, self._zone = config, zone

    def tasks(self) -> list[MailTask]:
        """The latest report of each kind that is due, once for each address."""
        settings = self._config.reports
        local = datetime.fromtimestamp(self._now() / 1000, self._zone)
        found = []
        for kind in settings.mail_kinds if settings.mail else []:
            due, label = latest(kind, local, settings.mail_at)
            found += [
                MailTask(BOX + kind, f"{label} {address}", self._config.site.name, address, round(due.timestamp() * 1000), 0, "", label, "",
                         True) for address in settings.mail
            ]  # fmt: skip
        return found

    async def letter(self, task: MailTask, ident: str) -> EmailMessage:
        """The mail of a report; core counts it now."""
        kind, label = task.box.removeprefix(BOX), task.name
        chinese = self._config.mail.language == "zh"
        page = f"page_{self._config.mail.language}"
        told = (await self._ask(f"report {kind}", **{kind: label}))[page]
        figures = (await self._ask(f"report {kind}", **{kind: label, "form": "csv"}))[page]
        title = TITLES[kind][chinese]
        subject = f"{task.title}：{title} {label}" if chinese else f"{task.title}: {title} {label}"
        date = format_datetime(datetime.fromtimestamp(self._now() / 1000, self._zone))
        mail = compose(self._config.mail, task.address, subject, "\n".join(told) + "\n", ident, date=date)
        # The byte order mark lets spreadsheets read Chinese names.
        data = "\ufeff" + "".join(line + "\r\n" for line in figures)
        mail.add_attachment(data.encode(), maintype="text", subtype="csv", filename=f"report-{label}.csv")
        return mail


def latest(kind: str, local: datetime, clock: str) -> tuple[datetime, str]:
    """When the latest report of a kind was due, and of which day, month or year it is, as the report commands take it."""
    hour, minute = (int(part) for part in clock.split(":"))
    due = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if kind == "month":
        due = due.replace(day=1)
    elif kind == "year":
        due = due.replace(month=1, day=1)
    if due > local:
        before = due - timedelta(days=1)
        due = before if kind == "day" else due.replace(year=before.year, month=before.month if kind == "month" else 1)
    of = due - timedelta(days=1)
    return due, {"day": f"{of:%Y-%m-%d}", "month": f"{of:%Y-%m}", "year": f"{of:%Y}"}[kind]
