"""Keys of calls that run, over a restart of call control: in memory that the parent holds, never in a file (L5).

Theory of operation
-------------------
Media forgets the keys of a port once it has its contexts, and the journal has none. Yet a telephone that holds or moves its call after
a restart of core expects our side to go on under the same key: many take no other within a call. So core also writes the keys of
each RTP port into anonymous memory, made by the parent and handed down; its successor finds them there. A slot belongs to a port and
names the leg; it is wiped when the leg gives its port back. The memory goes with the appliance.
Invariant: a slot that its writer did not finish, or that names another leg, is as good as empty.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib

import msgspec

from firmware.sip.offer import MediaKeys

SLOT = 256                               # bytes of one port
SLOTS = 512
_HEAD = struct.Struct("<II")             # length and CRC-32 of what follows; length 0: empty
MOST = SLOT - _HEAD.size
#: Of the registrations on record (`phones_ledger.py`); pages that were never written cost nothing.
LEDGER_HEAD = 8
LEDGER_HALF = 2 * 1024 * 1024


class _Kept(msgspec.Struct, frozen=True):
    leg: str
    keys: MediaKeys


def make_vault() -> int:
    """Descriptor of empty anonymous memory, for the parent."""
    descriptor = os.memfd_create("branchpbx-keys", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, SLOT * SLOTS)
    return descriptor


def make_ledger() -> int:
    """The same for registrations."""
    descriptor = os.memfd_create("branchpbx-registrations", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, LEDGER_HEAD + 2 * LEDGER_HALF)
    return descriptor


class KeyVault:
    """The keys of all ports in the memory behind a descriptor of `make_vault`."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SLOT * SLOTS)

    def keep(self, port: int, leg: str, keys: MediaKeys) -> None:
        """Remember what a leg's port runs under."""
        data = msgspec.msgpack.encode(_Kept(leg, keys))
        if not 0 <= port < SLOTS or len(data) > MOST:
            return
        at = port * SLOT
        self.wipe(port)
        self._memory[at + _HEAD.size : at + _HEAD.size + len(data)] = data
        self._memory[at : at + _HEAD.size] = _HEAD.pack(len(data), zlib.crc32(data))

    def recall(self, port: int, leg: str) -> MediaKeys | None:
        """What a leg's port runs under; None when that is not known."""
        if not 0 <= port < SLOTS:
            return None
        size, check = _HEAD.unpack_from(self._memory, port * SLOT)
        begin = port * SLOT + _HEAD.size
        data = self._memory[begin : begin + min(size, MOST)]
        if not size or len(data) != size or zlib.crc32(data) != check:
            return None
        try:
            kept = msgspec.msgpack.decode(data, type=_Kept)
        except msgspec.MsgspecError:
            return None
        return kept.keys if kept.leg == leg else None

    def wipe(self, port: int) -> None:
        """Forget a port's keys."""
        if 0 <= port < SLOTS:
            self._memory[port * SLOT : (port + 1) * SLOT] = bytes(SLOT)
