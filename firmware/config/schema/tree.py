"""The whole configuration of one appliance."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from firmware.config.schema.base import Entry, about
from firmware.config.schema.calls import InboundRoute, Menu, OutboundRoute, Queue
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.ports import Ports
from firmware.config.schema.system import DayPart, Features, Recording, Rtp, Sip, Site

SCHEMA_VERSION = 1


class Config(Entry, frozen=True):
    """Root: one readable file."""

    schema: Annotated[int, about("Schema version", ge=1, apply="restart")] = SCHEMA_VERSION
    board: Annotated[str, about("Board name, a folder of board/", pattern=r"^[a-z0-9-]+$", apply="reboot")] = "world"
    site: Site = Site()
    sip: Sip = Sip()
    rtp: Rtp = Rtp()
    recording: Recording = Recording()
    features: Features = Features()
    ports: Ports = Ports()
    extensions: Annotated[dict[str, Extension], about("Extensions by number")] = {}
    agents: Annotated[dict[str, Agent], about("Agents by agent number")] = {}
    queues: Annotated[dict[str, Queue], about("Queues by name")] = {}
    menus: Annotated[dict[str, Menu], about("Menus by name")] = {}
    inbound: Annotated[list[InboundRoute], about("Inbound routes in order")] = []
    outbound: Annotated[list[OutboundRoute], about("Outbound routes in order")] = []
    day_parts: Annotated[list[DayPart], about("Greetings by time of day, in order of start")] = field(
        default_factory=lambda: [
            DayPart(start="00:00", greeting="greet.morning"),
            DayPart(start="12:00", greeting="greet.afternoon"),
            DayPart(start="18:00", greeting="greet.evening"),
        ]
    )
    emergency_numbers: Annotated[list[str], about("Numbers added to the country's emergency numbers")] = []
    emergency_callback_s: Annotated[
        int, about("A call from outside within this time after an emergency call rings that caller", unit="s", ge=60, le=86400)
    ] = 3600
