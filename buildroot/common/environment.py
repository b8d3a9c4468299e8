"""The default environment of a board's boot loader, with the words of its board file filled in: `environment.py BOARD_FOLDER`.

Runs with any Python 3.11, without the project's own packages.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def environment(board: Path) -> str:
    """The text."""
    image = tomllib.loads((board / "board.toml").read_text(encoding="utf-8"))["image"]
    text = (board / "uboot.env").read_text(encoding="utf-8")
    return text.replace("@CONSOLE@", image["console"]).replace("@TRIES@", str(image["tries"]))


if __name__ == "__main__":
    sys.stdout.write(environment(Path(sys.argv[1])))
