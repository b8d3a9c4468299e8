"""Speed dial, intercom and the night key (L1, pure; A4, E5).

A speed dial stands for its number: rights, class and forwards are those of the number as the telephone would dial it. The night key
turns night service on until its automatic end (`calendar.night_ends`) and, keyed again, back to what the calendar says.
"""

from __future__ import annotations

from firmware.call.codes import said
from firmware.call.contact import Contact
from firmware.call.model import Cause
from firmware.call.pickup import number_behind
from firmware.call.registry import behind, code, meaning
from firmware.call.routing import Dialled, Routing, Target, ToExtension, ToNowhere
from firmware.config.schema.tree import Config

_DIGITS = 2


@meaning("speed_dial")
def _speed_dial(routing: Routing, extension: str, rest: str) -> Target:
    key = rest.removesuffix("#")
    known = routing.config.extensions.get(extension)
    number = (known.speed_dials.get(key) if known is not None else None) or routing.config.speed_dials.get(key, "")
    return routing.resolve(extension, number) if number else ToNowhere(Cause.UNREACHABLE, f"there is no speed dial {key}")


@behind("speed_dial")
def _whole(config: Config, digits: str) -> Dialled:
    key = digits.removesuffix("#")
    if not key.isdigit() and key:
        return "impossible"
    return "complete" if len(key) >= _DIGITS or digits.endswith("#") else "more"


@meaning("intercom")
def _intercom(routing: Routing, extension: str, rest: str) -> Target:
    target = routing.resolve(extension, rest)
    if isinstance(target, ToExtension) and target.extension != extension:
        return ToExtension(target.extension, intercom=True)
    return ToNowhere(Cause.UNREACHABLE, f"{rest or 'nothing'} is no other extension")


behind("intercom")(number_behind)


@code("night")
def _night(c: Contact) -> None:
    known = c.desk.config.extensions.get(c.s.extension)
    if known is None or known.locked:
        said(c, "num.refused")
        return
    said(c, "night.on" if c.desk.night_key(c.s.extension, c.now) else "night.off")
