"""Fixtures of the tests with networks of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.nat.branch import Net


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    """Machines, cables, a box and phones, all gone with the test; the box must have ended well."""
    if os.geteuid() != 0:
        pytest.skip("not run: routers of a test need root")
    with ExitStack() as stack:
        yield Net(tmp_path, stack)
