"""Presence and messages told to real clients: SIPp watches an agent and a mailbox."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.appliance import Appliance
from tests.e2e.sipp_watcher import watch

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]


def test_presence_of_an_agent_is_told_to_a_real_client(appliance: Callable[..., Appliance], network: str, tmp_path: Path) -> None:
    box = appliance()
    away = "basic>closed[^~]*note>away"
    states = [away, "basic>open[^~]*note>available", "basic>closed[^~]*note>paused .3", away]
    with watch(box, network, tmp_path / "presence", "8001", states, event="presence", kind="application/pidf+xml") as watcher:
        watcher.told(1)
        box.ctl("agent login", agent="8001", extension="102")
        watcher.told(2)
        box.ctl("agent pause", agent="8001", reason="3")
        watcher.told(3)
        box.ctl("agent logout", agent="8001")
        watcher.all_told()


def test_a_list_is_told_in_full_and_then_in_part(appliance: Callable[..., Appliance], network: str, tmp_path: Path) -> None:
    """The whole list is too long for a datagram, and SIPp listens to nothing else: it comes as one all the same."""
    box = appliance(overrides={"[ports.fxo.1]\n": '[lists.desk]\nmembers = ["201", "8001", "202", "203", "101"]\n[ports.fxo.1]\n'})
    states = [
        "fullState=.true[^~]*sip:201@[^~]*sip:8001@[^~]*note>away[^~]*note>away",
        "fullState=.false[^~]*sip:8001@[^~]*note>available",
        "fullState=.false[^~]*sip:8001@[^~]*note>paused .3",
    ]
    kinds = "multipart/related, application/rlmi+xml, application/pidf+xml\nSupported: eventlist"
    with watch(box, network, tmp_path / "list", "desk", states, event="presence", kind=kinds) as watcher:
        watcher.told(1)
        box.ctl("agent login", agent="8001", extension="102")
        watcher.told(2)
        box.ctl("agent pause", agent="8001", reason="3")
        watcher.all_told()


def test_a_telephone_that_asks_for_its_messages_is_told(appliance: Callable[..., Appliance], network: str, tmp_path: Path) -> None:
    box, kind = appliance(), "application/simple-message-summary"
    with watch(box, network, tmp_path / "messages", "203", ["Messages-Waiting: no"], event="message-summary", kind=kind) as watcher:
        watcher.all_told()
