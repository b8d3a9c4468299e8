"""The host tool's end of the provisioning protocol, without I/O (L0). Begin with `provision.py`.

Theory of operation
-------------------
    closed --open--> calling --WELCOME--> greeted --ready--> ready --silence--> calling ...      any --close, BYE--> closed

What its owner gets from `events`: ("calling", times), ("welcome", records, resumed, session, tool_nonce), ("refused", reason),
("result", id, status, body), ("accepted", id, size, offset, digest), ("want", id, offset, count), ("progress", id, offset),
("data", id, offset, bytes), ("reopen", id): ask for this transfer again, ("baud", rate): set the port when what `output` gave is on the
line, ("rate", rate, True | False): the outcome of a change, ("lost",), ("closed", reason).
What its owner sends: ("open",), ("ready",) when it has proved who it is, ("request", id, body, early), ("put", id, meta),
("get", id, meta), ("begin", id, offset) after "accepted", ("data", id, offset, bytes), ("written", id, offset), ("cancel", id),
("baud", rate), ("close",).

Requests that are `early` go before "ready" (the proof itself); a new welcome ends them with `BROKEN`, as the nonce is another. All others
wait for "ready" and are sent again after each break: the device does none of them twice. At a raised rate without answer the tool calls
at the first rate again.
"""

import struct

from firmware.wire import link, provision, tlv, transfer
from firmware.wire.detect import ATTENTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CALL_MS = 500
PING_MS = 1500
LOST_MS = 6000
BAUD_PING_MS = 150
BAUD_TRIES = 3


class Tool(provision.End):
    """See the theory of operation above."""

    def __init__(
        self,
        session: bytes,
        random: "Callable[[int], bytes]",
        baud: int = 115200,
        language: str = "en",
        message_most: int = provision.RESULT_MOST,
    ) -> None:
        """`session`: 8 bytes that no other run has; `random(n)`: n unpredictable bytes; `baud`: rate of the console."""
        provision.End.__init__(self, baud, message_most)
        self._session = session
        self._random = random
        self._language = language
        self.state = "closed"
        self._epoch = random(1)[0]
        self._nonce = b""
        self._hello = b""
        self._calls = 0
        self._call_at = 0
        self._ping_at = 0
        self._pending: dict[int, list[Any]] = {}  # id -> [kind, body, early, sent]
        self._moving: dict[int, transfer.Sender | transfer.Receiver] = {}
        self._change: list[int] | None = None  # [rate wanted, tries, next try at, agreed, trial ends at]

    # --- the six methods ---------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: int) -> None:
        """Bytes from the line."""
        for kind, epoch, seq, payload in self._decoder.feed(data):
            self._frame(kind, epoch, seq, payload, now)
        self._work(now)

    def send(self, event: "tuple[Any, ...]", now: int) -> None:
        """A local intention; see the module's text."""
        name = event[0]
        if name == "open":
            self._call(now)
        elif name == "close":
            if self._link is not None:
                self._emit(provision.BYE, self._link.epoch, b"")
            self._end("local")
        elif name == "ready":
            self._ready(now)
        elif name == "baud":
            self._change = [event[1], 0, now, 0, 0]
        elif name == "request":
            self._pending[event[1]] = [provision.REQUEST, event[2], event[3], False]
        elif name in ("put", "get"):
            self._pending[event[1]] = [provision.PUT if name == "put" else provision.GET, event[2], False, False]
        elif name == "cancel":
            self._pending.pop(event[1], None)
            self._moving.pop(event[1], None)
            if self._link is not None:
                self._message(provision.head(provision.CANCEL, event[1]))
        else:
            self._transfer(event)
        self._flush()
        self._work(now)

    def deadline(self) -> int | None:
        """When `expire` wants to be called."""
        if self.state == "closed":
            return None
        if self.state == "calling":
            return self._call_at
        due = min(self._ping_at, self._heard_at + LOST_MS)
        other = self._link.deadline() if self._link is not None else None
        if other is not None:
            due = min(due, other)
        if self._change is not None:
            due = min(due, self._change[2])
        return due

    def expire(self, now: int) -> None:
        """Time has come."""
        if self.state == "closed":
            return
        if self.state == "calling":
            if now >= self._call_at:
                self._ring(now)
            return
        if self._change is not None and now >= self._change[2]:
            self._change_step(now)
        if self.state == "calling":
            return
        if now - self._heard_at >= LOST_MS:
            self._events.append(("lost",))
            self._call(now)
            return
        if now >= self._ping_at and self._link is not None:
            self._emit(provision.PING, self._link.epoch, b"")
            self._ping_at = now + PING_MS
        self._work(now)

    # --- calling -----------------------------------------------------------------------------------------------------

    def _call(self, now: int) -> None:
        self.state = "calling"
        self._link = None
        self._moving = {}
        self._change = None
        self._epoch = (self._epoch + 1) & 0xFF
        self._nonce = self._random(16)
        records = [
            (tlv.VERSION, tlv.number(provision.VERSION)), (tlv.SESSION, self._session), (tlv.NONCE, self._nonce),
            (tlv.PAYLOAD, tlv.number(4096)), (tlv.WINDOW, tlv.number(link.WINDOW)), (tlv.MESSAGE, tlv.number(self._message_most)),
            (tlv.LANGUAGE, self._language.encode()),
        ]  # fmt: skip
        self._hello = tlv.encode(records)
        self._calls = 0
        self._ring(now)

    def _ring(self, now: int) -> None:
        self._calls += 1
        if self._calls > 4 and self._baud != self._base_baud:
            self._baud = self._base_baud
            self._events.append(("baud", self._baud))
        self._out.append(ATTENTION)
        self._emit(provision.HELLO, self._epoch, self._hello)
        self._call_at = now + max(CALL_MS, 3 * 250 * 10000 // self._baud)
        self._events.append(("calling", self._calls))

    def _end(self, reason: str) -> None:
        self.state = "closed"
        self._link = None
        self._moving = {}
        self._change = None
        if self._baud != self._base_baud:
            self._baud = self._base_baud
            self._events.append(("baud", self._baud))
        self._events.append(("closed", reason))

    # --- frames ------------------------------------------------------------------------------------------------------

    def _frame(self, kind: int, epoch: int, seq: int, payload: bytes, now: int) -> None:
        if epoch != self._epoch or self.state == "closed":
            return
        if kind in (provision.WELCOME, provision.REFUSED):
            if self.state == "calling":
                self._answered(kind, payload, now)
            return
        line = self._link
        if line is None:
            return
        self._heard_at = now
        self._ping_at = now + PING_MS
        if kind in (link.DATA, link.LAST, link.ACK):
            line.receive(kind, seq, payload, now)
        elif kind == provision.BAUD_SET and len(payload) == 4 and self._change is not None and not self._change[3]:
            agreed = struct.unpack(">I", payload)[0]
            if agreed == self._baud or agreed not in provision.BAUDS:
                self._change = None
                self._events.append(("rate", self._baud, False))
                return
            self._change[1:] = [1, now + 50, agreed, now + provision.TRIAL_MS - 200]
            self._events.append(("baud", agreed))
        elif kind == provision.PONG and self._change is not None and self._change[3]:
            self._baud = self._change[3]
            self._change = None
            line.set_baud(self._baud)
            self._events.append(("rate", self._baud, True))
        elif kind == provision.BYE:
            self._end("the device left")

    def _answered(self, kind: int, payload: bytes, now: int) -> None:
        records = tlv.decode(payload)
        if records is None or records.get(tlv.SESSION) != self._session:
            return
        if kind == provision.REFUSED:
            self._events.append(("refused", tlv.as_text(records, tlv.REASON)))
            return
        if tlv.as_number(records, tlv.VERSION) != provision.VERSION:
            self._events.append(("refused", "version " + str(tlv.as_number(records, tlv.VERSION))))
            return
        payload_most = max(32, min(4096, tlv.as_number(records, tlv.PAYLOAD, 256)))
        window = max(1, min(link.WINDOW, tlv.as_number(records, tlv.WINDOW, 8)))
        self._peer_most = max(256, min(provision.MESSAGE_MOST, tlv.as_number(records, tlv.MESSAGE, provision.MESSAGE_MOST)))
        self._link = link.Link(self._epoch, self._baud, payload_most, window, self._message_most)
        self.state = "greeted"
        self._heard_at = now
        self._ping_at = now + PING_MS
        for ident in sorted(self._pending):
            entry = self._pending[ident]
            entry[3] = False
            if entry[2]:
                del self._pending[ident]
                self._events.append(("result", ident, provision.BROKEN, b""))
        self._events.append(("welcome", records, bool(records.get(tlv.RESUMED)), self._session, self._nonce))

    def _ready(self, now: int) -> None:
        if self.state != "greeted":
            return
        self.state = "ready"
        for ident in sorted(self._pending):
            if self._pending[ident][0] != provision.REQUEST:
                del self._pending[ident]
                self._events.append(("reopen", ident))

    def _change_step(self, now: int) -> None:
        """Ask for the rate, or look whether it works."""
        change, line = self._change, self._link
        if change is None or line is None:
            return
        if not change[3]:
            if change[1] >= BAUD_TRIES:
                self._change = None
                self._events.append(("rate", self._baud, False))
                return
            if not line.idle():
                change[2] = now + 50  # what is under way arrives first
                return
            change[1] += 1
            change[2] = now + max(700, 600 * 10000 // self._baud)
            self._emit(provision.BAUD, line.epoch, struct.pack(">I", change[0]))
        elif now >= change[4]:
            self._events.append(("baud", self._baud))
            self._events.append(("rate", self._baud, False))
            self._call(now)  # the device comes back to this rate by itself
        else:
            change[2] = now + BAUD_PING_MS
            self._emit(provision.PING, line.epoch, b"")

    # --- messages ----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send what may go now, in the order of its ids."""
        if self._link is None:
            return
        for ident in sorted(self._pending):
            kind, body, early, sent = self._pending[ident]
            if sent or not (self.state == "ready" or early):
                continue
            if len(body) + 8 > self._peer_most:
                del self._pending[ident]
                self._events.append(("result", ident, provision.TOO_LONG, b""))
                continue
            self._pending[ident][3] = True
            if kind == provision.REQUEST:
                self._message(provision.head(provision.REQUEST, ident) + body)
            else:
                self._message(provision.head(provision.OPEN, ident) + bytes([kind]) + body)

    def _transfer(self, event: "tuple[Any, ...]") -> None:
        name, ident, offset = event[0], event[1], event[2]
        moving = self._moving.get(ident)
        if name == "begin" and isinstance(moving, transfer.Sender):
            self._moving[ident] = transfer.Sender(moving.size, offset)
            self._message(provision.place(provision.BEGIN, ident, offset))
            if offset == moving.size:
                self._message(provision.head(provision.FINISH, ident))
        elif name == "data" and isinstance(moving, transfer.Sender) and moving.take(offset, len(event[3])):
            self._message(provision.place(provision.CHUNK, ident, offset) + event[3])
            if moving.next == moving.size:
                self._message(provision.head(provision.FINISH, ident))
        elif name == "written" and isinstance(moving, transfer.Receiver):
            self._message(provision.place(provision.WRITTEN, ident, offset))

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
            self._events.append(("lost",))
            self._call(now)
            return
        if self.state == "ready":
            for ident, moving in self._moving.items():
                if isinstance(moving, transfer.Sender):
                    piece = moving.want(line.chunk(), line.queued(), self._peer_most)
                    if piece is not None:
                        self._events.append(("want", ident, piece[0], piece[1]))
        if self._change is None or not self._change[1]:
            self._pump(now)

    def _handle(self, message: "tuple[Any, ...]") -> bool:
        kind, ident = message[0], message[1]
        entry = self._pending.get(ident)
        moving = self._moving.get(ident)
        if entry is None:
            return kind in (provision.RESULT, provision.CHUNK, provision.WRITTEN, provision.ACCEPT)  # late, no fault
        if kind == provision.RESULT:
            del self._pending[ident]
            self._moving.pop(ident, None)
            self._events.append(("result", ident, message[2], message[3]))
            return True
        if kind == provision.ACCEPT and entry[0] != provision.REQUEST and moving is None:
            size, offset = message[2], message[3]
            if entry[0] == provision.PUT:
                sender = transfer.Sender(size, size)  # asks for nothing before "begin"
                self._moving[ident] = sender
            else:
                self._moving[ident] = transfer.Receiver(size, offset)
            self._events.append(("accepted", ident, size, offset, message[4]))
            return True
        if kind == provision.CHUNK and isinstance(moving, transfer.Receiver) and moving.take(message[2], len(message[3])):
            self._events.append(("data", ident, message[2], message[3]))
            return True
        if kind == provision.WRITTEN and isinstance(moving, transfer.Sender) and moving.progress(message[2]):
            self._events.append(("progress", ident, message[2]))
            return True
        return False
