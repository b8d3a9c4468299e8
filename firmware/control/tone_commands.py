"""Commands about the disconnect tones that lines taught, and about hang-ups that were perhaps false (see `control/commands.py`)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command

Line = Annotated[str, Meta(description="Outside line: line/1, or its jack number", pattern=r"^(line/)?[0-9]{1,3}$")]


class ToneRow(Struct, frozen=True):
    """A disconnect tone of a line. `verified`: calls that ended with it; `against`: calls that went on after it."""

    line: str
    tone: str
    state_en: str
    state_zh: str
    seen: int
    verified: int
    against: int
    last: str


class HangUpRow(Struct, frozen=True):
    """How often our ear ended calls of a line, and who called back within two minutes; `estimate`: perhaps false."""

    line: str
    released: int
    confidence: float
    with_number: int
    called_back: int
    usual_percent: float
    estimate: float
    verdict_en: str
    verdict_zh: str


@command(path="tone show", role="viewer", result=list[ToneRow], zh="显示线路学到的挂机音", mutates=False)
class ToneShow(Command, frozen=True):
    """Disconnect tones learned on one line, or on all."""

    line: Annotated[str, Meta(description="Outside line, empty for all", pattern=r"^(line/)?[0-9]{0,3}$")] = ""


@command(path="tone accept", role="supervisor", result=list[ToneRow], zh="立即采用线路学到的挂机音")
class ToneAccept(Command, frozen=True):
    """Use the proposed disconnect tone of a line from its next call on, without waiting for two more calls."""

    line: Line


@command(path="tone forget", role="supervisor", result=list[ToneRow], zh="忘记线路学到的挂机音")
class ToneForget(Command, frozen=True):
    """Forget what a line taught, refuted tones included; it learns anew."""

    line: Line


@command(path="tone hangups", role="viewer", result=list[HangUpRow], zh="显示每条线路疑似误挂机的统计", mutates=False)
class ToneHangUps(Command, frozen=True):
    """Hang-ups by tone or silence of each line, who called back at once, and how many were perhaps false."""

    days: Annotated[int, Meta(description="Over how many days", ge=1, le=90)] = 7
