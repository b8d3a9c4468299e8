"""A SIP telephone on a socket, for what no program at hand can do: keys beside lamps, Replaces, REFER with Replaces, presence."""

from __future__ import annotations

import socket
import time

from firmware.sip.message import Request, Response, respond
from firmware.sip.parse import parse_datagram
from tests.e2e.appliance import Appliance
from tests.unit.sip_stage import SDP, authorize, request


class Desk:
    """One telephone. `rings`: an INVITE is answered 180 and waits; a CANCEL ends it; other requests are answered 200 and kept."""

    def __init__(self, box: Appliance, user: str, host: str) -> None:
        self.user, self.secret = user, box.accounts()[user]
        address, port = box.sip.split(":")
        self.server = (address, int(port))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.source = self.socket.getsockname()
        self.requests: list[Request] = []
        self.waiting: Request | None = None
        self.cseq = 0

    def close(self) -> None:
        self.socket.close()

    def make(self, method: str, number: str, call: str, tag: str = "", *, cseq: int = 0, body: bytes = b"", **extra: str) -> Request:
        self.cseq += 0 if cseq else 1
        uri = f"sip:{number}@{self.server[0]}:{self.server[1]}"
        headers = tuple((key.replace("_", "-"), value) for key, value in extra.items())
        return request(
            method, uri, user=self.user, cseq=cseq or self.cseq, branch=f"{call}{method}{self.cseq}", call_id=call, to_tag=tag, body=body,
            source=self.source, extra=headers,
        )  # fmt: skip

    def _take(self, message: Request) -> None:
        self.requests.append(message)
        if message.method == "INVITE":
            self.waiting = message
            self.socket.sendto(respond(message, 180, to_tag="desk").render(), self.server)
            return
        if message.method != "ACK":
            self.socket.sendto(respond(message, 200, to_tag="desk").render(), self.server)
        if message.method == "CANCEL" and self.waiting is not None:
            self.socket.sendto(respond(self.waiting, 487, to_tag="desk").render(), self.server)
            self.waiting = None

    def listen(self, seconds: float, until: str = "") -> Response | None:
        """Take what comes; the first final answer, or None once a request of the method `until` came or the time is over."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                message = parse_datagram(self.socket.recv(65536))
            except TimeoutError:
                return None
            if isinstance(message, Request):
                self._take(message)
                if message.method == until:
                    return None
            elif isinstance(message, Response) and message.status >= 200:
                return message
        return None

    def ask(self, sent: Request) -> Response:
        self.socket.sendto(sent.render(), self.server)
        while (answer := self.listen(20)) is not None and (answer.call_id, answer.cseq) != (sent.call_id, sent.cseq):
            pass                         # that of an earlier request, sent again because our ACK came late
        assert answer is not None, f"{sent.method} is not answered"
        return answer

    def prove(self, method: str, number: str, call: str, *, body: bytes = b"", **extra: str) -> tuple[Request, Response]:
        """A request outside of a dialog, sent again with the password; the request that was let in and its final answer."""
        first = self.make(method, number, call, body=body, **extra)
        challenge = self.ask(first)
        if challenge.status not in (401, 407):
            return first, challenge
        if method == "INVITE":
            self.socket.sendto(self.make("ACK", number, call, challenge.to.tag, cseq=first.cseq.number).render(), self.server)
        again = authorize(self.make(method, number, call, body=body, **extra), challenge, self.user, self.secret)
        return again, self.ask(again)

    def register(self) -> None:
        _, answer = self.prove("REGISTER", self.user, f"reg{self.user}", Expires="300")
        assert answer.status == 200, answer.start_line()

    def invite(self, number: str, call: str, **extra: str) -> Response:
        """A call; an answer is acknowledged."""
        body = SDP.replace(b"192.0.2.20", self.source[0].encode())
        sent, answer = self.prove("INVITE", number, call, body=body, **extra)
        self.socket.sendto(self.make("ACK", number, call, answer.to.tag, cseq=sent.cseq.number).render(), self.server)
        return answer

    def call(self, number: str, name: str) -> str:
        """A call that is answered; the tag of its dialog."""
        answer = self.invite(number, name)
        assert answer.status == 200, answer.start_line()
        return answer.to.tag

    def seen(self, method: str, timeout: float = 20) -> Request:
        """The last request of this method, waited for."""
        end = time.monotonic() + timeout
        while not any(one.method == method for one in self.requests) and (left := end - time.monotonic()) > 0:
            self.listen(left, until=method)
        found = [one for one in self.requests if one.method == method]
        assert found, f"{self.user} got no {method}, only {[one.method for one in self.requests]}"
        return found[-1]
