"""Emergency calls from SIP phones that are not known: no password, not registered, or never set up (L5).

Theory of operation
-------------------
RFC 6881 section 6 (ED-59 in spirit): an INVITE of an emergency number is never challenged. A phone that is registered from the very
address it calls from counts as itself; any other is a *guest*, endpoint "sip/HOST:PORT", which may reach emergency numbers and
nothing else (`call/routing.py` refuses the rest to endpoints without extension). Where a guest can be called back is
remembered, so that the centre's call rings it.
Invariants: only an INVITE whose number means an emergency number is identified here; one host has at most `MOST_PER_HOST` guest calls at
a time, so that no single host can occupy every line; at most `MOST_REMEMBERED` contacts are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from firmware.call.emergency import emergency_number
from firmware.config.emergency import dialled, emergency_numbers
from firmware.config.schema.tree import Config
from firmware.sip.dialog import request_user
from firmware.sip.flow import Flow
from firmware.sip.message import Request
from firmware.sip.registrar import Binding
from firmware.sip.uri import join_host_port

GUEST = "sip/"
MOST_PER_HOST = 2
MOST_REMEMBERED = 32


class EmergencyGuests:
    """`bindings(account)`: where an account is registered now; `live()`: endpoints of the legs that live."""

    def __init__(self, config: Config, bindings: Callable[[str], Iterable[Binding]], live: Callable[[], Iterable[str]]) -> None:
        self._bindings = bindings
        self._live = live
        self._contacts: dict[str, tuple[str, Flow]] = {}
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take over a configuration."""
        self._config = config
        self._numbers = emergency_numbers(config.site.country, config.emergency_numbers)

    def identify(self, request: Request, flow: Flow) -> str:
        """The account or guest that calls an emergency number; "" for any other INVITE: its sender must prove who it is."""
        if not self.emergency(request_user(request.uri)):
            return ""
        claimed = request.from_.uri.user_text if request.from_.uri.is_sip else ""
        if claimed in self._config.extensions and any(one.flow.remote == flow.remote for one in self._bindings(claimed)):
            return claimed
        guest = GUEST + join_host_port(*flow.remote)
        host = guest.rpartition(":")[0] + ":"
        if sum(endpoint.startswith(host) for endpoint in self._live()) >= MOST_PER_HOST:
            return ""
        target = request.contact
        self._contacts.pop(guest, None)
        self._contacts[guest] = (target.uri.render() if target is not None else f"sip:{join_host_port(*flow.remote)}", flow)
        while len(self._contacts) > MOST_REMEMBERED:
            del self._contacts[next(iter(self._contacts))]
        return guest

    def emergency(self, called: str) -> bool:
        """The digits, or a service called by name, mean an emergency number."""
        return bool(emergency_number(dialled(called, self._config), self._numbers, self._config.outbound))

    def binding(self, endpoint: str, now: int) -> list[Binding]:
        """What reaches a guest who called, in the form of a registration; empty for one not remembered."""
        if endpoint not in self._contacts:
            return []
        uri, flow = self._contacts[endpoint]
        return [Binding(uri=uri, call_id="", cseq=0, registered_at=now, expires_at=now + 1, flow=flow)]
