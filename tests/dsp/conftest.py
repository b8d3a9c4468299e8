"""Signal tests draw from a numpy generator; long counts are for `make soak-dsp`."""

from __future__ import annotations

import os

import numpy as np
import pytest

SOAK = int(os.environ.get("BRANCHPBX_SOAK", "1"))


def pytest_configure(config: pytest.Config) -> None:
    """Declare what only this folder uses."""
    config.addinivalue_line("markers", "soak: takes minutes; runs with `make soak-dsp` only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests marked `soak` out of the daily run."""
    if SOAK > 1:
        return
    left_out = [item for item in items if item.get_closest_marker("soak")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A generator of this test's own, repeatable from the run's seed."""
    return np.random.default_rng(seed)


@pytest.fixture
def soak() -> int:
    """How many times the usual amount of signal a test tries: 1, or 50 in `make soak-dsp`."""
    return SOAK
