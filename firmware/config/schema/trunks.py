"""SIP trunks: carriers and other telephone systems, and what keeps others from calling at our expense."""

from typing import Annotated, Literal

from msgspec import field

from firmware.config.schema.base import Entry, about
from firmware.config.schema.system import AudioCodec

HostPort = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)?(:[0-9]{1,5})?$"
IdentityStyle = Literal["from", "pai", "ppi", "rpid"]


class NumberRule(Entry, frozen=True):
    """A change of a number; the first rule of the list that fits is applied."""

    begins: Annotated[str, about("Numbers that begin so; empty for all", pattern=r"^\+?[0-9*#]{0,20}$")] = ""
    strip: Annotated[int, about("Digits removed at the front", ge=0, le=20)] = 0
    prepend: Annotated[str, about("Put in front", pattern=r"^\+?[0-9*#]{0,20}$")] = ""


class Trunk(Entry, frozen=True, kw_only=True):
    """A SIP trunk; the table key is the name that routes use."""

    enabled: Annotated[bool, about("Use this trunk")] = True
    template: Annotated[
        str, about("Carrier template whose values stand where this trunk says nothing", pattern=r"^[a-z0-9-]{0,40}$")
    ] = ""
    kind: Annotated[
        Literal["registering", "static"],
        about("registering: we log in at the carrier; static: both sides know the other's address"),
    ] = "registering"
    # where it is
    domain: Annotated[
        str, about("Domain or address of the carrier, as it stands in addresses (sip:number@DOMAIN); a port may follow",
                   pattern=HostPort, min_length=1)
    ]  # fmt: skip
    proxy: Annotated[
        str, about("Outbound proxy (host, port may follow): where everything is sent instead of to `domain`", pattern=HostPort)
    ] = ""
    proxy_route: Annotated[bool, about("Name the outbound proxy in a Route header")] = False
    transport: Annotated[Literal["udp", "tcp", "tls"], about("Transport of signalling")] = "udp"
    srtp: Annotated[
        Literal["offer", "required", "no"],
        about("Encrypted speech (SRTP), over TLS: offered first, the only way, or never"),
    ] = "offer"
    accept_from: Annotated[
        list[str], about("Further addresses or networks (203.0.113.0/24) that calls of this trunk come from", max_length=16)
    ] = []
    # who we are
    user: Annotated[str, about("Our public identity there (often the main number)", max_length=64, pattern=r"^[^\s<>@\";]*$")] = ""
    auth_user: Annotated[str, about("User name of the password; empty for `user`", max_length=128, pattern=r"^[^\s<>\"]*$")] = ""
    secret: Annotated[str, about("Password at the carrier", secret=True, max_length=128)] = ""
    expires_s: Annotated[int, about("Registration time we ask for", unit="s", ge=30, le=86400)] = 600
    bulk: Annotated[
        bool, about("One registration for all numbers of the account (RFC 6140, SIPconnect); called numbers come in the Request-URI")
    ] = False
    # numbers
    number: Annotated[
        str, about("Main number shown to called people, as the carrier wants it; empty for `user`", pattern=r"^\+?[0-9]{0,20}$")
    ] = ""
    country_code: Annotated[str, about("Country code for the forms below; empty: numbers pass as they are", pattern=r"^[0-9]{0,3}$")] = ""
    area_code: Annotated[str, about("Area code of numbers dialled without one", pattern=r"^[0-9]{0,5}$")] = ""
    national_prefix: Annotated[str, about("Digits in front of national numbers", pattern=r"^[0-9]{0,3}$")] = "0"
    international_prefix: Annotated[str, about("Digits in front of international numbers", pattern=r"^[0-9]{0,5}$")] = "00"
    send_as: Annotated[
        Literal["as-dialled", "+e164", "e164", "national"], about("Form of called numbers towards the carrier")
    ] = "as-dialled"
    send_rules: Annotated[list[NumberRule], about("Changes of called numbers after that", max_length=32)] = []
    did_from: Annotated[
        Literal["request", "to", "p-called-party-id"], about("Where the carrier tells the number that was called")
    ] = "request"
    did_rules: Annotated[list[NumberRule], about("Changes of the number that was called", max_length=32)] = []
    caller_rules: Annotated[list[NumberRule], about("Changes of callers' numbers", max_length=32)] = []
    # identity
    caller_id: Annotated[
        IdentityStyle, about("Where the carrier reads our number: From, P-Asserted-Identity, P-Preferred-Identity, Remote-Party-ID")
    ] = "from"
    caller_shown: Annotated[
        Literal["trunk", "extension", "caller"],
        about("Number shown: always `number`; `number` with the extension behind it (DDI); or the caller's own where a call is passed on"),
    ] = "trunk"
    hide_number: Annotated[bool, about("Ask the carrier not to show our number")] = False
    trusted: Annotated[bool, about("Believe P-Asserted-Identity and names from this trunk")] = False
    diversion: Annotated[
        Literal["none", "diversion", "history-info"], about("How a call that is passed on from outside tells our number")
    ] = "none"
    # behaviour
    codecs: Annotated[list[AudioCodec], about("Codecs offered, best first", min_length=1, max_length=3)] = field(
        default_factory=lambda: ["g711"]
    )
    session_timers: Annotated[bool, about("Agree on session timers (RFC 4028)")] = True
    reliable_provisional: Annotated[bool, about("Offer PRACK (100rel, RFC 3262)")] = False
    qualify_s: Annotated[int, about("Ask with OPTIONS whether it lives; 0 never", unit="s", ge=0, le=3600)] = 60
    reply_s: Annotated[int, about("Without any answer to a call for so long the next way out is tried", unit="s", ge=1, le=32)] = 5
    progress_s: Annotated[
        int, about("Without ringing or an answer for so long the next way out is tried", unit="s", ge=5, le=120)
    ] = 30
    # limits
    calls: Annotated[int, about("Calls at once, both ways", ge=1, le=500)] = 30
    calls_minute: Annotated[int, about("Calls begun to the carrier within a minute, 0 no limit", ge=0, le=6000)] = 60
    calls_hour: Annotated[int, about("Calls begun to the carrier within an hour, 0 no limit", ge=0, le=100000)] = 0
    break_out: Annotated[
        Literal["none", "internal", "local", "national", "international"],
        about("How far the other side may dial through us beyond inbound routes; none: only what inbound routes say"),
    ] = "none"
    release: Annotated[
        bool, about("Two calls of this trunk that a transfer has joined: ask the carrier to join them itself (REFER with Replaces)")
    ] = False
    take_back: Annotated[
        bool, about("A caller of this trunk who is sent on to a number over it: ask the carrier to reach that itself (REFER)")
    ] = False
    emergency: Annotated[bool, about("Emergency calls may use this trunk, after all lines")] = True
    tariff: Annotated[str, about("Tariff of calls over this trunk whose route names none; empty: not known", ref="tariffs")] = ""


class Passage(Entry, frozen=True):
    """What may pass through a branch of a country; the table key is the country. Each use is in the audit trail."""

    break_out: Annotated[
        bool, about("The other side of a trunk may dial out by our lines, as far as its `break_out` says", role="admin")
    ] = False
    foreign_numbers: Annotated[
        bool, about("Calls that are passed on may show their caller's number, over trunks whose `caller_shown` is caller", role="admin")
    ] = False
    permit: Annotated[
        str, about("Whose leave there is (authority, carrier, owner of the number), where the country asks for one", max_length=120,
                   role="admin"),
    ] = ""


class Toll(Entry, frozen=True):
    """Guard against calls at our expense: what a stolen password or a careless phone can cost at most."""

    calls: Annotated[int, about("Outside calls at once of one extension, 0 no limit", ge=0, le=100)] = 4
    calls_hour: Annotated[int, about("Outside calls of one extension within an hour, 0 no limit", ge=0, le=10000)] = 120
    international_minutes: Annotated[
        int, about("Minutes of international calls of the whole branch in a day, 0 no limit", unit="min", ge=0, le=100000)
    ] = 120
    international_calls_hour: Annotated[
        int, about("International calls of the whole branch within an hour, 0 no limit", ge=0, le=10000)
    ] = 20
    international_after_hours: Annotated[bool, about("International calls also outside office hours")] = False
    office_start: Annotated[str, about("Office hours begin (local time)", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "08:00"
    office_end: Annotated[str, about("Office hours end (local time)", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "19:00"
    office_days: Annotated[list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], about("Office days")] = field(
        default_factory=lambda: ["mon", "tue", "wed", "thu", "fri"]
    )
    alarm_factor: Annotated[
        int, about("Alarm when an hour has so many times the outside calls of a usual one, 0 never", ge=0, le=100)
    ] = 5
