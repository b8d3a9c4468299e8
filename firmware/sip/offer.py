"""Offer and answer for one audio stream of G.711 with telephone-event (L1).

Theory of operation
-------------------
RFC 3264. One `OfferAnswer` per session holds our side of the negotiation: our address and port, the `o=` id and version
(raised by one on each change and only then), the order of m-lines seen so far, and the agreed `AudioPath`.
Invariants: an answer has exactly the m-lines of the offer, in order, unusable ones with port 0; it names only offered
payload numbers; sendonly is answered recvonly, inactive inactive; an offer equal to the last one changes nothing.
An `OfferAnswer` is a plain struct, so that a snapshot of a call can carry it to another process.
"""

from __future__ import annotations

import msgspec

from firmware.sip.errors import SyntaxProblem
from firmware.sip.sdp import Description, MediaLine

CODECS = ("pcma", "pcmu")
_STATIC = {"pcma": 8, "pcmu": 0}
_NAMES = {"pcma": "PCMA", "pcmu": "PCMU"}
DTMF_PAYLOAD = 101
_MIRROR = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
_NULL_ADDRESSES = ("0.0.0.0", "::", "")


class AudioPath(msgspec.Struct, frozen=True):
    """The agreed stream, from our point of view. `remote` is where we send, None while the peer wants nothing."""

    remote: tuple[str, int] | None
    codec: str                           # "pcma" | "pcmu"
    payload_type: int
    dtmf_type: int | None
    ptime_ms: int
    send: bool
    receive: bool

    @property
    def held(self) -> bool:
        """The peer has put us on hold (it does not want to hear us)."""
        return not self.send


class NotAcceptable(SyntaxProblem):
    """No media line of an offer or answer can be used (488)."""


class OfferAnswer(msgspec.Struct):
    """Our side of the negotiation of one session."""

    address: str                         # what we advertise in c=
    port: int
    session_id: str
    preference: tuple[str, ...] = CODECS
    version: int = 0
    last: Description | None = None      # what we sent last
    remote: Description | None = None    # what the peer sent last
    path: AudioPath | None = None
    line: int = 0                        # index of our audio m-line
    hold: bool = False                   # we keep the peer on hold

    # --- offering -----------------------------------------------------------------------------------------------------

    def offer(self) -> Description:
        """A full offer (initial, late in a 200 to an offerless INVITE, or a re-INVITE)."""
        direction = "sendonly" if self.hold else "sendrecv"
        formats: list[str] = []
        attributes: list[tuple[str, str]] = []
        for codec in self.preference:
            formats.append(str(_STATIC[codec]))
            attributes.append(("rtpmap", f"{_STATIC[codec]} {_NAMES[codec]}/8000"))
        formats.append(str(DTMF_PAYLOAD))
        attributes += [("rtpmap", f"{DTMF_PAYLOAD} telephone-event/8000"), ("fmtp", f"{DTMF_PAYLOAD} 0-15")]
        attributes += [("ptime", "20"), (direction, "")]
        audio = MediaLine("audio", self.port, "RTP/AVP", tuple(formats), attributes=tuple(attributes))
        if self.last is None or not self.last.media:
            return self._send((audio,))
        # RFC 3264 section 8: a later offer keeps the number and order of m-lines.
        lines = [msgspec.structs.replace(line, port=0, attributes=()) for line in self.last.media]
        lines[self.line] = audio
        return self._send(tuple(lines))

    def receive_answer(self, answer: Description) -> AudioPath:
        """Apply the peer's answer to our offer. Raises NotAcceptable when it leaves no audio."""
        if self.last is None:
            raise NotAcceptable("answer without an offer")
        if len(answer.media) <= self.line:
            raise NotAcceptable("answer lacks our media line")
        line = answer.media[self.line]
        codec = self._codec(line)
        if line.port == 0 or codec is None:
            raise NotAcceptable("answer refuses audio")
        self.remote = answer
        self.path = self._path(answer, line, codec, "sendonly" if self.hold else "sendrecv")
        return self.path

    # --- answering ----------------------------------------------------------------------------------------------------

    def receive_offer(self, offer: Description) -> Description:
        """Answer the peer's offer and set `path`. Raises NotAcceptable when nothing in it suits us (488, call kept)."""
        chosen, codec = self._choose(offer)
        line = offer.media[chosen]
        wanted = _MIRROR[offer.direction(line)]
        if offer.address_of(line) in _NULL_ADDRESSES and wanted == "sendrecv":
            wanted = "recvonly"          # RFC 2543 style of hold
        if self.hold:
            wanted = {"sendrecv": "sendonly", "recvonly": "inactive"}.get(wanted, wanted)
        attributes: list[tuple[str, str]] = [("rtpmap", f"{codec[1]} {_NAMES[codec[0]]}/8000")]
        formats = [str(codec[1])]
        dtmf = _dtmf(line)
        if dtmf is not None:
            formats.append(str(dtmf))
            attributes += [("rtpmap", f"{dtmf} telephone-event/8000"), ("fmtp", f"{dtmf} 0-15")]
        attributes += [("ptime", str(_ptime(line))), (wanted, "")]
        lines = [
            MediaLine("audio", self.port, other.proto, tuple(formats), attributes=tuple(attributes))
            if index == chosen
            else MediaLine(other.kind, 0, other.proto, other.formats)
            for index, other in enumerate(offer.media)
        ]
        self.line = chosen
        self.remote = offer
        self.path = self._path(offer, line, codec, wanted)
        return self._send(tuple(lines), offer.times)

    def repeat(self) -> Description | None:
        """What we sent last (for a re-INVITE that changes nothing)."""
        return self.last

    # --- inner --------------------------------------------------------------------------------------------------------

    def _choose(self, offer: Description) -> tuple[int, tuple[str, int]]:
        order = range(len(offer.media))
        # Prefer the line that carries our audio already.
        for index in sorted(order, key=lambda place: place != self.line):
            line = offer.media[index]
            if line.kind != "audio" or line.port == 0 or line.proto.upper() != "RTP/AVP":
                continue
            codec = self._codec(line)
            if codec is not None:
                return index, codec
        raise NotAcceptable("no G.711 audio over RTP/AVP")

    def _codec(self, line: MediaLine) -> tuple[str, int] | None:
        """The codec of the line that we prefer, as (codec, payload number).

        Our order decides, not the peer's: two phones of one call then speak the same law and can be relayed unchanged.
        """
        found: dict[str, int] = {}
        for text in line.formats:
            if not (text.isascii() and text.isdigit() and len(text) <= 3) or int(text) > 127:
                continue
            known = line.rtpmap(int(text))
            if known is not None and known.clock == 8000:
                found.setdefault(known.encoding, int(text))
        return next(((codec, found[codec]) for codec in self.preference if codec in found), None)

    def _path(self, theirs: Description, line: MediaLine, codec: tuple[str, int], ours: str) -> AudioPath:
        address = theirs.address_of(line)
        their = theirs.direction(line)
        silent = address in _NULL_ADDRESSES
        return AudioPath(
            remote=None if silent else (address, line.port),
            codec=codec[0],
            payload_type=codec[1],
            dtmf_type=_dtmf(line),
            ptime_ms=_ptime(line),
            send=not silent and ours in ("sendrecv", "sendonly") and their in ("sendrecv", "recvonly"),
            receive=ours in ("sendrecv", "recvonly") and their in ("sendrecv", "sendonly"),
        )

    def _send(self, lines: tuple[MediaLine, ...], times: tuple[str, ...] = ("0 0",)) -> Description:
        if self.last is not None and self.last.media == lines and self.last.times == times:
            return self.last
        self.version += 1
        self.last = Description(
            origin_user="-", origin_id=self.session_id, version=self.version, origin_address=self.address, address=self.address,
            times=times, media=lines,
        )  # fmt: skip
        return self.last


def _dtmf(line: MediaLine) -> int | None:
    """Payload number of telephone-event at the clock rate of the audio codec."""
    for text in line.formats:
        if text.isascii() and text.isdigit() and len(text) <= 3 and 96 <= int(text) <= 127:
            known = line.rtpmap(int(text))
            if known is not None and known.encoding == "telephone-event" and known.clock == 8000:
                return int(text)
    return None


def _ptime(line: MediaLine) -> int:
    """Packet time in ms: what the peer asks for, on our 10 ms grid within 10..60; 20 where it does not say."""
    text = (line.attribute("ptime") or "").partition(".")[0]
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        return 20
    return max(10, min(60, int(text) // 10 * 10))
