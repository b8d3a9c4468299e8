"""The line doctor's commands: state in words, echo, captures, walk test, butt-set, self-test, caller id (see `control/commands.py`).

Fields that end in `_en` and `_zh` are one text in two languages; a console shows that of its operator.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command


class FactRow(Struct, frozen=True):
    """One thing known of a port."""

    name_en: str
    name_zh: str
    value_en: str
    value_zh: str


class FindingRow(Struct, frozen=True):
    """One thing to know or to do. `code` names it for programs; `weight`: fault, warning, hint, good."""

    code: str
    weight_en: str
    weight_zh: str
    finding_en: str
    finding_zh: str
    todo_en: str = ""
    todo_zh: str = ""


class LineReport(Struct, frozen=True):
    """A port in words."""

    endpoint: str
    label: str
    facts: list[FactRow]
    findings: list[FindingRow]


class DoctorRow(Struct, frozen=True):
    """A port in one line: the worst finding."""

    endpoint: str
    label: str
    code: str
    weight_en: str
    weight_zh: str
    finding_en: str
    finding_zh: str


class TerminationRow(Struct, frozen=True):
    """A termination that was tried: echo return loss, more is better."""

    setting: str
    erl_db: float
    present: bool


class EchoReport(Struct, frozen=True):
    """Echo of a port over its last calls, what to do about it, and terminations where they were compared."""

    endpoint: str
    calls: int
    erl_db: float | None
    erle_db: float | None
    delay_ms: int | None
    noise_dbm0: float | None
    level_dbm0: float | None
    words_audible: str
    findings: list[FindingRow]
    settings: list[str] = []
    compared: list[TerminationRow] = []


class CaptureRow(Struct, frozen=True):
    """One capture: `state` recording, done, or why it ended early."""

    name: str
    endpoint: str
    started: str
    seconds: float
    kilobytes: int
    state: str


class CaptureText(Struct, frozen=True):
    """A capture's timeline and where its sound lies."""

    name: str
    wav: str
    seconds: float
    timeline: list[str]


class CaptureChunk(Struct, frozen=True):
    """A part of a capture's WAV file: base64; `next` 0 = that was the end."""

    data: str
    size: int
    next: int


class WalkRow(Struct, frozen=True):
    """A line in the walk test: when it rang last, who called, which number was said to be on it, what stands in the configuration."""

    line: str
    rang: str
    caller: str
    number: str
    configured: str
    state_en: str
    state_zh: str


class HeardRow(Struct, frozen=True):
    """Something heard or done on a line in hand; `second` since it was seized."""

    second: float
    event_en: str
    event_zh: str


class ButtResult(Struct, frozen=True):
    """A line in the installer's hand: what was measured, dialled and heard. `heard` newest last."""

    line: str
    state_en: str
    state_zh: str
    volts: float
    milliamps: float
    seconds: int
    keys: str
    phone: str
    heard: list[HeardRow]


class SelfTestRow(Struct, frozen=True):
    """Result of the last self-test of a port, or of the box ("disk", "clock"); `failures` in a row."""

    target: str
    tested: str
    result_en: str
    result_zh: str
    failures: int
    volts: float | None = None
    milliamps: float | None = None
    dial_tone_ms: int | None = None


class CallerIdRow(Struct, frozen=True):
    """What was counted of a line's caller id, and what it amounts to."""

    line: str
    calls: int
    bell202: int
    v23: int
    dtmf: int
    before_ring: int
    damaged: int
    verdict_en: str
    verdict_zh: str
    setting: str


class Done(Struct, frozen=True):
    """What happened, in words."""

    text_en: str
    text_zh: str


Port = Annotated[
    str, Meta(description="Line as printed on its jack (3), or an analog phone's extension (101)", pattern=r"^[a-z0-9/]{1,16}$")
]
LineJack = Annotated[str, Meta(description="Line as printed on its jack", pattern=r"^(line/)?[0-9]{1,2}$")]
Capture = Annotated[str, Meta(description="Name as `capture list` shows it", pattern=r"^[0-9a-z-]{1,60}$")]


@command(path="show line", role="viewer", result=LineReport, zh="用文字显示一个端口的实时状态")
class ShowLine(Command, frozen=True):
    """One port in words: voltage, current, state, last ring, caller id, hang-up, echo, chip."""

    line: Port


@command(path="doctor line", role="viewer", result=LineReport, zh="诊断一个端口并给出处理建议", mutates=False)
class DoctorLine(Command, frozen=True):
    """One port in words, what is wrong with it and what to do."""

    line: Port


@command(path="doctor all", role="viewer", result=list[DoctorRow], zh="诊断所有端口", mutates=False)
class DoctorAll(Command, frozen=True):
    """The worst finding of every port."""


@command(path="doctor echo", role="supervisor", result=EchoReport, zh="诊断回声与噪声，可比较各种阻抗")
class DoctorEcho(Command, frozen=True):
    """Echo, noise and level of a line over its last calls, and what to change."""

    line: Port
    compare: Annotated[bool, Meta(description="Seize the idle line and measure which termination fits best (about 20 s)")] = False


@command(path="doctor tune", role="admin", result=EchoReport, zh="测量并采用最匹配该线路的阻抗")
class DoctorTune(Command, frozen=True):
    """Seize the idle line, measure the terminations (about 20 s) and keep the one that fits the cable best, over restarts."""

    line: Port


@command(path="doctor termination", role="admin", result=Done, zh="为端口选择阻抗")
class DoctorTermination(Command, frozen=True):
    """Use another termination than the country's on a port, kept over restarts; `country` undoes it."""

    line: Port
    setting: Annotated[str, Meta(description="Number as `doctor echo` names it, or country", pattern=r"^([0-9]{1,2}|country)$")]


@command(path="doctor loop", role="supervisor", result=LineReport, zh="测试话机插口：环路、振铃负载、外来电压")
class DoctorLoop(Command, frozen=True):
    """Line test of an idle telephone jack: loop, ringing load, leak, foreign voltage."""

    line: Port


@command(path="capture start", role="admin", result=CaptureRow, zh="抓取一个端口：双向录音和事件时间线")
class CaptureStart(Command, frozen=True):
    """Capture a port, idle or in a call: both directions as stereo WAV, and a timeline as text. Stops by itself."""

    line: Port
    seconds: Annotated[int, Meta(description="How long", ge=1, le=600)] = 60


@command(path="capture stop", role="supervisor", result=CaptureRow, zh="提前结束抓取")
class CaptureStop(Command, frozen=True):
    """End a capture before its time."""

    line: Port


@command(path="capture list", role="supervisor", result=list[CaptureRow], zh="列出抓取", mutates=False)
class CaptureList(Command, frozen=True):
    """Captures that are kept, newest first."""


@command(path="capture show", role="admin", result=CaptureText, zh="显示抓取的时间线")
class CaptureShow(Command, frozen=True):
    """The timeline of a capture."""

    name: Capture


@command(path="capture read", role="admin", result=CaptureChunk, zh="读取抓取的录音数据")
class CaptureRead(Command, frozen=True):
    """A part of a capture's sound, for programs; the console's `save-capture` puts it into a file."""

    name: Capture
    offset: Annotated[int, Meta(description="First byte", ge=0)] = 0


@command(path="capture delete", role="supervisor", result=Done, zh="删除抓取")
class CaptureDelete(Command, frozen=True):
    """Delete a capture."""

    name: Capture


@command(path="walk start", role="supervisor", result=list[WalkRow], zh="开始线路对号测试")
class WalkStart(Command, frozen=True):
    """Begin the walk test: call each line with a mobile phone; the console says which jack rings."""


@command(path="walk show", role="supervisor", result=list[WalkRow], zh="显示对号测试", mutates=False)
class WalkShow(Command, frozen=True):
    """Lines of the walk test."""


@command(path="walk number", role="supervisor", result=Done, zh="登记一条线路的号码")
class WalkNumber(Command, frozen=True):
    """Say which number is on a line: kept as its label until it is configured."""

    line: LineJack
    number: Annotated[str, Meta(description="The number you dialled", pattern=r"^[0-9+]{3,20}$")]


@command(path="walk call", role="supervisor", result=Done, zh="从一条线路呼叫自己的手机以查看号码")
class WalkCall(Command, frozen=True):
    """Call your mobile phone from a line and read its number there."""

    line: LineJack
    mobile: Annotated[str, Meta(description="Number of your mobile phone, with what must be dialled before it", pattern=r"^[0-9*#]{3,24}$")]


@command(path="walk lines", role="supervisor", result=list[str], zh="以 set 行显示对号结果", mutates=False)
class WalkLines(Command, frozen=True):
    """What the walk test found, as `set` lines for the configuration."""


@command(path="walk stop", role="supervisor", result=list[str], zh="结束对号测试")
class WalkStop(Command, frozen=True):
    """End the walk test; its `set` lines."""


@command(path="butt seize", role="admin", result=ButtResult, zh="像查线机一样占用线路")
class ButtSeize(Command, frozen=True):
    """Seize an idle line by hand, as with a butt-set; with `phone` that telephone rings and is joined to it."""

    line: LineJack
    phone: Annotated[str, Meta(description="Extension to listen and speak with", pattern=r"^[0-9]{0,8}$")] = ""


@command(path="butt keys", role="admin", result=ButtResult, zh="在占用的线路上拨键")
class ButtKeys(Command, frozen=True):
    """Dial keys on the line in hand."""

    line: LineJack
    keys: Annotated[str, Meta(description="Keys", pattern=r"^[0-9*#A-D]{1,32}$")]


@command(path="butt flash", role="admin", result=ButtResult, zh="在占用的线路上拍叉")
class ButtFlash(Command, frozen=True):
    """Hook flash on the line in hand."""

    line: LineJack


@command(path="butt show", role="admin", result=ButtResult, zh="显示占用线路的状态和听到的信号音", mutates=False)
class ButtShow(Command, frozen=True):
    """The line in hand: voltage, current, what is heard."""

    line: LineJack


@command(path="butt release", role="admin", result=ButtResult, zh="释放占用的线路")
class ButtRelease(Command, frozen=True):
    """Hang up the line in hand."""

    line: LineJack


@command(path="show self-test", role="viewer", result=list[SelfTestRow], zh="显示每日自检结果")
class ShowSelfTest(Command, frozen=True):
    """Results of the daily self-test."""


@command(path="self-test run", role="supervisor", result=Done, zh="立即自检空闲端口")
class SelfTestRun(Command, frozen=True):
    """Test every idle port now; `show self-test` has the results."""


@command(path="show caller-id", role="viewer", result=list[CallerIdRow], zh="显示各线路来电显示制式的统计")
class ShowCallerId(Command, frozen=True):
    """What was counted of each line's caller id scheme, and the verdict."""


@command(path="caller-id restart", role="supervisor", result=Done, zh="重新统计来电显示制式")
class CallerIdRestart(Command, frozen=True):
    """Forget what was counted of a line's caller id and listen for every scheme again."""

    line: LineJack
