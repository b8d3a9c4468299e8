"""The disk as it is flashed: GPT with boot environment, slot A, slot B (empty until the first update), rescue, and the state partition."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from .settings import BUILD, TOP, BoardImage

CONFIG = TOP / "buildroot" / "common" / "disk.cfg"
ENVIRONMENT_BYTES = 0x2000
FILE = 'image = "rescue.squashfs" '
RESCUE = 'partition rescue { @FILE@size = @SIZE@M partition-uuid = "6c7a2a0e-5f3f-4f0e-9d6a-0b6a2c9b7b06" partition-type-uuid = "L" }'


def build(board: BoardImage, root: Path, target: Path, rescue: Path | None = None) -> None:
    """Write the disk image; without `rescue` its partition is empty."""
    work = BUILD / "disk"
    shutil.rmtree(work, ignore_errors=True)
    (work / "in").mkdir(parents=True)
    (work / "empty").mkdir()
    (work / "in" / "root.squashfs").symlink_to(root)
    # Only the counters are stored; everything else is the boot loader's own.
    text = (board.folder / board.image.uboot.environment).read_text().replace("@TRIES@", str(board.image.tries))
    stored = "".join(f"{line}\n" for line in text.splitlines() if re.match(r"BOOT_(ORDER|[AB]_LEFT)=", line))
    for name in ("uboot.env", "uboot-r.env"):
        _run(["mkenvimage", "-r", "-s", str(ENVIRONMENT_BYTES), "-o", str(work / "in" / name), "-"], stored)
    sizes = board.image.partitions
    if rescue is not None:
        (work / "in" / "rescue.squashfs").symlink_to(rescue)
    text = CONFIG.read_text().replace("@LOADER@", "").replace("@RESCUE@", RESCUE.replace("@FILE@", "" if rescue is None else FILE))
    for word, number in (("@BOOT@", sizes.boot), ("@SLOT@", sizes.slot), ("@SIZE@", sizes.rescue), ("@STATE@", sizes.state)):
        text = text.replace(word, str(number))
    (work / "genimage.cfg").write_text(text)
    _run(["genimage", "--rootpath", str(work / "empty"), "--tmppath", str(work / "tmp"), "--inputpath", str(work / "in"), "--outputpath",
          str(work / "out"), "--config", str(work / "genimage.cfg")])  # fmt: skip
    (work / "out" / "disk.img").replace(target)
    shutil.rmtree(work)


def _run(command: list[str], given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"vm: {command[0]}: {(done.stderr or done.stdout)[-1500:]}")
