"""Commands about updates, for boxes whose only ways in are the console, the serial line and the centre (see `control/commands.py`)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command

# Never an option of a program, never a relative name: a path on the box or an address.
SourceWord = Annotated[str, Meta(description="Bundle: path on the box or http(s) address", pattern=r"^(/|https?://)[^\s]{1,500}$")]


class UpdateResult(Struct, frozen=True):
    """What the update agent tells. `phase`: starting, idle, checking, installing, waiting, restarting, or none where there is no agent;
    `outcome` of the last update: good, rolled back, refused, failed, put off, cancelled, or ""."""

    slot: str
    version: str
    phase: str
    on_trial: bool
    offered: str
    outcome: str
    outcome_version: str
    says: str
    says_zh: str


@command(path="show update", role="viewer", result=UpdateResult, zh="显示固件升级状态", served="manage")
class ShowUpdate(Command, frozen=True):
    """Which version runs in which slot, what an update is at, how the last one ended."""


@command(path="update install", role="admin", result=UpdateResult, zh="安装固件升级包（通话结束后重启）", served="manage")
class UpdateInstall(Command, frozen=True):
    """Check a signed bundle and install it beside the running version; the box restarts when no call is up."""

    source: SourceWord
    now: Annotated[bool, Meta(description="Restart as soon as it is installed, calls or not")] = False
    older: Annotated[bool, Meta(description="An older version is meant")] = False


@command(path="update cancel", role="admin", result=UpdateResult, zh="取消等待中的固件升级", served="manage")
class UpdateCancel(Command, frozen=True):
    """Give up an update that waits for its restart; the running version stays."""


@command(path="rescue", role="admin", result=UpdateResult, zh="重启进入救援系统（仅一次）", served="manage")
class Rescue(Command, frozen=True):
    """Restart into the rescue system, once: for whoever stands at the box with a serial cable. Refused while calls are up."""

    now: Annotated[bool, Meta(description="Calls or not")] = False
