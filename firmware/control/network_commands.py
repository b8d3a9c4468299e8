"""Query about networks (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from msgspec import Struct

from firmware.control.commands import Command, command


class NetworkRow(Struct, frozen=True):
    """One network. `told`: address of this box that its peers are told, "" for the one their messages arrive at; `phones`: registered
    from there; `remedy`: what to do where something is wrong."""

    network_en: str
    network_zh: str
    subnets: str
    told: str
    phones: int
    remedy_en: str
    remedy_zh: str


@command(path="show networks", role="viewer", result=list[NetworkRow], zh="显示各网络被告知的本机地址")
class ShowNetworks(Command, frozen=True):
    """Which address of this box is told to which network, and how many telephones are there: where to look when nobody is heard."""
