"""Calls from our own phones: internal, outside, emergency, codes, hold and transfer."""

from __future__ import annotations

import pytest

from firmware.call import actions as do
from firmware.call.events import EmergencyEnded, EmergencyStarted
from firmware.call.model import Alert, Cause, EndpointState, Evidence, LegHeld, LegResumed, Side
from firmware.call.state import Kind, Phase
from firmware.config.schema.people import Extension
from firmware.errors import NotAllowed
from tests.unit.call_stage import PROMPT_MS, Phone, Stage, config


def cause_told(stage: Stage, leg: str) -> Cause:
    return next(action.cause for _, _, action in stage.done if isinstance(action, do.HangUpLeg) and action.leg == leg)


# --- internal and outside ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("caller", "called"), [("201", "202"), ("201", "101"), ("101", "102"), ("101", "201")])
def test_two_phones_talk_and_nothing_remains(caller: str, called: str) -> None:
    stage = Stage()
    leg = stage.dial(caller, called)
    stage.run(1000)
    assert any(isinstance(action, do.RingBack) and action.leg == leg for _, _, action in stage.done)
    stage.run(2000)
    assert stage.talking(leg, stage.leg_at(called))
    relay = next(action.relay for _, _, action in stage.done if isinstance(action, do.Bridge))
    assert relay is (caller == "201" and called == "202")
    stage.leave(stage.leg_at(called))
    stage.run(1000)
    stage.at_rest()
    assert stage.only().first_to_leave is Side.AGENT
    assert stage.only().kind is Kind.INTERNAL


@pytest.mark.parametrize("cause", [Cause.BUSY, Cause.REJECTED, Cause.UNREACHABLE])
def test_caller_is_told_why_a_phone_cannot_be_reached(cause: Cause) -> None:
    stage = Stage()
    stage.phones["202"] = Phone(reject=cause)
    leg = stage.dial("201", "202")
    stage.run(1000)
    assert cause_told(stage, leg) is cause
    assert stage.only().cause is cause
    stage.at_rest()


def test_phone_that_does_not_answer_ends_the_call_after_its_ring_time() -> None:
    stage = Stage(config(extensions={"201": Extension(kind="sip"), "202": Extension(kind="sip", ring_s=10)}))
    stage.phones["202"] = Phone(answer_ms=-1)
    stage.dial("201", "202")
    stage.run(11_000)
    assert stage.only().cause is Cause.NO_ANSWER
    stage.at_rest()


def test_caller_who_gives_up_cancels_the_ringing_phone() -> None:
    stage = Stage()
    stage.phones["202"] = Phone(answer_ms=-1)
    leg = stage.dial("201", "202")
    stage.run(3000)
    ringing = stage.leg_at("202")
    stage.leave(leg)
    stage.run(500)
    assert cause_told(stage, ringing) is Cause.CANCELLED
    assert stage.only().cause is Cause.CANCELLED
    stage.at_rest()


def test_unknown_number_and_forbidden_class_are_refused() -> None:
    stage = Stage()
    stage.dial("201", "555")
    stage.run(500)
    assert stage.only().cause is Cause.UNREACHABLE
    locked = Stage(config(extensions={"201": Extension(kind="sip", locked=True)}))
    locked.dial("201", "9555")
    locked.run(500)
    assert locked.only().cause is Cause.REFUSED


@pytest.mark.parametrize("caller", ["101", "201"])
def test_outside_call_hears_the_exchange_before_the_answer(caller: str) -> None:
    stage = Stage()
    stage.phones["line/1"] = Phone(answer_ms=6000)
    leg = stage.dial(caller, "9555123")
    stage.run(3000)
    line = stage.leg_at("line/1")
    assert stage.talking(leg, line)
    assert stage.state(leg).phase is Phase.DIALLING
    stage.run(6000)
    assert stage.state(leg).phase is Phase.TALKING
    assert stage.talking(leg, line)
    stage.press(leg, "1")
    assert stage.sent[line] == "1"
    stage.leave(line, Evidence("busy-tone", 0.9))
    stage.run(1000)
    record = stage.only()
    assert record.evidence == Evidence("busy-tone", 0.9)
    assert record.legs[line].number == "555123"
    stage.at_rest()


def test_line_without_dial_tone_gives_way_to_the_next() -> None:
    stage = Stage()
    stage.phones["line/1"] = Phone(reject=Cause.NO_DIAL_TONE)
    stage.phones["line/2"] = Phone(reject=Cause.LINE_FAULT)
    leg = stage.dial("201", "9555")
    stage.run(6000)
    assert stage.talking(leg, stage.leg_at("line/3"))


def test_busy_number_is_not_dialled_again_on_the_next_line() -> None:
    stage = Stage()
    stage.phones["line/1"] = Phone(answer_ms=-1)
    leg = stage.dial("201", "9555")
    stage.run(3000)
    stage._end(stage.leg_at("line/1"), Cause.BUSY, Evidence("busy-tone"), True)
    stage.run(1000)
    assert stage.only().cause is Cause.BUSY
    assert cause_told(stage, leg) is Cause.BUSY


def test_all_lines_busy_is_congestion() -> None:
    stage = Stage()
    for line in (1, 2, 3, 4):
        stage.give(EndpointState(f"line/{line}", stage.now, "busy"))
    stage.dial("201", "9555")
    stage.run(500)
    assert stage.only().cause is Cause.CONGESTION


def test_weakly_proven_release_leaves_open_who_hung_up() -> None:
    stage = Stage()
    leg = stage.dial("201", "9555")
    stage.run(9000)
    stage._end(stage.leg_at("line/1"), Cause.NORMAL, Evidence("silence", 0.3), True)
    stage.run(1000)
    assert stage.only().first_to_leave is Side.UNKNOWN
    assert leg not in stage.legs


# --- emergency --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", ["110", "9110"])
@pytest.mark.parametrize("extension", ["101", "201", "999"])
def test_emergency_goes_out_from_any_phone(digits: str, extension: str) -> None:
    locked, internal = Extension(kind="fxs", jack="1", locked=True), Extension(kind="sip", permission="internal")
    stage = Stage(config(extensions={"101": locked, "201": internal}))
    leg = stage.dial(extension, digits)
    stage.run(6000)
    line = stage.leg_at("line/1")
    assert stage.talking(leg, line)
    assert stage.state(leg).legs[line].number == "110"
    started = next(event for event in stage.notices if isinstance(event, EmergencyStarted))
    assert set(started.text) == {"en", "zh"}
    stage.leave(leg)
    stage.run(1000)
    assert any(isinstance(event, EmergencyEnded) for event in stage.notices)
    dialled = next(action for _, _, action in stage.done if isinstance(action, do.OriginateLeg))
    assert dialled.alert is Alert.EMERGENCY
    assert stage.only().kind is Kind.EMERGENCY
    stage.at_rest()


def test_emergency_frees_the_least_important_line_and_never_another_emergency() -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    first = stage.dial("101", "120")
    stage.run(5000)
    talkers = [stage.dial("102", "9555"), stage.dial("103", "9556")]
    stage.run(8000)
    menu = stage.ring_in("line/4")
    stage.run(2 * PROMPT_MS + 500)
    caller = stage.dial("202", "119")
    stage.run(6000)
    assert menu not in stage.legs
    assert stage.talking(caller, stage.leg_at("line/4"))
    assert all(leg in stage.legs for leg in (first, *talkers))
    assert stage.only().cause is Cause.PREEMPTED
    for leg in (first, caller, *talkers):
        stage.leave(leg)
    stage.run(2000)
    stage.at_rest()


def test_emergency_waits_for_a_line_while_all_carry_emergencies() -> None:
    stage = Stage()
    callers = [stage.dial(f"10{n}", "110") for n in (1, 2, 3, 4)]
    stage.run(6000)
    last = stage.dial("201", "110")
    stage.run(5000)
    assert all(leg in stage.legs for leg in callers)
    stage.leave(callers[1])
    stage.run(7000)
    assert stage.talking(last, stage.leg_at("line/2"))


def test_emergency_tries_every_line_again_and_again() -> None:
    stage = Stage()
    for line in (1, 2, 3, 4):
        stage.phones[f"line/{line}"] = Phone(reject=Cause.NO_DIAL_TONE)
    leg = stage.dial("101", "110")
    stage.run(10_000)
    stage.phones["line/3"] = Phone()
    stage.run(10_000)
    assert stage.talking(leg, stage.leg_at("line/3"))


def test_call_back_rings_the_phone_that_dialled_not_the_menu() -> None:
    stage = Stage()
    leg = stage.dial("101", "110")
    stage.run(6000)
    stage.leave(leg)
    stage.run(60_000)
    back = stage.ring_in("line/1", "110")
    stage.run(4000)
    assert stage.talking(back, stage.leg_at("101"))
    assert back not in stage.heard
    other = stage.ring_in("line/2")
    stage.run(1000)
    assert stage.heard[other] == ["greet.morning"]
    stage.leave(back)
    stage.leave(other)
    stage.run(3_700_000)
    late = stage.ring_in("line/1")
    stage.run(1000)
    assert stage.heard[late] == ["greet.morning"]


def test_call_back_to_a_phone_that_does_not_answer_goes_the_usual_way() -> None:
    stage = Stage()
    leg = stage.dial("101", "110")
    stage.run(6000)
    stage.leave(leg)
    stage.run(2000)
    stage.phones["101"] = Phone(answer_ms=-1)
    back = stage.ring_in("line/1")
    stage.run(32_000)
    assert stage.heard[back][0] == "greet.morning"


def test_no_command_can_dial_or_end_an_emergency_call() -> None:
    stage = Stage()
    with pytest.raises(NotAllowed, match="emergency number"):
        stage.board.originate("201", "9110", stage.now)
    leg = stage.dial("101", "110")
    stage.run(6000)
    with pytest.raises(NotAllowed, match="emergency call"):
        stage.board.hang_up(stage.board.contact_of(leg), stage.now)


def test_originated_call_rings_the_phone_first_then_dials() -> None:
    stage = Stage()
    stage.board.originate("201", "102", stage.now)
    stage._after()
    stage.run(6000)
    assert stage.talking(stage.leg_at("201"), stage.leg_at("102"))
    stage.leave(stage.leg_at("201"))
    stage.run(500)
    stage.at_rest()


# --- agent codes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dialled", "keyed"), [("*11", "8001#11#"), ("*118001#11#", ""), ("*118001#", "11#")])
def test_agent_logs_in_by_code(dialled: str, keyed: str) -> None:
    stage = Stage()
    leg = stage.dial("104", dialled)
    stage.run(200)
    stage.press(leg, keyed)
    stage.run(PROMPT_MS + 500)
    assert stage.status("8001") == "ready"
    assert stage.board.floor.agent("8001").extension == "104"
    assert stage.heard[leg][-1] == "agent.login.ok"
    stage.at_rest()


@pytest.mark.parametrize("dialled", ["*118001#11#", "*118001#77#"])
def test_records_never_show_a_pin_dialled_behind_the_code(dialled: str) -> None:
    stage = Stage()
    leg = stage.dial("201", dialled)
    stage.run(200)
    assert stage.state(leg).called == "*118001"
    stage.leave(leg)
    assert stage.only().called == "*118001"


def test_wrong_pin_is_refused_and_the_call_ends_after_three() -> None:
    stage = Stage()
    leg = stage.dial("201", "*11")
    stage.run(200)
    for _ in range(3):
        stage.press(leg, "8001#99#")
    assert stage.status("8001") == "logged-out"
    stage.run(PROMPT_MS + 500)
    stage.at_rest()


def test_pause_ready_and_log_out_by_code() -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    stage.dial("201", "*133")
    stage.run(PROMPT_MS + 500)
    assert (stage.status("8001"), stage.board.floor.agent("8001").reason) == ("paused", "3")
    stage.dial("201", "*14")
    stage.run(PROMPT_MS + 500)
    assert stage.status("8001") == "ready"
    stage.dial("201", "*12")
    stage.run(PROMPT_MS + 500)
    assert stage.status("8001") == "logged-out"
    leg = stage.dial("201", "*14")
    stage.run(500)
    assert stage.heard[leg] == ["agent.unknown"]
    stage.run(PROMPT_MS)
    stage.at_rest()


def test_code_without_keys_ends_by_itself() -> None:
    stage = Stage()
    stage.dial("201", "*11")
    stage.run(15_000)
    stage.at_rest()


def test_echo_test_loops_the_phone() -> None:
    stage = Stage()
    leg = stage.dial("201", "*43")
    stage.run(100)
    assert any(isinstance(action, do.Loop) and action.leg == leg for _, _, action in stage.done)
    stage.leave(leg)
    stage.run(100)
    stage.at_rest()


# --- hold and transfer ------------------------------------------------------------------------------------------------


def talking_pair(stage: Stage, a: str = "101", b: str = "201") -> tuple[str, str]:
    leg = stage.dial(a, b)
    stage.run(4000)
    other = stage.leg_at(b)
    assert stage.talking(leg, other)
    return leg, other


@pytest.mark.parametrize("restart", [False, True])
def test_hold_by_code_gives_music_and_resume_joins_again(restart: bool) -> None:
    stage = Stage(restart=restart)
    a, b = talking_pair(stage)
    stage.press(a, "*2")
    assert not stage.bridges
    assert stage.heard[b][-1] == "music"
    stage.run(5000)
    stage.press(a, "*2")
    assert stage.talking(a, b)
    stage.leave(b)
    stage.run(500)
    stage.at_rest()


def test_hold_by_the_phone() -> None:
    stage = Stage()
    a, b = talking_pair(stage)
    stage.give(LegHeld(b, stage.now))
    assert stage.heard[a][-1] == "music"
    stage.give(LegResumed(b, stage.now))
    assert stage.talking(a, b)


def test_keys_that_are_no_code_reach_the_other_side() -> None:
    stage = Stage()
    a, b = talking_pair(stage)
    stage.press(a, "5*6")
    assert stage.sent[b] == "5*6"
    stage.press(a, "*")
    stage.run(3000)
    assert stage.sent[b] == "5*6*"


def begin_transfer(stage: Stage, by: str, how: str) -> None:
    if how == "flash":
        stage.flash(by)
    else:
        stage.press(by, "*3")
    assert stage.heard[by][-1] == "tone dial"


@pytest.mark.parametrize("how", ["flash", "code"])
@pytest.mark.parametrize("restart", [False, True])
def test_attended_transfer(how: str, restart: bool) -> None:
    stage = Stage(restart=restart)
    a, b = talking_pair(stage, "101", "102")
    begin_transfer(stage, a, how)
    stage.press(a, "203")
    stage.run(4000)
    target = stage.leg_at("203")
    assert stage.talking(a, target)
    assert stage.heard[b][-1] == "music"
    stage.leave(a)
    assert stage.talking(b, target)
    stage.leave(b)
    stage.run(500)
    assert stage.only().legs[a].cause is Cause.TRANSFERRED
    stage.at_rest()


def test_blind_transfer_by_hanging_up_while_it_rings() -> None:
    stage = Stage()
    a, b = talking_pair(stage)
    begin_transfer(stage, a, "flash")
    stage.press(a, "203")
    stage.run(500)
    assert stage.heard[a][-1] == "tone ringback"
    stage.leave(a)
    stage.run(3000)
    assert stage.talking(b, stage.leg_at("203"))
    stage.leave(b)
    stage.run(500)
    stage.at_rest()


@pytest.mark.parametrize("digits", ["555", "203", ""])
def test_failed_transfer_returns_to_the_held_party(digits: str) -> None:
    stage = Stage()
    stage.phones["203"] = Phone(reject=Cause.BUSY)
    a, b = talking_pair(stage)
    begin_transfer(stage, a, "code")
    stage.press(a, digits)
    stage.run(11_000)
    assert stage.talking(a, b)


def test_flash_again_goes_back() -> None:
    stage = Stage()
    stage.phones["203"] = Phone(answer_ms=-1)
    a, b = talking_pair(stage)
    begin_transfer(stage, a, "flash")
    stage.flash(a)
    assert stage.talking(a, b)
    begin_transfer(stage, a, "flash")
    stage.press(a, "203")
    stage.run(1000)
    stage.flash(a)
    assert stage.talking(a, b)
    stage.run(500)
    assert not stage.leg_at("203")


def test_blind_transfer_that_fails_rings_the_transferring_phone_again() -> None:
    stage = Stage()
    stage.phones["203"] = Phone(answer_ms=-1)
    a, b = talking_pair(stage)
    begin_transfer(stage, a, "flash")
    stage.press(a, "203")
    stage.run(500)
    stage.leave(a)
    stage.run(35_000)
    again = stage.leg_at("101")
    assert again and again != a
    assert stage.talking(b, again)
    stage.leave(b)
    stage.run(500)
    stage.at_rest()


def test_held_party_who_leaves_lets_the_other_two_talk_on() -> None:
    stage = Stage()
    a, b = talking_pair(stage)
    begin_transfer(stage, a, "flash")
    stage.press(a, "203")
    stage.run(4000)
    stage.leave(b)
    target = stage.leg_at("203")
    assert stage.talking(a, target)
    stage.leave(target)
    stage.run(500)
    stage.at_rest()


def test_wrap_up_is_honoured_after_a_transfer() -> None:
    stage = Stage()
    stage.log_in("8001", "201")
    caller = stage.ring_in()
    stage.run(2 * PROMPT_MS + 300)
    stage.press(caller, "11")
    stage.run(8000)
    agent = stage.leg_at("201")
    stage.press(agent, "*3101")
    stage.run(4000)
    stage.leave(agent)
    assert stage.status("8001") == "wrap-up"
    assert stage.talking(caller, stage.leg_at("101"))
    stage.run(9000)
    assert stage.status("8001") == "wrap-up"
    stage.run(2000)
    assert stage.status("8001") == "ready"


def test_transfer_to_the_outside_hears_the_exchange() -> None:
    stage = Stage()
    stage.phones["line/1"] = Phone(answer_ms=-1)
    a, b = talking_pair(stage)
    begin_transfer(stage, a, "code")
    stage.press(a, "9555")
    stage.run(7000)
    assert stage.talking(a, stage.leg_at("line/1"))
    stage.leave(a)
    stage.run(1000)
    assert b in stage.legs
