"""Hearing recorded calls again by telephone: an agent his own, a shift leader those of his agents (L1, pure; SPC-11, I2).

Theory of operation
-------------------
The code, dialled where an agent is logged in, opens the list of the calls that he took part in and that are recorded, the latest first:
when, with which number, the recording. From a telephone that supervises, an agent number behind the code, or keyed after * or where no
agent is logged in, opens those of that agent: all of them where he serves a queue that the telephone supervises, else those of such
queues. Everybody else is refused, and the refusal is in the history. Keys, from the first word on:
1 again, 2 next, 3 the one before, 4 and 6 a quarter of a minute back and on, 0 the keys, * another agent, # end.
A recording is played in parts of PART_MS, as only what is heard now is unsealed, in memory (`core/replay.py`). Each listening is one line
of the access log, which names the telephone and who is logged in there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.call import voicemail_actions as vm
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.mailbox import ask_keys, bye, day_of
from firmware.call.model import LegDigit
from firmware.call.registry import code
from firmware.call.rules import rule
from firmware.call.state import Phase, Play
from firmware.call.voicemail_state import MailState, Replay

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.desk import Input

ROLE = "replay"
PART_MS = 30_000
JUMP_MS = 15_000
MOST_CALLS = 20


@code("replay")
def from_phone(c: Contact) -> None:
    """The code was dialled, with an agent's number behind it or nothing."""
    number, c.s.typed = c.s.typed.removesuffix("#"), ""
    own = c.desk.floor.on_phone(c.s.extension)
    known = c.desk.config.extensions.get(c.s.extension)
    c.move(Phase.MAIL)
    by = f"extension {c.s.extension}" + (f", agent {own.agent}" if own is not None else "")
    c.s.mail = MailState("", ROLE, "agent", replay=Replay(by))
    if own is not None and number in ("", own.agent):
        _find(c, own.agent, ())
    elif number:
        _of(c, number)
    elif known is not None and known.supervises:
        ask_keys(c, "agent", Say("sup.ask"))
    else:
        _refuse(c, "agent.unknown", "no agent is logged in")


def _of(c: Contact, number: str) -> None:
    """A shift leader asks for the calls of an agent."""
    agent = c.desk.config.agents.get(number)
    known = c.desk.config.extensions.get(c.s.extension)
    queues = set(known.supervises) if known is not None else set()
    if agent is None or not queues:
        _refuse(c, "sup.refused", f"agent {number}")
    else:
        _find(c, number, () if "*" in queues or queues & set(agent.queues) else tuple(sorted(queues)))


def _refuse(c: Contact, prompt: str, why: str) -> None:
    c.record("replay-refused", c.s.a, by=c.s.extension, reason=why)
    bye(c, prompt)


def _find(c: Contact, agent: str, queues: tuple[str, ...]) -> None:
    mail, replay = _state(c)
    mail.stage, mail.token = "finding", c.desk.token()
    c.stop_timer("key")
    c.record("replay-list", c.s.a, agent=agent, by=c.s.extension)
    c.do(vm.FindRecordings(c.s.a, mail.token, agent, queues, replay.by, MOST_CALLS))
    c.timer("finding", rule("replay.find"))


def _state(c: Contact) -> tuple[MailState, Replay]:
    assert c.s.mail is not None and c.s.mail.replay is not None
    return c.s.mail, c.s.mail.replay


# --- one recording after the other ------------------------------------------------------------------------------------


def _call(c: Contact, index: int) -> None:
    """Tell which call it is; then it is played."""
    mail, replay = _state(c)
    replay.index = min(max(index, 0), len(replay.calls))
    replay.at_ms, replay.heard, replay.began = 0, False, -1
    if replay.index == len(replay.calls):
        mail.stage = "end"
        c.say(c.s.a, "end", Say("rp.end"), keys=True)
        return
    mail.stage = "call"
    one = replay.calls[replay.index]
    party = Say("call.with", {"digits": one.number}) if one.number else Say("call.with.unknown")
    c.say(c.s.a, "told", day_of(c, one.at, "call.at"), party, keys=True)


def _part(c: Contact, at_ms: int) -> None:
    """Play from here on; the first part of a listening is what the access log has."""
    mail, replay = _state(c)
    one = replay.calls[replay.index]
    replay.at_ms, replay.began = max(0, at_ms), c.now
    if replay.at_ms >= one.length:
        replay.began = -1
        c.say(c.s.a, "keys", Say("rp.keys"), keys=True)
        return
    if not replay.heard:
        c.record("replayed", c.s.a, recording=one.path, contact=one.contact, by=c.s.extension)
    mail.token = c.desk.token()
    c.s.plays[c.s.a] = Play(mail.token, "part")
    c.do(vm.PlayRecording(c.s.a, mail.token, one.path, replay.at_ms, PART_MS, replay.by, not replay.heard))
    replay.heard = True
    c.timer(f"play:{c.s.a}", rule("guard.prompt") + PART_MS)


def hearing(c: Contact, event: Input, what: str) -> None:
    """Inputs of MAIL while recordings are heard."""
    mail, replay = _state(c)
    match event:
        case vm.RecordingsFound() if event.token == mail.token and mail.stage == "finding":
            c.stop_timer("finding")
            replay.calls = list(event.calls)
            if not replay.calls:
                bye(c, "rp.none")
            else:
                mail.stage = "call"
                c.say(c.s.a, "found", Say("rp.found", {"n": str(len(replay.calls))}), keys=True)
        case vm.Unplayable() if event.token == mail.token and mail.stage == "call":
            c.quiet(c.s.a)
            replay.began = -1
            c.record("replay-failed", c.s.a, reason=event.reason)
            c.say(c.s.a, "gone", Say("rp.gone"), keys=True)
        case TimerFired(name="finding"):
            bye(c, "vm.sorry")
        case Played() if event.digit:
            pass                             # the key itself is on its way
        case Played() if what == "found":
            _call(c, 0)
        case Played() if what == "told":
            _part(c, 0)
        case Played() if what == "part":
            _part(c, replay.at_ms + PART_MS)
        case Played() if what == "gone":
            _call(c, replay.index + 1)
        case Played():
            c.timer("key", rule("mail.key"))
        case TimerFired(name="key"):
            _idle(c)
        case LegDigit() if event.leg == c.s.a and mail.stage in ("agent", "call", "end"):
            mail.idle = 0
            c.stop_timer("key")
            at_ms = replay.at_ms + (c.now - replay.began if replay.began >= 0 else 0)
            c.quiet(c.s.a)
            if mail.stage == "agent":
                _agent_key(c, event.digit)
            else:
                _key(c, event.digit, at_ms)


def _idle(c: Contact) -> None:
    """No key for a while: said once more, then good-bye."""
    mail, _ = _state(c)
    mail.idle += 1
    if mail.stage == "agent" and mail.typed:
        _of(c, mail.typed)
    elif mail.idle >= rule("mail.tries"):
        bye(c, "vm.ended")
    elif mail.stage == "agent":
        ask_keys(c, "agent", Say("sup.ask"))
    else:
        c.say(c.s.a, "keys", Say("rp.end" if mail.stage == "end" else "rp.keys"), keys=True)


def _agent_key(c: Contact, digit: str) -> None:
    mail, _ = _state(c)
    if digit == "#":
        _of(c, mail.typed)
    elif digit.isdigit() and len(mail.typed) < 16:
        mail.typed += digit
        c.timer("key", rule("mail.key"))


def _key(c: Contact, digit: str, at_ms: int) -> None:
    mail, replay = _state(c)
    index = replay.index
    known = c.desk.config.extensions.get(c.s.extension)
    if digit == "#":
        bye(c, "vm.ended")
    elif digit == "*" and known is not None and known.supervises:
        replay.calls, replay.index, replay.began = [], -1, -1
        ask_keys(c, "agent", Say("sup.ask"))
    elif mail.stage == "end":
        _call(c, len(replay.calls) - 1 if digit == "3" else 0 if digit == "1" else len(replay.calls))
    elif digit in ("1", "2", "3"):
        _call(c, max(index, 0) + {"1": 0, "2": 1, "3": -1}[digit])
    elif digit in ("4", "6") and index >= 0:
        _part(c, at_ms + (JUMP_MS if digit == "6" else -JUMP_MS))
    else:
        c.say(c.s.a, "keys", Say("rp.keys"), keys=True)
