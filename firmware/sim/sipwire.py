"""SIP messages, digest answers and a polled UDP socket for the simulated telephones (RFC 3261, 2617, 7616).

Theory of operation. Only what a telephone needs, read leniently and written strictly. The product's parser is not used, so that a
mistake in it is met by somebody who reads the standard differently. A `Socket` is non-blocking and read between two blocks.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

from firmware.sim.world import World


@dataclass
class Message:
    """A SIP message: `start` line, headers in order with lower-case names, body."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def first(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def every(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def status(self) -> int:
        return int(self.start.split(" ", 2)[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        return self.start.split(" ", 1)[0] if not self.start.startswith("SIP/2.0 ") else self.first("cseq").partition(" ")[2].strip()

    def raw(self) -> bytes:
        lines = [self.start] + [f"{key}: {value}" for key, value in self.headers] + [f"content-length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


SHORT = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "l": "content-length",
    "c": "content-type",
    "e": "content-encoding",
}


def parse(datagram: bytes) -> Message:
    """A message of a datagram; ValueError when it is none."""
    head, _, body = datagram.partition(b"\r\n\r\n")
    lines = head.decode("utf-8", "replace").split("\r\n")
    headers: list[tuple[str, str]] = []
    for line in lines[1:]:
        if line[:1] in " \t" and headers:
            headers[-1] = (headers[-1][0], headers[-1][1] + " " + line.strip())
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"not a header: {line!r}")
        name = name.strip().lower()
        headers.append((SHORT.get(name, name), value.strip()))
    message = Message(lines[0], [h for h in headers if h[0] != "content-length"], body)
    if "SIP/2.0" not in message.start:
        raise ValueError(f"not SIP: {message.start!r}")
    return message


def tag_of(value: str) -> str:
    for part in value.split(">")[-1].split(";")[1:] if ">" in value else value.split(";")[1:]:
        name, _, tag = part.strip().partition("=")
        if name == "tag":
            return tag
    return ""


def uri_of(value: str) -> str:
    return value[value.index("<") + 1 : value.index(">")] if "<" in value else value.split(";")[0].strip()


def digest(challenge: str, method: str, uri: str, user: str, secret: str, cnonce: str) -> str:
    """The Authorization value that answers a Digest challenge (MD5 or SHA-256, qop=auth or none)."""
    fields: dict[str, str] = {}
    for part in challenge.partition(" ")[2].split(","):
        name, _, value = part.strip().partition("=")
        fields[name.lower()] = value.strip().strip('"')
    algorithm = fields.get("algorithm", "MD5")
    maker = hashlib.sha256 if algorithm.upper() == "SHA-256" else hashlib.md5

    def h(text: str) -> str:
        return maker(text.encode()).hexdigest()

    a1, a2 = h(f"{user}:{fields.get('realm', '')}:{secret}"), h(f"{method}:{uri}")
    reply = [
        f'username="{user}"',
        f'realm="{fields.get("realm", "")}"',
        f'nonce="{fields.get("nonce", "")}"',
        f'uri="{uri}"',
        f"algorithm={algorithm}",
    ]
    if "auth" in fields.get("qop", ""):
        response = h(f"{a1}:{fields['nonce']}:00000001:{cnonce}:auth:{a2}")
        reply += ["qop=auth", "nc=00000001", f'cnonce="{cnonce}"']
    else:
        response = h(f"{a1}:{fields.get('nonce', '')}:{a2}")
    if "opaque" in fields:
        reply.append(f'opaque="{fields["opaque"]}"')
    return "Digest " + ", ".join([*reply, f'response="{response}"'])


class Socket:
    """A UDP socket that the world polls."""

    def __init__(self, world: World, host: str, take: Callable[[bytes, tuple[str, int]], None]) -> None:
        self.inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inner.bind((host, 0))
        self.inner.setblocking(False)
        self.take = take
        self.world = world
        self.address: tuple[str, int] = self.inner.getsockname()
        world.poll(self)

    def fileno(self) -> int:
        return self.inner.fileno()

    def readable(self) -> None:
        while True:
            try:
                data, source = self.inner.recvfrom(4096)
            except (BlockingIOError, ConnectionRefusedError):
                return
            self.take(data, source)

    def send(self, data: bytes, target: tuple[str, int]) -> None:
        try:
            self.inner.sendto(data, target)
        except OSError as error:
            self.world.observe("softphone-send-failed", target=f"{target[0]}:{target[1]}", error=str(error))

    def close(self) -> None:
        self.world.unpoll(self)
        self.inner.close()
