"""`branchpbx sim day`: an appliance lives a day of calls; what people saw is compared with what the records say.

Theory of operation. A fresh appliance runs in a folder of its own, in virtual time. `Day` directs the world (time passes only while it
waits, so a slow machine lives the same day): agents log in by feature code from their telephones, then the episodes of `day_plan.plan`
are played one after another; between calls a supervisor makes agents ready or paused through the product's command gate. Then
the closed contacts of `calls.db` are read and `day_check` judges. The result is one JSON object; status 0 only without a difference.
Invariants: the appliance is stopped and its folder removed (unless kept) however the day ends; nothing is judged by the product's
own state but its records; a day has a limit of `LIMIT_S` seconds of real time.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from firmware.errors import PbxError
from firmware.sim import day_plan as p
from firmware.sim.appliance import Appliance
from firmware.sim.client import ClientError
from firmware.sim.day_check import BUSY_END_MS, Expectation, compare, coverage

LIMIT_S = 175.0
KILL_SPEED = 200
BETWEEN_MS = 5000
PARTNERS = [*p.AGENT_HZ.values()]


class Day(Appliance):
    """One running day."""

    def __init__(self, seed: int, calls: int, speed: int, folder: Path) -> None:
        super().__init__(folder, p.SITE, speed, seed, LIMIT_S)
        self.episodes = p.plan(seed, calls)
        self.expected: list[Expectation] = []

    # --- the appliance ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the appliance and seat its people."""
        super().start()
        secrets, endpoints = self.secrets(), self.endpoints()
        self.world.ask("direct")
        for extension in (p.SIP_EXTENSION, p.OTHER_SIP):
            self.world.ask(
                "softphone", extension=extension, action="add", secret=secrets[extension], server=["127.0.0.1", endpoints["sip_port"]]
            )
        for line, release in ((1, "polarity+busy"), (2, "polarity+busy"), (3, "loop-drop+busy"), (4, "busy")):
            self.world.ask("exchange", line=line, release=release)
        self.world.ask("partners", partners_hz=PARTNERS)
        self.sleep(3000)
        self.log_in()

    def log_in(self) -> None:
        """Agents log in from their telephones, with the PIN that `show accounts` gives; those whose queue must overflow pause."""
        pins = {row["account"]: row["secret"] for row in self.product.ask("show accounts")}
        for agent, extension in (
            (p.FXS_AGENT, p.FXS_EXTENSION),
            (p.SIP_AGENT, p.SIP_EXTENSION),
            (p.SLOW_AGENT, p.SPARE_EXTENSION),
            (p.SMALL_AGENT, p.OTHER_SIP),
        ):
            self.code(extension, "log-in", "*11", f"{agent}#@3,{pins[agent]}#@2")
        self.code(p.SPARE_EXTENSION, "pause", "*13", "1@3")
        self.code(p.OTHER_SIP, "pause", "*13", "1@3")

    def code(self, extension: str, what: str, code: str, keys: str) -> None:
        """Somebody dials a feature code, keys what is asked for and listens until the appliance hangs up."""
        sip = extension in (p.SIP_EXTENSION, p.OTHER_SIP)
        where = {"extension": extension} if sip else {"phone": int(extension) - 100}
        # A drawn PIN may end like an emergency number, which the world's telephones refuse to key unless told that it is meant.
        facts = {"number": code, "keys": keys, "talk": 30, "drill": True, **where}
        answer = self.world.ask("softphone" if sip else "phone", timeout=120, action="dial", wait=True, **facts)
        self.expected.append(Expectation(what, "feature", str(answer["person"]), code, extension=extension))
        self.sleep(2000)

    # --- people ---------------------------------------------------------------------------------------------------------------

    def agents(self, *ready: str) -> None:
        """Of the sales agents, only these are ready."""
        for agent in (p.FXS_AGENT, p.SIP_AGENT):
            self.ask(
                "agent ready" if agent in ready else "agent pause",
                **({"agent": agent} if agent in ready else {"agent": agent, "reason": "2"}),
            )

    def seat(self, agent: str, **plan: Any) -> None:
        """Somebody sits at the agent's phone."""
        facts = {
            "action": "answer",
            "after": 2,
            "tone_hz": p.AGENT_HZ[agent],
            "times": 1,
            "partners_hz": [p.CALLER_HZ, p.OUTSIDE_HZ],
            **plan,
        }
        if facts.pop("double", False):
            facts["say"] = steady(p.AGENT_HZ[agent])
        if agent == p.SIP_AGENT:
            self.world.ask("softphone", extension=p.SIP_EXTENSION, **facts)
        else:
            self.world.ask("phone", phone={p.FXS_AGENT: 1, p.TRANSFER_EXTENSION: 2}[agent], **facts)

    def leave(self) -> None:
        """Nobody is left at the desks, and all phones are on-hook."""
        for phone in (1, 2, 3, 4):
            self.world.ask("phone", phone=phone, action="hang-up")
        self.world.ask("softphone", extension=p.SIP_EXTENSION, action="leave")
        self.world.ask("softphone", extension=p.OTHER_SIP, action="leave")

    def presses(self, e: p.Episode, choice: str) -> str:
        when = "voice" if e.barge_in else "menu"
        return f"{'1' if e.language == 'zh' else '2'}@{when},{choice}@{when}"

    def call(self, e: p.Episode, *, wait: bool, line: int = 0, number: str = "", silent: bool = False, **facts: Any) -> str:
        """A call from outside; the person."""
        if e.double:
            facts["say"] = steady(p.CALLER_HZ)
        answer = self.world.ask(
            "call", timeout=120, line=line or e.line, caller_id=e.caller_id, tone_hz=0 if silent else p.CALLER_HZ,
            partners_hz=PARTNERS, patience=60,
            wait=wait, **{"from": number or e.number}, **facts,
        )  # fmt: skip
        return str(answer["person"])

    def people(self) -> dict[str, dict[str, Any]]:
        return {person["ident"]: person for person in self.world.ask("results")["people"]}

    def until(self, condition: Any, what: str, limit_s: float = 90.0) -> bool:
        """Wait (in the world's time) until `condition(people)`."""
        start = self.world.ask("status")["now_ms"]
        while not condition(self.people()):
            self.sleep(200)
            if self.world.ask("status")["now_ms"] - start > 1000 * limit_s:
                self.trouble.append(f"waited in vain: {what}")
                return False
        return True

    # --- episodes ----------------------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """All episodes."""
        for at, episode in enumerate(self.episodes):
            before = len(self.trouble)
            getattr(self, "do_" + episode.kind.replace("-", "_"))(episode)
            self.sleep(BUSY_END_MS + 500)  # who hung up may only now be noticed, and agents rung for him until then
            self.until(lambda people: all(person["done"] for person in people.values()), "everybody to finish", 30)
            self.trouble[before:] = [f"episode {at} ({episode.kind}): {text}" for text in self.trouble[before:]]
            self.sleep(1000)
            self.leave()
            self.sleep(BETWEEN_MS)

    def _inbound(self, e: p.Episode, person: str, choice: str, **more: Any) -> None:
        self.expected.append(Expectation(e.kind, "inbound", person, e.number, e.caller_id, e.language, choice, e.barge_in, **more))

    def _talk(self, e: p.Episode, agent: str) -> None:
        self.agents(agent)
        self.seat(agent, double=e.double)
        person = self.call(e, wait=True, press=self.presses(e, "1"), talk=e.talk_s, hang_up_after=90)
        self._inbound(e, person, "1", agent=agent, double=e.double)

    def do_talk_fxs(self, e: p.Episode) -> None:
        self._talk(e, p.FXS_AGENT)

    def do_talk_sip(self, e: p.Episode) -> None:
        self._talk(e, p.SIP_AGENT)

    def do_no_answer(self, e: p.Episode) -> None:
        """The FXS agent is away; the SIP agent becomes ready while that phone rings."""
        self.agents(p.FXS_AGENT)
        self.seat(p.SIP_AGENT, double=e.double)
        person = self.call(e, wait=False, press=self.presses(e, "1"), talk=e.talk_s, hang_up_after=120)
        for _ in range(300):
            if self.world.ask("status")["phones"][0]["ringing"] or self.people()[person]["done"]:
                break
            self.sleep(200)
        self.ask("agent ready", agent=p.SIP_AGENT)
        self.until(lambda people: people[person]["done"], "the caller to finish", 150)
        self._inbound(e, person, "1", agent=p.SIP_AGENT, misses=1, double=e.double)

    def do_time_out(self, e: p.Episode) -> None:
        self._inbound(e, self.call(e, wait=True, press=self.presses(e, "2"), hang_up_after=120), "2")

    def do_no_agent(self, e: p.Episode) -> None:
        self._inbound(e, self.call(e, wait=True, press=self.presses(e, "3"), hang_up_after=120), "3")

    def do_full(self, e: p.Episode) -> None:
        first = self.call(e, wait=False, press=self.presses(e, "4"), hang_up_after=150)
        self.until(lambda people: len(people[first]["pressed"]) == 2 or people[first]["done"], "the first caller to queue")
        self.sleep(3000)
        other = e.others[0]
        second = self.call(e, wait=True, line=e.line % 4 + 1, number=other, press=self.presses(e, "4"), hang_up_after=90)
        self.world.ask("hang-up", person=first)
        self._inbound(e, first, "4")
        self.expected.append(Expectation("full", "inbound", second, other, e.caller_id, e.language, "4", e.barge_in))

    def do_leaves(self, e: p.Episode) -> None:
        """The caller leaves at some moment: ringing, greeting, menu, queue or conversation."""
        self.agents(p.FXS_AGENT)
        self.seat(p.FXS_AGENT)
        if e.moment_s < 4.0:
            facts: dict[str, Any] = {"patience": 2.0 + e.moment_s}
        else:
            facts = {"hang_up_after": e.moment_s}
        answer = self.world.ask(
            "call",
            timeout=120,
            line=e.line,
            caller_id=e.caller_id,
            tone_hz=p.CALLER_HZ,
            partners_hz=PARTNERS,
            wait=True,
            press=self.presses(e, "1"),
            **{"from": e.number},
            **facts,
        )
        self._inbound(e, str(answer["person"]), "1", agent=p.FXS_AGENT)

    def do_rating(self, e: p.Episode) -> None:
        """The agent hangs up first, and the caller rates."""
        self.agents(p.SIP_AGENT)
        self.seat(p.SIP_AGENT, talk=e.talk_s + 6, double=e.double)
        person = self.call(e, wait=True, press=f"{self.presses(e, '1')},{e.rating}@rating", hang_up_after=120)
        self._inbound(e, person, "1", agent=p.SIP_AGENT, rating=e.rating, double=e.double)

    def _outbound(self, e: p.Episode, extension: str, tone_hz: float, do: str, where: dict[str, Any]) -> None:
        """Somebody at a telephone of the branch calls a number outside, where a person answers after 3 s and speaks on and on."""
        self.world.ask("number", number=e.number, kind="answer", answer_after=3, say=steady(p.OUTSIDE_HZ))
        facts = {"talk": e.talk_s + 12, "tone_hz": tone_hz, "partners_hz": [p.OUTSIDE_HZ], **where}
        if e.double:
            facts["say"] = steady(tone_hz)
        answer = self.world.ask(do, timeout=120, action="dial", number=f"9{e.number}", wait=True, **facts)
        self.expected.append(Expectation(e.kind, "outbound", str(answer["person"]), e.number, extension=extension, double=e.double))

    def do_outbound_fxs(self, e: p.Episode) -> None:
        self._outbound(e, p.SPARE_EXTENSION, p.AGENT_HZ[p.FXS_AGENT], "phone", {"phone": 3})

    def do_outbound_sip(self, e: p.Episode) -> None:
        self._outbound(e, p.OTHER_SIP, p.AGENT_HZ[p.SIP_AGENT], "softphone", {"extension": p.OTHER_SIP})

    def do_transfer(self, e: p.Episode) -> None:
        """The FXS agent, heard for two turns at least, asks a colleague and puts the caller through."""
        self.agents(p.FXS_AGENT)
        self.seat(p.FXS_AGENT, keys=f"*3{p.TRANSFER_EXTENSION}@12", talk=26)
        self.seat(p.TRANSFER_EXTENSION)
        person = self.call(e, wait=True, press=self.presses(e, "1"), talk=40, hang_up_after=120)
        self._inbound(e, person, "1", agent=p.FXS_AGENT, transferred=True)

    def do_emergency(self, e: p.Episode) -> None:
        """Four callers hold all lines; a locked phone dials 110."""
        self.agents()
        callers = []
        for line in (1, 2, 3, 4):
            number = e.others[line - 1]
            callers.append(
                (line, number, self.call(e, wait=False, line=line, number=number, press=self.presses(e, "1"), hang_up_after=200))
            )
        self.until(
            lambda people: all(len(people[ident]["pressed"]) == 2 or people[ident]["done"] for _, _, ident in callers), "four callers"
        )
        self.sleep(3000)
        answer = self.world.ask(
            "phone",
            timeout=120,
            phone=4,
            action="dial",
            number="110",
            wait=True,
            drill=True,
            talk=20,
            partners_hz=[p.EMERGENCY_HZ],
        )
        for _, number, ident in callers:
            self.world.ask("hang-up", person=ident)
            self.expected.append(Expectation(e.kind, "inbound", ident, number, e.caller_id, e.language, "1", e.barge_in, preemptible=True))
        self.expected.append(Expectation(e.kind, "emergency", str(answer["person"]), "110", extension="104"))
        self.sleep(65_000)  # until a call from outside is an ordinary one again

    def do_core_killed(self, e: p.Episode) -> None:
        """SIGKILL of core in a conversation: the caller hears the agent on and on, and the record is right."""
        self.agents(p.FXS_AGENT)
        self.seat(p.FXS_AGENT, double=True)
        person = self.call(e, wait=False, silent=True, press=self.presses(e, "1"), talk=18, hang_up_after=120)
        if self.until(lambda people: people[person]["met"] >= 0 or people[person]["done"], "the conversation to begin"):
            self.sleep(3000)
            self.world.ask("speed", percent=KILL_SPEED)
            killed = self.world.ask("status")["now_ms"]
            os.kill(int((self.state / "run" / "core.pid").read_text("ascii")), signal.SIGKILL)
            self.sleep(6000)
            self.world.ask("speed", percent=self.speed)
            self.until(lambda people: people[person]["done"], "the caller to finish", 60)
            self._inbound(e, person, "1", agent=p.FXS_AGENT, killed_at=killed)
        self.ask("show status")

    def tapes(self) -> Path:
        """What people heard, as one file each; those who heard nothing have none."""
        folder = self.folder / "tapes"
        for person in self.people():
            with contextlib.suppress(ClientError):
                self.world.ask("tape", person=person, path=str(folder / f"{person}.wav"))
        return folder


def steady(hz: float) -> str:
    """A voice that never pauses."""
    return f"tone:{hz:g}@-16"


def live(seed: int | None, calls: int, speed: int, keep: Path | None) -> int:
    """Live one day and print its JSON; returns the exit status."""
    seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    folder = keep or Path(tempfile.mkdtemp(prefix="branchpbx-day-"))
    folder.mkdir(parents=True, exist_ok=True)
    day = Day(seed, calls, speed, folder)
    people: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    outside: list[dict[str, Any]] = []
    began = time.monotonic()
    try:
        day.start()
        day.live()
        day.sleep(5000)
        results = day.world.ask("results")
        people, outside = results["people"], results["calls"]
        records = day.records()
        day.tapes()
        alive = [line for line in day.world.ask("status")["lines"] if line["off_hook"]]
        day.trouble += [f"PSTN line {line['line']} is still off-hook at the end of the day" for line in alive]
    except (PbxError, OSError, ValueError, KeyError) as error:
        day.trouble.append(f"{type(error).__name__}: {error}")
    finally:
        day.stop()
        found = compare(day.expected, people, outside, records, day.wall_base, folder / "tapes")
        covered = coverage(day.expected, people, outside)
        found += [f"the day has no {item}" for item, idents in covered.items() if not idents]
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    differences = [*day.trouble, *found]
    result = {
        "seed": seed, "calls": sum(e.calls for e in day.episodes), "seconds": round(time.monotonic() - began, 1),
        "episodes": [e.kind for e in day.episodes], "people": people, "records": records, "coverage": covered, "differences": differences,
    }  # fmt: skip
    sys.stdout.write(json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    return 0 if not differences else 1
