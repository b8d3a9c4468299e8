"""Where a call can be taken: one list of kinds, from which the pattern, the checks of references and the help are made.

A destination is written KIND/NAME, or `hangup`. An area that brings a new kind adds one line here and registers what is done with
it in call control (`call/registry.py`); wherever a setting is a `Destination`, it may then be written.
"""

from typing import Annotated

import msgspec

from firmware.config.schema.base import about


class DestinationKind(msgspec.Struct, frozen=True):
    """`table`: what NAME must be an entry of ("queues", "prompts"), "" for no check by table; `text`: for the help."""

    table: str
    text: str


KINDS: dict[str, DestinationKind] = {
    "queue": DestinationKind("queues", "queue/NAME"),
    "menu": DestinationKind("menus", "menu/NAME"),
    "extension": DestinationKind("extensions", "extension/NUMBER"),
    "agent": DestinationKind("agents", "agent/NUMBER (that agent first, then his queue)"),
    "hours": DestinationKind("hours", "hours/NAME (by opening hours)"),
    "ivr": DestinationKind("ivr", "ivr/NAME"),
    "voicemail": DestinationKind("mailboxes", "voicemail/BOX (leave a message)"),
    "messages": DestinationKind("", "messages/BOX or messages/all (hear them, with PIN)"),
    "group": DestinationKind("groups", "group/NAME"),
    "room": DestinationKind("rooms", "room/NAME"),
    "page": DestinationKind("pages", "page/NAME (speak to telephones and loudspeaker)"),
    "directory": DestinationKind("", "directory/all (the caller keys the letters of a name)"),
    "announce": DestinationKind("prompts", "announce/PROMPT (then hang up)"),
}

Destination = Annotated[
    str,
    about(
        f"Where a call goes: {', '.join(kind.text for kind in KINDS.values())} or hangup",
        pattern=rf"^(({'|'.join(KINDS)})/[A-Za-z0-9_.-]+|hangup)$",
        ref="destinations",
    ),
]
