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

from collections.abc import Callable, Collection
from typing import Literal, NamedTuple

import msgspec

from firmware.call.blocking_state import CLASS
from firmware.call.cos import reaches
from firmware.call.emergency import emergency_number
from firmware.call.model import TRUNK, Cause, is_trunk
from firmware.call.numbers import written
from firmware.call.registry import BEHIND, MEANINGS
from firmware.config.passage import breaks_out, permitted
from firmware.config.schema.calls import InboundRoute, OutboundRoute
from firmware.config.schema.features import DIALLED
from firmware.config.schema.tree import Config
from firmware.config.schema.trunks import Trunk

Dialled = Literal["more", "complete", "impossible"]
_OPEN_END = 24


class ToEmergency(msgspec.Struct, frozen=True):
    """`number` as the line must dial it."""

    number: str


class ToFeature(msgspec.Struct, frozen=True):
    """A feature code (field name of `Features`) and the keys dialled behind it."""

    feature: str
    rest: str


class ToExtension(msgspec.Struct, frozen=True):
    """An internal number; `record`: the call is recorded (a test bench's prefix); `intercom`: its telephone answers by itself."""

    extension: str
    record: bool = False
    intercom: bool = False


class ToOutside(msgspec.Struct, frozen=True):
    """`number` as it leaves, on a line of `group` or over one of `trunks`."""

    number: str
    group: str
    trunks: tuple[str, ...] = ()
    trunks_first: bool = True
    international: bool = False
    most_minutes: int = -1
    tariff: str = ""


class ToDestination(msgspec.Struct, frozen=True):
    """A destination of the configuration that has an internal number: "group/sales"."""

    to: str


class ToNowhere(msgspec.Struct, frozen=True):
    """The number leads nowhere."""

    cause: Cause
    reason: str


Target = ToEmergency | ToFeature | ToExtension | ToOutside | ToDestination | ToNowhere


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


def _begins(called: str, did: str, trunk: Trunk | None) -> bool:
    """Whether a called number begins with `did`, in whatever form either is written."""
    plain = did.removeprefix("+")
    forms = [called.removeprefix("+")]
    if trunk is not None and trunk.country_code:
        forms += [written(called, trunk, "e164"), written(called, trunk, "national")]
    return any(form.startswith(plain) for form in forms)


class Considered(NamedTuple):
    """A route that was looked at: `name` in the configuration, where it leads, `why` it is not taken ("" where it is)."""

    name: str
    to: str
    why: str
    route: InboundRoute | OutboundRoute


class Routing:
    """Numbers and lines of one configuration. `emergency`: the country's emergency numbers; `is_open`: whether opening hours are now.

    `is_blocked`: whether a caller is on the black list.
    """

    def __init__(
        self, config: Config, emergency: Collection[str], is_open: Callable[[str], bool] = lambda name: True,
        is_blocked: Callable[[str], bool] = lambda number: False,
    ) -> None:
        self.config = config
        self._is_blocked = is_blocked
        self._is_open = is_open
        self.emergency = frozenset(emergency) | frozenset(config.emergency_numbers)
        named = [*((one.number, f"group/{name}") for name, one in config.groups.items()),
                 *((one.number, f"room/{name}") for name, one in config.rooms.items()),
                 *((one.number, f"page/{name}") for name, one in config.pages.items())]
        self.numbers = {number: to for number, to in named if number}
        """Internal numbers that are no extension -> destination."""
        self.codes = {str(getattr(config.features, name)): name for name in DIALLED}
        """Feature code -> feature name, of codes dialled outside a call."""
        self._longest = sorted(self.codes.items(), key=lambda item: -len(item[0]))
        self._begin = tuple(self.codes)

    # --- from outside -----------------------------------------------------------------------------------------------

    def inbound(self, line: str, caller: str, called: str = "") -> InboundRoute | None:
        """First inbound route for a call on endpoint `line` ("line/1", "trunk/NAME") from number `caller` to number `called`.

        A route that takes the extension from the last digits of the called number comes with that as its destination.
        """
        chosen = next((one.route for one in self.considered_in(line, caller, called) if not one.why), None)
        return chosen if isinstance(chosen, InboundRoute) else None

    def caller_class(self, caller: str) -> str:
        """The class of a caller's number, "" for none."""
        if caller and self._is_blocked(caller):
            return CLASS
        for name, one in self.config.callers.items():
            if (one.hidden and not caller) or any(caller.startswith(number) for number in one.numbers):
                return name
        return ""

    def considered_in(self, line: str, caller: str, called: str = "") -> list[Considered]:
        """Every inbound route in order, with why it is not taken; the first without a reason is taken, those behind it come too late."""
        trunk = self.config.trunks.get(line.removeprefix(TRUNK)) if is_trunk(line) else None
        name, where = (line.removeprefix(TRUNK), "trunks") if is_trunk(line) else (line.removeprefix("line/"), "lines")
        known = self.caller_class(caller)
        found, taken = [], False
        one = self.config.callers.get(known)
        sent = one.to if one is not None else ""
        if known == CLASS and not sent and self._is_blocked(caller):
            sent = "hangup"
        if sent:
            to, taken = sent, True
            plain = to == "hangup"
            found.append(Considered(f"callers.{known}", to, "", InboundRoute(to=to, greeting=not plain, notice=not plain)))
        for index, route in enumerate(self.config.inbound):
            why = ""
            if taken:
                why = "earlier"
            elif (route.lines or route.trunks) and name not in getattr(route, where):
                why = "other line"
            elif route.callers and known not in route.callers:
                why = "class"
            elif route.caller and not caller.startswith(route.caller):
                why = "caller"
            elif route.did and not _begins(called, route.did, trunk):
                why = "called"
            extension = called[-route.extension_digits:] if route.extension_digits else ""
            if extension and extension in self.config.extensions:
                route = msgspec.structs.replace(route, to=f"extension/{extension}", greeting=False, notice=False)
            taken = taken or not why
            found.append(Considered(f"inbound[{index}]", route.to, why, route))
        return found

    def from_trunk(self, name: str, called: str) -> Target | None:
        """What the other side of a trunk may reach by a number beyond inbound routes; None for nothing of its own."""
        trunk = self.config.trunks.get(name)
        if trunk is None or trunk.break_out == "none" or emergency_number(called, self.emergency, self.config.outbound):
            return None
        if called in self.config.extensions:
            return ToExtension(called)
        if not permitted(self.config, "break_out"):
            return None
        return self._broken_out(name, trunk, called)

    def barred(self, name: str, called: str) -> bool:
        """Whether the other side of a trunk would dial out by this number, were that not off in the country."""
        trunk = self.config.trunks.get(name)
        if trunk is None or called in self.config.extensions or emergency_number(called, self.emergency, self.config.outbound):
            return False
        return not permitted(self.config, "break_out") and self._broken_out(name, trunk, called) is not None

    def _broken_out(self, name: str, trunk: Trunk, called: str) -> Target | None:
        """By which lines the other side of a trunk leaves again."""
        found = self._route(called, trunk.break_out) if breaks_out(trunk) else None
        return found if isinstance(found, ToOutside) and name not in found.trunks else None

    def for_class(self, digits: str, granted: str) -> Target:
        """Where digits with their access code lead that nobody's telephone dials, with the rights of a class; never to an emergency."""
        if emergency_number(digits, self.emergency, self.config.outbound):
            return ToNowhere(Cause.REFUSED, f"{digits} is an emergency number")
        return self._route(digits, granted)

    def trunks(self, *, emergency: bool = False) -> list[str]:
        """Enabled trunks as endpoints; those that emergency calls may use."""
        return [TRUNK + name for name, one in self.config.trunks.items() if one.enabled and (one.emergency or not emergency)]

    def lines(self, group: str | None) -> list[str]:
        """Enabled lines of `group` (None: of any group) as endpoints, in jack order."""
        found = [jack for jack, line in self.config.ports.fxo.items() if line.enabled and (group is None or line.group == group)]
        return [f"line/{jack}" for jack in sorted(found, key=lambda jack: (len(jack), jack))]

    # --- from inside ------------------------------------------------------------------------------------------------

    def resolve(self, extension: str, digits: str) -> Target:
        """Meaning of a complete dialled string from phone `extension`; one unknown to the configuration reaches emergency numbers only."""
        digits = digits if digits.startswith("*") else digits.removesuffix("#")
        number = emergency_number(digits, self.emergency, self.config.outbound)
        if number:
            return ToEmergency(number)
        if extension not in self.config.extensions:
            return ToNowhere(Cause.REFUSED, f"{extension or 'a jack without extension'} reaches emergency numbers only")
        for code, feature in self._longest if digits.startswith(self._begin) else ():
            if digits.startswith(code):
                rest = digits[len(code):]
                return MEANINGS[feature](self, extension, rest) if feature in MEANINGS else ToFeature(feature, rest)
        if digits in self.config.extensions:
            return ToExtension(digits)
        if digits in self.numbers:
            return ToDestination(self.numbers[digits])
        return self._bench(digits) or self._outside(extension, digits)

    def _bench(self, digits: str) -> Target | None:
        """What the numbers of a test bench mean; None for others."""
        lab = self.config.lab
        if lab.open and lab.echo and digits == lab.echo:
            return ToFeature("echo_test", "")
        if lab.open and lab.record_prefix and digits.startswith(lab.record_prefix):
            number = digits[len(lab.record_prefix):]
            return ToExtension(number, record=True) if number in self.config.extensions else None
        return None

    def _outside(self, extension: str, digits: str) -> Target:
        return self._route(digits, self._granted(extension), extension)

    def _granted(self, extension: str) -> str:
        known = self.config.extensions.get(extension)
        return "internal" if known is None or known.locked else known.permission

    def considered_out(self, extension: str, digits: str) -> list[Considered]:
        """Every outbound route in order, with why it is not taken for this telephone; `to` is the number as it would leave."""
        return self._considered(digits, self._granted(extension))

    def by_account(self, digits: str, permission: str) -> Target:
        """What a number means to somebody who has proved an account: an emergency number, an extension, or outside as far as it may."""
        number = emergency_number(digits, self.emergency, self.config.outbound)
        if number:
            return ToEmergency(number)
        return ToExtension(digits) if digits in self.config.extensions else self._route(digits, permission, account=True)

    def _considered(self, digits: str, granted: str, *, account: bool = False) -> list[Considered]:
        """Of routes that fit now and that the class reaches, the one that costs least is taken; of equals the first."""
        found = []
        for index, route in enumerate(self.config.outbound):
            number, why = digits[len(route.prefix):], ""
            if not digits.startswith(route.prefix):
                why = "prefix"
            elif not _fits(route.pattern, number)[0]:
                why = "pattern"
            elif not reaches(granted, route.permission):
                why = "permission"
            elif route.hours and self._is_open(route.hours) != (route.when == "open"):
                why = "time"
            elif route.account and not account:
                why = "account"
            found.append(Considered(f"outbound[{index}]", route.prepend + number[route.strip:], why, route))
        fit = [one for one in found if not one.why]
        best = min(fit, key=lambda one: one.route.cost) if fit else None     # type: ignore[union-attr]
        return [one if one.why or one is best else one._replace(why="dearer") for one in found]

    def _route(self, digits: str, granted: str, extension: str = "", *, account: bool = False) -> Target:
        """Where the outbound route leads that is taken for the class `granted`."""
        considered = self._considered(digits, granted, account=account)
        for one in considered:
            route = one.route
            if not one.why and isinstance(route, OutboundRoute):
                trunks = tuple(name for name in route.trunks if name in self.config.trunks and self.config.trunks[name].enabled)
                international = route.permission == "international"
                return ToOutside(one.to, route.group, trunks, route.first == "trunks", international, route.most_minutes, route.tariff)
        reasons = {one.why for one in considered}
        if "account" in reasons:
            return ToNowhere(Cause.REFUSED, f"{digits} needs an account code")
        if "time" in reasons:
            return ToNowhere(Cause.REFUSED, f"no route for {digits} is open at this time")
        if "permission" in reasons:
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
        codes = self.codes
        more = self._may_grow(digits, codes)
        for code, feature in codes.items():
            if feature in BEHIND and digits.startswith(code):
                return BEHIND[feature](self.config, digits[len(code):])
        if digits in codes:
            return "more" if any(code != digits and code.startswith(digits) for code in codes) else "complete"
        known = digits in self.config.extensions or digits in self.numbers or self._bench(digits) is not None
        whole = known or not isinstance(self._outside(extension, digits), ToNowhere)
        if more:
            return "more"
        if whole:
            return "complete"
        # A number whose class is refused is complete too: the caller must hear the refusal, not silence.
        return "complete" if getattr(self._outside(extension, digits), "cause", None) is Cause.REFUSED else "impossible"

    def _may_grow(self, digits: str, codes: Collection[str]) -> bool:
        longer = [*codes, *self.config.extensions, *self.numbers, *self.emergency, *filter(None, [self.config.lab.echo])]
        prefix = self.config.lab.record_prefix
        if prefix:
            longer += [prefix + number for number in self.config.extensions]
        longer += [route.prefix + number for route in self.config.outbound for number in self.emergency]
        if any(len(number) > len(digits) and number.startswith(digits) for number in longer):
            return True
        return any(self._route_grows(route, digits) for route in self.config.outbound)

    @staticmethod
    def _route_grows(route: OutboundRoute, digits: str) -> bool:
        if len(digits) < len(route.prefix):
            return route.prefix.startswith(digits)
        return digits.startswith(route.prefix) and _fits(route.pattern, digits[len(route.prefix):])[1]
