"""The shell around the rescue: files, the serial line, sockets, and `box.sh`, which knows the system's programs.

What the board is comes from one JSON file (`/etc/rescue.json`, written with the image by tools/vm/rescue.py): compatible, version, tries,
wait_s, tty, baud_most, bundle_most, run (folder in memory), script, slots {name: device}. Programs are started through `box.sh` alone,
its output kept in files of `run`; words given to it are quoted. A program that fails raises OSError with its last words.
"""

import json
import os
import select
import socket
import struct
import time

from firmware.rescue import slots
from firmware.rescue.texts import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_os: "Any" = os
_time: "Any" = time
_socket: "Any" = socket
_select: "Any" = select
SILENCE_MS = 10000
WAIT_MS = 10
LOG_MOST = 16384
EAGAIN, EINPROGRESS, ETIMEDOUT = 11, 115, 110
REASONS = {
    2: "no such file", 5: "input/output error", 11: "no answer", 12: "not enough memory", 28: "no space left", 101: "no network",
    104: "connection broken", 110: "no answer", 111: "connection refused", 113: "host not reached", -2: "name unknown", -3: "name unknown",
}  # fmt: skip


def quoted(word: str) -> str:
    """A word for the shell, whatever is in it."""
    return "'" + word.replace("'", "'\\''") + "'"


class Incoming:
    """A bundle that comes into memory."""

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        self.size = size
        self._file: Any = open(path, "r+b" if size else "wb")
        if size:
            self._file.seek(size)

    def add(self, data: bytes) -> None:
        """The next bytes."""
        if data:
            self._file.write(data)
            self.size += len(data)

    def close(self) -> str:
        """It is complete; where it is."""
        self._file.close()
        return self.path


class Stream:
    """A TCP connection that never blocks longer than `WAIT_MS` after it has been made."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._socket = _socket.socket()
        try:
            where = _socket.getaddrinfo(host, port)[0][-1]
            self._socket.setblocking(False)
            try:
                self._socket.connect(where)
            except OSError as error:
                if error.errno != EINPROGRESS:
                    raise
            poll = _select.poll()
            poll.register(self._socket, _select.POLLOUT)
            if not poll.poll(5000):
                raise OSError(ETIMEDOUT)
            self._socket.setblocking(True)
            self._socket.send(request)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise
        self._poll = _select.poll()
        self._poll.register(self._socket, _select.POLLIN)
        self._heard = _time.ticks_ms()

    def read(self) -> bytes | None:
        """Bytes, b"" at the end, None when there is nothing yet. OSError after a long silence."""
        if not self._poll.poll(WAIT_MS):
            if _time.ticks_diff(_time.ticks_ms(), self._heard) > SILENCE_MS:
                raise OSError(ETIMEDOUT)
            return None
        self._heard = _time.ticks_ms()
        try:
            data: bytes = self._socket.recv(65536)
            return data
        except OSError as error:
            if error.errno == EAGAIN:
                return None
            raise

    def close(self) -> None:
        """Give it back."""
        self._socket.close()


class Datagrams:
    """UDP with one server: its first answer decides the port; other machines are not heard."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        self._where = _socket.getaddrinfo(host, port, _socket.AF_INET, _socket.SOCK_DGRAM)[0][-1]
        self._peer = False
        self._socket.setblocking(False)
        self._poll = _select.poll()
        self._poll.register(self._socket, _select.POLLIN)

    def send(self, packet: bytes) -> None:
        """To the server."""
        self._socket.sendto(packet, self._where)

    def read(self) -> bytes | None:
        """A packet of the server, or None after `WAIT_MS`."""
        if not self._poll.poll(WAIT_MS):
            return None
        data, sender = self._socket.recvfrom(2048)
        # bytes of a sockaddr_in: family 2, port 2, address 4
        if bytes(sender)[4:8] != bytes(self._where)[4:8] or (self._peer and bytes(sender)[2:4] != bytes(self._where)[2:4]):
            return None
        self._where, self._peer = sender, True
        found: bytes = data
        return found

    def close(self) -> None:
        """Give it back."""
        self._socket.close()


class Board:
    """See the module's text."""

    def __init__(self, facts: "dict[str, Any]") -> None:
        self.compatible: str = facts["compatible"]
        self.tries: int = facts["tries"]
        self.bundle_most: int = facts["bundle_most"]
        self._run: str = facts["run"]
        self._script: str = facts["script"]
        self._slots: dict[str, str] = facts["slots"]
        self._tty: str = facts["tty"]
        self._known: dict[str, tuple[str, str]] = {}
        self._file: tuple[str, Any] = ("", None)
        self._received = ""
        self._log: list[str] = []
        self._began = _time.ticks_ms()

    # --- small things ------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """ms of a clock that only goes forward (`ticks_ms` turns over after days)."""
        return int(_time.ticks_diff(_time.ticks_ms(), self._began))

    def reason(self, error: Exception) -> str:
        """Why the system did not do it."""
        number: Any = error.args[0] if error.args else 0
        if isinstance(error, MemoryError):
            return "not enough memory"
        return REASONS.get(number, "error " + str(number)) if isinstance(number, int) else str(number)

    def log(self, text: str) -> None:
        """One line of the rescue's own log."""
        self._log.append(str(self.now() // 1000) + " s: " + text)
        while sum([len(line) for line in self._log]) > LOG_MOST:
            self._log.pop(0)

    def logs(self) -> str:
        """The rescue's log, then the kernel's."""
        return "\n".join(self._log) + "\n--- kernel\n" + self._call("logs", [])

    def _call(self, verb: str, words: list[str]) -> str:
        """Output of `box.sh`."""
        out = self._run + "/out"
        line = " ".join([quoted(word) for word in [self._script, verb] + words])
        status = _os.system(line + " >" + quoted(out) + " 2>" + quoted(self._run + "/err") + " </dev/null")
        if status:
            with open(self._run + "/err") as file:
                lines = [text.strip() for text in file.read().split("\n") if text.strip()]
            raise OSError(lines[-1][:200] if lines else verb + " failed")
        with open(out) as file:
            return file.read()

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return int(os.stat(path)[6])

    def read(self, path: str, offset: int, count: int) -> bytes:
        """A piece of a file; the last one stays open."""
        if self._file[0] != path:
            self._forget_file()
            self._file = (path, open(path, "rb"))
        self._file[1].seek(offset)
        data: bytes = self._file[1].read(count)
        return data

    def _forget_file(self) -> None:
        if self._file[1] is not None:
            self._file[1].close()
        self._file = ("", None)

    # --- bundles -----------------------------------------------------------------------------------------------------

    def incoming(self, keep: int) -> Incoming:
        """Where a bundle comes in; the first `keep` bytes of what is there stay."""
        self._received = ""
        self._forget_file()
        return Incoming(self._run + "/bundle", keep)

    def incoming_size(self) -> int:
        """What is there of a bundle that broke off."""
        try:
            return self.size(self._run + "/bundle")
        except OSError:
            return 0

    def take(self, path: str) -> None:
        """A bundle is complete."""
        self._received = path

    def received(self) -> str:
        """The complete bundle in memory, or ""."""
        return self._received

    def signed(self, message: bytes) -> str:
        """The manifest in a CMS message. Refusal when it is not signed below our authority."""
        with open(self._run + "/message", "wb") as file:
            file.write(message)
        try:
            return self._call("signed", [self._run + "/message"])
        except (OSError, UnicodeError) as error:
            raise Refusal("signature", why=str(error.args[0])[:200])

    def open_payload(self, path: str, name: str) -> str:
        """Mount the content of a checked bundle; where its image is."""
        return self._call("open", [path]).strip() + "/" + name

    def close_payload(self) -> None:
        """Give the content back."""
        self._forget_file()
        self._call("close", [])

    def sticks(self) -> list[str]:
        """Bundles on USB sticks, which stay mounted until `sticks_done`."""
        return [line for line in self._call("sticks", []).split("\n") if line]

    def sticks_done(self) -> None:
        """Sticks may be pulled."""
        self._forget_file()
        self._call("sticks-done", [])

    # --- slots and state ---------------------------------------------------------------------------------------------

    def _look(self, slot: str) -> tuple[str, str]:
        if slot not in self._known:
            try:
                lines = self._call("slot", [self._slots[slot]]).split("\n") + ["", ""]
            except OSError:
                lines = ["", ""]
            clean = ["".join([char for char in line if " " < char < "\x7f"])[:60] for line in lines[:2]]
            self._known[slot] = (clean[0], clean[1])
        return self._known[slot]

    def version(self, slot: str) -> str:
        """The version in a slot; "" where it holds nothing that could start."""
        return self._look(slot)[0]

    def slot_compatible(self, slot: str) -> str:
        """The board that a slot's version is for."""
        return self._look(slot)[1]

    def slot_size(self, slot: str) -> int:
        """Bytes that a slot takes."""
        return int(self._call("size", [self._slots[slot]]).strip())

    def content_size(self, slot: str) -> int:
        """Bytes that a slot's file system says it has, 0 where there is none (squashfs: magic at 0, length at 40)."""
        head = self.read_slot(slot, 0, 48)
        if head[:4] != b"hsqs":
            return 0
        used = int(struct.unpack("<Q", head[40:48])[0])
        return min((used + 4095) // 4096 * 4096, self.slot_size(slot))

    def open_slot(self, slot: str) -> "Any":
        """The slot for writing."""
        self._known.pop(slot, None)
        return open(self._slots[slot], "r+b")

    def read_slot(self, slot: str, offset: int, count: int) -> bytes:
        """A piece of a slot."""
        return self.read(self._slots[slot], offset, count)

    def flush(self, slot: str) -> None:
        """All is on the disk, and what is read next comes from there."""
        self._forget_file()
        self._call("flush", [self._slots[slot]])

    def variables(self) -> dict[str, str]:
        """The boot loader's environment; empty where it cannot be read."""
        try:
            return slots.environment(self._call("variables", []))
        except OSError:
            return {}

    def set_variables(self, values: list[tuple[str, str]]) -> None:
        """Set variables of the boot loader, all at once. OSError when they do not read back so."""
        self._call("set", [name + "=" + value for name, value in values])
        found = self.variables()
        for name, value in values:
            if found.get(name) != value:
                raise OSError("the boot loader's variables cannot be written")

    def network(self) -> "dict[str, Any]":
        """The address, and who gave it."""
        try:
            with open(self._run + "/net") as file:
                words = (file.read() + " - - -").split()
        except OSError:
            words = ["none", "-", "-"]
        how = words[0] if words[0] in ("dhcp", "fixed") else "none"
        return {"how": how, "address": words[1], "gateway": words[2]}

    def check_state(self) -> "dict[str, Any]":
        """Check the state partition and mend it."""
        words = self._call("check", []).strip().split("\n")
        numbers = (words[0] + " 0 0").split()
        mended = numbers[0] != "good"
        return {"code": "state_mended" if mended else "state_good", "used": numbers[1], "size": numbers[2],
                "detail": "; ".join(words[1:4])[:300]}  # fmt: skip

    def reset_state(self) -> None:
        """Make the state partition new."""
        self._call("reset", [])

    def restart(self) -> None:
        """Restart the board."""
        self._call("restart", [])

    # --- the serial line ---------------------------------------------------------------------------------------------

    def rate(self, baud: int) -> None:
        """Change the rate when what was written is on the line."""
        self._call("rate", [self._tty, str(baud)])

    def open_line(self) -> "Any":
        """The serial line, raw."""
        self._call("raw", [self._tty])
        return open(self._tty, "r+b")

    def random(self, count: int) -> bytes:
        """Unpredictable bytes."""
        found: bytes = _os.urandom(count)
        return found

    def connect(self, host: str, port: int, request: bytes) -> Stream:
        """A request to a web server."""
        return Stream(host, port, request)

    def datagrams(self, host: str, port: int) -> Datagrams:
        """A line to a TFTP server."""
        return Datagrams(host, port)


def load(path: str) -> "dict[str, Any]":
    """The facts of the board."""
    with open(path) as file:
        facts: dict[str, Any] = json.load(file)
    return facts
