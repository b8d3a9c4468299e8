"""People who do exactly what a scene says, on either stage, and note what their telephones did when."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from firmware.app.office import Office

from . import ours, theirs
from .trace import Crowd

WAIT_S = 40.0
LONG_S = 8


@dataclass(frozen=True)
class Seen:
    """Something a telephone did; `at` in ms of the stage; `who`: the caller's number for callers, the telephone for agents."""

    at: int
    what: str                   # "up", "rings", "over", "hears"
    leg: str
    who: str
    caller: str = ""


class People(Crowd):
    """Notes only; scenes act."""

    def __init__(self) -> None:
        super().__init__([])
        self.seen: list[Seen] = []
        self.now: Callable[[], int] = lambda: 0
        self.number: dict[str, str] = {}

    def _note(self, what: str, leg: str, who: str = "", caller: str = "") -> None:
        self.seen.append(Seen(self.now(), what, leg, who or self.number.get(leg, ""), caller))

    def picked_up(self, leg: str) -> None:
        self._note("up", leg)

    def rings(self, leg: str, phone: str, caller: str) -> None:
        self.number[leg] = phone
        self._note("rings", leg, phone, caller)

    def over(self, leg: str) -> None:
        self._note("over", leg)


class Scene(Protocol):
    """What a scene can do on both sides."""

    people: People

    def now(self) -> int: ...
    def call(self, number: str, queue: str) -> str: ...
    def lift(self, leg: str) -> None: ...
    def hang_up(self, leg: str) -> None: ...
    def press(self, leg: str, keys: str) -> None: ...
    def transfer(self, leg: str, number: str) -> None: ...
    def pause(self, phone: str, on: bool, reason: str = "") -> None: ...
    def until(self, condition: Callable[[], bool], seconds: float = WAIT_S) -> bool: ...
    def log(self) -> list[str]: ...
    def cdr(self) -> list[str]: ...


class AtTheirs:
    """A scene at Asterisk; pauses by its console."""

    def __init__(self, one: theirs.Theirs, people: People, queue: str) -> None:
        self.one, self.people, self.queue = one, people, queue
        people.now = one.phones.now

    def now(self) -> int:
        return self.one.phones.now()

    def call(self, number: str, queue: str) -> str:
        leg = self.one.phones.call(number, queue)
        self.people.number[leg] = number
        return leg

    def lift(self, leg: str) -> None:
        self.one.phones.lift(leg)

    def hang_up(self, leg: str) -> None:
        self.one.phones.hang_up(leg)

    def press(self, leg: str, keys: str) -> None:
        for key in keys:
            self.one.phones.press(leg, key)

    def transfer(self, leg: str, number: str) -> None:
        self.one.phones.refer(leg, number)

    def pause(self, phone: str, on: bool, reason: str = "") -> None:
        why = f" queue {self.queue} reason {reason}" if reason else ""
        self.one.far.ask(f"queue {'pause' if on else 'unpause'} member PJSIP/{phone}{why}")

    def until(self, condition: Callable[[], bool], seconds: float = WAIT_S) -> bool:
        return self.one.phones.run(seconds, condition)

    def log(self) -> list[str]:
        return self.one.log()

    def cdr(self) -> list[str]:
        return self.one.cdr()


class AtOurs:
    """A scene in an office of virtual time."""

    def __init__(self, folder: Path, config: Any, people: People, agents: Mapping[str, str]) -> None:
        self.people = people
        self.agents = dict(agents)
        self.office: Any = Office(folder, config, ours.BEGINS, self)
        people.now = self.now
        for phone, agent in self.agents.items():
            self.office.dial(phone, f"*11{agent}#1#")
        self.office.run(15_000)
        people.seen.clear()

    def now(self) -> int:
        return int(self.office.clock.now())

    def call(self, number: str, queue: str) -> str:
        leg = str(self.office.call_in(self.office.free_line(), number, self.now(), 1))
        self.people.number[leg] = number
        return leg

    def lift(self, leg: str) -> None:
        self.office.sets.lift(leg)

    def hang_up(self, leg: str) -> None:
        self.office.hang_up(leg)

    def press(self, leg: str, keys: str) -> None:
        self.office.press(leg, keys)

    def transfer(self, leg: str, number: str) -> None:
        self.office.press(leg, f"*3{number}")
        self.office.run(3000)
        self.office.hang_up(leg)

    def pause(self, phone: str, on: bool, reason: str = "") -> None:
        calls, agent = self.office.calls, self.agents[phone]
        calls.command(lambda now: calls.board.agent_command(agent, "pause" if on else "ready", now, reason=reason))

    def until(self, condition: Callable[[], bool], seconds: float = WAIT_S) -> bool:
        end = self.now() + round(1000 * seconds)
        while not condition() and self.now() < end:
            self.office.run(10)
        return condition()

    def log(self) -> list[str]:
        self.office.db.flush(60)
        lines: list[str] = self.office.reports.queue_log(self.office.reports.today())
        return lines

    def cdr(self) -> list[str]:
        self.office.db.flush(60)
        lines: list[str] = self.office.reports.cdr(self.office.reports.today())
        return lines

    # --- people of the office -----------------------------------------------------------------------------------------

    def rings(self, leg: str, endpoint: str, caller: str) -> None:
        self.people.rings(leg, endpoint, caller)

    def picked_up(self, leg: str) -> None:
        self.people.picked_up(leg)

    def hears(self, leg: str, clips: tuple[str, ...], ms: int) -> None:
        self.people._note("hears", leg, caller=clips[-1])

    def speaks_with(self, leg: str, other: str) -> None:
        self.people._note("meets", leg, caller=self.people.number.get(other, ""))

    def over(self, leg: str, cause: str) -> None:
        self.people.over(leg)


@contextmanager
def at_theirs(queues: str, phones: Mapping[str, str], *, general: str = "", dialplan: str = "", port: int = 24000) -> Iterator[AtTheirs]:
    """An Asterisk for scenes. `long` in `queues` is the name of a clip of LONG_S seconds."""
    with tempfile.TemporaryDirectory(prefix="branchpbx-beside-") as name:
        folder, people = Path(name), People()
        (folder / "long.alaw").write_bytes(b"\xd5" * 8000 * LONG_S)
        one = theirs.Theirs(folder / "asterisk", people, queues.replace("=long", f"={folder / 'long'}"), phones, general=general,
                            dialplan=dialplan, rtp=port)  # fmt: skip
        try:
            one.start()
            yield AtTheirs(one, people, queues[1 : queues.index("]")])
        finally:
            one.stop()


@contextmanager
def at_ours(config: Any, agents: Mapping[str, str]) -> Iterator[AtOurs]:
    """An office for scenes, agents logged in."""
    with tempfile.TemporaryDirectory(prefix="branchpbx-beside-") as name:
        scene = AtOurs(Path(name), config, People(), agents)
        try:
            yield scene
        finally:
            scene.office.close()
