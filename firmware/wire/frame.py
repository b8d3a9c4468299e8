"""Frames on a serial line that a console shares (L0).

Theory of operation
-------------------
    FLAG  escaped( kind 1 | epoch 1 | seq 2 | payload | CRC-32 4 )  FLAG          all numbers big-endian

FLAG is SOH. `HIDDEN` bytes never stand on the line inside a frame: each is sent as DLE and the byte with bit 6 turned. So a flag is always
a boundary and noise costs the frames it hits, no more; XON and XOFF stay free for the line; and as no CR, LF, ^C or ^D is ever sent, a
console that gets frames by mistake executes nothing of them. The CRC (IEEE 802.3, `binascii.crc32`) is over everything before it.
`Decoder` holds at most one frame of the agreed size, whatever the peer sends, and counts what it threw away. Raw CR bytes one after another
are those of a person at the keyboard: `returns` counts them until another byte or a good frame comes.
"""

import struct
from binascii import crc32

FLAG = b"\x01"
ESCAPE = b"\x10"
TURN = 0x40
HIDDEN = (0x10, 0x01, 0x03, 0x04, 0x0A, 0x0D, 0x11, 0x13, 0x1B)  # the escape itself first: its replacement must not be replaced again
HEAD = 4
OVERHEAD = HEAD + 4
LEAST_PAYLOAD = 32
MOST_PAYLOAD = 4096
RETURN, LINE_FEED = 0x0D, 0x0A


_PAIRS = [(bytes([value]), ESCAPE + bytes([value ^ TURN])) for value in HIDDEN]


def encode(kind: int, epoch: int, seq: int, payload: bytes) -> bytes:
    """One frame, flags included."""
    body = struct.pack(">BBH", kind, epoch, seq) + payload
    body += struct.pack(">I", crc32(body) & 0xFFFFFFFF)
    for plain, hidden in _PAIRS:
        body = body.replace(plain, hidden)
    return FLAG + body + FLAG


def decode(segment: bytes) -> tuple[int, int, int, bytes] | None:
    """(kind, epoch, seq, payload) of what stood between two flags; None when it is no whole frame."""
    parts = segment.split(ESCAPE)
    pieces = [parts[0]]
    for part in parts[1:]:
        if not part:
            return None
        pieces.append(bytes([part[0] ^ TURN]))
        pieces.append(part[1:])
    body = b"".join(pieces)
    if len(body) < OVERHEAD:
        return None
    if struct.unpack(">I", body[-4:])[0] != crc32(body[:-4]) & 0xFFFFFFFF:
        return None
    kind, epoch, seq = struct.unpack(">BBH", body[:HEAD])
    return kind, epoch, seq, body[HEAD:-4]


class Decoder:
    """Takes bytes as they come, gives frames; never raises, never holds more than one frame."""

    def __init__(self, most: int = MOST_PAYLOAD) -> None:
        """`most`: largest payload taken, bytes."""
        self._most = 2 * (most + OVERHEAD)  # every byte may have been escaped
        self._chunks: list[bytes] = []
        self._size = 0
        self._skipping = False
        self.good = 0
        self.damaged = 0
        self.dropped = 0
        self.returns = 0

    def feed(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        """The frames that `data` completes."""
        found: list[tuple[int, int, int, bytes]] = []
        parts = data.split(FLAG)
        for part in parts[:-1]:
            self._keep(part)
            segment = b"".join(self._chunks)
            self._chunks = []
            self._size = 0
            if self._skipping:
                self._skipping = False
                continue
            if not segment:
                continue
            frame = decode(segment)
            if frame is None:
                self.damaged += 1
                self.dropped += len(segment)
            else:
                self.good += 1
                self.returns = 0
                found.append(frame)
        self._keep(parts[-1])
        return found

    def held(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return self._size

    def _keep(self, part: bytes) -> None:
        if not part:
            return
        if b"\r" in part or self.returns:
            for byte in part:
                if byte == RETURN:
                    self.returns += 1
                elif byte != LINE_FEED:
                    self.returns = 0
        if self._skipping:
            self.dropped += len(part)
            return
        if self._size + len(part) > self._most:
            self.dropped += self._size + len(part)
            self.damaged += 1
            self._chunks = []
            self._size = 0
            self._skipping = True
            return
        self._chunks.append(part)
        self._size += len(part)
