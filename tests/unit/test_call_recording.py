"""Which calls are recorded, who must have heard the notice before, keys that begin, end and mask a recording."""

from __future__ import annotations

import itertools

import pytest

from firmware.call import actions as do
from firmware.call.consent import PROFILES, consent, consent_name, profiles
from firmware.call.state import Phase
from firmware.config.schema.calls import InboundRoute, Queue
from firmware.config.schema.recording import Recording, RecordRule
from firmware.config.schema.system import Site
from tests.unit.call_stage import PROMPT_MS, Stage, config


def site(country: str = "CN", *rules: RecordRule, **changes: object) -> object:
    recording = {name: changes.pop(name) for name in ("consent", "emergency", "classes") if name in changes}
    return config(site=Site(country=country, languages=["en", "zh"]), recording=Recording(rules=list(rules), **recording), **changes)


def started(stage: Stage) -> list[do.StartRecording]:
    return [action for _, _, action in stage.done if isinstance(action, do.StartRecording)]


def kinds(stage: Stage) -> list[tuple[str, dict[str, object]]]:
    return [(action.kind, action.data) for _, _, action in stage.done if isinstance(action, do.Record)]


def outside(conf: object, restart: bool = False) -> tuple[Stage, str, str]:
    """Phone 201 has dialled outside and been answered."""
    stage = Stage(conf, restart=restart)
    phone = stage.dial("201", "9123456")
    stage.run(4_000)
    return stage, phone, stage.leg_at("line/1")


def test_every_country_of_the_configuration_has_a_profile_with_sources() -> None:
    assert set(profiles()) == set(PROFILES)
    for name, profile in profiles().items():
        assert len(profile.sources) >= 2, name
        assert all(len(source) > 20 for source in profile.sources)


@pytest.mark.parametrize("country", ["CN", "US", "UK", "DE", "FR", "AU"])
@pytest.mark.parametrize("restart", [False, True])
def test_nobody_outside_is_recorded_before_he_has_heard_what_his_country_asks_for(country: str, restart: bool) -> None:
    stage, phone, line = outside(site(country, RecordRule(direction="outbound", keep="sales")), restart)
    must = consent(stage.config).outside == "notice"
    assert ("rec.notice" in stage.heard.get(line, [])) is must
    assert bool(started(stage)) is not must
    assert stage.talking(phone, line) is not must
    if must:
        assert stage.heard[phone][-1] == "music"            # no silence for the one who waits
    stage.run(PROMPT_MS + 100)
    assert stage.talking(phone, line)
    assert [(one.keep, one.rule) for one in started(stage)] == [("sales", "rules.1")]
    stage.leave(phone)
    stage.run(3_000)
    stage.at_rest()


def test_a_country_whose_people_expect_none_tells_both_sides_of_an_internal_call() -> None:
    for country, told in (("DE", True), ("CN", False)):
        stage = Stage(site(country, RecordRule(direction="internal")))
        caller = stage.dial("201", "202")
        stage.run(2_100)
        legs = (caller, stage.leg_at("202"))
        assert all(("rec.notice" in stage.heard.get(leg, [])) is told for leg in legs)
        stage.run(PROMPT_MS + 100)
        assert len(started(stage)) == 1
        assert stage.talking(*legs)


def test_all_parties_are_told_where_the_site_asks_for_more_than_the_law() -> None:
    conf = site("US", RecordRule(), consent="all")
    assert consent_name(conf) == "US-ALL"
    stage, phone, line = outside(conf)
    assert "rec.notice" in stage.heard[line]
    assert "rec.notice" in stage.heard[phone]
    assert not started(stage)


@pytest.mark.parametrize("restart", [False, True])
def test_without_the_clip_the_call_goes_on_and_is_not_recorded(restart: bool) -> None:
    stage = Stage(site("CN", RecordRule()), restart=restart)
    new = stage._new_board

    def without() -> object:
        board = new()
        board.notices = frozenset({"zh"})
        return board

    stage._new_board = without  # type: ignore[method-assign,assignment]
    stage.board = without()  # type: ignore[assignment]
    phone = stage.dial("201", "9123456")
    stage.run(6_000)
    line = stage.leg_at("line/1")
    assert stage.talking(phone, line)
    assert not started(stage)
    assert ("recording-refused", {"reason": "notice-missing"}) in kinds(stage)


def test_a_notice_whose_clip_is_missing_in_a_route_was_not_heard() -> None:
    stage = Stage(config(inbound=[InboundRoute(to="queue/sales")]))
    stage.board.notices = frozenset()
    stage.log_in("8001", "201")
    caller = stage.ring_in()
    stage.run(12_000)
    assert stage.state(caller).phase is Phase.TALKING
    assert not started(stage)
    assert not stage.state(caller).notice


def test_put_on_hold_during_the_notice_is_not_recorded_and_not_stuck() -> None:
    stage, phone, line = outside(site("CN", RecordRule()))
    stage.run(500)
    stage.press(phone, "*2")
    stage.run(PROMPT_MS + 3_000)
    stage.press(phone, "*2")
    stage.run(100)
    assert stage.talking(phone, line)
    assert not started(stage)
    stage.leave(phone)
    stage.run(3_000)
    stage.at_rest()


@pytest.mark.parametrize("who", ["phone", "line"])
def test_hanging_up_during_the_notice_ends_the_call(who: str) -> None:
    stage, phone, line = outside(site("CN", RecordRule()))
    stage.run(500)
    stage.leave(phone if who == "phone" else line)
    stage.run(3_000)
    stage.at_rest()
    assert not started(stage)


def test_the_first_rule_that_fits_decides() -> None:
    rules = (RecordRule(extensions=["201"], record="never"), RecordRule(lines=["2"]), RecordRule(direction="inbound"), RecordRule())
    stage, _, _ = outside(site("US", *rules))
    assert not started(stage)
    stage, _, _ = outside(site("US", *rules[1:]))
    assert [one.rule for one in started(stage)] == ["rules.3"]
    stage, _, _ = outside(site("US", *rules[1:3]))
    assert not started(stage)


@pytest.mark.parametrize(("country", "wanted"), list(itertools.product(["CN", "US", "DE"], [False, True])))
def test_emergency_calls_are_recorded_only_where_country_and_site_both_say_so(country: str, wanted: bool) -> None:
    stage = Stage(site(country, RecordRule(), emergency=wanted, queues={}, agents={}, menus={}, inbound=[]))
    stage.dial("201", "110")
    stage.run(6_000)
    assert bool(started(stage)) is (country == "US" and wanted)


@pytest.mark.parametrize("restart", [False, True])
def test_a_telephone_begins_and_ends_a_recording_where_a_rule_lets_it(restart: bool) -> None:
    stage, phone, line = outside(site("CN", RecordRule(record="on-demand")), restart)
    assert stage.talking(phone, line)
    assert not started(stage)
    stage.press(phone, "*91")
    stage.run(100)
    assert not stage.talking(phone, line)
    assert stage.heard[line][-1] == "rec.notice"
    stage.run(PROMPT_MS)
    assert stage.talking(phone, line)
    assert len(started(stage)) == 1
    stage.press(phone, "*91")
    stage.run(1_000)
    assert not stage.recording
    assert stage.talking(phone, line)
    stage.press(phone, "*91")
    stage.run(1_000)
    assert len(started(stage)) == 2         # the notice was heard already
    stage.leave(line)
    stage.run(3_000)
    stage.at_rest()


def test_no_rule_no_recording_by_key() -> None:
    stage, phone, line = outside(site("US"))
    stage.press(phone, "*91")
    stage.run(1_000)
    assert not started(stage)
    assert stage.talking(phone, line)


@pytest.mark.parametrize("restart", [False, True])
def test_a_mask_is_begun_and_ended_by_key_and_stands_in_the_record(restart: bool) -> None:
    stage, phone, _ = outside(site("US", RecordRule()), restart)
    stage.press(phone, "*92")
    stage.run(5_000)
    assert stage.masked
    stage.press(phone, "*92")
    stage.run(5_000)
    assert not stage.masked
    stage.leave(phone)
    stage.run(3_000)
    finished = [action for _, _, action in stage.done if isinstance(action, do.FinishRecording)]
    (begin, end), = finished[0].masked
    assert 4_900 <= end - begin <= 5_100
    stage.at_rest()


def test_a_forgotten_mask_ends_by_itself() -> None:
    stage, phone, _ = outside(site("US", RecordRule()))
    stage.press(phone, "*92")
    stage.run(125_000)
    assert not stage.masked
    assert [kind for kind, _ in kinds(stage) if "mask" in kind] == ["masked", "unmasked"]


def test_a_queue_that_records_needs_the_notice_of_its_route() -> None:
    stage = Stage(config(inbound=[InboundRoute(to="queue/sales", notice=False)], queues={"sales": Queue(record=True), "service": Queue()}))
    stage.log_in("8001", "201")
    caller = stage.ring_in()
    stage.run(10_000)
    assert stage.state(caller).phase is Phase.TALKING
    assert not started(stage)
    assert ("recording-refused", {"reason": "notice-not-heard"}) in kinds(stage)


# --- a third party ----------------------------------------------------------------------------------------------------


def stops(stage: Stage) -> list[str]:
    return [action.leg for _, _, action in stage.done if isinstance(action, do.StopRecording)]


def consulting(stage: Stage, agent: str, number: str) -> str:
    """The agent asks a third party, who answers; the leg of that party."""
    before = set(stage.legs)
    stage.press(agent, "*3" + number)
    stage.run(12_000)
    (third,) = [leg for leg in stage.legs if leg not in before]
    return third


def recorded_caller() -> tuple[Stage, str, str]:
    """A caller who heard the notice of his route talks with an agent of a queue that records."""
    stage = Stage(config(inbound=[InboundRoute(to="queue/sales")], queues={"sales": Queue(record=True), "service": Queue()}))
    stage.log_in("8001", "201")
    caller = stage.ring_in()
    stage.run(30_000)
    agent = stage.leg_at("201")
    assert stage.talking(caller, agent) and len(started(stage)) == 1 and not stops(stage)
    return stage, caller, agent


@pytest.mark.parametrize(("third", "goes_on"), [("204", True), ("913800000009", False)])
def test_a_call_of_three_is_recorded_on_as_long_as_everybody_was_told(third: str, goes_on: bool) -> None:
    stage, caller, agent = recorded_caller()
    consulting(stage, agent, third)
    assert not stops(stage), "the caller hears music: nothing of the consultation is on his side"
    stage.press(agent, "*72")
    stage.run(3000)
    assert stage.state(caller).phase.value == "conference"
    assert (stops(stage) == []) is goes_on
    refused = [data for kind, data in kinds(stage) if kind == "recording-refused"]
    assert refused == ([] if goes_on else [{"reason": "notice-not-heard"}])
    stage.leave(caller)
    stage.run(5000)


@pytest.mark.parametrize(("third", "goes_on"), [("204", True), ("913800000009", False)])
def test_a_call_that_is_handed_over_is_recorded_on_only_where_the_new_party_was_told(third: str, goes_on: bool) -> None:
    stage, caller, agent = recorded_caller()
    consulting(stage, agent, third)
    stage.leave(agent)
    stage.run(2000)
    assert stage.state(caller).phase.value == "talking" and (stops(stage) == []) is goes_on


def test_the_consultation_of_a_recorded_telephone_is_not_recorded_unasked() -> None:
    """The recording runs at the telephone that called out; whom it asks meanwhile would be on it."""
    stage, own, _ = outside(site("CN", RecordRule(record="always")))
    stage.run(15_000)
    assert len(started(stage)) == 1 and not stops(stage)
    consulting(stage, own, "913800000009")
    assert stops(stage), "the third party has heard no notice"
