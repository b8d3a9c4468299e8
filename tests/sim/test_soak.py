"""The soak keeps what it found something in, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firmware.sim import soak as soaks
from tests.sim.test_soak_check import BASE, _inbound


class StandIn:
    """An appliance that has lived one call before anybody asks."""

    record: dict[str, Any] = {}
    interrupted = False
    slips = 0

    def __init__(self, folder: Path, *_: object) -> None:
        self.folder, self.wall_base, self.world = folder, BASE, self
        self.trouble: list[str] = []

    def start(self) -> None:
        (self.folder / "state").mkdir()

    def sleep(self, ms: int) -> None:
        if self.interrupted:
            raise KeyboardInterrupt

    def ask(self, what: str, **_: object) -> Any:
        if what == "soak":
            (self.folder / "soak.jsonl").write_text(json.dumps(_inbound()[0]) + "\n", "utf-8")
        status = {"now_ms": 1, "lines": [], "over": True, "stuck": [], "slips": self.slips, "illegal": []}
        return [] if what.startswith("show") else status

    def records(self) -> list[dict[str, Any]]:
        return [self.record]

    def stop(self) -> None:
        assert (self.folder / "state").exists()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    place = tmp_path / "soak"
    place.mkdir()
    monkeypatch.setattr(soaks, "Appliance", StandIn)
    monkeypatch.setattr(soaks.tempfile, "mkdtemp", lambda **_: str(place))
    return place


def test_a_right_soak_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(StandIn, "record", _inbound()[1])
    assert soaks.soak(1, 1, True, None, True) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == ""
    assert not folder.exists()


def test_what_differed_is_kept_and_named(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(StandIn, "record", _inbound()[1] | {"cause": "line-fault"})
    monkeypatch.setattr(StandIn, "slips", 3)
    assert soaks.soak(1, 1, True, None, False) == 1
    told = capsys.readouterr().out
    assert "cause is" in told and str(folder) in told and "too busy: for 3 blocks" in told
    assert (folder / "soak.jsonl").exists() and (folder / "state").exists()


def test_who_interrupts_a_soak_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandIn, "interrupted", True)
    with pytest.raises(KeyboardInterrupt):
        soaks.soak(1, 1, True, None, True)
    assert not folder.exists()
