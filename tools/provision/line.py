"""The host's side of the serial line: finds ports, keeps a session over breaks, asks, sends and fetches.

Theory of operation
-------------------
`Session` owns one port and the protocol machine (`firmware/wire/tool.py`). `turn` moves bytes, hands events on and waits 20 ms at most;
everything else is a loop around it, so it runs alike on Linux, macOS and Windows. A port that fails (cable pulled, adapter gone) is opened
again each second until `patience_s` is over; the machine asks again for what is open, and the box answers what it did already from its
kept results. The log-in is part of each hello: challenge, key by scrypt (made once), proof, and the proof of the box in return.
The transcript has one JSON line for everything asked and its end, secrets hidden.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol

from firmware.wire import proof, provision, tlv
from firmware.wire.tool import Tool

from .texts import ProvisionError, say, told

TURN_S = 0.02
SECRET = ("proof", "password", "site_key", "secret", "pin", "value", "text", "stored")
# USB serial adapters that branch boxes and their cables have: vendor id -> what it is.
ADAPTERS = {
    0x0403: "FTDI", 0x067B: "Prolific", 0x10C4: "Silicon Labs CP210x", 0x1A86: "WCH CH340", 0x04D8: "Microchip MCP2221",
    0x0525: "USB gadget", 0x1D6B: "USB gadget",
}  # fmt: skip
Progress = Callable[[int, int], None]


class Port(Protocol):
    """What pyserial's `Serial` does."""

    baudrate: int

    @property
    def in_waiting(self) -> int: ...
    def read(self, size: int = 1, /) -> bytes: ...
    def write(self, data: bytes, /) -> int | None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def open_port(name: str, baud: int) -> Port:
    """Open a serial port for this program alone. Raises ProvisionError."""
    serial: Any = import_module("serial")
    try:
        port: Port = serial.Serial(name, baud, timeout=TURN_S, write_timeout=30, exclusive=True if sys.platform != "win32" else None)
    except (OSError, ValueError) as error:
        raise told("port", name=name, why=error) from None
    return port


def ports() -> list[dict[str, str]]:
    """Serial ports of this computer, USB adapters first, the likeliest on top."""
    rows = []
    for one in import_module("serial.tools.list_ports").comports():
        known = ADAPTERS.get(one.vid or 0, "")
        ids = f"{one.vid:04x}:{one.pid:04x}" if one.vid is not None and one.pid is not None else ""
        rows.append({"port": one.device, "adapter": known or one.description or "", "usb": ids, "serial": one.serial_number or ""})
    return sorted(rows, key=lambda row: (row["adapter"] not in ADAPTERS.values(), not row["usb"], row["port"]))


def choose_port(wanted: str) -> str:
    """`wanted`, or the only USB adapter there is. Raises ProvisionError with what there is."""
    if wanted:
        return wanted
    usb = [row for row in ports() if row["usb"]]
    if len(usb) == 1:
        return usb[0]["port"]
    found = ", ".join(f"{row['port']} ({row['adapter']} {row['usb']})" for row in usb)
    raise told("choose", found=found or "-")


class Credentials:
    """Who logs in; the key of a password is made once for each salt."""

    def __init__(self, user: str = "installer", password: str = "", key: bytes = b"") -> None:
        self.user, self.password, self.key = user, password, key
        self._made: dict[tuple[str, int, int, int], bytes] = {}

    def key_for(self, challenge: dict[str, Any]) -> bytes:
        """The key of the proof."""
        if self.key:
            return self.key
        facts = (str(challenge["salt"]), int(challenge["n"]), int(challenge["r"]), int(challenge["p"]))
        if not 0 < facts[1] * facts[2] * 128 <= 128 << 20 or not 0 < facts[3] <= 16:
            raise told("costly")
        if facts not in self._made:
            salt = base64.b64decode(facts[0])
            memory = facts[1] * facts[2] * 128 * 2 + (1 << 20)
            n, r, p = facts[1:]
            self._made[facts] = hashlib.scrypt(self.password.encode(), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=32)
        return self._made[facts]


class Session:
    """See the theory of operation above."""

    def __init__(
        self,
        opener: Callable[[int], Port],
        who: Credentials,
        *,
        baud: int = 115200,
        language: str = "en",
        patience_s: float = 60.0,
        transcript: IO[str] | None = None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._opener, self._who, self._baud, self._patience_s = opener, who, baud, patience_s
        self._transcript, self._notice = transcript, notice
        self.language = language
        self._machine = Tool(secrets.token_bytes(8), secrets.token_bytes, baud, language)
        self._port: Port | None = None
        self._ids = 0
        self._results: dict[int, tuple[int, bytes]] = {}
        self._early: dict[int, str] = {}
        self._transfers: dict[int, _Transfer] = {}
        self._challenge: dict[str, Any] = {}
        self._hello: tuple[bytes, bytes, bytes] = (b"", b"", b"")
        self._rate: tuple[int, bool] | None = None
        self._refused = ""
        self._trouble: ProvisionError | None = None
        self._began = self._silent_since = time.monotonic()
        self.identity: dict[str, str] = {}
        self.role = ""
        self.breaks = 0

    # --- what callers use ---------------------------------------------------------------------------------------------

    def connect(self) -> dict[str, str]:
        """Open, greet, log in; who the box is. Raises ProvisionError."""
        self._reopen()
        try:
            self._wait(lambda: self._machine.state == "ready")
        except ProvisionError:
            self.close()
            raise
        return self.identity

    def call(self, command: str, **args: Any) -> Any:
        """Result of one command. Raises ProvisionError with what the box said, in the language of this session."""
        return self._ended(command, args, self._request({"command": command, "args": args}))

    def put(self, kind: str, name: str, content: bytes, progress: Progress | None = None) -> Any:
        """Send a file; what became of it."""
        began = time.monotonic()
        ident = self._next()
        self._transfers[ident] = _Put(kind, name, content, progress)
        self._open_transfer(ident)
        return self._ended(f"put {kind} {name}", {"bytes": len(content)}, ident, began)

    def get(self, kind: str, target: Path, progress: Progress | None = None) -> int:
        """Fetch a file into `target` (`target.part` while it comes, which a later run goes on with); its size."""
        ident = self._next()
        transfer = _Get(kind, target, progress)
        self._transfers[ident] = transfer
        self._open_transfer(ident)
        try:
            self._ended(f"get {kind}", {}, ident)
        finally:
            transfer.close()
        return transfer.complete()

    def become(self, user: str, password: str) -> None:
        """Log in as somebody else from the next hello on."""
        self._who = Credentials(user, password)

    def raise_rate(self, baud: int) -> bool:
        """Try a faster rate; False where cable or box do not carry it (the old one stays)."""
        self._rate = None
        self._machine.send(("baud", baud), _now())
        self._wait(lambda: self._rate is not None)
        self._wait(lambda: self._machine.state == "ready")
        return bool(self._rate and self._rate[1])

    def close(self) -> None:
        """Say goodbye and give the port back."""
        if self._port is not None:
            with contextlib.suppress(OSError):
                self._machine.send(("close",), _now())
                self._transmit()
            self._port.close()
            self._port = None

    @property
    def age_s(self) -> float:
        """Seconds since the session was made."""
        return time.monotonic() - self._began

    def statistics(self) -> dict[str, int]:
        """Counters of the line."""
        return self._machine.statistics()

    # --- asking -------------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._ids += 1
        return self._ids

    def _request(self, body: dict[str, Any], early: bool = False) -> int:
        ident = self._next()
        self._machine.send(("request", ident, json.dumps(body).encode(), early), _now())
        return ident

    def _ended(self, what: str, args: dict[str, Any], ident: int, began: float | None = None) -> Any:
        began = time.monotonic() if began is None else began
        self._wait(lambda: ident in self._results)
        self._transfers.pop(ident, None)
        status, body = self._results.pop(ident)
        if status == provision.STALE:
            error = told("stale", what=what)
        elif status == provision.TOO_LONG:
            error = told("too-long", what=what)
        elif status == provision.BUSY:
            error = told("busy", what=what)
        else:
            reply = json.loads(body)
            if reply.get("ok"):
                self._write(what, args, "ok", began)
                return reply.get("result")
            fault = reply.get("error") or {}
            error = ProvisionError(str(fault.get("text") or fault.get("message")), str(fault.get("kind", "")), fault.get("problems"))
            error.by_box = True
        self._write(what, args, error.kind, began)
        raise error

    def _write(self, what: str, args: dict[str, Any], outcome: str, began: float) -> None:
        if self._transcript is None:
            return
        shown = {name: "(hidden)" if name in SECRET else value for name, value in args.items()}
        row = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "box": self.identity.get("serial", ""), "what": what, "args": shown,
            "outcome": outcome, "seconds": round(time.monotonic() - began, 3),
        }  # fmt: skip
        self._transcript.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._transcript.flush()

    # --- the line -----------------------------------------------------------------------------------------------------

    def _wait(self, done: Callable[[], bool]) -> None:
        self._silent_since = time.monotonic()
        while not done():
            self.turn()
            if self._trouble is not None:
                trouble, self._trouble = self._trouble, None
                raise trouble
            if time.monotonic() - self._silent_since > self._patience_s:
                seconds = f"{self._patience_s:.0f}"
                raise told("refused", seconds=seconds, why=self._refused) if self._refused else told("silent", seconds=seconds)

    def _reopen(self) -> None:
        if self._port is not None:
            with contextlib.suppress(OSError):
                self._port.close()
        self._port = self._opener(self._baud)
        self._machine.send(("open",), _now())

    def turn(self) -> None:
        """Move what there is to move; waits at most some ms."""
        try:
            if self._port is None:
                self._reopen()
            assert self._port is not None
            self._transmit()
            data = self._port.read(max(1, self._port.in_waiting))
        except (OSError, ProvisionError) as error:
            self.breaks += 1
            self._notice(say("broke", self.language, why=error))
            self._port = None
            time.sleep(1.0)
            if time.monotonic() - self._silent_since > self._patience_s:
                raise told("gone", why=error) from None
            return
        now = _now()
        if data:
            before = self._machine.statistics()["frames"]
            self._machine.receive(data, now)
            if self._machine.statistics()["frames"] != before:
                self._silent_since = time.monotonic()
        due = self._machine.deadline()
        if due is not None and now >= due:
            self._machine.expire(now)

    def _transmit(self) -> None:
        assert self._port is not None
        while True:
            events, out = self._machine.events(), self._machine.output()
            if out:
                self._port.write(out)
            if not events and not out:
                return
            for event in events:
                self._event(event)

    def _event(self, event: tuple[Any, ...]) -> None:
        name, now = event[0], _now()
        if name == "welcome":
            self._welcome(event)
        elif name == "refused":
            self._refused = str(event[1])
        elif name == "result":
            if event[1] in self._early:
                self._log_in(self._early.pop(event[1]), event[2], event[3])
            else:
                self._results[event[1]] = (event[2], event[3])
        elif name == "lost":
            self.breaks += 1
            self._notice(say("calling", self.language))
        elif name == "reopen" and event[1] in self._transfers:
            self._open_transfer(event[1])
        elif name == "baud":
            assert self._port is not None
            self._port.flush()
            self._port.baudrate = event[1]
        elif name == "rate":
            self._rate = (event[1], event[2])
        elif name == "closed" and event[1] != "local":
            self._machine.send(("open",), now)
        elif name in ("accepted", "want", "data", "progress") and event[1] in self._transfers:
            for answer in self._transfers[event[1]].take(event):
                self._machine.send(answer, now)

    def _open_transfer(self, ident: int) -> None:
        self._machine.send(self._transfers[ident].opening(ident), _now())

    # --- hello and log-in ---------------------------------------------------------------------------------------------

    def _welcome(self, event: tuple[Any, ...]) -> None:
        records = event[1]
        self._hello = (event[3], event[4], records.get(tlv.NONCE, b""))
        names = {"product": tlv.PRODUCT, "model": tlv.MODEL, "serial": tlv.SERIAL, "mac": tlv.MAC, "mode": tlv.MODE}
        found = {name: tlv.as_text(records, tag) for name, tag in names.items()}
        if self.identity.get("serial", found["serial"]) != found["serial"]:
            self._trouble = told("another", found=found["serial"] or "-", wanted=self.identity["serial"] or "-")
            return
        self.identity = found
        self._early = {self._request({"command": "login challenge", "args": {"user": self._who.user}}, early=True): "challenge"}

    def _log_in(self, step: str, status: int, body: bytes) -> None:
        if status == provision.BROKEN:
            return  # a new welcome begins anew
        reply = json.loads(body)
        if not reply.get("ok"):
            fault = reply.get("error") or {}
            self._trouble = ProvisionError(str(fault.get("text") or fault.get("message")), "login")
            return
        result = reply["result"]
        if step == "challenge":
            self._challenge = result
            args = {"user": self._who.user, "proof": "" if result["free"] else proof.tool_proof(self._key(), self._about()).hex()}
            self._early = {self._request({"command": "login prove", "args": args}, early=True): "prove"}
            return
        if not self._challenge["free"] and result["answer"] != proof.device_proof(self._key(), self._about()).hex():
            self._trouble = told("impostor")
            return
        self.role = str(result["role"])
        self._machine.send(("ready",), _now())

    def _key(self) -> bytes:
        return self._who.key_for(self._challenge)

    def _about(self) -> bytes:
        return proof.transcript(*self._hello, self._who.user)


class _Transfer:
    """One file on its way."""

    def opening(self, ident: int) -> tuple[Any, ...]:
        """What opens it, now or after a break."""
        raise NotImplementedError

    def take(self, event: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """Answers to an event of the machine."""
        raise NotImplementedError


class _Put(_Transfer):
    def __init__(self, kind: str, name: str, content: bytes, progress: Progress | None) -> None:
        self._kind, self._name, self._content, self._progress = kind, name, content, progress

    def opening(self, ident: int) -> tuple[Any, ...]:
        digest = hashlib.sha256(self._content).digest()
        records = [
            (tlv.KIND, self._kind.encode()), (tlv.FILE, self._name.encode()), (tlv.SIZE, tlv.number(len(self._content))),
            (tlv.DIGEST, digest),
        ]  # fmt: skip
        return ("put", ident, tlv.encode(records))

    def take(self, event: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        name, ident = event[0], event[1]
        if name == "accepted":
            there = event[3]
            same = hashlib.sha256(self._content[:there]).digest() == event[4]
            yield ("begin", ident, there if same else 0)
        elif name == "want":
            yield ("data", ident, event[2], self._content[event[2] : event[2] + event[3]])
        elif name == "progress" and self._progress is not None:
            self._progress(event[2], len(self._content))


class _Get(_Transfer):
    """A file that comes: `NAME.part` and, beside it, the digest of the file that it is the beginning of."""

    def __init__(self, kind: str, target: Path, progress: Progress | None) -> None:
        self._kind, self._target, self._progress = kind, target, progress
        self._part = target.with_name(target.name + ".part")
        self._file = self._part.open("r+b" if self._part.exists() else "w+b")
        self._note = target.with_name(target.name + ".part.sha256")
        self._size, self._digest = -1, bytes.fromhex(self._note.read_text()) if self._note.exists() else b""

    def opening(self, ident: int) -> tuple[Any, ...]:
        self._file.seek(0)
        have = self._file.read()
        records = [
            (tlv.KIND, self._kind.encode()), (tlv.OFFSET, tlv.number(len(have))), (tlv.DIGEST, hashlib.sha256(have).digest()),
            (tlv.DETAIL, self._digest.hex().encode()),
        ]  # fmt: skip
        return ("get", ident, tlv.encode(records))

    def take(self, event: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        name, ident = event[0], event[1]
        if name == "accepted":
            self._size, self._digest = event[2], event[4]
            self._note.write_text(self._digest.hex())
            self._file.truncate(event[3])
            self._file.seek(event[3])
        elif name == "data":
            self._file.write(event[3])
            self._file.flush()
            if self._progress is not None:
                self._progress(event[2] + len(event[3]), self._size)
            yield ("written", ident, event[2] + len(event[3]))

    def close(self) -> None:
        """Give the descriptor back; the part stays for the next run."""
        self._file.close()

    def complete(self) -> int:
        """Check the file and give it its name; its size. Raises ProvisionError."""
        content = self._part.read_bytes()
        self._note.unlink(missing_ok=True)
        if len(content) != self._size or hashlib.sha256(content).digest() != self._digest:
            self._part.unlink()
            raise told("damaged", file=self._target)
        self._part.replace(self._target)
        return self._size


def _now() -> int:
    return time.monotonic_ns() // 1_000_000
