"""The contact machine: one caller's visit from the first ring to the last leg (L1, pure).

Theory of operation
-------------------
`Contact` binds a `ContactState` to its `Desk` (what all contacts share) for the time of one input. Inputs are leg events,
player and recorder events, and `TimerFired`; `receive` first does the book-keeping that is the same in every phase (leg
facts, bridge and player of an ended leg), then gives the input to the phase's function in the table PHASES. They live in
`ivr` (greeting, notice, menu, announcement), `waiting` (queue, offers, connecting), `dialling` (reaching a telephone),
`features` (talking, hold, transfer), `codes` (agent codes, echo test) and `rating`. The tools they all use are in
`contact_sound` and `contact_recording`.

Invariants: a leg is bridged with one other at most, and never while its player speaks; a contact in ENDING has told every
live leg to hang up; it is ENDED when the last leg and the last recording are closed, which `guard` timers bound; every
input is safe in every phase; all decisions come from the state, so a restored state goes on alike.
"""

from __future__ import annotations

from collections.abc import Callable

from firmware.call import actions as do
from firmware.call.actions import Played, Recorded, RecordingRefused, RecordingStarted, TimerFired
from firmware.call.contact_recording import ContactRecording
from firmware.call.desk import Desk, Input
from firmware.call.model import (
    Alert,
    Cause,
    Evidence,
    LegAnswered,
    LegEnded,
    LegKind,
    LegProgress,
    LegRinging,
    Party,
    Side,
    is_trunk,
)
from firmware.call.registry import BESIDE, LEFT
from firmware.call.rules import rule
from firmware.call.state import Leg, Phase

__all__ = ["FAULTS", "PHASES", "SURE", "Contact", "Desk", "Handler", "Input", "phase"]

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


class Contact(ContactRecording):
    """One input's view of a contact; see the theory of operation."""

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
        if self.s.transfer is not None and self.s.transfer.token:
            self.do(do.ReportReferral(self.s.transfer.token, Cause.CANCELLED))
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

    def originate(self, endpoint: str, role: str, *, number: str, caller: Party, alert: Alert, ring_ms: int, agent: str = "",
                  back: str = "") -> str:  # fmt: skip
        """Ring an extension or dial on a line; the new leg's id. A silent driver is bounded by a guard timer.

        `back`: a leg that the carrier may take back for it (`call/takeback.py`).
        """
        line = endpoint.startswith("line/")
        known = self.desk.config.extensions.get(endpoint)
        # A jack without extension ("fxs/2") can have called an emergency number and be called back.
        kind = LegKind.FXO if line else LegKind.FXS if endpoint.startswith("fxs/") else LegKind.SIP
        kind = LegKind.TRUNK if is_trunk(endpoint) else kind
        kind = LegKind(known.kind) if known is not None else kind
        leg = Leg(self.desk.leg_id(), kind, endpoint, role, False, self.now, number=number, agent=agent)
        leg.shown = caller
        self.s.legs[leg.id] = leg
        if back:
            self.do(do.ReleaseLegs(back, leg.id))
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
                self.recording_told(event)
                self.close_if_empty()
                return
            case TimerFired():
                self._timer(event)
                return
        if not any(take(self, event) for take in BESIDE):
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
            if leg.international:
                self._budget(leg.id)

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
        self.stop_timer(f"guard.toll:{leg.id}")
        self.stop_timer(f"guard.ending:{leg.id}")
        for one in self.s.recordings:
            if one.leg == leg.id and one.stopped < 0:
                self.stop_one(one, event.at)
        leg.ended, leg.cause, leg.evidence, leg.by_far = event.at, event.cause, event.evidence, event.by_far
        leg.quality = event.quality
        if leg.agent and leg.answered >= 0:
            self.desk.floor.released(leg.agent, event.at)
        self.do(do.CloseLeg(leg.id))
        for gone in LEFT:
            gone(self, leg)
        return True

    def _budget(self, leg: str) -> None:
        """The international minutes of the day may be used up: then this call is over. Looked at again while it goes on."""
        left = self.desk.toll_left(self.now)
        if left > 0:
            self.timer(f"guard.toll:{leg}", min(left, rule("toll.look")))
        elif left == 0:
            self.record("toll", leg, reason="international-minutes")
            self.hang_up(leg, Cause.TIMEOUT)

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
        elif name.startswith("guard.toll:"):
            self._budget(name.removeprefix("guard.toll:"))
        elif name.startswith("guard.leg:"):
            self.hang_up(name.removeprefix("guard.leg:"), Cause.NO_ANSWER)
        elif name.startswith("guard.limit."):
            from firmware.call.limit import due

            due(self, name)
        elif name == "guard.hush":
            from firmware.call.hush import due as silent

            silent(self)
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
