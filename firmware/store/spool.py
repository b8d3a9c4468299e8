"""Files that come and go in pieces: bounded, resumable after a power cut (L3).

Theory of operation
-------------------
A file that comes in is named by kind, name, size and digest together, so the same file asked for again is found and goes on where it ends;
what a power cut leaves is a shorter file, whose SHA-256 the sender compares before it goes on. Its header (JSON) lies beside it. Pieces are
synced every `SYNC` bytes and at the end. The spool has a quota and a number of files: the oldest unfinished one makes room, a complete one
never does. A file that goes out is made once and kept under its name until the next is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

from msgspec import Struct

from firmware.errors import StoreError
from firmware.store.files import write_atomic

QUOTA = 600 << 20
MOST_FILES = 16
SYNC = 1 << 20
_IDENT = re.compile(r"[0-9a-f]{16}")


class Piece(Struct, frozen=True):
    """Facts of a file of the spool; `there`: how much of it has come."""

    ident: str
    kind: str
    name: str
    size: int
    digest: str
    there: int
    wall_s: int


class Spool:
    """See the theory of operation above. Raises StoreError for what cannot be."""

    def __init__(self, folder: Path, quota: int = QUOTA) -> None:
        self.folder = folder
        self._quota = quota
        self._unsynced: dict[str, int] = {}
        self._sums: dict[str, tuple[int, hashlib._Hash]] = {}

    def begin(self, kind: str, name: str, size: int, digest: str) -> Piece:
        """The file to come, with what is there of it."""
        ident = hashlib.sha256(f"{kind}\n{name}\n{size}\n{digest}".encode()).hexdigest()[:16]
        if not self._head(ident).is_file():
            self._room(size)
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._data(ident).write_bytes(b"")
            write_atomic(
                self._head(ident), json.dumps({"kind": kind, "name": name, "size": size, "digest": digest}).encode(), mode=0o600
            )
        return self.state(ident)

    def state(self, ident: str) -> Piece:
        """Facts of one file."""
        if _IDENT.fullmatch(ident) is None or not self._head(ident).is_file():
            raise StoreError(f"there is no transfer {ident}; begin it again")
        facts = json.loads(self._head(ident).read_text())
        try:
            status = self._data(ident).stat()
        except FileNotFoundError:
            self._data(ident).write_bytes(b"")
            status = self._data(ident).stat()
        there = min(status.st_size, facts["size"])
        return Piece(ident, facts["kind"], facts["name"], facts["size"], facts["digest"], there, int(status.st_mtime))

    def digest(self, ident: str, count: int) -> str:
        """SHA-256 of the first bytes; goes on from the last one asked for."""
        at, running = self._sums.get(ident, (0, hashlib.sha256()))
        if at > count:
            at, running = 0, hashlib.sha256()
        with self._data(ident).open("rb") as file:
            file.seek(at)
            while at < count:
                part = file.read(min(1 << 20, count - at))
                if not part:
                    raise StoreError(f"transfer {ident} has {at} bytes, not {count}")
                running.update(part)
                at += len(part)
        if len(self._sums) > MOST_FILES:
            self._sums.clear()
        self._sums[ident] = (at, running.copy())
        return running.hexdigest()

    def cut(self, ident: str, offset: int) -> Piece:
        """Keep only the first bytes."""
        piece = self.state(ident)
        if offset > piece.there:
            raise StoreError(f"transfer {ident} has {piece.there} bytes, it cannot be cut at {offset}")
        os.truncate(self._data(ident), offset)
        self._sums.pop(ident, None)
        return self.state(ident)

    def write(self, ident: str, offset: int, data: bytes) -> Piece:
        """Append a piece; one that is there already is passed over."""
        piece = self.state(ident)
        if offset + len(data) <= piece.there:
            return piece
        if offset != piece.there:
            raise StoreError(f"transfer {ident} goes on at {piece.there}, not at {offset}")
        if offset + len(data) > piece.size:
            raise StoreError(f"transfer {ident} has only {piece.size} bytes; {offset + len(data)} were sent")
        with self._data(ident).open("ab") as file:
            file.write(data)
            file.flush()
            waiting = self._unsynced.get(ident, 0) + len(data)
            if waiting >= SYNC or offset + len(data) == piece.size:
                os.fsync(file.fileno())
                waiting = 0
            self._unsynced[ident] = waiting
        return self.state(ident)

    def finish(self, ident: str) -> tuple[Piece, Path]:
        """The complete file. What does not have its digest is thrown away."""
        piece = self.state(ident)
        if piece.there != piece.size:
            raise StoreError(f"transfer {ident} has {piece.there} of {piece.size} bytes; send the rest first")
        self._sums.pop(ident, None)
        if self.digest(ident, piece.size) != piece.digest:
            self.remove(ident)
            raise StoreError(f"{piece.name} arrived with another SHA-256 than announced; send it again")
        return piece, self._data(ident)

    def read(self, ident: str, offset: int, count: int) -> bytes:
        """Bytes of a file."""
        self.state(ident)
        with self._data(ident).open("rb") as file:
            file.seek(offset)
            return file.read(count)

    def offer(self, kind: str, content: bytes) -> Piece:
        """A file to be fetched; it takes the place of the one of its kind that was there."""
        for piece in self.files():
            if piece.kind == f"out:{kind}":
                self.remove(piece.ident)
        piece = self.begin(f"out:{kind}", kind, len(content), hashlib.sha256(content).hexdigest())
        write_atomic(self._data(piece.ident), content, mode=0o600)
        return self.state(piece.ident)

    def remove(self, ident: str) -> None:
        """Forget a file."""
        for path in (self._head(ident), self._data(ident)):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        self._sums.pop(ident, None)
        self._unsynced.pop(ident, None)

    def files(self) -> list[Piece]:
        """Every file, the oldest first."""
        found = [self.state(path.stem) for path in self.folder.glob("*.json")] if self.folder.is_dir() else []
        return sorted(found, key=lambda piece: piece.wall_s)

    def _room(self, size: int) -> None:
        if size > self._quota:
            raise StoreError(f"a file of {size} bytes does not fit into the spool of {self._quota}")
        files = self.files()
        while files and (len(files) >= MOST_FILES or sum(piece.size for piece in files) + size > self._quota):
            goes = next((piece for piece in files if piece.there < piece.size or piece.kind.startswith("out:")), None)
            if goes is None:
                raise StoreError("the spool is full of complete files that wait for their use; use or remove them first")
            self.remove(goes.ident)
            files.remove(goes)

    def _head(self, ident: str) -> Path:
        return self.folder / f"{ident}.json"

    def _data(self, ident: str) -> Path:
        return self.folder / f"{ident}.part"
