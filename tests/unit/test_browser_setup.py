"""What the set-up of the tests in a browser makes of a registry that does not answer, and of one that lies."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("says", "status", "missing"),
    [
        ("npm error code ENOTFOUND", 3, "JsSIP cannot be fetched: npm error code ENOTFOUND"),
        ("npm error code E503", 3, "JsSIP cannot be fetched: npm error code E503"),
        ("npm error code EINTEGRITY", 1, None),         # not what was pinned: a fault, never "not run"
        ("npm error code EUSAGE", 1, None),
    ],
)
def test_what_cannot_be_fetched_is_not_run_and_all_else_fails(tmp_path: Path, says: str, status: int, missing: str | None) -> None:
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/browser.sh", tmp_path / "tools")
    shutil.copytree(ROOT / "tests/browser", tmp_path / "tests/browser")
    (tmp_path / "bin").mkdir()
    for name, text in (("npm", f"echo '{says}'; exit 1"), ("chromium", "exit 0")):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run([str(tmp_path / "tools/browser.sh")], env={**os.environ, "PATH": path}, capture_output=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    note = tmp_path / "build/browser.missing"
    assert (note.read_text().strip() if note.exists() else None) == missing
