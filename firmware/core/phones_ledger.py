"""Registrations on record before they are answered: in memory that the parent holds, and a moment later on disk (L5).

Theory of operation
-------------------
A telephone that was answered 200 does not come again for up to an hour, so what it was told must not be lost with this process. Writing
all bindings to disk for each registration would cost more than the registration. Therefore two records: `Ledger`, anonymous memory of
the parent, gets the bindings of the account in question before the answer is handed to the socket (one encoding and one copy), so
that call control may be killed at any instant; and `keep` gets all bindings for the disk some 0.3 s after a change, which is what a
power cut leaves.
The memory has two halves. A half is a row of entries, each with length and checksum: bindings of some accounts, in place of what was
said of those accounts before; a `whole` entry names all accounts. When a half has grown by `GROWTH` since its whole entry, another
one is written to the other half, which then counts (one byte). An entry that its writer did not finish ends the row.
Invariants: what `recall` gives, if it is `whole`, holds everything that was answered; a half without room makes the ledger empty, never
wrong.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable

import msgspec

from firmware.core.phones_vault import LEDGER_HALF, LEDGER_HEAD
from firmware.runtime.clock import Clock, Timer
from firmware.sip.endpoint import Endpoint
from firmware.sip.registrar import Binding

_HEAD = struct.Struct("<II")             # length and CRC-32 of what follows; length 0: the end of the row
GROWTH = 64 * 1024


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """Bindings of these accounts (none: it has no more), with the engine clock's distance from wall time."""

    base_ms: int
    whole: bool
    accounts: dict[str, list[Binding]]


class Known(msgspec.Struct, frozen=True):
    """What an earlier process had answered; its instants are those of the clock of `recall`."""

    whole: bool
    accounts: dict[str, list[Binding]]


class Ledger:
    """The memory behind a descriptor of `phones_vault.make_ledger`; `base()` is wall time minus engine time in ms."""

    def __init__(self, descriptor: int, base: Callable[[], int]) -> None:
        self._memory = mmap.mmap(descriptor, LEDGER_HEAD + 2 * LEDGER_HALF)
        self._base = base
        self._encoder = msgspec.msgpack.Encoder()
        self._end = 0                                      # where the next entry of this half begins
        self._most = GROWTH
        self._found = self._read()

    def recall(self) -> Known | None:
        """What an earlier process left, None for nothing; once, before anything else is expected of it."""
        found, self._found = self._found, []
        if not found:
            return None
        accounts: dict[str, list[Binding]] = {}
        base = self._base()
        for entry in found:
            if entry.whole:
                accounts.clear()
            for user, bindings in entry.accounts.items():
                for binding in bindings:
                    binding.registered_at += entry.base_ms - base
                    binding.expires_at += entry.base_ms - base
                accounts[user] = bindings
        return Known(any(entry.whole for entry in found), {user: bindings for user, bindings in accounts.items() if bindings})

    def note(self, accounts: dict[str, list[Binding]]) -> bool:
        """Have the bindings of these accounts on record; False: it is time for `rewrite`."""
        data = self._encoder.encode(Entry(self._base(), False, accounts))
        return self._end + _HEAD.size + len(data) <= self._most and self._append(data)

    def rewrite(self, accounts: dict[str, list[Binding]]) -> None:
        """Begin anew with all bindings there are, in the other half."""
        data = self._encoder.encode(Entry(self._base(), True, accounts))
        half = 1 - (self._memory[0] & 1)
        at = LEDGER_HEAD + half * LEDGER_HALF
        self._memory[at : at + _HEAD.size] = bytes(_HEAD.size)
        self._end = 0
        if self._append(data, half):
            self._most = min(self._end + GROWTH, LEDGER_HALF)
        else:
            self._most = 0                                 # too much for it: what there is, the disk has a moment later
        self._memory[0] = half

    def _append(self, data: bytes, half: int | None = None) -> bool:
        after = self._end + _HEAD.size + len(data)
        if after + _HEAD.size > LEDGER_HALF:
            return False
        at = LEDGER_HEAD + (self._memory[0] & 1 if half is None else half) * LEDGER_HALF
        begin = at + self._end + _HEAD.size
        self._memory[begin : at + after + _HEAD.size] = data + bytes(_HEAD.size)
        self._memory[begin - _HEAD.size : begin] = _HEAD.pack(len(data), zlib.crc32(data))
        self._end = after
        return True

    def _read(self) -> list[Entry]:
        at = LEDGER_HEAD + (self._memory[0] & 1) * LEDGER_HALF
        decoder = msgspec.msgpack.Decoder(Entry)
        found: list[Entry] = []
        while self._end + _HEAD.size <= LEDGER_HALF:
            size, check = _HEAD.unpack_from(self._memory, at + self._end)
            begin = at + self._end + _HEAD.size
            if not size or self._end + _HEAD.size + size > LEDGER_HALF:
                break
            data = self._memory[begin : begin + size]
            if zlib.crc32(data) != check:
                break
            try:
                found.append(decoder.decode(data))
            except msgspec.MsgspecError:
                break
            self._end += _HEAD.size + size
        self._most = min(self._end + GROWTH, LEDGER_HALF)
        return found


class KeptRegistrations:
    """Sees to both records. `keep` takes the bytes for the disk, `delay_ms` after a change."""

    def __init__(
        self, endpoint: Endpoint, clock: Clock, keep: Callable[[bytes], None] | None, delay_ms: int, ledger: Ledger | None
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._keep = keep
        self._delay_ms = delay_ms
        self._ledger = ledger
        self._timer: Timer | None = None

    def ahead(self) -> None:
        """Have on record what the answers that are about to be sent say."""
        touched = self._endpoint.registrar.take_touched()
        if not touched:
            return
        if self._keep is not None and self._timer is None:
            self._timer = self._clock.call_later(self._delay_ms, self.now)
        registrar = self._endpoint.registrar
        if self._ledger is not None and not self._ledger.note({user: registrar.held(user) for user in touched}):
            self._ledger.rewrite(registrar.snapshot())

    def now(self) -> None:
        """Have all bindings kept on disk now: at the end of the process, and a moment after they changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._keep is not None:
            self._keep(self._endpoint.registrations())

    def complete(self) -> None:
        """All that earlier processes knew was taken over: from now on the ledger alone says what there is."""
        if self._ledger is not None:
            self._endpoint.registrar.take_touched()
            self._ledger.rewrite(self._endpoint.registrar.snapshot())
