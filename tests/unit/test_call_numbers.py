"""Numbers between telephones and trunks."""

from __future__ import annotations

import pytest

from firmware.call.numbers import from_network, ruled, to_e164, written
from firmware.config.schema.trunks import NumberRule, Trunk

CHINA = Trunk(domain="x", country_code="86", area_code="10")
US = Trunk(domain="x", country_code="1", national_prefix="1", international_prefix="011")
NONE = Trunk(domain="x")


@pytest.mark.parametrize(
    ("plan", "dialled", "e164"),
    [
        (CHINA, "62345678", "861062345678"), (CHINA, "02162345678", "862162345678"), (CHINA, "0015551234567", "15551234567"),
        (CHINA, "+15551234567", "15551234567"), (CHINA, "10086", ""), (CHINA, "*43", ""), (CHINA, "", ""),
        (US, "15551234567", "15551234567"), (US, "011861062345678", "861062345678"), (NONE, "62345678", ""), (NONE, "+8610", ""),
    ],
)  # fmt: skip
def test_dialled_numbers_are_read_by_the_plan(plan: Trunk, dialled: str, e164: str) -> None:
    assert to_e164(dialled, plan) == e164


@pytest.mark.parametrize(
    ("form", "result"), [("as-dialled", "62345678"), ("+e164", "+861062345678"), ("e164", "861062345678"), ("national", "01062345678")]
)
def test_forms(form: str, result: str) -> None:
    assert written("62345678", CHINA, form) == result
    assert written("10086", CHINA, form) == "10086"


def test_the_first_rule_that_fits_is_applied() -> None:
    rules = [NumberRule(begins="+86", strip=3, prepend="0"), NumberRule(begins="+", strip=1, prepend="00")]
    assert [ruled(one, rules) for one in ("+8610", "+15", "110")] == ["010", "0015", "110"]
    assert ruled("9", [NumberRule(strip=5)]) == "9"


@pytest.mark.parametrize(
    ("told", "shown"),
    [("+861062345678", "01062345678"), ("861062345678", "01062345678"), ("01062345678", "01062345678"), ("+15551234567", "0015551234567"),
     ("62345678", "01062345678"), ("10086", "10086"), ("alice", "alice")],
)  # fmt: skip
def test_numbers_of_a_carrier_can_be_dialled_back(told: str, shown: str) -> None:
    assert from_network(told, CHINA) == shown
    assert from_network(told, NONE) == told
