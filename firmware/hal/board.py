"""Loading a board's description from board/<name>/board.toml (L3).

Theory of operation
-------------------
Boards are folders. They are looked for in the folder that the environment variable BRANCHPBX_BOARDS names, then in `board/` of the
source tree, then in the share folder of the installed distribution. The first folder that has the board wins.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from firmware.config.board import Board, parse_board
from firmware.errors import ConfigError

BOARDS_VARIABLE = "BRANCHPBX_BOARDS"


def board_folders() -> list[Path]:
    """Where boards are looked for, in order."""
    folders = [Path(part) for part in os.environ.get(BOARDS_VARIABLE, "").split(os.pathsep) if part]
    folders.append(Path(__file__).resolve().parents[2] / "board")
    folders.append(Path(sys.prefix) / "share" / "branchpbx" / "board")
    return folders


def board_folder(name: str) -> Path:
    """The folder of a board; ConfigError says where it was looked for."""
    if not name or "/" in name or name.startswith("."):
        raise ConfigError(f"board name {name!r} is not a folder name; use letters, digits and hyphens")
    for folder in board_folders():
        if (folder / name / "board.toml").is_file():
            return folder / name
    tried = ", ".join(str(folder) for folder in board_folders())
    raise ConfigError(f"board {name!r} has no board.toml in {tried}; correct `board` or set {BOARDS_VARIABLE}")


def load_board(name: str) -> Board:
    """The description of board `name`; ConfigError when it is missing or wrong."""
    path = board_folder(name) / "board.toml"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error}; make the file readable") from None
    board = parse_board(data, str(path))
    if board.name != name:
        raise ConfigError(f"{path}: name is {board.name!r} but the folder is {name!r}; make them equal")
    return board
