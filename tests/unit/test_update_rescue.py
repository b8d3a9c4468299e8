"""The way into the rescue by command: the agent tells the boot loader and restarts, not during calls, not during an update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firmware.update import agent, spool
from firmware.update.machine import Request
from firmware.update.rauc import RaucError, enter_rescue
from firmware.update.rules import Seen


class Bench:
    """An agent whose appliance has `calls` calls."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
        self.folder = folder
        (folder / "requests").mkdir()
        (folder / "bin").mkdir()
        tool = folder / "bin/fw_setenv"
        tool.write_text(f'#!/bin/sh\necho "$@" >>{folder}/set\n')
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")
        monkeypatch.setattr(agent, "look", lambda *_: Seen(calls=calls, clock="1"))
        self.restarts = 0
        more: dict[str, Any] = {"control": folder / "c", "record": folder / "r", "run": folder, "slot": "A", "version": "1.0.0"}
        self.agent = agent.Agent(**more, compatible="x", restart=self.restarted)

    def restarted(self) -> None:
        self.restarts += 1

    def ask(self, now: bool) -> spool.Status:
        spool.put(spool.Wish("rescue", Request("", now)), self.folder)
        self.agent.step()
        told = spool.read(self.folder)
        assert told is not None
        return told


def test_it_restarts_into_the_rescue_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, 0)
    assert bench.ask(False).said is None
    assert ((tmp_path / "set").read_text(), bench.restarts) == ("RESCUE once\n", 1)


def test_not_while_calls_are_up_unless_that_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, 2)
    said = bench.ask(False).said
    assert said is not None and "2 calls" in said.en and "2 路通话" in said.zh
    assert not (tmp_path / "set").exists() and bench.restarts == 0
    bench.ask(True)
    assert bench.restarts == 1


def test_a_boot_loader_that_cannot_be_told_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, 0)
    (tmp_path / "bin/fw_setenv").write_text("#!/bin/sh\necho 'Error: no device' >&2\nexit 1\n")
    said = bench.ask(False).said
    assert said is not None and said.code == "no_rescue" and "no device" in said.en and bench.restarts == 0
    (tmp_path / "bin/fw_setenv").unlink()
    with pytest.raises(RaucError):
        enter_rescue()
