"""A signed document as lines that somebody types or a scanner reads: parts of a QR sheet (L1, pure).

Theory of operation
-------------------
A document is packed (zlib) and cut into lines `central part PART/COUNT NAME DATA`; NAME is the beginning of the document's SHA-256, DATA is
base64 for URLs. Each line is one QR code and, as it stands, one command of the console: a scanner that is a keyboard hands the document in
without a program, a camera's text can be pasted. Order does not matter, and a line that is read twice is there once. What they say is
believed no more than any carrier's word: only a document whose parts fit its name is handed on, and there its signature counts.
Invariants: one document at a time, `MOST_PARTS` lines of `MOST_DATA` characters, unpacked to `MOST_BYTES` at most.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib

from firmware.fleet.document import MOST_BYTES

COMMAND = "central part"
MOST_PARTS = 96
MOST_DATA = 600                  # characters: a QR code of 105 modules, read from paper by a cheap scanner
_PART = re.compile(r"([1-9][0-9]?)/([1-9][0-9]?)")
_LINE = re.compile(rf"^{COMMAND} (\S+) (\S+) (\S+)$")


class PartError(ValueError):
    """A line that is no part of a document, or a document that does not fit its parts."""


def lines(document: bytes) -> list[str]:
    """A document as lines. Raises PartError for one that needs too many."""
    text = base64.urlsafe_b64encode(zlib.compress(document, 9)).decode().rstrip("=")
    pieces = [text[at : at + MOST_DATA] for at in range(0, len(text), MOST_DATA)]
    if len(pieces) > MOST_PARTS:
        raise PartError(f"the document needs {len(pieces)} QR codes; at most {MOST_PARTS} are read: bring it as a file")
    name = hashlib.sha256(document).hexdigest()[:8]
    return [f"{COMMAND} {number}/{len(pieces)} {name} {piece}" for number, piece in enumerate(pieces, start=1)]


def fields(line: str) -> tuple[str, str, str]:
    """Part, name and data of a line. Raises PartError."""
    found = _LINE.match(line.strip())
    if found is None:
        raise PartError("this is no part of a document")
    return found[1], found[2], found[3]


class Parts:
    """What is there of one document; see above."""

    def __init__(self) -> None:
        self._name = ""
        self._count = 0
        self._pieces: dict[int, str] = {}

    @property
    def there(self) -> list[int]:
        """Numbers of the parts that are there."""
        return sorted(self._pieces)

    @property
    def missing(self) -> list[int]:
        """Numbers of those that are not."""
        return [number for number in range(1, self._count + 1) if number not in self._pieces]

    def take(self, part: str, name: str, data: str) -> bytes | None:
        """The document once all parts are there, else None. A part of another document begins anew. Raises PartError."""
        found = _PART.fullmatch(part)
        number, count = (int(found[1]), int(found[2])) if found is not None else (0, 0)
        if not 1 <= number <= count <= MOST_PARTS or not re.fullmatch(r"[0-9a-f]{8}", name) or not 1 <= len(data) <= MOST_DATA:
            raise PartError("this is no part of a document")
        if (name, count) != (self._name, self._count):
            self._name, self._count, self._pieces = name, count, {}
        self._pieces[number] = data
        if self.missing:
            return None
        text = "".join(self._pieces[one] for one in self.there)
        self._name, self._count, self._pieces = "", 0, {}
        try:
            unpacker = zlib.decompressobj()
            document = unpacker.decompress(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), MOST_BYTES + 1)
        except (ValueError, zlib.error):
            document = b""
        if len(document) > MOST_BYTES or hashlib.sha256(document).hexdigest()[:8] != name:
            raise PartError("the parts do not fit together: read all of them again")
        return document
