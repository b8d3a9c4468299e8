"""The provisioning protocol: what its two ends share (L0). The ends are `device.py` and `tool.py`; docs/provisioning.md has the tables.

Theory of operation
-------------------
The tool leads. It calls with `detect.ATTENTION` and a HELLO frame until the device answers WELCOME; both name version, limits and a nonce,
the device also says who it is. A hello begins a new epoch of the link; frames of other epochs are dropped. Within an epoch, messages go
both ways (`link.py`):

    Q id body              request, tool to device          R id status body      its result
    O id direction meta    open a transfer ("<" or ">")     A id size offset digest   what is there already
    B id offset            begin there                       C id offset data     a piece, W id offset: written so far, F id: complete

Every request and transfer has an id that grows. The device keeps the last results of a session: what comes again, because the line broke
before its result arrived, is answered from there and never done twice; ids too old for that are refused as `STALE`, and what is longer
than the other side takes is `TOO_LONG`. All times are ms of
one clock that is handed in; events are tuples whose first member is their name.
"""

import struct

from firmware.wire import frame, link

TYPE_CHECKING = False
if TYPE_CHECKING:  # never at run time: MicroPython has no typing
    from typing import Any

VERSION = 1
HELLO, WELCOME, REFUSED, PING, PONG, BAUD, BAUD_SET, BYE = 0x48, 0x57, 0x4E, 0x50, 0x70, 0x42, 0x62, 0x58
REQUEST, RESULT, OPEN, ACCEPT, BEGIN, CHUNK, WRITTEN, FINISH, CANCEL = 0x51, 0x52, 0x4F, 0x41, 0x42, 0x43, 0x57, 0x46, 0x58
PUT, GET = 0x3E, 0x3C
OK, FAILED, BUSY, STALE, BROKEN, TOO_LONG = 0, 1, 2, 3, 4, 5
DIGEST_SIZE = 32
MESSAGE_MOST = 65536
RESULT_MOST = 4194304
BAUDS = (9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600, 1000000, 1500000, 2000000, 3000000)
TRIAL_MS = 2000  # so long a new rate may be silent before the device takes it back


class End:
    """What both ends share: decoder, link, events and output."""

    def __init__(self, baud: int, message_most: int) -> None:
        self._decoder = frame.Decoder()
        self._link: link.Link | None = None
        self._baud = baud
        self._base_baud = baud
        self._message_most = message_most
        self._peer_most = message_most
        self._events: list[tuple[Any, ...]] = []
        self._out: list[bytes] = []
        self._heard_at = 0
        self.faults = 0  # messages of the peer that the protocol does not allow

    def events(self) -> "list[tuple[Any, ...]]":
        """Drain what happened."""
        drained = self._events
        self._events = []
        return drained

    def output(self) -> bytes:
        """Drain the bytes to transmit."""
        drained = b"".join(self._out)
        self._out = []
        return drained

    def statistics(self) -> dict[str, int]:
        """Counters since the machine was made; those of the link since the last hello."""
        line = self._link
        return {
            "frames": self._decoder.good,
            "damaged": self._decoder.damaged,
            "dropped": self._decoder.dropped,
            "faults": self.faults,
            "baud": self._baud,
            "payload": line.chunk() if line else 0,
            "sent": line.sent if line else 0,
            "repeated": line.repeated if line else 0,
            "doubled": line.doubled if line else 0,
        }

    def _emit(self, kind: int, epoch: int, payload: bytes) -> None:
        self._out.append(frame.encode(kind, epoch, 0, payload))

    def _message(self, data: bytes) -> None:
        if self._link is not None:
            self._link.send(data)

    def _pump(self, now: int) -> None:
        if self._link is not None:
            self._out += self._link.pump(now)


def head(kind: int, ident: int) -> bytes:
    """Beginning of every message."""
    return struct.pack(">BI", kind, ident)


def place(kind: int, ident: int, offset: int) -> bytes:
    """Beginning of a message with a place in a file."""
    return struct.pack(">BII", kind, ident, offset)


def read_message(data: bytes) -> "tuple[Any, ...] | None":
    """(kind, id, ...) of a message, or None when it is none: hostile bytes end here."""
    if len(data) < 5:
        return None
    kind, ident = struct.unpack(">BI", data[:5])
    rest = data[5:]
    if kind == REQUEST:
        return kind, ident, rest
    if kind == RESULT:
        return (kind, ident, rest[0], rest[1:]) if rest else None
    if kind == OPEN:
        return (kind, ident, rest[0], rest[1:]) if rest and rest[0] in (PUT, GET) else None
    if kind == ACCEPT:
        if len(rest) != 8 + DIGEST_SIZE:
            return None
        size, offset = struct.unpack(">II", rest[:8])
        return (kind, ident, size, offset, rest[8:]) if offset <= size else None
    if kind in (BEGIN, WRITTEN):
        return (kind, ident, struct.unpack(">I", rest)[0]) if len(rest) == 4 else None
    if kind == CHUNK:
        return (kind, ident, struct.unpack(">I", rest[:4])[0], rest[4:]) if len(rest) > 4 else None
    if kind in (FINISH, CANCEL):
        return (kind, ident) if not rest else None
    return None
