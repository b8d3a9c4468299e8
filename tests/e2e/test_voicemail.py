"""Voice mail over telephones: a caller leaves a message, its owner hears that very sound; restarts, lamps, greetings, prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.audio import Sound
from tests.e2e.branch import CALLER_HZ, HZ, SITE, Branch, said
from tests.e2e.evidence import rows

pytestmark = pytest.mark.e2e

BOXES = """
[mailboxes.202]
extensions = ["202"]
pin = "7391"
[mailboxes.night]
number = "900"
extensions = ["201"]
pin = "5173"
answer_h = 2
[studio]
pin = "8264"
"""
ROUTE = """[[inbound]]
caller = "1360"
to = "voicemail/202"
greeting = false
notice = false
"""


@pytest.fixture(scope="module")
def branch(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Branch]:
    """A branch with boxes, slow enough that files are opened in time."""
    folder = tmp_path_factory.mktemp("voicemail")
    site = folder / "branch.toml"
    head, tail = SITE.split("[[inbound]]", 1)
    site.write_text(head + BOXES + ROUTE + "[[inbound]]" + tail)
    box = Appliance(folder / "box", bind=network, config=site, extra=("--speed", "1000")).start()
    yield Branch(box, folder)
    assert box.stop() == 0, box.said()


def messages(branch: Branch, box: str) -> list[dict[str, object]]:
    return list(branch.box.ctl("show messages", box=box))


def leave(branch: Branch, seconds: float = 14) -> str:
    """Somebody outside leaves a message; the number that called."""
    before = len(messages(branch, "202"))
    person, number = branch.call("1360", hang_up_after=seconds)
    branch.done(person)
    wait_until(lambda: len(messages(branch, "202")) > before, "the message is in the box", 30)
    return number


def test_the_owner_hears_the_very_message_that_a_caller_left(branch: Branch, tmp_path: Path) -> None:
    branch.fresh()
    number = leave(branch)
    (message,) = messages(branch, "202")
    assert message["number"] == number
    assert message["state"] == "new"
    owner = branch.dial("202", "*97", CALLER_HZ, talk=40)
    branch.done(owner)
    heard = branch.heard(owner)
    assert said(heard, "en/vm.new.one") > 0.5
    assert said(heard, "en/vm.keys.short") > 0.5
    loudest = max(heard.part(at / 10, at / 10 + 0.5).tone_dbm0(CALLER_HZ) for at in range(int(heard.seconds * 10) - 5))
    assert loudest > -26, f"the caller's tone is heard at {loudest:.1f} dBm0"
    wait_until(lambda: messages(branch, "202")[0]["state"] == "heard", "the message counts as heard", 30)


def test_messages_outlive_a_killed_core_and_a_power_cut(branch: Branch) -> None:
    branch.fresh()
    before = len(messages(branch, "202"))
    leave(branch)
    branch.box.kill("core")
    wait_until(lambda: len(messages(branch, "202")) == before + 1, "the next core knows the messages", 40)
    rows = {row["box"]: row for row in branch.box.ctl("show voicemail")}
    assert rows["202"]["new"] + rows["202"]["heard"] == before + 1
    assert rows["night"]["new"] == 0


def test_a_greeting_recorded_by_telephone_is_what_callers_hear(branch: Branch) -> None:
    branch.fresh()
    owner = branch.dial("202", "*97", talk=30, keys="9@6,1@3,#@12,1@5")
    branch.done(owner)
    wait_until(lambda: branch.box.ctl("show voicemail")[0]["greeting"] == "own", "the greeting is kept", 20)
    caller, _ = branch.call("1360", HZ["202"], hang_up_after=12, tone_hz=0)
    branch.done(caller)
    heard = branch.heard(caller)
    assert said(heard, "en/vm.away") < 0.4
    loudest = max(heard.part(at / 10, at / 10 + 0.5).tone_dbm0(HZ["202"]) for at in range(int(heard.seconds * 10) - 5))
    assert loudest > -26, f"the owner's tone is heard at {loudest:.1f} dBm0"


def loudest(sound: Sound, hz: float) -> float:
    """Level of a tone in the half second in which it is loudest, dBm0."""
    return max((sound.part(at / 10, at / 10 + 0.5).tone_dbm0(hz) for at in range(int(sound.seconds * 10) - 5)), default=-90.0)


def answered(branch: Branch, prefix: str, extension: str) -> tuple[Sound, Sound, list[dict[str, Any]]]:
    """A caller is answered by an agent who speaks in another tone than he recorded: what both heard, and the call's history."""
    before = {row["id"] for row in branch.records(0)}
    branch.answer(extension, tone_hz=HZ["203"], talk=14)
    caller, _ = branch.call(prefix, patience=60, hang_up_after=45, tone_hz=0)
    branch.done(caller)
    (call,) = [row for row in branch.records(len(before) + 1) if row["id"] not in before]
    return branch.heard(caller), branch.heard(branch.at(extension)["ident"]), rows(branch.box, "contact_events", call["id"])


def test_an_agents_own_greeting_is_heard_at_the_answer_and_the_number_where_it_is_gone(branch: Branch) -> None:
    branch.fresh()
    box = branch.box
    box.ctl("agent login", agent="8001", extension="202")
    agent = branch.dial("202", "*76", talk=50, keys="2@6,1@5,#@14,1@6")       # for callers in English
    branch.done(agent)
    greeting = box.state / "prompts" / "en" / "agent.own.8001.wav"
    wait_until(greeting.is_file, "the greeting is kept", 20)
    box.kill("core")
    wait_until(lambda: box.ctl("show agents"), "the next core is there", 30)
    branch.fresh()
    box.ctl("agent login", agent="8001", extension="202")
    caller, agent_heard, history = answered(branch, "1310", "202")
    kinds = [event["kind"] for event in history]
    assert "agent-greeting" in kinds and "agent-number" in kinds
    for heard in (caller, agent_heard):
        assert loudest(heard, HZ["202"]) > -26, "his recorded voice, heard by both"
        assert said(heard, "en/agent.id.2") > 0.5, "and behind it his number"
    assert loudest(caller, HZ["203"]) > -26, "then they talk"

    branch.fresh()
    box.ctl("agent login", agent="8001", extension="202")
    greeting.write_bytes(b"no sound at all")
    caller, _, history = answered(branch, "1310", "202")
    assert loudest(caller, HZ["202"]) < -30 and said(caller, "en/agent.id.2") > 0.5 and loudest(caller, HZ["203"]) > -26
    assert "agent-greeting-lacks" in [event["kind"] for event in history]
    assert any(alarm["kind"] == "greeting:en/8001" for alarm in box.ctl("show alarms"))
