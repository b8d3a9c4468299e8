"""What a board file says about the box: which jacks exist and on which PCM slot each is."""

from __future__ import annotations

import tomllib
from typing import Literal

import msgspec

from firmware.errors import ConfigError


class Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One board. Jack N (counted from 1, as printed on the box) is on PCM slot `slots_*[N - 1]`."""

    name: str
    seam: Literal["world", "alsa"]
    slots_fxo: list[int]
    slots_fxs: list[int]

    def fxo_slot(self, jack: str) -> int:
        """PCM slot of an FXO jack; ConfigError when the board has no such jack."""
        return _slot("FXO", jack, self.slots_fxo)

    def fxs_slot(self, jack: str) -> int:
        """PCM slot of an FXS jack; ConfigError when the board has no such jack."""
        return _slot("FXS", jack, self.slots_fxs)


def parse_board(data: bytes, file: str) -> Board:
    """Board of a `board.toml`. Raises ConfigError that names the file."""
    try:
        board = msgspec.convert(tomllib.loads(data.decode("utf-8")), Board)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from error
    slots = board.slots_fxo + board.slots_fxs
    if len(set(slots)) != len(slots) or not all(0 <= slot <= 15 for slot in slots):
        raise ConfigError(f"{file}: slots {slots} must be different numbers of 0 to 15")
    return board


def _slot(kind: str, jack: str, slots: list[int]) -> int:
    if jack.isascii() and jack.isdigit() and 1 <= int(jack) <= len(slots):
        return slots[int(jack) - 1]
    raise ConfigError(f"{kind} jack {jack!r} is not on this board; it has jacks 1 to {len(slots)}")
