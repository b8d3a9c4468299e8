"""Recordings: which calls, who must know, how long they are kept and where."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about

ClassName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,20}$")]
Days = Annotated[int, Meta(ge=1, le=3650)]


class RecordRule(Entry, frozen=True):
    """Which calls are recorded; the first rule whose every filled-in list names something of the call decides."""

    queues: Annotated[list[str], about("Queues the call came through; empty: any call", ref="queues", max_length=40)] = field(
        default_factory=list
    )
    lines: Annotated[list[str], about("Lines the call uses", ref="ports.fxo", max_length=40)] = field(default_factory=list)
    trunks: Annotated[list[str], about("SIP trunks the call uses", ref="trunks", max_length=40)] = field(default_factory=list)
    agents: Annotated[list[str], about("Agents who speak", ref="agents", max_length=100)] = field(default_factory=list)
    extensions: Annotated[list[str], about("Telephones of ours that speak", ref="extensions", max_length=100)] = field(
        default_factory=list
    )
    direction: Annotated[Literal["any", "inbound", "outbound", "internal"], about("Who began the call")] = "any"
    record: Annotated[
        Literal["always", "on-demand", "never"], about("Record from the beginning, when the code is keyed in the call, or not at all")
    ] = "always"
    keep: Annotated[str, about("Class of `recording.classes` that says how long it is kept; empty: keep_days", max_length=20)] = ""


class Recording(Entry, frozen=True):
    """Which calls are recorded, where recordings go and what they may use."""

    rules: Annotated[
        list[RecordRule],
        about("Which calls are recorded, in order; a call that none fits is recorded where its queue says `record`", max_length=100),
    ] = field(default_factory=list)
    consent: Annotated[
        Literal["country", "all"],
        about("Who must have heard the notice: as the country's law has it, or every party (needed in the US where a state asks for it)"),
    ] = "country"
    emergency: Annotated[bool, about("Record emergency calls, where the country allows it")] = False
    format: Annotated[
        Literal["pcm", "a-law", "mu-law"],
        about("How speech lies on the disk: 16 bit (115 MB an hour), or coded as telephone lines do (58 MB); heard and exported alike"),
    ] = "pcm"
    keep_days: Annotated[int, about("Recordings older than this are removed", unit="days", ge=1, le=3650)] = 90
    classes: Annotated[
        dict[ClassName, Days], about("Classes that are kept for another time than `keep_days`: name and days", max_length=20)
    ] = field(default_factory=dict)
    folder: Annotated[
        str,
        about(
            "Folder of another disk for recordings; empty: the state folder. Nothing is recorded, and nothing removed, while it is missing",
            pattern=r"^(/[^\x00]{1,200})?$", apply="control",
        ),
    ] = ""
    quota_mb: Annotated[int, about("Space for recordings; the oldest go first", unit="MB", ge=1, le=10_000_000)] = 2000
    reserve_mb: Annotated[int, about("No recording starts when less than this is free on the disk", unit="MB", ge=1, le=100_000)] = 50
