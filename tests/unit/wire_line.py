"""A serial line between both ends of the provisioning protocol, in virtual time: rate, noise, breaks, and owners that keep files."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

from firmware.wire import tlv
from firmware.wire.detect import Detector
from firmware.wire.device import Device
from firmware.wire.provision import OK
from firmware.wire.tool import Tool

IDENTITY = [(tlv.MODEL, b"bpx-test"), (tlv.SERIAL, b"SN0001")]


class Noise:
    """What the line does to bytes: `flip` per bit, `lose` and `double` per byte."""

    def __init__(self, source: random.Random, flip: float = 0.0, lose: float = 0.0, double: float = 0.0) -> None:
        self.source, self.flip, self.lose, self.double = source, flip, lose, double

    def __call__(self, byte: int) -> bytes:
        if self.lose and self.source.random() < self.lose:
            return b""
        if self.flip:
            for bit in range(8):
                if self.source.random() < self.flip:
                    byte ^= 1 << bit
        return bytes([byte]) * (2 if self.double and self.source.random() < self.double else 1)


class Wire:
    """One direction: bytes leave at the sender's rate; a reader at another rate gets rubbish."""

    def __init__(self, noise: Callable[[int], bytes] | None) -> None:
        self.noise = noise
        self.queue: list[tuple[float, bytes, int]] = []  # (when it begins to arrive in ms, bytes, baud)
        self.busy_until = 0.0

    def put(self, data: bytes, now: int, baud: int) -> None:
        at = max(self.busy_until, float(now))
        self.busy_until = at + len(data) * 10_000 / baud
        self.queue.append((at, data, baud))

    def due(self) -> int | None:
        """When the next 64 bytes, or the last ones, are there."""
        if not self.queue:
            return None
        at, data, baud = self.queue[0]
        return int(at + min(64, len(data)) * 10_000 / baud) + 1

    def take(self, now: int, baud: int) -> bytes:
        out = bytearray()
        while self.queue:
            at, data, sent_at = self.queue[0]
            count = min(len(data), int((now - at) * sent_at / 10_000))
            if count <= 0:
                break
            arrived = data[:count]
            if sent_at != baud:
                out += bytes(byte * 7 + 0x35 & 0xFF for byte in arrived)
            elif self.noise is None:
                out += arrived
            else:
                for byte in arrived:
                    out += self.noise(byte)
            if count < len(data):
                self.queue[0] = (at + count * 10_000 / sent_at, data[count:], sent_at)
                break
            del self.queue[0]
        return bytes(out)


class DeviceOwner:
    """Answers requests once, keeps files by name and how much of each is there."""

    def __init__(self, baud: int, source: random.Random, baud_most: int = 3_000_000) -> None:
        self.machine = Device(IDENTITY, source.randbytes, baud, baud_most)
        self.detector: Detector | None = Detector()
        self.console = b""
        self.baud = baud
        self.executed: list[bytes] = []
        self.files: dict[bytes, bytearray] = {}
        self.puts: dict[int, tuple[bytes, int, bytes]] = {}
        self.gets: dict[int, bytes] = {}
        self.finished: list[bytes] = []
        self.sessions: list[bool] = []
        self.deaf = False

    def receive(self, data: bytes, now: int) -> None:
        if self.detector is not None:
            self.console += self.detector.receive(data, now)
            if not self.detector.found:
                return
            data, self.detector = self.detector.rest, None
        self.machine.receive(data, now)

    def act(self, now: int) -> None:
        for event in self.machine.events():
            name = event[0]
            if name == "session":
                self.sessions.append(event[2])
            elif name == "request":
                self.executed.append(event[2])
                self.machine.send(("result", event[1], OK, b"did " + event[2]), now)
            elif name == "put":
                meta = tlv.decode(event[2]) or {}
                key, size, whole = meta[tlv.FILE], tlv.as_number(meta, tlv.SIZE), meta[tlv.DIGEST]
                kept = self.files.setdefault(key, bytearray())
                self.puts[event[1]] = (key, size, whole)
                self.machine.send(("accept", event[1], size, len(kept), hashlib.sha256(kept).digest()), now)
            elif name == "begin":
                del self.files[self.puts[event[1]][0]][event[2] :]
            elif name == "data":
                kept = self.files[self.puts[event[1]][0]]
                assert len(kept) == event[2]
                kept += event[3]
                self.machine.send(("written", event[1], len(kept)), now)
            elif name == "finish" and event[1] in self.puts:
                key, _, whole = self.puts[event[1]]
                self.finished.append(key)
                same = hashlib.sha256(self.files[key]).digest() == whole
                self.machine.send(("result", event[1], OK if same else 1, b""), now)
            elif name == "get":
                meta = tlv.decode(event[2]) or {}
                content = bytes(self.files[meta[tlv.FILE]])
                offset = tlv.as_number(meta, tlv.OFFSET)
                if hashlib.sha256(content[:offset]).digest() != meta[tlv.DIGEST]:
                    offset = 0
                self.gets[event[1]] = content
                self.machine.send(("accept", event[1], len(content), offset, hashlib.sha256(content).digest()), now)
            elif name == "want":
                self.machine.send(("data", event[1], event[2], self.gets[event[1]][event[2] : event[2] + event[3]]), now)
            elif name == "finish":
                self.machine.send(("result", event[1], OK, b""), now)
            elif name == "baud":
                self.baud = event[1]
            elif name == "closed":
                self.detector = Detector()


class ToolOwner:
    """A tool that is ready at once, with files to send and to fetch."""

    def __init__(self, baud: int, source: random.Random, session: bytes = b"session1") -> None:
        self.machine = Tool(session, source.randbytes, baud)
        self.baud = baud
        self.results: dict[int, tuple[int, bytes]] = {}
        self.sending: dict[int, tuple[bytes, bytes]] = {}
        self.fetching: dict[int, tuple[bytes, bytearray]] = {}
        self.events: list[tuple[Any, ...]] = []
        self.pieces = 0

    def put(self, ident: int, name: bytes, content: bytes, now: int) -> None:
        self.sending[ident] = (name, content)
        digest = hashlib.sha256(content).digest()
        meta = tlv.encode([(tlv.FILE, name), (tlv.SIZE, tlv.number(len(content))), (tlv.DIGEST, digest)])
        self.machine.send(("put", ident, meta), now)

    def get(self, ident: int, name: bytes, now: int) -> None:
        have = self.fetching.setdefault(ident, (name, bytearray()))[1]
        digest = hashlib.sha256(have).digest()
        self.machine.send(("get", ident, tlv.encode([(tlv.FILE, name), (tlv.OFFSET, tlv.number(len(have))), (tlv.DIGEST, digest)])), now)

    def act(self, now: int) -> None:
        for event in self.machine.events():
            self.events.append(event)
            name = event[0]
            if name == "welcome":
                self.machine.send(("ready",), now)
            elif name == "result":
                self.results[event[1]] = (event[2], event[3])
            elif name == "accepted" and event[1] in self.sending:
                content = self.sending[event[1]][1]
                offset = event[3] if hashlib.sha256(content[: event[3]]).digest() == event[4] else 0
                self.machine.send(("begin", event[1], offset), now)
            elif name == "accepted":
                del self.fetching[event[1]][1][event[3] :]
            elif name == "want":
                self.pieces += 1
                self.machine.send(("data", event[1], event[2], self.sending[event[1]][1][event[2] : event[2] + event[3]]), now)
            elif name == "data":
                have = self.fetching[event[1]][1]
                assert len(have) == event[2]
                have += event[3]
                self.machine.send(("written", event[1], len(have)), now)
            elif name == "reopen" and event[1] in self.sending:
                self.put(event[1], *self.sending[event[1]], now)
            elif name == "reopen":
                self.get(event[1], self.fetching[event[1]][0], now)
            elif name == "baud":
                self.baud = event[1]

    def said(self, name: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] == name]


class Stage:
    """Both ends, the line between them, and the time. `cut_after`: the line is dead for `cut_ms` after so many frames of the tool."""

    def __init__(self, baud: int = 115200, seed: int = 1, baud_most: int = 3_000_000, **noise: float) -> None:
        self.source = random.Random(seed)
        make = Noise(self.source, **noise) if noise else None
        self.down, self.up = Wire(make), Wire(make)
        self.tool, self.device = ToolOwner(baud, self.source), DeviceOwner(baud, self.source, baud_most)
        self.now = 0
        self.dead_until = -1
        self.carried = 0
        self.to_device = bytearray()
        self.to_tool = bytearray()

    def open(self) -> Stage:
        self.tool.machine.send(("open",), self.now)
        return self

    def cut(self, ms: int) -> None:
        """Nothing passes for so long; what is on the line is lost."""
        self.dead_until = self.now + ms
        self.down.queue.clear()
        self.up.queue.clear()

    def step(self) -> None:
        """One moment: acts, transmissions, then time goes on to the next thing."""
        for owner, wire, kept in ((self.tool, self.down, self.to_device), (self.device, self.up, self.to_tool)):
            for _ in range(8):
                baud = owner.baud
                owner.act(self.now)
                out = owner.machine.output()
                if not out and owner.baud == baud:
                    break
                if out and self.now >= self.dead_until:
                    kept += out
                    self.carried += 1
                    # A change of rate counts when what was given before is on the line.
                    wire.put(out, self.now, baud)
        dues = [at for at in (self.tool.machine.deadline(), self.device.machine.deadline()) if at is not None]
        dues += [at for at in (self.down.due(), self.up.due()) if at is not None]
        self.now = max(self.now + 1, min(dues)) if dues else self.now + 1
        if self.now < self.dead_until:
            self.down.queue.clear()
            self.up.queue.clear()
        data = self.down.take(self.now, self.device.baud)
        if data:
            self.device.receive(data, self.now)
        data = self.up.take(self.now, self.tool.baud)
        if data:
            self.tool.machine.receive(data, self.now)
        self.tool.machine.expire(self.now)
        self.device.machine.expire(self.now)

    def until(self, done: Callable[[], object], within_ms: int = 600_000) -> int:
        """Go on until it is so; ms it took."""
        start = self.now
        while not done():
            assert self.now - start < within_ms, (self.tool.machine.statistics(), self.device.machine.statistics(), self.tool.events[-5:])
            self.step()
        return self.now - start
