"""Which line is taken, how often a number may be tried, who gets a clear channel, and what a site may change in a profile."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.call.model import Alert, Cause, LegAnswered, LegEnded, Party
from firmware.config.country import site_profile
from firmware.config.model import check
from firmware.config.schema.ports import CustomProfile, FxoLine, FxsPhone, LineGroup, Ports
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config
from firmware.core.lines_clear import ClearCalls
from firmware.core.lines_hunt import LineHunt
from firmware.errors import ConfigError
from firmware.hal.countries import fxo_country
from firmware.line.profiles import COUNTRIES, RedialRule, customised, profile, read_profile
from firmware.line.redial import RedialGuard
from tests.unit.test_line_ports import CONFIG
from tests.unit.test_line_ports import Site as Branch

LINES = ["line/1", "line/2", "line/3"]


def hunt(order: str, reserve: int = 0, failed: str = "") -> LineHunt:
    config = Config(ports=Ports(groups={"pstn": LineGroup(order=order, reserve=reserve)}))  # type: ignore[arg-type]
    idle = {"line/1": 500, "line/2": 100, "line/3": 300}
    return LineHunt(config, lambda line: idle[line], lambda line: line == failed)


def test_orders_of_a_group() -> None:
    assert hunt("first-last").order("pstn", LINES) == LINES
    assert hunt("last-first").order("pstn", LINES) == LINES[::-1]
    assert hunt("longest-idle").order("pstn", LINES) == ["line/2", "line/3", "line/1"]
    turns = hunt("round-robin")
    turns.taken("pstn", "line/2")
    assert turns.order("pstn", LINES) == ["line/3", "line/1", "line/2"]
    assert hunt("first-last", failed="line/1").order("pstn", LINES) == ["line/2", "line/3", "line/1"]


@given(st.sampled_from(["first-last", "last-first", "longest-idle", "round-robin"]), st.integers(0, 4), st.integers(0, 3))
def test_reserve_stays_free_but_never_for_an_emergency(order: str, reserve: int, free: int) -> None:
    one = hunt(order, reserve)
    assert len(one.order("pstn", LINES[:free])) == max(0, free - reserve)
    assert sorted(one.order(None, LINES[:free])) == LINES[:free]


# --- repeated attempts ------------------------------------------------------------------------------------------------------

US = profile("US").redial


def fail(guard: RedialGuard, at: int, cause: Cause) -> None:
    guard.ended("5551234", at, cause, dialled=True, answered=False)


def test_two_attempts_then_an_hour_and_fifteen_when_busy() -> None:
    quiet, busy = RedialGuard(US), RedialGuard(US)
    for count in range(2):
        assert quiet.check("5551234", count * 1000, automatic=True) is None
        fail(quiet, count * 1000 + 500, Cause.NO_ANSWER)
    refused = quiet.check("5551234", 60_000, automatic=True)
    assert refused is not None and "2 attempts in a row" in refused.why and refused.cause is Cause.NO_ANSWER
    assert quiet.check("5551234", 1500 + 3_600_000, automatic=True) is None
    for count in range(15):
        assert busy.check("5551234", count * 1000, automatic=True) is None
        fail(busy, count * 1000 + 500, Cause.BUSY)
    assert busy.check("5551234", 60_000, automatic=True) is not None


def test_a_person_may_dial_as_often_as_he_likes_and_other_numbers_are_free() -> None:
    guard = RedialGuard(US)
    for at in range(0, 100_000, 5000):
        assert guard.check("5551234", at) is None
        fail(guard, at + 1000, Cause.BUSY)
    assert guard.check("5559999", 100_000, automatic=True) is None


def test_pauses_grow_as_the_country_says() -> None:
    guard = RedialGuard(profile("FR").redial)
    fail(guard, 0, Cause.BUSY)
    first = guard.check("5551234", 1000, automatic=True)
    assert first is not None and first.until == 120_000
    fail(guard, 200_000, Cause.BUSY)
    second = guard.check("5551234", 200_100, automatic=True)
    assert second is not None and second.until == 440_000


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([Cause.BUSY, Cause.NO_ANSWER, Cause.NORMAL]), st.integers(0, 90_000))))
def test_automatic_attempts_never_exceed_the_rule(steps: list[tuple[str, Cause, int]]) -> None:
    rule = RedialRule(2, 4, (1,), 3600)
    guard, now, row = RedialGuard(rule), 0, {"a": 0, "b": 0}
    for number, cause, wait in steps:
        now += wait
        if guard.check(number, now, automatic=True) is None and now < 3_600_000:
            guard.ended(number, now, cause, dialled=True, answered=cause is Cause.NORMAL)
            row[number] = 0 if cause is Cause.NORMAL else row[number] + 1
            assert row[number] <= rule.busy_attempts


def test_refused_repeat_says_why_and_emergency_is_exempt() -> None:
    site = Branch()
    site.lines._redial["pstn"] = RedialGuard(RedialRule(1, 1, (), 60))
    site.lines._redial["pstn"].ended("123", site.clock.now(), Cause.BUSY, dialled=True, answered=False)
    site.lines.originate("L9", "line/1", number="123", caller=Party(), alert=Alert.NORMAL, ring_ms=30_000, automatic=True)
    ended = site.run(10).all(LegEnded)[-1]
    assert ended.cause is Cause.REFUSED and "rests for another 60 s" in ended.evidence.detail
    site.lines.originate("L10", "line/1", number="123", caller=Party(), alert=Alert.EMERGENCY, ring_ms=30_000, automatic=True)
    site.run(100)
    assert site.row("line/1").leg == "L10"


# --- clear channel ------------------------------------------------------------------------------------------------------------


def test_both_ports_of_a_fax_call_are_clear_and_the_next_call_is_not() -> None:
    cleared: list[str] = []
    calls = ClearCalls(cleared.append)
    calls.partners("phone", ["line"])
    calls.mark("line")
    assert sorted(cleared) == ["line", "phone"]
    calls.talking("phone")
    assert cleared.count("phone") == 2
    calls.ended("line")
    cleared.clear()
    calls.partners("phone", ["other"])
    calls.talking("other")
    assert not cleared


def test_fax_terminal_makes_the_line_clear_too() -> None:
    ports = Ports(fxo={"1": FxoLine(rx_gain_db=3.0)}, fxs={"1": FxsPhone(terminal="fax", rx_gain_db=3.0)})
    config = msgspec.structs.replace(CONFIG, ports=ports)
    site = Branch(config)
    phone = site.row("101").slot
    leg = site.talk_in()
    site.lines.originate("L7", "101", number="101", caller=Party(), alert=Alert.NORMAL, ring_ms=30_000)
    site.lines.partners("L7", [leg])
    site.run(100).fact("RingTrip", phone).run(20).fact("Loop", phone, closed=True, milliamps=20.0).run(50)
    assert site.all(LegAnswered)[-1].leg == "L7"
    assert {port for name, port, _ in site.wire.commands if name == "clear_channel"} == {0, phone}
    opened = next(named for name, port, named in site.wire.commands if name == "open_line" and port == phone)
    assert opened["echo_tail_ms"] == 0 and opened["rx_gain_db"] == 0.0


# --- profiles -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("country", COUNTRIES)
def test_shipped_profiles_name_sources_and_chip_rows_that_exist(country: str) -> None:
    shipped = profile(country)
    assert shipped.approved and fxo_country(shipped.electrical)
    assert all(source for _, _, source in shipped.rows())


def test_changed_profile_is_shown_as_not_approved_and_keeps_emergency_numbers() -> None:
    values = {"flash_ms": "300", "tones/busy/cadence_ms": "[300, 300]", "alert_cadence_ms/queue": "[500, 500]"}
    site = Config(site=Site(country="CN"), ports=Ports(custom=CustomProfile(base="DE", values=values)))
    changed = site_profile(site)
    assert (changed.flash_ms, changed.tone("busy").cadence_ms, changed.tone("dial").freqs_hz) == (300, (300, 300), (425.0,))
    assert changed.emergency == profile("CN").emergency
    assert not changed.approved and "not approved" in changed.rows()[0][1] and "flash_ms" in changed.title


@pytest.mark.parametrize("values", [
    {"flash": "3"}, {"flash_ms": "x"}, {"flash_ms": '"3"'}, {"flash_ms": "0"}, {"emergency": "[]"}, {"country": '"X"'},
    {"tones/busy/cadence_ms": "[1]"},
    {"tones": "[]"}, {"tones/none/level_dbm0": "1.0"}, {"ring_cadence_ms": "[100, 100]"}, {"sources/law": '"me"'},
])  # fmt: skip
def test_what_cannot_be_is_refused_by_the_check(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        customised(profile("CN"), values)
    lines = "\n".join(f"{msgspec.json.encode(name).decode()} = {msgspec.json.encode(text).decode()}" for name, text in values.items())
    assert any(problem.path == "ports.custom.values" for problem in check(f"[ports.custom.values]\n{lines}".encode(), file="x")[1])


def test_profile_file_that_is_none_is_refused() -> None:
    for bad in (b"\xff", b"country = ", b'country = "CN"'):
        with pytest.raises(ConfigError):
            read_profile(bad)


def test_groups_are_checked() -> None:
    text = '[ports.fxo.1]\n[ports.groups.pstn]\nreserve = 1\n[ports.groups.other]\n[ports.fxs.1]\nhotline = "201"\n'
    paths = {problem.path for problem in check(text.encode(), file="x")[1]}
    assert {"ports.groups.pstn.reserve", "ports.groups.other", "ports.fxs.1.hotline"} <= paths
