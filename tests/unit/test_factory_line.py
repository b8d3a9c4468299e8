"""Boards in a row: what the yield says is what was put in. `make soak-unit` tests forty and more."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import soak
from tools.factory_line import CONTACTS, FAULTS, shift


def test_the_yield_of_a_shift_is_what_was_put_in(tmp_path: Path, seed: int) -> None:
    found, wrong, seconds = shift(tmp_path, 4 if soak() == 1 else 40, seed, 0.5)
    assert wrong == []
    assert found.mean_seconds < 500
    assert seconds < 8 * 3600


def test_the_faults_of_the_line_are_known() -> None:
    assert set(CONTACTS) <= set(FAULTS)
