"""Presence and messages told to real clients: SIPp watches an agent and a mailbox."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance
from tests.e2e.test_sip_transfer import LOG, STEP, WATCH, wait_for_state

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


def watch(box: Appliance, network: str, folder: Path, watched: str, event: str, kind: str, words: list[str]) -> subprocess.Popen[bytes]:
    """SIPp as 203 subscribes to `event` of `watched` and ends with status 0 when each NOTIFY holds its word of `words`."""
    folder.mkdir()
    steps = "".join(STEP.format(state=word, n=n + 1) for n, word in enumerate(words))
    scenario = WATCH.format(watched=watched, user="203", secret=box.accounts()["203"], steps=steps)
    (folder / "scenario.xml").write_text(scenario.replace("Event: dialog", f"Event: {event}").replace("application/dialog-info+xml", kind))
    return subprocess.Popen(
        ["sipp", box.sip, "-sf", "scenario.xml", "-i", network, "-m", "1", "-nostdin", "-trace_err", "-error_file", "err", *LOG],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_presence_of_an_agent_is_told_to_a_real_client(appliance: Callable[..., Appliance], network: str, tmp_path: Path) -> None:
    box = appliance()
    folder = tmp_path / "presence"
    words = ["basic>closed[^~]*note>away", "basic>open[^~]*note>available", "basic>closed[^~]*note>paused .3", "basic>closed[^~]*note>away"]
    watcher = watch(box, network, folder, "8001", "presence", "application/pidf+xml", words)
    try:
        wait_for_state(watcher, folder, 1)
        box.ctl("agent login", agent="8001", extension="102")
        wait_for_state(watcher, folder, 2)
        box.ctl("agent pause", agent="8001", reason="3")
        wait_for_state(watcher, folder, 3)
        box.ctl("agent logout", agent="8001")
        assert watcher.wait(30) == 0, (folder / "err").read_text(errors="replace")[-3000:]
    finally:
        watcher.kill()
        watcher.wait()


def test_a_list_is_told_in_full_and_then_in_part(appliance: Callable[..., Appliance], network: str, tmp_path: Path) -> None:
    """The whole list is too long for a datagram, and SIPp listens to nothing else: it comes as one all the same."""
    box = appliance(overrides={"[ports.fxo.1]\n": '[lists.desk]\nmembers = ["201", "8001", "202", "203", "101"]\n[ports.fxo.1]\n'})
    folder = tmp_path / "list"
    words = [
        "fullState=.true[^~]*sip:201@[^~]*sip:8001@[^~]*note>away[^~]*note>away",
        "fullState=.false[^~]*sip:8001@[^~]*note>available",
        "fullState=.false[^~]*sip:8001@[^~]*note>paused .3",
    ]
    kinds = "multipart/related, application/rlmi+xml, application/pidf+xml\nSupported: eventlist"
    watcher = watch(box, network, folder, "desk", "presence", kinds, words)
    try:
        wait_for_state(watcher, folder, 1)
        box.ctl("agent login", agent="8001", extension="102")
        wait_for_state(watcher, folder, 2)
        box.ctl("agent pause", agent="8001", reason="3")
        assert watcher.wait(30) == 0, (folder / "err").read_text(errors="replace")[-3000:]
    finally:
        watcher.kill()
        watcher.wait()


def test_a_telephone_that_asks_for_its_messages_is_told(appliance: Callable[..., Appliance], network: str, tmp_path: Path) -> None:
    box = appliance()
    folder = tmp_path / "messages"
    watcher = watch(box, network, folder, "203", "message-summary", "application/simple-message-summary", ["Messages-Waiting: no"])
    try:
        assert watcher.wait(30) == 0, (folder / "err").read_text(errors="replace")[-3000:]
    finally:
        watcher.kill()
        watcher.wait()
