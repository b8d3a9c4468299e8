"""The analogue lines of the branch: leg driver of "line/N" endpoints and FXS extensions (L5).

Theory of operation
-------------------
`Lines` owns one `LinePort` per enabled jack, gives it the media events of its slot, and routes the commands of `call/model.LegDriver`
to it. An FXO jack is endpoint "line/N"; an FXS jack is its extension's number, or "fxs/N" where no extension is configured (from
there too an emergency number can be dialled). After a start with running media nothing is driven until `finish_adoption`: legs of the
journal are taken over by `adopt`, then every other port is put at rest.
Invariants: a command for an unknown or ended leg does nothing; whatever `originate` leads to is published after the call returned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from firmware.call.model import Alert, Cause, EndpointState, Evidence, LegEnded, Party
from firmware.config.board import Board
from firmware.config.emergency import emergency_numbers
from firmware.config.schema.ports import FxoLine, FxsPhone
from firmware.config.schema.tree import Config
from firmware.core.lines_clear import ClearCalls
from firmware.core.lines_echo import EchoMemory, line_identity
from firmware.core.lines_hunt import LineHunt
from firmware.core.lines_port import LineMedia, LinePort, LineStatus, TraceEntry
from firmware.errors import ConfigError, RemoteProtocolError
from firmware.line import signals as s
from firmware.line.fxo import Fxo, FxoFacts
from firmware.line.fxs import Fxs, FxsFacts
from firmware.line.profiles import Profile
from firmware.line.redial import RedialGuard
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock
from firmware.store.filters import EchoFilterStore

__all__ = ["LineStatus", "Lines", "TraceEntry"]

log = logging.getLogger("branchpbx.lines")

DialCheck = Callable[[str, str], Literal["more", "complete", "impossible"]]
#: A line that failed within this time is the last choice.
FAULT_MEMORY_MS = 60_000
#: A core that does not finish the adoption is not waited for: ports must be supervised.
ADOPTION_LIMIT_MS = 5000


class _Journal(msgspec.Struct, frozen=True):
    endpoint: str
    kind: str
    machine: bytes
    hidden: bool = False


class Lines:
    """Driver of all analogue legs. `dial_check(extension, digits)` comes from `call/routing.Routing`."""

    def __init__(
        self,
        config: Config,
        profile: Profile,
        board: Board,
        media: LineMedia,
        clock: Clock,
        bus: Bus,
        new_leg: Callable[[], str],
        dial_check: DialCheck,
    ) -> None:
        self.config, self.profile, self.board = config, profile, board
        self._media, self._clock, self._bus, self._new_leg, self._dial_check = media, clock, bus, new_leg, dial_check
        try:
            self._zone: ZoneInfo | None = ZoneInfo(config.site.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            self._zone = None
        self._emergency = emergency_numbers(config.site.country, config.emergency_numbers)
        self.ports: dict[str, LinePort] = {}
        self._by_slot: dict[int, LinePort] = {}
        self._legs: dict[str, LinePort] = {}
        self._facts: dict[int, Any] = {}
        self._adopting = False
        self._out: dict[str, str] = {}
        self._clear = ClearCalls(self._clear_leg)
        self._redial: dict[str, RedialGuard] = {}
        self.hunt = LineHunt(config, lambda line: self.ports[line].idle_since if line in self.ports else 0, self._last_choice)
        for jack, line in config.ports.fxo.items():
            if line.enabled:
                self._add(f"line/{jack}", board.fxo_slot(jack), line, partial(Fxo, line, profile))
        owner = {known.jack: number for number, known in config.extensions.items() if known.kind == "fxs"}
        for jack, phone in config.ports.fxs.items():
            if phone.enabled:
                name = owner.get(jack, f"fxs/{jack}")
                check = self._checker(owner.get(jack, ""))
                self._add(name, board.fxs_slot(jack), phone, partial(Fxs, phone, profile, check, self._emergency))

    def _add(self, endpoint: str, slot: int, config: FxoLine | FxsPhone, new_machine: Callable[[], Fxo | Fxs]) -> None:
        if endpoint in self.ports or slot in self._by_slot:
            raise ConfigError(f"{endpoint} on slot {slot}: two ports share an endpoint or a slot; give each extension a jack of its own")
        port = LinePort(endpoint, slot, config, new_machine, self._media, self._clock, self._bus, self._new_leg)
        port.on_leg = self._leg_changed
        port.on_clear, port.on_talk, port.on_end = self._clear.mark, self._clear.talking, self._call_over
        port.second.local_time = self._local_time
        number = config.number if isinstance(config, FxoLine) else ""
        port.line = line_identity(self.board.name, slot, endpoint, self.profile.country, number)
        self.ports[endpoint] = self._by_slot[slot] = port

    def _call_over(self, port: LinePort, leg: str, called: str, cause: Cause, answered: bool) -> None:
        self._clear.ended(leg)
        if isinstance(port.machine, Fxo) and called and not port.machine.state.emergency:
            dialled = port.machine.state.dialled_at >= 0
            self._guard(port).ended(called, self._clock.now(), cause, dialled=dialled, answered=answered)

    def _guard(self, port: LinePort) -> RedialGuard:
        group = getattr(port.config, "group", "")
        return self._redial.setdefault(group, RedialGuard(self.profile.redial))

    def _clear_leg(self, leg: str) -> None:
        port = self._legs.get(leg)
        if port is not None:
            port.clear_channel()

    def partners(self, leg: str, others: Sequence[str]) -> None:
        """Which other legs are in the call of this one; told before it is answered or rung."""
        self._clear.partners(leg, others)

    def _last_choice(self, line: str) -> bool:
        """A line that failed lately, or on which a caller id was heard before the first ring: a caller comes, and would be cut off."""
        port = self.ports.get(line)
        if port is None or not isinstance(port.machine, Fxo):
            return False
        failed = port.machine.state.fault_at
        return "cid_stale" in port.machine.state.timers or (failed >= 0 and self._clock.now() - failed < FAULT_MEMORY_MS)

    def _checker(self, extension: str) -> Callable[[str], Literal["more", "complete", "impossible"]]:
        return lambda digits: self._dial_check(extension, digits)

    def _leg_changed(self, leg: str, port: LinePort | None) -> None:
        if port is None:
            self._legs.pop(leg, None)
        else:
            self._legs[leg] = port

    # --- service ----------------------------------------------------------------------------------------------------------

    def configure(self, config: Config) -> None:
        """Take over another configuration: ports that exist and go on, with everything that no new start of a port is needed for."""
        self.config = config
        self.hunt.groups = config.ports.groups
        lines = {self.board.fxo_slot(jack): line for jack, line in config.ports.fxo.items() if line.enabled}
        phones = {self.board.fxs_slot(jack): phone for jack, phone in config.ports.fxs.items() if phone.enabled}
        for slot, port in self._by_slot.items():
            if isinstance(port.config, FxoLine) and slot in lines:
                line = msgspec.structs.replace(
                    lines[slot], caller_id=port.config.caller_id, message_waiting=port.config.message_waiting,
                    echo_tail_ms=port.config.echo_tail_ms,
                )  # fmt: skip
                port.take(line, partial(Fxo, line, self.profile))
            elif isinstance(port.config, FxsPhone) and slot in phones:
                phone = msgspec.structs.replace(phones[slot], echo_tail_ms=port.config.echo_tail_ms)
                check = self._checker("" if port.endpoint.startswith("fxs/") else port.endpoint)
                port.take(phone, partial(Fxs, phone, self.profile, check, self._emergency))

    def start(self, ports: Iterable[Any] = (), *, adopting: bool = False) -> None:
        """Take all jacks into service. `ports`: what media still runs (its `PortState`s); `adopting`: calls outlived the last core.

        When adopting, nothing is driven until `finish_adoption`, which comes by itself after 5 s.
        """
        self._facts = {state.port: state for state in ports}
        self._adopting = adopting
        for port in self.ports.values():
            port.waiting = adopting
            port.volts = float(getattr(self._facts.get(port.slot), "volts", 0.0) or 0.0)
            self._media.watch_line(port.slot, port.kind.value)
        if adopting:
            self._clock.call_later(ADOPTION_LIMIT_MS, self.finish_adoption)
        else:
            self._start_rest()

    def keep_echo_filters(self, store: EchoFilterStore) -> None:
        """Carry what the echo cancellers learn over to the next calls; before `start`."""
        memory = EchoMemory(self._media, store, self._clock, {port.slot: port.line for port in self.ports.values()})
        for port in self.ports.values():
            port.on_audio_closed = memory.closed
        memory.start()

    def remember_with(self, journal: Callable[[str], None]) -> None:
        """`journal(leg)`: what the line of a leg knows has changed, with or without an event that tells."""
        for port in self.ports.values():
            port.on_memory = journal

    def interrupt_when(self, may: Callable[[str], bool]) -> None:
        """`may(leg)`: whether a second call may wait beside the conversation of a leg (`call/call_waiting.py`)."""
        for port in self.ports.values():
            port.second.may_interrupt = lambda leg: not self._clear.is_clear(leg) and may(leg)

    def finish_adoption(self) -> None:
        """Every leg that is taken over was named: the other ports go to rest. Idempotent."""
        if self._adopting:
            self._adopting = False
            self._start_rest()

    def _start_rest(self) -> None:
        for port in self.ports.values():
            if port.leg or not (port.waiting or not port.available):
                continue
            port.start()
            for fact in self._known_facts(port):
                port.fact(fact)

    def _known_facts(self, port: LinePort) -> list[s.Fact]:
        """What the media process knows of an idle port, as facts of now."""
        state, now = self._facts.get(port.slot), self._clock.now()
        if isinstance(port.machine, Fxs):
            facts = fxs_facts(state)
            return [] if facts.closed is None else [s.Loop(now, facts.closed)]
        known = fxo_facts(state)
        found: list[s.Fact] = []
        if known.battery is not None:
            found.append(s.Battery(now, known.battery, known.volts))
        if known.reversed is not None:
            found.append(s.Polarity(now, known.reversed))
        if known.ringing is not None:
            found.append(s.RingBurst(now, known.ringing))
        return found

    def media_event(self, event: Any) -> None:
        """Subscriber of `Media.subscribe`: facts of our slots go to their ports; a lost media process ends every leg."""
        if type(event).__name__ == "MediaLost":
            self._media_lost()
            return
        port = self._by_slot.get(getattr(event, "port", -1))
        if port is not None:
            if type(event).__name__ == "EchoFilter":
                log.info("%s: known echo filter %s (ERLE %.0f dB when learned)", port.endpoint, event.outcome, event.erle_db)
                return
            if type(event).__name__ == "FaxTone":
                port.stand_aside(event.kind)
                return
            if type(event).__name__ == "LearnedTone":
                port.learned(event)
                return
            fact = translate(event)
            if fact is not None:
                port.fact(fact)

    def _media_lost(self) -> None:
        self._out.clear()
        for port in self.ports.values():
            port.waiting = False
            port.fail(Cause.MEDIA_LOST, Evidence("timer", 1.0, "the media process was replaced"))
            self._media.watch_line(port.slot, port.kind.value)
            port.start()

    def set_health(self, endpoint: str, out: str, *, dropped: bool = False) -> None:
        """Take a port out of selection, and why, or (empty) back. `dropped`: its chip let go of the line, a call on it is over."""
        port = self.ports[endpoint]
        known = self._out.pop(endpoint, "")
        if dropped:
            port.fail(Cause.LINE_FAULT, Evidence("timer", 1.0, out or "the line chip was brought up again"))
        if out:
            self._out[endpoint] = out
            if dropped:
                port.start()                 # what media still holds off-hook or rings would be put so again, for nobody
            if known != out or dropped:
                self._bus.publish(EndpointState(endpoint, self._clock.now(), "fault", out))
        elif known or dropped:
            self._media.watch_line(port.slot, port.kind.value)
            if dropped or not port.available:
                port.start()             # a chip that could not be read for a while let nobody go: whoever dials goes on
            if port.available:           # the machine says what has changed; what was said last of the port is that it is out
                self._bus.publish(EndpointState(endpoint, self._clock.now(), port.available, port.detail))

    # --- LegDriver ---------------------------------------------------------------------------------------------------------

    def originate(
        self, leg: str, endpoint: str, *, number: str, caller: Party, alert: Alert, ring_ms: int, automatic: bool = False
    ) -> None:
        """Ring extension `endpoint`, or seize line `endpoint` and dial; see `call/model.LegDriver`.

        `automatic`: nobody dialled this; the country's limits of repeated attempts hold (`line/redial.py`).
        """
        port, now = self.ports.get(endpoint), self._clock.now()
        if port is None:
            self._refuse(leg, Cause.UNREACHABLE, f"{endpoint} is no analogue port in service")
            return
        wanted: s.Intention
        if isinstance(port.machine, Fxo):
            wanted = s.Dial(now, number, ring_ms, alert is Alert.EMERGENCY)
            busy = Cause.LINE_FAULT if port.available == "fault" else Cause.UNREACHABLE
        else:
            wanted = s.Ring(now, caller, alert, ring_ms, self._local_time())
            busy = Cause.BUSY
        if endpoint in self._out:
            self._refuse(leg, Cause.LINE_FAULT, f"{endpoint} is out of service: {self._out[endpoint]}")
            return
        if port.second.admits():
            port.second.begin(leg, caller, alert, ring_ms)
            return
        if port.waiting or port.leg or port.second.leg or not port.machine.allows(type(wanted)):
            self._refuse(leg, busy, f"{endpoint} is {port.available or 'not ready'} {port.detail}".strip())
            return
        if isinstance(port.machine, Fxo):
            if alert is not Alert.EMERGENCY and (no := self._guard(port).check(number, now, automatic=automatic)):
                self._refuse(leg, Cause.REFUSED if automatic else no.cause, f"repeated call to {number}: {no.why}")
                return
            self.hunt.taken(getattr(port.config, "group", ""), endpoint)
        port.begin_leg(leg)
        port.caller, port.called = caller, number
        if not port.want(wanted, later=True):
            port.leg = ""
            self._legs.pop(leg, None)
            self._refuse(leg, Cause.UNREACHABLE, f"{number!r} cannot be dialled")

    def _refuse(self, leg: str, cause: Cause, why: str) -> None:
        def say() -> None:
            self._bus.publish(LegEnded(leg, self._clock.now(), cause, Evidence("command", 1.0, why), False))

        self._clock.call_later(0, say)

    def progress(self, leg: str) -> None:
        """Let an offering telephone hear ringback; an outside line hears the exchange's own."""
        self._want(leg, s.Progress)

    def answer(self, leg: str) -> None:
        """Answer an offered leg."""
        self._want(leg, s.Answer)

    def early(self, leg: str) -> None:
        """What an offered leg is to hear before the answer; a telephone or line of ours hears from its own port, so it is answered."""
        self.answer(leg)

    def _want(self, leg: str, kind: type[s.Progress] | type[s.Answer]) -> None:
        port = self._talking(leg)
        if port is not None:
            port.want(kind(self._clock.now()))

    def _talking(self, leg: str) -> LinePort | None:
        """The port of a leg, unless it waits or is held beside another."""
        port = self._legs.get(leg)
        return port if port is not None and port.leg == leg else None

    def hang_up(self, leg: str, cause: Cause) -> None:
        """End a leg; `LegEnded` follows."""
        port = self._legs.get(leg)
        if port is not None and not port.second.hang_up(leg, cause):
            port.want(s.HangUp(self._clock.now(), cause))

    def send_digits(self, leg: str, digits: str) -> None:
        """Send keys in-band."""
        port = self._talking(leg)
        if port is not None:
            port.want(s.SendDigits(self._clock.now(), digits))

    def hide_keys(self, leg: str, on: bool) -> None:
        """Keys from this leg are in no trace from here on, or no longer."""
        port = self._legs.get(leg)
        if port is not None:
            port.hidden = on

    def flash(self, leg: str) -> None:
        """Hook flash towards the exchange (FXO legs)."""
        port = self._legs.get(leg)
        if port is not None:
            port.want(s.Flash(self._clock.now()))

    def show_messages(self, endpoint: str, waiting: bool) -> None:
        """Messages wait for the owner of a telephone, or no longer: stuttering dial tone, lamp, message."""
        port = self.ports.get(endpoint)
        if port is not None and port.machine.allows(s.ShowMessages):
            port.want(s.ShowMessages(self._clock.now(), waiting))

    def show_diverted(self, extension: str, on: bool) -> None:
        """Calls of an extension go elsewhere or are refused, or no longer: the dial tone of an analogue telephone says so."""
        port = self.ports.get(extension)
        if port is not None and port.machine.allows(s.ShowDiverted):
            port.want(s.ShowDiverted(self._clock.now(), on))

    def beside(self, leg: str, on: bool) -> None:
        """Another outside line is joined to this leg, or no longer: its tones come back in the echo."""
        port = self._legs.get(leg)
        if port is not None and port.machine.allows(s.Company):
            port.want(s.Company(self._clock.now(), "line" if on else "alone"))

    def snapshot(self) -> dict[str, bytes]:
        """Journal form of each live leg."""
        return {leg: self.snapshot_leg(leg) for leg in self._legs if self._talking(leg)}

    def snapshot_leg(self, leg: str) -> bytes:
        """Journal form of one leg, b"" when it is unknown or stands beside another: a second call does not outlive core."""
        port = self._talking(leg)
        if port is None:
            return b""
        return msgspec.msgpack.encode(_Journal(port.endpoint, port.kind.value, port.machine.snapshot(), port.hidden))

    def adopt(self, leg: str, state: bytes, port: int) -> bool:
        """Take over a leg that outlived the previous core: its line is not driven; what changed meanwhile is acted on."""
        try:
            journal = msgspec.msgpack.decode(state, type=_Journal)
            found = self.ports.get(journal.endpoint)
            if found is None or found.leg or found.kind.value != journal.kind or (port >= 0 and port != found.slot):
                log.warning("leg %s of %s cannot be taken over: the port changed", leg, journal.endpoint)
                return False
            machine = self._restored(found, journal.machine)
        except (msgspec.MsgspecError, RemoteProtocolError) as error:
            log.warning("leg %s cannot be taken over: %s", leg, error)
            return False
        if not machine.busy_with_call():
            return False
        seen = self._facts.get(found.slot)
        facts = fxs_facts(seen) if isinstance(machine, Fxs) else fxo_facts(seen)
        # What changed while no core was there is told by events that come next, with the instant at which it changed.
        told = {_FACT_OF[kind] for kind in self._media.waiting(found.slot) if kind in _FACT_OF}
        facts = msgspec.structs.replace(facts, **{name: None for name in facts.__struct_fields__ if name in told})
        found.hidden = journal.hidden
        found.attach(machine, leg, facts)
        log.info("leg %s on %s taken over in state %s", leg, found.endpoint, machine.state.state)
        return True

    def _restored(self, port: LinePort, snapshot: bytes) -> Fxo | Fxs:
        if isinstance(port.config, FxoLine):
            return Fxo.restore(port.config, self.profile, snapshot)
        fresh = port.machine
        assert isinstance(fresh, Fxs)
        return Fxs.restore(port.config, self.profile, fresh.dial_check, self._emergency, snapshot)

    # --- choice of a line, screens -------------------------------------------------------------------------------------------

    def lines_in(self, group: str | None = None) -> list[LineStatus]:
        """Rows of the outside lines of a group (None: all), in jack order: what an emergency call may free."""
        rows = [self._row(port) for port in self.ports.values() if isinstance(port.config, FxoLine) and group in (None, port.config.group)]
        return sorted(rows, key=lambda row: _jack_order(row.endpoint))

    def free_line(self, group: str | None = None, *, prefer_reverse: bool = True) -> str | None:
        """A line that can be seized now, or None. Hunting goes against the order of incoming calls (last jack first), and lines
        that failed within the last minute or expect a ring come last."""
        choice: list[tuple[bool, int, str]] = []
        for row in self.lines_in(group):
            port = self.ports[row.endpoint]
            if row.endpoint in self._out or port.leg or port.waiting:
                continue
            if not port.machine.allows(s.Dial) or not isinstance(port.machine, Fxo):
                continue
            choice.append((self._last_choice(row.endpoint), -len(choice) if prefer_reverse else len(choice), row.endpoint))
        return min(choice)[2] if choice else None

    def status(self) -> list[LineStatus]:
        """Rows of `show lines`: outside lines, then telephones."""
        phones = [self._row(port) for port in self.ports.values() if isinstance(port.config, FxsPhone)]
        return self.lines_in() + sorted(phones, key=lambda row: row.slot)

    def _row(self, port: LinePort) -> LineStatus:
        row, out = port.status(), self._out.get(port.endpoint)
        return row if out is None else msgspec.structs.replace(row, available="fault", detail=out)

    def states(self) -> list[EndpointState]:
        """Availability of every port now, for a part that starts later than this one."""
        now = self._clock.now()
        rows = [self._row(port) for port in self.ports.values()]
        return [EndpointState(row.endpoint, now, row.available, row.detail) for row in rows if row.available]

    def trace(self, endpoint: str = "", leg: str = "") -> list[TraceEntry]:
        """What happened on a port, or on all ports to a leg, in order of time."""
        ports = [self.ports[endpoint]] if endpoint in self.ports else [] if endpoint else list(self.ports.values())
        entries = [entry for port in ports for entry in port.trace if not leg or entry.leg == leg]
        return sorted(entries, key=lambda entry: entry.at)

    def _local_time(self) -> str:
        local = datetime.fromtimestamp(self._clock.wall_ms() / 1000, self._zone or UTC)
        return local.strftime("%m%d%H%M")


def _jack_order(endpoint: str) -> tuple[int, str]:
    jack = endpoint.rpartition("/")[2]
    return (int(jack) if jack.isdigit() else 1 << 30, endpoint)


def _known(state: Any, name: str) -> bool | None:
    """A fact of a `PortState`; None where media did not watch the slot or has no reading yet."""
    value = getattr(state, name, None)
    return bool(value) if getattr(state, "watched", True) and value in (0, 1) else None


def fxo_facts(state: Any) -> FxoFacts:
    """Electrical facts of an FXO slot in a `PortState`."""
    volts = float(getattr(state, "volts", 0.0) or 0.0)
    battery, polarity, flowing, ringing = (_known(state, name) for name in ("battery", "reversed", "loop", "ringing"))
    return FxoFacts(battery, volts, polarity, flowing, ringing)


def fxs_facts(state: Any) -> FxsFacts:
    """Electrical facts of an FXS slot in a `PortState`."""
    return FxsFacts(_known(state, "closed"))


#: Which fact of a snapshot an event brings up to date.
_FACT_OF = {"Battery": "battery", "Polarity": "reversed", "LoopCurrent": "loop", "RingBurst": "ringing", "Loop": "closed"}

_TRANSLATE: Mapping[str, Callable[[Any], s.Fact | None]] = {
    "RingBurst": lambda e: s.RingBurst(e.at, e.on),
    "Battery": lambda e: s.Battery(e.at, e.present, round(float(e.volts), 1)),
    "Polarity": lambda e: s.Polarity(e.at, e.reversed),
    "LoopCurrent": lambda e: s.LoopCurrent(e.at, e.flowing, round(float(e.milliamps), 1)),
    "Loop": lambda e: s.Loop(e.at, e.closed, round(float(getattr(e, "milliamps", 0.0)), 1)),
    "RingTrip": lambda e: s.RingTrip(e.at),
    "FskMessage": lambda e: s.FskMessage(e.at, e.payload),
    "Digit": lambda e: s.Digit(e.at, e.digit),
    "ToneHeard": lambda e: s.ToneHeard(e.at, e.name, e.cycles, e.start_at, e.confidence),
    "ToneStopped": lambda e: s.ToneStopped(e.at, e.name),
    "Voice": lambda e: s.Voice(e.at, e.active),
    "DtmfSent": lambda e: s.PlayerDone(e.at, e.token),
    "FskSent": lambda e: s.PlayerDone(e.at, e.token),
    "PulseSent": lambda e: s.PlayerDone(e.at, e.token),
    "Played": lambda e: s.PlayerDone(e.at, e.token) if e.token >= s.TONE_TOKENS else None,       # else a player of call control
}


def translate(event: Any) -> s.Fact | None:
    """The line's word for a media event; None for events that are none of a line's business."""
    make = _TRANSLATE.get(type(event).__name__)
    return None if make is None else make(event)
