"""A server of tus 1.0.0 over TLS on the standard library: what recordings are sent to in tests, and what breaks on the way.

It keeps what came before a connection was cut, as servers of this protocol do (tus.io, "Resumable upload protocol 1.0.x": core, creation,
termination, checksum).
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from msgspec import Struct

from firmware.store.certificates import ensure

READ = 4096


class Kept(Struct):
    """A file at the server."""

    length: int
    facts: dict[str, str]
    data: bytes = b""
    """Bytes that came, in order."""


class TusServer:
    """Listens on loopback from `start` to `stop`. What goes wrong is set by the test."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        ensure(folder / "tls", [host], "centre")
        self.ca = folder / "tls" / "ca.crt"
        self._tls = folder / "tls"
        self._host = host
        self.files: dict[str, Kept] = {}
        self.asked: list[tuple[str, str, int]] = []         # method, file, offset
        self.tokens: set[str] = set()
        self.ended: list[Kept] = []
        self.cuts: list[int] = []                           # after so many bytes of bodies in all the connection is cut, each once
        self.deaf: set[str] = set()                         # methods whose answer is lost, once each, after they were carried out
        self.says: list[tuple[str, int]] = []               # method and the status that is given instead, once each
        self.refused_names: set[str] = set()                # files that are too large
        self.checksum = False
        self.heard: Callable[[int], None] = lambda total: None
        self.total = 0
        self._server: ThreadingHTTPServer | None = None
        self._made = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"https://{self._host}:{self._server.server_address[1]}/files/"

    def start(self) -> TusServer:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._tls / "server.crt", self._tls / "server.key")
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._server = ThreadingHTTPServer((self._host, 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def whole(self, kind: str) -> dict[str, bytes]:
        """What is there to its end, by name. One name twice is a mistake of the client."""
        found: dict[str, bytes] = {}
        for one in list(self.files.values()):
            if one.facts["kind"] == kind and len(one.data) == one.length:
                assert one.facts["filename"] not in found, f"{one.facts['filename']} came twice"
                assert hashlib.sha256(one.data).hexdigest() == one.facts["sha256"]
                found[one.facts["filename"]] = one.data
        return found

    def place(self) -> str:
        self._made += 1
        return f"f{self._made}"


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_of: TusServer

    def log_message(self, *_: object) -> None:
        """The test looks at `asked`."""

    def _answer(self, status: int, **headers: object) -> None:
        owner = self.server_of
        if self.command in owner.deaf:
            owner.deaf.discard(self.command)
            self._cut()
            return
        self.send_response(status)
        for name, value in {"Tus_Resumable": "1.0.0", "Content_Length": 0, **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _file(self) -> str:
        return self.path.rpartition("/")[2]

    def _begun(self, offset: int = 0) -> bool:
        owner = self.server_of
        owner.asked.append((self.command, self._file(), offset))
        owner.tokens.add(self.headers.get("Authorization", ""))
        for one in owner.says:
            if one[0] == self.command:
                owner.says.remove(one)
                self._answer(one[1])
                self.close_connection = True
                return False
        if self.command != "OPTIONS" and self.headers.get("Tus-Resumable") != "1.0.0":
            self._answer(412)
            return False
        if self._file() and self._file() not in owner.files:
            self._answer(404)
            self.close_connection = True
            return False
        return True

    def do_OPTIONS(self) -> None:
        if self._begun():
            sums = {"Tus_Checksum_Algorithm": "md5,sha1,sha256"} if self.server_of.checksum else {}
            extensions = "creation,termination" + (",checksum" if sums else "")
            self._answer(204, Tus_Version="1.0.0", Tus_Extension=extensions, **sums)

    def do_POST(self) -> None:
        if not self._begun():
            return
        pairs = [one.split(" ") for one in self.headers["Upload-Metadata"].split(",")]
        name = self.server_of.place()
        facts = {key: base64.b64decode(value).decode() for key, value in pairs}
        if facts["filename"] in self.server_of.refused_names:
            self._answer(413)
            return
        self.server_of.files[name] = Kept(int(self.headers["Upload-Length"]), facts)
        self._answer(201, Location=f"/files/{name}")

    def do_HEAD(self) -> None:
        if self._begun():
            one = self.server_of.files[self._file()]
            # Length of the file that is not sent along, as tusd says it.
            self._answer(200, Upload_Offset=len(one.data), Upload_Length=one.length, Content_Length=one.length, Cache_Control="no-store")

    def do_DELETE(self) -> None:
        if self._begun():
            self.server_of.ended.append(self.server_of.files.pop(self._file()))
            self._answer(204)

    def do_PATCH(self) -> None:
        offset = int(self.headers["Upload-Offset"])
        if not self._begun(offset):
            return
        owner, one = self.server_of, self.server_of.files[self._file()]
        assert self.headers["Content-Type"] == "application/offset+octet-stream"
        if offset != len(one.data):
            self._answer(409)
            self.close_connection = True
            return
        left, body = int(self.headers["Content-Length"]), b""
        while left:
            most = min(READ, left, *(max(1, cut - owner.total) for cut in owner.cuts[:1]))
            block = self.rfile.read(most)
            if not block:
                break
            left, owner.total, body = left - len(block), owner.total + len(block), body + block
            if not owner.checksum:
                one.data += block
            owner.heard(owner.total)
            if owner.cuts and owner.total >= owner.cuts[0]:
                del owner.cuts[0]
                self._cut()
                return
        if left:
            return                                  # the client has gone: what came is kept
        if owner.checksum:
            kind, _, told = self.headers["Upload-Checksum"].partition(" ")
            if base64.b64encode(hashlib.new(kind, body).digest()).decode() != told:
                self._answer(460)
                return
            one.data += body
        self._answer(204, Upload_Offset=len(one.data))
