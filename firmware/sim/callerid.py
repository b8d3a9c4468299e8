"""Caller identity as an exchange sends it: FSK message bytes and DTMF strings (EN 300 659-3, GR-30, national DTMF schemes).

Theory of operation. MDMF is type 0x80, length, parameters (type, length, data), checksum = two's complement of the byte sum.
The world builds and reads messages with code of its own, so that a mistake in the product's builder is heard by its phones.
"""

from __future__ import annotations

import time

MDMF, SDMF, VMWI = 0x80, 0x04, 0x82


def _close(kind: int, body: bytes) -> bytes:
    frame = bytes((kind, len(body))) + body
    return frame + bytes((-sum(frame) & 0xFF,))


def _stamp(wall_ms: int) -> bytes:
    return time.strftime("%m%d%H%M", time.gmtime(wall_ms // 1000)).encode()


def fsk_message(number: str, name: str, reason: str, local_ms: int, *, single: bool = False) -> bytes:
    """The framed message. `reason`: "", "private" or "unavailable" (then no number is sent). `local_ms`: local wall clock."""
    absent = {"": b"", "private": b"P", "unavailable": b"O"}[reason]
    if single:
        return _close(SDMF, _stamp(local_ms) + (absent or number.encode("ascii")))
    body = b"\x01\x08" + _stamp(local_ms)
    body += b"\x04\x01" + absent if absent else b"\x02" + bytes((len(number),)) + number.encode("ascii")
    if name and not absent:
        raw = name.encode("latin-1", "replace")[:15]
        body += b"\x07" + bytes((len(raw),)) + raw
    return _close(MDMF, body)


def dtmf_message(number: str, reason: str) -> str:
    """The keys sent before the first ring: D<number>C; an absent number is sent as D1C (not available) or D2C (private)."""
    return {"": f"D{number}C", "unavailable": "D1C", "private": "D2C"}[reason]


def read_message(kind: int, data: bytes) -> dict[str, str]:
    """What a telephone's display shows of a received message."""
    shown = {"date": "", "number": "", "name": "", "reason": ""}
    reasons = {b"P": "private", b"O": "unavailable"}
    if kind == SDMF:
        shown["date"] = data[:8].decode("ascii", "replace")
        rest = data[8:]
        shown["reason"] = reasons.get(rest, "")
        shown["number"] = "" if shown["reason"] else rest.decode("ascii", "replace")
    elif kind == MDMF:
        at = 0
        while at + 2 <= len(data):
            tag, length = data[at], data[at + 1]
            value = data[at + 2 : at + 2 + length]
            at += 2 + length
            if tag == 0x01:
                shown["date"] = value.decode("ascii", "replace")
            elif tag == 0x02:
                shown["number"] = value.decode("ascii", "replace")
            elif tag == 0x07:
                shown["name"] = value.decode("utf-8", "replace")
            elif tag in (0x04, 0x08) and value in reasons:
                shown["reason"] = reasons[value]
    return shown
