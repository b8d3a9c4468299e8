"""`docs/sip-rows.md` names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NAMED = re.compile(r"`((?:[a-z0-9]+/)?test_[a-z0-9_]+\.py)::(test_[a-z0-9_]+)`")


def test_every_row_names_tests_that_exist() -> None:
    page = (ROOT / "docs/sip-rows.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 30
    missing = []
    for row in rows:
        named = NAMED.findall(row)
        assert named, f"no test for {row[:80]}"
        for file, test in named:
            path = ROOT / "tests" / (file if "/" in file else f"unit/{file}")
            if not path.exists() or f"def {test}(" not in path.read_text("utf-8"):
                missing.append(f"{file}::{test}")
    assert missing == []
