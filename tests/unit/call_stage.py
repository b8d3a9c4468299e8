"""A stage for call scenarios: the switchboard in virtual time, with people at scripted telephones.

The stage does what drivers, media and store do (answer, ring, play to the end, record) and nothing else; what people do is
told by the scenario. With `restart=True` the whole state goes through JSON after every single input, as a killed core would.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import msgspec

from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
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
    LegRinging,
    Party,
)
from firmware.call.spoken import group_of, spoken
from firmware.call.state import ContactState
from firmware.call.switchboard import Switchboard, SwitchState
from firmware.call.times import LocalTime
from firmware.config.schema.calls import InboundRoute, Menu, MenuKey, OutboundRoute, Queue
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.ports import FxoLine, FxsPhone, Ports
from firmware.config.schema.tree import Config
from firmware.runtime.ids import Ids

EMERGENCY = ("110", "119", "120", "122")
PROMPT_MS = 2000


def config(**changes: Any) -> Config:
    """A branch: four lines, four analog and four SIP phones, two queues."""
    extensions = {str(100 + n): Extension(kind="fxs", jack=str(n)) for n in (1, 2, 3, 4)}
    extensions |= {str(200 + n): Extension(kind="sip") for n in (1, 2, 3, 4)}
    base: dict[str, Any] = {
        "ports": Ports(fxo={str(n): FxoLine() for n in (1, 2, 3, 4)}, fxs={str(n): FxsPhone() for n in (1, 2, 3, 4)}),
        "extensions": extensions,
        "agents": {
            "8001": Agent(pin="11", queues=["sales", "service"]),
            "8002": Agent(pin="22", queues=["sales"]),
            "8003": Agent(pin="33", queues=["service"], trainee=True),
        },
        "queues": {"sales": Queue(record=True), "service": Queue(max_wait_s=30, on_timeout="extension/101", max_waiting=2)},
        "menus": {
            "language": Menu(
                prompt="ivr.lang", otherwise="menu/main",
                keys={"1": MenuKey(to="menu/main", language="zh"), "2": MenuKey(to="menu/main", language="en")},
            ),
            "main": Menu(
                prompt="ivr.main", otherwise="queue/service",
                keys={"1": MenuKey(to="queue/sales"), "2": MenuKey(to="queue/service"), "0": MenuKey(to="extension/101")},
            ),
        },
        "inbound": [InboundRoute(to="menu/language")],
        "outbound": [OutboundRoute()],
    }  # fmt: skip
    return Config(**(base | changes))


class Phone:
    """How a called telephone behaves. `answer_ms` -1: never; `reject`: cause instead of ringing; line: `dial_ms` to progress."""

    def __init__(self, answer_ms: int = 2000, reject: Cause | None = None, dial_ms: int = 1500) -> None:
        self.answer_ms = answer_ms
        self.reject = reject
        self.dial_ms = dial_ms


class Stage:
    """See the module docstring."""

    def __init__(self, conf: Config | None = None, *, restart: bool = False) -> None:
        self.config = conf or config()
        self.spoken = set(spoken(self.config))
        self.restart = restart
        self.local = LocalTime(2026, 3, 2, 9, 0)             # a Monday
        self.now = 1000
        self.ids = Ids(1)
        self.board = self._new_board()
        self.phones: dict[str, Phone] = {}
        self.port = 16
        self.legs: dict[str, str] = {}                       # live legs: id -> endpoint
        self.ports: dict[str, int] = {}
        self.kinds: dict[str, LegKind] = {}
        self.answered: set[str] = set()
        self.heard: dict[str, list[str]] = {}                # leg -> prompts, music and tones begun
        self.languages: dict[str, list[str]] = {}
        self.playing: dict[str, tuple[int, str]] = {}
        self.bridges: dict[str, str] = {}
        self.rooms: dict[str, set[str]] = {}
        self.sent: dict[str, str] = {}
        self.recording: dict[str, int] = {}
        self.masked: set[str] = set()
        self.taps: dict[str, tuple[str, str]] = {}           # supervisor's leg -> (leg listened to, mode)
        self.done: list[tuple[int, str, do.Action]] = []
        self.closed: dict[str, ContactState] = {}
        self.opened: list[str] = []
        self.notices: list[Any] = []
        self.ended: list[str] = []
        self.steps = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.serial = 0
        self.stuck: set[str] = set()                         # legs whose driver never confirms a hang-up

    def _new_board(self) -> Switchboard:
        board = Switchboard(self.config, self.ids, EMERGENCY, lambda now: self.local, {})
        board.closed = self._closing  # type: ignore[method-assign]
        return board

    def _closing(self, state: ContactState) -> None:
        assert state.id not in self.closed, "a contact ends once"
        self.closed[state.id] = state

    # --- time ---------------------------------------------------------------------------------------------------------

    def at(self, delay: int, fn: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, fn))

    def give(self, event: Any) -> None:
        self.board.receive(event, self.now)
        self._after()

    def _after(self) -> None:
        self.steps += 1
        for contact, action in self.board.actions():
            self._act(contact, action)
        if self.restart:
            shared = msgspec.json.decode(msgspec.json.encode(self.board.snapshot()), type=SwitchState)
            contacts = [msgspec.json.decode(msgspec.json.encode(one), type=ContactState) for one in self.board.contacts.values()]
            self.board = self._new_board()
            self.board.restore(shared, contacts)

    def run(self, ms: int) -> None:
        end = self.now + ms
        while True:
            deadline = self.board.deadline()
            event = self._heap[0][0] if self._heap else None
            times = [t for t in (deadline, event) if t is not None and t <= end]
            if not times:
                break
            self.now = max(self.now, min(times))
            if event is not None and event <= self.now:
                heapq.heappop(self._heap)[2]()
            else:
                self.board.expire(self.now)
                self._after()
        self.now = end

    # --- people -------------------------------------------------------------------------------------------------------

    def ring_in(self, line: str = "line/1", number: str = "13800000001", rings: int = 2) -> str:
        leg = self._new("x", line, LegKind.FXO)
        self.ports[leg] = int(line[-1]) - 1
        self.give(LegOffered(leg, self.now, LegKind.FXO, line, Party(number), "", self.ports[leg], rings, self.now - 5000))
        return leg

    def trunk_in(self, trunk: str, called: str, number: str = "0815") -> str:
        leg = self._new("x", f"trunk/{trunk}", LegKind.TRUNK)
        self.give(LegOffered(leg, self.now, LegKind.TRUNK, f"trunk/{trunk}", Party(number), called))
        return leg

    def dial(self, extension: str, digits: str) -> str:
        kind = LegKind.FXS if extension.startswith("1") else LegKind.SIP
        leg = self._new("x", extension, kind)
        if kind is LegKind.FXS:
            self.ports[leg] = int(extension[-1]) + 3
        self.give(LegOffered(leg, self.now, kind, extension, Party(extension), digits, self.ports.get(leg, -1)))
        return leg

    def _new(self, prefix: str, endpoint: str, kind: LegKind) -> str:
        self.serial += 1
        leg = f"{prefix}{self.serial}"
        self.legs[leg], self.kinds[leg] = endpoint, kind
        return leg

    def press(self, leg: str, digits: str) -> None:
        for digit in digits:
            if leg in self.legs:
                self._stop_by_key(leg, digit)
                self.give(LegDigit(leg, self.now, digit))

    def flash(self, leg: str) -> None:
        self.give(LegFlash(leg, self.now))

    def leave(self, leg: str, evidence: Evidence | None = None) -> None:
        """The person at this telephone hangs up."""
        self._end(leg, Cause.NORMAL, evidence or Evidence("on-hook"), True)

    def leg_at(self, endpoint: str) -> str:
        found = [leg for leg, where in self.legs.items() if where == endpoint]
        return found[-1] if found else ""

    def log_in(self, agent: str, extension: str) -> None:
        self.board.agent_command(agent, "login", self.now, extension=extension)
        self._after()

    # --- facts --------------------------------------------------------------------------------------------------------

    def talking(self, a: str, b: str) -> bool:
        return self.bridges.get(a) == b and self.bridges.get(b) == a

    def state(self, leg: str) -> ContactState:
        return self.board.contacts[self.board.contact_of(leg)]

    def status(self, agent: str) -> str:
        return self.board.floor.agent(agent).status.value

    def only(self) -> ContactState:
        assert len(self.closed) == 1, self.closed
        return next(iter(self.closed.values()))

    def at_rest(self) -> None:
        """Nothing is left of any call."""
        assert not self.board.contacts, [(c.id, c.phase, c.live_legs) for c in self.board.contacts.values()]
        assert not self.legs and not self.bridges and not self.recording and not self.taps
        assert not any(self.rooms.values())
        assert not any(self.board.floor.state.queues.values())
        for agent in self.board.floor.state.agents.values():
            assert agent.status.value in ("ready", "paused", "logged-out"), agent
            assert not agent.contact
        assert sorted(self.opened) == sorted(self.closed) == sorted(self.ended)

    # --- what drivers and media do ------------------------------------------------------------------------------------

    def _stop_by_key(self, leg: str, digit: str) -> None:
        if leg in self.playing:
            token, keys = self.playing[leg]
            if keys == "keys":
                del self.playing[leg]
                self.give(do.Played(leg, self.now, token, False, digit))

    def _end(self, leg: str, cause: Cause, evidence: Evidence, by_far: bool) -> None:
        if leg not in self.legs:
            return
        endpoint = self.legs.pop(leg)
        self.ports.pop(leg, None)
        self.playing.pop(leg, None)
        self.taps.pop(leg, None)
        for inside in self.rooms.values():
            inside.discard(leg)
        other = self.bridges.pop(leg, "")
        if other:
            self.bridges.pop(other, None)
        if leg in self.recording:
            self._recorded(leg)
        self.give(LegEnded(leg, self.now, cause, evidence, by_far))
        if endpoint.startswith("line/"):
            self.at(500, lambda: self.give(EndpointState(endpoint, self.now, "idle")))

    def _recorded(self, leg: str) -> None:
        token = self.recording.pop(leg, 0)
        if token:
            self.at(20, lambda: self.give(do.Recorded(leg, self.now, token, 8000, 0)))

    def _answered(self, leg: str) -> None:
        if leg in self.legs:
            if leg not in self.ports:
                self.port += 1
                self.ports[leg] = self.port
            self.answered.add(leg)
            self.give(LegAnswered(leg, self.now, self.ports[leg], Evidence("sip-200")))

    def _early(self, leg: str) -> None:
        if leg in self.legs and leg not in self.ports:
            self.port += 1
            self._progress(leg, self.port)

    def _originate(self, action: do.OriginateLeg) -> None:
        endpoint, leg = action.endpoint, action.leg
        trunk = endpoint.startswith("trunk/")
        busy = endpoint in self.legs.values() and not trunk
        kind = LegKind.FXO if endpoint.startswith("line/") else LegKind.FXS if endpoint.startswith("1") else LegKind.SIP
        kind = LegKind.TRUNK if trunk else kind
        self.legs[leg], self.kinds[leg] = endpoint, kind
        phone = self.phones.get(endpoint, Phone())
        if busy or phone.reject is not None:
            cause = phone.reject if phone.reject is not None else Cause.BUSY
            self.at(100, lambda: self._end(leg, cause, Evidence("sip-486"), True))
            return
        if kind is LegKind.FXO:
            self.at(phone.dial_ms, lambda: self._progress(leg, int(endpoint[-1]) - 1))
        else:
            self.at(100, lambda: self.give(LegRinging(leg, self.now)) if leg in self.legs else None)
        if phone.answer_ms >= 0:
            self.at(phone.answer_ms + (phone.dial_ms if kind is LegKind.FXO else 0), lambda: self._answered(leg))
        self.at(action.ring_ms, lambda: self._no_answer(leg))

    def _progress(self, leg: str, port: int) -> None:
        if leg in self.legs and leg not in self.answered:
            self.ports[leg] = port
            self.give(LegProgress(leg, self.now, port))

    def _no_answer(self, leg: str) -> None:
        if leg in self.legs and leg not in self.answered:
            self._end(leg, Cause.NO_ANSWER, Evidence("timer"), False)

    def _act(self, contact: str, action: do.Action) -> None:
        self.done.append((self.now, contact, action))
        if isinstance(action, (do.PlayPrompt, vm.PlayFile)):
            says = action.says if isinstance(action, do.PlayPrompt) else (*action.before, *action.without, *action.after)
            needs = {action.language} | {group_of(f"{action.language}/{say.prompt}") for say in says}
            assert needs <= self.spoken, "media has the prompts that the configuration can ask for, and this is none of them"
        match action:
            case do.AnswerLeg():
                if action.leg in self.legs:
                    self.at(50, lambda: self._answered(action.leg))
            case do.EarlyLeg():
                if action.leg in self.legs:
                    self.at(50, lambda: self._early(action.leg))
            case do.OriginateLeg():
                self._originate(action)
            case do.HangUpLeg():
                if action.leg not in self.stuck:
                    self.at(30, lambda: self._end(action.leg, action.cause, Evidence("command"), False))
            case do.PlayPrompt():
                assert action.leg not in self.bridges, "never speak into a conversation"
                self.heard.setdefault(action.leg, []).extend(say.prompt for say in action.says)
                self.languages.setdefault(action.leg, []).append(action.language)
                self.playing[action.leg] = (action.token, "keys" if action.keys else "")
                self.at(PROMPT_MS * len(action.says), lambda: self._play_over(action))
            case do.PlayMusic():
                self.heard.setdefault(action.leg, []).append("music")
                self.playing[action.leg] = (action.token, "")
            case do.PlayTone():
                self.heard.setdefault(action.leg, []).append(f"tone {action.tone}")
                self.playing[action.leg] = (action.token, "")
            case do.StopPlay():
                self.playing.pop(action.leg, None)
            case do.Bridge():
                assert action.a not in self.bridges and action.b not in self.bridges
                assert action.a in self.ports and action.b in self.ports, "only legs with audio are bridged"
                assert action.a not in self.playing and action.b not in self.playing
                self.bridges[action.a], self.bridges[action.b] = action.b, action.a
                assert not any({action.a, action.b} & inside for inside in self.rooms.values()), "in a room or a bridge, never both"
            case do.EnterRoom():
                assert action.leg in self.ports and action.leg not in self.bridges and action.leg not in self.playing
                self.rooms.setdefault(action.room, set()).add(action.leg)
            case do.LeaveRoom():
                self.rooms[action.room].discard(action.leg)
            case do.Unbridge():
                self.bridges.pop(action.a, None)
                self.bridges.pop(action.b, None)
                self.taps = {leg: tap for leg, tap in self.taps.items() if tap[0] not in (action.a, action.b)}
            case do.Tap():
                assert action.leg in self.ports and action.of in self.bridges, "a tap is on a conversation"
                self.taps[action.leg] = (action.of, action.mode)
            case do.Untap():
                self.taps.pop(action.leg, None)
            case do.MaskRecording():
                if action.leg in self.recording:
                    (self.masked.add if action.on else self.masked.discard)(action.leg)
            case do.SendDigits():
                self.sent[action.leg] = self.sent.get(action.leg, "") + action.digits
            case do.StartRecording():
                self.recording[action.leg] = action.token
                path = f"2026/03/02/{contact}.wav"
                self.at(0, lambda: self.give(do.RecordingStarted(action.leg, self.now, action.token, path)))
            case do.StopRecording():
                self._recorded(action.leg)
            case do.OpenContact():
                self.opened.append(contact)
            case do.CloseContact():
                self.ended.append(contact)
            case do.Notify():
                self.notices.append(action.event)

    def _play_over(self, action: do.PlayPrompt) -> None:
        if self.playing.get(action.leg, (0, ""))[0] == action.token:
            del self.playing[action.leg]
            self.give(do.Played(action.leg, self.now, action.token, True))
