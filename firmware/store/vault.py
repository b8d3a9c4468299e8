"""Sealed recordings on the disk: device key, header, reading, digest (L3; I5). The pieces themselves are `dsp/vault.pyx`.

Theory of operation
-------------------
The device key lies in a file of its own (0600) in the state folder, never beside the recordings: a disk that is pulled out or sent in for
repair tells nothing. Each recording has a random key; the header of its file holds it sealed with the device key. Header, 96 bytes:

    magic 8 | identity 16 (random) | id of the device key 8 | index, sealed key and tag as of `vault.seal` 60 | 4 zero

A piece may be coded by G.711 (`recording.format`); whoever reads gets 16 bit again, so nothing behind this module knows of it.
Reading goes piece by piece and stops at the first that is not whole and genuine; what lies before is good whatever happened to the rest.
`how` says what the end was: "whole" (the last piece is there), "cut" (it stops in the middle, as after a power cut), "foreign" (sealed by
another device key), "broken" (a piece is not genuine, or the header is no header).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

from firmware.dsp import g711, vault
from firmware.errors import StoreError

MAGIC = b"BPXREC1\n"
SUFFIX = ".rec"
FRAME = 4                       # bytes: two channels of 16 bit
RATE = 8000
MOST_PIECE = 1 << 16
End = Literal["whole", "cut", "foreign", "broken"]


def frame_bytes(word: int) -> int:
    """Bytes of a frame in a piece of this word."""
    return FRAME // 2 if word & vault.CODED else FRAME


def expanded(word: int, content: bytes) -> bytes:
    """Content of a piece of this word as samples of 16 bit."""
    return g711.decode("ulaw" if word & vault.MU_LAW else "alaw", content) if word & vault.CODED else content


class DeviceKey:
    """The key under which the keys of recordings are sealed."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.id = hashlib.sha256(b"recordings" + key).digest()[:8]

    @classmethod
    def load(cls, path: Path) -> DeviceKey:
        """The key of `path`, made at the first start. Raises StoreError when it is there and cannot be one: nothing could be read."""
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = secrets.token_bytes(vault.SIZE)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".new")
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        if len(key) != vault.SIZE:
            raise StoreError(
                f"{path}: the key of recordings has {len(key)} bytes instead of {vault.SIZE}; restore it, or move it away for a new one"
            )
        return cls(key)

    def mac(self, data: bytes) -> str:
        """Keyed digest of a link of the chain."""
        return hashlib.blake2b(data, key=self.key, digest_size=32).hexdigest()

    def header(self) -> tuple[bytes, bytes, bytes]:
        """(header, key, identity) of a new recording."""
        key, ident = secrets.token_bytes(vault.SIZE), secrets.token_bytes(16)
        sealed = vault.seal(self.key, ident, secrets.randbits(64), key)
        return (MAGIC + ident + self.id + sealed).ljust(vault.HEADER, b"\0"), key, ident


class Sealed:
    """One pass over a sealed file: iterate for the samples (16 bit, two channels); then `how`, `frames`, `missing` (pieces) are known."""

    def __init__(self, path: Path, device: DeviceKey) -> None:
        self.path = path
        self._device = device
        self.how: End = "cut"
        self.frames = 0
        self.missing = 0

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            yield from self._pieces(file)

    def part(self, at: int, pieces: int) -> tuple[bytes, int]:
        """Samples of so many pieces from a place in the file on, 0 for the beginning, and the place behind them, 0 at the end."""
        content = b""
        with self.path.open("rb") as file:
            for number, samples in enumerate(self._pieces(file, at)):
                content += samples
                if number + 1 == pieces:
                    return content, file.tell()
        return content, 0

    def span(self, at_ms: int, ms: int) -> bytes:
        """Samples from a time of the recording on, to the piece; pieces before are stepped over, not unsealed. b"" behind the end."""
        skip, most, content = at_ms * RATE // 1000 * FRAME, ms * RATE // 1000 * FRAME, b""
        with self.path.open("rb") as file:
            place = vault.HEADER
            while skip > 0:
                file.seek(place)
                start = file.read(vault.HEAD)
                word = int.from_bytes(start[:4], "little")
                size = word & vault.BYTES
                if len(start) < vault.HEAD or not 0 < size <= MOST_PIECE:
                    return b""
                skip -= size // frame_bytes(word) * FRAME
                place += vault.HEAD + size + vault.TAG
            file.seek(0)
            for samples in self._pieces(file, place):
                content += samples
                if len(content) >= most:
                    break
        return content

    def _key(self, file: IO[bytes]) -> tuple[bytes, bytes] | None:
        """Key and identity from the header."""
        head = file.read(vault.HEADER)
        if len(head) < vault.HEADER:
            return None
        ident, device, sealed = head[8:24], head[24:32], head[32:92]
        self.how = "broken" if head[:8] != MAGIC else "foreign" if device != self._device.id else "cut"
        key = vault.open_piece(self._device.key, ident, sealed) if self.how == "cut" else None
        if key is None:
            self.how = "broken" if self.how == "cut" else self.how
            return None
        return key, ident

    def _pieces(self, file: IO[bytes], at: int = 0) -> Iterator[bytes]:
        found = self._key(file)
        if found is None:
            return
        key, ident = found
        file.seek(max(at, vault.HEADER))
        expected = 0
        while True:
            start = file.read(vault.HEAD)
            if len(start) < vault.HEAD:
                return
            word, index = int.from_bytes(start[:4], "little"), int.from_bytes(start[4:], "little")
            size = word & vault.BYTES
            if size > MOST_PIECE or index < expected:
                self.how = "broken"
                return
            rest = file.read(size + vault.TAG)
            if len(rest) < size + vault.TAG:
                return
            content = vault.open_piece(key, ident, start + rest)
            if content is None:
                self.how = "broken"
                return
            self.missing += index - expected
            expected = index + 1
            if word & vault.FINAL:
                self.how = "broken" if file.read(1) else "whole"
                return
            self.frames += size // frame_bytes(word)
            yield expanded(word, content)


def key_of(path: Path, device: DeviceKey) -> bytes:
    """The key of one recording, for whoever may open that one and no other. Raises StoreError."""
    with path.open("rb") as file:
        found = Sealed(path, device)._key(file)
    if found is None:
        raise StoreError(f"{path}: is not a recording under this box's key")
    return found[0]


class Given(Sealed):
    """A sealed file whose own key is known: how a centre reads what it was sent."""

    def __init__(self, path: Path, key: bytes) -> None:
        super().__init__(path, DeviceKey(bytes(vault.SIZE)))
        self._own = key

    def _key(self, file: IO[bytes]) -> tuple[bytes, bytes] | None:
        head = file.read(vault.HEADER)
        if len(head) < vault.HEADER or head[:8] != MAGIC:
            self.how = "broken"
            return None
        self.how = "cut"
        return self._own, head[8:24]


def digest(path: Path) -> str:
    """SHA-256 of a file as it lies on the disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_wav(sealed: Sealed, target: IO[bytes], label: str = "") -> None:
    """Write a two-channel WAV; `label` says in a comment (LIST INFO ICMT) for whom it was made."""
    with wave.open(target, "wb") as out:
        out.setparams((2, 2, RATE, 0, "NONE", ""))
        for content in sealed:
            out.writeframes(content)
    if label:
        text = label.encode("utf-8") + b"\0"
        text += b"\0" * (len(text) % 2)
        chunk = b"INFO" + b"ICMT" + len(text).to_bytes(4, "little") + text
        target.seek(0, os.SEEK_END)
        target.write(b"LIST" + len(chunk).to_bytes(4, "little") + chunk)
        size = target.tell() - 8
        target.seek(4)
        target.write(size.to_bytes(4, "little"))
        target.seek(0, os.SEEK_END)
