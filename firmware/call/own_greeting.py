"""An agent's greeting in his own voice, recorded at his telephone (L1, pure; F5, NUM-01, NUM-03).

Theory of operation
-------------------
The code, dialled where an agent is logged in, leads to: 1 record, 2 hear, 3 the spoken number again, # end; the agent has shown by his
PIN at log-in who he is. Where callers can be led to more than one language, a key chooses first in which one it is: a caller in the
other hears the number. From a telephone that supervises one of his queues, an agent's number behind the code, or keyed where no agent is
logged in, lets a shift leader hear and remove that agent's greeting: no name may be said in it (NUM-03), and only a person can judge that.
What is recorded is a prompt of the site, `<language>/agent.own.<agent>`: it is brought as a file, backed up and removed like those.
It is played at the answer by `call/waiting.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.call import voicemail_actions as vm
from firmware.call.actions import Played, Say, TimerFired
from firmware.call.mailbox import LANGUAGE_KEYS, ask_keys, bye
from firmware.call.mailroom import OWN
from firmware.call.model import LegDigit
from firmware.call.registry import code
from firmware.call.rules import rule
from firmware.call.spoken import spoken
from firmware.call.state import Phase
from firmware.call.voicemail import play_file
from firmware.call.voicemail_state import MailState

if TYPE_CHECKING:
    from firmware.call.contact import Contact
    from firmware.call.desk import Input

ROLE = "agent"
KEYS = "vm.greet.keys"


@code("greeting")
def from_phone(c: Contact) -> None:
    """The code was dialled, with an agent's number behind it or nothing."""
    number, c.s.typed = c.s.typed.removesuffix("#"), ""
    own = c.desk.floor.on_phone(c.s.extension)
    known = c.desk.config.extensions.get(c.s.extension)
    c.move(Phase.MAIL)
    c.s.mail = MailState("", ROLE, "agent")
    if own is not None and number in ("", own.agent):
        _language(c, own.agent)
    elif number:
        _of(c, number)
    elif known is not None and known.supervises and not known.locked:
        ask_keys(c, "agent", Say("sup.ask"))
    else:
        _refuse(c, "agent.unknown", "no agent is logged in")


def _of(c: Contact, number: str) -> None:
    """A shift leader asks for the greeting of an agent."""
    agent = c.desk.config.agents.get(number)
    known = c.desk.config.extensions.get(c.s.extension)
    queues = set(known.supervises) if known is not None and not known.locked else set()
    if agent is None or not queues or not ("*" in queues or queues & set(agent.queues)):
        _refuse(c, "sup.refused", f"agent {number}")
    else:
        _language(c, number)


def _refuse(c: Contact, prompt: str, why: str) -> None:
    c.record("greeting-refused", c.s.a, by=c.s.extension, reason=why)
    bye(c, prompt)


def _language(c: Contact, agent: str) -> None:
    """The agent is known; now the language, where callers hear more than one."""
    mail = _state(c)
    mail.prompt = f"{OWN}{agent}"
    languages = [group for group in spoken(c.desk.config) if "/" not in group]
    if len(languages) > 1:
        ask_keys(c, "language", Say("vm.ask.language"))
    else:
        _chosen(c, languages[0])


def _chosen(c: Contact, language: str) -> None:
    mail = _state(c)
    mail.prompt = f"{language}/{mail.prompt}"
    c.record("own-greeting", c.s.a, prompt=mail.prompt, by=c.s.extension)
    _menu(c)


def _menu(c: Contact, *before: Say) -> None:
    _state(c).stage = "keys"
    c.say(c.s.a, "keys", *before, Say(KEYS), keys=True)


def _state(c: Contact) -> MailState:
    assert c.s.mail is not None
    return c.s.mail


def _named(c: Contact) -> tuple[str, str]:
    """Language and agent of the greeting that this is about."""
    language, _, name = _state(c).prompt.partition("/")
    return language, name.removeprefix(OWN)


def choosing(c: Contact, event: Input, what: str) -> None:
    """Inputs of MAIL that belong to no take."""
    mail = _state(c)
    match event:
        case Played() if event.digit:
            pass                             # the key itself is on its way
        case Played():
            c.timer("key", rule("mail.key"))
        case TimerFired(name="key"):
            _idle(c)
        case LegDigit() if event.leg == c.s.a and mail.stage in ("agent", "language", "keys"):
            mail.idle = 0
            c.quiet(c.s.a)
            c.stop_timer("key")
            if mail.stage == "agent":
                _agent_key(c, event.digit)
            elif mail.stage == "keys":
                _key(c, event.digit)
            elif event.digit in LANGUAGE_KEYS:
                _chosen(c, LANGUAGE_KEYS[event.digit])
            else:
                ask_keys(c, "language", Say("vm.ask.language"))


def _idle(c: Contact) -> None:
    """No key for a while: asked once more, then good-bye."""
    mail = _state(c)
    mail.idle += 1
    if mail.stage == "agent" and mail.typed:
        _of(c, mail.typed)
    elif mail.idle >= rule("mail.tries"):
        bye(c, "vm.ended")
    elif mail.stage == "keys":
        _menu(c)
    else:
        ask_keys(c, mail.stage, Say("sup.ask" if mail.stage == "agent" else "vm.ask.language"))


def _agent_key(c: Contact, digit: str) -> None:
    mail = _state(c)
    if digit == "#":
        _of(c, mail.typed)
        return
    if digit.isdigit() and len(mail.typed) < 16:
        mail.typed += digit
    c.timer("key", rule("mail.key"))


def _key(c: Contact, digit: str) -> None:
    mail, room = _state(c), c.desk.mail
    language, agent = _named(c)
    own = c.desk.floor.on_phone(c.s.extension)
    if digit == "1" and (own is None or own.agent != agent):
        _menu(c, Say("sup.refused"))         # a voice that is not his
    elif digit == "1" and room.refused:
        c.record("take-refused", c.s.a, name=mail.prompt, reason=room.refused)
        bye(c, "vm.sorry")
    elif digit == "1":
        mail.stage = "greet"
        c.say(c.s.a, "greet", Say("vm.greet.start"), keys=True)
    elif digit == "2" and (file := room.own_file(language, agent)):
        play_file(c, "keys", file, length=rule("greeting.own"), after=(Say(KEYS),), without=(number_of(c, agent),))
    elif digit == "2":
        _menu(c, number_of(c, agent))
    elif digit == "3":
        c.record("own-greeting-removed", c.s.a, prompt=mail.prompt, by=c.s.extension)
        room.own.discard(f"{language}/{agent}")
        c.do(vm.PromptRemoved(mail.prompt))
        _menu(c, Say("vm.greet.standard"))
    elif digit in "*#":
        bye(c, "vm.ended")
    else:
        _menu(c)


def kept(c: Contact) -> None:
    """The greeting was accepted: said, and on with the keys."""
    mail = _state(c)
    mail.asked = mail.tries = mail.idle = 0
    _menu(c, Say("vm.greet.kept"))


def number_of(c: Contact, agent: str) -> Say:
    """The spoken number of an agent (NUM-01); a trainee is called one (GRT-08)."""
    known = c.desk.config.agents.get(agent)
    return Say("agent.trainee" if known is not None and known.trainee else "agent.id", {"digits": agent})
