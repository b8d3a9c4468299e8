"""A blow at a moment drawn by chance to a queued call of the whole product: caller, agent, core, power; in virtual time.

What the generated table of `tests/unit/test_acd_proof.py` proves of the pure part at every step is shown here of real processes, sockets
and files: a few moments of each run, others in the next one. "1 s" is time of events.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.branch import CALLER_HZ, HZ, JACKS, Branch, check_at_rest, open_branch, slowly
from tests.e2e.evidence import contact_of, contacts, rows

pytestmark = [pytest.mark.e2e]

MORE = """
[acd]
quiet = []
[agents.8004]
pin = "4714"
queues = ["rated"]
[agents.8005]
pin = "4715"
queues = ["rated"]
[queues.rated]
ring_s = 6
wrap_up_s = 3
[queues.rated.callback]
enabled = true
offer_after_s = 0
[callers.rated]
numbers = ["1390"]
to = "queue/rated"
"""
PHASES = ("queued", "connecting", "talking", "rating", "announce")
BLOWS = ("caller", "agent", "core", "core and caller", "core and agent")
SAMPLES = 5
SLOW = 20                       # percent of real time: what is asked of core meanwhile fits together, a new core comes within a moment


class Play:
    """A queued call in which chance says who answers when, for how long, and whether the caller asks for a callback."""

    def __init__(self, branch: Branch, rng: random.Random) -> None:
        self.branch = branch
        self.box = branch.box
        self.seat = rng.choice(("101", "201"))
        self.other = "201" if self.seat == "101" else "101"
        self.phase = rng.choice(PHASES)
        self.extra = rng.randrange(0, 1500)
        self.after = rng.choice((1, 4, 30))
        if self.phase in ("connecting", "talking", "rating"):
            self.after = rng.choice((1, 4))
        self.box.ctl("agent login", agent="8004", extension=self.seat)
        if self.phase == "announce":
            self.box.ctl("agent pause", agent="8004", reason="1")
        self.branch.answer(self.seat, CALLER_HZ, after=self.after, talk=9)
        keys = {"press": "1@9,1@16"} if self.phase == "announce" else {}
        self.ident, self.number = branch.call("1390", HZ[self.seat], patience=70, hang_up_after=70, **keys)

    def call(self) -> dict[str, Any] | None:
        found = [one for one in self.box.ctl("show calls") if one["caller"] == self.number]
        return found[0] if found else None

    def reach(self) -> str:
        """Let time pass until the call is in the phase that was drawn, and a little more; the phase it is in."""
        for _ in range(600):
            call = self.call()
            if call is not None and call["phase"] == self.phase:
                break
            self.branch.sleep(0.2)
        self.branch.sleep(self.extra / 1000)
        call = self.call()
        return call["phase"] if call is not None else "over"

    def strike(self, blow: str) -> None:
        """Core first, so that it cannot see what else happens at that moment."""
        if "core" in blow:
            with slowly(self.box, SLOW):
                self.box.kill("core")
                self.box.ctl("show status")      # answered by the next one
        if "caller" in blow:
            self.branch.world("hang-up", person=self.ident)
        if "agent" in blow:
            if self.seat in JACKS:
                self.branch.phone(JACKS[self.seat], "leave")
                self.branch.phone(JACKS[self.seat], "hang-up")
            else:
                self.branch.soft(self.seat, "leave")
                self.branch.soft(self.seat, "hang-up")


def clean(box: Appliance) -> None:
    """No ghost in a queue, no agent bound to what is gone; time stands still while this is asked."""
    calls = {one["contact"]: one for one in box.ctl("show calls")}
    requests = box.ctl("show callbacks")
    for queue in box.ctl("show queues"):
        there = sum(one["phase"] == "queued" and one["queue"] == queue["queue"] for one in calls.values())
        there += sum(one["queue"] == queue["queue"] and one["state"] == "waiting" for one in requests)
        assert queue["waiting"] == there, (queue, calls, requests)
    for agent in box.ctl("show agents"):
        if agent["state"] in ("offered", "talking"):
            assert agent["contact"] in calls, (agent, calls)


def nobody_lost(box: Appliance, number: str) -> dict[str, Any]:
    """The caller's one record; one with whom nobody spoke is listed as lost, or has a callback."""
    record = contact_of(box, number)
    assert sum(row["caller"] == number and row["kind"] == "inbound" for row in contacts(box)) == 1
    if not record["connected_ms"]:
        listed = [one["number"] for one in (*box.ctl("show missed"), *box.ctl("show callbacks"))]
        back = [row for row in contacts(box) if row["kind"] == "callback" and row["called"] == number and row["connected_ms"]]
        history = [(row["kind"], row["data"]) for row in rows(box, "contact_events", record["id"])]
        assert number in listed or back, str((record["cause"], record["queue"], history[-6:]))
    return record


@pytest.mark.parametrize("index", range(SAMPLES))
def test_a_blow_at_a_moment_drawn_by_chance(branch: Branch, seed: int, index: int) -> None:
    rng = random.Random(seed)
    blow = BLOWS[index % len(BLOWS)]
    play = Play(branch, rng)
    box, told = branch.box, f"{play.phase} not reached"
    try:
        where = play.reach()
        told = f"{blow} at {where} ({play.phase}), seat {play.seat} after {play.after} s"
        play.strike(blow)
        branch.sleep(1.9)                        # with what follows up to 1 s until a line or a telephone says that it was left, and 1 s
        with slowly(box, SLOW):
            branch.sleep(0.1)                    # what came until now is dealt with, however busy the machine is
            clean(box)
            call = play.call()
            if "caller" in blow and where not in ("over", "announce"):
                assert call is None or call["phase"] == "ending", told
        branch.world("hang-up", person=play.ident)
        check_at_rest_or_waiting(branch, play.number)
        nobody_lost(box, play.number)
    except AssertionError as error:
        raise AssertionError(f"{told}: {error}") from error
    finally:
        for request in box.ctl("show callbacks"):
            box.ctl("callback cancel", request=request["request"])


def check_at_rest_or_waiting(branch: Branch, number: str) -> None:
    """Nothing of the call is left but a callback that waits for an agent."""
    branch.number(number, kind="no-answer")
    branch.box.ctl("agent logout", agent="8004")
    wait_until(lambda: not [one for one in branch.box.ctl("show calls") if number in (one["caller"], one["called"])], "its end", 60)
    check_at_rest(branch.box)
    clean(branch.box)


def test_the_power_fails_at_a_moment_drawn_by_chance(network: str, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with open_branch(network, tmp_path, MORE) as branch:
        box = branch.box
        branch.fresh()
        play = Play(branch, rng)
        where = play.reach()
        box.world({"do": "speed", "percent": SLOW})
        call = play.call()
        where = call["phase"] if call is not None else where
        pids = [box.pid(name) for name in ("media", "core", "manage", "world")]
        box.kill("parent")
        talked = where not in ("queued", "announce")
        assert box.process is not None
        box.process.wait(10)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "its processes are gone", 20)
        box.start()
        clean(box)
        check_at_rest(box)
        record = nobody_lost(box, play.number) if not talked else contact_of(box, play.number)
        assert record["ended_ms"] and record["cause"] in ("system", "normal"), (where, record)
        seats = {one["agent"]: one["state"] for one in box.ctl("show agents")}
        assert seats["8004"] in ("ready", "wrap-up", "paused"), (where, seats)
