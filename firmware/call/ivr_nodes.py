"""Nodes of the call graph beside menus: say, input, choose, silent (L1, pure; F1, F4, F8, SIL-01 to SIL-05).

Theory of operation
-------------------
`[ivr.NAME]` is a node, reached as destination `ivr/NAME`. *say* speaks and goes on; *input* takes digits until the end key, the most
digits or a pause, asks again when there are too few, and goes `otherwise` after `tries`; *choose* goes by the caller, the number called,
the line, the language or digits taken before; the longest case wins, a case that begins with = must fit whole.
*silent* carries out one of PROTOCOLS: sentences with listening pauses behind them. The engine tells of speech (`Voice`); so much of it as
`voice_ms`, or a key, and the caller goes on; who stays silent to the end is told so and the call ends. Under protocol D and E speech
counts only once it has paused: noise does not pause. Digits of a node with `secret` are in no record, no recording (it is masked) and no
trace, from the question on; a restarted core hides them again before it hears the next one, as that is part of what the driver keeps.
*callback* and *lookup* are in `ivr_service`, *callback-state* is in `callback_state`.
Each node writes `node` when it is entered, `node-left` when its caller hangs up there: from both the report of where callers leave is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.call import callback_state
from firmware.call import voicemail_actions as vm
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.contact import phase
from firmware.call.ivr_service import begin_callback, begin_lookup, in_callback, in_lookup
from firmware.call.model import Cause, LegDigit, LegEnded, Side
from firmware.call.registry import destination
from firmware.call.state import Phase
from firmware.call.voicemail_state import NodeState
from firmware.config.schema.ivr import Node

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.desk import Input

GREETING = "greeting"
#: (sentence, pause behind it in ms); "greeting" is that of the time of day.
PROTOCOLS: dict[str, tuple[tuple[str, int], ...]] = {
    "A": ((GREETING, 5000), (GREETING, 5000), ("sil.3", 5000)),
    "B": ((GREETING, 3000), ("sil.1", 3000), ("sil.bye", 0)),
    "C": (("sil.1", 5000), ("sil.2", 5000), ("sil.bye", 0)),
    "D": ((GREETING, 5000), ("sil.hear", 5000), ("sil.bye", 0)),
    "E": (("sil.intro", 4000), ("sil.hear", 4000), ("sil.later", 2000)),
}
PAUSED = frozenset("DE")
LONGEST_SPEECH_MS = 6000
PAUSE_MS = 220                  # after which a talk counts as over (dsp/activity.pyx: 200), and two ticks


@destination("ivr")
def enter(c: Contact, name: str) -> None:
    """Begin a node."""
    node = c.desk.config.ivr.get(name)
    if node is None:
        c.record("no-node", node=name)
        c.finish(Cause.SYSTEM, Side.SYSTEM)
        return
    c.quiet(c.s.a)
    c.move(Phase.NODE)
    kept = c.s.node.values if c.s.node is not None else {}
    c.s.node = NodeState(name, values=kept)
    c.record("node", c.s.a, node=name, sort=node.kind, language=c.s.language)
    BEGIN[node.kind](c, node)


def lead_on(c: Contact, to: str) -> None:
    """Leave the node for a destination."""
    from firmware.call.ivr import go

    for name in ("key", "listen"):
        c.stop_timer(name)
    c.secret(False)
    go(c, to)


def value(c: Contact, text: str) -> str:
    """What a variable stands for: $NODE, $caller, $called, $line, $language, $time, $date, or itself."""
    if not text.startswith("$"):
        return text
    name = text[1:]
    if name in ("time", "date"):
        now = c.desk.local(c.now)
        return f"{now.hour:02}:{now.minute:02}" if name == "time" else f"{now.year:04}-{now.month:02}-{now.day:02}"
    known = {"caller": c.s.caller.number, "called": c.s.called, "line": c.s.line.partition("/")[2], "language": c.s.language}
    return known[name] if name in known else (c.s.node.values.get(name, "") if c.s.node is not None else "")


def says(c: Contact, node: Node) -> tuple[Say, ...]:
    """The prompts of a node with their variables."""
    variables = {name: value(c, text) for name, text in node.variables.items()}
    return tuple(Say(prompt, variables) for prompt in node.prompts)


# --- say --------------------------------------------------------------------------------------------------------------


def _begin_say(c: Contact, node: Node) -> None:
    c.s.language = node.language or c.s.language
    if node.prompts:
        c.say(c.s.a, "node", *says(c, node), keys=node.barge_in)
    else:
        lead_on(c, node.to)


def _in_say(c: Contact, node: Node, event: Input, what: str) -> None:
    match event:
        case Played() if not event.digit:
            lead_on(c, node.to)
        case LegDigit() if event.leg == c.s.a:
            # Kept for the menu behind it, which it was meant for.
            c.s.typed += event.digit
            if node.barge_in:
                c.quiet(c.s.a)
                lead_on(c, node.to)


# --- input ------------------------------------------------------------------------------------------------------------


def _begin_input(c: Contact, node: Node) -> None:
    c.s.typed = ""
    c.secret(node.secret)
    _question(c, node)


def _question(c: Contact, node: Node, *, wrong: bool = False) -> None:
    state = c.s.node
    assert state is not None
    c.stop_timer("key")
    state.typed = ""
    if state.tries >= node.tries:
        c.record("node-otherwise", c.s.a, node=state.name)
        lead_on(c, node.otherwise)
        return
    state.tries += 1
    c.say(c.s.a, "node", *((Say("ivr.bad"),) if wrong else ()), *says(c, node), keys=node.barge_in)


def _in_input(c: Contact, node: Node, event: Input, what: str) -> None:
    state = c.s.node
    assert state is not None
    match event:
        case Played() if not event.digit and not state.typed:
            c.timer("key", node.timeout_s * 1000)
        case TimerFired(name="key"):
            _complete(c, node)
        case LegDigit() if event.leg == c.s.a:
            if c.speaking(c.s.a):
                if not node.barge_in:
                    return
                c.quiet(c.s.a)
            if event.digit == node.end_key:
                _complete(c, node)
                return
            if not event.digit.isdigit():
                return
            state.typed += event.digit
            if len(state.typed) >= node.most:
                _complete(c, node)
            else:
                c.timer("key", node.between_s * 1000)


def _complete(c: Contact, node: Node) -> None:
    state = c.s.node
    assert state is not None
    typed = state.typed
    if len(typed) < node.least:
        c.record("input-invalid", c.s.a, node=state.name, digits=len(typed))
        _question(c, node, wrong=bool(typed))
        return
    state.values[state.name] = typed
    c.record("input", c.s.a, node=state.name, digits="*" * len(typed) if node.secret else typed)
    lead_on(c, node.to)


# --- choose -----------------------------------------------------------------------------------------------------------


def choose(node: Node, text: str) -> str:
    """The destination of the case that fits a value best."""
    if "=" + text in node.cases:
        return node.cases["=" + text]
    fitting = [case for case in node.cases if not case.startswith("=") and text.startswith(case)]
    return node.cases[max(fitting, key=len)] if fitting else node.otherwise


def _begin_choose(c: Contact, node: Node) -> None:
    assert c.s.node is not None
    to = choose(node, value(c, node.by if node.by.startswith("$") else f"${node.by}"))
    c.record("chosen", c.s.a, node=c.s.node.name, to=to)
    lead_on(c, to)


# --- silent -----------------------------------------------------------------------------------------------------------


def _begin_silent(c: Contact, node: Node) -> None:
    c.do(vm.Listen(c.s.a, True))
    _sentence(c, node)


def _sentence(c: Contact, node: Node) -> None:
    state = c.s.node
    assert state is not None
    steps = PROTOCOLS[node.protocol]
    if state.step >= len(steps):
        c.do(vm.Listen(c.s.a, False))
        c.record("silent", c.s.a, node=state.name, protocol=node.protocol, sentences=len(steps))
        c.finish(Cause.NORMAL, Side.SYSTEM)
        return
    sentence = steps[state.step][0]
    prompts = c.desk.calendar.greetings(c.desk.local(c.now)) if sentence == GREETING else [sentence]
    c.say(c.s.a, "node", *(Say(prompt) for prompt in prompts), keys=True)


def _in_silent(c: Contact, node: Node, event: Input, what: str) -> None:
    state = c.s.node
    assert state is not None
    match event:
        case LegDigit() if event.leg == c.s.a:
            c.s.typed += event.digit
            _there(c, node, "key")
        case Played() if not event.digit:
            steps = PROTOCOLS[node.protocol]
            pause = steps[min(state.step, len(steps) - 1)][1]
            state.step += 1
            if pause:
                c.timer("listen", node.wait_ms or pause)
            else:
                _sentence(c, node)
        case TimerFired(name="listen"):
            _sentence(c, node)
        case TimerFired(name="voice") if node.protocol not in PAUSED:
            _there(c, node, "voice")
        case vm.Voice() if event.active:
            state.since = event.start
            # The engine tells of the end of a talk this much later: one that still goes on then was long enough.
            c.timer("voice", max(0, node.voice_ms - state.spoke + PAUSE_MS - (event.at - event.start)))
        case vm.Voice():
            c.stop_timer("voice")
            spoke = event.at - event.start
            state.since = -1
            if node.protocol in PAUSED and spoke > LONGEST_SPEECH_MS:
                c.record("noise", c.s.a, ms=spoke)
                return
            state.spoke += spoke
            if state.spoke >= node.voice_ms:
                _there(c, node, "voice")


def _there(c: Contact, node: Node, how: str) -> None:
    """Somebody is there."""
    assert c.s.node is not None
    c.stop_timer("voice")
    c.quiet(c.s.a)
    c.do(vm.Listen(c.s.a, False))
    c.record("not-silent", c.s.a, node=c.s.node.name, how=how, sentences=c.s.node.step)
    lead_on(c, node.to)


BEGIN = {
    "say": _begin_say, "input": _begin_input, "choose": _begin_choose, "silent": _begin_silent, "callback": begin_callback,
    "lookup": begin_lookup, "callback-state": callback_state.begin,
}  # fmt: skip
INSIDE = {"say": _in_say, "input": _in_input, "silent": _in_silent, "callback": in_callback, "lookup": in_lookup,
          "callback-state": callback_state.within}  # fmt: skip


@phase(Phase.NODE)
def within(c: Contact, event: Input, what: str) -> None:
    """NODE: a node of the call graph."""
    state = c.s.node
    node = c.desk.config.ivr.get(state.name) if state is not None else None
    match event:
        case LegEnded() if event.leg == c.s.a:
            c.record("node-left", c.s.a, node=state.name if state is not None else "", step=state.step if state is not None else 0)
            c.gone(event, Cause.ABANDONED)
        case _ if node is None or node.kind not in INSIDE:
            c.finish(Cause.SYSTEM, Side.SYSTEM)
        case _:
            INSIDE[node.kind](c, node, event, what)
