"""The factory station: from the empty card to the label, several boards at once, and killed wherever it hurts."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import firmware
from tests.unit.provision_stage import Box
from tools.factory import __main__ as factory
from tools.factory import board as factory_board
from tools.factory.board import Board, Failed, Job, Place, Stopped

TOP = Path(__file__).resolve().parents[2]
SERIAL, MAC = "BX4000123", "70:B3:D5:00:00:7B"
# Stands for `branchpbx factory` where its own work is not what is tested: it writes the report that it would write.
TEST = """
import json, pathlib, sys
state, serial, status, verdict = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
folder = state / "factory" / "reports" / serial
folder.mkdir(parents=True, exist_ok=True)
number = len(list(folder.glob("*.json"))) + 1
(folder / f"{serial}-{number:02}.json").write_text(json.dumps({"serial": serial, "verdict": verdict, "seconds": 1}))
sys.exit(status)
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small one, with its manifest."""
    path = tmp_path / "disk.img"
    path.write_bytes(random.Random(5).randbytes(3 << 20))
    path.with_name("manifest.json").write_text(json.dumps({"board": "world", "version": firmware.__version__}))
    return path


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path / "box") as made:
        yield made


def card(folder: Path, name: str = "card") -> Path:
    path = folder / name
    path.write_bytes(b"\xa5" * (4 << 20))
    return path


def station(folder: Path, image: Path, places: list[tuple[str, str, str]], test: list[str] | None = None) -> Path:
    """A station file; places are name, card, port."""
    words = test or [sys.executable, "-c", TEST, "{state}", "{serial}", "0", "pass"]
    lines = [f'image = "{image}"', 'board = "world"', f'folder = "{folder / "line"}"', 'operator = "Li"', "boot_s = 60"]
    lines.append(f"test = {json.dumps(words)}")
    for name, path, port in places:
        lines += ["[[place]]", f'name = "{name}"', f'card = "{path}"', f'port = "{port}"']
    target = folder / "station.toml"
    target.write_text("\n".join(lines) + "\n")
    return target


def board_of(path: Path, serial: str = SERIAL, mac: str = MAC, place: int = 0) -> Board:
    job, places = factory.read_station(path, "en", "", 1)
    return Board(job, places[place], serial, mac, threading.Event())


def reports(folder: Path, serial: str = SERIAL) -> list[dict[str, Any]]:
    found = sorted((folder / "line" / "reports" / serial).glob("station-*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text()) for path in found]


def invariant(folder: Path, serial: str = SERIAL) -> bool:
    """A label is there only beside a report that says pass; True when there is one."""
    label = folder / "line" / "labels" / f"{serial}.pdf"
    if label.exists():
        assert label.read_bytes().startswith(b"%PDF") and b"%%EOF" in label.read_bytes()[-32:]
        assert reports(folder, serial)[-1]["verdict"] == "pass"
        assert [row["step"] for row in reports(folder, serial)[-1]["steps"]] == list(factory_board.STEPS)
    return label.exists()


def test_a_board_becomes_a_box_with_a_name_keys_and_a_label(tmp_path: Path, image: Path, box: Box) -> None:
    target = card(tmp_path)
    board = board_of(station(tmp_path, image, [("A", str(target), box.port)]))
    assert board.run() == "pass"
    assert target.read_bytes()[: 3 << 20] == image.read_bytes()
    known = json.loads((box.folder / "identity.json").read_text())
    assert (known["serial"], known["mac"], known["sealed"]) == (SERIAL, MAC.lower(), True)
    key = board.key_file.read_text().strip()
    assert (box.folder / "site.key").read_bytes().hex() == key and len(key) == 64
    assert board.key_file.stat().st_mode & 0o077 == 0
    assert invariant(tmp_path) and not board.journal.exists()
    report = reports(tmp_path)[-1]
    assert report["steps"][2]["facts"]["public_key"] == known["public_key"] and key not in json.dumps(report)
    assert report["image"]["version"] == firmware.__version__
    with pytest.raises(Failed, match="known"):
        board_of(tmp_path / "station.toml").run()


def test_a_failed_test_gives_a_report_and_no_label_and_takes_the_old_one_back(tmp_path: Path, image: Path, box: Box) -> None:
    place = [("A", str(card(tmp_path)), box.port)]
    assert board_of(station(tmp_path, image, place)).run() == "pass"
    bad = station(tmp_path, image, place, [sys.executable, "-c", TEST, "{state}", "{serial}", "3", "repair"])
    board = board_of(bad)
    with pytest.raises(Failed) as fault:
        board.run(again=True)
    assert fault.value.code == "test-fail" and "repair" in fault.value.said("en")
    assert not invariant(tmp_path) and reports(tmp_path)[-1]["failed"] == "test"
    assert list(factory_board.passed(tmp_path / "line")) == [], "a board whose last run failed has not passed"


def test_a_test_that_ends_well_without_a_report_is_none(tmp_path: Path, image: Path, box: Box) -> None:
    path = station(tmp_path, image, [("A", str(card(tmp_path)), box.port)], [sys.executable, "-c", "pass"])
    with pytest.raises(Failed, match="no-report"):
        board_of(path).run()
    assert not invariant(tmp_path)


def test_a_test_that_could_not_judge_leaves_the_board_where_it_is(tmp_path: Path, image: Path, box: Box) -> None:
    place = [("A", str(card(tmp_path)), box.port)]
    with pytest.raises(Stopped, match="could not be done"):
        board_of(station(tmp_path, image, place, [sys.executable, "-c", "raise SystemExit(1)"])).run()
    assert not reports(tmp_path)
    board = board_of(station(tmp_path, image, place))
    board.done.clear()
    seen: list[str] = []
    board.tell = lambda code, step, facts: seen.append(f"{code} {step}")
    assert board.run() == "pass" and "begin flash" not in seen and "again identity" in seen


def test_a_board_that_was_swapped_meanwhile_is_not_labelled(tmp_path: Path, image: Path, box: Box) -> None:
    place = [("A", str(card(tmp_path)), box.port)]
    with pytest.raises(Stopped):
        board_of(station(tmp_path, image, place, [sys.executable, "-c", "raise SystemExit(1)"])).run()
    known = json.loads((box.folder / "identity.json").read_text())
    (box.folder / "identity.json").write_text(json.dumps({**known, "serial": "BX4000124"}))
    with pytest.raises(Failed, match="another-board"):
        board_of(station(tmp_path, image, place)).run()
    assert not invariant(tmp_path) and reports(tmp_path)[-1]["why_zh"]


def test_two_boards_never_share_keys_or_an_address(tmp_path: Path, image: Path, box: Box) -> None:
    path = station(tmp_path, image, [("A", str(card(tmp_path)), box.port)])
    assert board_of(path).run() == "pass"
    with pytest.raises(Failed, match="other-mac"):
        board_of(path, "BX4000124").run()
    # A copied card: same keys, its identity taken out.
    (box.folder / "identity.json").unlink()
    (box.folder / "site.key").unlink()
    with pytest.raises(Failed, match="other-keys"):
        board_of(path, "BX4000124", "70:B3:D5:00:00:7C").run()
    assert not invariant(tmp_path, "BX4000124")


def test_another_image_or_a_card_that_stayed_behind_is_seen(tmp_path: Path, image: Path, box: Box) -> None:
    image.with_name("manifest.json").write_text(json.dumps({"version": "9.9.9"}))
    with pytest.raises(Failed, match="another-version"):
        board_of(station(tmp_path, image, [("A", str(card(tmp_path)), box.port)])).run()


def test_one_board_is_not_worked_on_twice(tmp_path: Path, image: Path, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory_board, "BUSY_S", 0.1)
    board = board_of(station(tmp_path, image, [("A", str(card(tmp_path)), box.port)]))
    with board._alone(), pytest.raises(Failed, match="busy"):
        board_of(tmp_path / "station.toml").run()


class Cut(BaseException):
    """The station's power fails."""


def test_the_power_may_fail_before_any_write_and_after_it(tmp_path: Path, image: Path, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file operation that lasts is a place to die at, before or after it; the next start goes on."""
    path = station(tmp_path, image, [("A", str(card(tmp_path)), box.port)])
    names = ("append_line", "write_atomic", "sync_folder")
    real = {name: getattr(factory_board, name) for name in names}
    dice = random.Random(int(os.environ.get("BRANCHPBX_SEED", "8")))
    deaths = 0
    for after in (False, True):
        for at in range(after, 40, 2):
            count = [0]

            def dying(name: str, *args: Any, at: int = at, after: bool = after, count: list[int] = count, **more: Any) -> Any:
                mine, count[0] = count[0], count[0] + 1
                if mine == at and not after:
                    raise Cut
                done = real[name](*args, **more)
                if mine == at:
                    raise Cut
                return done

            for name in names:
                monkeypatch.setattr(factory_board, name, lambda *args, name=name, **more: dying(name, *args, **more))
            serial = f"BX4{after:d}{at:05}"
            for name in ("identity.json", "site.key"):
                (box.folder / name).unlink(missing_ok=True)
            for file in (box.folder / "device").glob("*"):
                file.unlink()
            mac = f"70:B3:D5:0{after:d}:{dice.randrange(256):02X}:{at:02X}"
            try:
                board_of(path, serial, mac).run()
                died = False
            except Cut:
                died = True
                deaths += 1
                invariant(tmp_path, serial)
            for name in names:
                monkeypatch.setattr(factory_board, name, real[name])
            if died:
                try:
                    assert board_of(path, serial, mac).run() == "pass"
                except Failed as fault:
                    assert fault.code == "known", "it was finished but for its journal"
            assert invariant(tmp_path, serial)
            if not died:
                break
    assert deaths >= 10


def test_killed_at_random_the_station_goes_on(tmp_path: Path, image: Path) -> None:
    """Two boards at once, the product's own factory test on simulated boards, the program killed until it gets through."""
    dice = random.Random(int(os.environ.get("BRANCHPBX_SEED", "4")))
    with Box(tmp_path / "one") as one, Box(tmp_path / "two") as two:
        words = factory_board.default_test("branch-4x4", 1)
        places = [("A", str(card(tmp_path, "a")), one.port), ("B", str(card(tmp_path, "b")), two.port)]
        path = station(tmp_path, image, places, [*words, "--without-golden"])
        boards = tmp_path / "boards.csv"
        boards.write_text(f"place,serial,mac\nA,{SERIAL},{MAC}\nB,BX4000124,70:B3:D5:00:00:7C\n")
        command = [sys.executable, "-m", "tools.factory", str(path), "--boards", str(boards), "--simulated", "1"]
        kills = 0
        for turn in range(40):
            process = subprocess.Popen(
                command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
            )
            if kills < 6:
                time.sleep(dice.uniform(0.2, 1.0 + turn))
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    kills += 1
            said, _ = process.communicate(timeout=120)
            for serial in (SERIAL, "BX4000124"):
                invariant(tmp_path, serial)
            left = [row["serial"] for row in factory_board.passed(tmp_path / "line")]
            if sorted(left) == [SERIAL, "BX4000124"] and not list((tmp_path / "line" / "open").glob("*.jsonl")):
                break
            assert "FAIL" not in said, said
        assert invariant(tmp_path) and invariant(tmp_path, "BX4000124"), said
        assert {json.loads((folder / "identity.json").read_text())["serial"] for folder in (one.folder, two.folder)} == {
            SERIAL,
            "BX4000124",
        }


def test_wrong_stations_and_labels_are_told_whole(tmp_path: Path, image: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        'image = "no.img"\ncolour = 3\n[[place]]\nname = "A"\ncard = "/dev/sdz"\nport = "p"\n[[place]]\nname = "A"\nport = "q"\n'
    )
    with pytest.raises(factory.Usage) as fault:
        factory.read_station(path, "", "", None)
    said = str(fault.value)
    for part in ("unknown: colour", "board is missing", "folder is missing", "two places have the name A", "card is missing", "operator"):
        assert part in said
    places = [Place("A", "/dev/sdz", "p")]
    with pytest.raises(factory.Usage) as fault:
        factory.checked([("A", "bx1", MAC), ("C", SERIAL, MAC), ("A", "BX4000125", MAC), ("A", "BX4000126", "71:00:00:00:00:01")], places)
    assert str(fault.value).count("row ") >= 4


def test_a_built_in_disk_is_no_card(tmp_path: Path, image: Path) -> None:
    job = Job(image, "0", "", "world", tmp_path / "line", "Li")
    board = Board(job, Place("A", str(card(tmp_path)), "p"), SERIAL, MAC, threading.Event())
    with pytest.raises(Failed, match="command"):
        board._flash()
