"""What is known of every port beside its present state: calls, caller ids, hang-ups, echo, chip; the line doctor's memory (L5).

Theory of operation
-------------------
The book listens to the bus and to media like any other part and drives nothing. Of each call on a port it keeps how it ended and on what
evidence, whether a caller id came, and, by looking at the port's gauges every two seconds while people talk, the canceller's figures at
the end. What must outlive a restart is in `state.db` (`line_book`), under the identity of the line: another line on the jack begins anew.
Invariants: one record per port and part; the last ten hang-ups and the last five echo figures are kept; nothing here can disturb a call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from firmware.call.model import LegAnswered, LegEnded, LegEvent, LegOffered, LineMissed, Party
from firmware.config.schema.ports import FxoLine
from firmware.core.lines import Lines
from firmware.core.lines_alarms import fault_and_remedy
from firmware.core.lines_port import LinePort
from firmware.errors import CommandError, EngineBusy
from firmware.line.doctor import UNSURE, ChipView, EchoView, LastEnd, LoopTest, PortView
from firmware.line.selftest import Result
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock
from firmware.store.linebook import LineBookStore

T = TypeVar("T")
log = logging.getLogger("branchpbx.doctor")

SAMPLE_MS = 2000
LEAST_CALL_MS = 8000             # shorter talks say nothing about echo
SPEECH_DBM0 = -45.0              # quieter than this is no speech
SPEECH_ABOVE_DB = 15.0           # above the line's noise
ENDS = 10
ECHOES = 5
DAY_MS = 86_400_000
LOOP_MS = 86_400_000             # a line test is believed for a day
GUESSED = frozenset({"silence", "timer"})


class BookMedia(Protocol):
    """What the book needs of `firmware.media.Media`."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...
    def measure(self, port: int, *, levels: bool = True, activity: bool = False) -> Any: ...
    def meters(self, port: int) -> Any: ...


class End(msgspec.Struct, frozen=True):
    """How a call ended; Unix ms."""

    wall_ms: int
    cause: str
    kind: str
    confidence: float
    detail: str
    by_far: bool


class Notes(msgspec.Struct):
    """What is kept of a port's calls."""

    with_id: int = 0
    without_id: int = 0
    errors: int = 0
    caller: str = ""
    caller_ms: int = 0
    ring_ms: int = 0
    rings: int = 0
    off_hook_ma: float = 0.0
    ends: list[End] = []


class EchoNote(msgspec.Struct, frozen=True):
    """Echo figures at the end of one call."""

    wall_ms: int
    erl_db: float
    erle_db: float
    delay_ms: int
    noise_dbm0: float
    words: int
    audible: int
    clipped: int
    level_dbm0: float


class Label(msgspec.Struct, frozen=True):
    """The number that somebody said is on a line; `how`: "said", "read" on a mobile, or "" for the configuration's."""

    number: str
    how: str
    wall_ms: int


class _Talk:
    """A call whose gauges are looked at."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.meters: Any = None
        self.clipped = 0
        self.levels: list[float] = []


class LineBook:
    """See the theory of operation. `tests(endpoint)` and `alarms(endpoint)` are set by the parts that know them."""

    def __init__(self, lines: Lines, media: BookMedia, bus: Bus, clock: Clock, store: LineBookStore) -> None:
        self.lines, self.store = lines, store
        self._media, self._clock = media, clock
        self.notes: dict[str, Notes] = {}
        self.echoes: dict[str, list[EchoNote]] = {}
        self.labels: dict[str, Label] = {}
        self.chips: dict[str, ChipView] = {}
        self._loops: dict[str, tuple[int, LoopTest]] = {}
        self.test_of: Callable[[str], Result | None] = lambda endpoint: None
        self.alarms_of: Callable[[str], tuple[tuple[str, str], ...]] = lambda endpoint: ()
        self.own: set[str] = set()               # legs of tests and of people with a butt-set: no calls
        self._chip_days: dict[str, list[int]] = {}
        self._legs: dict[str, str] = {}
        self._talks: dict[str, _Talk] = {}
        self._ringing: dict[str, int] = {}
        self._by_slot = {port.slot: port for port in lines.ports.values()}
        self._load()
        bus.subscribe((LegEvent, LineMissed), self._on_bus)
        media.subscribe(self._on_media)

    def _load(self) -> None:
        self._take("calls", Notes, self.notes)
        self._take("echo", list[EchoNote], self.echoes)
        self._take("label", Label, self.labels)

    def _take(self, part: str, kind: type[T], into: dict[str, T]) -> None:
        for endpoint, (line, state) in self.store.load(part, kind).items():
            port = self.lines.ports.get(endpoint)
            if port is not None and port.line == line:
                into[endpoint] = state

    def _save(self, endpoint: str, part: str, state: object) -> None:
        self.store.save(endpoint, part, self.lines.ports[endpoint].line, state, self._clock.wall_ms())

    def notes_of(self, endpoint: str) -> Notes:
        """The record of a port, a fresh one where there is none."""
        return self.notes.setdefault(endpoint, Notes())

    # --- naming -------------------------------------------------------------------------------------------------------

    def port(self, name: str) -> LinePort:
        """The port that a person means: "3" and "line/3", "101", "fxs/4". CommandError with what there is."""
        for candidate in (name, f"line/{name}"):
            if candidate in self.lines.ports:
                return self.lines.ports[candidate]
        known = ", ".join(endpoint.removeprefix("line/") for endpoint in self.lines.ports)
        raise CommandError(f"there is no analog port {name!r} in service; there are {known}")

    def line(self, name: str) -> LinePort:
        """An outside line."""
        port = self.port(name)
        if not isinstance(port.config, FxoLine):
            raise CommandError(f"{port.endpoint} is a telephone jack; name an outside line")
        return port

    def label(self, port: LinePort, number: str, how: str) -> None:
        """Keep the number that is on a line."""
        self.labels[port.endpoint] = Label(number, how, self._clock.wall_ms())
        self._save(port.endpoint, "label", self.labels[port.endpoint])

    def label_of(self, port: LinePort) -> str:
        """The number of a line: what was found, else what is configured."""
        known = self.labels.get(port.endpoint)
        return known.number if known is not None else getattr(port.config, "number", "")

    # --- listening ----------------------------------------------------------------------------------------------------

    def _on_bus(self, event: Any) -> None:
        if isinstance(event, LineMissed):
            self._rang(event.endpoint, event.rings, event.caller)
        elif isinstance(event, LegOffered):
            if event.endpoint in self.lines.ports:
                self._legs[event.leg] = event.endpoint
            if event.endpoint in self.lines.ports and event.ring_started:
                self._rang(event.endpoint, event.rings, event.caller)
        elif isinstance(event, LegAnswered):
            self._answered(event)
        elif isinstance(event, LegEnded):
            self._ended(event)
        elif event.leg not in self._legs:
            self._find(event.leg)

    def _find(self, leg: str) -> str:
        endpoint = next((port.endpoint for port in self.lines.ports.values() if port.leg == leg), "")
        if endpoint:
            self._legs[leg] = endpoint
        return endpoint

    def _rang(self, endpoint: str, rings: int, caller: Party) -> None:
        if endpoint not in self.lines.ports:
            return
        notes, port = self.notes_of(endpoint), self.lines.ports[endpoint]
        notes.ring_ms, notes.rings = self._clock.wall_ms(), rings
        if caller.number or caller.reason == "private":
            notes.caller, notes.caller_ms = caller.number or caller.reason, notes.ring_ms
            notes.with_id += 1
        else:
            notes.without_id += 1
        errors = getattr(port.machine.state, "caller_id_errors", 0)
        notes.errors += max(0, errors - self._ringing.get(endpoint, 0))
        self._ringing[endpoint] = errors
        if notes.with_id + notes.without_id > 40:        # the last weeks count, not the years
            notes.with_id, notes.without_id, notes.errors = notes.with_id // 2, notes.without_id // 2, notes.errors // 2
        self._save(endpoint, "calls", notes)

    def _answered(self, event: LegAnswered) -> None:
        endpoint = self._legs.get(event.leg) or self._find(event.leg)
        if not endpoint or endpoint in self._talks:
            return
        try:
            self._media.measure(self.lines.ports[endpoint].slot, levels=True)
        except EngineBusy:
            return
        self._talks[endpoint] = _Talk(event.at)
        self._clock.call_later(SAMPLE_MS, lambda: self._sample(endpoint, event.leg))

    def _sample(self, endpoint: str, leg: str) -> None:
        talk = self._talks.get(endpoint)
        if talk is None or self._legs.get(leg) != endpoint:
            return
        meters = self._media.meters(self.lines.ports[endpoint].slot)
        if meters is not None:
            talk.clipped = meters.in_clipped
            if meters.canceller and not meters.clear and (meters.erl_db or meters.erle_db):
                talk.meters = meters
            if meters.in_dbm0 > max(SPEECH_DBM0, meters.noise_dbm0 + SPEECH_ABOVE_DB):
                talk.levels.append(meters.in_dbm0)
        self._clock.call_later(SAMPLE_MS, lambda: self._sample(endpoint, leg))

    def _ended(self, event: LegEnded) -> None:
        endpoint = self._legs.pop(event.leg, "")
        talk = self._talks.pop(endpoint, None)
        if not endpoint or event.leg in self.own:
            self.own.discard(event.leg)
            return
        evidence = event.evidence
        notes = self.notes_of(endpoint)
        end = End(self._clock.wall_ms(), event.cause.value, evidence.kind, evidence.confidence, evidence.detail, event.by_far)
        notes.ends = [*notes.ends, end][-ENDS:]
        self._save(endpoint, "calls", notes)
        if talk is not None:
            self._media.measure(self.lines.ports[endpoint].slot, levels=False)
            if talk.meters is not None and event.at - talk.at >= LEAST_CALL_MS:
                self._keep_echo(endpoint, talk)

    def _keep_echo(self, endpoint: str, talk: _Talk) -> None:
        meters = talk.meters
        from statistics import median  # brings fractions and decimals along

        level = median(talk.levels) if talk.levels else 0.0
        note = EchoNote(
            self._clock.wall_ms(), round(meters.erl_db, 1), round(meters.erle_db, 1), meters.delay_ms, round(meters.noise_dbm0, 1),
            meters.words, meters.words_audible, talk.clipped, round(level, 1),
        )  # fmt: skip
        self.echoes[endpoint] = [*self.echoes.get(endpoint, []), note][-ECHOES:]
        self._save(endpoint, "echo", self.echoes[endpoint])

    def _on_media(self, event: Any) -> None:
        port = self._by_slot.get(getattr(event, "port", -1))
        if port is None:
            return
        name = type(event).__name__
        if name == "LoopCurrent" and event.flowing and isinstance(port.config, FxoLine):
            self.notes_of(port.endpoint).off_hook_ma = round(event.milliamps, 1)
        elif name == "PortHealth":
            self._health(port.endpoint, event)

    def _health(self, endpoint: str, event: Any) -> None:
        days = [at for at in self._chip_days.get(endpoint, []) if self._clock.wall_ms() - at < DAY_MS]
        if event.raised:
            before = self.chips.get(endpoint)
            if before is None or not before.fault:
                days.append(self._clock.wall_ms())           # attempts to recover are no new faults
            fault, remedy = fault_and_remedy(event.kind)
            out = event.final or event.state == "out"
            self.chips[endpoint] = ChipView(event.kind, event.text, out, len(days), (fault.en, fault.zh), (remedy.en, remedy.zh))
        else:
            self.chips[endpoint] = ChipView(faults_today=len(days))
        self._chip_days[endpoint] = days

    def tested(self, port: LinePort, test: LoopTest) -> None:
        """A line test of a telephone jack."""
        self._loops[port.endpoint] = self._clock.wall_ms(), test

    # --- telling ------------------------------------------------------------------------------------------------------

    def echo(self, endpoint: str) -> EchoView | None:
        """Figures of the last calls, medians; None when there is none."""
        known = self.echoes.get(endpoint, [])
        if not known:
            return None
        from statistics import median  # as above

        levels = [one.level_dbm0 for one in known if one.level_dbm0]
        return EchoView(
            len(known), median(one.erl_db for one in known), median(one.erle_db for one in known),
            round(median(one.delay_ms for one in known)),
            median(one.noise_dbm0 for one in known), sum(one.words for one in known), sum(one.audible for one in known),
            sum(one.clipped for one in known), median(levels) if levels else 0.0,
        )  # fmt: skip

    def view(self, port: LinePort) -> PortView:
        """The port as the doctor sees it now."""
        status, config, wall = port.status(), port.config, self._clock.wall_ms()
        notes, test = self.notes_of(port.endpoint), self.test_of(port.endpoint)
        line = isinstance(config, FxoLine)
        last = notes.ends[-1] if notes.ends else None
        at, loop = self._loops.get(port.endpoint, (0, None))
        end = None
        if last is not None:
            seconds = max(0, wall - last.wall_ms) // 1000
            end = LastEnd(last.cause, last.kind, last.confidence, last.detail, last.by_far, seconds)
        return PortView(
            kind="fxo" if line else "fxs",
            endpoint=port.endpoint,
            jack=port.endpoint.rpartition("/")[2],
            label=self.label_of(port),
            state=status.state,
            available=status.available,
            detail=status.detail,
            seconds=max(0, self._clock.now() - status.since) // 1000,
            battery=status.battery,
            volts=status.volts,
            reversed=status.reversed,
            uses_polarity=isinstance(config, FxoLine) and config.polarity_answer,
            milliamps=status.milliamps,
            off_hook=status.off_hook,
            in_call=bool(status.leg),
            ring_s=_since(notes.ring_ms, wall),
            rings=notes.rings,
            caller=notes.caller,
            caller_s=_since(notes.caller_ms, wall),
            with_id=notes.with_id,
            without_id=notes.without_id,
            caller_id_expected=isinstance(config, FxoLine) and config.caller_id != "none",
            caller_id_errors=notes.errors,
            last_end=end,
            guesses=sum(one.by_far and (one.kind in GUESSED or one.confidence < UNSURE) for one in notes.ends),
            echo=self.echo(port.endpoint),
            chip=self.chips.get(port.endpoint),
            test_failed=test.failed if test is not None else "",
            test_s=_since(test.wall_ms, wall) if test is not None else -1,
            dial_tone_ms=test.dial_tone_ms if test is not None else -1,
            off_hook_ma=notes.off_hook_ma,
            loop=loop if wall - at < LOOP_MS else None,
            alarms=self.alarms_of(port.endpoint),
        )


def _since(wall_ms: int, now: int) -> int:
    return max(0, now - wall_ms) // 1000 if wall_ms else -1
