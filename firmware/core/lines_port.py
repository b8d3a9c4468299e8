"""One analogue port of the running system: its machine, its leg, its trace; nothing of it can hurt another port (L5).

Theory of operation
-------------------
A `LinePort` feeds facts and intentions to its machine, carries the machine's actions out through media, and publishes its events as
legs. It is one supervised thing: whatever raises inside it is caught here, ends the leg of this port with cause SYSTEM, and starts the
machine anew from the electrical facts. Actions go out before events are published, so that a subscriber finds the line as the event
says. A command that the full ring refuses is kept and tried again: a line must never stay off-hook for want of room.
Invariants: a leg has exactly one `LegEnded`; a port has at most one leg; the trace is bounded.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from firmware.call.model import (
    Cause,
    EndpointState,
    Evidence,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegFlash,
    LegKind,
    LegOffered,
    LegProgress,
    LegResumed,
    LegRinging,
    LineMissed,
    Party,
    TalkMuted,
)
from firmware.config.schema.ports import FxoLine, FxsPhone
from firmware.core.lines_waiting import SecondCall
from firmware.errors import EngineBusy, LocalProtocolError
from firmware.line import signals as s
from firmware.line.fxo import Fxo
from firmware.line.fxs import Fxs
from firmware.line.tones import ToneSpec
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock, Timer

log = logging.getLogger("branchpbx.lines")

CallerIdScheme = Literal["auto", "bell202", "v23", "dtmf", "none"]
TRACE_LENGTH = 400
RETRY_MS = 20
LEARN_MS = 100


class LineMedia(Protocol):
    """What lines need of `firmware.media.Media`; every command may be answered later and the answer ignored."""

    def open_line(
        self, slot: int, *, echo_tail_ms: int, rx_gain_db: float, tx_gain_db: float, tag: str, line: int = 0
    ) -> Any: ...

    def close_line(self, slot: int) -> Any: ...

    def tone(self, port: int, tone: Any, *, token: int = 0, duration_ms: int = 0) -> Any: ...

    def stop(self, port: int) -> Any: ...

    def send_dtmf(self, port: int, digits: str, *, on_ms: int = 100, off_ms: int = 100, level_dbm0: float = -9.0, token: int) -> Any: ...

    def send_fsk(self, port: int, payload: bytes, *, standard: str, token: int, in_call: bool = False) -> Any: ...

    def detect(
        self, port: int, *, digits: bool, fsk: str = "", voice: bool = False, tones: Any = (), fax: bool = False, learn: bool = False
    ) -> Any: ...

    def learn(self, slot: int) -> Any: ...

    def clear_channel(self, port: int, on: bool) -> Any: ...

    def drive(self, slot: int, code: int, hold_ms: int = 0, then: int = 0) -> Any: ...

    def pulse(self, slot: int, digits: str, *, break_ms: int = 60, make_ms: int = 40, between_ms: int = 750, token: int) -> Any: ...

    def watch_line(self, slot: int, kind: Any) -> Any: ...

    def waiting(self, port: int) -> frozenset[str]: ...

    def learned(self, slot: int) -> Any: ...

    def offer(self, slot: int, known: Any) -> None: ...


class LineMessageWaiting(msgspec.Struct, frozen=True, tag=True):
    """The exchange says that messages wait on a line, or no longer."""

    endpoint: str
    at: int
    on: bool


class TraceEntry(msgspec.Struct, frozen=True):
    """One line of `show trace`. `direction`: "fact", "want", "do" or "event"."""

    at: int
    wall_ms: int
    direction: str
    text: str
    state: str
    leg: str


class LineStatus(msgspec.Struct, frozen=True):
    """One row of `show lines`. `state` is the machine's, `available` that of `EndpointState`; `since` is engine ms."""

    endpoint: str
    kind: str
    slot: int
    number: str
    group: str
    state: str
    available: str
    detail: str
    battery: bool | None
    volts: float
    reversed: bool
    milliamps: float
    off_hook: bool
    caller: Party
    called: str
    leg: str
    since: int
    restarts: int


class LinePort:
    """A jack in service. `new_machine` makes a fresh machine after a fault inside the old one."""

    def __init__(
        self,
        endpoint: str,
        slot: int,
        config: FxoLine | FxsPhone,
        new_machine: Callable[[], Fxo | Fxs],
        media: LineMedia,
        clock: Clock,
        bus: Bus,
        new_leg: Callable[[], str],
    ) -> None:
        self.endpoint, self.slot, self.config = endpoint, slot, config
        self.new_machine = new_machine
        self.machine = new_machine()
        self.leg = ""
        self.caller = Party()
        self.called = ""
        self.available = ""
        self.detail = ""
        self.volts = 0.0                         # as measured last, signed
        self.milliamps = 0.0
        self.restarts = 0
        self.waiting = False                     # adoption: facts are kept back until the machine is known
        self.trace: deque[TraceEntry] = deque(maxlen=TRACE_LENGTH)
        self.line = 0                            # identity for what its echo canceller learned
        self.on_leg: Callable[[str, LinePort | None], None] = lambda leg, port: None
        self.on_audio_closed: Callable[[int], None] = lambda slot: None
        self.on_clear: Callable[[str], None] = lambda leg: None
        self.on_talk: Callable[[str], None] = lambda leg: None
        self.on_end: Callable[[LinePort, str, str, Cause, bool], None] = lambda port, leg, called, cause, answered: None
        self.on_memory: Callable[[str], None] = lambda leg: None
        self.hidden = False                      # keys of the leg are secret: the trace says that there was one
        self.idle_since = 0                      # end of the last call, engine ms
        self._answered = False                   # the leg was in conversation
        self._media, self._clock, self._bus, self._new_leg = media, clock, bus, new_leg
        self._todo: deque[s.Action] = deque()
        self._said: deque[s.Event] = deque()
        self._timer: Timer | None = None
        self._retry: Timer | None = None
        self._pumping = False
        self._kept: list[s.Fact] = []
        self._talked = False                     # since the audio was opened
        self._lent: Callable[[s.Fact], None] | None = None
        self._scheme: tuple[CallerIdScheme, bool] | None = None
        self._memory = b""                       # of the machine, when it was journaled last
        self.second = SecondCall(self, clock, bus)

    @property
    def kind(self) -> LegKind:
        """FXO or FXS."""
        return LegKind.FXO if isinstance(self.machine, Fxo) else LegKind.FXS

    # --- in ---------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the jack into service at rest."""
        self.waiting = False
        self._lent = None
        self._guarded(lambda: self.machine.start(self._clock.now()))
        self._release_kept()

    def take(self, config: FxoLine | FxsPhone, new_machine: Callable[[], Fxo | Fxs]) -> None:
        """Go on with other settings, also within a call."""
        self.config = config
        self.new_machine = new_machine
        self.machine.config = config
        self._tune()

    def lend(self, borrower: Callable[[s.Fact], None]) -> None:
        """Give the idle line to somebody who works on it by hand (butt-set): its facts go there, its machine rests, no call takes it.

        LocalProtocolError when it is not idle. The borrower drives media himself and ends with `take_back`.
        """
        if self.waiting or self.leg or self._lent is not None or self.machine.state.state != "IDLE":
            raise LocalProtocolError(f"{self.endpoint} is {self.available or 'not ready'} {self.detail}".strip())
        self._lent, self.waiting = borrower, True
        self.available, self.detail = "busy", "in use by hand"
        self._bus.publish(EndpointState(self.endpoint, self._clock.now(), self.available, self.detail))

    def take_back(self) -> None:
        """Put a line that was lent to rest again; nothing happens when it was not."""
        if self._lent is not None:
            self.machine.state.published = ""    # our own word of "busy" stands: say again what it is
            self.start()

    def listen_for(self, scheme: CallerIdScheme, *, wide: bool = False) -> None:
        """Caller id that the line expects from its next rest on; `wide`: every scheme, in front of and behind the first ring."""
        self._scheme = scheme, wide
        self._tune()

    def _tune(self) -> None:
        if self._scheme is not None and isinstance(self.machine, Fxo):
            self.machine.config = msgspec.structs.replace(self.machine.config, caller_id=self._scheme[0])
            self.machine.wide = self._scheme[1]

    def attach(self, machine: Fxo | Fxs, leg: str, facts: Any) -> None:
        """Go on with a machine restored from the journal; `facts` is what the line is now."""
        self.machine, self.leg, self.waiting = machine, leg, False
        self._tune()
        if isinstance(machine, Fxo) and machine.state.loop:
            self.milliamps = machine.state.milliamps         # told when it changes; until then it is what the last core knew
        if leg:
            self.on_leg(leg, self)
        self._note("want", "attach")
        self._guarded(lambda: machine.attach(facts, self._clock.now()))
        self._release_kept()

    def _release_kept(self) -> None:
        kept, self._kept = self._kept, []
        for fact in kept:
            self.fact(fact)

    def fact(self, fact: s.Fact) -> None:
        """A fact of the line or of a detector."""
        if isinstance(fact, s.Battery):
            self.volts = fact.volts
        elif isinstance(fact, s.LoopCurrent):
            self.milliamps = fact.milliamps if fact.flowing else 0.0
        elif isinstance(fact, s.Loop):
            self.milliamps = fact.milliamps if fact.closed else 0.0
        if self._lent is not None:
            self._note("fact", describe(fact), fact.at)
            self._lent(fact)
            return
        if self.waiting:
            self._kept.append(fact)
            return
        self._note("fact", describe(fact, hidden=self.hidden), fact.at)
        self._guarded(lambda: self.machine.receive(fact))

    def stand_aside(self, kind: str) -> None:
        """A fax or modem answers on this port: for the rest of the call nothing may touch its samples."""
        if self.leg and kind not in ("cng", "end"):
            self._note("fact", f"FaxTone kind={kind}")
            self.on_clear(self.leg)

    def clear_channel(self) -> None:
        """No canceller, gain or muting for the rest of the call."""
        try:
            self._media.clear_channel(self.slot, True)
        except EngineBusy as error:
            log.warning("%s: the canceller stays in a fax call: %s", self.endpoint, error)

    def _ask_learner(self) -> None:
        """Which tone told of the end of the call, if one did?"""
        try:
            self._media.learn(self.slot)
        except EngineBusy as error:
            log.info("%s: its late sound is not looked at: %s", self.endpoint, error)

    def learned(self, event: Any) -> None:
        """What the end of a call told of the line's disconnect tone, for the trace and the log."""
        if event.reason:
            self._note("fact", f"LearnedTone none: {event.reason}")
            return
        tone = "+".join(f"{hz:g}" for hz in event.freqs_hz)
        cadence = ",".join(str(ms) for ms in event.cadence_ms)
        text = f"LearnedTone {tone} Hz, {cadence} ms, {event.repetitions} cycles, confidence {event.confidence:.2f}"
        self._note("fact", text, event.start)
        log.info("%s: %s", self.endpoint, text)

    def want(self, intention: s.Intention, *, later: bool = False) -> bool:
        """An intention of call control; False when the machine's state does not allow it (nothing happens then).

        `later`: the events it leads to are published after this call returned.
        """
        if self.waiting or not (self.machine.allows(type(intention)) or isinstance(intention, s.HangUp)):
            return False
        self._note("want", describe(intention))
        try:
            self._guarded(lambda: self.machine.send(intention), refusals=True, later=later)
        except LocalProtocolError as error:
            log.warning("%s: %s", self.endpoint, error)
            return False
        return True

    def fail(self, cause: Cause, evidence: Evidence) -> None:
        """Whatever the port did is lost: end the leg and begin anew at rest."""
        self._todo.clear()
        self._said.clear()
        self.machine = self.new_machine()
        self._tune()
        self._ended(self._clock.now(), cause, evidence, by_far=False)
        self.second.fail(cause, evidence)

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None], *, refusals: bool = False, later: bool = False) -> None:
        try:
            work()
            self._pump(later=later)
        except LocalProtocolError:
            if refusals:
                raise
            self._crashed()
        except Exception:
            self._crashed()

    def _crashed(self) -> None:
        log.exception("%s: the port failed in state %s; its call ends and it starts anew", self.endpoint, self.machine.state.state)
        self.restarts += 1
        closed = self.machine.state.hook.closed if isinstance(self.machine, Fxs) else None
        self._pumping = False
        self.fail(Cause.SYSTEM, Evidence("timer", 1.0, "internal error of the port"))
        try:
            now = self._clock.now()
            self.machine.start(now)
            if closed:
                self.machine.receive(s.Loop(now, True))      # the telephone is still lifted
            self._pump()
        except Exception:
            self._pumping = False
            log.exception("%s: cannot start anew; the port is out of service until the next event", self.endpoint)

    def _pump(self, *, later: bool = False) -> None:
        """Carry out actions, then publish events one by one; what a subscriber asks meanwhile joins the same queue."""
        if self._pumping:
            return
        if later:
            self._todo.extend(self.machine.actions())
            self._carry_out()
            self._arm()
            self._clock.call_later(0, self._expired)
            return
        self._pumping = True
        while True:
            self._todo.extend(self.machine.actions())
            self._said.extend(self.machine.events())
            self._carry_out()
            if not self._said:
                break
            self._publish(self._said.popleft())
        self._pumping = False
        self._arm()
        self._remember()

    def _remember(self) -> None:
        """What a call's machine has learnt must outlive this process: a ringback that stopped is told once, as is a voice."""
        memory = self.machine.memory() if self.leg else b""
        if memory != self._memory:
            self._memory = memory
            if self.leg:
                self.on_memory(self.leg)

    def _arm(self) -> None:
        due = self.machine.deadline()
        if self._timer is not None:
            if self._timer.active and self._timer.at == due:
                return
            self._timer.cancel()
        self._timer = None if due is None else self._clock.call_at(due, self._expired)

    def _expired(self) -> None:
        now = self._clock.now()
        self._guarded(lambda: self.machine.expire(now))

    def _carry_out(self) -> None:
        while self._todo:
            action = self._todo[0]
            try:
                self._do(action)
            except EngineBusy:
                if self._retry is None or not self._retry.active:
                    self._retry = self._clock.call_later(RETRY_MS, self._carry_out)
                return
            self._todo.popleft()

    def _do(self, action: s.Action) -> None:
        media, slot = self._media, self.slot
        if isinstance(action, s.Drive):
            if action.hold_ms:
                media.drive(slot, action.code, action.hold_ms, action.then)
            else:
                media.drive(slot, action.code)
        elif isinstance(action, s.OpenAudio):
            config = self.config
            fax = isinstance(config, FxsPhone) and config.terminal == "fax"
            media.open_line(
                slot,
                echo_tail_ms=config.echo_tail_ms if action.echo and not fax else 0,
                rx_gain_db=0.0 if fax else config.rx_gain_db,
                tx_gain_db=0.0 if fax else config.tx_gain_db,
                tag=self.leg or self.endpoint,
                line=self.line,
            )
        elif isinstance(action, s.CloseAudio):
            media.close_line(slot)
            self.on_audio_closed(slot)
            if self._talked and self.kind is LegKind.FXO:
                self._clock.call_later(LEARN_MS, self._ask_learner)
            self._talked = False
        elif isinstance(action, s.Detect):
            called = bool(self.leg)
            learn = called and self.kind is LegKind.FXO
            media.detect(
                slot, digits=action.digits, fsk=action.fsk, voice=action.voice, tones=action.tones, fax=called, learn=learn
            )
        elif isinstance(action, s.PlayTone):
            media.tone(slot, action.tone, token=action.token, duration_ms=action.duration_ms)
        elif isinstance(action, s.StopPlayer):
            media.stop(slot)
        elif isinstance(action, s.SendDtmf):
            media.send_dtmf(
                slot, action.digits, on_ms=action.on_ms, off_ms=action.off_ms, level_dbm0=action.level_dbm0, token=action.token
            )
        elif isinstance(action, s.SendFsk):
            media.send_fsk(slot, action.payload, standard=action.standard, token=action.token, in_call=action.in_call)
        elif isinstance(action, s.SendPulses):
            gaps = {"break_ms": action.break_ms, "make_ms": action.make_ms, "between_ms": action.between_ms}
            media.pulse(slot, action.digits, token=action.token, **gaps)
        elif isinstance(action, s.MuteTalk):
            self._bus.publish(TalkMuted(self.leg, self._clock.now(), action.on))
            if not action.on:
                self.second.talk_given_back()
        elif isinstance(action, s.ClearChannel):
            self.on_clear(self.leg)
        self._note("do", describe(action))

    def _publish(self, event: s.Event) -> None:
        self._note("event", describe(event, hidden=self.hidden), event.at)
        publish, leg, at = self._bus.publish, self.leg, event.at
        if isinstance(event, s.StateChanged):
            self.available, self.detail = event.state, event.detail
            publish(EndpointState(self.endpoint, at, event.state, event.detail))
        elif isinstance(event, s.Offered):
            self.begin_leg(self._new_leg())
            self.caller, self.called = event.caller, event.called
            publish(
                LegOffered(
                    self.leg, at, self.kind, self.endpoint, event.caller, event.called, self.slot, event.rings, event.ring_started
                )
            )
        elif isinstance(event, s.Ended):
            self._ended(at, event.cause, event.evidence, by_far=event.by_far)
            self.second.over()
        elif isinstance(event, s.Missed):
            publish(LineMissed(self.endpoint, at, event.caller, event.rings, event.ring_started))
        elif isinstance(event, s.MessageWaiting):
            publish(LineMessageWaiting(self.endpoint, at, event.on))
        elif leg and isinstance(event, s.Ringing):
            publish(LegRinging(leg, at))
        elif leg and isinstance(event, s.EarlyAudio):
            publish(LegProgress(leg, at, self.slot))
        elif leg and isinstance(event, s.Answered):
            self._talked = self._answered = True
            self.on_talk(leg)
            again = self.second.resumes(leg)
            publish(LegResumed(leg, at) if again else LegAnswered(leg, at, self.slot, event.evidence))
        elif leg and isinstance(event, s.Key):
            publish(LegDigit(leg, at, event.digit))
        elif leg and isinstance(event, s.HookFlash):
            if not self.second.flashed():
                publish(LegFlash(leg, at))

    def begin_leg(self, leg: str) -> None:
        """From now on this port is leg `leg`."""
        self.leg, self._answered, self.hidden = leg, False, False
        self.on_leg(leg, self)

    def _ended(self, at: int, cause: Cause, evidence: Evidence, *, by_far: bool) -> None:
        leg, called = self.leg, self.called
        self.leg, self.caller, self.called, self.hidden = "", Party(), "", False
        if leg:
            self.idle_since = at
            self.on_leg(leg, None)
            self.on_end(self, leg, called, cause, self._answered)
            log.info("leg %s on %s ended: %s by %s (%s)", leg, self.endpoint, cause, evidence.kind, evidence.detail)
            self._bus.publish(LegEnded(leg, at, cause, evidence, by_far))

    def _note(self, direction: str, text: str, at: int = -1) -> None:
        at = at if at >= 0 else self._clock.now()
        wall = self._clock.wall_ms() - (self._clock.now() - at)
        self.trace.append(TraceEntry(at, wall, direction, text, self.machine.state.state, self.leg))

    def status(self) -> LineStatus:
        """The row of `show lines`."""
        machine, config = self.machine, self.config
        fxo = machine.state if isinstance(machine, Fxo) else None
        return LineStatus(
            endpoint=self.endpoint,
            kind=self.kind.value,
            slot=self.slot,
            number=config.number if isinstance(config, FxoLine) else "",
            group=config.group if isinstance(config, FxoLine) else "",
            state=machine.state.state,
            available=self.available,
            detail=self.detail,
            battery=fxo.battery if fxo else None,
            volts=round(self.volts, 1),
            reversed=bool(fxo and fxo.reversed),
            milliamps=round(self.milliamps, 1),
            off_hook=fxo.off_hook if fxo else machine.state.hook.off_hook if isinstance(machine, Fxs) else False,
            caller=self.caller,
            called=self.called,
            leg=self.leg,
            since=machine.state.since,
            restarts=self.restarts,
        )


def describe(thing: msgspec.Struct, *, hidden: bool = False) -> str:
    """A fact, action or event in one line: name and the fields that differ from their defaults. `hidden`: a key is a star."""
    parts = []
    for name in thing.__struct_fields__:
        value = getattr(thing, name)
        if name == "at" or value in ("", (), False, 0, None):
            continue
        if hidden and name == "digit":
            value = "*"
        elif isinstance(value, ToneSpec):
            value = value.name
        elif isinstance(value, tuple):
            value = ",".join(getattr(item, "name", str(item)) for item in value)
        elif isinstance(value, bytes):
            value = value.hex()
        elif isinstance(value, Evidence):
            value = f"{value.kind} {value.confidence:.2f} {value.detail}".strip()
        elif isinstance(value, Party):
            value = value.number or value.reason
        parts.append(f"{name}={value}")
    return " ".join((type(thing).__name__, *parts))
