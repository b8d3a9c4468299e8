"""What calls to outside cost: the price, whose it is, and what the history says where nobody knows it (O8)."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.call import actions as do
from firmware.call.cost import currency, price
from firmware.call.model import Cause, Evidence, LegAnswered, LegEnded, LegForwarded
from firmware.call.money import exact, millionths, shown
from firmware.config.model import check
from firmware.config.schema.calls import OutboundRoute
from firmware.config.schema.dialplan import Account
from firmware.config.schema.people import Extension
from firmware.config.schema.ports import LineGroup, Ports
from firmware.config.schema.system import Site
from firmware.config.schema.tariffs import Tariff
from firmware.config.schema.tree import Config
from firmware.config.schema.trunks import Trunk
from tests.unit.call_stage import Phone, Stage, config

MINUTE = Tariff(price="0.11")
LOCAL = Tariff(setup="0.22", included_s=180, price="0.11")


@pytest.mark.parametrize(
    ("tariff", "ms", "wanted"),
    [
        (MINUTE, 0, "0.11"), (MINUTE, 1, "0.11"), (MINUTE, 60_000, "0.11"), (MINUTE, 60_001, "0.22"),
        (LOCAL, 0, "0.22"), (LOCAL, 180_000, "0.22"), (LOCAL, 180_001, "0.33"), (LOCAL, 240_000, "0.33"), (LOCAL, 240_001, "0.44"),
        (Tariff(price="0.0065", unit_s=1, setup="0.05"), 61_200, "0.453"), (Tariff(price="0"), 3_600_000, "0"),
        (Tariff(price="0.000001", unit_s=1), 86_400_000, "0.0864"), (Tariff(price="999999.999999", unit_s=1), 2000, "1999999.999998"),
    ],
)  # fmt: skip
def test_each_started_unit_is_charged(tariff: Tariff, ms: int, wanted: str) -> None:
    assert price(tariff, ms) == Decimal(wanted).scaleb(6)


PRICES = st.decimals(0, 9999, places=6, allow_nan=False, allow_infinity=False).map(lambda value: f"{value:f}")


@given(PRICES, PRICES, st.integers(1, 3600), st.integers(0, 3600), st.integers(1, 90_000_000))
def test_money_is_exact(charge: str, setup: str, unit: int, included: int, ms: int) -> None:
    """Worked out once more with decimal numbers."""
    units = max(Decimal(0), ((Decimal(ms) / 1000 - included) / unit).to_integral_value(ROUND_CEILING))
    wanted = Decimal(setup) + units * Decimal(charge)
    found = price(Tariff(price=charge, setup=setup, unit_s=unit, included_s=included), ms)
    assert found == wanted.scaleb(6) and Decimal(exact(found, "EUR")) == wanted and millionths(exact(found, "EUR")) == found
    coin = wanted.quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert shown(found, "EUR") == f"{coin} EUR" and shown(found, "JPY") == f"{wanted.quantize(Decimal(1), ROUND_HALF_UP)} JPY"
    assert shown(found, "KWD") == f"{wanted.quantize(Decimal('0.001'), ROUND_HALF_UP)} KWD"


def test_amounts_are_written_as_people_write_them() -> None:
    assert [exact(330_000, "CNY"), exact(6500, "EUR"), exact(5_000_000, "EUR"), exact(5_000_000, "JPY")] == ["0.33", "0.0065", "5.00", "5"]
    assert [shown(5000, "EUR"), shown(4999, "EUR"), shown(499_999, "JPY")] == ["0.01 EUR", "0.00 EUR", "0 JPY"]


def test_the_currency_is_the_countrys_unless_the_site_says_another() -> None:
    assert [currency(Config(site=Site(country=country))) for country in ("CN", "US", "UK", "DE", "FR", "AU")] == [
        "CNY", "USD", "GBP", "EUR", "EUR", "AUD"]  # fmt: skip
    assert currency(Config(site=Site(currency="CHF"))) == "CHF"


# --- calls ------------------------------------------------------------------------------------------------------------


def stage(*, restart: bool = False, **changes: Any) -> Stage:
    """Line 4 is of a group with a tariff, trunk "a" has one, trunk "b" none."""
    ports: Ports = config().ports
    fxo = ports.fxo | {"4": msgspec.structs.replace(ports.fxo["4"], group="mobile")}
    base: dict[str, Any] = {
        "ports": msgspec.structs.replace(ports, fxo=fxo, groups={"mobile": LineGroup(tariff="mobile")}),
        "trunks": {"a": Trunk(domain="a.example", kind="static", tariff="carrier"), "b": Trunk(domain="b.example", kind="static")},
        "extensions": {str(200 + n): Extension(kind="sip", permission="international") for n in (1, 2, 3)}
        | {"101": Extension(kind="fxs", jack="1")},
        "tariffs": {"local": LOCAL, "mobile": Tariff(price="0.36"), "carrier": Tariff(price="0.07", unit_s=6), "abroad": Tariff(price="2")},
        "outbound": [
            OutboundRoute(pattern="00.", permission="international", trunks=["a"], group="", tariff="abroad"),
            OutboundRoute(pattern="1.", group="mobile"),
            OutboundRoute(pattern="2.", tariff="local"),
            OutboundRoute(pattern="3.", trunks=["a"], group=""),
            OutboundRoute(pattern="4.", trunks=["b"]),
        ],
    }  # fmt: skip
    return Stage(config(**(base | changes)), restart=restart)


def costs(one: Stage) -> list[dict[str, Any]]:
    return [action.data for _, _, action in one.done if isinstance(action, do.Record) and action.kind == "cost"]


def talk(one: Stage, extension: str, number: str, ms: int) -> None:
    """Dial, talk for so long after the answer, hang up."""
    leg = one.dial(extension, number)
    one.run(10_000)
    answered = next(found.answered for found in one.state(leg).legs.values() if found.id != leg and found.answered >= 0)
    one.run(ms - (one.now - answered) - 30)                  # the stage takes 30 ms to end a leg
    one.leave(leg)
    one.run(5000)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("number", "way", "tariff", "ms", "amount"),
    [
        ("9255", "line/1", "local", 180_000, "0.22"), ("9255", "line/1", "local", 180_001, "0.33"),
        ("9139", "line/4", "mobile", 61_000, "0.72"), ("93055", "trunk/a", "carrier", 61_000, "0.77"),
        ("90049", "trunk/a", "abroad", 61_000, "4.00"), ("9455", "trunk/b", "", 61_000, "unknown"),
    ],
)  # fmt: skip
def test_the_route_names_the_tariff_else_the_trunk_or_the_group_of_the_line(
    number: str, way: str, tariff: str, ms: int, amount: str, *, restart: bool
) -> None:
    one = stage(restart=restart)
    talk(one, "201", number, ms)
    assert costs(one) == [{"by": "201", "way": way, "tariff": tariff, "ms": ms, "amount": amount, "currency": "CNY", "estimated": False}]
    one.at_rest()


def test_nobody_who_did_not_answer_nobody_who_called_us_and_no_site_without_tariffs_is_charged() -> None:
    one = stage()
    one.phones["line/1"] = Phone(answer_ms=-1)
    leg = one.dial("201", "9255")
    one.run(20_000)
    one.leave(leg)
    caller = one.ring_in("line/3")
    one.run(60_000)
    one.leave(caller)
    one.run(5000)
    assert costs(one) == []
    free = stage(tariffs={}, ports=config().ports, trunks={}, outbound=[OutboundRoute()])
    talk(free, "201", "9255", 60_000)
    assert costs(free) == []


def test_an_answer_that_was_assumed_makes_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    one = stage()
    give = one.give
    monkeypatch.setattr(one, "give", lambda event: give(
        msgspec.structs.replace(event, evidence=Evidence("timer", 0.3)) if isinstance(event, LegAnswered) else event))  # fmt: skip
    talk(one, "201", "9255", 60_000)
    assert [(found["amount"], found["estimated"]) for found in costs(one)] == [("0.22", True)]


def test_emergency_calls_are_told_apart() -> None:
    one = stage()
    talk(one, "201", "110", 60_000)
    assert [found["amount"] for found in costs(one)] == ["emergency"]


def test_an_account_pays_from_any_telephone() -> None:
    one = stage(accounts={"anna": Account(pin="483926")})
    leg = one.dial("201", "*59")
    one.run(1000)
    one.press(leg, "483926#")
    one.run(2500)
    one.press(leg, "9255#")
    one.run(20_000)
    one.leave(leg)
    one.run(5000)
    assert [(found["by"], found["account"], found["amount"]) for found in costs(one)] == [("201", "anna", "0.22")]


def test_who_sends_a_call_on_pays_for_it() -> None:
    one = stage()
    one.phones["202"] = Phone(answer_ms=-1)
    leg = one.dial("201", "202")
    one.run(300)
    one.give(LegForwarded(one.leg_at("202"), one.now, "9255"))
    one.give(LegEnded(one.leg_at("202"), one.now, Cause.REJECTED, Evidence("sip-302"), True))
    del one.legs[one.leg_at("202")]
    one.run(20_000)
    one.leave(leg)
    one.run(5000)
    assert [(found["by"], found["way"]) for found in costs(one)] == [("202", "line/1")]


def test_a_tariff_that_changes_later_changes_nothing_and_one_that_is_gone_holds_for_calls_that_began_with_it() -> None:
    one = stage()
    talk(one, "201", "9255", 60_000)
    before = one.config
    one.board.configure(msgspec.structs.replace(before, tariffs={"local": Tariff(price="9"), "x": MINUTE}), {})
    talk(one, "201", "9255", 60_000)
    assert [found["amount"] for found in costs(one)] == ["0.22", "9.00"]
    leg = one.dial("201", "9255")
    one.run(20_000)
    later = msgspec.structs.replace(one.board.config, tariffs={})
    one.board.configure(later, {}, one.board.config)
    one.leave(leg)
    one.run(5000)
    assert [found["amount"] for found in costs(one)] == ["0.22", "9.00", "9.00"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[[outbound]]\ntariff = "none"', "outbound[0].tariff"), ('[trunks.a]\ndomain = "x"\ntariff = "none"', "trunks.a.tariff"),
        ('[ports.fxo.1]\n[ports.groups.pstn]\ntariff = "none"', "ports.groups.pstn.tariff"),
        ('[tariffs.a]\nprice = "1,5"', "tariffs.a.price"), ("[tariffs.a]\nprice = 0.11", "tariffs.a.price"),
        ('[tariffs.a]\nsetup = "1"', "tariffs.a"), ('[tariffs."a b"]\nprice = "1"', "tariffs.a b"),
        ('[site]\ncurrency = "yuan"', "site.currency"),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, path: str) -> None:
    _, problems = check(text.encode(), file="site.toml")
    assert any(one.path.startswith(path) for one in problems), [one.text() for one in problems]
