"""The device's end of the provisioning protocol, without I/O (L0). Begin with `provision.py`.

Theory of operation
-------------------
    closed --HELLO--> open --BYE, silence, a person's Enter keys--> closed

What its owner gets from `events`: ("session", session, resumed, tool_nonce, device_nonce, language), ("request", id, body),
("put", id, meta), ("get", id, meta), ("begin", id, offset), ("data", id, offset, bytes), ("finish", id),
("want", id, offset, count), ("cancel", id), ("baud", rate): set the port when what `output` gave is on the line,
("closed", reason).
What its owner sends: ("result", id, status, body), ("accept", id, size, offset, digest), ("data", id, offset, bytes),
("written", id, offset), ("close",).

A hello of another session while one is alive is refused as busy, so that two tools on one line do not mix. Results of the last `KEEP`
ids of a session are kept: a request that comes again is answered from there. A new rate counts when a frame arrives at it within
`TRIAL_MS`, else the old one returns; a raised rate at which nothing comes for `RAISED_SILENCE_MS` falls back to that of the console.
"""

import struct

from firmware.wire import link, provision, tlv, transfer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

IDLE_MS = 60000
ALIVE_MS = 3000
RAISED_SILENCE_MS = 6000
RETURNS = 3  # Enter keys of a person
KEEP = 32
KEEP_BYTES = 262144
OPEN_MOST = 8
TRANSFERS_MOST = 2


class Device(provision.End):
    """See the theory of operation above."""

    def __init__(
        self,
        identity: list[tuple[int, bytes]],
        random: "Callable[[int], bytes]",
        baud: int = 115200,
        baud_most: int = 3000000,
        message_most: int = provision.MESSAGE_MOST,
    ) -> None:
        """`identity`: records of `tlv` told in the welcome; `random(n)`: n unpredictable bytes; `baud`: rate of the console."""
        provision.End.__init__(self, baud, message_most)
        self.identity = identity  # may be told anew between sessions
        self._random = random
        self._baud_most = baud_most
        self._session = b""
        self._tool_nonce = b""
        self._welcome = b""
        self._result_most = message_most
        self.open = False
        self._running: dict[int, int] = {}  # id -> kind: request, put, get
        self._moving: dict[int, transfer.Sender | transfer.Receiver] = {}
        self._kept: dict[int, bytes] = {}
        self._kept_bytes = 0
        self._forgotten = -1
        self._trial: tuple[int, int] | None = None  # (until, rate before)

    # --- the six methods ---------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: int) -> None:
        """Bytes from the line."""
        for kind, epoch, seq, payload in self._decoder.feed(data):
            self._frame(kind, epoch, seq, payload, now)
        if self.open and self._decoder.returns >= RETURNS:
            self._close("person")
        self._work(now)

    def send(self, event: "tuple[Any, ...]", now: int) -> None:
        """A local intention; see the module's text."""
        name = event[0]
        if name == "close":
            if self.open and self._link is not None:
                self._emit(provision.BYE, self._link.epoch, b"")
                self._close("local")
            return
        ident = event[1]
        if name == "result":
            self._result(ident, event[2], event[3])
        elif not self.open or ident not in self._running:
            return
        elif name == "accept":
            self._accept(ident, event[2], event[3], event[4])
        elif name == "data":
            moving = self._moving.get(ident)
            if isinstance(moving, transfer.Sender) and moving.take(event[2], len(event[3])):
                self._message(provision.place(provision.CHUNK, ident, event[2]) + event[3])
        elif name == "written":
            self._message(provision.place(provision.WRITTEN, ident, event[2]))
        self._work(now)

    def deadline(self) -> int | None:
        """When `expire` wants to be called."""
        if not self.open or self._link is None:
            return None
        due = self._heard_at + (RAISED_SILENCE_MS if self._baud != self._base_baud else IDLE_MS)
        for other in (self._link.deadline(), self._trial[0] if self._trial else None):
            if other is not None and other < due:
                due = other
        return due

    def expire(self, now: int) -> None:
        """Time has come."""
        if not self.open:
            return
        if self._trial is not None and now >= self._trial[0]:
            self._set_baud(self._trial[1])
            self._trial = None
        elif self._baud != self._base_baud and self._trial is None and now - self._heard_at >= RAISED_SILENCE_MS:
            self._set_baud(self._base_baud)
        if now - self._heard_at >= IDLE_MS:
            self._close("idle")
            return
        self._work(now)

    # --- frames ------------------------------------------------------------------------------------------------------

    def _frame(self, kind: int, epoch: int, seq: int, payload: bytes, now: int) -> None:
        if kind == provision.HELLO:
            self._hello(epoch, payload, now)
            return
        line = self._link
        if not self.open or line is None or epoch != line.epoch:
            return
        self._heard_at = now
        self._trial = None
        if kind in (link.DATA, link.LAST, link.ACK):
            line.receive(kind, seq, payload, now)
        elif kind == provision.PING:
            self._emit(provision.PONG, epoch, payload)
        elif kind == provision.BAUD and len(payload) == 4:
            wanted = struct.unpack(">I", payload)[0]
            agreed = wanted if wanted in provision.BAUDS and wanted <= self._baud_most else self._baud
            self._emit(provision.BAUD_SET, epoch, struct.pack(">I", agreed))
            if agreed != self._baud:
                self._trial = (now + provision.TRIAL_MS, self._baud)
                self._set_baud(agreed)
        elif kind == provision.BYE:
            self._close("bye")

    def _hello(self, epoch: int, payload: bytes, now: int) -> None:
        records = tlv.decode(payload)
        if records is None:
            return
        session, nonce = records.get(tlv.SESSION, b""), records.get(tlv.NONCE, b"")
        if not 4 <= len(session) <= 16 or not 8 <= len(nonce) <= 32:
            return
        if tlv.as_number(records, tlv.VERSION) != provision.VERSION:
            self._refuse(epoch, session, "version " + str(provision.VERSION))
            return
        line = self._link
        if self.open and line is not None:
            if session != self._session and now - self._heard_at < ALIVE_MS:
                self._refuse(epoch, session, "busy")
                return
            if session == self._session and nonce == self._tool_nonce:
                self._out.append(self._welcome)  # ours was lost, or is under way
                return
        resumed = session == self._session and bool(self._session)
        if not resumed:
            for ident in self._running:
                self._events.append(("cancel", ident))
            self._running = {}
            self._kept = {}
            self._kept_bytes = 0
            self._forgotten = -1
        else:
            for ident in self._moving:
                self._running.pop(ident, None)
                self._events.append(("cancel", ident))
        self._moving = {}
        self._session, self._tool_nonce, self.open, self._heard_at = session, nonce, True, now
        mine = self._random(16)
        takes = max(256, tlv.as_number(records, tlv.MESSAGE, provision.MESSAGE_MOST))
        self._peer_most, self._result_most = min(provision.MESSAGE_MOST, takes), min(provision.RESULT_MOST, takes)
        payload_most = tlv.as_number(records, tlv.PAYLOAD, 256)
        window = max(1, min(link.WINDOW, tlv.as_number(records, tlv.WINDOW, 8)))
        self._link = link.Link(epoch, self._baud, max(32, min(4096, payload_most)), window, self._message_most)
        answer = [
            (tlv.VERSION, tlv.number(provision.VERSION)), (tlv.SESSION, session), (tlv.NONCE, mine),
            (tlv.RESUMED, b"\x01" if resumed else b""), (tlv.PAYLOAD, tlv.number(4096)), (tlv.WINDOW, tlv.number(link.WINDOW)),
            (tlv.MESSAGE, tlv.number(self._message_most)), (tlv.BAUD, tlv.number(self._baud)),
            (tlv.BAUD_MOST, tlv.number(self._baud_most)),
        ]  # fmt: skip
        before = len(self._out)
        self._emit(provision.WELCOME, epoch, tlv.encode(answer + self.identity))
        self._welcome = self._out[before]
        self._events.append(("session", session, resumed, nonce, mine, tlv.as_text(records, tlv.LANGUAGE)))

    def _refuse(self, epoch: int, session: bytes, reason: str) -> None:
        self._emit(provision.REFUSED, epoch, tlv.encode([(tlv.SESSION, session), (tlv.REASON, reason.encode())]))

    def _set_baud(self, baud: int) -> None:
        self._baud = baud
        if self._link is not None:
            self._link.set_baud(baud)
        self._events.append(("baud", baud))

    def _close(self, reason: str) -> None:
        for ident, moving in self._moving.items():
            self._running.pop(ident, None)
            self._events.append(("cancel", ident))
            del moving
        self._moving = {}
        self.open = False
        self._link = None
        self._trial = None
        self._decoder.returns = 0
        if self._baud != self._base_baud:
            self._set_baud(self._base_baud)
        self._events.append(("closed", reason))

    # --- messages ----------------------------------------------------------------------------------------------------

    def _work(self, now: int) -> None:
        line = self._link
        if line is None:
            return
        for data in line.messages():
            message = provision.read_message(data)
            if message is None or not self._handle(message):
                self.faults += 1
        if line.fault:
            self.faults += 1
            self._emit(provision.BYE, line.epoch, line.fault.encode())
            self._close(line.fault)
            return
        for ident, moving in self._moving.items():
            if isinstance(moving, transfer.Sender):
                piece = moving.want(line.chunk(), line.queued(), self._peer_most)
                if piece is not None:
                    self._events.append(("want", ident, piece[0], piece[1]))
        self._pump(now)

    def _handle(self, message: "tuple[Any, ...]") -> bool:
        kind, ident = message[0], message[1]
        if kind in (provision.REQUEST, provision.OPEN):
            return self._begin(kind, ident, message)
        moving = self._moving.get(ident)
        if kind == provision.CANCEL:
            self._moving.pop(ident, None)
            if self._running.pop(ident, None) is not None:
                self._events.append(("cancel", ident))
            return True
        if kind == provision.BEGIN and isinstance(moving, transfer.Receiver) and message[2] in (0, moving.next):
            moving.next = message[2]
            self._events.append(("begin", ident, message[2]))
            return True
        if kind == provision.CHUNK and isinstance(moving, transfer.Receiver) and moving.take(message[2], len(message[3])):
            self._events.append(("data", ident, message[2], message[3]))
            return True
        if kind == provision.FINISH and isinstance(moving, transfer.Receiver) and moving.next == moving.size:
            del self._moving[ident]
            self._events.append(("finish", ident))
            return True
        if kind == provision.WRITTEN and isinstance(moving, transfer.Sender):
            if not moving.progress(message[2]):
                return False
            if moving.written == moving.size and not moving.finished:
                moving.finished = True
                self._events.append(("finish", ident))
            return True
        return ident not in self._running and kind != provision.RESULT  # late pieces of what was cancelled are no fault

    def _begin(self, kind: int, ident: int, message: "tuple[Any, ...]") -> bool:
        if ident in self._kept:
            self._message(self._kept[ident])
            return True
        if ident in self._running:
            return True  # being done: its result will come
        if ident <= self._forgotten:
            self._message(provision.head(provision.RESULT, ident) + bytes([provision.STALE]))
            return True
        if len(self._running) >= OPEN_MOST or (kind == provision.OPEN and len(self._moving) >= TRANSFERS_MOST):
            self._message(provision.head(provision.RESULT, ident) + bytes([provision.BUSY]))
            return True
        if kind == provision.REQUEST:
            self._running[ident] = kind
            self._events.append(("request", ident, message[2]))
            return True
        self._running[ident] = message[2]
        self._events.append(("put" if message[2] == provision.PUT else "get", ident, message[3]))
        return True

    def _accept(self, ident: int, size: int, offset: int, digest: bytes) -> None:
        if self._running[ident] == provision.PUT:
            self._moving[ident] = transfer.Receiver(size, offset)
        else:
            self._moving[ident] = transfer.Sender(size, offset)
            if size == offset:
                self._events.append(("finish", ident))
        self._message(provision.head(provision.ACCEPT, ident) + struct.pack(">II", size, offset) + digest)

    def _result(self, ident: int, status: int, body: bytes) -> None:
        """Kept whether the tool hears it now or asks again after a break."""
        if self._running.pop(ident, None) is None:
            return
        self._moving.pop(ident, None)
        data = provision.head(provision.RESULT, ident) + bytes([status]) + body
        if len(data) > self._result_most:
            data = provision.head(provision.RESULT, ident) + bytes([provision.TOO_LONG])
        self._kept[ident] = data
        self._kept_bytes += len(data)
        while len(self._kept) > KEEP or (self._kept_bytes > KEEP_BYTES and len(self._kept) > 1):
            oldest = min(self._kept)
            self._kept_bytes -= len(self._kept.pop(oldest))
            self._forgotten = max(self._forgotten, oldest)
        if self.open:
            self._message(data)
