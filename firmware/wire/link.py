"""Messages over frames: in order, each once, whatever the line loses or doubles (L0).

Theory of operation
-------------------
A message is cut into frames DATA, DATA, ..., LAST with sequence numbers modulo 65536. At most `window` frames are under way. The receiver
answers with ACK: `seq` is the number it waits for, the payload a bitmap of 32 numbers after it that it has already, and how many frames it
takes. A serial line keeps the order, so a frame that was sent before one that arrived, and did not arrive itself, is lost and is sent again
at once (`order` numbers the transmissions); only the last frames of a burst need the timer. Its time follows the measured round trip and
the time that the bytes under way need at this baud rate, and doubles up to 8 s.
Payloads shrink by half where more than a fifth of the frames is lost and grow again on a good line: short frames survive noise.
Bounded: 32 frames out of order, one message of `most` bytes in parts; a message that is longer sets `fault`.
"""

import struct

from firmware.wire import frame

DATA, LAST, ACK = 0x44, 0x4C, 0x41
WINDOW = 32
ACK_EVERY = 4
ACK_MS = 20
RTO_LEAST_MS = 250
RTO_MOST_MS = 8000
JUDGE = 24  # frames between two looks at the loss


def shape(baud: int) -> tuple[int, int]:
    """(payload, window) that suit a rate: about half a second under way, and at least eight frames."""
    if baud <= 19200:
        return 256, 8
    if baud <= 57600:
        return 512, 12
    if baud <= 230400:
        return 1024, 16
    if baud <= 921600:
        return 2048, 32
    return 4096, 32


class Link:
    """One epoch of a connection; a new hello makes a new one. Times in ms."""

    def __init__(self, epoch: int, baud: int, payload: int, window: int, most: int) -> None:
        """`payload`, `window`: what the peer takes at most; `most`: longest message taken, bytes."""
        self.epoch = epoch
        self._limit, self._window = shape(baud)
        self._limit = max(frame.LEAST_PAYLOAD, min(self._limit, payload))
        self._window = max(1, min(self._window, window))
        self._ceiling = payload
        self._most_window = window
        self._baud = baud
        self._payload = self._limit
        self._most = most
        self._queue: list[bytes] = []
        self._cursor = 0
        self._flight: dict[int, list[int]] = {}  # seq -> [kind, order, sent_at, transmissions]
        self._bodies: dict[int, bytes] = {}
        self._again: list[int] = []
        self._next = 0
        self._order = 0
        self._credit = WINDOW
        self._round_ms = 0
        self._swing_ms = 0
        self._backoff = 0
        self._timer: int | None = None
        self._expected = 0
        self._early: dict[int, tuple[int, bytes]] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._owed = 0
        self._ack_at: int | None = None
        self._ready: list[bytes] = []
        self._recent = 0
        self._recent_lost = 0
        self.fault = ""
        self.sent = 0
        self.repeated = 0
        self.doubled = 0

    def set_baud(self, baud: int) -> None:
        """The line runs at another rate from now on."""
        self._baud = baud
        payload, window = shape(baud)
        self._limit = max(frame.LEAST_PAYLOAD, min(payload, self._ceiling))
        self._window = max(1, min(window, self._most_window))
        self._payload = self._limit
        self._round_ms = 0
        self._backoff = 0

    def chunk(self) -> int:
        """Bytes of a message that go in one frame now."""
        return self._payload

    def queued(self) -> int:
        """Bytes given to `send` that no frame carries yet."""
        return sum([len(message) for message in self._queue]) - self._cursor

    def idle(self) -> bool:
        """True when all that was sent has arrived."""
        return not self._queue and not self._flight

    def send(self, message: bytes) -> None:
        """Queue a message."""
        self._queue.append(message)

    def messages(self) -> list[bytes]:
        """Messages that are complete."""
        ready = self._ready
        self._ready = []
        return ready

    def deadline(self) -> int | None:
        """When `pump` wants to be called."""
        if self._timer is None or (self._ack_at is not None and self._ack_at < self._timer):
            return self._ack_at
        return self._timer

    # --- receiving -----------------------------------------------------------------------------------------------------

    def receive(self, kind: int, seq: int, payload: bytes, now: int) -> None:
        """Take a frame of this epoch."""
        if kind == ACK:
            self._acknowledged(seq, payload, now)
            return
        ahead = (seq - self._expected) & 0xFFFF
        if ahead >= WINDOW:
            self.doubled += 1
            self._owed = ACK_EVERY  # the peer did not hear of it: say so at once
            return
        if ahead:
            if seq in self._early:
                self.doubled += 1
            self._early[seq] = (kind, payload)
            self._owed = ACK_EVERY
            return
        self._take(kind, payload)
        filled = bool(self._early)
        while self._expected in self._early:
            self._take(*self._early.pop(self._expected))
        self._owed = ACK_EVERY if filled else self._owed + 1
        if self._ack_at is None:
            self._ack_at = now + ACK_MS

    def _take(self, kind: int, payload: bytes) -> None:
        self._expected = (self._expected + 1) & 0xFFFF
        self._parts.append(payload)
        self._size += len(payload)
        if self._size > self._most:
            self.fault = "a message is longer than was agreed"
            self._parts = []
            self._size = 0
        elif kind == LAST:
            self._ready.append(b"".join(self._parts))
            self._parts = []
            self._size = 0

    def _acknowledged(self, seq: int, payload: bytes, now: int) -> None:
        if len(payload) != 5:
            return
        bitmap, self._credit = struct.unpack(">IB", payload)
        if ((self._next - seq) & 0xFFFF) > WINDOW:
            return  # numbers that were never sent, or long ago
        newest = -1
        for known in list(self._flight):
            behind = (seq - known) & 0xFFFF
            past = (known - seq - 1) & 0xFFFF
            if not (0 < behind <= WINDOW or (past < 32 and bitmap >> past & 1)):
                continue
            order, sent_at, times = self._flight[known][1:4]
            newest = max(newest, order)
            if times == 1:
                self._measured(max(1, now - sent_at))
                self._backoff = 0
            del self._flight[known]
            del self._bodies[known]
        if newest < 0:
            return
        for known, facts in self._flight.items():
            if facts[1] < newest and known not in self._again:
                self._again.append(known)
                self._recent_lost += 1
        self._again = [known for known in self._again if known in self._flight]
        self._timer = now + self._timeout() if self._flight else None

    def _measured(self, took: int) -> None:
        if not self._round_ms:
            self._round_ms, self._swing_ms = took, took // 2
            return
        self._swing_ms += (abs(took - self._round_ms) - self._swing_ms) // 4
        self._round_ms += (took - self._round_ms) // 8

    # --- sending -------------------------------------------------------------------------------------------------------

    def pump(self, now: int) -> list[bytes]:
        """Frames to transmit now."""
        out: list[bytes] = []
        if self._timer is not None and now >= self._timer:
            oldest = min(self._flight, key=self._age)
            if oldest not in self._again:
                self._again.insert(0, oldest)
                self._recent_lost += 1
            self._backoff = min(self._backoff + 1, 5)
            self._timer = None
        if self._owed >= ACK_EVERY or (self._ack_at is not None and now >= self._ack_at):
            out.append(self._ack())
        for seq in self._again:
            facts = self._flight[seq]
            facts[2], facts[3] = now, facts[3] + 1
            out.append(self._transmit(seq, facts))
            self.repeated += 1
        self._again = []
        while self._queue and len(self._flight) < min(self._window, max(1, self._credit)) and self._span() < WINDOW:
            message = self._queue[0]
            part = message[self._cursor : self._cursor + self._payload]
            self._cursor += len(part)
            last = self._cursor >= len(message)
            if last:
                self._queue.pop(0)
                self._cursor = 0
            facts = [LAST if last else DATA, 0, now, 1]
            self._bodies[self._next] = part
            self._flight[self._next] = facts
            out.append(self._transmit(self._next, facts))
            self._next = (self._next + 1) & 0xFFFF
        if self._flight and self._timer is None:
            self._timer = now + self._timeout()
        self._judge()
        return out

    def _span(self) -> int:
        """Numbers from the oldest that is missing to the next: what the receiver must be able to keep."""
        for oldest in self._flight:
            return (self._next - oldest) & 0xFFFF
        return 0

    def _age(self, seq: int) -> int:
        return self._flight[seq][1]

    def _transmit(self, seq: int, facts: list[int]) -> bytes:
        self._order += 1
        facts[1] = self._order
        self.sent += 1
        self._recent += 1
        return frame.encode(facts[0], self.epoch, seq, self._bodies[seq])

    def _ack(self) -> bytes:
        bitmap = 0
        for seq in self._early:
            past = (seq - self._expected - 1) & 0xFFFF
            if past < 32:
                bitmap |= 1 << past
        self._owed = 0
        self._ack_at = None
        return frame.encode(ACK, self.epoch, self._expected, struct.pack(">IB", bitmap, WINDOW - len(self._early)))

    def _timeout(self) -> int:
        under_way = sum([len(body) + 12 for body in self._bodies.values()])
        if not self._round_ms:
            under_way = max(under_way, self._window * self._limit)  # the peer may be sending that much, and its answer waits behind
        air = under_way * 15000 // max(1, self._baud)  # ten bits a byte, half as much again
        least = max(RTO_LEAST_MS, self._round_ms + 4 * self._swing_ms, air + RTO_LEAST_MS)
        return min(least << self._backoff, max(RTO_MOST_MS, 2 * air))

    def _judge(self) -> None:
        """Shorter payloads on a bad line, longer ones on a good line."""
        if self._recent < JUDGE:
            return
        if self._recent_lost * 5 > self._recent:
            self._payload = max(frame.LEAST_PAYLOAD, self._payload // 2)
        elif self._recent_lost * 20 < self._recent:
            self._payload = min(self._limit, self._payload * 2)
        self._recent = 0
        self._recent_lost = 0
