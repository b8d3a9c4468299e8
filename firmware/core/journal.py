"""The journal of live contacts: what a restarted core goes on from (L5).

Theory of operation. One log in `DIR/run/journal`: each change of a contact, or of what contacts share, is appended with one write (those
of one moment `together`) and counts from then on, as the bytes are the kernel's and outlive this process. A record is its length, its
checksum and its content; the last one of each contact is valid, an empty one says that the contact ended.
A process that dies within a write leaves a torn end, which is
noticed and left out: the record before it counts. When the log has grown far beyond what is live, it is replaced whole by the live records.
The folder is on tmpfs on the appliance: the journal has to survive a process, not a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from firmware.call.state import ContactState
from firmware.call.switchboard import SwitchState
from firmware.store.files import write_atomic

log = logging.getLogger("branchpbx.calls")
FILE = "live.log"
SHARED = ""                     # the record of what contacts share
GROWN = 256 * 1024              # bytes beyond twice what is live
_HEAD = struct.Struct("<II")
_encode = msgspec.msgpack.Encoder().encode


class Entry(msgspec.Struct):
    """One journaled contact. `legs`: driver snapshots; `at`: engine ms of the writing; `wall_offset`: Unix ms minus engine ms."""

    state: ContactState
    legs: dict[str, bytes] = {}
    at: int = 0
    wall_offset: int = 0


class Shared(msgspec.Struct):
    """What contacts share."""

    state: SwitchState = msgspec.field(default_factory=SwitchState)
    at: int = 0
    wall_offset: int = 0


class _Record(msgspec.Struct, array_like=True):
    name: str
    at: int
    wall_offset: int
    body: bytes


class Journal:
    """See the module docstring. A full disk is logged; calls go on without a journal."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        self._live: dict[str, tuple[bytes, bytes]] = {}         # name -> body, framed record
        self._file = -1
        self._size = 0
        self._weight = 0            # bytes of what is live, at the last replacement
        self._gathered: list[bytes] | None = None

    def contact(self, entry: Entry) -> None:
        """Write a contact if it changed."""
        self._note(entry.state.id, entry.at, entry.wall_offset, _encode((entry.state, entry.legs)))

    def shared(self, shared: Shared) -> None:
        """Write what contacts share if it changed."""
        self._note(SHARED, shared.at, shared.wall_offset, _encode(shared.state))

    def forget(self, contact: str) -> None:
        """Remove a contact that ended."""
        if self._live.pop(contact, None) is not None:
            self._append(contact, _framed(_Record(contact, 0, 0, b"")))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Append what is noted meanwhile with one write."""
        self._gathered = []
        try:
            yield
        finally:
            gathered, self._gathered = self._gathered, None
            if gathered:
                self._append("what has changed", b"".join(gathered))

    def load(self) -> tuple[Shared | None, list[Entry]]:
        """Everything an earlier process left, contacts by id; what cannot be read is logged and left out."""
        shared: Shared | None = None
        entries: list[Entry] = []
        self._live.clear()
        for record in self._read():
            if record.body:
                self._live[record.name] = (record.body, _framed(record))
            else:
                self._live.pop(record.name, None)
        for name, (body, framed) in sorted(self._live.items()):
            record = msgspec.msgpack.decode(framed[_HEAD.size :], type=_Record)
            try:
                if name == SHARED:
                    shared = Shared(msgspec.msgpack.decode(body, type=SwitchState), record.at, record.wall_offset)
                else:
                    state, legs = msgspec.msgpack.decode(body, type=tuple[ContactState, dict[str, bytes]])
                    entries.append(Entry(state, legs, record.at, record.wall_offset))
            except msgspec.MsgspecError as error:
                log.error("%s: the entry of %s cannot be used (%s); its call is ended", self.path, name or "what is shared", error)
                del self._live[name]
        try:
            self._replace()
        except OSError as error:
            self._failed("the journal", error)
        return shared, entries

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _note(self, name: str, at: int, wall_offset: int, body: bytes) -> None:
        known = self._live.get(name)
        if known is None or known[0] != body:
            framed = _framed(_Record(name, at, wall_offset, body))
            self._live[name] = body, framed
            self._append(name, framed)

    def _append(self, name: str, framed: bytes) -> None:
        if self._gathered is not None:
            self._gathered.append(framed)
            return
        try:
            if self._file < 0 or self._size > GROWN + 2 * self._weight:
                self._replace()     # what is to be appended is live already, or gone
                return
            if os.write(self._file, framed) < len(framed):
                os.ftruncate(self._file, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._size += len(framed)
        except OSError as error:
            self._failed(name, error)

    def _failed(self, name: str, error: OSError) -> None:
        log.error("%s: %s cannot be written (%s); a restart of the core process would lose this call", self.path, name, error)

    def _replace(self) -> None:
        """A new log of what is live."""
        self.close()
        whole = b"".join(framed for _, framed in self._live.values())
        write_atomic(self.path, whole, durable=False)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size = self._weight = len(whole)

    def _read(self) -> list[_Record]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            log.error("%s: cannot be read (%s); calls in progress are ended", self.path, error)
            return []
        found, at = [], 0
        while at < len(data):
            try:
                length, checksum = _HEAD.unpack_from(data, at)
                content = data[at + _HEAD.size : at + _HEAD.size + length]
                if len(content) != length or zlib.crc32(content) != checksum:
                    raise ValueError("torn")
                found.append(msgspec.msgpack.decode(content, type=_Record))
            except (struct.error, ValueError, msgspec.MsgspecError) as error:
                log.warning("%s: ends at byte %d of %d (%s); the entries before it count", self.path, at, len(data), error)
                break
            at += _HEAD.size + length
        return found


def _framed(record: _Record) -> bytes:
    content = _encode(record)
    return _HEAD.pack(len(content), zlib.crc32(content)) + content
