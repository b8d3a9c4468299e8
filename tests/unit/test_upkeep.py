"""What the box does by itself at night: backups that somebody else can open, updates within their window."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from firmware.app.backup_part import BackupPart
from firmware.app.upkeep import Upkeep
from firmware.config.model import check, load
from firmware.config.problems_zh import chinese
from firmware.config.schema.tree import Config
from firmware.store import sealing
from firmware.store.configuration import ConfigurationStore
from firmware.update import backup, nightly, spool

PRIVATE = os.urandom(sealing.KEY_BYTES)
PUBLIC = sealing.b64(sealing.public_of(PRIVATE))
EVENING = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)           # 20:00 in Shanghai


class Night:
    """A box with a stick, and an update agent's folder."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.state, self.stick, self.run = folder / "state", folder / "stick", folder / "run"
        for each in (self.state, self.stick, self.run / "requests"):
            each.mkdir(parents=True)
        text = f'[central]\nfolder = "{self.stick}"\n{settings}'
        ConfigurationStore(self.state / "config").commit(text, "test", "")
        self.config: Config = load(text.encode(), file="site.toml")
        self.begin()
        self.now = EVENING

    def begin(self) -> None:
        """Manage starts (again)."""
        backups = BackupPart(self.state, lambda: self.config, lambda: None)
        self.upkeep = Upkeep(self.state, lambda: self.config, backups.sealed_to, self.run)

    def phase(self, phase: str) -> None:
        spool.tell(spool.Status("A", "1.0.0", phase), self.run)

    def go(self, hours: float) -> list[spool.Wish]:
        """Time passes in steps of five minutes; the wishes that were left."""
        end, wishes = self.now + timedelta(hours=hours), []
        while self.now < end:
            self.now += timedelta(minutes=5)
            asyncio.run(self.upkeep.look(self.now))
            wish = spool.take(self.run)
            if wish is not None:
                wishes.append(wish)
        return wishes

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.stick.iterdir())


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A path that `central.folder` may hold, which is of few and short parts."""
    return tmp_path


def test_a_backup_a_day_is_kept_and_opened_with_the_other_half_of_the_key(short: Path) -> None:
    box = Night(short, f'[backup]\nat = "03:10"\nrecipient = "{PUBLIC}"\nkeep = 2\n')
    box.go(6)
    assert box.kept() == ["auto-20260301.bak"], "it was late that day already"
    box.go(1)
    assert len(box.kept()) == 1, "not before its time"
    box.go(24 * 4 - 1)
    assert box.kept() == ["auto-20260304.bak", "auto-20260305.bak"]
    content = backup.unpack((box.stick / "auto-20260305.bak").read_bytes(), private=PRIVATE)
    assert b"03:10" in content.files[backup.SITE]
    made = (box.stick / "auto-20260305.bak").stat().st_mtime_ns
    box.begin()
    box.go(1)
    assert (box.stick / "auto-20260305.bak").stat().st_mtime_ns == made, "a restart makes none twice"


def test_a_stick_that_is_not_there_is_told_and_the_backup_made_when_it_is_back(short: Path) -> None:
    box = Night(short, f'[backup]\nat = "03:10"\nrecipient = "{PUBLIC}"\n')
    (box.stick / "auto-20260101.bak").write_bytes(b"older")
    away = box.stick.rename(box.stick.with_name("away"))
    assert box.upkeep.alarms() == {}, "nothing was tried yet"
    box.go(12)
    assert "plug the stick in" in box.upkeep.rows()[0].says and "U 盘" in box.upkeep.rows()[0].says_zh
    [(kind, (said, told))] = box.upkeep.alarms().items()
    assert kind == "backup:nightly" and "plug the stick in; there is none yet" in said and "U 盘" in told and "尚无" in told
    box.begin()
    assert kind in box.upkeep.alarms(), "a restart forgets no failure"
    away.rename(box.stick)
    box.go(1)
    assert box.upkeep.alarms() == {}
    assert box.kept() == ["auto-20260101.bak", "auto-20260302.bak"] and "bytes" in box.upkeep.rows()[0].says
    away = box.stick.rename(away)
    box.go(24)
    assert "of 2026-03-02" in box.upkeep.alarms()[kind][0]
    box.config = msgspec.structs.replace(box.config, backup=msgspec.structs.replace(box.config.backup, at=""))
    assert box.upkeep.alarms() == {}, "nobody wants one any more"


def test_an_update_is_asked_once_in_its_window_and_taken_back_when_it_ends(short: Path) -> None:
    box = Night(short, '[update]\nurl = "https://updates.example/{channel}/box.raucb"\nchannel = "early"\n')
    box.phase("idle")
    assert box.go(5.5) == [], "before the window"
    [wish] = box.go(3)
    assert (wish.what, wish.request.source, wish.request.now) == ("install", "https://updates.example/early/box.raucb", False)
    box.phase("waiting")
    [wish] = box.go(2)
    assert wish.what == "cancel" and box.go(16) == []
    box.phase("idle")
    assert [each.what for each in box.go(8)] == ["install"], "the next night"
    box.begin()
    assert box.go(3) == [], "a restart asks for none twice"


def test_a_wish_by_hand_is_left_alone(short: Path) -> None:
    box = Night(short, '[update]\nurl = "https://updates.example/box.raucb"\n')
    box.phase("waiting")
    assert box.go(48) == []


def test_without_an_agent_or_an_address_nothing_is_asked(short: Path) -> None:
    assert Night(short / "a", '[update]\nurl = "https://updates.example/box.raucb"\n').go(48) == []
    box = Night(short / "b", "")
    box.phase("idle")
    assert box.go(48) == [] and [row.at for row in box.upkeep.rows()] == ["", ""]
    assert "backup.at is not set" in box.upkeep.rows()[0].says and "未设置 update.url" in box.upkeep.rows()[1].says_zh


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_began() -> None:
    def at(day: int, hour: int) -> datetime:
        return datetime(2026, 3, day, hour, 30, tzinfo=UTC)

    assert nightly.window_day(at(1, 23), "22:00", "04:00") == date(2026, 3, 1)
    assert nightly.window_day(at(2, 3), "22:00", "04:00") == date(2026, 3, 1)
    assert nightly.window_day(at(2, 4), "22:00", "04:00") is None
    assert nightly.window_day(at(2, 4), "02:00", "05:00") == date(2026, 3, 2)
    assert 0 <= nightly.spread_minutes("Branch 7", "22:00", "04:00") < 180


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[backup]\nat = "03:00"\n[central]\nfolder = "/media/usb"\n', "backup.recipient"),
        (f'[backup]\nat = "03:00"\nrecipient = "{PUBLIC}"\n', "backup.at"),
        ('[update]\nurl = "https://x.example/a"\nbegin = "02:00"\nend = "02:00"\n', "update.end"),
        ('[update]\nurl = "http://x.example/a"\n', "update.url"),
        ('[update]\nbegin = ""\n', "update.begin"),
    ],
    ids=["no-recipient", "no-folder", "no-window", "http", "no-begin"],          # the key is another one in each process
)
def test_what_cannot_work_is_refused(text: str, path: str) -> None:
    _, found = check(text.encode(), file="site.toml")
    assert path in {problem.path for problem in found}
    assert all(chinese(problem.message) != problem.message for problem in found)


def test_what_was_done_is_remembered_even_if_the_file_is_damaged(short: Path) -> None:
    box = Night(short, "")
    (box.state / "upkeep.json").write_bytes(b"{")
    box.begin()
    assert msgspec.to_builtins(box.upkeep.done) == {"backup": "", "says": "", "says_zh": "", "failed": False, "update": "", "asked": ""}
