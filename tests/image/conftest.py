"""The image's tests run only when asked for (`make test-image`): they make images and emulate a board for minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import enter_network
from tools.vm import build, bundle, disk, fetch, uboot
from tools.vm.settings import BUILD, BoardImage, load

from .board import BENCH
from .story import FIRST, SECOND

collect_ignore_glob = [] if os.environ.get("BRANCHPBX_IMAGE") else ["test_*.py"]


class Images(NamedTuple):
    """What was made: boot loader, disk with the first version, bundle of the second, root of one that does not start."""

    board: BoardImage
    loader: Path
    disk: Path
    bundle: Path
    broken: Path
    refused: dict[str, Path]
    """Bundles that no box may take, by how that ends and a word of the reason."""

    @property
    def roots(self) -> list[Path]:
        """Every root that may be on a slot of the first board."""
        return [self.disk.with_name("root.squashfs"), self.bundle.with_name("root.squashfs")]


def without_init(root: Path, target: Path) -> Path:
    """A root with kernel and initramfs and nothing to start: what a wrong build does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    tree = target.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    target.unlink(missing_ok=True)
    subprocess.run(["unsquashfs", "-q", "-n", "-d", str(tree), str(root), "boot"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mksquashfs", str(tree), str(target), "-comp", "zstd", "-all-root", "-quiet", "-no-progress"], check=True)
    shutil.rmtree(tree)
    return target


def bad_bundles(board: BoardImage, root: Path, folder: Path) -> dict[str, Path]:
    """What somebody might offer a box: another board's, an older one, another authority's, half of one, one with a flipped bit."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mine, foreign, name = build.KEYS, folder / "foreign", board.image.compatible
    bundle.keys(foreign)
    made = {
        "refused: this box is": ("9.0.0", "branchpbx-other", mine), "refused: older": ("0.9.0", name, mine),
        "refused: signature": ("9.0.0", name, foreign), "refused: bundle": ("9.0.0", name, mine), "failed: bundle": ("9.0.0", name, mine),
    }  # fmt: skip
    found = {}
    for number, (wanted, (version, compatible, keys)) in enumerate(made.items()):
        found[wanted] = folder / f"{number}.raucb"
        bundle.make(root, version, compatible, keys, found[wanted])
    half = found["refused: bundle"]
    os.truncate(half, half.stat().st_size // 2)
    with found["failed: bundle"].open("r+b") as file:
        file.seek(1 << 20)
        byte = file.read(1)[0]
        file.seek(1 << 20)
        file.write(bytes([byte ^ 0x10]))
    return found


@pytest.fixture(scope="session")
def images() -> Images:
    """Made before the network namespace is entered, which has no way out."""
    board = load("qemu-armv7")
    try:
        first = build.update(board, FIRST, BENCH)
        second = build.update(board, SECOND, BENCH)
        loader = uboot.build(board, fetch.Apt(board.image.suite, board.image.architecture))
        build.system(board, fetch.Apt(board.image.suite, board.image.architecture), FIRST, bundle.keys(build.KEYS))     # for test_rescue.py
    except fetch.NotFetched as error:
        pytest.skip(f"not run: {error}")
    made = first.with_name("disk.img")
    if not made.exists():
        disk.build(board, first.with_name("root.squashfs"), made)
    broken = without_init(first.with_name("root.squashfs"), BUILD / "story-broken" / "root.squashfs")
    return Images(board, loader, made, second, broken, bad_bundles(board, broken, broken.with_name("bundles")))


@pytest.fixture(scope="session")
def network(images: Images) -> str:
    """The tests' own network, from which nothing can be fetched; the address in it."""
    return enter_network()
