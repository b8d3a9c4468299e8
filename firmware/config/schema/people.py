"""Extensions (telephones) and agents (people who log in on them)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from firmware.config.schema.base import Entry, about
from firmware.config.schema.system import Language


class Extension(Entry, frozen=True):
    """A telephone with an internal number; the table key is the number."""

    kind: Annotated[Literal["sip", "fxs"], about("Technology of the phone", apply="restart-port")]
    jack: Annotated[str, about("FXS jack number, for kind fxs", ref="ports.fxs", apply="restart-port")] = ""
    name: Annotated[str, about("Name shown to colleagues", max_length=40)] = ""
    secret: Annotated[str, about("SIP password; empty generates a random one at first start", secret=True, max_length=64)] = ""
    permission: Annotated[
        Literal["internal", "local", "national", "international"], about("Farthest class of number this phone may dial")
    ] = "local"
    locked: Annotated[bool, about("Only emergency and internal calls")] = False
    ring_s: Annotated[int, about("Ring for this long before giving up", unit="s", ge=5, le=300)] = 30


class Agent(Entry, frozen=True):
    """A person who answers queues; the table key is the agent number that callers hear."""

    name: Annotated[str, about("Name on the shift leader's screen, never told to callers", max_length=40)] = ""
    pin: Annotated[str, about("Log-in PIN; empty generates a random one at first start", secret=True, pattern=r"^[0-9]{0,8}$")] = ""
    queues: Annotated[list[str], about("Queues served", ref="queues")] = []
    languages: Annotated[list[Language], about("Languages spoken")] = field(default_factory=lambda: ["zh", "en"])
    trainee: Annotated[bool, about("Announced as trainee")] = False
