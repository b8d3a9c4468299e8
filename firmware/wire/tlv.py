"""Records of tag, length and value: hello, identity, headers of transfers (L0).

Theory of operation
-------------------
A record is tag 1 | length 2 big-endian | value. Unknown tags are for the reader to skip, so that an older side understands a newer one.
Numbers are unsigned, big-endian, as short as they can be; texts are UTF-8. `decode` gives None for bytes that are no records: the caller
drops the frame that held them.
"""

import struct

# Hello of both ends
VERSION, SESSION, EPOCH, PAYLOAD, WINDOW, NONCE, RESUMED, REASON = 1, 2, 3, 4, 5, 6, 7, 8
BAUD, BAUD_MOST, LANGUAGE, MESSAGE = 9, 10, 11, 12
# Identity of a device
MODEL, SERIAL, MAC, PRODUCT, MODE, NAME, SEALED = 32, 33, 34, 35, 36, 37, 38
# Headers of transfers
KIND, FILE, SIZE, DIGEST, OFFSET, DETAIL = 64, 65, 66, 67, 68, 69

MOST_RECORDS = 64
MOST_VALUE = 1024


def number(value: int) -> bytes:
    """An unsigned number as a value."""
    out = b""
    while value:
        out = bytes([value & 0xFF]) + out
        value >>= 8
    return out


def encode(records: list[tuple[int, bytes]]) -> bytes:
    """Records, one after another."""
    return b"".join([struct.pack(">BH", tag, len(value)) + value for tag, value in records])


def decode(data: bytes) -> dict[int, bytes] | None:
    """Values by tag, the first of each tag; None when the bytes are no records."""
    found: dict[int, bytes] = {}
    at = 0
    count = 0
    while at < len(data):
        if at + 3 > len(data) or count >= MOST_RECORDS:
            return None
        tag, size = struct.unpack(">BH", data[at : at + 3])
        at += 3
        if size > MOST_VALUE or at + size > len(data):
            return None
        if tag not in found:
            found[tag] = data[at : at + size]
        at += size
        count += 1
    return found


def as_number(records: dict[int, bytes], tag: int, default: int = 0) -> int:
    """A number of at most eight bytes; `default` where there is none."""
    value = records.get(tag)
    if value is None or len(value) > 8:
        return default
    total = 0
    for byte in value:
        total = total << 8 | byte
    return total


def as_text(records: dict[int, bytes], tag: int) -> str:
    """A text; "" where there is none or it is not UTF-8."""
    try:
        return records.get(tag, b"").decode("utf-8")
    except (UnicodeError, ValueError):
        return ""
