"""SIGKILL, power cut and full disk at every call of every step of the configuration store: none leaves anything bad."""

from __future__ import annotations

import pytest

from tools import config_faults


@pytest.mark.parametrize("name", config_faults.SCENARIOS)
def test_no_interruption_leaves_anything_bad_and_the_page_says_so(name: str) -> None:
    row, table, bad = config_faults.section(name)
    assert bad == []
    page = config_faults.PAGE.read_text("utf-8")
    assert row in page and "\n".join(table) in page, "run: python -m tools.config_faults --docs"
