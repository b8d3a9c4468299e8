"""A short draw of the other two tables of `make bench-lines`: numbers that are offered, ringing that is accepted; and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.dsp.rare import assert_rare
from tools.bench_dsp.report import Goal, Section, Table
from tools.bench_lines import callerid, ring
from tools.bench_lines.__main__ import write_page
from tools.bench_lines.sections import ORDER, available

FSK = [scheme for scheme in callerid.SCHEMES if scheme.kind != "dtmf"]       # keys carry no checksum
RUN = {"commit": "0123456789ab", "machine": "none", "seed": 5, "quick": True, "versions": {}}


@pytest.mark.parametrize("scheme", callerid.SCHEMES, ids=[scheme.name for scheme in callerid.SCHEMES])
def test_number_of_every_scheme_comes_through_short_and_long_lines(scheme: callerid.Scheme, rng: np.random.Generator, soak: int) -> None:
    for line in (callerid.Line(), callerid.Line(-13.5, -55.0, 5.0), callerid.Line(-22.0, -45.0)):
        arrives, above = callerid.ratio(scheme, line)
        assert above >= callerid.SURE_DB and arrives >= callerid.SURE_DBM0

        def lost(_: int, line: callerid.Line = line) -> list[str]:
            sent, offered, _, _ = callerid.offered(rng, scheme, line)
            return [] if offered == sent else [f"{scheme.name}, {line}: {sent} came as {offered!r}"]

        assert_rare(lost, 3 if soak == 1 else 60, 30, 2)        # of the 4400 calls of `make bench-lines` none


@pytest.mark.parametrize("scheme", FSK, ids=[scheme.name for scheme in FSK])
def test_noise_gives_no_number_rather_than_a_wrong_one(scheme: callerid.Scheme, rng: np.random.Generator, soak: int) -> None:
    for noise in (-22.0, -17.0, -12.0):

        def wrong(_: int, noise: float = noise) -> list[str]:
            sent, offered, _, _ = callerid.offered(rng, scheme, callerid.Line(-16.0, noise))
            return [] if offered in (sent, "") else [f"{scheme.name}, {noise} dBm0: {sent} came as {offered!r}"]

        assert_rare(wrong, 3 if soak == 1 else 60, 30, 2)       # of the 6400 calls of `make bench-lines` none


def test_a_long_pair_takes_more_off_the_highs() -> None:
    t = np.arange(16000) / 8000.0
    for freq in (1200.0, 2200.0):
        x = np.sin(2.0 * np.pi * freq * t)
        loss = -20.0 * np.log10(np.std(callerid.over_the_pair(x, 6.0)[2000:14000]) / np.std(x))
        assert abs(loss - callerid.loss_db(freq, 6.0)) < 0.2
    assert callerid.loss_db(2200.0, 6.0) - callerid.loss_db(1200.0, 6.0) > 2.5


def test_ringing_is_told_from_what_is_none(rng: np.random.Generator) -> None:
    cells = {(15, 17), (20, 40), (25, 75), (50, 60), (68, 95), (10, 60), (25, 13), (100, 40)}
    trials = [one for one in ring.grid(rng, 1) if one.cell in cells]
    others = ring.strangers(rng)
    trials += [others[number] for number in rng.choice(len(others), 12, replace=False)]
    for outcome in ring.run(trials, rng):
        assert bool(outcome.bursts) == (outcome.trial.right == "accept"), outcome.trial.name


@pytest.mark.parametrize("country", ["CN", "UK"])
def test_rings_of_a_cadence_are_counted(country: str, rng: np.random.Generator) -> None:
    (outcome,) = ring.run([ring.cadence(country, 45.0, 25.0, rings=2)], rng)
    assert ring.rings_of(country, outcome) == 2 == len(outcome.bursts)


def test_page_keeps_sections_that_were_not_measured_now(tmp_path: Path) -> None:
    assert available() == list(ORDER)
    goal = Goal("false", 0.0, 0.0, "", False)
    write_page(tmp_path, {"ring": Section("ring", "Ringing", [Table("One", ("a", "b"), [("x", 1.0)])], [goal])}, RUN)
    missed = Goal("missed", 2.0, 0.0, "calls", False)
    write_page(tmp_path, {"disconnect": Section("disconnect", "Hang-ups", [Table("Two", ("a", "b"), [("y", 2.0)])], [missed])}, RUN)
    page = (tmp_path / "lines.md").read_text()
    assert "2 goals, 1 met, 1 missed" in page and page.index("## Hang-ups") < page.index("## Ringing") and "**missed**" in page
    assert list(json.loads((tmp_path / "lines-figures.json").read_text())) == ["disconnect", "ring"]


def test_published_page_is_what_the_last_run_wrote(tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parent.parent.parent / "docs" / "performance"
    (tmp_path / "lines-figures.json").write_text((folder / "lines-figures.json").read_text())
    write_page(tmp_path, {}, RUN)
    assert (tmp_path / "lines.md").read_text() == (folder / "lines.md").read_text(), "somebody edited a figure by hand"
