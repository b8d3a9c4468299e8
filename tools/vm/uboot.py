"""U-Boot for a board: from the distribution's source, with the board's configuration fragment and environment; cached by what went in.

Every line of the fragment is looked up in the resulting configuration: Kconfig drops what it does not know without a word.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from . import fetch
from .settings import BUILD, BoardImage

CROSS = "arm-linux-gnueabihf-"
# Of a stored environment only these are believed: nobody who can write the disk's first partition can change how the board boots.
# RESCUE=once asks for the rescue at the next start.
STORED = "BOOT_ORDER:sw,BOOT_A_LEFT:dw,BOOT_B_LEFT:dw,RESCUE:sw"


def environment(board: BoardImage) -> str:
    """The default environment of the board."""
    text = (board.folder / board.image.uboot.environment).read_text()
    return text.replace("@CONSOLE@", board.image.console).replace("@TRIES@", str(board.image.tries))


def unmet(fragment: str, resulting: str) -> list[str]:
    """Lines of a configuration fragment that the resulting configuration does not have."""
    have = set(resulting.splitlines())
    missing = []
    for line in fragment.splitlines():
        if line.startswith("CONFIG_") and line not in have:
            missing.append(line)
        elif line.startswith("# CONFIG_") and line.endswith(" is not set"):
            name = line.split()[1]
            if any(other.startswith(f"{name}=") for other in have):
                missing.append(line)
    return missing


def build(board: BoardImage, apt: fetch.Apt) -> Path:
    """The boot loader's binary."""
    wanted = board.image.uboot
    fragment = (board.folder / wanted.fragment).read_text()
    text = environment(board)
    key = hashlib.sha256("\n".join([repr(wanted), fragment, text, STORED, CROSS, "1"]).encode()).hexdigest()[:16]
    folder = BUILD / f"u-boot-{board.name}-{key}"
    product = folder / wanted.product
    if product.exists():
        return product
    archive = fetch.source(apt, wanted.source)
    print("== Building U-Boot", flush=True)
    tree = BUILD / "u-boot.part"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(tree), "--strip-components=1"], check=True)
    (tree / "branchpbx.env").write_text(text)
    _make(tree, wanted.defconfig)
    with (tree / ".config").open("a") as config:
        config.write(fragment + f'CONFIG_DEFAULT_ENV_FILE="{tree}/branchpbx.env"\n')
    _make(tree, "olddefconfig")
    missing = unmet(fragment, (tree / ".config").read_text())
    if missing:
        raise SystemExit(f"vm: U-Boot {wanted.source.version} does not take: {'; '.join(missing)}")
    _make(tree, "-j", str(os.cpu_count() or 1), f'KCPPFLAGS=-DCFG_ENV_FLAGS_LIST_STATIC=\\"{STORED}\\"', wanted.product)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(tree / ".config", folder / "config")
    shutil.copy2(tree / "Licenses" / "gpl-2.0.txt", folder / "licence.txt")
    shutil.copy2(tree / wanted.product, product.with_suffix(".part"))
    product.with_suffix(".part").rename(product)
    shutil.rmtree(tree)
    return product


def _make(tree: Path, *arguments: str) -> None:
    log = tree / "make.log"
    with log.open("w") as out:
        done = subprocess.run(
            ["make", "-s", "ARCH=arm", f"CROSS_COMPILE={CROSS}", *arguments], cwd=tree, stdout=out, stderr=out, check=False
        )
    if done.returncode:
        raise SystemExit(f"vm: U-Boot: make {arguments[0]} failed:\n{log.read_text()[-3000:]}")
