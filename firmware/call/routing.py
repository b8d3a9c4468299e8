"""Where a number or a line leads (L1, pure): inbound routes, dialled digits, digit collection.

Theory of operation
-------------------
`Routing` is built once per configuration. `inbound` walks the routes in order. `resolve` gives the meaning of a complete
dialled string, in this order: emergency number, feature code, extension, outbound route. `dial_check` says after each key
whether a phone that sends keys one by one shall wait: an emergency number is complete at its last digit whatever else
begins like it; a number is complete as soon as no longer one can be meant; an open pattern (".") never is by itself, the
inter-digit time or # ends it. Patterns: X any digit, N 1-9, "." one or more of any, other digits themselves.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

from firmware.call.cos import allowed
from firmware.call.emergency import emergency_number
from firmware.call.model import Cause
from firmware.config.schema.calls import InboundRoute, OutboundRoute
from firmware.config.schema.tree import Config

Dialled = Literal["more", "complete", "impossible"]
FEATURES = ("login", "logout", "pause", "ready", "echo_test")
_OPEN_END = 24


class ToEmergency(msgspec.Struct, frozen=True):
    """`number` as the line must dial it."""

    number: str


class ToFeature(msgspec.Struct, frozen=True):
    """A feature code (field name of `Features`) and the keys dialled behind it."""

    feature: str
    rest: str


class ToExtension(msgspec.Struct, frozen=True):
    """An internal number."""

    extension: str


class ToOutside(msgspec.Struct, frozen=True):
    """`number` as the line must dial it, on a line of `group`."""

    number: str
    group: str


class ToNowhere(msgspec.Struct, frozen=True):
    """The number leads nowhere."""

    cause: Cause
    reason: str


Target = ToEmergency | ToFeature | ToExtension | ToOutside | ToNowhere


def _fits(pattern: str, digits: str) -> tuple[bool, bool]:
    """(digits match pattern, more digits could still match)."""
    for index, symbol in enumerate(pattern):
        if symbol == ".":
            rest = digits[index:]
            return rest.isdigit() and len(rest) >= 1, len(digits) < _OPEN_END and (rest == "" or rest.isdigit())
        if index >= len(digits):
            return False, True
        digit = digits[index]
        if not digit.isdigit() or (symbol == "N" and digit == "0") or (symbol not in "XN" and digit != symbol):
            return False, False
    return len(digits) == len(pattern), False


class Routing:
    """Numbers and lines of one configuration. `emergency`: the country's emergency numbers."""

    def __init__(self, config: Config, emergency: Collection[str]) -> None:
        self.config = config
        self.emergency = frozenset(emergency) | frozenset(config.emergency_numbers)

    # --- from outside -----------------------------------------------------------------------------------------------

    def inbound(self, line: str, caller: str) -> InboundRoute | None:
        """First inbound route for a call on endpoint `line` ("line/1") from number `caller`; None if no route matches."""
        jack = line.removeprefix("line/")
        for route in self.config.inbound:
            if route.lines and jack not in route.lines:
                continue
            if route.caller and not caller.startswith(route.caller):
                continue
            return route
        return None

    def lines(self, group: str | None) -> list[str]:
        """Enabled lines of `group` (None: of any group) as endpoints, in jack order."""
        found = [jack for jack, line in self.config.ports.fxo.items() if line.enabled and (group is None or line.group == group)]
        return [f"line/{jack}" for jack in sorted(found, key=lambda jack: (len(jack), jack))]

    # --- from inside ------------------------------------------------------------------------------------------------

    def codes(self) -> dict[str, str]:
        """Feature code -> feature name, of codes dialled outside a call."""
        return {str(getattr(self.config.features, name)): name for name in FEATURES}

    def resolve(self, extension: str, digits: str) -> Target:
        """Meaning of a complete dialled string from phone `extension`; one unknown to the configuration reaches emergency numbers only."""
        digits = digits if digits.startswith("*") else digits.removesuffix("#")
        number = emergency_number(digits, self.emergency, self.config.outbound)
        if number:
            return ToEmergency(number)
        if extension not in self.config.extensions:
            return ToNowhere(Cause.REFUSED, f"{extension or 'a jack without extension'} reaches emergency numbers only")
        for code, feature in sorted(self.codes().items(), key=lambda item: -len(item[0])):
            if digits.startswith(code):
                return ToFeature(feature, digits[len(code):])
        if digits in self.config.extensions:
            return ToExtension(digits)
        return self._outside(extension, digits)

    def _outside(self, extension: str, digits: str) -> Target:
        refused = False
        for route in self.config.outbound:
            if not digits.startswith(route.prefix):
                continue
            number = digits[len(route.prefix):]
            if not _fits(route.pattern, number)[0]:
                continue
            if allowed(self.config.extensions.get(extension), route.permission):
                return ToOutside(route.prepend + number, route.group)
            refused = True
        if refused:
            return ToNowhere(Cause.REFUSED, f"the class of phone {extension} does not reach {digits}")
        return ToNowhere(Cause.UNREACHABLE, f"no extension, code or route for {digits}")

    def dial_check(self, extension: str, digits: str) -> Dialled:
        """Whether keys `digits` of phone `extension` are a whole number; see the theory of operation."""
        if not digits:
            return "more"
        if emergency_number(digits, self.emergency, self.config.outbound):
            return "complete"
        if extension not in self.config.extensions:
            numbers = [*self.emergency, *(route.prefix + number for route in self.config.outbound for number in self.emergency)]
            return "more" if any(number.startswith(digits) for number in numbers) else "impossible"
        if digits.endswith("#") and not digits.startswith("*"):
            return "complete" if not isinstance(self.resolve(extension, digits[:-1]), ToNowhere) else "impossible"
        codes = self.codes()
        more = self._may_grow(digits, codes)
        if digits in codes:
            return "more" if any(code != digits and code.startswith(digits) for code in codes) else "complete"
        whole = digits in self.config.extensions or not isinstance(self._outside(extension, digits), ToNowhere)
        if more:
            return "more"
        if whole:
            return "complete"
        # A number whose class is refused is complete too: the caller must hear the refusal, not silence.
        return "complete" if getattr(self._outside(extension, digits), "cause", None) is Cause.REFUSED else "impossible"

    def _may_grow(self, digits: str, codes: Collection[str]) -> bool:
        longer = [*codes, *self.config.extensions, *self.emergency]
        longer += [route.prefix + number for route in self.config.outbound for number in self.emergency]
        if any(len(number) > len(digits) and number.startswith(digits) for number in longer):
            return True
        return any(self._route_grows(route, digits) for route in self.config.outbound)

    @staticmethod
    def _route_grows(route: OutboundRoute, digits: str) -> bool:
        if len(digits) < len(route.prefix):
            return route.prefix.startswith(digits)
        return digits.startswith(route.prefix) and _fits(route.pattern, digits[len(route.prefix):])[1]
