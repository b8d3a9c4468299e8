"""Account codes: a call on somebody's own account and with that person's rights, from any telephone (L1, pure; E2).

Theory of operation
-------------------
The code is answered and asks for the PIN, then for the number; `[accounts.NAME]` says how far that person may dial, and routes with
`account` are open to such calls only. Wrong PINs of a telephone are counted by the guard of message boxes (`call/mailroom.py`): after a
series it takes no PIN from there for a while, the right one included. Emergency numbers are reached all the same.
Invariants: a PIN stands in no record, and not in what was dialled; every PIN is compared, so the time tells nothing.
"""

from __future__ import annotations

import hmac

from firmware.call.actions import Say
from firmware.call.codes import ask, said
from firmware.call.contact import Contact
from firmware.call.dialling import attempt_for, dial
from firmware.call.registry import code
from firmware.call.routing import ToEmergency, ToExtension
from firmware.call.rules import rule
from firmware.call.state import Kind

_MOST_KEYS = 40
_NUMBER = "number/"


def _key(c: Contact, digit: str) -> None:
    c.s.typed = (c.s.typed + digit)[-_MOST_KEYS:]
    _on(c, whole=False)


@code("account", keys=_key)
def _account(c: Contact) -> None:
    _on(c, whole=True)


def _on(c: Contact, *, whole: bool) -> None:
    """Go on with the keys there are. `whole`: they were dialled in one go, nothing more is awaited behind a number."""
    if not c.s.wanted.startswith(_NUMBER):
        pin, ended, rest = c.s.typed.partition("#")
        if not ended:
            if not c.s.wanted:
                c.s.wanted = "pin"
                c.hide_keys(True)
                ask(c, Say("agent.ask.pin"))
            else:
                c.timer("key", rule("code.wait"))
            return
        c.s.typed = rest
        if not _opened(c, pin):
            return
    number, ended, _ = c.s.typed.partition("#")
    if number and (ended or whole):
        _call(c, c.s.wanted.removeprefix(_NUMBER), number)
    elif c.s.typed:
        c.timer("key", rule("code.wait"))
    else:
        ask(c, Say("q.cb.key"))


def _opened(c: Contact, pin: str) -> bool:
    """Whether the PIN is an account's; a wrong one is asked for again, not for ever."""
    room, guard, now = c.desk.mail, f"/account/{c.s.extension}", c.desk.wall(c.now)
    found = [name for name, one in c.desk.config.accounts.items() if hmac.compare_digest(one.pin.encode(), pin.encode())]
    if found and not room.closed(guard, now):
        c.s.wanted = _NUMBER + found[0]
        c.hide_keys(False)
        c.record("account", c.s.a, account=found[0])
        return True
    if not room.closed(guard, now):
        room.opens(c.desk.config, guard, "", now)
    c.s.typed = ""
    c.s.tries += 1
    if c.s.tries >= rule("code.tries") or room.closed(guard, now):
        said(c, "num.refused")
    else:
        c.record("account", c.s.a, account="")
        ask(c, Say("vm.bad.pin"), Say("agent.ask.pin"))
    return False


def _call(c: Contact, account: str, number: str) -> None:
    known = c.desk.config.accounts.get(account)
    target = c.desk.routing.by_account(number, known.permission) if known is not None else None
    attempt = attempt_for(c, target, "dial") if target is not None else None
    if attempt is None:
        c.record("refused", number=number, reason=f"account {account} does not reach it")
        said(c, "num.refused")
        return
    c.s.kind = Kind.EMERGENCY if isinstance(target, ToEmergency) else Kind.INTERNAL if isinstance(target, ToExtension) else Kind.OUTBOUND
    c.s.called = number
    attempt.account = account
    dial(c, attempt)
