"""A backup that was laid aside is put in its place by the next start, whole, whatever a power cut leaves of either."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware.app.backup_part import apply_pending, lay_aside
from firmware.errors import StoreError
from firmware.store import sealing
from firmware.store.configuration import ConfigurationStore, in_force
from firmware.store.files import write_atomic
from firmware.update import backup
from tests.unit.test_backup import NEWER, SITE, box


def text_of(state: Path) -> str:
    kept = in_force(state / "config")
    assert kept is not None
    return kept.text


def laid(tmp_path: Path) -> tuple[Path, backup.Content]:
    old, new = box(tmp_path / "old"), box(tmp_path / "new", NEWER)
    content = backup.collect(old, sealing.Device(old / "device").public.device, "s", "v", 1_000)
    lay_aside(content, new)
    return new, content


def test_the_next_start_takes_it_once(tmp_path: Path) -> None:
    state, content = laid(tmp_path)
    assert (state / "restore").stat().st_mode & 0o077 == 0
    assert text_of(state) == NEWER
    assert apply_pending(state, "fingerprint-of-the-site-file")
    assert text_of(state) == SITE
    assert (state / "tls" / "ca.crt").read_bytes() == content.files["tls/ca.crt"]
    assert (state / "replaced.json").is_file()
    assert ConfigurationStore(state / "config").imported() == "fingerprint-of-the-site-file"
    assert not (state / "restore").exists()
    assert not apply_pending(state, "")


def test_a_power_cut_at_every_write_leaves_one_site_or_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after n writes, then started again: the new site is whole in the end; until its configuration is in, the old one is in force."""
    real = write_atomic
    for cut in (1, 3, 6):
        folder = tmp_path / str(cut)
        folder.mkdir()
        state, content = laid(folder)
        count = 0

        def write(path: Path, data: bytes, *, mode: int = 0o644, limit: int = cut) -> None:
            nonlocal count
            count += 1
            if count >= limit:
                raise OSError(5, "cut")
            real(path, data, mode=mode)

        with monkeypatch.context() as patched:
            patched.setattr("firmware.update.backup.write_atomic", write)
            try:
                apply_pending(state, "")
            except StoreError:
                assert text_of(state) == NEWER
        if (state / "restore" / "ready").is_file():
            assert apply_pending(state, "")
        assert text_of(state) == SITE
        assert (state / "secrets.json").read_bytes() == content.files["secrets.json"]


def test_what_was_laid_aside_in_part_or_damaged_changes_nothing(tmp_path: Path) -> None:
    state, _ = laid(tmp_path)
    (state / "restore" / "ready").unlink()
    assert not apply_pending(state, "")
    assert text_of(state) == NEWER
    (state / "restore" / "ready").write_bytes(b"")
    (state / "restore" / "content").write_bytes(b"noise")
    assert not apply_pending(state, "")
    assert text_of(state) == NEWER
    assert not (state / "restore").exists()
