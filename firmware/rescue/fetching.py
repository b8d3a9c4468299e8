"""What servers say, without sockets: answers of HTTP, packets of TFTP (pure).

Theory of operation
-------------------
`Answer` reads the head of an answer to a GET that may ask for the rest of a file ("Range"), whatever the pieces it comes in; after the
head, bytes are content. `Tftp` (RFC 1350, options RFC 2347 to 2349) is the reading end: packets in, packets out, content in order. A packet
that is lost is asked for again by sending the last one, `TRIES` times. Both are bounded by the size the owner allows.
"""

import struct

from firmware.rescue.texts import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD_MOST = 8192
RRQ, DATA, ACK, ERROR, OACK = 1, 3, 4, 5, 6
BLOCK = 1428
RESEND_MS = 1500
TRIES = 8


def address(source: str) -> tuple[str, str, int, str]:
    """(scheme, host, port, path) of an address."""
    at = source.find("://")
    scheme = source[:at].lower() if at > 0 else ""
    if scheme not in ("http", "tftp"):
        raise Refusal("source", source=source[:80])
    rest = source[at + 3 :]
    at = rest.find("/")
    where = rest[:at] if at >= 0 else rest
    path = rest[at:] if at >= 0 else ""
    port = 80 if scheme == "http" else 69
    if ":" in where:
        where, text = where.rsplit(":", 1)
        port = int(text) if text.isdigit() and len(text) < 6 else 0
    clean = all(" " < char < "\x7f" for char in path) and all(char.isdigit() or char.isalpha() or char in ".-" for char in where)
    if not where or not 0 < port < 65536 or len(path) < 2 or not clean or len(source) > 500:
        raise Refusal("source", source=source[:80])
    return scheme, where, port, path


def get(host: str, path: str, offset: int) -> bytes:
    """The request of a file from `offset` on."""
    text = "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: branchpbx-rescue\r\nConnection: close\r\n"
    if offset:
        text += "Range: bytes=" + str(offset) + "-\r\n"
    return (text + "\r\n").encode()


class Answer:
    """The answer to `get`. After the head: `status`, `offset` of the first byte that comes, `size` of the whole file."""

    def __init__(self, offset: int, most: int) -> None:
        self._asked = offset
        self._most = most
        self._head = b""
        self.complete_head = False
        self.status = 0
        self.offset = 0
        self.size = 0

    def receive(self, data: bytes) -> bytes:
        """Content among `data`."""
        if self.complete_head:
            return data
        self._head += data
        at = self._head.find(b"\r\n\r\n")
        if at < 0:
            if len(self._head) > HEAD_MOST:
                raise Refusal("damaged", why="no answer of a web server")
            return b""
        rest = self._head[at + 4 :]
        self._read(self._head[:at])
        self._head = b""
        self.complete_head = True
        return rest

    def _read(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        words = lines[0].split(b" ")
        if not lines[0].startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
            raise Refusal("damaged", why="no answer of a web server")
        self.status = int(words[1])
        fields = {}
        for line in lines[1:]:
            at = line.find(b":")
            if at > 0:
                fields[line[:at].strip().lower()] = line[at + 1 :].strip()
        if self.status not in (200, 206):
            raise Refusal("answered", source="", why=str(self.status))
        length = fields.get(b"content-length", b"")
        if not length.isdigit() or len(length) > 12 or b"transfer-encoding" in fields:
            raise Refusal("damaged", why="the server does not say how long it is")
        if self.status == 206:
            wanted = b"bytes " + str(self._asked).encode() + b"-"
            if not fields.get(b"content-range", b"").startswith(wanted):
                raise Refusal("damaged", why="the server sends another part")
            self.offset = self._asked
        self.size = self.offset + int(length)
        if self.size > self._most:
            raise Refusal("too_big", size=self.size, most=self._most)


class Tftp:
    """The reading end of a TFTP transfer. Times are ms of one clock."""

    def __init__(self, path: str, most: int, now: int) -> None:
        self._most = most
        self._block = 512
        self._next = 1
        self._tries = 0
        self._due = now
        self._last = struct.pack(">H", RRQ) + path.encode() + b"\0octet\0blksize\0" + str(BLOCK).encode() + b"\0tsize\0" + b"0\0"
        self._out = self._last
        self._options = True  # may still be answered with options
        self.size = 0
        self.got = 0
        self.done = False

    def output(self, now: int) -> bytes:
        """The packet to send now, or b""."""
        if not self._out and not self.done and now >= self._due:
            self._tries += 1
            if self._tries > TRIES:
                raise Refusal("unreachable", source="", why="no answer")
            self._out = self._last
        out = self._out
        if out:
            self._out = b""
            self._due = now + RESEND_MS
        return out

    def receive(self, packet: bytes) -> bytes:
        """Content of a packet; what does not belong here is dropped."""
        if len(packet) < 4 or self.done:
            return b""
        kind, number = struct.unpack(">HH", packet[:4])
        if kind == ERROR:
            raise Refusal("answered", source="", why=str(number) + " " + _text(packet[4:]))
        if kind == OACK and self._options and self._next == 1:
            self._agree(packet[2:].split(b"\0"))
            self._send(0)
            return b""
        if kind != DATA or number != self._next & 0xFFFF or len(packet) - 4 > self._block:
            return b""
        self._options = False
        content = packet[4:]
        self.got += len(content)
        if self.got > self._most:
            raise Refusal("too_big", size=self.got, most=self._most)
        self._send(number)
        self._next += 1
        self.done = len(content) < self._block
        return content

    def _send(self, number: int) -> None:
        self._last = self._out = struct.pack(">HH", ACK, number)
        self._tries = 0

    def _agree(self, words: list[bytes]) -> None:
        for at in range(0, len(words) - 1, 2):
            name, value = words[at].lower(), words[at + 1]
            if not value.isdigit() or len(value) > 12:
                continue
            if name == b"blksize" and 8 <= int(value) <= BLOCK:
                self._block = int(value)
            elif name == b"tsize":
                self.size = int(value)
                if self.size > self._most:
                    raise Refusal("too_big", size=self.size, most=self._most)


def _text(data: bytes) -> str:
    return "".join([chr(byte) if 32 <= byte < 127 else "?" for byte in data.split(b"\0")[0][:80]])


def percent(done: int, total: int) -> int:
    """Whole percents; 0 where the total is not known."""
    return min(100, done * 100 // total) if total > 0 else 0


def facts_of(refusal: Refusal, source: str) -> "dict[str, Any]":
    """The refusal's facts with the address that it is about."""
    facts = dict(refusal.facts)
    if facts.get("source") == "":
        facts["source"] = source
    return facts
