"""Codes of agents and shift leaders, and routing by agent number (L1, pure; G3, G4, M7, NUM-02).

Theory of operation
-------------------
*Result*: an agent keys how the call that is over ended (0 to 9); it is written to that contact's history, and wrap-up is over.
*Missed calls*: the list is read, the oldest first; 1 takes the entry for this agent and dials it with the rights of the telephone and the
access code of its queue's callbacks, 2 goes on. *Agents*: from a telephone that supervises, an agent number and what to do with the agent.
*Queues*: how many wait, and the longest wait, of the queues that the telephone supervises or its agent serves.
`agent/NUMBER`: the caller joins the first queue of that agent, who is offered him first (`ahead.py`); where the agent is not at work, or
busy for longer than `acd.preferred_wait_s`, the others of the queue are his fall-back.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call.actions import Say
from firmware.call.codes import ask, said
from firmware.call.contact import Contact
from firmware.call.dialling import dial_number
from firmware.call.events import MissedChanged
from firmware.call.missed import open_entries
from firmware.call.model import Cause, Side
from firmware.call.registry import code, destination
from firmware.call.rules import rule
from firmware.call.state import Kind
from firmware.config.schema.acd import Callback

MINUTE = 60_000


@destination("agent")
def to_agent(c: Contact, number: str) -> None:
    """The caller asked for an agent by number."""
    from firmware.call.waiting import enter_queue

    agent = c.desk.config.agents.get(number)
    queue = next((name for name in agent.queues if name in c.desk.config.queues), "") if agent is not None else ""
    c.record("agent-asked", c.s.a, agent=number)
    if not queue:
        c.finish(Cause.UNREACHABLE, Side.SYSTEM)
        return
    c.s.visit.preferred = number
    enter_queue(c, queue)


# --- the result of a call ---------------------------------------------------------------------------------------------


def _result_key(c: Contact, digit: str) -> None:
    c.s.typed += digit
    _result(c)


@code("result", keys=_result_key)
def _result(c: Contact) -> None:
    agent = c.desk.floor.on_phone(c.s.extension)
    if agent is None or not agent.last_contact:
        said(c, "agent.unknown" if agent is None else "sup.refused")
    elif c.s.typed[:1].isdigit():
        c.desk.act(agent.last_contact, do.Record(c.now, "result", "", {"agent": agent.agent, "code": c.s.typed[0]}))
        c.desk.floor.noted(agent.agent, c.now)
        said(c, "agent.code.ok", agent.agent)
    else:
        c.s.typed = ""
        ask(c, Say("agent.ask.code"))


# --- lost callers -----------------------------------------------------------------------------------------------------


def _missed_key(c: Contact, digit: str) -> None:
    number = c.s.visit.digits
    entry = c.desk.acd.missed.get(number)
    if digit == "1" and entry is not None:
        agent = c.desk.floor.on_phone(c.s.extension)
        entry.claimed_by, entry.claimed_ms = agent.agent if agent is not None else c.s.extension, c.desk.wall(c.now)
        c.desk.keep_acd()
        c.record("missed-claimed", c.s.a, number=number, by=entry.claimed_by)
        c.desk.act("", do.Notify(MissedChanged(c.now, number, "claimed", entry.times, entry.claimed_by)))
        c.stop_timer("key")
        c.quiet(c.s.a)
        c.s.kind, c.s.feature = Kind.OUTBOUND, ""
        queue = c.desk.config.queues.get(entry.queue)
        c.s.called = (queue.callback if queue is not None else Callback()).access + number.removeprefix("+")
        dial_number(c)
    elif digit == "2":
        c.s.typed += "2"
        _missed(c)


@code("missed", keys=_missed_key)
def _missed(c: Contact) -> None:
    """Read the next entry: as many were passed over as there are keys."""
    agent = c.desk.floor.on_phone(c.s.extension)
    me = agent.agent if agent is not None else c.s.extension
    entries = open_entries(c.desk.acd, c.desk.wall(c.now), c.desk.config.acd.missed_claim_s * 1000, me)
    at = c.s.typed.count("2")
    if at >= len(entries):
        said(c, "miss.none")
        return
    c.s.visit.digits = entries[at].number
    ask(c, Say("miss.next", {"digits": entries[at].number, "n": str(entries[at].times)}))


# --- shift leaders ----------------------------------------------------------------------------------------------------


def _supervised(c: Contact) -> set[str]:
    """Queues that this telephone supervises."""
    known = c.desk.config.extensions.get(c.s.extension)
    named = set(known.supervises) if known is not None and not known.locked else set()
    return set(c.desk.config.queues) if "*" in named else named & set(c.desk.config.queues)


def _agents_key(c: Contact, digit: str) -> None:
    c.s.typed += digit
    _agents(c)


@code("agents", keys=_agents_key)
def _agents(c: Contact) -> None:
    """Agent number, #, then 1 ready, 2 pause, 3 log out."""
    queues = _supervised(c)
    if not queues:
        said(c, "sup.refused")
        return
    number, hash_key, verb = c.s.typed.partition("#")
    agent = c.desk.config.agents.get(number)
    if not hash_key:
        if not number:
            ask(c, Say("sup.ask"))
        c.timer("key", rule("code.wait"))
    elif agent is None or not queues & set(agent.queues):
        said(c, "agent.login.bad" if agent is None else "sup.refused", number)
    elif verb[:1] == "1":
        ok = c.desk.floor.make_ready(number, c.now)
        _commanded(c, number, "ready", "agent.ready" if ok else "sup.refused")
    elif verb[:1] == "2":
        c.desk.floor.pause(number, "leader", c.now)
        _commanded(c, number, "pause", "agent.paused")
    elif verb[:1] == "3":
        c.desk.floor.log_out(number, c.now)
        _commanded(c, number, "logout", "agent.logout.ok")
    else:
        c.s.typed = f"{number}#"
        ask(c, Say("sup.verb"))


def _commanded(c: Contact, agent: str, verb: str, prompt: str) -> None:
    c.record("supervised-agent", c.s.a, agent=agent, verb=verb, by=c.s.extension)
    said(c, prompt, agent)


@code("queue_status")
def _queue_status(c: Contact) -> None:
    agent = c.desk.floor.on_phone(c.s.extension)
    queues = _supervised(c) or {name for name in c.desk.config.queues if agent is not None and c.desk.floor.serves(agent.agent, name)}
    if not queues:
        said(c, "sup.refused")
        return
    waiting = [one for name in sorted(queues) for one in c.desk.floor.waiting(name)]
    c.record("code", c.s.a, feature="queue_status", waiting=len(waiting))
    longest = c.now - min((one.since for one in waiting), default=c.now)
    said_now = Say("sup.queue", {"n": str(len(waiting)), "m": str(-(-longest // MINUTE))}) if waiting else Say("sup.empty")
    c.say(c.s.a, "done", said_now)
