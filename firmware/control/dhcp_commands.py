"""Query about the DHCP server beside the appliance (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from msgspec import Struct

from firmware.control.commands import Command, command


class DhcpResult(Struct, frozen=True):
    """State of the DHCP server: serving, refused (why, in words) or off."""

    state: str
    says: str
    says_zh: str


@command(path="show dhcp", role="viewer", result=DhcpResult, zh="显示 DHCP 服务器状态", served="manage")
class ShowDhcp(Command, frozen=True):
    """Whether the small DHCP server serves, and if not, why."""
