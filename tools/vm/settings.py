"""What `[image]` of a board file says about its image: partitions, boot chain, packages, update rules.

One board file drives the appliance (firmware/config/board.py), its image and its emulator. Sizes are MiB.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build" / "vm"


class Partitions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes in MiB. `boot` holds both copies of the boot loader's environment, `state` all that the branch owns."""

    boot: int = 8
    slot: int = 96
    rescue: int = 24
    state: int = 192


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A source archive of the distribution; `sha256` is of the upstream archive."""

    package: str
    version: str
    sha256: str


class UBoot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the boot loader is made."""

    source: Source
    defconfig: str
    fragment: str
    environment: str
    product: str = "u-boot.bin"


class Modules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kernel modules by name; what they depend on comes along. `initramfs`: until the root is mounted, `root`: afterwards."""

    initramfs: list[str]
    root: list[str]


class Rescue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rescue system of the board (docs/rescue.md)."""

    packages: list[str]
    """Packages that its programs and libraries are taken from."""
    modules: list[str]
    """Kernel modules, with what they depend on."""
    address: str = "192.168.77.77/24"
    """The box's own where nobody gives one."""
    wait_s: int = 900
    """Left alone for so long it restarts into the firmware; 0: never."""
    baud_most: int = 3_000_000


class Emulator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the board is emulated."""

    program: str
    options: list[str]
    memory: int
    """MiB"""
    cores: int


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Table `[image]`."""

    compatible: str
    suite: str
    architecture: str
    console: str
    kernel: str
    """Meta package of the kernel; the package it depends on is unpacked."""
    python: str
    site: str
    """Site file that a board without a configuration starts with."""
    packages: list[str]
    keep: dict[str, list[str]]
    """Of these packages only the files named."""
    headers: list[str]
    """Packages that only the compiler needs."""
    modules: Modules
    uboot: UBoot
    emulator: Emulator
    partitions: Partitions = Partitions()
    rescue: Rescue | None = None
    realtime: int = 50
    """Highest real-time priority of the media engine, 0 for none."""
    tries: int = 3
    """Boots of a slot that may fail before the other one is taken."""


class _File(msgspec.Struct):
    name: str
    image: Image


class BoardImage(msgspec.Struct, frozen=True):
    """A board's folder and its `[image]`."""

    name: str
    folder: Path
    image: Image


def load(name: str) -> BoardImage:
    """`[image]` of board `name`; SystemExit with a sentence when there is none or it is wrong."""
    folder = TOP / "board" / name
    path = folder / "board.toml"
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except FileNotFoundError:
        raise SystemExit(f"vm: board {name!r} has no {path.relative_to(TOP)}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SystemExit(f"vm: {path.relative_to(TOP)}: {error}") from None
    return BoardImage(found.name, folder, found.image)
