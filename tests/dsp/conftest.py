"""Signal tests draw from a numpy generator."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A generator of this test's own, repeatable from the run's seed."""
    return np.random.default_rng(seed)
