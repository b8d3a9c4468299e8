"""From Buildroot's images to what is flashed and what is installed.

`images.py IMAGES BOARD_FOLDER KEYS_FOLDER HOST_DIR BUILD_DIR` writes disk.img, disk.img.bmap, update.raucb and manifest.json beside the
images, and fails when an option of the kernel's or busybox's fragment did not stick. Runs with any Python 3.11, without the
project's own packages.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
BLOCK = 4096


def run(*command: str, given: str = "") -> None:
    """A command that must succeed."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"images: {command[0]}: {(done.stderr or done.stdout)[-1500:]}")


def block_map(image: Path) -> str:
    """The bmap (version 2.0) of a disk image: ranges of blocks that are not all zero, each with its hash."""
    ranges: list[tuple[int, int, str]] = []
    mapped, first, digest = 0, -1, hashlib.sha256()
    size = image.stat().st_size
    with image.open("rb") as file:
        number = 0
        while True:
            block = file.read(BLOCK)
            if block.strip(b"\0"):
                if first < 0:
                    first, digest = number, hashlib.sha256()
                digest.update(block)
                mapped += 1
            elif first >= 0:
                ranges.append((first, number - 1, digest.hexdigest()))
                first = -1
            if not block:
                break
            number += 1
    lines = [
        f'<Range chksum="{digest}">{one}-{last}</Range>' if last > one else f'<Range chksum="{digest}">{one}</Range>'
        for one, last, digest in ranges
    ]
    head = (
        f'<?xml version="1.0" ?>\n<bmap version="2.0">\n<ImageSize>{size}</ImageSize>\n<BlockSize>{BLOCK}</BlockSize>\n'
        f"<BlocksCount>{-(-size // BLOCK)}</BlocksCount>\n<MappedBlocksCount>{mapped}</MappedBlocksCount>\n"
        f"<ChecksumType>sha256</ChecksumType>\n<BmapFileChecksum>"
    )
    tail = "</BmapFileChecksum>\n<BlockMap>\n" + "\n".join(lines) + "\n</BlockMap>\n</bmap>\n"
    # The hash of the file itself is taken with zeros in its place.
    return head + hashlib.sha256((head + "0" * 64 + tail).encode()).hexdigest() + tail


def main() -> int:
    """Make them."""
    images, board, keys, host, build = (Path(word) for word in sys.argv[1:6])
    image = tomllib.loads((board / "board.toml").read_text())["image"]
    sys.path.insert(0, str(HERE.parent))
    import check

    faults = check.built(build.parent)
    if faults:
        raise SystemExit("images: " + "; ".join(faults))
    version = (build.parent / "target/usr/share/branchpbx/version").read_text().strip()
    root = images / "rootfs.squashfs"
    sizes = {"boot": 8, "slot": 96, "state": 192} | image.get("partitions", {})
    if root.stat().st_size > sizes["slot"] << 20:
        raise SystemExit(f"images: the root has {root.stat().st_size >> 20} MiB, a slot {sizes['slot']}; enlarge [image.partitions]")
    work = images / "work"
    shutil.rmtree(work, ignore_errors=True)
    (work / "in").mkdir(parents=True)
    (work / "empty").mkdir()
    for name in ("uboot.env", "uboot-r.env"):
        counters = f"BOOT_ORDER=A B\nBOOT_A_LEFT={image['tries']}\nBOOT_B_LEFT={image['tries']}\n"
        run(str(host / "bin/mkenvimage"), "-r", "-s", "0x2000", "-o", str(work / "in" / name), "-", given=counters)
    (work / "in" / "root.squashfs").symlink_to(root)
    text = (HERE / "disk.cfg").read_text()
    loader = board / "loader.cfg"
    text = text.replace("@LOADER@", loader.read_text().strip() if loader.exists() else "").replace("@RESCUE@", "")
    for name in ("MLO", "u-boot.img"):
        if (images / name).exists():
            (work / "in" / name).symlink_to(images / name)
    for word, number in sizes.items():
        text = text.replace(f"@{word.upper()}@", str(number))
    (work / "genimage.cfg").write_text(text)
    run(str(host / "bin/genimage"), "--rootpath", str(work / "empty"), "--tmppath", str(work / "tmp"), "--inputpath", str(work / "in"),
        "--outputpath", str(images), "--config", str(work / "genimage.cfg"))  # fmt: skip
    (images / "disk.img.bmap").write_text(block_map(images / "disk.img"))
    content = work / "content"
    content.mkdir()
    shutil.copy2(root, content / "root.img")
    manifest = (
        f"[update]\ncompatible={image['compatible']}\nversion={version}\n\n[bundle]\nformat=verity\n\n[image.rootfs]\nfilename=root.img\n"
    )
    (content / "manifest.raucm").write_text(manifest)
    (images / "update.raucb").unlink(missing_ok=True)
    run(str(host / "bin/rauc"), "bundle", f"--cert={keys / 'signing.pem'}", f"--key={keys / 'signing.key'}",
        f"--keyring={keys / 'keyring.pem'}",
        str(content), str(images / "update.raucb"))  # fmt: skip
    shutil.rmtree(work)
    made = [path for path in sorted(images.iterdir()) if path.is_file() and path.name != "manifest.json"]
    facts = {path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in made}
    (images / "manifest.json").write_text(json.dumps({"board": board.name, "version": version, "files": facts}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
