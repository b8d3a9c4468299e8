"""Account codes: whose PIN reaches what, that no record holds a PIN, and that guessing ends (E2)."""

from __future__ import annotations

import msgspec
import pytest

from firmware.call import actions as do
from firmware.config.model import check
from firmware.config.schema.calls import OutboundRoute
from firmware.config.schema.dialplan import Account
from firmware.config.schema.people import Extension
from tests.unit.call_stage import Phone, Stage, config

PIN = "483926"


def stage(*, restart: bool = False, locked: bool = False) -> Stage:
    conf = config(
        accounts={"anna": Account(pin=PIN, permission="national"), "bo": Account(pin="7160538", permission="local")},
        outbound=[
            OutboundRoute(pattern="0.", permission="national"), OutboundRoute(pattern="2.", account=True), OutboundRoute(pattern="N."),
        ],
    )  # fmt: skip
    conf = msgspec.structs.replace(conf, extensions=conf.extensions | {"201": Extension(kind="sip", locked=locked, permission="internal")})
    made = Stage(conf, restart=restart)
    for line in (1, 2, 3, 4):
        made.phones[f"line/{line}"] = Phone(answer_ms=2000)
    return made


def dialled(one: Stage) -> list[str]:
    return [action.number for _, _, action in one.done if isinstance(action, do.OriginateLeg)]


def written(one: Stage) -> str:
    """All that goes into records, logs of queues and screens."""
    kept = (do.Record, do.QueueLog, do.Notify)
    return " ".join(str(action) for _, _, action in one.done if isinstance(action, kept)) + str(list(one.closed.values()))


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("locked", [False, True])
def test_pin_opens_what_the_telephone_may_not_dial(restart: bool, locked: bool) -> None:
    one = stage(restart=restart, locked=locked)
    leg = one.dial("201", "*59")
    one.run(1000)
    one.press(leg, PIN + "#")
    one.run(2500)
    one.press(leg, "90207777#")
    one.run(6000)
    assert dialled(one) == ["0207777"] and one.heard[leg][:2] == ["agent.ask.pin", "q.cb.key"]
    one.leave(leg)
    one.run(5000)
    state = one.only()
    assert (state.called, state.kind.value) == ("90207777", "outbound")
    assert PIN not in written(one) and "anna" in written(one)
    one.at_rest()


def test_all_in_one_go_and_nothing_of_the_pin_is_kept() -> None:
    one = stage()
    leg = one.dial("201", f"*59{PIN}#9255")
    assert one.state(leg).called == "*59"
    one.run(6000)
    assert dialled(one) == ["255"]
    one.leave(leg)
    one.run(5000)
    assert PIN not in written(one)


@pytest.mark.parametrize(("pin", "number", "reached"), [("7160538", "9255", ["255"]), ("7160538", "90207777", []), (PIN, "110", ["110"])])
def test_account_has_its_own_class(pin: str, number: str, reached: list[str]) -> None:
    one = stage()
    leg = one.dial("202", "*59")
    one.run(1000)
    one.press(leg, f"{pin}#{number}#")
    one.run(3000)
    assert dialled(one) == reached and ("num.refused" in one.heard[leg]) == (not reached)


def test_route_with_account_is_closed_to_everybody_else() -> None:
    one = stage()
    assert [row.why for row in one.board.routing.considered_out("101", "9255")] == ["pattern", "account", ""], "the next route has it"
    alone = Stage(config(accounts={"anna": Account(pin=PIN)}, outbound=[OutboundRoute(pattern="2.", account=True)]))
    alone.dial("101", "9255")
    alone.run(500)
    assert not dialled(alone) and "needs an account code" in written(alone)


def test_guessing_ends_and_keeps_the_right_pin_out_for_a_while() -> None:
    one = stage()
    tries = 0
    for _ in range(4):
        leg = one.dial("201", "*59")
        one.run(1000)
        for _ in range(3):
            if leg in one.legs:
                tries += 1
                one.press(leg, "1234#")
                one.run(4500)
        one.run(10_000)
    leg = one.dial("201", "*59")
    one.run(1000)
    one.press(leg, f"{PIN}#9255#")
    one.run(4000)
    assert not dialled(one), "the telephone is closed for a while"
    other = one.dial("202", "*59")
    one.run(1000)
    one.press(other, f"{PIN}#9255#")
    one.run(4000)
    assert dialled(one) == ["255"], "another telephone is not"
    assert tries < 12


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[accounts.a]\npin = "1234"', "accounts.a.pin"), ('[accounts.a]\npin = "12"', "accounts.a.pin"),
        ('[accounts.a]\npin = "48392"\n[accounts.b]\npin = "48392"', "accounts.b.pin"),
        ('[[outbound]]\naccount = true', "outbound[0].account"),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, path: str) -> None:
    _, problems = check(text.encode(), file="site.toml")
    assert path in [one.path for one in problems] and not any("48392" in one.text() for one in problems)
