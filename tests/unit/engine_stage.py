"""A stage for the media engine: a world segment in virtual time, RTP phones on loopback, and a core without Python logic.

The test owns both sides of time: `tick()` delivers one block of 10 ms, waits until the engine has played its answer, and reads
and commits the events of that tick as core would. Nothing sleeps on the wall clock; a wait ends with the engine's own futex.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import socket
import struct
import time
import weakref
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from firmware.dsp import abi, g711
from firmware.dsp.engine import Engine
from firmware.dsp.ring import CommandWriter, EventReader, RingSegment

PEAK = 22750.0  # of a 0 dBm0 sine
NO_HORIZON = (1 << 63) - 1
SEGMENT = 202248
FUTEX = {"x86_64": 202, "armv7l": 240, "aarch64": 98}[platform.machine()]
Samples = np.ndarray[Any, np.dtype[np.int16]]
_libc = ctypes.CDLL(None, use_errno=True)


def kept(clip: Samples) -> Samples:
    """What is heard of a clip: the engine keeps it as A-law."""
    return np.frombuffer(g711.decode("alaw", g711.encode("alaw", clip.tobytes())), np.int16)


def sine(freq: float, level_dbm0: float, n: int, start: int = 0) -> Samples:
    """n samples of a sine."""
    t = np.arange(start, start + n)
    return np.round(PEAK * 10 ** (level_dbm0 / 20) * np.sin(2 * np.pi * freq * t / 8000)).astype(np.int16)


def level(x: Samples, freq: float) -> float:
    """Level of one frequency in dBm0 (floor -99)."""
    t = np.arange(len(x))
    amplitude = 2 * abs(np.dot(x.astype(float), np.exp(-2j * np.pi * freq * t / 8000))) / max(1, len(x))
    return float(20 * np.log10(max(amplitude, 1e-3) / PEAK)) if amplitude > 0.3 else -99.0


def power(x: Samples) -> float:
    """Level of everything in dBm0 (floor -99)."""
    rms = float(np.sqrt(np.mean(x.astype(float) ** 2))) * np.sqrt(2)
    return float(20 * np.log10(rms / PEAK)) if rms > 0.3 else -99.0


class World:
    """The world segment, written from here."""

    def __init__(self, depth: int = 1, speed: int = 0) -> None:
        self.fd = os.memfd_create("test-world")
        weakref.finalize(self, os.close, self.fd)
        os.ftruncate(self.fd, SEGMENT)
        self.map = mmap.mmap(self.fd, SEGMENT)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        whole = np.frombuffer(self.map, dtype=np.uint8)
        self.u32 = whole[:376].view(np.uint32)
        self.u64 = whole[:376].view(np.uint64)
        self.drive = whole[376:440].view(np.uint32)
        self.capture = whole[440:41400].view(np.int16).reshape(16, 16, 80)
        self.playback = whole[41400:82360].view(np.int16).reshape(16, 16, 80)
        self.facts = whole[82360:102840].view(np.int16).reshape(16, 16, 10, 4)
        self.u32[0:6] = [0x42505857, 2, 16, depth, speed, 0]
        self.u64[3] = 1_767_225_600_000

    @property
    def delivered(self) -> int:
        return int(self.u64[15])

    @property
    def ticked(self) -> int:
        return int(self.u64[31])

    def deliver(self) -> None:
        self.u64[15] += 1
        _libc.syscall(FUTEX, ctypes.c_void_p(self._address + 120), 1, 1 << 30, None, None, 0)

    def wait_ticked(self, wanted: int, between: Callable[[], None], limit_s: float = 10.0) -> None:
        deadline = time.monotonic() + limit_s
        timeout = struct.pack("@ll", 0, 500_000)
        while (seen := self.ticked) < wanted:
            between()
            assert time.monotonic() < deadline, f"the engine stands at tick {seen}"
            _libc.syscall(FUTEX, ctypes.c_void_p(self._address + 248), 0, seen & 0xFFFFFFFF, timeout, None, 0)


class Stage:
    """Engine, world and core in one process."""

    def __init__(self, *, rtp: int = 0, depth: int = 1, world: bool = True, clips: dict[str, Samples] | None = None,
                 ring: RingSegment | None = None, stage_world: World | None = None, nlp: bool = True,
                 lines: bool = False, prepare: Callable[[Engine], None] = lambda engine: None,
                 family: int = socket.AF_INET, rtcp: bool = False) -> None:  # fmt: skip
        self.ring = ring or RingSegment.create()
        if ring is None:
            weakref.finalize(self, os.close, self.ring.fd)
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.world = stage_world or World(depth)
        self.sockets: list[socket.socket] = []
        self.rtcp_sockets: list[socket.socket] = []
        for n in range(rtp * (2 if rtcp else 1)):
            one = socket.socket(family, socket.SOCK_DGRAM)
            one.bind(("127.0.0.1" if family == socket.AF_INET else "::", 0))
            one.setblocking(False)
            (self.sockets if n < rtp else self.rtcp_sockets).append(one)
        fds, reports = [s.fileno() for s in self.sockets], [s.fileno() for s in self.rtcp_sockets]
        self.engine = Engine(self.ring, self.event_fd, self.world.fd if world else None, fds, (20, 200), nlp, lines, reports)
        self.clips = {name: self.engine.load_clip(name, data.tobytes()) for name, data in (clips or {}).items()}
        self.ring.set_core_present(True)
        self.ring.set_horizon(NO_HORIZON)
        self.writer = CommandWriter(self.ring)
        self.reader = EventReader(self.ring)
        self.events: list[tuple[str, int, int, Any]] = []
        self.played: list[Samples] = []
        prepare(self.engine)
        self.engine.start(lock_memory=False)
        self.captures: dict[int, Callable[[int], Samples]] = {}
        self.facts: dict[int, Callable[[int], tuple[int, int, int, int]]] = {}
        self.each: list[Callable[[int], None]] = []

    def close(self) -> None:
        self.engine.stop()
        for one in (*self.sockets, *self.rtcp_sockets):
            one.close()
        os.close(self.event_fd)

    def local(self, port: int) -> tuple[str, int]:
        name = self.sockets[port - 16].getsockname()
        return str(name[0]), int(name[1])

    def gather(self) -> None:
        batch = self.reader.read()
        for kind, port, at, _wall, _tick, _mono, payload in batch:
            self.events.append((abi.EVENTS[kind], port, at, payload))
        self.reader.commit()

    def tick(self, n: int = 1) -> None:
        """n blocks of 10 ms."""
        world = self.world
        for _ in range(n):
            block = world.delivered
            at = block % 16
            for work in self.each:
                work(block)
            for slot, source in self.captures.items():
                world.capture[at, slot] = source(block * 80)
            for slot, fact in self.facts.items():
                for ms in range(10):
                    world.facts[at, slot, ms] = fact(block * 10 + ms)
            world.deliver()
            world.wait_ticked(block + 1, self.gather)
            self.played.append(world.playback[at].copy())
        self.gather()

    def heard(self, slot: int, first: int, n: int) -> Samples:
        """What slot played in n blocks from block `first` of this stage."""
        return np.concatenate([block[slot] for block in self.played[first : first + n]])

    def do(self, command: str, port: int, body: bytes = b"") -> int:
        """Write one command."""
        return self.writer.write(abi.COMMANDS[command], port, body)

    def done(self, seq: int) -> int:
        """0 when done, the failure code, or -1 while unanswered."""
        for name, _port, _at, payload in self.events:
            if name in ("done", "failed") and payload[0] == seq:
                return int(payload[1])
        return -1

    def named(self, name: str, port: int | None = None) -> list[Any]:
        """(at, payload) of the events of one name."""
        return [(at, payload) for kind, p, at, payload in self.events if kind == name and port in (None, p)]

    def line(self, slot: int, tail: int = 0) -> None:
        self.do("open_line", slot, abi.pack_line(tail, 1.0, 1.0, f"line-{slot}"))

    def rtp(self, port: int, phone: Phone | None, *, law: int = 8, dtmf: int | None = 101, ptime: int = 20, update: bool = False,
            send: bool = True, receive: bool = True) -> int:  # fmt: skip
        remote = ("127.0.0.1", phone.port) if phone else None
        body = abi.pack_rtp(remote, {0: "pcmu", 8: "pcma"}[law], law, dtmf, ptime, send, receive, f"rtp-{port}")
        return self.do("update_rtp" if update else "open_rtp", port, body)

    def join(self, bridge: int, *ports: int) -> None:
        for port in ports:
            self.do("join", port, abi.pack_join(bridge, True, True))

    def snapshot(self) -> dict[int, dict[str, Any]]:
        self.events = [e for e in self.events if e[0] != "port"]
        self.do("snapshot", 0)
        self.tick()
        return {port: payload for name, port, _at, payload in self.events if name == "port"}


class Phone:
    """A SIP phone's audio: sends what it is told, keeps what it hears."""

    def __init__(self, target: tuple[str, int], law: Literal[0, 8] = 8, ssrc: int = 0x1234) -> None:
        from firmware.dsp.g711 import decode, encode

        self._encode, self._decode = encode, decode
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = int(self.socket.getsockname()[1])
        self.target, self.law, self.ssrc = target, law, ssrc
        self.seq, self.ts = 100, 5000
        self.packets: list[bytes] = []
        self.talking = True

    def send(self, samples: Samples, marker: bool = False) -> None:
        self.raw(self.law, self._encode_samples(samples), marker=marker)
        self.ts += len(samples)

    def _encode_samples(self, samples: Samples) -> bytes:
        return bytes(self._encode(self.law, samples.tobytes()))

    def raw(self, pt: int, payload: bytes, *, marker: bool = False, ts: int | None = None) -> None:
        stamp = (self.ts if ts is None else ts) & 0xFFFFFFFF
        header = struct.pack("!BBHII", 0x80, pt | (0x80 if marker else 0), self.seq & 0xFFFF, stamp, self.ssrc)
        self.seq += 1
        self.socket.sendto(header + payload, self.target)

    def receive(self) -> None:
        while True:
            try:
                self.packets.append(self.socket.recv(2048))
            except BlockingIOError:
                return

    def heard(self) -> Samples:
        """All audio received, in order of arrival."""
        self.receive()
        want = self.law
        audio = [np.frombuffer(self._decode(want, p[12:]), dtype=np.int16) for p in self.packets if p[1] & 0x7F == want]
        return np.concatenate(audio) if audio else np.zeros(0, np.int16)
