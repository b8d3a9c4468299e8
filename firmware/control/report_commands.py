"""Commands of reports and of the live board (see `control/commands.py`)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from firmware.control.commands import Command, command

QueueName = Annotated[str, Meta(description="Only this queue; - or empty for all", max_length=40)]
Form = Annotated[Literal["text", "csv", "svg"], Meta(description="text to read, csv for a spreadsheet, svg charts")]


class Page(Struct, frozen=True):
    """Lines as they are to be shown, or those of a file, in each language."""

    page_en: list[str]
    page_zh: list[str]


class BoardQueue(Struct, frozen=True):
    """A queue now and today. `level`: service level of today 0..1, null without calls; times in seconds."""

    queue: str
    waiting: int
    longest_s: int
    ready: int
    busy: int
    paused: int
    offered: int
    answered: int
    abandoned: int
    level: float | None
    asa_s: float | None


class BoardAgent(Struct, frozen=True):
    """An agent now; `seconds` in this state."""

    agent: str
    state: str
    reason: str
    queue: str
    extension: str
    seconds: int
    answered: int


class Board(Struct, frozen=True, tag=True):
    """The live board: also published as an event when it changed, at most once a second. `step`: of emergency staffing, "" for none."""

    at: int
    wall_ms: int
    name: str
    calls: int
    waiting: int
    longest_s: int
    step: str
    emergencies: list[str]
    queues: list[BoardQueue]
    agents: list[BoardAgent]
    target: float


class BoardPage(Struct, frozen=True):
    """The board with its text in each language."""

    board: Board
    page_en: list[str]
    page_zh: list[str]


@command(path="report day", role="supervisor", result=Page, zh="日报", mutates=False)
class ReportDay(Command, frozen=True):
    """Report of a day: queues, agents, lines, hours, who gave up when; with the definition of every figure."""

    day: Annotated[str, Meta(description="today, yesterday or YYYY-MM-DD", pattern=r"^(today|yesterday|\d{4}-\d{2}-\d{2})$")] = "today"
    queue: QueueName = ""
    form: Form = "text"


@command(path="report month", role="supervisor", result=Page, zh="月报", mutates=False)
class ReportMonth(Command, frozen=True):
    """Report of a month, as of a day, and day by day."""

    month: Annotated[str, Meta(description="this, last or YYYY-MM", pattern=r"^(this|last|\d{4}-\d{2})$")] = "this"
    queue: QueueName = ""
    form: Form = "text"


@command(path="report year", role="supervisor", result=Page, zh="年报", mutates=False)
class ReportYear(Command, frozen=True):
    """Report of a year, as of a day, and month by month."""

    year: Annotated[str, Meta(description="this, last or YYYY", pattern=r"^(this|last|\d{4})$")] = "this"
    queue: QueueName = ""
    form: Form = "text"


@command(path="report journey", role="supervisor", result=Page, zh="一次联络的全过程", mutates=False)
class ReportJourney(Command, frozen=True):
    """What one caller met, step by step: rings, menus, queues, people, how it ended and what proves it."""

    contact: Annotated[str, Meta(description="Contact id, as `show contacts` lists it")]


@command(path="report queue-log", role="supervisor", result=Page, zh="导出队列日志（Asterisk格式）", mutates=False)
class ReportQueueLog(Command, frozen=True):
    """The queue log of a day in the format of Asterisk's queue_log file."""

    day: Annotated[str, Meta(description="today, yesterday or YYYY-MM-DD", pattern=r"^(today|yesterday|\d{4}-\d{2}-\d{2})$")] = "today"


@command(path="report cdr", role="supervisor", result=Page, zh="导出话单（Asterisk格式）", mutates=False)
class ReportCdr(Command, frozen=True):
    """The calls of a day in the format of Asterisk's Master.csv."""

    day: Annotated[str, Meta(description="today, yesterday or YYYY-MM-DD", pattern=r"^(today|yesterday|\d{4}-\d{2}-\d{2})$")] = "today"


@command(path="show board", role="viewer", result=BoardPage, zh="显示实时看板")
class ShowBoard(Command, frozen=True):
    """The live board: who waits, the longest wait, agents' states, service level of today."""
