"""Media holds the language that the configuration can ask for; what is said is heard after a change, a restart of media or of core."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from firmware.prompts import clip_files
from tests.e2e.appliance import Appliance, wait_until
from tests.e2e.branch import SITE, Branch, said

pytestmark = pytest.mark.e2e

BOX = """
[mailboxes.202]
extensions = ["202"]
pin = "7391"
"""


@pytest.fixture(scope="module")
def branch(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Branch]:
    """A branch that speaks English first, and nowhere leads to Chinese."""
    folder = tmp_path_factory.mktemp("languages")
    site = folder / "branch.toml"
    head, tail = SITE.split("[[inbound]]", 1)
    site.write_text(head + BOX + "[[inbound]]" + tail)
    box = Appliance(folder / "box", bind=network, config=site, extra=("--speed", "1000")).start()
    yield Branch(box, folder)
    assert box.stop() == 0, box.said()


def started_with(branch: Branch) -> list[int]:
    """How many clips each media process had at its start."""
    runs = (re.search(r"media runs: (\d+) clips", line["message"]) for line in branch.box.log("media"))
    return [int(found[1]) for found in runs if found]


def put(branch: Branch, setting: str, value: str) -> None:
    branch.box.manage("set", setting=setting, value=value)
    assert branch.box.manage("commit")["state"] == "running"
    wait_until(lambda: branch.box.manage("verify configuration")["right"], "it runs", 40)


def spoken_to_owner(branch: Branch) -> tuple[bool, bool]:
    """Whether the owner of the box hears that it is empty in English, and in Chinese."""
    branch.fresh()
    owner = branch.dial("202", "*97", talk=20)
    branch.done(owner)
    heard = branch.heard(owner)
    return said(heard, "en/vm.none.new") > 0.5, said(heard, "zh/vm.none.new") > 0.5


def replace(branch: Branch, name: str) -> None:
    """Kill a process; the next one is there."""
    before = len(started_with(branch))
    pid = branch.box.kill(name)
    wait_until(lambda: branch.box.pid(name) != pid, f"another {name}", 40)
    if name == "media":
        wait_until(lambda: len(started_with(branch)) > before, "media runs", 40)


def test_what_is_said_is_heard_in_the_language_that_is_asked_for(branch: Branch) -> None:
    files = clip_files()
    each = {language: sum(not name.startswith(f"{other}/") for name in files) for language, other in (("en", "zh"), ("zh", "en"))}
    assert spoken_to_owner(branch) == (True, False)
    assert started_with(branch) == [each["en"]]

    put(branch, "mailboxes.202.language", "zh")
    assert spoken_to_owner(branch) == (False, True)
    assert len(started_with(branch)) == 1, "no new process was needed"

    replace(branch, "core")
    assert spoken_to_owner(branch) == (False, True)
    replace(branch, "media")
    assert spoken_to_owner(branch) == (False, True)
    assert started_with(branch)[-1] == len(files)

    put(branch, "mailboxes.202.language", '""')
    put(branch, "site.languages", '["zh"]')
    assert spoken_to_owner(branch) == (False, True)
    replace(branch, "media")
    assert started_with(branch)[-1] == each["zh"]
    put(branch, "site.languages", '["en", "zh"]')
    assert spoken_to_owner(branch) == (True, False)
    replace(branch, "core")
    assert spoken_to_owner(branch) == (True, False)
