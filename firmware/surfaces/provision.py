"""The scripted mode of the serial line: frames become commands of the control socket (L5).

Theory of operation
-------------------
`serve` takes a line over when the detector in front of the console has found a tool's call, and gives it back when the tool leaves, falls
silent, or a person presses Enter three times. The protocol is `wire.device`; here are the descriptors, the clock and a worker thread that
asks the control socket, so that a slow command stops neither acknowledgements nor flow control. The gate checks roles, audits and applies
the idempotency key, which is session and id of the request: what was done before this process or the cable broke is not done again.

A request is JSON `{"command": PATH, "args": {...}}`, its result `{"ok": true, "result": ...}` or `{"ok": false, "error": {"kind",
"message", "text", "problems"}}` with `text` in the language of the tool. Before log-in only `show identity` and the log-in itself are
passed on; a new hello ends a log-in. Invariant: no secret crosses the line, only proofs over the nonces of this hello (`wire.proof`).
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import queue
import secrets
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware.control.client import Client, CommandFailed, NotRunning
from firmware.control.provision_commands import PIECE
from firmware.wire import proof, provision, tlv
from firmware.wire.device import Device

READ = 65536
COMMAND_S = 120.0
LEAVE_S = 0.5
BEFORE_LOGIN = ("show identity", "login challenge", "login prove")
KINDS_ZH = {
    "unknown_command": "没有此命令", "bad_arguments": "参数错误", "not_allowed": "权限不足", "unavailable": "设备暂时无法应答",
    "refused": "被拒绝", "internal": "内部错误", "failed": "执行失败",
}  # fmt: skip
log = logging.getLogger("branchpbx.wire")
Baud = Callable[[int], None]
Say = Callable[[BaseException, str], str]


class _Session:
    """Who is at the other end since the last hello."""

    def __init__(self, event: tuple[Any, ...]) -> None:
        self.ident: bytes = event[1]
        self.tool_nonce: bytes = event[3]
        self.device_nonce: bytes = event[4]
        self.language: str = event[5] if event[5] in ("en", "zh") else "en"
        self.user = ""
        self.role = ""
        self.transfers: dict[int, str] = {}
        self.sizes: dict[int, int] = {}


class Handler:
    """The scripted mode of one serial line; results that were given outlive a visit of the console."""

    def __init__(self, state: Path, baud: int = 115200, baud_most: int = 3_000_000, say: Say = lambda error, _: str(error)) -> None:
        """`say`: an error in a language."""
        self._say = say
        self._sockets = (state / "run" / "manage.sock", state / "run" / "control.sock")
        self._machine = Device(self._identity(), secrets.token_bytes, baud, baud_most)
        self._session: _Session | None = None
        self._jobs: queue.Queue[tuple[Any, ...] | None] = queue.Queue()
        self._done: queue.Queue[tuple[bytes, tuple[Any, ...]]] = queue.Queue()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)

    def close(self) -> None:
        """Give descriptors back."""
        os.close(self._wake_read)
        os.close(self._wake_write)

    # --- the line -----------------------------------------------------------------------------------------------------

    def serve(self, read_fd: int, write_fd: int, first: bytes = b"", set_baud: Baud | None = None) -> str:
        """Speak with the tool until it leaves; the reason. `first`: what was read after its call. Raises OSError when the line is gone."""
        machine = self._machine
        machine.identity = self._identity()
        # A worker of its own for each visit: one that still waits for a slow command when its tool is gone keeps nobody from the console.
        jobs = self._jobs = queue.Queue()
        worker = threading.Thread(target=self._work, args=(jobs,), name="provision", daemon=True)
        worker.start()
        began, closed = _now(), ""
        try:
            machine.receive(first, began)
            while not closed and (machine.open or _now() - began < 5000):
                closed = self._act(write_fd, set_baud)
                if closed:
                    break
                due = machine.deadline()
                wait = 1.0 if due is None else min(1.0, max(0.0, (due - _now()) / 1000))
                ready, _, _ = select.select([read_fd, self._wake_read], [], [], wait)
                now = _now()
                if self._wake_read in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                if read_fd in ready:
                    with contextlib.suppress(BlockingIOError):
                        data = os.read(read_fd, READ)
                        if not data:
                            raise OSError("the serial line is closed")
                        machine.receive(data, now)
                while not self._done.empty():
                    of, answer = self._done.get_nowait()
                    if self._session is not None and of == self._session.ident:
                        machine.send(answer, now)
                machine.expire(now)
            return closed or "no hello"
        finally:
            jobs.put(None)
            worker.join(LEAVE_S)

    def _act(self, write_fd: int, set_baud: Baud | None) -> str:
        """Transmit, and hand events to the worker; the reason when the session ended."""
        machine, closed = self._machine, ""
        while True:
            events = machine.events()
            out = machine.output()
            _write_all(write_fd, out)
            if not events and not out:
                return closed
            for event in events:
                if event[0] == "session":
                    self._session = _Session(event)
                    closed = ""  # the next tool called in the same breath
                elif event[0] == "baud":
                    if set_baud is not None:
                        set_baud(event[1])
                elif event[0] == "closed":
                    closed = str(event[1])
                elif self._session is not None:
                    self._jobs.put((self._session, event))

    # --- the worker ---------------------------------------------------------------------------------------------------

    def _work(self, jobs: queue.Queue[tuple[Any, ...] | None]) -> None:
        while True:
            job = jobs.get()
            if job is None:
                return
            session, event = job
            current = self._session
            if current is None or current.ident != session.ident:
                continue  # its tool is gone; what it had not begun is not begun for nobody
            for answer in self._answers(session, event):
                self._done.put((session.ident, answer))
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b"x")

    def _answers(self, session: _Session, event: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        name, ident = event[0], event[1]
        try:
            if name == "request":
                return [("result", ident, provision.OK, self._request(session, ident, event[2]))]
            return self._transfer(session, name, ident, event)
        except (CommandFailed, NotRunning) as error:
            return [("result", ident, provision.FAILED, self._failure(error, session.language))]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            wrong = CommandFailed("bad_arguments", f"not a request ({error})")
            return [("result", ident, provision.FAILED, self._failure(wrong, session.language))]
        except Exception as error:
            log.exception("%s of the serial line failed", name)
            wrong = CommandFailed("internal", f"{name} failed ({type(error).__name__}); the log has the details")
            return [("result", ident, provision.FAILED, self._failure(wrong, session.language))]

    def _request(self, session: _Session, ident: int, body: bytes) -> bytes:
        request = json.loads(body)
        path, args = str(request["command"]), dict(request.get("args") or {})
        if not session.role and path not in BEFORE_LOGIN:
            raise CommandFailed("not_allowed", f"{path} needs a log-in first")
        if path == "login prove":
            user = str(args.get("user", ""))
            about = proof.transcript(session.ident, session.tool_nonce, session.device_nonce, user)
            answer = self._ask(session, "login prove", {"user": user, "proof": str(args.get("proof", "")), "about": about.hex()})
            session.user, session.role = str(answer["user"]), str(answer["role"])
            return _json({"ok": True, "result": answer})
        # A read may be asked again without harm, and its answer should be of now.
        key = "" if path.startswith("show ") else f"{session.ident.hex()}:{ident}"
        return _json({"ok": True, "result": self._ask(session, path, args, key)})

    def _transfer(self, session: _Session, name: str, ident: int, event: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if name == "cancel":
            session.transfers.pop(ident, None)
            return []
        if not session.role:
            raise CommandFailed("not_allowed", "a transfer needs a log-in first")
        if name == "put":
            meta = tlv.decode(event[2]) or {}
            facts = {
                "kind": tlv.as_text(meta, tlv.KIND), "name": tlv.as_text(meta, tlv.FILE), "size": tlv.as_number(meta, tlv.SIZE),
                "digest": meta.get(tlv.DIGEST, b"").hex(),
            }  # fmt: skip
            state = self._ask(session, "transfer begin", facts)
            session.transfers[ident] = state["transfer"]
            return [("accept", ident, state["size"], state["offset"], bytes.fromhex(state["digest"]))]
        if name == "get":
            return self._fetch(session, ident, tlv.decode(event[2]) or {})
        transfer = session.transfers.get(ident)
        if transfer is None:
            return []
        if name == "begin":
            self._ask(session, "transfer cut", {"transfer": transfer, "offset": event[2]})
        elif name == "data":
            at = event[2]
            for start in range(0, len(event[3]), PIECE):
                part = event[3][start : start + PIECE]
                args = {"transfer": transfer, "offset": at + start, "data": base64.b64encode(part).decode()}
                self._ask(session, "transfer write", args)
            return [("written", ident, at + len(event[3]))]
        elif name == "want":
            piece = self._ask(session, "transfer read", {"transfer": transfer, "offset": event[2], "count": min(event[3], PIECE)})
            return [("data", ident, event[2], base64.b64decode(piece["data"]))]
        elif name == "finish" and ident in session.sizes:
            return [("result", ident, provision.OK, _json({"ok": True, "result": {"size": session.sizes[ident]}}))]
        elif name == "finish":
            said = self._ask(session, "transfer finish", {"transfer": transfer}, f"{session.ident.hex()}:{ident}")
            return [("result", ident, provision.OK, _json({"ok": True, "result": said}))]
        return []

    def _fetch(self, session: _Session, ident: int, meta: dict[int, bytes]) -> list[tuple[Any, ...]]:
        """Open what goes out; it goes on where the tool's part ends if that is its beginning."""
        known = tlv.as_text(meta, tlv.DETAIL)
        state = self._ask(session, "transfer open", {"kind": tlv.as_text(meta, tlv.KIND), "digest": known})
        offset = min(tlv.as_number(meta, tlv.OFFSET), state["size"])
        if offset:
            have = self._ask(session, "transfer digest", {"transfer": state["transfer"], "offset": offset})
            if have["digest"] != meta.get(tlv.DIGEST, b"").hex():
                offset = 0
        session.transfers[ident] = state["transfer"]
        session.sizes[ident] = state["size"]
        return [("accept", ident, state["size"], offset, bytes.fromhex(state["digest"]))]

    def _failure(self, error: CommandFailed | NotRunning, language: str) -> bytes:
        kind = error.kind if isinstance(error, CommandFailed) else "unavailable"
        problems = error.problems if isinstance(error, CommandFailed) else []
        text = self._say(error, language)
        if language == "zh":
            told = "；".join(f"{one['path']}：{one.get('message_zh') or one.get('message', '')}" for one in problems)
            text = f"{KINDS_ZH.get(kind, '错误')}：{told or text}"
        return _json({"ok": False, "error": {"kind": kind, "message": str(error), "text": text, "problems": problems}})

    def _ask(self, session: _Session, path: str, args: dict[str, Any], key: str = "") -> Any:
        peer = {"name": f"wire:{session.user or 'nobody'}", "role": session.role or "viewer"}
        with self._open() as client:
            client.send({"id": 1, "command": path, "args": args, "peer": peer, **({"key": key} if key else {})})
            reply = client.receive()
        if reply.get("ok"):
            return reply.get("result")
        error = reply.get("error") or {}
        facts = {name: value for name, value in error.items() if name not in ("kind", "message")}
        raise CommandFailed(str(error.get("kind", "internal")), str(error.get("message", "no reason given")), facts)

    def _open(self) -> Client:
        try:
            return Client(self._sockets[0], timeout_s=COMMAND_S)
        except NotRunning:
            return Client(self._sockets[1], timeout_s=COMMAND_S)

    def _identity(self) -> list[tuple[int, bytes]]:
        try:
            with self._open() as client:
                known = client.call("show identity")
        except (NotRunning, CommandFailed):
            return [(tlv.MODE, b"appliance")]
        return [
            (tlv.PRODUCT, f"{known['product']} {known['version']}".encode()), (tlv.MODEL, known["model"].encode()),
            (tlv.SERIAL, known["serial"].encode()), (tlv.MAC, known["mac"].encode()), (tlv.MODE, b"appliance"),
            (tlv.SEALED, b"\x01" if known["sealed"] else b""),
        ]  # fmt: skip


_handlers: dict[Path, Handler] = {}


def serve(
    read_fd: int,
    write_fd: int,
    state: Path,
    first: bytes = b"",
    set_baud: Baud | None = None,
    baud: int = 115200,
    say: Say = lambda error, _: str(error),
) -> bytes:
    """Take the line over until the tool leaves; bytes that belong to the console (none: what came in between was the tool's).

    The line must be raw (no echo, no signals, eight bits). Raises OSError when it is gone.
    """
    handler = _handlers.get(state)
    if handler is None:
        handler = _handlers[state] = Handler(state, baud, 3_000_000 if set_baud is not None else baud, say)
    handler.serve(read_fd, write_fd, first, set_baud)
    return b""


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [], 1.0)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _now() -> int:
    return time.monotonic_ns() // 1_000_000
