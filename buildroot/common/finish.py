"""Fills the overlay's words (`@CONSOLE@` and others) in a Buildroot target folder from the board file, and adds version, date, keyring and
the initramfs that the boot loader's script reads from the slot beside the kernel.

`finish.py TARGET BOARD_FOLDER KEYS_FOLDER`; runs with any Python 3.11, without the project's own packages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
OVERLAY = HERE.parent / "overlay"
sys.path.insert(0, str(TOP))
from tools.vm import initramfs  # noqa: E402  # needs nothing but Python's own library


def needed(target: Path, program: Path) -> list[Path]:
    """The loader and the libraries of a program of the target, by what each names (ELF)."""
    found: list[Path] = []
    todo = [program]
    while todo:
        shown = subprocess.run(["readelf", "-W", "-d", "-l", str(todo.pop())], capture_output=True, text=True, check=True).stdout
        names = re.findall(r"\(NEEDED\).*\[(.*)\]", shown) + re.findall(r"interpreter: /lib/([^]]*)\]", shown)
        for path in (target / "usr" / "lib" / name for name in names):
            if not path.exists():
                raise SystemExit(f"finish: the library {path.name} is not in {path.parent}")
            if path not in found:
                found.append(path)
                todo.append(path)
    return found


def early(target: Path, modules: Sequence[tuple[str, bytes]] = ()) -> None:
    """Kernel and initramfs under the names that the boot loader's script loads; `modules`: what the kernel needs to reach its disk."""
    boot = target / "boot"
    kernel = next((boot / name for name in ("vmlinuz", "zImage") if (boot / name).exists()), None)
    if kernel is None:
        raise SystemExit(f"finish: {boot} has no kernel")
    kernel.rename(boot / "vmlinuz")
    busybox = target / "usr" / "bin" / "busybox"
    initramfs.build(busybox, modules, boot / "initramfs", [(path.name, path.read_bytes()) for path in needed(target, busybox)])


def main() -> int:
    """Finish the folder."""
    target, board, keys = (Path(word) for word in sys.argv[1:4])
    image = tomllib.loads((board / "board.toml").read_text())["image"]
    # Not python3.14-config, which lies beside it in some builds.
    python = next((path for path in (target / "usr" / "bin").iterdir() if re.fullmatch(r"python3\.\d+", path.name)), None)
    if python is None:
        print(f"finish: {target} has no Python", file=sys.stderr)
        return 1
    words = {
        "CONSOLE": image["console"], "COMPATIBLE": image["compatible"], "TRIES": str(image.get("tries", 3)),
        "PYTHON": python.name.removeprefix("python"),
    }  # fmt: skip
    for path in OVERLAY.rglob("*"):
        if path.is_file() and not path.is_symlink():
            # Users come from the users table, which Buildroot merges into its own files.
            name = path.relative_to(OVERLAY)
            text = re.sub(r"@([A-Z]+)@", lambda found: words[found.group(1)], path.read_text())
            (target / name).write_text(text)
    if (board / "fw_env.config").exists():
        shutil.copy2(board / "fw_env.config", target / "etc" / "fw_env.config")
    if not (keys / "keyring.pem").exists():
        print(f"finish: {keys}/keyring.pem is missing; python -m tools.vm.bundle keys {keys} makes a development one", file=sys.stderr)
        return 1
    (target / "etc" / "rauc").mkdir(parents=True, exist_ok=True)
    shutil.copy2(keys / "keyring.pem", target / "etc" / "rauc" / "keyring.pem")
    share = target / "usr" / "share" / "branchpbx"
    share.mkdir(parents=True, exist_ok=True)
    found = re.search(r'^__version__ = "(.*)"', (TOP / "firmware" / "__init__.py").read_text(), re.MULTILINE)
    if found is None:
        print("finish: firmware/__init__.py names no version", file=sys.stderr)
        return 1
    # The date of our own source. SOURCE_DATE_EPOCH is that of Buildroot: a box must not take a date before its firmware for true.
    told = subprocess.run(["git", "-C", str(TOP), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False).stdout.strip()
    made = told or os.environ.get("SOURCE_DATE_EPOCH", "")
    if not made:
        print(f"finish: {TOP} is no git checkout and SOURCE_DATE_EPOCH is not set", file=sys.stderr)
        return 1
    for name, text in (
        ("version", found.group(1)), ("made", made), ("compatible", image["compatible"]),
        ("realtime", str(image.get("realtime", 50))),
        ("site.toml", (board / image["site"]).read_text().rstrip("\n")),
    ):  # fmt: skip
        (share / name).write_text(f"{text}\n")
    modules = target / "usr" / "lib" / "modules" / "branchpbx"
    modules.mkdir(parents=True, exist_ok=True)
    (modules / "order").write_text("")  # this kernel has them built in
    (target / "state").mkdir(exist_ok=True)
    early(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
