"""Bundles as RAUC sees them: ours is taken, what somebody touched or did not sign is refused with a reason that people understand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from firmware.update.rauc import last_error
from firmware.update.rules import unusable
from tools.vm import bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed bundle and the folder of its keys."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "root.squashfs").write_bytes(bytes(range(256)) * 4096)
    bundle.keys(folder / "keys")
    bundle.make(folder / "root.squashfs", "1.2.3", "branchpbx-qemu-armv7", folder / "keys", folder / "good.raucb")
    return folder / "good.raucb", folder / "keys"


def info(path: Path, keys: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["rauc", "info", f"--keyring={keys / 'keyring.pem'}", "--output-format=json", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_our_bundle_says_board_and_version(made: tuple[Path, Path]) -> None:
    done = info(*made)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["compatible"], said["version"]) == ("branchpbx-qemu-armv7", "1.2.3")


def test_keys_are_made_once_and_only_their_owner_reads_them(made: tuple[Path, Path]) -> None:
    _, keys = made
    before = (keys / "keyring.pem").read_bytes()
    assert bundle.keys(keys).read_bytes() == before
    assert keys.stat().st_mode & 0o077 == 0


def test_a_bundle_of_another_authority_is_refused_for_its_signature(made: tuple[Path, Path], tmp_path: Path) -> None:
    bundle.keys(tmp_path / "others")
    done = info(made[0], tmp_path / "others")
    assert done.returncode != 0
    assert unusable(last_error(done.stderr)).code == "signature"


@pytest.mark.parametrize("how", ["truncated", "unsigned", "signature flipped", "empty"])
def test_a_bundle_that_is_not_whole_is_refused(made: tuple[Path, Path], tmp_path: Path, how: str) -> None:
    data = bytearray(made[0].read_bytes())
    size = int.from_bytes(data[-8:], "big")  # of the signature, which is the last thing before this number
    if how == "truncated":
        del data[len(data) // 2 :]
    elif how == "unsigned":
        del data[-8 - size :]
    elif how == "signature flipped":
        data[-8 - size // 2] ^= 0x10
    else:
        data.clear()
    broken = tmp_path / "broken.raucb"
    broken.write_bytes(data)
    done = info(broken, made[1])
    assert done.returncode != 0
    words = unusable(last_error(done.stderr))
    assert words.code in ("damaged", "signature") and words.en and words.zh


def test_the_content_is_bound_to_the_signature_by_a_root_hash(made: tuple[Path, Path], tmp_path: Path) -> None:
    data = made[0].read_bytes()
    size = int.from_bytes(data[-8:], "big")
    (tmp_path / "signature").write_bytes(data[-8 - size : -8])
    command = ["openssl", "cms", "-verify", "-inform", "DER", "-in", str(tmp_path / "signature"), "-CAfile", str(made[1] / "keyring.pem")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "format=verity" in text and "verity-hash=" in text and "verity-salt=" in text and "verity-size=" in text
