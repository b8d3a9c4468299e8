"""A call's packets and events as a file (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command


class CallCapture(Struct, frozen=True):
    """A file was made and is kept for a while. `left_out`: packets without room in it."""

    name: str
    bytes: int
    sip: int
    rtp: int
    line: int
    call: int
    left_out: int


class CaptureBytes(Struct, frozen=True):
    """A part of a file: base64; `next` 0 = that was the end."""

    data: str
    size: int
    next: int


@command(path="capture call", role="supervisor", result=CallCapture, zh="将一个呼叫的 SIP、RTP 统计和线路事件保存为 pcap")
class CaptureCall(Command, frozen=True):
    """Make a pcap file of a call: its SIP messages as packets, RTP statistics, line and call events as syslog, on one time axis."""

    call: Annotated[str, Meta(description="Contact or leg id, or an endpoint such as line/1 or 101", max_length=64)]


@command(path="capture packets", role="supervisor", result=CaptureBytes, zh="读取呼叫抓包文件的数据", mutates=False)
class CapturePackets(Command, frozen=True):
    """A part of such a file, for programs; the console's `save-capture` writes it."""

    name: Annotated[str, Meta(description="File, as `capture call` named it", max_length=80)]
    offset: Annotated[int, Meta(description="First byte", ge=0)] = 0
