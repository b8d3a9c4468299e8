"""Caller id messages: build and parse FSK data messages and DTMF strings (L1, pure).

Theory of operation
-------------------
FSK (GR-30, ETSI EN 300 659-3, YD/T 1277.1): a *message* is type, length, body. Type 0x04 (SDMF) has a fixed body, date
and number; 0x80 (MDMF, call set-up) and 0x82 (MDMF, message waiting) hold parameters, each type, length, content. On the
wire a checksum byte follows (two's complement of the sum of all bytes), which the modem checks and removes: `parse` takes
and `build_*` gives messages without it, `frame` and `unframe` add and check it. DTMF (ETSI EN 300 659-3 annex B and national
practice): start key A, B or D, digits, end key C or #; some exchanges send the bare number; B00/B10 and D1#/D2#/D3#
say why there is no number.

Invariants: whatever bytes arrive, only RemoteProtocolError is raised; what `parse` returns holds printable text only,
number at most 24 characters, name at most 50; parse(build(party)) gives the party back as far as the form can carry it.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from firmware.call.model import Party
from firmware.errors import RemoteProtocolError

SDMF_CALL: Final = 0x04
SDMF_WAITING: Final = 0x06
MDMF_CALL: Final = 0x80
MDMF_WAITING: Final = 0x82

# parameters of MDMF
DATE_TIME: Final = 0x01
NUMBER: Final = 0x02
DIALLED: Final = 0x03
NO_NUMBER: Final = 0x04
NAME: Final = 0x07
NO_NAME: Final = 0x08
INDICATOR: Final = 0x0B
CALL_TYPE: Final = 0x11

MAX_NUMBER: Final = 24
MAX_NAME: Final = 50
_SENT_NAME: Final = 30          # longer names would not fit between two rings
_NUMBER_CHARACTERS: Final = frozenset("0123456789*#+ABCDabcd")
_REASONS: Final = {"O": "unavailable", "P": "private"}
_REASON_LETTERS: Final = {"unavailable": "O", "private": "P"}

Charset = Literal["latin-1", "gbk"]


class CallerId(msgspec.Struct, frozen=True):
    """A parsed message. `when` is "MMDDhhmm" or "". `waiting` is None in a call set-up message, else the lamp state."""

    party: Party
    when: str = ""
    waiting: bool | None = None


# --- FSK: parsing -----------------------------------------------------------------------------------------------------


def checksum(message: bytes) -> int:
    """The checksum byte: two's complement of the modulo-256 sum."""
    return -sum(message) & 0xFF


def frame(message: bytes) -> bytes:
    """The message with its checksum byte, as it goes over the wire."""
    return message + bytes((checksum(message),))


def unframe(data: bytes) -> bytes:
    """The message of a received frame; RemoteProtocolError when length or checksum is wrong. Trailing bytes are ignored."""
    if len(data) < 3:
        raise RemoteProtocolError(f"caller id frame of {len(data)} bytes: type, length and checksum are missing")
    end = 2 + data[1]
    if len(data) <= end:
        raise RemoteProtocolError(f"caller id frame announces {data[1]} bytes but carries {len(data) - 3}")
    message = bytes(data[:end])
    if checksum(message) != data[end]:
        raise RemoteProtocolError(f"caller id checksum is 0x{data[end]:02x}, should be 0x{checksum(message):02x}: noise on the line")
    return message


def parse(message: bytes, charset: Charset = "latin-1") -> CallerId:
    """Read a message without checksum; RemoteProtocolError names what is wrong with it."""
    if len(message) < 2:
        raise RemoteProtocolError(f"caller id message of {len(message)} bytes: type and length are missing")
    kind, length = message[0], message[1]
    body = bytes(message[2 : 2 + length])
    if len(body) != length:
        raise RemoteProtocolError(f"caller id message announces {length} bytes but carries {len(body)}")
    if kind == SDMF_CALL:
        return _parse_sdmf(body)
    if kind == SDMF_WAITING:
        return CallerId(Party(), waiting=any(byte & 0x7F == 0x42 for byte in body[:1]))       # "BBB" on, "ooo" off
    if kind in (MDMF_CALL, MDMF_WAITING):
        return _parse_mdmf(kind, body, charset)
    raise RemoteProtocolError(f"caller id message type 0x{kind:02x} is unknown; 0x04, 0x06, 0x80 and 0x82 are read")


def _parse_sdmf(body: bytes) -> CallerId:
    if len(body) < 9:
        raise RemoteProtocolError(f"single data message of {len(body)} bytes: 8 of date and at least 1 of number are needed")
    when, number = body[:8], body[8:]
    text = _ascii(number)
    if text in _REASONS:
        return CallerId(Party(reason=_REASONS[text]), _when(when))
    return CallerId(_party(text, "", ""), _when(when))


def _parse_mdmf(kind: int, body: bytes, charset: Charset) -> CallerId:
    number = name = reason = name_reason = when = ""
    waiting: bool | None = None
    at = 0
    while at < len(body):
        if at + 2 > len(body) or at + 2 + body[at + 1] > len(body):
            raise RemoteProtocolError(f"multiple data message: parameter 0x{body[at]:02x} at byte {at} runs over the end")
        parameter, content = body[at], body[at + 2 : at + 2 + body[at + 1]]
        at += 2 + len(content)
        if parameter == NUMBER:
            number = _ascii(content)
        elif parameter == NO_NUMBER:
            reason = _REASONS.get(_ascii(content[:1]), "unavailable")
        elif parameter == NAME:
            name = _decode(content, charset)
        elif parameter == NO_NAME:
            name_reason = _REASONS.get(_ascii(content[:1]), "")
        elif parameter == DATE_TIME:
            when = _when(content)
        elif parameter == INDICATOR:
            waiting = bool(content) and content[0] != 0
    if kind == MDMF_WAITING:
        if waiting is None:
            raise RemoteProtocolError("message-waiting message without its indicator parameter 0x0b")
        return CallerId(Party(), when, waiting)
    if not reason and not number and name_reason == "private":
        reason = "private"
    return CallerId(_party(number, name, reason), when)


def _party(number: str, name: str, reason: str) -> Party:
    digits = "".join(c for c in number if c in _NUMBER_CHARACTERS)[:MAX_NUMBER]
    if digits:
        return Party(digits, name)
    return Party("", name, reason or "unavailable")


def _ascii(content: bytes) -> str:
    # SDMF may arrive with parity in bit 7 (7-bit exchanges); numbers are ASCII either way
    return "".join(chr(byte & 0x7F) for byte in content if 0x20 <= byte & 0x7F < 0x7F)


def _when(content: bytes) -> str:
    text = _ascii(content)
    if len(text) != 8 or not text.isdigit():
        return ""
    month, day, hour, minute = (int(text[i : i + 2]) for i in range(0, 8, 2))
    return text if 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 else ""


def _decode(content: bytes, charset: Charset) -> str:
    """A name in the country's multi-byte charset, else UTF-8 where it is valid, else Latin-1, which never fails."""
    text = ""
    for encoding in ("gbk", "utf-8", "latin-1") if charset == "gbk" else ("utf-8", "latin-1"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    return "".join(c for c in text if c.isprintable()).strip()[:MAX_NAME]


# --- FSK: building ----------------------------------------------------------------------------------------------------


def build_mdmf(party: Party, when: str = "", charset: Charset = "latin-1") -> bytes:
    """A call set-up message (0x80) without checksum. `when` is "MMDDhhmm" or "" (left out)."""
    body = bytearray()
    if when:
        body += _parameter(DATE_TIME, when.encode("ascii", "replace")[:8])
    number = "".join(c for c in party.number if c in _NUMBER_CHARACTERS)[:MAX_NUMBER]
    if number:
        body += _parameter(NUMBER, number.encode("ascii"))
    else:
        body += _parameter(NO_NUMBER, _REASON_LETTERS.get(party.reason, "O").encode("ascii"))
    if party.name:
        body += _parameter(NAME, _encode(party.name, charset))
    elif not number:
        body += _parameter(NO_NAME, _REASON_LETTERS.get(party.reason, "O").encode("ascii"))
    return bytes((MDMF_CALL, len(body))) + bytes(body)


def build_sdmf(party: Party, when: str) -> bytes:
    """A single data message (0x04) without checksum: `when` "MMDDhhmm", then the number or the letter of its absence."""
    number = "".join(c for c in party.number if c in _NUMBER_CHARACTERS)[:MAX_NUMBER]
    body = when.rjust(8, "0")[:8].encode("ascii", "replace") + (number or _REASON_LETTERS.get(party.reason, "O")).encode("ascii")
    return bytes((SDMF_CALL, len(body))) + body


def build_waiting(on: bool, *, single: bool = False) -> bytes:
    """A message-waiting message: lamp on or off, as 0x82, or as 0x06 for telephones that read `single` data messages only (GR-30)."""
    if single:
        return bytes((SDMF_WAITING, 3)) + (b"BBB" if on else b"ooo")
    body = _parameter(INDICATOR, b"\xff" if on else b"\x00")
    return bytes((MDMF_WAITING, len(body))) + body


def duration_ms(message: bytes, seizure_bits: int = 300, mark_bits: int = 180) -> int:
    """Time on the wire of a message with its checksum: seizure, marks, 10 bits a byte, 1200 bit/s."""
    return (seizure_bits + mark_bits + 10 * (len(message) + 1)) * 1000 // 1200 + 20


def _parameter(kind: int, content: bytes) -> bytes:
    return bytes((kind, len(content))) + content


def _encode(name: str, charset: Charset) -> bytes:
    """As many whole characters as fit; those the charset lacks become "?"."""
    out = b""
    for character in name:
        coded = character.encode(charset, "replace")
        if len(out) + len(coded) > _SENT_NAME:
            break
        out += coded
    return out


# --- DTMF -------------------------------------------------------------------------------------------------------------

#: Keys that begin and end a DTMF caller id.
DTMF_START: Final = frozenset("ABD")
DTMF_END: Final = frozenset("C#")
_INFO: Final = {"00": "unavailable", "10": "private", "1": "unavailable", "2": "private", "3": "unavailable", "0": "unavailable"}


def dtmf_complete(keys: str) -> bool:
    """True when the end key of a DTMF caller id has come."""
    return len(keys) > 1 and keys[-1] in DTMF_END and not keys[:-1].endswith(("A", "B", "D"))


def parse_dtmf(keys: str) -> Party:
    """Read the keys of a DTMF caller id: "D5551234C", "A5551234#", "B10C", "D2#", or a bare number of three digits or more.

    A redirecting number ("A<calling>D<redirecting>C") is skipped. RemoteProtocolError when no number and no reason is there.
    """
    sections: list[tuple[str, str]] = []
    start, digits = "", ""
    for key in keys[:64]:
        if key in DTMF_START:
            if digits:
                sections.append((start, digits))
            start, digits = key, ""
        elif key in DTMF_END:
            break
        elif key in "0123456789*":
            digits += key
        else:
            raise RemoteProtocolError(f"DTMF caller id {keys[:32]!r}: {key!r} is not a key")
    if digits:
        sections.append((start, digits))
    numbers = [(begin, text) for begin, text in sections if begin != "B"]
    for begin, text in sections:
        if begin == "B" and text in _INFO and not numbers:
            return Party(reason=_INFO[text])
    for begin, text in numbers:
        if begin and len(text) <= 2 and text in _INFO:
            return Party(reason=_INFO[text])
        if len(text) >= 3:
            return Party(text[:MAX_NUMBER])
    raise RemoteProtocolError(f"DTMF caller id {keys[:32]!r} holds neither a number nor a reason")


def build_dtmf(party: Party, form: Literal["D..C", "A..C", "A..#", "D..#", "bare"] = "D..C") -> str:
    """The keys that carry a party; a name cannot be carried. A missing number becomes a reason code."""
    number = "".join(c for c in party.number if c in "0123456789*")[:MAX_NUMBER]
    if len(number) < 3:
        return "D2#" if party.reason == "private" else "D1#"
    return number if form == "bare" else f"{form[0]}{number}{form[-1]}"
