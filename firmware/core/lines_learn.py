"""Learning of each line's disconnect tone: what the calls teach is kept, and given to the line's machine (L5).

Theory of operation
-------------------
Rules and memory are `line/disconnect_learn.py`; this part only listens. Media tells what the learner made of a call's end (`LearnedTone`)
and when the tone on probation sounds and stops; the bus tells when calls are answered and end. Of each conversation it is kept when the
tone sounded last and whether anybody spoke or pressed keys afterwards. What was learned is in `state.db` (table `line_book`, part
"disconnect") under the identity of the line: another line on the jack begins anew. A machine gets its tone before a call begins and keeps
it for the call, also when core is started anew in between.
Invariants: nothing here can disturb a call; one call verifies or refutes once; a call that was ours from end to end (a test of the line
doctor) teaches nothing it should not, for it ends without the far end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from firmware.call.model import LegAnswered, LegEnded, LegEvent
from firmware.core.lines import Lines
from firmware.core.lines_port import LinePort
from firmware.errors import CommandError
from firmware.line.disconnect import LEARNED
from firmware.line.disconnect_learn import AFTER_TONE_MS, Candidate, LineTones, Outcome
from firmware.line.fxo import Fxo
from firmware.runtime.bus import Bus
from firmware.runtime.clock import Clock
from firmware.store.linebook import LineBookStore

log = logging.getLogger("branchpbx.lines")
PART = "disconnect"


class LearnMedia(Protocol):
    """What this part needs of `firmware.media.Media`."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...


class _Talk(msgspec.Struct):
    """A conversation on a line."""

    sounds: bool = False                 # the tone sounds now
    heard_at: int = -1                   # it was recognised
    stopped_at: int = -1
    went_on: bool = False                # somebody spoke or pressed a key after it


class LineLearning:
    """See the theory of operation. Made before `Lines.start`."""

    def __init__(self, lines: Lines, media: LearnMedia, bus: Bus, clock: Clock, store: LineBookStore) -> None:
        self._lines, self._clock, self._store = lines, clock, store
        self._slots = {port.slot: port for port in lines.ports.values() if isinstance(port.machine, Fxo)}
        self.tones: dict[str, LineTones] = {}
        self._talks: dict[str, _Talk] = {}
        self._legs: dict[str, str] = {}
        self._told: dict[str, bool] = {}         # endpoint: its last call has verified already
        for endpoint, (line, state) in store.load(PART, LineTones).items():
            port = lines.ports.get(endpoint)
            if port is not None and port.line == line:
                self.tones[endpoint] = state
        for port in self._slots.values():
            self._equip(port)
        media.subscribe(self._on_media)
        bus.subscribe(LegEvent, self._on_leg)

    # --- the machine's tone ---------------------------------------------------------------------------------------------------

    def _equip(self, port: LinePort) -> None:
        """Give the port's machine its tone, now and whenever the port makes another one."""
        make = port.new_machine

        def equipped() -> Any:
            machine = make()
            self._give(port.endpoint, machine)
            return machine

        port.new_machine = equipped
        self._give(port.endpoint, port.machine)

    def _give(self, endpoint: str, machine: Any) -> None:
        if not isinstance(machine, Fxo):
            return
        found = self.of(endpoint).active()
        used = found is not None and found.state == "used"
        machine.disconnect.learned = found.spec() if found is not None and used else None
        machine.disconnect.probation = found.spec() if found is not None and not used else None

    def _keep(self, port: LinePort) -> None:
        self._store.save(port.endpoint, PART, port.line, self.of(port.endpoint), self._clock.wall_ms())
        if port.endpoint not in self._talks:
            self._give(port.endpoint, port.machine)

    def of(self, endpoint: str) -> LineTones:
        """What a line taught."""
        return self.tones.setdefault(endpoint, LineTones())

    # --- listening ------------------------------------------------------------------------------------------------------------

    def _on_leg(self, event: Any) -> None:
        if isinstance(event, LegAnswered):
            port = next((port for port in self._slots.values() if port.leg == event.leg), None)
            if port is not None:
                self._legs[event.leg] = port.endpoint
                self._talks[port.endpoint] = _Talk()
                self._told[port.endpoint] = False
        elif isinstance(event, LegEnded):
            endpoint = self._legs.pop(event.leg, "")
            if endpoint:
                talk = self._talks.pop(endpoint)
                talk.sounds = talk.sounds or event.evidence.detail.startswith(LEARNED)     # it was the very evidence
                self._ended(self._lines.ports[endpoint], talk)

    def _ended(self, port: LinePort, talk: _Talk) -> None:
        """Whoever hung up, the tone told of it if it sounded to the end: an agent who hears an unknown tone hangs up too."""
        if talk.went_on:
            self._say(port, self.of(port.endpoint).went_on())
            self._keep(port)
        elif talk.sounds or (talk.stopped_at >= 0 and self._clock.now() - talk.stopped_at <= AFTER_TONE_MS):
            self._told[port.endpoint] = True
            self._say(port, self.of(port.endpoint).ended_with(self._clock.wall_ms()))
            self._keep(port)
        else:
            self._give(port.endpoint, port.machine)

    def _on_media(self, event: Any) -> None:
        port = self._slots.get(getattr(event, "port", -1))
        if port is None:
            return
        kind = type(event).__name__
        if kind == "LearnedTone":
            self._sighted(port, event)
            return
        talk = self._talks.get(port.endpoint)
        if talk is None:
            return
        if kind in ("ToneHeard", "ToneStopped") and event.name.rstrip("?") == LEARNED:
            talk.sounds = kind == "ToneHeard"
            if talk.sounds:
                talk.heard_at, talk.stopped_at = event.at, -1
            else:
                talk.stopped_at = event.at
        elif talk.stopped_at >= 0 and event.at - talk.stopped_at > AFTER_TONE_MS:
            talk.went_on = talk.went_on or kind == "Digit" or (kind == "Voice" and event.active)

    def _sighted(self, port: LinePort, event: Any) -> None:
        if event.reason:
            return
        now = self._clock.wall_ms()
        seen = Candidate(
            tuple(event.freqs_hz), tuple(event.cadence_ms), float(event.level_dbm0), tuple(event.levels_db), first_ms=now, last_ms=now
        )
        tones, told = self.of(port.endpoint), self._told.get(port.endpoint, False)
        outcome = tones.sight(seen, self._lines.profile, float(event.confidence))
        if outcome == "again" and not told:              # the tracker had no time for its cycles, the learner had
            self._told[port.endpoint] = True
            outcome = tones.ended_with(now)
        self._say(port, outcome)
        if outcome not in ("known", "refused", "weak"):
            self._keep(port)

    def _say(self, port: LinePort, outcome: Outcome) -> None:
        one = self.of(port.endpoint).active()
        if outcome in ("known", "refused", "weak"):
            log.debug("%s: the tone at the end of the call teaches nothing: %s", port.endpoint, outcome)
        elif one is None:
            log.info("%s: the proposed disconnect tone is refuted: a call went on after it", port.endpoint)
        else:
            log.info("%s: disconnect tone %s is %s (%s)", port.endpoint, in_words(one), one.state, outcome)

    # --- commands -------------------------------------------------------------------------------------------------------------

    def port(self, name: str) -> LinePort:
        """The outside line of this name or jack; CommandError where there is none."""
        port = self._lines.ports.get(name if name.startswith("line/") else f"line/{name}")
        if port is None or port.slot not in self._slots:
            raise CommandError(f"there is no outside line {name!r} in service; `show lines` names them")
        return port

    def accept(self, name: str) -> Candidate:
        """Use the proposal of a line from the next call on."""
        port = self.port(name)
        found = self.of(port.endpoint).accept(self._clock.wall_ms())
        if found is None:
            raise CommandError(f"{port.endpoint} has no proposal yet; it comes from a call that the far end hung up with a tone of its own")
        self._keep(port)
        return found

    def forget(self, name: str) -> int:
        """Forget everything a line taught; how many tones that was."""
        port = self.port(name)
        count = len(self.of(port.endpoint).candidates)
        self.tones[port.endpoint] = LineTones()
        self._store.forget(port.endpoint, PART)
        if port.endpoint not in self._talks:
            self._give(port.endpoint, port.machine)
        return count


def in_words(one: Candidate) -> str:
    """Frequencies and cadence."""
    tone = "+".join(f"{hz:g}" for hz in one.freqs_hz)
    return f"{tone} Hz, {'/'.join(str(ms) for ms in one.cadence_ms)} ms, {one.level_dbm0:.0f} dBm0"
