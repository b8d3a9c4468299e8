"""The local exchange: what a PSTN line does when it rings, is seized, dials, talks and is released.

Theory of operation. A `Line` acts only on what an exchange can observe: loop current (hook), keys and dial pulses. States are in
`LineState`; the table of legal moves is `MOVES`. Incoming: caller id (DTMF before ring 1, FSK 500 ms after burst 1), ringing until
loop current, ring trip within 100 ms, talk; a seizure before ring 1 is an outgoing call, and the caller hears busy. Outgoing: dial tone,
digits, route through the `Directory`, ringback, answer (with or without reversal), talk. A far end that hangs up is signalled as the
line is set: polarity, loop drop, busy tone, in any mix.
Clearing back: on-hook for 400 ms releases (shorter breaks are dial pulses or flashes, ignored while talking).
Invariant: a `PstnCall` ends exactly once; its times and evidence are the oracle's, on the world's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from firmware.sim.callerid import dtmf_message, fsk_message
from firmware.sim.countries import UTC_OFFSET_H, Country, Tone
from firmware.sim.signal import FskSource, ToneSource, dtmf
from firmware.sim.wire import HEARD, HOOK, RING_EDGE, TrunkWire
from firmware.sim.world import Timer, World

RELEASE_MS = 400
PULSE_MS = 150
PULSE_GAP_MS = 250
INTERDIGIT_MS = 4000
TRIP_MS = 100


class LineState(StrEnum):
    """Where a line is in a call."""

    IDLE = "idle"
    ALERTING = "alerting"  # caller id before ring 1
    RINGING = "ringing"
    SEIZED = "seized"  # off-hook, before dial tone
    DIAL_TONE = "dial-tone"
    DIALLING = "dialling"
    RINGBACK = "ringback"
    TALKING = "talking"
    TONE = "tone"  # busy, congestion, unobtainable, or the far end is gone
    CLEARING = "clearing"  # answered ring not yet tripped


MOVES: dict[LineState, frozenset[LineState]] = {
    LineState.IDLE: frozenset({LineState.ALERTING, LineState.RINGING, LineState.SEIZED}),
    LineState.ALERTING: frozenset({LineState.RINGING, LineState.IDLE, LineState.SEIZED}),
    LineState.RINGING: frozenset({LineState.CLEARING, LineState.IDLE}),
    LineState.CLEARING: frozenset({LineState.TALKING, LineState.TONE, LineState.IDLE}),
    LineState.SEIZED: frozenset({LineState.DIAL_TONE, LineState.DIALLING, LineState.IDLE, LineState.TONE}),
    LineState.DIAL_TONE: frozenset({LineState.DIALLING, LineState.TONE, LineState.IDLE}),
    LineState.DIALLING: frozenset({LineState.RINGBACK, LineState.TALKING, LineState.TONE, LineState.IDLE}),
    LineState.RINGBACK: frozenset({LineState.TALKING, LineState.TONE, LineState.IDLE}),
    LineState.TALKING: frozenset({LineState.TONE, LineState.IDLE}),
    LineState.TONE: frozenset({LineState.IDLE}),
}


@dataclass
class PstnCall:
    """One call on a PSTN line, as the exchange bills it. Times are world ms, -1 = never."""

    ident: int
    direction: str  # "in" (towards the box) or "out"
    line: int
    number: str  # the calling or the called number
    started: int
    caller_id: str = "none"
    name: str = ""
    reason: str = ""
    identified: int = -1  # the caller id began to be sent
    rings: int = 0
    ring_times: list[int] = field(default_factory=list)
    answered: int = -1
    ended: int = -1
    ended_by: str = ""  # "far" (the PSTN person), "box", "exchange"
    outcome: str = ""  # "answered", "busy", "no-answer", "abandoned", "congestion", "unobtainable"
    digits: str = ""  # what the box dialled
    emergency: bool = False
    on_answer: Callable[[PstnCall], None] | None = None
    on_end: Callable[[PstnCall], None] | None = None

    def facts(self) -> dict[str, Any]:
        """Plain data for results and screens."""
        names = (
            "ident",
            "direction",
            "line",
            "number",
            "started",
            "caller_id",
            "identified",
            "rings",
            "answered",
            "ended",
            "ended_by",
            "outcome",
            "digits",
            "emergency",
        )
        return {name: getattr(self, name) for name in names} | {"rang": self.ring_times[0] if self.ring_times else -1}


@dataclass(frozen=True)
class Subscriber:
    """How a number behaves. `kind`: answer, busy, no-answer, congestion, unobtainable, emergency. `say` as `signal.sound` reads it."""

    kind: str = "answer"
    answer_after_ms: int = 3000
    say: str = "speech:4"
    hang_up_after_ms: int = 0  # after the answer; 0 = stays


class Directory:
    """The numbers of the PSTN. An unlisted number is a person who answers after 3 s; emergency numbers reach the centre."""

    def __init__(self, country: Country) -> None:
        self.country = country
        self.entries: dict[str, Subscriber] = {
            "13900000001": Subscriber("busy"),
            "13900000002": Subscriber("no-answer"),
            "13900000003": Subscriber("congestion"),
            "13900000004": Subscriber("unobtainable"),
        }
        for number in country.emergency:
            self.entries[number] = Subscriber("emergency", answer_after_ms=500, say="turn:800")
        self.default = Subscriber()

    def find(self, number: str) -> Subscriber:
        return self.entries.get(number, self.default)

    def complete(self, number: str) -> bool:
        """True when the exchange need not wait for another digit."""
        if number in self.entries:
            return True
        return len(number) >= (12 if number.startswith("0") else 11 if number.startswith("1") else 8) and self.country.name == "CN"


class Line:
    """One subscriber line of the exchange, on FXO jack `number`."""

    def __init__(
        self,
        world: World,
        number: int,
        wire: TrunkWire,
        country: Country,
        directory: Directory,
        talk: Callable[[Line, PstnCall, Subscriber], None],
        exchange: Exchange,
    ) -> None:
        self.world = world
        self.number = number
        self.wire = wire
        self.country = country
        self.directory = directory
        self.exchange = exchange
        self.state = LineState.IDLE
        self.call: PstnCall | None = None
        self.talk = talk
        self.dial_tone = True
        self.dial_tone_delay_ms = 300
        self.release: tuple[str, ...] = country.release
        self.answer_reversal = False
        self.loop_drop_ms = 500
        self.seizures = 0
        self.faults: set[str] = set()
        self._timers: list[Timer] = []
        self._hook_at = -1_000_000
        self._pulses = 0
        self._pulse_timer: Timer | None = None
        wire.ring_hz, wire.ring_volts = country.ring_hz, country.ring_volts
        world.plug(wire, self._raised)

    # --- incoming ------------------------------------------------------------------------------------------------------

    def offer(self, number: str, *, caller_id: str = "fsk", name: str = "", reason: str = "") -> PstnCall | None:
        """Ring the box for a caller; None when the line is busy or cut (the caller hears busy)."""
        if caller_id not in ("fsk", "dtmf", "none", "sdmf"):
            raise ValueError(f"caller id {caller_id!r} is not one of fsk, sdmf, dtmf, none")
        if self.state is not LineState.IDLE or self.wire.off_hook or self.wire.cut:
            return None
        call = self.exchange.open_call("in", self.number, number)
        call.caller_id, call.name, call.reason = caller_id, name, reason
        self.call = call
        if caller_id == "dtmf":
            self._move(LineState.ALERTING)
            keys = dtmf_message(number, reason)
            call.identified = self.world.now
            self.wire.mouth.play(dtmf(keys, on_ms=70, off_ms=70, low_dbm0=-11, high_dbm0=-9, lead_ms=250))
            self._later(250 + 140 * len(keys) + 350, self._start_ringing)
        else:
            self._start_ringing()
        return call

    def _start_ringing(self) -> None:
        if self.call is None:
            return
        self._move(LineState.RINGING)
        self.wire.ring(self.country.ring_cadence)
        self.call.rings = 1
        self.call.ring_times.append(self.world.now)
        self.world.observe("ring", line=self.number, call=self.call.ident, ring=1)

    def _ring_edge(self) -> None:
        call = self.call
        if call is None or self.state is not LineState.RINGING:
            return
        bursts_per_ring = len(self.country.ring_cadence) // 2
        if self.wire.ring_burst:
            if (self.wire.bursts - 1) % bursts_per_ring == 0:
                call.rings = (self.wire.bursts - 1) // bursts_per_ring + 1
                call.ring_times.append(self.world.now)
                self.world.observe("ring", line=self.number, call=call.ident, ring=call.rings)
        elif self.wire.bursts == bursts_per_ring and call.caller_id in ("fsk", "sdmf"):
            self._later(500, self._send_fsk)

    def _send_fsk(self) -> None:
        call = self.call
        if call is None or self.state is not LineState.RINGING:
            return
        payload = fsk_message(
            call.number,
            call.name,
            call.reason,
            self.world.wall_ms + UTC_OFFSET_H[self.country.name] * 3_600_000,
            single=call.caller_id == "sdmf",
        )
        self.wire.mouth.play(FskSource(payload, self.country.fsk))
        call.identified = self.world.now
        self.world.observe("caller-id-sent", line=self.number, call=call.ident, number=call.number)

    # --- the far end's person ----------------------------------------------------------------------------------------

    def far_hang_up(self, call: PstnCall) -> None:
        """The PSTN person hangs up (or gives up waiting for an answer)."""
        if call is not self.call or call.ended >= 0:
            return
        answered = call.answered >= 0
        self._finish("far", "answered" if answered else "abandoned")
        if not answered:
            self.wire.stop_ring()
            self._drop_timers()
            if self.state is LineState.CLEARING:
                self._play(self.country.busy, LineState.TONE)
            else:
                self._move(LineState.IDLE)
            return
        self._signal_release()

    def _signal_release(self) -> None:
        self.wire.mouth.stop()
        self._move(LineState.TONE)
        delay = 0
        if "polarity" in self.release:
            self.wire.reversed = not self.wire.reversed
        if "loop-drop" in self.release:
            self.wire.opened = True
            self._later(self.loop_drop_ms, self._restore_loop)
            delay = self.loop_drop_ms
        if "busy" in self.release:
            self._later(delay + 500, lambda: self._sound(self.country.busy))

    def _restore_loop(self) -> None:
        self.wire.opened = False

    # --- the box's side --------------------------------------------------------------------------------------------------

    def _raised(self, flags: int) -> None:
        if flags & HOOK:
            for at, off in self.wire.take_hooks():
                self._hook(off, at)
        if flags & RING_EDGE:
            self._ring_edge()
        if flags & HEARD:
            for key, at, _ in self.wire.ear.take_digits():
                self._key(key, at)

    def _hook(self, off: bool, now: int) -> None:
        since, self._hook_at = now - self._hook_at, now
        self.world.observe("hook", line=self.number, off=off, at_ms=now, milliamps=round(self.wire.milliamps, 1))
        if off:
            if self.state is LineState.ALERTING:  # nobody can answer what has not rung: the subscriber wants to dial
                self._finish("exchange", "busy")
                self._drop_timers()
                self.wire.mouth.stop()
                self._seized()
            elif self.state is LineState.RINGING:
                self._drop_timers()
                self._move(LineState.CLEARING)
                self._later(TRIP_MS, self._tripped)
            elif self.state is LineState.IDLE:
                self._seized()
            elif self.state in (LineState.DIAL_TONE, LineState.DIALLING) and since <= PULSE_MS:
                self._pulse()
            return
        self._later(RELEASE_MS, lambda: self._released(now))

    def _tripped(self) -> None:
        call = self.call
        if call is None or not self.wire.off_hook:
            return  # back on-hook before the trip: `_released` clears it
        self.wire.stop_ring()
        self.wire.mouth.stop()
        self._answered(call)

    def _answered(self, call: PstnCall) -> None:
        self._move(LineState.TALKING)
        call.answered = self.world.now
        self.world.observe("answered", line=self.number, call=call.ident, direction=call.direction)
        if call.direction == "out" and self.answer_reversal:
            self.wire.reversed = not self.wire.reversed
        if call.on_answer is not None:
            call.on_answer(call)

    def _released(self, since: int) -> None:
        if self.wire.off_hook or since != self._hook_at or self.state is LineState.IDLE:
            return
        if self.call is not None:
            outcome = "answered" if self.call.answered >= 0 else "abandoned"
            self._finish("box", outcome)
        self._drop_timers()
        self._silence()
        self.wire.stop_ring()
        self.wire.ear.listening = self.wire.ear.wants_digits = False
        self.wire.reversed = "reversed" in self.faults
        self.wire.opened = False
        self._move(LineState.IDLE)
        self.world.observe("released", line=self.number)

    # --- outgoing ------------------------------------------------------------------------------------------------------

    def _seized(self) -> None:
        self.seizures += 1
        self._move(LineState.SEIZED)
        self.call = self.exchange.open_call("out", self.number, "")
        self._pulses = 0
        ear = self.wire.ear
        ear.restart()
        ear.listening = ear.wants_digits = True
        if self.dial_tone:
            self._later(self.dial_tone_delay_ms, self._give_dial_tone)

    def _give_dial_tone(self) -> None:
        if self.state is LineState.SEIZED:
            self._play(self.country.dial, LineState.DIAL_TONE)
            self._later(20_000, self._dial_timeout)

    def _dial_timeout(self) -> None:
        if self.state is LineState.DIAL_TONE:
            self._end_outgoing("congestion")

    def _pulse(self) -> None:
        self._pulses += 1
        if self._pulse_timer is not None:
            self._pulse_timer.cancel()
        self._pulse_timer = self.world.after(PULSE_GAP_MS, self._pulsed)

    def _pulsed(self) -> None:
        pulses, self._pulses = self._pulses, 0
        if 1 <= pulses <= 10:
            self._key(str(pulses % 10), self.world.now)

    def _key(self, key: str, at: int) -> None:
        call = self.call
        if call is None or not self.wire.off_hook:  # what was keyed in the last moment before the line is released dials nothing
            return
        if self.state is LineState.TALKING:
            self.world.observe("key-heard", line=self.number, call=call.ident, key=key)
            return
        if self.state not in (LineState.DIAL_TONE, LineState.DIALLING, LineState.SEIZED):
            return
        if self.state is not LineState.DIALLING:
            self._silence()
            self._drop_timers()
            self._move(LineState.DIALLING)
        call.digits += key
        self.world.observe("digit", line=self.number, call=call.ident, key=key, digits=call.digits)
        self._drop_timers()
        wait = 300 if self.directory.complete(call.digits) else INTERDIGIT_MS
        self._later(wait, self._route)

    def _route(self) -> None:
        call = self.call
        if call is None or self.state is not LineState.DIALLING:
            return
        call.number = call.digits
        entry = self.directory.find(call.number)
        call.emergency = entry.kind == "emergency"
        self.world.observe("routed", line=self.number, call=call.ident, number=call.number, kind=entry.kind)
        if call.emergency:
            self.exchange.emergencies.append(call)
        if entry.kind in ("answer", "no-answer", "emergency"):
            self._play(self.country.ringback, LineState.RINGBACK)
            if entry.kind != "no-answer":
                self._later(entry.answer_after_ms, lambda: self._callee_answers(call, entry))
            else:
                self._later(60_000, lambda: self._end_outgoing("no-answer"))
        else:
            self._end_outgoing(entry.kind)

    def _callee_answers(self, call: PstnCall, entry: Subscriber) -> None:
        if self.call is call and self.state is LineState.RINGBACK:
            self._silence()
            self._answered(call)
            self.talk(self, call, entry)

    def _end_outgoing(self, outcome: str) -> None:
        tone = {"busy": self.country.busy, "unobtainable": self.country.unobtainable}.get(outcome, self.country.congestion)
        self._finish("exchange", outcome)
        self._silence()
        self._play(tone, LineState.TONE)

    # --- small parts -----------------------------------------------------------------------------------------------------

    def _finish(self, by: str, outcome: str) -> None:
        call = self.call
        if call is None or call.ended >= 0:
            return
        call.ended, call.ended_by, call.outcome = self.world.now, by, outcome
        self.world.observe("call-ended", line=self.number, call=call.ident, by=by, outcome=outcome)
        self.call = None
        if call.on_end is not None:
            call.on_end(call)

    def _move(self, state: LineState) -> None:
        if state is not self.state and state not in MOVES[self.state]:
            raise RuntimeError(f"line {self.number}: the exchange cannot go from {self.state} to {state}")
        self.state = state

    def _sound(self, tone: Tone) -> None:
        self.wire.mouth.stop()
        self.wire.mouth.play(ToneSource(list(tone)))

    def _play(self, tone: Tone, state: LineState) -> None:
        self._sound(tone)
        self._move(state)

    def _silence(self) -> None:
        self.wire.mouth.stop()

    def _later(self, ms: float, action: Callable[[], None]) -> None:
        self._timers = [t for t in self._timers if t.action is not None and t.at > self.world.now]
        self._timers.append(self.world.after(ms, action))

    def _drop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # --- faults -----------------------------------------------------------------------------------------------------------

    def fault(self, kind: str, on: bool, value: float = 0.0) -> None:
        """Make or mend a fault: cut, low-battery, noise, hum, no-dial-tone, stuck, parallel, reversed, false-ring."""
        wire = self.wire
        if kind == "cut":
            wire.cut = on
        elif kind == "low-battery":
            wire.feed_volts = (value or 20.0) if on else 48.0
        elif kind == "noise":
            wire.hiss((value or -35.0) if on else -68.0, seed=self.number)
        elif kind == "hum":
            wire.hum_volts = (value or 12.0) if on else 0.0
        elif kind == "no-dial-tone":
            self.dial_tone = not on
        elif kind == "stuck":
            wire.stuck = on
        elif kind == "parallel":
            wire.parallel = on
        elif kind == "reversed":
            wire.reversed = on
        elif kind == "false-ring":
            wire.stray_ms = int(value or 6) if on else 0
        else:
            raise ValueError(f"no fault {kind!r}: use cut, low-battery, noise, hum, no-dial-tone, stuck, parallel, reversed or false-ring")
        (self.faults.add if on else self.faults.discard)(kind)
        self.world.observe("fault", line=self.number, kind=kind, on=on)

    def facts(self) -> dict[str, Any]:
        """Plain data for `sim status`."""
        return {
            "line": self.number,
            "state": str(self.state),
            "volts": round(self.wire.volts, 1),
            "milliamps": round(self.wire.milliamps, 1),
            "off_hook": bool(self.wire.off_hook),
            "faults": sorted(self.faults),
            "call": self.call.facts() if self.call else None,
        }


class Exchange:
    """All lines, the directory and the books: every call ever made, and the emergency centre's list."""

    def __init__(self, world: World, country: Country, slots: Sequence[int], talk: Callable[[Line, PstnCall, Subscriber], None]) -> None:
        self.country = country
        self.directory = Directory(country)
        self.world = world
        self.calls: list[PstnCall] = []
        self.emergencies: list[PstnCall] = []
        self.lines = {n: Line(world, n, TrunkWire(slot), country, self.directory, talk, self) for n, slot in enumerate(slots, start=1)}

    def open_call(self, direction: str, line: int, number: str) -> PstnCall:
        call = PstnCall(len(self.calls) + 1, direction, line, number, self.world.now)
        self.calls.append(call)
        self.world.observe("call-started", line=line, call=call.ident, direction=direction, number=number)
        return call

    def line(self, number: int) -> Line:
        if number not in self.lines:
            raise ValueError(f"no PSTN line {number}: this exchange has lines {min(self.lines)} to {max(self.lines)}")
        return self.lines[number]
