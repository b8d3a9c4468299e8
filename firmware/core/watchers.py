"""What telephones watch: lamps of extensions and lines, presence of people, and the lamp for messages (L5).

Theory of operation
-------------------
The source of `sip/subscriptions.py`. A lamp is never set or reset: each time somebody is told, its state is derived from the legs
that live in the switchboard at that moment, so a missed event can delay a lamp but not leave it lit. Whatever happens
to a leg, an endpoint or a contact asks for one look at all lamps, after the events of this instant.
Who sees what (`extensions.N.lamp`): every extension may watch every extension and line; with whom the watched one
speaks is told unless its owner wants the state only, and never when the other party withheld its number or is a telephone whose
owner does not want it told. One's own extension is always told whole. Messages are told to their owner only.
The night key and places of parked calls have a lamp too: watched under the code that is dialled for them.
Presence of an extension or an agent comes from the same legs and from the floor: in a call or its notes, paused, logged out or not
registered. It names no party; a telephone whose owner wants nothing shown has none for others.
Messages have one source, `provide`: SIP phones learn of them by NOTIFY, analog ones by `show`; without a source there are none.
A list (`lists.NAME`) is one address for many of these; each member is told as if it were watched by itself, and one that this account may
not watch as if it did not exist.
Invariant: a leg that is told to hang up is over for every lamp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from firmware.call.events import AgentChanged, ContactChanged, NightChanged
from firmware.call.floor import AgentState, FloorState, Status
from firmware.call.model import OUTSIDE, EndpointState, LegEvent, Party
from firmware.call.pickup import may_pick_up, ringing
from firmware.call.state import ContactState, Kind, Leg
from firmware.config.schema.tree import Config
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer
from firmware.sip.dialog_info import DialogInfo, DialogNode, DialogState
from firmware.sip.event_list import EventList, Member
from firmware.sip.message_summary import MessageCounts, MessageSummary
from firmware.sip.presence import Availability, Presence
from firmware.sip.subscriptions import Document

Index = dict[str, list[tuple[ContactState, Leg]]]
_AT_WORK = {
    Status.LOGGED_OUT: Availability.AWAY, Status.PAUSED: Availability.PAUSED, Status.TALKING: Availability.BUSY,
    Status.WRAP_UP: Availability.BUSY, Status.READY: Availability.AVAILABLE, Status.OFFERED: Availability.AVAILABLE,
}  # fmt: skip


def no_messages(extension: str) -> MessageCounts:
    """The source of messages where there is none."""
    return MessageCounts()


class Watchers:
    """`contacts()`: the live ones; `floor()`: agents and endpoints; `tell(package)` sends NOTIFYs; `show(endpoint, waiting)` lights an
    analog telephone's lamp."""

    def __init__(
        self,
        config: Config,
        contacts: Callable[[], Iterable[ContactState]],
        tell: Callable[[str], None],
        show: Callable[[str, bool], None],
        bus: Bus,
        clock: Clock,
        floor: Callable[[], FloorState] = FloorState,
    ) -> None:
        self._floor = floor
        self._config = config
        self._contacts = contacts
        self._tell = tell
        self._show = show
        self._clock = clock
        self._counts: Callable[[str], MessageCounts] = no_messages
        self._timer: Timer | None = None
        self._looking = False
        self._index: Index | None = None               # made once for a look, when there is somebody to tell
        self.night: Callable[[], bool] = lambda: False       # set by the root: whether the night key is turned on
        bus.subscribe((LegEvent, EndpointState, ContactChanged, AgentChanged, NightChanged), self._changed)

    @property
    def config(self) -> Config:
        """The configuration it works with."""
        return self._config

    def configure(self, config: Config) -> None:
        """Take over another configuration; lamps of what is gone end."""
        self._config = config
        self._changed(None)

    # --- messages -----------------------------------------------------------------------------------------------------

    def provide(self, counts: Callable[[str], MessageCounts]) -> None:
        """Name the source of messages; `messages_changed` says when it has other news of a mailbox."""
        self._counts = counts
        for extension in self._config.extensions:
            self._show(extension, counts(extension).waiting)
        self._tell("message-summary")

    def messages_changed(self, extension: str) -> None:
        """Tell the owner of a mailbox, whatever the telephone."""
        if extension in self._config.extensions:
            self._show(extension, self._counts(extension).waiting)
        self._tell("message-summary")

    # --- lamps --------------------------------------------------------------------------------------------------------

    def _changed(self, event: Any) -> None:
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now(), self._look)

    def _look(self) -> None:
        self._timer = None
        self._looking = True
        try:
            self._tell("dialog")
            self._tell("presence")
        finally:
            self._looking, self._index = False, None

    def _live(self) -> Index:
        """Live legs by endpoint."""
        if self._index is not None:
            return self._index
        index: Index = {}
        for state in self._contacts():
            for leg in state.live_legs:
                if not leg.hung_up:
                    index.setdefault(leg.endpoint, []).append((state, leg))
        if self._looking:
            self._index = index
        return index

    def document(self, account: str, package: str, resource: str, host: str) -> Document | None:
        """`subscriptions.Source`: what `account` may know of `resource` now."""
        if package == "message-summary":
            mine = resource == account and account in self._config.extensions
            return MessageSummary(resource, host, self._counts(resource)) if mine else None
        listed = self._config.lists.get(resource)
        if listed is not None:
            return EventList(resource, host, tuple(self._member(account, package, member, host) for member in listed.members))
        return self._single(account, package, resource, host)

    def _member(self, account: str, package: str, resource: str, host: str) -> Member:
        document = self._single(account, package, resource, host)
        known = self._config.extensions.get(resource)
        return Member(resource, known.name if known is not None and document is not None else "", document)

    def _single(self, account: str, package: str, resource: str, host: str) -> Document | None:
        if package == "presence":
            return self._presence(account, resource, host)
        keys = self._config.features
        if resource == keys.night:
            return self._lamp(resource, host, self.night())
        if resource.startswith(keys.unpark) and resource.removeprefix(keys.unpark).isdigit():
            place = resource.removeprefix(keys.unpark)
            return self._lamp(resource, host, any(state.park is not None and state.park.place == place for state in self._contacts()))
        line = resource.startswith("line/") and resource.removeprefix("line/") in self._config.ports.fxo
        if not line and (resource not in self._config.extensions or self._shown(resource, account) == "none"):
            return None
        nodes = (self._node(account, state, leg) for state, leg in self._live().get(resource, []))
        # A telephone that is called and does not ring yet shows nothing.
        return DialogInfo(resource, host, tuple(one for one in nodes if not one.incoming or one.state is not DialogState.TRYING))

    @staticmethod
    def _lamp(resource: str, host: str, lit: bool) -> DialogInfo:
        """The lamp of a key that is no telephone: it tells nobody who is behind it."""
        return DialogInfo(resource, host, (DialogNode(resource, DialogState.CONFIRMED, True),) if lit else ())

    def _presence(self, account: str, resource: str, host: str) -> Presence | None:
        """What `account` may know of an extension, or of an agent by number."""
        agents = self._floor().agents
        if resource in self._config.extensions:
            if self._shown(resource, account) == "none":
                return None
            agent = next((one for one in agents.values() if one.extension == resource and one.status is not Status.LOGGED_OUT), None)
            if self._in_call(resource):
                return Presence(resource, host, Availability.BUSY)
            if agent is not None and agent.status in (Status.PAUSED, Status.WRAP_UP):
                return self._of_agent(resource, host, agent)
            state = self._floor().endpoints.get(resource, "idle")
            return Presence(resource, host, Availability.AWAY if state in ("unregistered", "fault") else Availability.AVAILABLE)
        if resource in agents and resource in self._config.agents:
            agent = agents[resource]
            hidden = agent.extension and self._shown(agent.extension, account) == "none"
            if hidden:
                return None
            busy = agent.status in (Status.READY, Status.OFFERED) and self._in_call(agent.extension)
            return Presence(resource, host, Availability.BUSY) if busy else self._of_agent(resource, host, agent)
        return None

    def _in_call(self, endpoint: str) -> bool:
        return any(leg.answered >= 0 or leg.incoming for _, leg in self._live().get(endpoint, []))

    @staticmethod
    def _of_agent(resource: str, host: str, agent: AgentState) -> Presence:
        return Presence(resource, host, _AT_WORK[agent.status], agent.reason if agent.status is Status.PAUSED else "")

    def _shown(self, endpoint: str, account: str) -> str:
        extension = self._config.extensions.get(endpoint)
        return "party" if extension is None or endpoint == account else extension.lamp

    def _node(self, account: str, state: ContactState, leg: Leg) -> DialogNode:
        outside = leg.kind in OUTSIDE
        incoming = leg.incoming if outside else not leg.incoming
        party = self._party(state, leg)
        other = self._other(state, leg)
        private = party.reason or self._shown(leg.endpoint, account) != "party"
        if private or (other is not None and other.kind not in OUTSIDE and self._shown(other.endpoint, account) != "party"):
            party = Party()
        return DialogNode(leg.id, self._state(state, leg), incoming, party.number, party.name, self._open(account, state, leg))

    def _open(self, account: str, state: ContactState, leg: Leg) -> bool:
        """Whether a key of this account may answer the call, or go on with its own."""
        if leg in ringing(state):
            return may_pick_up(self._config, account, leg.endpoint)
        return leg.endpoint == account and leg.answered >= 0 and not state.emergency

    @staticmethod
    def _state(state: ContactState, leg: Leg) -> DialogState:
        if leg.answered >= 0:
            return DialogState.CONFIRMED
        if not leg.incoming:
            return DialogState.EARLY if leg.ringing >= 0 or leg.port >= 0 else DialogState.TRYING
        if leg.kind in OUTSIDE:
            return DialogState.EARLY
        far = state.legs.get(state.attempt.leg) if state.attempt is not None else None
        return DialogState.EARLY if far is not None and far.ringing >= 0 else DialogState.TRYING

    @staticmethod
    def _other(state: ContactState, leg: Leg) -> Leg | None:
        """Who this leg speaks with, is rung for, or rings."""
        if leg.id in state.bridged:
            other = state.bridged[1] if state.bridged[0] == leg.id else state.bridged[0]
        elif state.attempt is not None and leg.id == state.attempt.leg and state.transfer is not None:
            other = state.transfer.by if state.transfer.stage == "ringing" else state.transfer.held
        elif leg.id != state.a:
            other = state.a
        else:
            other = state.b or (state.attempt.leg if state.attempt is not None else "")
        return state.legs.get(other)

    def _party(self, state: ContactState, leg: Leg) -> Party:
        other = self._other(state, leg)
        if other is None:
            dialled = leg.incoming and leg.kind not in OUTSIDE and state.kind is not Kind.FEATURE
            return Party(state.called) if dialled else Party()
        if other.kind in OUTSIDE:
            return Party(other.number, other.name, state.caller.reason if other.incoming else "")
        known = self._config.extensions.get(other.endpoint)
        return Party(other.endpoint, known.name if known is not None else "", state.caller.reason if other.role == "caller" else "")
