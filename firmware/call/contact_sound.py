"""The small tools of a contact's phases: actions, history, timers, legs, and what a leg is played (L1, pure).

`Contact` (`call/contact.py`) adds recording (`contact_recording`) and the life of legs. A leg is bridged with one other at
most, and never while its player speaks.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import Action, Say
from firmware.call.consent import consent
from firmware.call.desk import Desk
from firmware.call.model import PACKETS, LegKind, Party
from firmware.call.rules import rule
from firmware.call.state import PHASE_MOVES, ContactState, Leg, Phase, Play
from firmware.call.times import day_part


class ContactSound:
    """See the module docstring."""

    def __init__(self, state: ContactState, desk: Desk, now: int) -> None:
        self.s = state
        self.desk = desk
        self.now = now
        desk.touched.add(state.id)

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

    def say_last(self, leg: str, what: str, say: Say) -> None:
        """The box's last words to somebody, with what belongs behind them at this time of day (a good night, GRT-06)."""
        part = day_part(self.desk.config.day_parts, self.desk.local(self.now))
        closing = part.closing if part is not None else ""
        if closing:
            self.record("closing", leg, prompt=closing)
        self.say(leg, what, say, *([Say(closing)] if closing else []))

    def other_bridged(self, leg: str) -> str:
        """The leg that `leg` is bridged with; "" if none."""
        a, b = self.s.bridged or ("", "")
        return b if leg == a else a if leg == b else ""

    def hide_keys(self, on: bool) -> None:
        """The caller's keys are a secret from here on and stand in no trace; or no longer."""
        self.do(do.HideKeys(self.s.a, on))

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
        self.introduce(a, b)
        both_sip = all(self.s.legs[one].kind in PACKETS for one in (a, b))
        self.joined_by(a, b)
        if self.s.speaking is not None and {a, b} == {self.s.speaking.agent, self.s.speaking.caller}:
            self.s.speaking.together(self.now)
        hush = self.s.hush
        if hush is not None and {a, b} == {hush.agent, hush.caller} and not hush.told and not hush.over:
            hush.since = self.now
            self.timer("guard.hush", hush.left)
        self.do(do.Bridge(a, b, relay=both_sip and not self.recording_live() and self.s.supervised is None))
        self.tap()

    def introduce(self, a: str, b: str) -> None:
        """Tell SIP telephones of ours with whom they speak, where that is not what they were told when it rang or was dialled."""
        for one, other in ((a, b), (b, a)):
            leg = self.s.legs[one]
            if leg.kind is not LegKind.SIP or leg.answered < 0 or leg.hung_up:
                continue
            party = self.party(self.s.legs[other])
            before, leg.shown = leg.shown, party
            if before is not None and (before.number, before.reason) != (party.number, party.reason):
                self.do(do.ShowParty(one, party))

    def party(self, leg: Leg) -> Party:
        """Who is at a leg, as the other side may see it."""
        reason = self.s.caller.reason if leg.role == "caller" else ""
        known = self.desk.config.extensions.get(leg.endpoint)
        if known is not None:
            return Party(leg.endpoint, known.name, reason)
        return Party(leg.number, leg.name, reason)

    def unbridge(self) -> None:
        """Part the two legs that talk."""
        if self.s.bridged:
            a, b = self.s.bridged
            self.s.bridged = []
            if self.s.speaking is not None:
                self.s.speaking.apart(self.now)
            hush = self.s.hush
            if hush is not None and hush.since >= 0:
                hush.left, hush.since = max(0, hush.left - (self.now - hush.since)), -1
                self.stop_timer("guard.hush")
            self.do(do.Unbridge(a, b))

    def tap(self, *, begins: bool = False) -> None:
        """Let the supervisor hear the two that talk, in his mode; nothing happens where there is none or nobody talks."""
        found = self.s.supervised
        if found is None or found.of not in self.s.bridged or not self.audible(found.leg) or self.s.legs[found.leg].answered < 0:
            return
        self.do(do.Tap(found.leg, found.of, found.mode, tone=begins and consent(self.desk.config).listen_tone))

    def joined_by(self, *legs: str) -> None:
        """Legs hear each other from now on; `ContactRecording` looks who was told."""

    def recording_live(self) -> bool:
        """Whether this call is, or is to be, recorded (`ContactRecording` knows)."""
        return False
