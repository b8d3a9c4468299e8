"""Plays a soak in the world: four streams of calls, faults between them, and a watch that looks for stuck ports.

Theory of operation. `SoakStage` spawns one script per stream (`soak_plan`). A stream rests, plays its next call with the same people as
any other user of the world (callers, desks, dialling), waits until everybody has left, and appends one JSON line to its file: what the
people and the exchange saw, on the world's clock, and the fault that struck, if any. A telephone that a neighbour calls is reserved, so
that its own stream waits. The watch looks at copper only: a line that is off-hook although the exchange has no call on it, and a
telephone that is on-hook but not fed, for longer than `STUCK_MS` without a fault there, is stuck. For the judge it keeps since when each
line has stood idle, and what the copper showed of flipped bits on a serial chain: a feed that went away, a hook that moved.
Invariant: nothing here asks the product; every call of the plan gives exactly one line.
"""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any, TextIO

from firmware.sim.exchange import LineState, Subscriber
from firmware.sim.faults import FAULTS
from firmware.sim.people import AnswerPlan, CallPlan, Person
from firmware.sim.soak_plan import CALLEE_HZ, CALLER_HZ, PHONE_HZ, STREAMS, SoakCall, draw, draw_releases
from firmware.sim.town import Town
from firmware.sim.world import Script, Until

STUCK_MS = 30_000
WATCH_MS = 1000
QUIET_MS = 8000  # after an unanswered ringing of a line
REST_MS = 2500  # a handset that is lifted sooner after a call is a flash
LONGEST_MS = 120_000
SETTLE_MS = 45_000  # after a fault, before the port is looked at again
NOISE_MS = 1000  # after trouble on a chain: what it wrote has been put right
MOVED_MS = 700  # a seizure so short was nobody's wish
KEPT_SPANS = 200
OUTSIDE_OF = {"out-talk": "answer", "out-busy": "busy", "out-no-answer": "no-answer", "out-unobtainable": "unobtainable",
              "out-congestion": "congestion", "out-given-up": "answer"}  # fmt: skip

class SoakStage:
    """A soak in `town`, written to `folder`."""

    def __init__(self, town: Town, seed: int, calls: int, faults: bool, folder: Path) -> None:
        self.town = town
        self.world = town.world
        self.streams = draw(seed, calls, faults)
        self.releases = draw_releases(seed)
        self.wanted = sum(map(len, self.streams))
        self.done = 0
        self.over = False
        self.stuck: list[str] = []
        self._file: TextIO = (folder / "soak.jsonl").open("w", encoding="utf-8")
        self._seen: TextIO = (folder / "observations.jsonl").open("w", encoding="utf-8")
        town.world.watchers.append(self._observe)
        self._resting = dict.fromkeys(range(1, STREAMS + 1), False)
        self._reserved = dict.fromkeys(range(1, STREAMS + 1), False)
        self._rang = dict.fromkeys(range(1, STREAMS + 1), -QUIET_MS)
        self._left = STREAMS
        self._slipped = self._slips()
        self._struck: dict[str, int] = {}  # port -> until when a fault excuses it
        self._since: dict[str, int] = {}
        self._noise: dict[str, int] = {}  # kind of the chain -> until when flipped bits may show
        self._shaken: list[tuple[str, int]] = []  # (port, when) the copper showed them
        self._seized: dict[int, int] = {}
        self._idle: dict[int, list[int]] = {}  # line -> [idle since, seen idle last]
        self._spans: deque[tuple[int, int, int]] = deque(maxlen=KEPT_SPANS)  # (line, from, to) it stood idle

    def start(self) -> None:
        """Begin. How a line tells a release stays the same over the soak."""
        for number, release in self.releases.items():
            line = self.town.exchange.line(number)
            line.release = tuple(release.split("+"))
            line.answer_reversal = "polarity" in release  # a reversal at the end only would tell an answer
        for number, calls in enumerate(self.streams, 1):
            self.world.spawn(f"soak-{number}", self._stream(number, calls))
        self.world.spawn("soak-watch", self._watch())

    def _observe(self, seen: dict[str, Any]) -> None:
        if not self._seen.closed:
            self._seen.write(json.dumps(seen, default=str) + "\n")
        if seen["what"] == "hook":
            self._hook_moved(seen["line"], seen["off"])
        elif seen["what"] == "phone-feed" and seen["feed"] == "open" and self.world.now <= self._noise.get("fxs", -1):
            self._shaken.append((f"fxs/{seen['phone']}", self.world.now))

    def _hook_moved(self, number: int, off: bool) -> None:
        now, call = self.world.now, self.town.exchange.line(number).call
        if off:
            self._seized[number] = now
        elif now <= self._noise.get("fxo", -1) and (now - self._seized.get(number, -MOVED_MS) < MOVED_MS or (call and call.ended < 0)):
            self._shaken.append((f"fxo/{number}", now))

    def facts(self) -> dict[str, Any]:
        """Progress."""
        return {
            "wanted": self.wanted, "done": self.done, "over": self.over, "now_ms": self.world.now, "stuck": self.stuck,
            "slips": self._slips() - self._slipped,
        }  # fmt: skip

    def _slips(self) -> int:
        """Blocks for which the world waited for media in vain, and media for the world."""
        return int(self.world.xruns + self.world.segment.silent_ticks)

    # --- streams --------------------------------------------------------------------------------------------------------

    def _stream(self, number: int, calls: list[SoakCall]) -> Script:
        try:
            for call in calls:
                self._resting[number] = True
                yield call.gap_ms
                while self._reserved[number]:
                    yield Until(lambda: not self._reserved[number])
                    yield REST_MS
                self._resting[number] = False
                yield from self._play(call)
                self.done += 1
        finally:
            self._left -= 1
            if not self._left:
                self._file.close()
                self._seen.close()
                self.over = True

    def _play(self, call: SoakCall) -> Script:
        kind, neighbour = call.kind, 0
        if kind == "internal":
            neighbour = int(call.number) - 100
            if not self._resting[neighbour] or self._reserved[neighbour] or self.town.phone(neighbour).lifted:
                kind = "out-busy"
        note: dict[str, Any] = {
            "ident": call.ident, "stream": call.stream, "kind": kind, "number": call.number,
            "far_first": call.far_first, "pulse": call.pulse, "caller_id": call.caller_id, "started": self.world.now,
        }  # fmt: skip
        first = len(self.town.people)
        if call.fault is not None:
            self._arm(call, note)
        if kind.startswith("in-"):
            yield from self._inbound(call, note)
        elif kind == "internal":
            yield from self._internal(call, note, neighbour)
        else:
            note["number"] = number = call.number if kind == call.kind else f"139{call.ident:08d}"
            yield from self._outbound(call, kind, number)
        yield from self._clear(call.stream, note)
        note["ended"] = self.world.now
        people = list(self.town.people.values())[first:]
        mine = [person for person in people if self._belongs(person, call, note)]
        note["people"] = [person.facts() for person in mine]
        note["calls"] = [c.facts() for c in self.town.exchange.calls if c.started >= note["started"] and c.number == note["number"]]
        note["shaken"] = [shock for shock in self._shaken if shock[1] >= note["started"]]
        if kind.startswith("out-") and not note["calls"]:
            spans = [*self._spans, *((line, *span) for line, span in self._idle.items())]
            note["free"] = [span for span in spans if span[2] >= note["started"]]
        note["release"] = self.releases[note["calls"][0]["line"] if note["calls"] else call.stream]
        for person in mine:
            person.tape = b""
        self._file.write(json.dumps(note) + "\n")
        self._file.flush()

    def _belongs(self, person: Person, call: SoakCall, note: dict[str, Any]) -> bool:
        if person.kind in ("caller", "callee"):
            return person.number == str(note["number"])
        if note["kind"] == "internal" and person.number == str(int(call.number) - 100):
            return True
        return person.number in {str(call.stream), str(note["number"]), f"9{note['number']}"}

    def _inbound(self, call: SoakCall, note: dict[str, Any]) -> Script:
        voice = PHONE_HZ[call.stream - 1]
        if call.kind == "in-talk":
            self.town.staff_phone(
                call.stream,
                AnswerPlan(
                    call.answer_ms, tone_hz=voice, talk_ms=LONGEST_MS if call.far_first else call.talk_ms + 2000, times=1,
                    partners_hz=(CALLER_HZ,),
                ),
            )  # fmt: skip
        patience = {"in-abandoned": 1000 + 2 * call.answer_ms, "in-unanswered": 15_000 + 2 * call.talk_ms}.get(call.kind, 60_000)
        plan = CallPlan(
            call.number, call.stream, call.caller_id, tone_hz=CALLER_HZ, say="speech:5" if call.speech else "",
            talk_ms=call.talk_ms if call.far_first else 0,
            patience_ms=patience, longest_ms=LONGEST_MS, partners_hz=(voice,), record=False,
        )  # fmt: skip
        # Ringing that comes again within the cadence is the same ringing, to whoever is rung.
        wait = self._rang[call.stream] + QUIET_MS - self.world.now
        if wait > 0:
            yield wait
        person = self.town.call_in(plan)
        note["patience"] = patience
        yield Until(lambda: person.done, 2 * LONGEST_MS)
        note["unfinished"] = not person.done
        if person.answered < 0:
            self._rang[call.stream] = self.world.now
            yield QUIET_MS  # the telephone may ring on until the next ring is missed

    def _outbound(self, call: SoakCall, kind: str, number: str) -> Script:
        entries = self.town.exchange.directory.entries
        entries[number] = Subscriber(
            OUTSIDE_OF[kind], call.answer_ms, "speech:5" if call.speech else f"turn:{CALLEE_HZ:g}", call.talk_ms if call.far_first else 0
        )
        talk = {
            "out-talk": LONGEST_MS if call.far_first else 6000 + call.answer_ms + call.talk_ms,
            "out-no-answer": 8000 + call.talk_ms,
            "out-given-up": 200 + call.talk_ms // 3,
        }.get(kind, 40_000)
        person = self.town.dial(
            call.stream, f"9{number}", pulse=call.pulse, talk_ms=talk, tone_hz=PHONE_HZ[call.stream - 1], partners_hz=(CALLEE_HZ,)
        )
        yield Until(lambda: person.done, 2 * LONGEST_MS)
        entries.pop(number, None)

    def _internal(self, call: SoakCall, note: dict[str, Any], neighbour: int) -> Script:
        self._reserved[neighbour] = True
        try:
            self.town.staff_phone(
                neighbour,
                AnswerPlan(
                    call.answer_ms, tone_hz=PHONE_HZ[neighbour - 1], talk_ms=call.talk_ms if call.far_first else LONGEST_MS, times=1,
                    partners_hz=(PHONE_HZ[call.stream - 1],),
                ),
            )  # fmt: skip
            person = self.town.dial(
                call.stream, call.number, pulse=call.pulse, talk_ms=LONGEST_MS if call.far_first else 8000 + call.answer_ms + call.talk_ms,
                tone_hz=PHONE_HZ[call.stream - 1], partners_hz=(PHONE_HZ[neighbour - 1],),
            )  # fmt: skip
            yield Until(lambda: person.done, 2 * LONGEST_MS)
            yield from self._clear(neighbour, note)
        finally:
            self._reserved[neighbour] = False

    def _clear(self, number: int, note: dict[str, Any]) -> Script:
        """Everybody leaves telephone `number`: who still listens to busy tone, and who waits for a bell."""
        phone = self.town.phone(number)
        left = yield Until(lambda: not phone.lifted, 60_000)
        if not left:
            note.setdefault("forgotten", []).append(number)
        self.town.put_down(number)
        yield Until(lambda: not phone.ringing, 40_000)

    # --- faults -----------------------------------------------------------------------------------------------------------

    def _arm(self, call: SoakCall, note: dict[str, Any]) -> None:
        fault = call.fault
        assert fault is not None
        begin = self.world.now + fault.at_ms
        note["fault"] = {"place": fault.place, "kind": fault.kind, "ports": fault.ports(), "from": begin, "to": begin + fault.lasts_ms}

        def strike(on: bool) -> None:
            until = self.world.now + (fault.lasts_ms if on else 0) + SETTLE_MS
            if fault.place == "chain" and fault.kind in ("flip", "slip"):
                self._noise[fault.number] = self.world.now + (fault.lasts_ms if on else 0) + NOISE_MS
            for port in fault.ports():
                self._struck[port] = max(self._struck.get(port, 0), until)
            if fault.place == "line":
                self.town.exchange.line(call.stream).fault(fault.kind, on)
            elif on or not FAULTS[fault.place, fault.kind].once:
                self.town.faults.put(fault.place, fault.number, fault.kind, on=on)

        self.world.after(fault.at_ms, lambda: strike(True))
        self.world.after(fault.at_ms + fault.lasts_ms, lambda: strike(False))

    # --- watch -----------------------------------------------------------------------------------------------------------

    def _watch(self) -> Script:
        while True:
            now = self.world.now
            for number, line in self.town.exchange.lines.items():
                self._look(f"fxo/{number}", line.wire.off_hook and line.call is None, "is off-hook without a call")
                self._rest(number, line.state is LineState.IDLE and not line.wire.off_hook)
            for number, phone in self.town.phones.items():
                self._look(f"fxs/{number}", not phone.lifted and phone.wire.feed == 0, "is on-hook and not fed")
            if self.over and now > 0:
                return
            yield WATCH_MS

    def _rest(self, number: int, idle: bool) -> None:
        """Keep since when the line has been idle."""
        now = self.world.now
        if idle:
            self._idle.setdefault(number, [now, now])[1] = now
        elif number in self._idle:
            begun, last = self._idle.pop(number)
            self._spans.append((number, begun, last))

    def _look(self, port: str, bad: bool, what: str) -> None:
        now = self.world.now
        if not bad or now < self._struck.get(port, 0):
            self._since.pop(port, None)
            return
        since = self._since.setdefault(port, now)
        if now - since == STUCK_MS or STUCK_MS < now - since <= STUCK_MS + WATCH_MS:
            self.stuck.append(f"{port} {what} since {since} ms")
