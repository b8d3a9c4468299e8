"""Voice mail over telephones: a caller leaves a message, its owner hears that very sound; restarts, lamps, greetings, prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.branch import CALLER_HZ, HZ, SITE, Branch, said

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
    wait_until(lambda: len(messages(branch, "202")) > before, "the message is in the box", 20)
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
    wait_until(lambda: messages(branch, "202")[0]["state"] == "heard", "the message counts as heard")


def test_messages_outlive_a_killed_core_and_a_power_cut(branch: Branch) -> None:
    branch.fresh()
    before = len(messages(branch, "202"))
    leave(branch)
    branch.box.kill("core")
    wait_until(lambda: len(messages(branch, "202")) == before + 1, "the next core knows the messages", 20)
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
