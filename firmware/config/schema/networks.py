"""Networks that the box stands in or behind: which address it tells there."""

from typing import Annotated

from msgspec import Meta

from firmware.config.schema.base import Entry, about

Subnet = Annotated[str, Meta(pattern=r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$")]


class Network(Entry, frozen=True):
    """A network whose peers are told an address of its own."""

    subnets: Annotated[list[Subnet], about("Subnets as address/length", min_length=1, max_length=32, apply="control")]
    address: Annotated[
        str,
        about(
            "Address of this box that peers there are told in SIP and for audio; empty: the one their messages arrive at",
            pattern=r"^[0-9A-Fa-f:.]*$", apply="control",
        ),
    ] = ""
