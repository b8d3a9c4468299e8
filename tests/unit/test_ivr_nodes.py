"""Nodes of the call graph: input, choice, saying, and the silent caller; every scenario also with a restart at each step."""

from __future__ import annotations

from typing import Any

import pytest

from firmware.call import actions as do
from firmware.call.contact import Contact
from firmware.call.ivr_nodes import choose
from firmware.call.model import Cause
from firmware.call.state import Recording
from firmware.config.schema.ivr import Node
from tests.unit.mail_stage import MailStage, ivr_config


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def restart(request: pytest.FixtureRequest) -> bool:
    """Whether the whole state goes through JSON after every input."""
    return bool(request.param)


def stage_of(restart: bool, start: str, **nodes: Node) -> MailStage:
    return MailStage(ivr_config(start, **nodes), restart=restart)


def events(stage: MailStage, kind: str) -> list[dict[str, Any]]:
    return [action.data for _, _, action in stage.done if type(action).__name__ == "Record" and action.kind == kind]


def said(stage: MailStage) -> list[dict[str, str]]:
    return [say.variables for _, _, action in stage.done if type(action).__name__ == "PlayPrompt" for say in action.says]


ACCOUNT = Node(kind="input", prompts=["vm.ask.box"], least=4, most=6, to="ivr/read", otherwise="queue/sales", tries=2)
READ = Node(kind="say", prompts=["say.digits", "say.date"], variables={"digits": "$account", "date": "$date"}, to="menu/main")


# --- input ------------------------------------------------------------------------------------------------------------


def test_digits_until_the_end_key_are_taken_and_said_back(restart: bool) -> None:
    stage = stage_of(restart, "ivr/account", account=ACCOUNT, read=READ)
    leg = stage.ring_in()
    stage.run(500)
    stage.press(leg, "12345#")
    stage.run(500)
    assert stage.heard[leg] == ["vm.ask.box", "say.digits", "say.date"]
    assert said(stage)[-1]["digits"] == "12345"
    assert said(stage)[-1]["date"] == "2026-03-02"
    assert events(stage, "input") == [{"node": "account", "digits": "12345"}]
    stage.run(4500)
    assert stage.heard[leg][-1] == "ivr.main"
    stage.leave(leg)
    stage.run(1000)
    stage.at_rest()


def test_the_most_digits_need_no_end_key_and_a_pause_completes_what_is_enough(restart: bool) -> None:
    for keys, wait in (("123456", 100), ("1234", 4200)):
        stage = stage_of(restart, "ivr/account", account=ACCOUNT, read=READ)
        leg = stage.ring_in()
        stage.run(500)
        stage.press(leg, keys)
        stage.run(wait)
        assert "say.digits" in stage.heard[leg]


def test_too_few_digits_and_none_are_asked_again_then_go_otherwise(restart: bool) -> None:
    stage = stage_of(restart, "ivr/account", account=ACCOUNT, read=READ)
    leg = stage.ring_in()
    stage.run(500)
    stage.press(leg, "12#")
    stage.run(500)
    assert stage.heard[leg] == ["vm.ask.box", "ivr.bad", "vm.ask.box"]
    stage.run(12_000)
    assert stage.only().queue == "sales" or events(stage, "node-otherwise") == [{"node": "account"}]
    stage.leave(leg)
    stage.run(1000)


def test_secret_digits_are_in_no_record(restart: bool) -> None:
    pin = Node(kind="input", prompts=["vm.ask.pin"], secret=True, to="ivr/check")
    check = Node(kind="choose", by="$pin", cases={"=4711": "ivr/good"}, otherwise="announce/num.refused")
    good = Node(kind="say", prompts=["vm.saved"])
    stage = stage_of(restart, "ivr/pin", pin=pin, check=check, good=good)
    leg = stage.ring_in()
    stage.run(500)
    stage.press(leg, "4711#")
    stage.run(500)
    assert stage.heard[leg][-1] == "vm.saved"
    assert events(stage, "input") == [{"node": "pin", "digits": "****"}]
    assert "4711" not in str([action for _, _, action in stage.done])
    stage.run(5000)
    stage.at_rest()


@pytest.mark.parametrize("by_key", [False, True])
def test_a_recording_is_silent_while_secret_digits_are_keyed(restart: bool, by_key: bool) -> None:
    pin = Node(kind="input", prompts=["vm.ask.pin"], secret=True, to="ivr/read", tries=2)
    stage = stage_of(restart, "ivr/pin", pin=pin, read=READ)
    leg = stage.ring_in()
    stage.run(60)
    assert hidden(stage) == [True]
    state = stage.state(leg)
    state.node.secret, state.node.masked = False, False        # as if the recording ran before the question
    state.recordings.append(Recording(77, leg, "a.wav", stage.now))
    stage.recording[leg] = 77
    contact = Contact(state, stage.board, stage.now)
    if by_key:
        contact.mask(True)
    contact.secret(True)
    stage._after()
    assert stage.masked == {leg}
    stage.press(leg, "4711#")
    assert hidden(stage) == [True, True, False]
    assert stage.masked == ({leg} if by_key else set()), "what somebody masked by hand stays silent"
    stage.leave(leg)
    stage.run(4000)
    stage.at_rest()
    assert "4711" not in str([action for _, _, action in stage.done if not isinstance(action, do.PlayPrompt)])


@pytest.mark.parametrize(
    ("code", "keys", "expected"),
    [("*97202", "4826#", [True, False]), ("*97202", "1111#4826#", [True, False]), ("*77", "8264#", [True, False]), ("*59", "4711#", [True]),
     ("*11", "8001#11#", [False, True])],
)
def test_pins_of_codes_are_in_no_trace(restart: bool, code: str, keys: str, expected: list[bool]) -> None:
    stage = stage_of(restart, "ivr/account", account=ACCOUNT, read=READ)
    leg = stage.dial("103", code)
    stage.run(500)
    for key in keys:
        stage.press(leg, key)
        stage.run(200)
    assert hidden(stage) == expected


def test_digits_that_are_no_secret_stand_in_the_trace(restart: bool) -> None:
    stage = stage_of(restart, "ivr/account", account=ACCOUNT, read=READ)
    leg = stage.ring_in()
    stage.run(500)
    stage.press(leg, "1234#")
    assert hidden(stage) == []


def hidden(stage: MailStage) -> list[bool]:
    return [action.on for _, _, action in stage.done if isinstance(action, do.HideKeys)]


def test_no_barge_in_leaves_the_words_whole(restart: bool) -> None:
    node = Node(kind="input", prompts=["vm.ask.box", "vm.ask.pin"], barge_in=False, to="queue/sales")
    stage = stage_of(restart, "ivr/only", only=node)
    leg = stage.ring_in()
    stage.run(500)
    stage.press(leg, "9")
    stage.run(4000)
    stage.press(leg, "42#")
    assert events(stage, "input") == [{"node": "only", "digits": "42"}]


# --- choose -----------------------------------------------------------------------------------------------------------


def test_the_longest_case_wins_and_equals_means_the_whole() -> None:
    node = Node(kind="choose", by="caller", cases={"0755": "queue/a", "075512": "queue/b", "=0755": "queue/c"}, otherwise="hangup")
    assert [choose(node, text) for text in ("07551", "0755123", "0755", "010", "")] == ["queue/a", "queue/b", "queue/c", "hangup", "hangup"]


def test_a_caller_is_led_by_number(restart: bool) -> None:
    by = Node(kind="choose", by="caller", cases={"138": "voicemail/night"}, otherwise="queue/sales")
    stage = stage_of(restart, "ivr/by", by=by)
    leg = stage.ring_in(number="13800000001")
    stage.run(500)
    assert stage.heard[leg] == ["vm.away", "vm.start"]


def test_language_is_switched_by_a_node(restart: bool) -> None:
    english = Node(kind="say", language="zh", to="menu/main")
    stage = stage_of(restart, "ivr/english", english=english)
    leg = stage.ring_in()
    stage.run(500)
    assert stage.languages[leg] == ["zh"]


# --- silent callers ---------------------------------------------------------------------------------------------------

ALIVE = {letter: Node(kind="silent", protocol=letter, to="menu/main") for letter in "ABCDE"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("protocol", "sentences", "seconds"),
    [
        ("A", ["greet.morning", "greet.morning", "sil.3"], 3 * 2 + 15), ("B", ["greet.morning", "sil.1", "sil.bye"], 3 * 2 + 6),
        ("C", ["sil.1", "sil.2", "sil.bye"], 3 * 2 + 10), ("D", ["greet.morning", "sil.hear", "sil.bye"], 3 * 2 + 10),
        ("E", ["sil.intro", "sil.hear", "sil.later"], 3 * 2 + 10),
    ],
)  # fmt: skip
def test_a_silent_caller_hears_the_whole_protocol(restart: bool, protocol: str, sentences: list[str], seconds: int) -> None:
    stage = stage_of(restart, "ivr/alive", alive=ALIVE[protocol])
    leg = stage.ring_in()
    begun = stage.now + 50
    stage.run(60_000)
    assert stage.heard[leg] == sentences
    state = stage.only()
    assert state.cause is Cause.NORMAL
    assert abs(state.ended - begun - seconds * 1000) < 200
    stage.at_rest()


def test_speech_in_a_pause_or_over_a_sentence_leads_on(restart: bool) -> None:
    for wait in (500, 4000):
        stage = stage_of(restart, "ivr/alive", alive=ALIVE["A"])
        leg = stage.ring_in()
        stage.run(wait)
        stage.say_something(leg, 900)
        stage.run(600)
        assert stage.heard[leg][-1] == "ivr.main"               # while the caller still speaks
        assert events(stage, "not-silent")[0]["how"] == "voice"


def test_a_cough_is_no_answer(restart: bool) -> None:
    stage = stage_of(restart, "ivr/alive", alive=ALIVE["A"])
    leg = stage.ring_in()
    stage.run(3000)
    stage.say_something(leg, 100)
    stage.run(2000)
    assert stage.heard[leg] == ["greet.morning"]
    stage.run(30_000)
    stage.at_rest()


def test_a_key_counts_as_an_answer_and_is_the_choice_of_the_menu(restart: bool) -> None:
    stage = stage_of(restart, "ivr/alive", alive=ALIVE["A"])
    leg = stage.ring_in()
    stage.run(3000)
    stage.press(leg, "0")
    stage.run(500)
    assert stage.leg_at("101")
    assert events(stage, "not-silent")[0]["how"] == "key"


def test_noise_that_does_not_pause_is_no_answer_under_protocol_d(restart: bool) -> None:
    stage = stage_of(restart, "ivr/alive", alive=ALIVE["D"])
    leg = stage.ring_in()
    stage.run(3000)
    stage.say_something(leg, 9000)
    stage.run(40_000)
    assert stage.heard[leg] == ["greet.morning", "sil.hear", "sil.bye"]
    assert len(events(stage, "noise")) == 1
    stage.at_rest()


def test_speech_that_pauses_is_an_answer_under_protocol_d(restart: bool) -> None:
    stage = stage_of(restart, "ivr/alive", alive=ALIVE["D"])
    leg = stage.ring_in()
    stage.run(3000)
    stage.say_something(leg, 800)
    stage.run(1500)
    assert stage.heard[leg][-1] == "ivr.main"


def test_where_a_caller_leaves_is_written(restart: bool) -> None:
    stage = stage_of(restart, "ivr/account", account=ACCOUNT, read=READ)
    leg = stage.ring_in()
    stage.run(500)
    stage.leave(leg)
    stage.run(1000)
    assert events(stage, "node") == [{"node": "account", "sort": "input", "language": "zh"}]
    assert events(stage, "node-left") == [{"node": "account", "step": 0}]
    stage.at_rest()


def test_a_circle_without_keys_is_ended(restart: bool) -> None:
    stage = stage_of(restart, "ivr/a", a=Node(kind="say", prompts=["vm.saved"], to="ivr/b"),
                     b=Node(kind="say", prompts=["vm.kept"], to="ivr/a"))
    stage.ring_in()
    stage.run(60_000)
    assert stage.only().cause is Cause.TIMEOUT
    stage.at_rest()
