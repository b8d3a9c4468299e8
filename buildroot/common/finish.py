"""Fills the overlay's words (`@CONSOLE@` and others) in a Buildroot target folder from the board file, and adds version, date and keyring.

`finish.py TARGET BOARD_FOLDER KEYS_FOLDER`; runs with any Python 3.11, without the project's own packages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
OVERLAY = HERE.parent / "overlay"


def main() -> int:
    """Finish the folder."""
    target, board, keys = (Path(word) for word in sys.argv[1:4])
    top = HERE.parents[1]
    image = tomllib.loads((board / "board.toml").read_text())["image"]
    python = next((target / "usr" / "bin").glob("python3.[0-9]*"), None)
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
    if not (keys / "keyring.pem").exists():
        print(f"finish: {keys}/keyring.pem is missing; python -m tools.vm.bundle keys {keys} makes a development one", file=sys.stderr)
        return 1
    (target / "etc" / "rauc").mkdir(parents=True, exist_ok=True)
    shutil.copy2(keys / "keyring.pem", target / "etc" / "rauc" / "keyring.pem")
    share = target / "usr" / "share" / "branchpbx"
    share.mkdir(parents=True, exist_ok=True)
    found = re.search(r'^__version__ = "(.*)"', (top / "firmware" / "__init__.py").read_text(), re.MULTILINE)
    if found is None:
        print("finish: firmware/__init__.py names no version", file=sys.stderr)
        return 1
    made = (
        os.environ.get("SOURCE_DATE_EPOCH")
        or subprocess.run(["git", "-C", str(top), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True).stdout
    )
    for name, text in (
        ("version", found.group(1)), ("made", made.strip()), ("compatible", image["compatible"]),
        ("realtime", str(image.get("realtime", 50))),
        ("site.toml", (board / image["site"]).read_text().rstrip("\n")),
    ):  # fmt: skip
        (share / name).write_text(f"{text}\n")
    modules = target / "usr" / "lib" / "modules" / "branchpbx"
    modules.mkdir(parents=True, exist_ok=True)
    (modules / "order").write_text("")  # this kernel has them built in
    (target / "state").mkdir(exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
