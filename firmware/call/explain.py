"""The dry run: who would answer a given call at a given time, step by step (L1, pure; E3).

Theory of operation
-------------------
There is no second set of rules here. A copy of the switchboard (configuration, agents, calls that go on, night key) is given the call, and
the little that drivers and media would do: answering takes 50 ms, a prompt two seconds, a telephone rings until it is given up; nobody
answers, so that everything that follows is seen. What the copy records and does becomes the steps; why a route was not taken is told by
the same functions that choose it (`Routing.considered_in`, `considered_out`). The real switchboard is only read.
Invariants: nothing real rings, is written or counted; the run ends (`MOST_MS`, `MOST_STEPS`); the same input gives the same steps.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from firmware.call import actions as do
from firmware.call.explain_texts import told
from firmware.call.floor import Status
from firmware.call.model import (
    TRUNK,
    Cause,
    Evidence,
    LegAnswered,
    LegDigit,
    LegEnded,
    LegKind,
    LegOffered,
    LegProgress,
    LegRinging,
    Party,
)
from firmware.call.state import ContactState, Phase
from firmware.call.switch_desk import SwitchState
from firmware.call.switchboard import Switchboard
from firmware.call.times import LocalTime
from firmware.errors import PbxError

MOST_MS = 7_200_000
MOST_STEPS = 150
MOST_INPUTS = 5_000
ANSWER_MS, RING_MS, DIAL_MS, PROMPT_MS, KEY_MS = 50, 100, 1_500, 2_000, 400
#: Records that say what another step says already, or nothing to a person.
SILENT = frozenset({"phase", "recording", "recorded", "recording-refused", "ringing", "answered"})


#: Told once: a queue goes round its agents until the wait is over.
AGAIN = frozenset({"offered", "offer-failed", "position"})


class Asked(msgspec.Struct, frozen=True):
    """The call: from outside on `endpoint` ("line/1", "trunk/NAME") from number `caller` to `called`, or from extension `endpoint`
    dialling `called`. `keys`: what the caller presses, one at each menu."""

    endpoint: str
    caller: str = ""
    called: str = ""
    keys: str = ""


class Step(msgspec.Struct, frozen=True):
    """One step: `seconds` since the call began, `kind` and `data` for programs, the same in words of both languages."""

    seconds: float
    kind: str
    data: dict[str, Any]
    en: str
    zh: str


class Explained(msgspec.Struct, frozen=True):
    """The steps, the telephones and lines that would ring in order, and how the call would end if nobody took it."""

    steps: list[Step]
    rings: list[str]
    cause: str


class _Ids:
    """Names of legs and contacts of a dry run."""

    def __init__(self) -> None:
        self._count = 0

    def leg(self) -> str:
        self._count += 1
        return f"dry-leg-{self._count}"

    def contact(self) -> str:
        self._count += 1
        return f"dry-{self._count}"


def copy_of(board: Switchboard, local: Callable[[int], LocalTime], *, alone: bool) -> Switchboard:
    """A switchboard in the same state that nothing is connected to. `alone`: without the calls that go on."""
    copied = Switchboard(board.config, _Ids(), board.routing.emergency, local, board.pins)
    shared = msgspec.msgpack.decode(msgspec.msgpack.encode(board.snapshot()), type=SwitchState)
    live = [] if alone else [msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=ContactState) for one in board.contacts.values()]
    copied.restore(shared, live)
    copied.hunt = board.hunt
    return copied


def staff(board: Switchboard, now: int) -> list[str]:
    """Log every agent in who has a telephone left, in the order of the configuration; where nothing is known of the floor."""
    seats = [number for number in board.config.extensions if not board.floor.on_phone(number)]
    out = [agent for agent in board.config.agents if board.floor.agent(agent).status is Status.LOGGED_OUT]
    seated = list(zip(out, seats, strict=False))
    for agent, seat in seated:
        board.agent_command(agent, "login", now, extension=seat)
    board.actions()
    return [agent for agent, _ in seated]


def explain(board: Switchboard, asked: Asked, now: int) -> Explained:
    """Run the call on `board`, which is a copy (`copy_of`) and is used up. Raises PbxError for a telephone there is none of."""
    return _Run(board, asked, now).steps()


class _Run:
    """The stage of one dry run."""

    def __init__(self, board: Switchboard, asked: Asked, now: int) -> None:
        self.board, self.asked, self.begin, self.now = board, asked, now, now
        self.made: list[Step] = []
        self.rings: list[str] = []
        self.keys = asked.keys
        self.leg = "dry-caller"
        self.contact = ""
        self.cause = ""
        self._others = set(board.contacts)
        self._told: set[tuple[str, ...]] = set()
        self._live: dict[str, str] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        board.closed = self._closed  # type: ignore[method-assign]
        board.instant = lambda: self.now

    def steps(self) -> Explained:
        asked = self.asked
        outside = asked.endpoint.startswith(("line/", TRUNK))
        self._situation()
        (self._inbound if outside else self._outbound)()
        kind = LegKind.FXO if asked.endpoint.startswith("line/") else LegKind.TRUNK
        if not outside:
            kind = LegKind(self.board.config.extensions[asked.endpoint].kind)
        offered = LegOffered(self.leg, self.now, kind, asked.endpoint, Party(asked.caller), asked.called, 0 if kind is LegKind.FXO else -1)
        self._live[self.leg] = asked.endpoint
        self._give(offered)
        for _ in range(MOST_INPUTS):
            if self.cause or len(self.made) >= MOST_STEPS:
                break
            times = [at for at in (self._heap[0][0] if self._heap else None, self.board.deadline()) if at is not None]
            if not times or min(times) > self.begin + MOST_MS:
                break
            self.now = max(self.now, min(times))
            if self._heap and self._heap[0][0] <= self.now:
                heapq.heappop(self._heap)[2]()
            else:
                self.board.expire(self.now)
                self._after()
        self._step("end" if self.cause else "cut", cause=self.cause)
        return Explained(self.made, self.rings, self.cause)

    # --- what is known before the call --------------------------------------------------------------------------------

    def _situation(self) -> None:
        local, board = self.board.local(self.now), self.board
        day = board.calendar.day(date(local.year, local.month, local.day))
        clock = f"{local.year}-{local.month:02}-{local.day:02} {local.hour:02}:{local.minute:02}"
        titles = {f"day_{one}": text for one, text in day.title.items()}
        self._step("time", time=clock, day_is=day.kind, by=day.level, day=day.name, night=board.night.now(local.unix_ms), **titles)

    def _inbound(self) -> None:
        asked = self.asked
        if asked.endpoint not in (*self.board.routing.lines(None), *self.board.routing.trunks()):
            raise PbxError(f"{asked.endpoint} is no line or trunk in service; `show lines` and `show trunks` list them")
        for one in self.board.routing.considered_in(asked.endpoint, asked.caller, asked.called):
            self._step("route-taken" if not one.why else "route-not", route=one.name, to=one.to, why=one.why)

    def _outbound(self) -> None:
        asked, routing = self.asked, self.board.routing
        if asked.endpoint not in self.board.config.extensions:
            raise PbxError(f"extension {asked.endpoint} does not exist; `show phones` lists them")
        target = routing.resolve(asked.endpoint, asked.called)
        name = type(target).__name__
        facts = {key: value for key, value in msgspec.to_builtins(target).items() if value not in ("", [], ())}
        if name in ("ToOutside", "ToNowhere"):
            for one in routing.considered_out(asked.endpoint, asked.called):
                self._step("out-taken" if not one.why else "out-not", route=one.name, to=one.to, why=one.why)
        self._step("means", target=name.removeprefix("To").lower(), **facts)

    # --- the stage ----------------------------------------------------------------------------------------------------

    def _step(self, kind: str, **data: Any) -> None:
        english, chinese = told(kind, data)
        self.made.append(Step(round((self.now - self.begin) / 1000, 1), kind, data, english, chinese))

    def _closed(self, state: ContactState) -> None:
        if state.id not in self._others and state.id == self.contact:
            self.cause = state.cause.value if state.cause is not None else Cause.NORMAL.value

    def _at(self, delay: int, fn: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (self.now + delay, self._serial, fn))

    def _give(self, event: Any) -> None:
        if event.leg in self._live or isinstance(event, LegEnded):
            self.board.receive(event, self.now)
            self._after()

    def _after(self) -> None:
        if not self.contact:
            self.contact = next((name for name in self.board.contacts if name not in self._others), "")
        for contact, action in self.board.actions():
            self._act(contact, action)

    def _end(self, leg: str, cause: Cause) -> None:
        if self._live.pop(leg, None) is not None:
            self._give(LegEnded(leg, self.now, cause, Evidence("timer"), False))

    def _act(self, contact: str, action: do.Action) -> None:
        if isinstance(action, do.OpenContact) and not self.contact:
            self.contact = contact
        mine = contact == self.contact
        match action:
            case do.Record() if mine and action.kind not in SILENT:
                self._recorded(action)
            case do.AnswerLeg():
                if mine:
                    self._step("answer")
                self._at(ANSWER_MS, lambda: self._give(LegAnswered(action.leg, self.now, 1, Evidence("command"))))
            case do.PlayPrompt():
                self._speak(action, mine)
            case do.OriginateLeg():
                self._originate(action, mine)
            case do.HangUpLeg():
                self._at(30, lambda: self._end(action.leg, action.cause))
            case do.CloseContact() if mine and not self.cause:
                self.cause = Cause.NORMAL.value

    def _recorded(self, action: do.Record) -> None:
        facts = dict(action.data)
        menu = self.board.config.menus.get(str(facts.get("menu", ""))) if action.kind == "menu" else None
        if menu is not None:
            facts["keys"] = [f"{key} {one.to}" for key, one in menu.keys.items()] + [f"- {menu.otherwise}"]
        if action.kind in AGAIN:
            again = (action.kind, *map(str, facts.values()))
            if again in self._told:
                return
            self._told.add(again)
        self._step(action.kind, **facts)

    def _speak(self, action: do.PlayPrompt, mine: bool) -> None:
        state = self.board.contacts.get(self.contact)
        if mine:
            shut = state is not None and state.hours is not None and set(state.hours.classes.values()) - {"open"}
            hours = next((text for one in action.says if shut and (text := one.variables.get("hours", ""))), "")
            self._step("say", prompts=[one.prompt for one in action.says], language=action.language, hours=hours)
        if mine and action.keys and self.keys and state is not None and state.phase is not Phase.GREETING:
            digit, self.keys = self.keys[0], self.keys[1:]
            self._at(KEY_MS, lambda: self._press(action, digit))
        else:
            self._at(PROMPT_MS * len(action.says), lambda: self._give(do.Played(action.leg, self.now, action.token, True)))

    def _press(self, action: do.PlayPrompt, digit: str) -> None:
        self._give(do.Played(action.leg, self.now, action.token, False, digit))
        self._give(LegDigit(action.leg, self.now, digit))

    def _originate(self, action: do.OriginateLeg, mine: bool) -> None:
        self._live[action.leg] = action.endpoint
        if mine:
            again = action.endpoint in self.rings
            self.rings.append(action.endpoint)
            if not again:
                self._step("ring", endpoint=action.endpoint, number=action.number, seconds=action.ring_ms // 1000)
        if action.endpoint.startswith("line/"):
            self._at(DIAL_MS, lambda: self._give(LegProgress(action.leg, self.now, 2)))
        else:
            self._at(RING_MS, lambda: self._give(LegRinging(action.leg, self.now)))
        self._at(action.ring_ms, lambda: self._end(action.leg, Cause.NO_ANSWER))
