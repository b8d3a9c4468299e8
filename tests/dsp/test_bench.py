"""What the benchmark writes: tables, pages and pictures; and that the generated part of the documentation is what a run left."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from tools.bench_dsp import drive, pages, plot
from tools.bench_dsp.report import Curve, Goal, Plot, Section, Table
from tools.bench_dsp.sections import ORDER

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "performance"
RUN = {"commit": "0123456789ab", "machine": "none", "seed": 5, "quick": True, "versions": {}}


def section() -> Section:
    x = np.arange(2000) / 8000.0
    curves = [Curve("one", list(x), list(np.sin(40.0 * x))), Curve("two", [0.0], [3.0])]
    picture = Plot("waves", "Two <waves> & noise", "time, s", "level, dB", curves)
    goals = [Goal("deep enough", np.float64(30.0), 20.0, "dB", True), Goal("cheap enough", 61.0, 60.0, "", False)]
    goals.append(Goal("unknown", float("nan"), 1.0, "", True))
    rows = [("ours", np.float64(1.234), 5), ("theirs", 12.0, np.int64(70)), ("nobody", float("nan"), 0)]
    table = Table("A table", ("who", "figure", "count"), rows, "Note.")
    return Section("echo", "Echo", [table], goals, [picture])


def test_a_goal_is_met_at_its_limit_and_not_when_unknown() -> None:
    assert Goal("", 20.0, 20.0, "", True).met and Goal("", 20.0, 20.0, "", False).met
    assert [goal.met for goal in section().goals] == [True, False, False]


def test_numbers_of_a_column_have_the_same_digits() -> None:
    assert pages.cells([("a", 1.234, 5), ("b", 12.0, 70), ("c", -0.01, 0)]) == [["a", "1.2", "5"], ["b", "12.0", "70"], ["c", "0.0", "0"]]
    assert pages.cell(None) == pages.cell(float("nan")) == "-" and pages.cell(4.0) == "4"


def test_pages_hold_every_goal_table_and_picture(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Head\n\nText.\n", encoding="utf-8")
    for _ in range(2):      # the second run replaces what the first left
        written = pages.write_pages(tmp_path, {"echo": section()}, RUN, ORDER)
        assert sorted(written) == sorted(path.name for path in tmp_path.iterdir())
    overview, page = (tmp_path / "README.md").read_text(), (tmp_path / "echo.md").read_text()
    assert overview.startswith("# Head\n\nText.\n") and overview.count(pages.BEGIN) == 1
    assert "3 goals, 1 met, 2 missed." in overview and "| cheap enough | 61 | at most 60 | **missed** |" in overview
    assert "| ours | 1.2 | 5 |" in page and "](waves.svg)" in page and "seed 5" in page
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["echo"]["tables"][0]["rows"][2] == ["nobody", None, 0]
    other = Section("dtmf", "Keys", [], [Goal("late", 1.0, 2.0, "s", False)])
    pages.write_pages(tmp_path, {"dtmf": other}, RUN, ORDER)
    overview = (tmp_path / "README.md").read_text()
    assert "4 goals, 2 met, 2 missed." in overview and overview.index("[Echo]") < overview.index("[Keys]")
    assert "cheap enough" in pages.terminal(section())


def test_pictures_are_small_and_well_formed() -> None:
    text = plot.svg(section().plots[0])
    root = ElementTree.fromstring(text)
    words = [element.text for element in root.iter() if element.text and element.text.strip()]
    assert {"Two <waves> & noise", "time, s", "level, dB", "one", "two"} <= set(words)
    assert len(text) < 12000
    numbers = [float(n) for path in root.iter("{http://www.w3.org/2000/svg}path") for n in re.findall(r"[ML ](-?[\d.]+)", path.attrib["d"])]
    assert min(numbers) >= 0.0 and max(numbers) <= max(plot.WIDTH, plot.HEIGHT)


def test_the_overview_is_what_the_last_run_wrote() -> None:
    """Nobody edits a figure by hand: the README's generated part follows from figures.json, the pages' goals too."""
    path = FOLDER / pages.FIGURES
    if not path.exists():
        assert "Nothing was written here yet." in (FOLDER / "README.md").read_text(encoding="utf-8")
        return
    known = json.loads(path.read_text(encoding="utf-8"))
    block = "\n".join([pages.BEGIN, *pages.overview(known), pages.END])
    assert block in (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, one in known.items():
        page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        for goal in one["goals"]:
            assert "| " + " | ".join(map(str, pages.goal_row(goal))) + " |" in page
        for picture in re.findall(r"\]\((\w[\w-]*\.svg)\)", page):
            assert (FOLDER / picture).exists(), picture


def test_the_driver_knows_its_blocks() -> None:
    """Every block of ours can be made and fed; a tree without one would count nothing for it."""
    sound = bytes(np.random.default_rng(1).integers(-9000, 9000, 16000, dtype=np.int16).astype("<i2").tobytes())
    blocks = drive.own_blocks()
    assert len(blocks) > 30
    for block in blocks.values():
        feed = block.make()
        feed(sound[: 2 * block.rate], sound[: 2 * block.rate])
