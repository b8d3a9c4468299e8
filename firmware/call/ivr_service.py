"""Nodes of the call graph that lead to people or data elsewhere: callback and lookup (L1, pure; F1, M6, CBK-04, SYS-04).

Theory of operation
-------------------
*callback* promises a call from a queue to a caller who is not in it: after hours, or as a key of a menu. His number is confirmed and a time
may be named just as in a queue (`callback.py`); his wait begins when the queue opens, and that is the time he is told. It goes `otherwise`
where no more requests are taken, where nobody is at work and no opening hours say when somebody will be, or when the caller lets it be.
*lookup* asks a service of the centre or of the customer register: the values of `ask` go out as JSON, texts come back and are values of the
graph: `$NODE` is the one called "value", `$NODE.name` any other. The question is put by another process (`app/lookups.py`); nothing of a
call waits for it but this caller, who hears the prompts and then music, and goes `otherwise` after `wait_s` whatever happens to the
network, the service or that process. An answer that comes later finds nobody. What was asked and answered is in no record, only which
node, how long and whether it went well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.call import callback
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.lookup_actions import LookedUp, LookUp
from firmware.call.model import LegDigit
from firmware.config.schema.ivr import Node

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.desk import Input

VALUE = "value"


def _on(c: Contact, to: str) -> None:
    from firmware.call.ivr_nodes import lead_on

    c.stop_timer("lookup")
    c.quiet(c.s.a)
    lead_on(c, to)


# --- callback ---------------------------------------------------------------------------------------------------------


def begin_callback(c: Contact, node: Node) -> None:
    """Offer it, or say at once that it cannot be."""
    queue = c.desk.config.queues.get(node.queue)
    c.s.visit.stage = ""
    why = ""
    if queue is None or not callback.may_ask(c, queue):
        why = "no more are taken"
    elif callback.opens_ms(c, queue) < 0:
        why = "nobody is at work"
    if why or queue is None:
        c.record("callback-not-offered", c.s.a, queue=node.queue, why=why)
        _on(c, node.otherwise)
    elif node.prompts:
        c.say(c.s.a, "node", *_says(c, node), keys=True)
    else:
        callback.ask(c, queue)


def in_callback(c: Contact, node: Node, event: Input, what: str) -> None:
    """The number, and a time where that is asked."""
    queue = c.desk.config.queues.get(node.queue)
    match event:
        case _ if queue is None:
            _on(c, node.otherwise)
        case Played() if what == "callback":
            callback.heard(c)
        case Played() if what == "node" and not c.s.visit.stage:
            callback.ask(c, queue)
        case LegDigit() if event.leg == c.s.a and c.s.visit.stage:
            callback.wish(c, queue, event.digit)
        case TimerFired(name="callback"):
            callback.wished(c)


def declined(c: Contact) -> None:
    """The caller did not go on with it."""
    node = c.desk.config.ivr.get(c.s.node.name) if c.s.node is not None else None
    c.record("callback-declined", c.s.a)
    _on(c, node.otherwise if node is not None else "hangup")


# --- lookup -----------------------------------------------------------------------------------------------------------


def _says(c: Contact, node: Node) -> tuple[Say, ...]:
    from firmware.call.ivr_nodes import says

    return says(c, node)


def begin_lookup(c: Contact, node: Node) -> None:
    """Put the question; the caller waits for `wait_s` at most."""
    from firmware.call.ivr_nodes import value

    state = c.s.node
    assert state is not None
    state.token, state.asked, state.answer = c.desk.token(), c.now, None
    c.do(LookUp(c.s.a, state.token, state.name, {name: value(c, text) for name, text in node.ask.items()}))
    c.timer("lookup", node.wait_s * 1000)
    if node.prompts:
        c.say(c.s.a, "node", *_says(c, node))
    else:
        c.music(c.s.a)


def in_lookup(c: Contact, node: Node, event: Input, what: str) -> None:
    """The answer, or the end of the time for it; words that have begun are said to their end."""
    state = c.s.node
    assert state is not None
    match event:
        case LegDigit() if event.leg == c.s.a:
            c.s.typed += event.digit             # meant for the menu behind it
        case LookedUp() if event.token == state.token and state.answer is None:
            state.answer = event.ok
            c.stop_timer("lookup")
            c.record("lookup", c.s.a, node=state.name, ok=event.ok, why=event.why, ms=c.now - state.asked)
            for name, text in event.values.items() if event.ok else ():
                state.values[state.name if name == VALUE else f"{state.name}.{name}"] = text
            if not c.speaking(c.s.a):
                _answered(c, node)
        case Played() if what == "node" and state.answer is not None:
            _answered(c, node)
        case Played() if what == "node":
            c.music(c.s.a)
        case TimerFired(name="lookup"):
            state.token, state.answer = 0, False
            c.record("lookup", c.s.a, node=state.name, ok=False, why="no answer in time", ms=c.now - state.asked)
            _answered(c, node)


def _answered(c: Contact, node: Node) -> None:
    assert c.s.node is not None
    _on(c, node.to if c.s.node.answer else node.otherwise)
