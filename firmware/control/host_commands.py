"""Query about the box's own addresses and clock (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from msgspec import Struct

from firmware.control.commands import Command, command


class AddressRow(Struct, frozen=True):
    """One connection, the name servers or the clock. `state`: ok, waiting (for an answer of the network) or fault; `foreign` is one row
    alone: this machine's own system looks after them."""

    what: str
    state: str
    device: str
    now: str
    says: str
    says_zh: str


@command(path="show addresses", role="viewer", result=list[AddressRow], zh="显示设备的地址、域名服务器与时钟设置是否生效", served="manage")
class ShowAddresses(Command, frozen=True):
    """Whether the box has the addresses, name servers and clock that `host` asks for."""
