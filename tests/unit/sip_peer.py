"""A far end that a test plays by hand: it answers and asks whatever the test says, right or wrong."""

from __future__ import annotations

from firmware.sip.flow import Address
from firmware.sip.message import Message, Request, Response, respond
from firmware.sip.parse import parse_datagram
from tests.unit.sip_stage import PBX, SDP, Network, request

PEER: Address = ("198.51.100.7", 5099)


class Peer:
    """Stands at `PEER`, talks to the endpoint at `PBX`."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self._branches = 0

    def heard(self, start: str) -> list[Message]:
        """Everything it was sent whose first line begins so, oldest first."""
        return [parsed for where, data in self.net.strays if where == PEER and data.startswith(start.encode())
                and (parsed := parse_datagram(data)) is not None]  # fmt: skip

    def request(self, start: str) -> Request:
        """The last request of this kind that it was sent."""
        found = self.heard(start)[-1]
        assert isinstance(found, Request)
        return found

    def response(self, status: int) -> Response:
        """The last response with this status."""
        found = self.heard(f"SIP/2.0 {status}")[-1]
        assert isinstance(found, Response)
        return found

    def answer(self, asked: Request, status: int, *headers: tuple[str, str], tag: str = "peer", body: bytes = b"") -> None:
        """Answer a request."""
        names = {name.lower() for name, _ in headers}
        contact = () if "contact" in names or asked.method != "INVITE" else (("Contact", f"<sip:peer@{PEER[0]}:{PEER[1]}>"),)
        response = respond(asked, status, to_tag=tag, headers=(*contact, *headers), body=body, content_type="application/sdp")
        self.net.inject(PEER, PBX, response.render())

    def ask(self, method: str, *headers: tuple[str, str], cseq: int, to_tag: str = "", body: bytes = b"", call_id: str = "cid1",
            from_tag: str = "ft") -> list[Message]:  # fmt: skip
        """Send a request of its own; what comes back at once."""
        self._branches += 1
        sent = request(method, cseq=cseq, branch=f"p{self._branches}", to_tag=to_tag, body=body, extra=headers, source=PEER,
                       call_id=call_id, from_tag=from_tag)  # fmt: skip
        return self.net.inject(PEER, PBX, sent.render())

    def within(
        self, method: str, invite: Request, *headers: tuple[str, str], cseq: int, tag: str = "peer", body: bytes = b""
    ) -> list[Message]:
        """A request within the dialog that `invite`, sent to it, began."""
        return self.ask(method, *headers, cseq=cseq, to_tag=invite.from_.tag, from_tag=tag, call_id=invite.call_id, body=body)


def answer_sdp(version: int = 1, port: int = 4000, direction: str = "sendrecv") -> bytes:
    """A description of the peer."""
    text = SDP.replace(b"o=- 1 1", b"o=- 1 %d" % version).replace(b"audio 4000", b"audio %d" % port)
    return text + b"a=%s\r\n" % direction.encode()
