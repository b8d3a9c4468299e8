"""Classes of callers: numbers that are treated alike wherever they call in; accounts on which people dial out."""

from typing import Annotated, Literal

from msgspec import Meta

from firmware.config.schema.base import Entry, about
from firmware.config.schema.calendar import OptionalDestination


class CallerClass(Entry, frozen=True):
    """Callers by number; the table key is the name that inbound routes use. The first class that has a caller is the caller's."""

    numbers: Annotated[
        list[Annotated[str, Meta(pattern=r"^[0-9+]{1,20}$")]], about("Numbers, or how they begin", max_length=1000)
    ] = []
    hidden: Annotated[bool, about("Callers who show no number belong here, too")] = False
    to: Annotated[
        OptionalDestination, about("Their calls go here, whatever the routes say; hangup refuses them unanswered. Empty: routes decide")
    ] = ""


class Account(Entry, frozen=True, kw_only=True):
    """Somebody who may dial out from any telephone by a PIN; the table key is the name in the records."""

    pin: Annotated[str, about("PIN keyed behind the code", secret=True, pattern=r"^[0-9]{4,12}$")]
    permission: Annotated[
        Literal["local", "national", "international"], about("Farthest class of number this account may dial")
    ] = "national"
