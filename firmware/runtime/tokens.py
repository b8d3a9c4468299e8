"""Random hexadecimal digits, asked of the kernel by the page: a call needs dozens, and each question is a system call (L4)."""

from __future__ import annotations

import os

PAGE = 2048     # bytes


class Tokens:
    """`tokens(n)` gives n digits that nobody had before. Made in the process that uses it: a copy would give the same digits."""

    def __init__(self) -> None:
        self._page = ""
        self._at = 0

    def __call__(self, digits: int) -> str:
        if self._at + digits > len(self._page):
            self._page, self._at = os.urandom(max(PAGE, digits)).hex(), 0
        self._at += digits
        return self._page[self._at - digits : self._at]
