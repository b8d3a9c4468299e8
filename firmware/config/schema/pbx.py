"""What telephones do together: parking, ring groups, conference rooms, speed dials, and the small customs of a call."""

from typing import Annotated, Literal

from firmware.config.schema.base import Entry, about
from firmware.config.schema.destinations import Destination

_NUMBER = r"^([0-9]{2,8})?$"


class Calling(Entry, frozen=True):
    """Customs of a conversation."""

    flash: Annotated[
        Literal["join", "back"],
        about("What a hook flash does while one consults a third party: join all three, or go back to the held party"),
    ] = "join"
    hold_reminder_s: Annotated[
        int, about("A tone reminds whoever holds a call by code after this long, and again; 0 never", unit="s", ge=0, le=3600)
    ] = 120
    most_minutes: Annotated[
        int,
        about("Longest call with the outside where neither route nor telephone says one, emergency calls never; 0 no limit", unit="min",
              ge=0, le=1440),
    ] = 0  # fmt: skip
    warn_s: Annotated[int, about("A tone is heard this long before the end of such a call", unit="s", ge=0, le=600)] = 60
    redial_prefix: Annotated[
        str, about("Put before the number of a caller from outside who is dialled again by code", pattern=r"^[0-9]{0,4}$")
    ] = "9"
    redial_s: Annotated[int, about("A call that was cut off can be dialled again by code for this long", unit="s", ge=60, le=86400)] = 3600
    block_class: Annotated[
        Literal["internal", "local", "national", "international", "nobody"],
        about("Class that a telephone needs to put callers on the black list, or take them off, by code"),
    ] = "local"
    nuisance: Annotated[
        Literal["off", "tell", "block"],
        about("What the code for abusive parties does: nothing; end the call and tell the shift leader; block the number, too"),
    ] = "tell"
    ring_back_held: Annotated[bool, about("A telephone that hangs up on a call it holds by code rings again")] = True


class Parking(Entry, frozen=True):
    """Places where a call waits until any telephone takes it back."""

    places: Annotated[int, about("Number of places, from 1", ge=1, le=99)] = 9
    timeout_s: Annotated[int, about("Ring the parker after this long", unit="s", ge=10, le=3600)] = 90
    recalls: Annotated[int, about("Times the parker is rung before `otherwise`", ge=0, le=10)] = 2
    otherwise: Annotated[Destination, about("Where a parked call goes that nobody took back")] = "announce/xfer.fail"


class Group(Entry, frozen=True, kw_only=True):
    """Several telephones behind one number, without agents or a queue."""

    number: Annotated[str, about("Internal number, empty for none: then only routes and menus lead here", pattern=_NUMBER)] = ""
    members: Annotated[list[str], about("Extensions, in the order of ringing", ref="extensions", min_length=1, max_length=32)]
    strategy: Annotated[
        Literal["all", "order", "memory"], about("Ring all at once, one after another, or each one in addition to those before")
    ] = "all"
    ring_s: Annotated[int, about("Ring for this long, in each step", unit="s", ge=5, le=300)] = 20
    otherwise: Annotated[Destination, about("When nobody answers")] = "announce/ext.none"
    follow_forwards: Annotated[bool, about("A member who forwards every call to another extension is rung there")] = False
    forward_outside: Annotated[
        bool,
        about("A member who forwards every call to the outside is dialled there, with the member's rights and at the member's expense; "
              "whoever answers takes the call by key 1, so that no mailbox swallows it"),
    ] = False


class Page(Entry, frozen=True, kw_only=True):
    """Somebody speaks to several telephones at once, and to the loudspeaker; nobody answers back."""

    number: Annotated[str, about("Internal number, empty for none: then the code `features.page` leads here", pattern=_NUMBER)] = ""
    members: Annotated[
        list[str], about("Extensions: SIP telephones answer by themselves, analogue ones ring", ref="extensions", max_length=32)
    ] = []
    speaker: Annotated[bool, about("Out of the loudspeaker of `speaker.device`, too")] = False
    longest_s: Annotated[int, about("Ends after this long", unit="s", ge=5, le=600)] = 60
    permission: Annotated[
        Literal["internal", "local", "national", "international", "nobody"], about("Class that a telephone needs to speak here")
    ] = "local"


class Speaker(Entry, frozen=True):
    """A loudspeaker or amplifier at the sound output of the appliance."""

    device: Annotated[
        str, about("ALSA name of the sound output, such as plughw:1,0 or default; empty: none", pattern=r"^[A-Za-z0-9_.:,=/-]{0,60}$")
    ] = ""


class Room(Entry, frozen=True):
    """A conference room."""

    number: Annotated[str, about("Internal number, empty for none: then only routes and menus lead here", pattern=_NUMBER)] = ""
    pin: Annotated[str, about("Asked of everybody who comes in; empty: none", secret=True, pattern=r"^[0-9]{0,12}$")] = ""
    most: Annotated[int, about("People at once", ge=2, le=60)] = 10
    record: Annotated[
        bool, about("Record the conference, while everybody in it who must know has heard the notice to its end")
    ] = False


class WatchList(Entry, frozen=True, kw_only=True):
    """Lamps that a telephone watches with one subscription (RFC 4662): its BLF list is the address `sip:NAME@` of this box."""

    members: Annotated[
        list[str],
        about("What is watched, in the order of the keys: extensions, line/N, agents, the code of the night key or of a parking place",
              min_length=1, max_length=64),
    ]  # fmt: skip
