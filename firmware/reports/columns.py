"""Text in columns for terminals, where Chinese characters are two columns wide (L1, pure)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

COLUMNS = 78


def width(text: str) -> int:
    """Columns on a terminal: wide characters count two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, size: int, *, right: bool = False) -> str:
    """Text filled up with spaces to `size` columns; what is longer is left as it is."""
    space = " " * (size - width(text))
    return space + text if right else text + space


def printable(text: str) -> str:
    """A name or number may come from outside: no control character may reach the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """A table; the first `left` columns are names, the others numbers at the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(width(cell) for cell in column) for column in zip(titles, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(pad(cell, size, right=at >= left) for at, (cell, size) in enumerate(zip(cells, widths, strict=True))).rstrip()

    return [line(titles), "  ".join("-" * size for size in widths), *(line(row) for row in rows)]


def fold(text: str, columns: int) -> list[str]:
    """Rows of at most `columns`: cut at spaces, and between Chinese characters where there is none."""
    rows, row = [], ""
    for piece in pieces(text):
        if row and width(row + piece.rstrip()) > columns:
            rows.append(row.rstrip())
            row = piece.lstrip()
        else:
            row += piece
    return [*rows, row.rstrip()] if row.strip() or not rows else rows


def pieces(text: str) -> list[str]:
    """Words with the space behind them; each wide character is a piece, with the punctuation that must not begin a row."""
    found: list[str] = []
    word = ""
    for character in text:
        wide = unicodedata.east_asian_width(character) in "WF"
        if wide and character in "，。；：？！）、”" and (word or found):
            if word:
                word += character
            else:
                found[-1] += character
        elif wide:
            if word:
                found.append(word)
            word = ""
            found.append(character)
        else:
            word += character
            if character == " ":
                found.append(word)
                word = ""
    return [*found, word] if word else found


def bar(part: int, whole: int, columns: int) -> str:
    """A bar of hashes; at least one for what is not nothing."""
    return "#" * max(1 if part else 0, round(columns * part / whole)) if whole else ""
