"""Updates by command: wishes reach the agent's spool as they were given, nothing that could be an option of a program passes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from firmware.app.update_part import UpdatePart
from firmware.control.gate import Gate, Peer
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.update import spool
from firmware.update.machine import Request, Verdict
from firmware.update.rules import Words


def told(folder: Path, **more: object) -> None:
    (folder / "requests").mkdir(exist_ok=True)
    spool.tell(msgspec.structs.replace(spool.Status("A", "1.0.0", "idle"), **more), folder)


def ask(folder: Path, path: str, role: str = "admin", **args: object) -> dict[str, object]:
    gate = Gate(Bus(), ManualClock())
    UpdatePart(folder).attach(gate)
    return asyncio.run(gate.perform(Peer("anna", role), path, args))  # type: ignore[arg-type,return-value]


def test_the_state_of_an_update_is_told_in_both_languages(tmp_path: Path) -> None:
    told(tmp_path, verdict=Verdict("rolled back", "1.1.0", Words("fell_back", "it fell", "已恢复")))
    result = ask(tmp_path, "show update", "viewer")["result"]
    assert isinstance(result, dict)
    assert (result["slot"], result["version"], result["phase"]) == ("A", "1.0.0", "idle")
    assert (result["outcome"], result["outcome_version"]) == ("rolled back", "1.1.0")
    assert "it fell" in str(result["says"]) and "已恢复" in str(result["says_zh"])


def test_a_wish_reaches_the_agent_as_it_was_given(tmp_path: Path) -> None:
    told(tmp_path)
    assert ask(tmp_path, "update install", source="https://centre.example/a.raucb", now=True)["ok"]
    assert spool.take(tmp_path) == spool.Wish("install", Request("https://centre.example/a.raucb", True, False))
    assert ask(tmp_path, "update cancel")["ok"]
    assert spool.take(tmp_path) == spool.Wish("cancel")
    assert not ask(tmp_path, "rescue", "supervisor")["ok"]
    assert spool.take(tmp_path) is None
    assert ask(tmp_path, "rescue")["ok"]
    assert spool.take(tmp_path) == spool.Wish("rescue", Request("", False))


@pytest.mark.parametrize("source", ["--handler-args=x", "relative.raucb", "file:///x", "/a b", "/", "http://", "/x\n--y", "/" + "x" * 600])
def test_what_is_no_bundle_is_refused_before_the_agent_sees_it(tmp_path: Path, source: str) -> None:
    told(tmp_path)
    assert not ask(tmp_path, "update install", source=source)["ok"]
    assert spool.take(tmp_path) is None


def test_without_an_agent_a_wish_is_refused_and_the_state_says_so(tmp_path: Path) -> None:
    assert ask(tmp_path, "show update")["result"]["phase"] == "none"  # type: ignore[index]
    reply = ask(tmp_path, "update install", source="/x.raucb")
    assert not reply["ok"] and "no update agent" in str(reply["error"])


def test_only_an_administrator_installs(tmp_path: Path) -> None:
    told(tmp_path)
    assert not ask(tmp_path, "update install", "supervisor", source="/x.raucb")["ok"]
    assert not ask(tmp_path, "update cancel", "supervisor")["ok"]
    assert spool.take(tmp_path) is None
