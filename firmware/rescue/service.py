"""The rescue's end of the provisioning protocol: requests and files of `tools/provision` (no I/O of its own).

Theory of operation
-------------------
The machine is `firmware/wire/device.py`; this is its owner. Requests are the same JSON as of the running firmware: {"command", "args"},
answered {"ok", "result"} or {"ok", "error"}. Nobody logs in: who has the cable and can restart the box into the rescue stands before
it, and what the rescue gives away are versions and its own log. A request that begins a job is answered when the job ends; a second
one meanwhile is refused. A file of kind "bundle" comes into memory; one that broke off is gone on with where it ended, after both sides
have compared the SHA-256 of what is there. To learn that hash takes a job's steps too, so the line stays alive.
"""

import hashlib
import json

from firmware.rescue import core, jobs
from firmware.rescue.texts import Refusal
from firmware.wire import provision, tlv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from firmware.wire.device import Device


class Service:
    """See above."""

    def __init__(self, rescue: core.Rescue, device: "Device") -> None:
        self._rescue = rescue
        self._device = device
        self._waiting: tuple[int, str] | None = None  # the request whose job runs
        self._language = "en"
        self._put = 0
        self._digest = b""
        self._size = 0
        self._place: Any = None
        self._look: Iterator[Any] | None = None
        self._looked: dict[str, Any] = {}
        self._getting: dict[int, bytes] = {}

    def act(self, now: int) -> None:
        """Work off the machine's events."""
        for event in self._device.events():
            self._event(event, now)

    def step(self, now: int) -> bool:
        """Go on with comparing what is there of a file; False when there is nothing to do."""
        if self._look is None:
            return False
        try:
            next(self._look)
        except StopIteration:
            self._look = None
            self._device.send(("accept", self._put, self._size, self._place.size, self._looked["digest"]), now)
        except OSError as error:
            self._look = None
            self._fail(self._put, Refusal("fault", why=self._rescue.board.reason(error)), now)
        return True

    def told(self, name: str, result: "dict[str, Any] | Refusal", now: int) -> None:
        """A job has ended."""
        if self._waiting is None or self._waiting[1] != name:
            return
        ident = self._waiting[0]
        self._waiting = None
        if isinstance(result, Refusal):
            self._fail(ident, result, now)
        else:
            self._done(ident, core.result_json(name, result), now)

    def _event(self, event: "tuple[Any, ...]", now: int) -> None:
        name = event[0]
        if name == "session":
            self._language = event[5]
        elif name == "baud":
            self._rescue.board.rate(event[1])
        elif name == "request":
            self._request(event[1], event[2], now)
        elif name == "put":
            self._open(event[1], event[2], now)
        elif name == "get":
            content = self._rescue.board.logs().encode()
            self._getting[event[1]] = content
            self._device.send(("accept", event[1], len(content), 0, hashlib.sha256(content).digest()), now)
        elif name == "want" and event[1] in self._getting:
            content = self._getting[event[1]]
            self._device.send(("data", event[1], event[2], content[event[2] : event[2] + event[3]]), now)
        elif name == "finish" and event[1] in self._getting:
            del self._getting[event[1]]
            self._done(event[1], {}, now)
        elif name == "cancel":
            self._getting.pop(event[1], None)
            if event[1] == self._put:
                self._put = 0
                self._look = None
        elif event[1] == self._put and self._put:
            self._piece(event, now)

    def _piece(self, event: "tuple[Any, ...]", now: int) -> None:
        """A file that comes."""
        name, ident = event[0], event[1]
        try:
            if name == "begin" and event[2] == 0 and self._place.size:
                self._place = self._rescue.board.incoming(0)
            elif name == "data":
                self._place.add(event[3])
                self._device.send(("written", ident, self._place.size), now)
            elif name == "finish":
                self._put = 0
                path = self._place.close()
                self._rescue.board.take(path)
                self._done(ident, {"name": "bundle", "says": "it is here; nothing is installed yet", "says_zh": "已收到，尚未安装"}, now)
        except OSError as error:
            self._put = 0
            self._fail(ident, Refusal("fault", why=self._rescue.board.reason(error)), now)

    def _open(self, ident: int, meta: bytes, now: int) -> None:
        records = tlv.decode(meta) or {}
        size, digest = tlv.as_number(records, tlv.SIZE), records.get(tlv.DIGEST, b"")
        board = self._rescue.board
        try:
            if tlv.as_text(records, tlv.KIND) != "bundle" or len(digest) != provision.DIGEST_SIZE:
                raise Refusal("unknown", what="put " + tlv.as_text(records, tlv.KIND)[:20])
            if self._rescue.job or self._put:
                raise Refusal("busy", what=self._rescue.job or "put")
            if not 0 < size <= board.bundle_most:
                raise Refusal("too_big", size=size, most=board.bundle_most)
            there = board.incoming_size() if digest == self._digest else 0
            self._place = board.incoming(min(there, size))
        except Refusal as refusal:
            self._fail(ident, refusal, now)
            return
        self._put, self._size, self._digest = ident, size, digest
        self._looked = {}
        self._look = jobs.digest(board, self._place.path, self._place.size, self._looked)

    def _request(self, ident: int, body: bytes, now: int) -> None:
        try:
            asked = json.loads(body)
            name, args = asked["command"], asked.get("args") or {}
            if not isinstance(name, str) or not isinstance(args, dict):
                raise ValueError("no command")
        except (ValueError, KeyError, TypeError, AttributeError):
            self._fail(ident, Refusal("unknown", what="?"), now)
            return
        if name == "login challenge":
            self._done(ident, {"free": True, "salt": "", "n": 0, "r": 0, "p": 0}, now)
            return
        if name == "login prove":
            self._done(ident, {"role": "rescue", "answer": ""}, now)
            return
        if name in ("show status", "show identity"):
            name = "status"
        try:
            answer = self._rescue.ask(name, args)
        except Refusal as refusal:
            self._fail(ident, refusal, now)
            return
        except OSError as error:
            self._fail(ident, Refusal("fault", why=self._rescue.board.reason(error)), now)
            return
        if answer is None:
            self._waiting = (ident, name)
        else:
            self._done(ident, answer, now)

    def _done(self, ident: int, result: "dict[str, Any]", now: int) -> None:
        self._device.send(("result", ident, provision.OK, json.dumps({"ok": True, "result": result}).encode()), now)

    def _fail(self, ident: int, refusal: Refusal, now: int) -> None:
        fault = {"kind": refusal.code, "message": refusal.said("en"), "text": refusal.said(self._language)}
        self._device.send(("result", ident, provision.FAILED, json.dumps({"ok": False, "error": fault}).encode()), now)
