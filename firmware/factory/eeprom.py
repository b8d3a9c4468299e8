"""Identity memory of a board: one record with a CRC (pure; L5).

Theory of operation
-------------------
Bytes 0..3 `BPBX`, 4 version (1), 5 reserved (0), 6..7 length of the body, 8..11 CRC-32 (IEEE 802.3) of bytes 4..7 and the body,
then the body: MessagePack of `Identity`. Big endian. What follows is not looked at, so a record may be written over a longer one.
Invariant: `decode` accepts nothing but a whole record with the right CRC, whatever the bytes are.
"""

from __future__ import annotations

import re
import struct
import zlib

import msgspec

from firmware.errors import HardwareError

MAGIC = b"BPBX"
VERSION = 1
HEADER = struct.Struct(">4sBBHI")
_MAC = re.compile(r"(?:[0-9A-F]{2}:){5}[0-9A-F]{2}")


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a board is."""

    board: str
    revision: str
    serial: str
    mac: str
    made: str
    """Date, ISO."""


class BadRecord(HardwareError):
    """The memory holds no valid record."""


def encode(identity: Identity, size: int) -> bytes:
    """The record; BadRecord when it does not fit into `size` bytes."""
    body = msgspec.msgpack.encode(identity)
    record = HEADER.pack(MAGIC, VERSION, 0, len(body), _crc(len(body), body)) + body
    if len(record) > size:
        raise BadRecord(f"the identity needs {len(record)} bytes, the memory has {size}; shorten the serial number")
    return record


def decode(data: bytes) -> Identity:
    """Identity of a memory's bytes; BadRecord says what is wrong."""
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise BadRecord("no record: the memory is empty or of another product")
    _, version, reserved, length, crc = HEADER.unpack_from(data)
    if version != VERSION or reserved:
        raise BadRecord(f"record version {version} is not {VERSION}")
    body = data[HEADER.size : HEADER.size + length]
    if len(body) != length or _crc(length, body) != crc:
        raise BadRecord("the CRC does not match: write the memory again or replace it")
    try:
        return msgspec.msgpack.decode(body, type=Identity)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRecord(f"the record's fields are wrong ({error})") from None


def _crc(length: int, body: bytes) -> int:
    return zlib.crc32(struct.pack(">BBH", VERSION, 0, length) + body)


def mac_fault(mac: str, prefix: str = "") -> str:
    """Why `mac` cannot be the address of a board; empty when it can."""
    if not _MAC.fullmatch(mac):
        return f"{mac!r} is not written as 70:B3:D5:00:00:01"
    if mac in ("00:00:00:00:00:00", "FF:FF:FF:FF:FF:FF"):
        return f"{mac} is no address"
    if int(mac[:2], 16) & 1:
        return f"{mac} is a group address"
    if not mac.startswith(prefix):
        return f"{mac} does not begin with {prefix}"
    return ""
