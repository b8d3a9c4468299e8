"""Commands about recordings on their way to the centre (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from msgspec import Struct

from firmware.control.commands import Command, command


class UploadResult(Struct, frozen=True):
    """`state`: off, waiting (for the window), sending, pausing (after a fault) or idle (all is at the centre).

    `waiting`, `bytes`: recordings that the centre lacks (5000 at most are counted); `confirmed` of `size` bytes of `sending` are there;
    `sent`: recordings in all.
    """

    state: str
    state_zh: str
    window: str
    waiting: int
    bytes: int
    sending: str
    confirmed: int
    size: int
    sent: int
    last_sent: str
    nights_without: int
    says: str
    says_zh: str


@command(path="show upload", role="viewer", result=UploadResult, zh="显示录音上传中心的状态", served="manage")
class ShowUpload(Command, frozen=True):
    """Recordings on their way to the centre: how many wait, what is being sent, the last success and the last fault."""


@command(path="upload now", role="admin", result=UploadResult, zh="立即上传录音至中心", served="manage")
class UploadNow(Command, frozen=True):
    """Send what waits to the centre now, outside the window too, until all is there (kept in the access log)."""


@command(path="upload stop", role="admin", result=UploadResult, zh="停止由人启动的上传", served="manage")
class UploadStop(Command, frozen=True):
    """End what `upload now` began; the next window goes on from there."""
