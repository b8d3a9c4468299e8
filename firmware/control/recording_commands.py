"""Commands about recordings: find, read, prove, erase (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command

Day = Annotated[str, Meta(description="Local day as 2026-03-02, empty for any", pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]


class RecordingRow(Struct, frozen=True):
    """One recording. `state`: whole, or cut (it ends in the middle: power cut); `masked`: silences in ms; `keep_until` local day."""

    path: str
    contact: str
    time: str
    seconds: int
    kind: str
    caller: str
    called: str
    queue: str
    agents: str
    rating: int
    state: str
    masked: str
    keep_until: str


class RecordingPart(Struct, frozen=True):
    """Samples: base64 of 16 bit little endian, left and right, 8000 Hz. `next`: where the next part begins, 0 after the last."""

    samples: str
    next: int
    label: str


class RecordingCheck(Struct, frozen=True):
    """What the check of all recordings found: `wrong` names each difference."""

    checked: int
    sound: bool
    wrong: list[str]


class RecordingsGone(Struct, frozen=True):
    """How many were erased."""

    erased: int


class RecordingNoted(Struct, frozen=True):
    """Whether it is noted that the centre has it; false: the recording is not here any more."""

    sent: bool


class AccessRow(Struct, frozen=True):
    """Who listed, heard, exported or erased which recording."""

    time: str
    who: str
    what: str
    path: str
    detail: str


@command(path="recordings list", role="supervisor", result=list[RecordingRow], zh="查找录音", mutates=True)
class RecordingsList(Command, frozen=True):
    """Recordings that fit everything asked for, newest first (kept in the access log)."""

    agent: Annotated[str, Meta(description="Agent number", pattern=r"^[0-9]{0,8}$")] = ""
    number: Annotated[str, Meta(description="Telephone number of either side", pattern=r"^\+?[0-9*#]{0,24}$")] = ""
    queue: Annotated[str, Meta(description="Queue", pattern=r"^[A-Za-z0-9_.-]{0,40}$")] = ""
    rating: Annotated[int, Meta(description="The caller's rating, 0 for any", ge=0, le=10)] = 0
    since: Day = ""
    until: Day = ""
    lines: Annotated[int, Meta(description="How many at most", ge=1, le=1000)] = 50


class DrawnRow(RecordingRow, frozen=True):
    """One recording to be reviewed. `drawn_for`: the agent; `drawn_by`: chance, or rating (the caller's worst one)."""

    drawn_for: str
    drawn_by: str


@command(path="recordings draw", role="supervisor", result=list[DrawnRow], zh="为每位座席抽取录音供质检", mutates=True)
class RecordingsDraw(Command, frozen=True):
    """Some recordings of each agent for a person to review: by chance, and the one rated worst (kept in the access log)."""

    agent: Annotated[str, Meta(description="Agent number, empty for all", pattern=r"^[0-9]{0,8}$")] = ""
    days: Annotated[int, Meta(description="Of the last so many days", ge=1, le=366)] = 30
    count: Annotated[int, Meta(description="So many for each agent", ge=1, le=50)] = 3


@command(path="recordings listen", role="supervisor", result=RecordingPart, zh="收听录音", mutates=True)
class RecordingsListen(Command, frozen=True):
    """Part of a recording, to be heard and not kept (kept in the access log)."""

    recording: Annotated[str, Meta(description="As `recordings list` names it", max_length=120)]
    at: Annotated[int, Meta(description="Where the part begins, 0 for the beginning", ge=0)] = 0


@command(path="recordings export", role="admin", result=RecordingPart, zh="导出录音", mutates=True)
class RecordingsExport(Command, frozen=True):
    """Part of a recording, to be written to a file marked with who took it and when (kept in the access log)."""

    recording: Annotated[str, Meta(description="As `recordings list` names it", max_length=120)]
    at: Annotated[int, Meta(description="Where the part begins, 0 for the beginning", ge=0)] = 0


@command(path="recordings verify", role="supervisor", result=RecordingCheck, zh="核对录音是否被改动或删除")
class RecordingsVerify(Command, frozen=True):
    """Compare every recording with the chain: what was changed, removed or put in by another hand."""


@command(path="recordings erase", role="admin", result=RecordingsGone, zh="按号码删除录音", mutates=True)
class RecordingsErase(Command, frozen=True):
    """Erase every recording of calls with a telephone number, whatever its class: the file, its key and its line in the list."""

    number: Annotated[str, Meta(description="Telephone number of either side", pattern=r"^\+?[0-9*#]{3,24}$")]


@command(path="recordings disk", role="admin", result=RecordingCheck, zh="启用新的录音磁盘", mutates=True)
class RecordingsDisk(Command, frozen=True):
    """Accept the disk that is there now for recordings; what only the old one had is written off."""


@command(path="recordings access", role="supervisor", result=list[AccessRow], zh="显示录音访问记录")
class RecordingsAccess(Command, frozen=True):
    """Who listed, heard, exported or erased recordings."""

    lines: Annotated[int, Meta(description="How many records", ge=1, le=1000)] = 50


class ChainLink(Struct, frozen=True):
    """A link of the chain of recordings: a file was sealed, or removed and why. `hash` is keyed and covers the link before."""

    seq: int
    at_ms: int
    what: str
    path: str
    digest: str
    why: str
    hash: str


class ChainLinks(Struct, frozen=True):
    """Links that follow one, whose hash is `before`; `last`: number of the newest one."""

    last: int
    before: str
    links: list[ChainLink]


class WaitingRow(Struct, frozen=True):
    """A recording that the centre lacks. Times in Unix ms; `frames`: 8000 a second; `keep`: its class."""

    path: str
    contact: str
    state: str
    started_ms: int
    frames: int
    lost: int
    bytes: int
    keep: str
    keep_until_ms: int
    masked: str
    kind: str
    caller: str
    called: str
    queue: str
    agents: str
    rating: int
    line: str
    extension: str
    link: ChainLink


class RecordingsWaiting(Struct, frozen=True):
    """How many recordings the centre lacks, their bytes, and the oldest of them. `there`: the recording asked for is in the list."""

    waiting: int
    bytes: int
    there: bool
    rows: list[WaitingRow]


@command(path="recordings outbox", role="admin", result=RecordingsWaiting, zh="显示待发送至中心的录音", mutates=False)
class RecordingsOutbox(Command, frozen=True):
    """Recordings that the centre has not got yet, the oldest first."""

    queues: Annotated[list[str], Meta(description="Only of these queues, none for all", max_length=40)] = []
    lines: Annotated[list[str], Meta(description="Only of these lines, none for all", max_length=40)] = []
    recording: Annotated[str, Meta(description="A recording that may be gone meanwhile", max_length=120)] = ""
    most: Annotated[int, Meta(description="How many at most", ge=1, le=50)] = 20


@command(path="recordings chain", role="admin", result=ChainLinks, zh="显示录音校验链", mutates=False)
class RecordingsChain(Command, frozen=True):
    """Links of the chain of recordings after one of them."""

    after: Annotated[int, Meta(description="Number of a link, 0 for the beginning", ge=0)] = 0
    most: Annotated[int, Meta(description="How many at most", ge=1, le=500)] = 200


@command(path="recordings sent", role="admin", result=RecordingNoted, zh="记录录音已送达中心")
class RecordingsSent(Command, frozen=True):
    """Note that the centre has a recording whole (kept in the access log); saying it again changes nothing."""

    recording: Annotated[str, Meta(description="As `recordings list` names it", max_length=120)]
    who: Annotated[str, Meta(description="Who let it be sent", max_length=80)]
    where: Annotated[str, Meta(description="Where it lies now", max_length=1000)]


class PolicyRow(Struct, frozen=True):
    """One rule of the requirements. `state`: enforced, offered, measured, or off (a measure of people where the country says so)."""

    id: str
    state: str
    default: str
    now: list[str]
    evidence: str
    report: str
    text_en: str
    text_zh: str


@command(path="show policy", role="viewer", result=list[PolicyRow], zh="显示规则及其依据")
class ShowPolicy(Command, frozen=True):
    """Every rule of the requirements that this box carries out: its setting, what proves it, and where it is reported."""

    rule: Annotated[str, Meta(description="Only rules whose id begins so, for example ANS or SEC-09", pattern=r"^[A-Z0-9-]{0,8}$")] = ""
