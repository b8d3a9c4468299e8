"""From board file to disk image, update bundle and manifest."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

import firmware

from . import bundle, disk, fetch, papers, rescue, rootfs, uboot
from .settings import BUILD, TOP, BoardImage

KEYS = TOP / "build" / "keys"
# Of tools/vm, what starts boards and does not make them.
BESIDE = ("__main__.py", "machine.py", "power.py", "powercut.py", "wear.py")


class Built(msgspec.Struct, frozen=True):
    """Where things are."""

    loader: Path
    root: Path
    disk: Path
    folder: Path
    version: str


def sources(board: BoardImage) -> str:
    """Hash of all that goes into a slot beside the distribution's packages."""
    total = hashlib.sha256()
    folders = [TOP / "firmware", TOP / "buildroot" / "overlay", board.folder, TOP / "tools" / "vm", TOP / "build" / "prompts"]
    beside = {TOP / "tools" / "vm" / name for name in BESIDE}
    wanted = (".py", ".pyx", ".pxd", ".h", ".toml", ".txt", ".sql", ".env", ".config", ".wav", ".json", ".j2", ".html", ".css", ".js", "")
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix in wanted and path not in beside:
                total.update(f"{path.relative_to(TOP)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    total.update((TOP / "tools" / "requirements.txt").read_bytes())
    total.update((KEYS / "keyring.pem").read_bytes())
    return total.hexdigest()[:16]


def _check(board: BoardImage) -> None:
    """The site file that the box starts with is right; SystemExit says what is not."""
    from firmware.app.site import read_site

    site = read_site(board.folder / board.image.site)
    if site.problems:
        raise SystemExit("vm: " + "; ".join(problem.text() for problem in site.problems))


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Nobody else builds in this checkout meanwhile; the folder is there, in a fresh one too."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(board: BoardImage, version: str = "") -> Built:
    """Disk image of `version` (default: the firmware's own), made anew only when something changed. NotFetched, SystemExit."""
    _check(board)
    version = version or firmware.__version__
    with _one_at_a_time():
        keyring = bundle.keys(KEYS)
        apt = fetch.Apt(board.image.suite, board.image.architecture)
        loader = uboot.build(board, apt)
        folder = BUILD / f"image-{board.name}" / f"{version}-{sources(board)}"
        root, image = folder / "root.squashfs", folder / "disk.img"
        if not (folder / "manifest.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            versions = rootfs.product(board, apt, version, keyring, root)
            accompany(board, version, folder)
            disk.build(board, root, image, system(board, apt, version, keyring))
            manifest = {
                "board": board.name, "version": version, "compatible": board.image.compatible, "packages": versions,
                "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (loader, root, image)},
                "bytes": {path.name: path.stat().st_size for path in (loader, root, image)},
                "made_in_s": round(time.monotonic() - began, 1),
            }  # fmt: skip
            (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        return Built(loader, root, image, folder, version)


def system(board: BoardImage, apt: fetch.Apt, version: str, keyring: Path) -> Path | None:
    """The squashfs of the board's rescue; None for a board without."""
    return rescue.build(board, apt, rootfs.kernel(board, apt), version, keyring) if board.image.rescue is not None else None


def accompany(board: BoardImage, version: str, folder: Path) -> list[Path]:
    """Licence texts, offer of sources and bill of materials of the root, in `papers` beside it. SystemExit: what may not be in it."""
    apt = fetch.Apt(board.image.suite, board.image.architecture)
    tree, linux = rootfs.base(board, apt), rootfs.kernel(board, apt)
    texts = {path.name: path.read_text(errors="replace") for path in (tree.parent / f"{tree.name}.licences").iterdir()}
    texts |= {path.parent.name: path.read_text(errors="replace") for path in linux.glob("usr/share/doc/*/copyright")}
    debs = [*fetch.packages(apt, board.image.packages).glob("*.deb"), *(BUILD / "debs" / linux.name).glob("*.deb")]
    more = {"msgspec": (rootfs.msgspec_source().parents[1] / "LICENSE").read_text(encoding="utf-8")}
    return papers.collect(board, debs, texts, version, folder / "papers", more)


def update(board: BoardImage, version: str, extra: dict[str, bytes] | None = None, name: str = "update.raucb") -> Path:
    """A signed bundle of `version`; `extra`: files put in place of the image's own."""
    with _one_at_a_time():
        keyring = bundle.keys(KEYS)
        key = hashlib.sha256(repr(sorted((extra or {}).items())).encode()).hexdigest()[:8]
        folder = BUILD / f"image-{board.name}" / f"{version}-{sources(board)}-{key}"
        target = folder / name
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            root = folder / "root.squashfs"
            proof = BUILD / "proven" / f"{sources(board)}-{key}"
            rootfs.product(board, fetch.Apt(board.image.suite, board.image.architecture), version, keyring, root, extra, proof)
            bundle.make(
                root, version, board.image.compatible, KEYS, folder / "part.raucb", _commit(), accompany(board, version, folder)
            )
            (folder / "part.raucb").rename(target)
        return target


def _commit() -> str:
    done = subprocess.run(["git", "-C", str(TOP), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
