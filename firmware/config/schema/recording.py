"""Recordings: which calls, who must know, how long they are kept and where."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about

ClassName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,20}$")]
_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
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


class Upload(Entry, frozen=True):
    """Sending recordings to the centre at night, sealed as they lie; how it opens them: the page on recordings."""

    url: Annotated[
        str,
        about("Where recordings are sent: a tus 1.0.0 service, https only; empty: they stay here", pattern=r"^(https://[^\s?#]{1,250})?$",
              role="admin"),
    ] = ""  # fmt: skip
    ca: Annotated[
        str, about("PEM file of the CA of that server, which is then the only one believed; empty: the system's", role="admin")
    ] = ""
    token: Annotated[
        str, about("Sent with each request (Authorization: Bearer); empty: none", secret=True, pattern=r"^[!-~]{0,200}$", role="admin")
    ] = ""
    recipient: Annotated[
        str,
        about("Public key of the centre that numbers, agents and each recording's key are sealed to, as `tools.open_recording new-key` "
              "tells it; empty: they stay here", pattern=r"^([A-Za-z0-9+/]{43}=)?$", role="admin"),
    ] = ""  # fmt: skip
    begin: Annotated[str, about("Local time from which recordings are sent", pattern=_TIME, role="admin")] = "01:00"
    end: Annotated[str, about("Local time until when; what waits then goes on in the next night", pattern=_TIME, role="admin")] = "05:00"
    kbit_s: Annotated[int, about("Most of the connection that it takes", unit="kbit/s", ge=16, le=1_000_000, role="admin")] = 512
    queues: Annotated[
        list[str], about("Only recordings of these queues; empty: of any call", ref="queues", max_length=40, role="admin")
    ] = field(default_factory=list)
    lines: Annotated[
        list[str], about("Only recordings of calls on these lines; empty: of any call", ref="ports.fxo", max_length=40, role="admin")
    ] = field(default_factory=list)
    alarm_nights: Annotated[
        int,
        about("Alarm after so many nights in a row in which recordings waited and none was taken", unit="nights", ge=1, le=60,
              role="admin"),
    ] = 3  # fmt: skip


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
    sent_first: Annotated[
        bool, about("Where the quota is short, recordings that the centre has (`upload`) go before older ones that it lacks")
    ] = False
    reserve_mb: Annotated[int, about("No recording starts when less than this is free on the disk", unit="MB", ge=1, le=100_000)] = 50
    upload: Upload = Upload()
