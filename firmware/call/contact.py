"""The contact machine: one caller's visit from the first ring to the last leg (L1, pure).

Theory of operation
-------------------
`Contact` binds a `ContactState` to its `Desk` (what all contacts share) for the time of one input. Inputs are leg events,
player and recorder events, and `TimerFired`; `receive` first does the book-keeping that is the same in every phase (leg
facts, bridge and player of an ended leg), then gives the input to the phase's function in the table PHASES. They live in
`ivr` (greeting, notice, menu, announcement), `waiting` (queue, offers, connecting), `dialling` (reaching a telephone),
`features` (talking, hold, transfer), `codes` (agent codes, echo test) and `rating`.

Invariants: a leg is bridged with one other at most, and never while its player speaks; a contact in ENDING has told every
live leg to hang up; it is ENDED when the last leg and the last recording are closed, which `guard` timers bound; every
input is safe in every phase; all decisions come from the state, so a restored state goes on alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from firmware.call import actions as do
from firmware.call.actions import Action, Played, Recorded, RecordingRefused, RecordingStarted, Say, TimerFired
from firmware.call.floor import Floor
from firmware.call.model import (
    Alert,
    Cause,
    Evidence,
    LegAnswered,
    LegEnded,
    LegEvent,
    LegKind,
    LegProgress,
    LegRinging,
    Party,
    Side,
)
from firmware.call.routing import Routing
from firmware.call.rules import rule
from firmware.call.state import PHASE_MOVES, ContactState, Leg, Phase, Play, Recording
from firmware.call.times import LocalTime
from firmware.config.schema.tree import Config

Input = LegEvent | Played | Recorded | RecordingStarted | RecordingRefused | TimerFired | do.LineFreed
Handler = Callable[["Contact", Input, str], None]
SURE = 0.5
#: Causes of a leg's end that are the cause of the whole contact whatever was going on.
FAULTS = frozenset({Cause.MEDIA_LOST, Cause.RTP_LOST, Cause.LINE_FAULT, Cause.PREEMPTED, Cause.TIMEOUT, Cause.SYSTEM})
#: What takes an input in each phase: (contact, input, purpose of the player that ended or ""). Filled by `phase`.
PHASES: dict[Phase, Handler] = {}


def phase(*phases: Phase) -> Callable[[Handler], Handler]:
    """Register the function that takes the inputs of these phases."""

    def register(handler: Handler) -> Handler:
        for one in phases:
            PHASES[one] = handler
        return handler

    return register


class Desk(Protocol):
    """What contacts share: configuration, floor, numbers and identifiers. Implemented by `Switchboard`."""

    config: Config
    floor: Floor
    routing: Routing

    def act(self, contact: str, action: Action) -> None:
        """Queue an action."""

    def leg_id(self) -> str:
        """A new leg id."""

    def token(self) -> int:
        """A new player or recorder token."""

    def local(self, now: int) -> LocalTime:
        """Local time at engine instant `now`."""

    def pin_is(self, agent: str, pin: str) -> bool:
        """Whether `pin` is the agent's."""

    def free_lines(self, group: str | None) -> list[str]:
        """Lines free for a new call, in order of preference."""

    def make_room(self, contact: str, now: int) -> str:
        """End the least important call on a line for an emergency call; the line, "" if there is none to end."""

    def emergency_begins(self, contact: ContactState, number: str, now: int) -> None:
        """An emergency number is being called: the notice goes to every screen."""

    def emergency_used(self, line: str, extension: str, number: str, now: int) -> None:
        """An emergency call goes out on `line`: open the call-back window."""


class Contact:
    """One input's view of a contact; see the theory of operation."""

    def __init__(self, state: ContactState, desk: Desk, now: int) -> None:
        self.s = state
        self.desk = desk
        self.now = now

    # --- small tools of the phases ------------------------------------------------------------------------------------

    def do(self, action: Action) -> None:
        """Queue an action of this contact."""
        self.desk.act(self.s.id, action)

    def record(self, kind: str, leg: str = "", **data: object) -> None:
        """Append to the history."""
        self.do(do.Record(self.now, kind, leg, dict(data)))

    def queue_log(self, event: str, agent: str = "", *data: object) -> None:
        """Append to the queue log."""
        self.do(do.QueueLog(self.now, self.s.queue, agent, event, tuple(str(one) for one in data)))

    def move(self, phase: Phase) -> None:
        """Go on to another phase. Raises ValueError for a move that is not in PHASE_MOVES (a bug)."""
        if phase is self.s.phase:
            return
        if phase not in PHASE_MOVES[self.s.phase]:
            raise ValueError(f"contact {self.s.id} cannot go from {self.s.phase} to {phase}")
        self.s.phase = phase
        for name in [name for name in self.s.timers if not name.startswith(("play:", "guard."))]:
            del self.s.timers[name]
        self.record("phase", phase=phase.value)

    def timer(self, name: str, ms: int) -> None:
        """Set or move a timer of this phase."""
        self.s.timers[name] = self.now + ms

    def stop_timer(self, name: str) -> None:
        """Forget a timer."""
        self.s.timers.pop(name, None)

    def leg(self, leg: str) -> Leg | None:
        """The leg if it is live."""
        found = self.s.legs.get(leg)
        return found if found is not None and found.live else None

    def audible(self, leg: str) -> bool:
        """Whether we can play to it."""
        found = self.s.legs.get(leg)
        return found is not None and found.audible

    def other(self, leg: str) -> str:
        """The opposite party."""
        return self.s.b if leg == self.s.a else self.s.a

    def other_bridged(self, leg: str) -> str:
        """The leg that `leg` is bridged with; "" if none."""
        a, b = self.s.bridged or ("", "")
        return b if leg == a else a if leg == b else ""

    # --- sound --------------------------------------------------------------------------------------------------------

    def say(self, leg: str, what: str, *says: Say, keys: bool = False) -> None:
        """Speak to a leg; `Played` with purpose `what` follows, at the latest after the guard time."""
        if not self.audible(leg):
            return
        token = self.desk.token()
        self.s.plays[leg] = Play(token, what)
        company = self.desk.config.site.company_clip
        whole = tuple(Say(one.prompt, {"company": company, **one.variables}) for one in says)
        self.do(do.PlayPrompt(leg, token, self.s.language, whole, keys))
        self.timer(f"play:{leg}", rule("guard.prompt"))

    def music(self, leg: str) -> None:
        """Music while waiting or held: the queue's, else the first queue's default."""
        if not self.audible(leg) or (leg in self.s.plays and self.s.plays[leg].what == "music"):
            return
        queue = self.desk.config.queues.get(self.s.queue)
        token = self.desk.token()
        self.s.plays[leg] = Play(token, "music")
        self.stop_timer(f"play:{leg}")
        self.do(do.PlayMusic(leg, token, queue.music if queue is not None else "music.hold"))

    def tone(self, leg: str, tone: str) -> None:
        """A call-progress tone until stopped."""
        if not self.audible(leg):
            return
        token = self.desk.token()
        self.s.plays[leg] = Play(token, tone)
        self.stop_timer(f"play:{leg}")
        self.do(do.PlayTone(leg, token, tone))

    def quiet(self, leg: str) -> None:
        """Stop whatever a leg is played."""
        self.stop_timer(f"play:{leg}")
        if self.s.plays.pop(leg, None) is not None:
            self.do(do.StopPlay(leg))

    def speaking(self, leg: str) -> bool:
        """Whether a prompt (not music, not a tone) is being played to a leg."""
        return f"play:{leg}" in self.s.timers

    def bridge(self, a: str, b: str) -> None:
        """Let two legs talk; whatever they were in or heard before ends."""
        if set(self.s.bridged) == {a, b}:
            return
        self.unbridge()
        if not (self.audible(a) and self.audible(b)):
            return
        self.quiet(a)
        self.quiet(b)
        self.s.bridged = [a, b]
        both_sip = all(self.s.legs[one].kind is LegKind.SIP for one in (a, b))
        self.do(do.Bridge(a, b, relay=both_sip and not self._recording_live()))

    def unbridge(self) -> None:
        """Part the two legs that talk."""
        if self.s.bridged:
            a, b = self.s.bridged
            self.s.bridged = []
            self.do(do.Unbridge(a, b))

    def _recording_live(self) -> bool:
        queue = self.desk.config.queues.get(self.s.queue)
        return queue is not None and queue.record and self.s.notice

    # --- recording ----------------------------------------------------------------------------------------------------

    def start_recording(self) -> None:
        """Record the caller's leg, only where the queue asks for it and the notice was heard (I1)."""
        leg = self.s.legs.get(self.s.a)
        if leg is None or not leg.audible or not self._recording_live() or any(one.stopped < 0 for one in self.s.recordings):
            return
        token = self.desk.token()
        self.s.recordings.append(Recording(token, leg.id))
        self.do(do.StartRecording(leg.id, token))

    def stop_recording(self) -> None:
        """Close whatever is being recorded."""
        for one in self.s.recordings:
            if one.stopped < 0:
                one.stopped = self.now
                self.do(do.StopRecording(one.leg, one.token))

    # --- legs ---------------------------------------------------------------------------------------------------------

    def hang_up(self, leg: str, cause: Cause) -> None:
        """Tell a leg to end; once."""
        found = self.leg(leg)
        if found is None or found.hung_up:
            return
        if leg in self.s.bridged:
            self.unbridge()
        self.quiet(leg)
        found.hung_up = True
        self.do(do.HangUpLeg(leg, cause))
        self.timer(f"guard.ending:{leg}", rule("guard.ending"))

    def finish(self, cause: Cause, side: Side = Side.UNKNOWN, evidence: Evidence | None = None, leg_cause: Cause | None = None) -> None:
        """End the contact: cause as recorded, `leg_cause` as told to the legs. Idempotent."""
        if self.s.phase in (Phase.ENDING, Phase.ENDED):
            return
        if self.s.phase is Phase.TALKING and self.s.talk_end < 0:
            self.s.talk_end = self.now
        self.leave(side)
        self.s.cause, self.s.evidence = cause, evidence
        self.cancel_offers(Cause.CANCELLED)
        self.desk.floor.leave(self.s.id, self.now)
        self.s.attempt = None
        self.s.transfer = None
        self.move(Phase.ENDING)
        self.stop_recording()
        self.unbridge()
        for leg in self.s.live_legs:
            ringing = not leg.incoming and leg.answered < 0
            self.hang_up(leg.id, Cause.CANCELLED if ringing else leg_cause or cause)
        self.close_if_empty()

    def leave(self, side: Side) -> None:
        """Note who left the conversation first; later ones do not change it."""
        if self.s.first_to_leave is Side.UNKNOWN and side is not Side.UNKNOWN:
            self.s.first_to_leave = side

    def side_of(self, event: LegEnded) -> Side:
        """Who a leg's end is owed to: a weakly proven release stays unknown (Z6)."""
        leg = self.s.legs[event.leg]
        if not event.by_far or event.evidence.confidence < SURE:
            return Side.UNKNOWN if event.by_far else Side.SYSTEM
        return Side.CALLER if leg.role == "caller" else Side.AGENT

    def gone(self, event: LegEnded, cause: Cause) -> None:
        """A party's end is the contact's end: `cause`, unless the leg ended by a fault."""
        if event.cause in FAULTS:
            cause = event.cause
        # Media took all ports with it: the other legs were lost too, whichever driver tells first.
        told = Cause.MEDIA_LOST if event.cause is Cause.MEDIA_LOST else Cause.NORMAL
        self.finish(cause, self.side_of(event), event.evidence, told)

    def cancel_offers(self, cause: Cause) -> None:
        """Stop every agent's phone that rings for this caller; it does not count as missed."""
        for leg, agent in list(self.s.offers.items()):
            del self.s.offers[leg]
            self.desk.floor.offer_over(agent, self.now, missed=False)
            self.hang_up(leg, cause)
        entry = self.desk.floor.entry(self.s.id)
        if entry is not None:
            entry.offered.clear()

    def originate(self, endpoint: str, role: str, *, number: str, caller: Party, alert: Alert, ring_ms: int, agent: str = "") -> str:
        """Ring an extension or dial on a line; the new leg's id. A silent driver is bounded by a guard timer."""
        line = endpoint.startswith("line/")
        known = self.desk.config.extensions.get(endpoint)
        # A jack without extension ("fxs/2") can have called an emergency number and be called back.
        kind = LegKind.FXO if line else LegKind.FXS if endpoint.startswith("fxs/") else LegKind.SIP
        kind = LegKind(known.kind) if known is not None else kind
        leg = Leg(self.desk.leg_id(), kind, endpoint, role, False, self.now, number=number, agent=agent)
        self.s.legs[leg.id] = leg
        self.do(do.OriginateLeg(leg.id, endpoint, number, caller, alert, ring_ms))
        self.timer(f"guard.leg:{leg.id}", ring_ms + rule("guard.driver"))
        return leg.id

    def close_if_empty(self) -> None:
        """End the contact when nothing of it is left."""
        if self.s.phase is not Phase.ENDING or self.s.live_legs:
            return
        if any(one.path and one.samples < 0 for one in self.s.recordings):
            self.s.timers.setdefault("guard.recorded", self.now + rule("guard.recorded"))
            return
        self.s.ended = max([leg.ended for leg in self.s.legs.values()], default=self.now)
        self.s.timers.clear()
        self.move(Phase.ENDED)
        self.do(do.CloseContact())

    # --- input --------------------------------------------------------------------------------------------------------

    def receive(self, event: Input) -> None:
        """Take one input; see the theory of operation."""
        if self.s.phase is Phase.ENDED:
            return
        match event:
            case LegRinging() | LegProgress() | LegAnswered():
                self._leg_fact(event)
            case LegEnded():
                if not self._leg_over(event):
                    return
            case Played():
                play = self.s.plays.get(event.leg)
                if play is None or play.token != event.token:
                    return
                self.stop_timer(f"play:{event.leg}")
                del self.s.plays[event.leg]
                PHASES[self.s.phase](self, event, play.what)
                return
            case RecordingStarted() | RecordingRefused() | Recorded():
                self._recording(event)
                return
            case TimerFired():
                self._timer(event)
                return
        PHASES[self.s.phase](self, event, "")

    def _leg_fact(self, event: LegRinging | LegProgress | LegAnswered) -> None:
        leg = self.s.legs.get(event.leg)
        if leg is None:
            return
        if isinstance(event, LegRinging):
            leg.ringing = leg.ringing if leg.ringing >= 0 else event.at
        else:
            leg.port = event.port
        if isinstance(event, LegAnswered) and leg.answered < 0:
            leg.answered, leg.answer_evidence = event.at, event.evidence
            self.stop_timer(f"guard.leg:{leg.id}")
            self.record("answered", leg.id, evidence=event.evidence.kind, confidence=event.evidence.confidence)

    def _leg_over(self, event: LegEnded) -> bool:
        """Book an ended leg; False if it was over already."""
        leg = self.s.legs.get(event.leg)
        if leg is None or not leg.live:
            return False
        if leg.id in self.s.bridged:
            self.unbridge()
        self.s.plays.pop(leg.id, None)
        self.stop_timer(f"play:{leg.id}")
        self.stop_timer(f"guard.leg:{leg.id}")
        self.stop_timer(f"guard.ending:{leg.id}")
        for one in self.s.recordings:
            if one.leg == leg.id and one.stopped < 0:
                one.stopped = event.at
                self.do(do.StopRecording(one.leg, one.token))
        leg.ended, leg.cause, leg.evidence, leg.by_far = event.at, event.cause, event.evidence, event.by_far
        if leg.agent and leg.answered >= 0:
            self.desk.floor.released(leg.agent, event.at)
        self.do(do.CloseLeg(leg.id))
        return True

    def _recording(self, event: RecordingStarted | RecordingRefused | Recorded) -> None:
        one = next((one for one in self.s.recordings if one.token == event.token), None)
        if one is None:
            return
        if isinstance(event, RecordingStarted):
            one.path, one.started = event.path, event.at
            self.record("recording", event.leg, path=event.path)
        elif isinstance(event, RecordingRefused):
            self.s.recordings.remove(one)
            self.record("recording-refused", event.leg, reason=event.reason)
        else:
            one.samples, one.lost = event.samples, event.lost
            one.stopped = one.stopped if one.stopped >= 0 else event.at
            self.record("recorded", event.leg, path=one.path, samples=event.samples, lost=event.lost)
        self.close_if_empty()

    def _timer(self, event: TimerFired) -> None:
        name = event.name
        if name.startswith("play:"):
            leg = name.removeprefix("play:")
            play = self.s.plays.get(leg)
            if play is not None:
                self.receive(Played(leg, event.at, play.token, False))
        elif name.startswith("guard.ending:"):
            # The driver never confirmed our hang-up: booked as over, for nothing may hold a contact for ever.
            lost = name.removeprefix("guard.ending:")
            self.receive(LegEnded(lost, event.at, Cause.SYSTEM, Evidence("timer", 0.0, "no end was reported"), False))
        elif name.startswith("guard.leg:"):
            self.hang_up(name.removeprefix("guard.leg:"), Cause.NO_ANSWER)
        elif name == "guard.recorded":
            for one in self.s.recordings:
                one.samples = max(one.samples, 0)
            self.close_if_empty()
        else:
            PHASES[self.s.phase](self, event, "")


@phase(Phase.ENDING)
def ending(c: Contact, event: Input, what: str) -> None:
    """ENDING: wait for the last leg."""
    if isinstance(event, LegAnswered):
        # It answered while our hang-up was on its way: say it again.
        c.s.legs[event.leg].hung_up = False
        c.hang_up(event.leg, c.s.cause or Cause.NORMAL)
    c.close_if_empty()
