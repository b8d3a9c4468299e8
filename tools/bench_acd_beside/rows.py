"""Known complaints about call queues (rows 6 to 12 of `features.md`), each lived as one scene at Asterisk and one here.

Every scene is the same sequence of what people do; the results are what their telephones and the two logs say. Nothing is judged but by
`Row.bad`: "yes" where the complaint happens, "no" where it does not, with the measured facts beside it.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from firmware.config.schema.acd import Callback
from firmware.config.schema.calls import InboundRoute, OutboundRoute, Queue
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.ports import FxoLine, Ports
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config

from .script import LONG_S, Scene, Seen, at_ours, at_theirs

FREE_MS = 300                   # an agent who is free and a caller who waits should be joined by a ring within this
WRAP_S = 4


@dataclass(frozen=True)
class Row:
    """One complaint on both sides: whether it happens, and the facts."""

    number: int
    complaint: str
    theirs_bad: bool
    theirs: str
    ours_bad: bool
    ours: str


def _config(queues: dict[str, Queue], agents: dict[str, list[str]]) -> Config:
    """Telephones 2001 ... belong to agents 8001 ..., logged in there."""
    return Config(
        site=Site(name="Scenes"), ports=Ports(fxo={str(n): FxoLine() for n in range(1, 13)}),
        extensions={f"2{agent[1:]}": Extension(kind="sip") for agent in agents} | {"2099": Extension(kind="sip")},
        agents={agent: Agent(pin="1", queues=serves) for agent, serves in agents.items()}, queues=queues,
        inbound=[InboundRoute(caller=f"13{at}", to=f"queue/{name}", greeting=False, notice=False) for at, name in enumerate(queues)],
        outbound=[OutboundRoute()],
    )  # fmt: skip


def _queue(**settings: object) -> Queue:
    return Queue(**{"ring_s": 20, "wrap_up_s": 0, "agent_number": False, "rating": False, "max_wait_s": 600} | settings)  # type: ignore[arg-type]


def _rung(scene: Scene, phone: str = "", caller: str = "") -> list[Seen]:
    return [one for one in scene.people.seen if one.what == "rings" and (not phone or one.who == phone)
            and (not caller or one.caller == caller)]  # fmt: skip


def _up(scene: Scene, leg: str) -> bool:
    return any(one.what == "up" and one.leg == leg for one in scene.people.seen)


def _over(scene: Scene, leg: str) -> int:
    return next((one.at for one in scene.people.seen if one.what == "over" and one.leg == leg), -1)


def _wait(scene: Scene, ms: int) -> None:
    end = scene.now() + ms
    scene.until(lambda: scene.now() >= end)


def _events(log: list[str], number: str) -> list[list[str]]:
    """Lines of the call that entered with this caller's number, without QUEUESTART and people."""
    lines = [line.split("|") for line in log]
    calls = {line[1] for line in lines if line[4] == "ENTERQUEUE" and line[6] == number}
    return [line for line in lines if line[1] in calls]


# --- 6: a callback that keeps its place -------------------------------------------------------------------------------


def _place(scene: Scene, agent: str, asks: Callable[[str], None], back: Callable[[], None]) -> list[str]:
    """A, B, C wait; A asks to be called back; then the agent works: in which order they are served."""
    scene.pause(agent, True)
    legs = []
    for number in ("13000000001", "13000000002", "13000000003"):
        leg = scene.call(number, "q6")
        scene.until(lambda leg=leg: _up(scene, leg))        # type: ignore[misc]
        _wait(scene, 1500)                                  # answered before it is in the queue
        legs.append(leg)
    asks(legs[0])
    back()
    scene.until(lambda: _over(scene, legs[0]) >= 0)
    if _over(scene, legs[0]) < 0:
        raise AssertionError("the caller who asked to be called back is still in the queue")
    scene.pause(agent, False)
    served: list[str] = []
    while len(served) < 3 and scene.until(lambda: len(_rung(scene, agent)) > len(served)):
        ring = _rung(scene, agent)[len(served)]
        served.append(ring.caller)
        scene.lift(ring.leg)
        _wait(scene, 700)
        if ring.caller not in ("13000000002", "13000000003"):
            # A callback is dialled for the agent now, where it was not before: the caller answers on an outside line.
            scene.until(lambda: any(one.who.startswith("line/") for one in _rung(scene)), 5)
            for one in _rung(scene):
                if one.who.startswith("line/"):
                    scene.lift(one.leg)
                    _wait(scene, 1500)
        scene.hang_up(ring.leg)
        _wait(scene, 300)
    return served


def callback() -> Row:
    """Row 6."""
    queues = "[q6]\nstrategy=linear\ncontext=callback\nretry=1\nmember => PJSIP/2001\n"
    plan = ("\n[callback]\nexten => 1,1,Hangup()\nexten => h,1,Originate(PJSIP/2099,exten,in,q6,1,40)\n")
    with at_theirs(queues, {"2001": "q6", "2099": ""}, general="autofill=yes\n", dialplan=plan) as scene:
        def keyed(leg: str) -> None:
            scene.press(leg, "1")

        def called() -> None:
            scene.until(lambda: bool(_rung(scene, "2099")))
            scene.lift(_rung(scene, "2099")[0].leg)
            _wait(scene, 700)

        theirs = _place(scene, "2001", keyed, called)
        places = [line[-1] for line in (one.split("|") for one in scene.log()) if line[4] == "ENTERQUEUE"]
    config = _config({"q6": _queue(callback=Callback(enabled=True, first="agent"))}, {"8001": ["q6"]})
    with at_ours(config, {"2001": "8001"}) as here:
        def asks(leg: str) -> None:
            _wait(here, 4000)
            here.press(leg, "1")
            _wait(here, 4000)
            here.press(leg, "1")
            here.until(lambda: _over(here, leg) >= 0)

        ours = _place(here, "2001", asks, lambda: None)
    order = {"13000000001": "A", "13000000002": "B", "13000000003": "C"}
    told = ["".join(order.get(one, "A") for one in found) for found in (theirs, ours)]
    return Row(6, "callback loses its place", told[0] != "ABC", f"served {told[0]}; called back at once into place {places[3]}",
               told[1] != "ABC", f"served {told[1]}")  # fmt: skip


# --- 7: an announcement holds up the connection -----------------------------------------------------------------------


def announcement() -> Row:
    """Row 7: the agent becomes free while something is said to the caller."""
    queues = "[q7]\nstrategy=linear\nretry=1\nperiodic-announce=long\nperiodic-announce-frequency=2\nmember => PJSIP/2001\n"
    with at_theirs(queues, {"2001": "q7"}, general="autofill=yes\n") as scene:
        scene.pause("2001", True)
        leg = scene.call("13000000001", "q7")
        scene.until(lambda: _up(scene, leg))
        _wait(scene, 4500)
        free = scene.now()
        scene.pause("2001", False)
        scene.until(lambda: bool(_rung(scene, "2001")))
        theirs = _rung(scene, "2001")[0].at - free
    with at_ours(_config({"q7": _queue()}, {"8001": ["q7"]}), {"2001": "8001"}) as here:
        here.pause("2001", True)
        leg = here.call("13000000001", "q7")
        here.until(lambda: any(one.what == "hears" and one.leg == leg and one.caller.endswith("q.join") for one in here.people.seen))
        _wait(here, 200)
        free = here.now()
        here.pause("2001", False)
        here.until(lambda: bool(_rung(here, "2001")))
        ours = _rung(here, "2001")[0].at - free
    return Row(7, f"an announcement ({LONG_S} s) holds up the connection", theirs > FREE_MS, f"agent free to ring: {theirs} ms",
               ours > FREE_MS, f"agent free to ring: {ours} ms")  # fmt: skip


# --- 8: zombie calls --------------------------------------------------------------------------------------------------


def zombie() -> Row:
    """Row 8: the caller leaves in the moment in which telephones ring, and in which one answers."""
    def live(scene: Scene) -> tuple[int, bool, list[str]]:
        leg = scene.call("13000000001", "q8")
        scene.until(lambda: len(_rung(scene)) == 2)
        gone = scene.now()
        scene.hang_up(leg)
        scene.until(lambda: all(_over(scene, ring.leg) >= 0 for ring in _rung(scene)), 10)
        rang = max(_over(scene, ring.leg) for ring in _rung(scene)) - gone
        second = scene.call("13000000002", "q8")
        scene.until(lambda: len(_rung(scene, caller="13000000002")) == 2)
        ring = _rung(scene, caller="13000000002")[0]
        scene.hang_up(second)
        scene.lift(ring.leg)                                # crosses the caller's leaving
        freed = scene.until(lambda: all(_over(scene, one.leg) >= 0 for one in _rung(scene)), 10)
        third = scene.call("13000000003", "q8")
        scene.until(lambda: bool(_rung(scene, caller="13000000003")), 10)
        again = bool(_rung(scene, caller="13000000003"))
        scene.hang_up(third)
        _wait(scene, 1500)
        return rang, freed and again, [line[4] for line in _events(scene.log(), "13000000002") if line[4] != "RINGCANCELED"]

    queues = "[q8]\nstrategy=ringall\nretry=1\nmember => PJSIP/2001\nmember => PJSIP/2002\n"
    with at_theirs(queues, {"2001": "q8", "2002": "q8"}, general="autofill=yes\n") as scene:
        theirs = live(scene)
    with at_ours(_config({"q8": _queue(strategy="ring-all")}, {"8001": ["q8"], "8002": ["q8"]}), {"2001": "8001", "2002": "8002"}) as here:
        ours = live(here)
    facts = [
        f"rings on for {one[0]} ms; telephones free again: {'yes' if one[1] else 'no'}; crossing answer: {' '.join(one[2])}"
        for one in (theirs, ours)
    ]  # fmt: skip
    return Row(8, "zombie call after the caller left", theirs[0] > 1000 or not theirs[1], facts[0], ours[0] > 1000 or not ours[1], facts[1])


# --- 9: wrap-up -------------------------------------------------------------------------------------------------------


def wrap_up() -> list[Row]:
    """Row 9: time for notes, across the queues of an agent and after he handed a call over."""
    def across(scene: Scene) -> int:
        first = scene.call("13000000001", "qa")
        scene.until(lambda: bool(_rung(scene, "2001")))
        scene.lift(_rung(scene, "2001")[0].leg)
        _wait(scene, 1200)
        second = scene.call("13100000002", "qb")
        scene.until(lambda: _up(scene, second))
        _wait(scene, 800)
        free = scene.now()
        scene.hang_up(first)
        scene.until(lambda: bool(_rung(scene, "2001", "13100000002")), 20)
        rest = _rung(scene, "2001", "13100000002")[0].at - free
        scene.hang_up(second)
        _wait(scene, 1000 * WRAP_S + 1500)
        return rest

    def transferred(scene: Scene) -> int:
        first = scene.call("13000000003", "qa")
        scene.until(lambda: bool(_rung(scene, "2001", "13000000003")))
        ring = _rung(scene, "2001", "13000000003")[0]
        scene.lift(ring.leg)
        _wait(scene, 1200)
        second = scene.call("13000000004", "qa")
        scene.until(lambda: _up(scene, second))
        _wait(scene, 800)
        free = scene.now()
        scene.transfer(ring.leg, "2099")
        scene.until(lambda: bool(_rung(scene, "2099")), 10)
        scene.lift(_rung(scene, "2099")[0].leg)
        if _over(scene, ring.leg) < 0:
            _wait(scene, 500)
            scene.hang_up(ring.leg)
        scene.until(lambda: _over(scene, ring.leg) >= 0)
        free = max(free, _over(scene, ring.leg))
        scene.until(lambda: bool(_rung(scene, "2001", "13000000004")), 20)
        rest = _rung(scene, "2001", "13000000004")[0].at - free
        scene.hang_up(second)
        scene.hang_up(first)
        _wait(scene, 1500)
        return rest

    queues = "".join(
        f"[{name}]\nstrategy=linear\nretry=1\nringinuse=no\nwrapuptime={WRAP_S}\nmember => PJSIP/2001\n" for name in ("qa", "qb")
    )
    measured = {}
    for name, general in (("as shipped", ""), ("shared_lastcall=yes", "shared_lastcall=yes\n")):
        with at_theirs(queues, {"2001": "", "2099": ""}, general=general + "autofill=yes\n") as scene:
            measured[name] = across(scene), transferred(scene)
    config = _config({name: _queue(wrap_up_s=WRAP_S) for name in ("qa", "qb")}, {"8001": ["qa", "qb"]})
    with at_ours(config, {"2001": "8001"}) as here:
        ours = across(here), transferred(here)
    least = 1000 * WRAP_S - 1000                            # whole seconds are what app_queue counts in
    rows = []
    for at, complaint in enumerate((f"wrap-up of {WRAP_S} s ends early in another queue", f"wrap-up of {WRAP_S} s lost after a transfer")):
        told = "; ".join(f"{name}: {found[at]} ms" for name, found in measured.items())
        rows.append(Row(9, complaint, any(found[at] < least for found in measured.values()), told, ours[at] < least, f"{ours[at]} ms"))
    return rows


# --- 10: ring-all race ------------------------------------------------------------------------------------------------


def race() -> Row:
    """Row 10: two agents answer together and the first one hangs up at once."""
    def live(scene: Scene) -> tuple[bool, bool, list[str]]:
        leg = scene.call("13000000001", "q10")
        scene.until(lambda: len(_rung(scene)) == 2)
        one, two = _rung(scene)
        scene.lift(one.leg)
        scene.lift(two.leg)
        scene.hang_up(one.leg)
        _wait(scene, 4000)
        kept = _over(scene, leg) < 0
        again = kept and scene.until(lambda: len(_rung(scene)) > 2, 15)
        if kept:
            scene.hang_up(leg)
        _wait(scene, 1500)
        return kept, again, [line[4] for line in _events(scene.log(), "13000000001") if line[4] != "RINGCANCELED"]

    queues = "[q10]\nstrategy=ringall\nretry=1\nmember => PJSIP/2001\nmember => PJSIP/2002\n"
    with at_theirs(queues, {"2001": "", "2002": ""}, general="autofill=yes\n") as scene:
        theirs = live(scene)
    config = _config({"q10": _queue(strategy="ring-all", agent_number=True)}, {"8001": ["q10"], "8002": ["q10"]})
    with at_ours(config, {"2001": "8001", "2002": "8002"}) as here:
        ours = live(here)
    facts = [
        f"caller {'stays' if one[0] else 'is cut off'}{', rung for again' if one[1] else ''}; {' '.join(one[2])}" for one in (theirs, ours)
    ]  # fmt: skip
    return Row(10, "ring-all: the first answer hangs up at once", not theirs[0], facts[0], not ours[0], facts[1])


# --- 11: one call, many records ---------------------------------------------------------------------------------------


def records() -> Row:
    """Row 11: four telephones ring twice before one answers; how many records one caller makes."""
    def live(scene: Scene) -> int:
        leg = scene.call("13000000001", "q11")
        scene.until(lambda: len(_rung(scene)) >= 8, 40)
        ring = _rung(scene)[-1]
        scene.lift(ring.leg)
        _wait(scene, 1500)
        scene.hang_up(leg)
        _wait(scene, 2000)
        return sum(line[1] == "13000000001" for line in csv.reader(scene.cdr()))

    phones = {f"200{n}": "q11" for n in range(1, 5)}
    queues = "[q11]\nstrategy=ringall\nretry=1\ntimeout=5\n" + "".join(f"member => PJSIP/{phone}\n" for phone in phones)
    with at_theirs(queues, phones, general="autofill=yes\n") as scene:
        theirs = live(scene)
    config = _config({"q11": _queue(strategy="ring-all", ring_s=5)}, {f"800{n}": ["q11"] for n in range(1, 5)})
    with at_ours(config, {f"200{n}": f"800{n}" for n in range(1, 5)}) as here:
        ours = live(here)
    return Row(11, "one caller, many records", theirs > 1, f"{theirs} lines of Master.csv", ours > 1, f"{ours} line of Master.csv")


# --- 12: reasons of pauses --------------------------------------------------------------------------------------------


def pauses() -> Row:
    """Row 12: an agent pauses with a reason and comes back; then he lets a caller ring and is paused by the queue."""
    def live(scene: Scene, agent: str) -> list[str]:
        scene.pause("2001", True, "2")
        _wait(scene, 1200)
        scene.pause("2001", False)
        leg = scene.call("13000000001", "q12")
        scene.until(lambda: bool(_rung(scene)) and all(_over(scene, one.leg) >= 0 for one in _rung(scene)), 20)
        _wait(scene, 2000)
        scene.hang_up(leg)
        _wait(scene, 1500)
        found = [line.split("|") for line in scene.log()]
        return [f"{line[4]}({','.join(line[5:])})" for line in found if line[3].endswith(agent) and "PAUSE" in line[4]]

    queues = "[q12]\nstrategy=linear\nretry=1\ntimeout=5\nautopause=yes\nmember => PJSIP/2001\n"
    with at_theirs(queues, {"2001": ""}, general="autofill=yes\n") as scene:
        theirs = live(scene, "2001")
    config = _config({"q12": _queue(ring_s=5, auto_pause_after=1)}, {"8001": ["q12"]})
    with at_ours(config, {"2001": "8001"}) as here:
        ours = live(here, "8001")
    def bad(found: list[str]) -> bool:
        kinds = Counter(one.partition("(")[0].removesuffix("ALL") for one in found)
        return any(one.endswith("()") for one in found if one.startswith("PAUSE")) or kinds["PAUSE"] < 2 or kinds["UNPAUSE"] < 1

    return Row(12, "reasons of pauses are missing", bad(theirs), " ".join(theirs), bad(ours), " ".join(ours))


def all_rows() -> list[Row]:
    """Every scene, one after another."""
    return [callback(), announcement(), zombie(), *wrap_up(), race(), records(), pauses()]
