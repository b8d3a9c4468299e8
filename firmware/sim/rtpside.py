"""The audio of a simulated SIP telephone: RTP (RFC 3550) with G.711, keys by RFC 4733, a play-out queue.

Theory of operation. While `open`, a packet of 20 ms leaves in every second block and a block of 10 ms is played to the ear in each.
Play-out begins with 40 ms in the queue and begins anew after it ran dry, so that a gap is heard as a gap and counted.
Invariant: `block` numbers are the world's, so that what the ear heard can be compared with everybody else's ears.
"""

from __future__ import annotations

import random
import struct
from collections import deque

from firmware.sim.hearing import Ear
from firmware.sim.signal import Mouth, g711_decode, g711_encode
from firmware.sim.sipwire import Socket
from firmware.sim.world import World

SILENCE = bytes(160)
START_BLOCKS = 4
LONGEST_BLOCKS = 40
DTMF_TYPE = 101
EVENT_KEYS = "0123456789*#ABCD"


class RtpSide:
    """One RTP stream each way. `remote` is where to, `speaking` whether to send, `listening` whether to play what comes."""

    def __init__(self, world: World, host: str, rng: random.Random, alaw: bool) -> None:
        self.world = world
        self.mouth, self.ear = Mouth(), Ear()
        self.remote: tuple[str, int] | None = None
        self.alaw = alaw
        self.listening = self.speaking = False
        self.digits_heard: list[tuple[str, int]] = []
        self.sent = self.heard = self.lost = self.dry = 0
        self.ssrc = rng.randrange(1 << 32)
        self.socket = Socket(world, host, self._packet)
        self._queue: deque[bytes] = deque()
        self._playing = False
        self._sequence = rng.randrange(65536)
        self._stamp = rng.randrange(1 << 32)
        self._last = -1
        self._keys: deque[tuple[int, int]] = deque()  # (event or -1 for a pause, samples left)
        self._key_stamp = 0
        self._events_seen: set[int] = set()
        self._behind = 0.0  # ms
        world.each_block.append(self._block)

    def fresh(self) -> None:
        """A new conversation begins."""
        self.ear.restart()
        self.ear.listening = True
        self._queue.clear()
        self._playing = False
        self._last = -1
        self._events_seen.clear()
        self.digits_heard.clear()
        self.listening = True

    def over(self) -> None:
        """The conversation is over."""
        self.listening = self.speaking = False
        self.remote = None
        self._keys.clear()
        self._key_stamp = 0
        self.mouth.stop()

    def key(self, place: int, on_ms: int) -> None:
        self._keys.append((place, on_ms * 8))

    def close(self) -> None:
        self.world.each_block.remove(self._block)
        self.socket.close()

    def _packet(self, data: bytes, source: tuple[str, int]) -> None:
        if len(data) < 12 or data[0] >> 6 != 2 or not self.listening:
            return
        kind = data[1] & 0x7F
        sequence, stamp = struct.unpack_from("!HI", data, 2)
        payload = data[12 + 4 * (data[0] & 15) :]
        if kind == DTMF_TYPE and len(payload) >= 4:
            if stamp not in self._events_seen and payload[0] < 16:
                self._events_seen.add(stamp)
                self.digits_heard.append((EVENT_KEYS[payload[0]], self.world.now))
            return
        if kind not in (0, 8) or not payload:
            return
        if self._last >= 0:
            gap = (sequence - self._last) & 0xFFFF
            if gap > 0x8000 or gap == 0:
                return
            self.lost += gap - 1
        self._last = sequence
        self.heard += 1
        samples = g711_decode(payload, kind == 8)
        for at in range(0, len(samples) - 159, 160):
            self._queue.append(samples[at : at + 160])
        while len(self._queue) > LONGEST_BLOCKS:
            self._queue.popleft()

    def _block(self, block: int) -> None:
        if not self.listening:
            return
        if not self._playing and len(self._queue) >= START_BLOCKS:
            self._playing = True
        if self._playing and not self._queue:
            self._playing = False
            self.dry += 1
        self.ear.feed(self._queue.popleft() if self._playing else SILENCE, block)
        if block % 2 or self.remote is None or not self.speaking:
            return
        # A telephone's clock is true; where the card's is fast (`drift_ppm`), blocks come too often for it.
        self._behind += 20.0 * self.world.drift_ppm / 1e6
        packets = 0 if self._behind >= 20.0 else 2 if self._behind <= -20.0 else 1
        self._behind += 20.0 * (packets - 1)
        for _ in range(packets):
            self._speak()

    def _speak(self) -> None:
        samples = self.mouth.block() + self.mouth.block()
        self._stamp = (self._stamp + 160) & 0xFFFFFFFF
        if self._keys and self._send_key():
            return
        self._send(8 if self.alaw else 0, self._stamp, g711_encode(samples, self.alaw), False)

    def _send_key(self) -> bool:
        """One packet of the key in hand (three at its end), then 100 ms of pause, in which it returns False: audio flows."""
        key, left = self._keys.popleft()
        if key < 0:
            if left > 160:
                self._keys.appendleft((key, left - 160))
            return False
        first = not self._key_stamp
        if first:
            self._key_stamp = self._stamp or 1
        end = left <= 160
        body = struct.pack("!BBH", key, (0x80 if end else 0) | 10, (self._stamp - self._key_stamp + 160) & 0xFFFF)
        for _ in range(3 if end else 1):
            self._send(DTMF_TYPE, self._key_stamp, body, first)
            first = False
        if end:
            self._key_stamp = 0
            self._keys.appendleft((-1, 800))
        else:
            self._keys.appendleft((key, left - 160))
        return True

    def _send(self, kind: int, stamp: int, payload: bytes, marker: bool) -> None:
        if self.remote is None:
            return
        self._sequence = (self._sequence + 1) & 0xFFFF
        head = struct.pack("!BBHII", 0x80, kind | (0x80 if marker else 0), self._sequence, stamp & 0xFFFFFFFF, self.ssrc)
        self.socket.send(head + payload, self.remote)
        self.sent += 1
