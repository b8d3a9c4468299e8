"""Extensions (telephones) and agents (people who log in on them)."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.acd import Skills
from firmware.config.schema.base import Entry, about
from firmware.config.schema.system import Language


class Extension(Entry, frozen=True):
    """A telephone with an internal number; the table key is the number."""

    kind: Annotated[Literal["sip", "fxs"], about("Technology of the phone", apply="restart-port")]
    jack: Annotated[str, about("FXS jack number, for kind fxs", ref="ports.fxs", apply="restart-port")] = ""
    name: Annotated[str, about("Name shown to colleagues", max_length=40)] = ""
    spelled: Annotated[str, about("Name in Latin letters (pinyin) for the directory; empty: as `name`", max_length=40)] = ""
    secret: Annotated[str, about("SIP password; empty generates a random one at first start", secret=True, max_length=64)] = ""
    outside_number: Annotated[
        str,
        about("Number shown outside over trunks whose `caller_shown` is extension, as the carrier wants it; empty: as the trunk says",
              pattern=r"^\+?[0-9]{0,20}$"),
    ] = ""  # fmt: skip
    permission: Annotated[
        Literal["internal", "local", "national", "international"], about("Farthest class of number this phone may dial")
    ] = "local"
    locked: Annotated[bool, about("Only emergency and internal calls")] = False
    lamp: Annotated[
        Literal["party", "state", "none"], about("What other phones may show of this one: with whom it speaks, only that it does, nothing")
    ] = "party"
    group: Annotated[
        list[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]],
        about("Pick-up groups: telephones that share one may answer each other's calls; those without any, among themselves", max_length=8),
    ] = field(default_factory=list)
    supervises: Annotated[
        list[Annotated[str, Meta(pattern=r"^([A-Za-z0-9_.-]{1,40}|\*)$")]],
        about("Queues whose calls this telephone may listen to, speak into and take over; * for every call", max_length=40),
    ] = field(default_factory=list)
    dtmf: Annotated[
        Literal["auto", "rfc4733", "info", "inband"],
        about("How keys reach this SIP phone; auto: RFC 4733 where it is agreed, else SIP INFO where the phone allows it, else tones"),
    ] = "auto"
    speed_dials: Annotated[
        dict[str, Annotated[str, about("Number as a telephone dials it", pattern=r"^[0-9]{2,24}$")]],
        about("Speed dials of its own: two digits to a number", max_length=100),
    ] = field(default_factory=dict)
    most_minutes: Annotated[
        int, about("Longest call of it with the outside; 0 no limit, -1 as the route or `calling` says", unit="min", ge=-1, le=1440)
    ] = -1
    ring_s: Annotated[int, about("Ring for this long before giving up", unit="s", ge=5, le=300)] = 30
    raise_quiet: Annotated[bool, about("Raise who speaks too quietly here, slowly and by 10 dB at most, for the other side")] = False
    srtp: Annotated[
        Literal["offer", "required", "no"],
        about("Encrypted speech (SRTP), only over TLS: offered first, the only way (then without TLS no call), or never"),
    ] = "offer"


class Agent(Entry, frozen=True):
    """A person who answers queues; the table key is the agent number that callers hear."""

    name: Annotated[str, about("Name on the shift leader's screen, never told to callers", max_length=40)] = ""
    pin: Annotated[str, about("Log-in PIN; empty generates a random one at first start", secret=True, pattern=r"^[0-9]{0,8}$")] = ""
    queues: Annotated[list[str], about("Queues served", ref="queues")] = []
    languages: Annotated[list[Language], about("Languages spoken")] = field(default_factory=lambda: ["zh", "en"])
    trainee: Annotated[bool, about("Announced as trainee")] = False
    skills: Annotated[Skills, about("Skills with their level: products, dialects, what callers may need")] = field(default_factory=dict)
    penalties: Annotated[
        dict[str, Annotated[int, Meta(ge=0, le=20)]], about("Queue to penalty: higher ones are rung later, see `widen_s` of the queue")
    ] = field(default_factory=dict)
    phone: Annotated[str, about("Telephone on which emergency staffing logs this agent in", ref="extensions")] = ""
