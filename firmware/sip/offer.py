"""Offer and answer for one audio stream of G.711, G.722 or Opus with telephone-event and comfort noise (L1).

Theory of operation
-------------------
RFC 3264. One `OfferAnswer` per session holds our side of the negotiation: our address and port, the `o=` id and version
(raised by one on each change and only then), the order of m-lines seen so far, and the agreed `AudioPath`.
Opus is `opus/48000/2` whatever is sent (RFC 7587 section 7); we ask for one channel, for redundancy and for packets that fit
our buffers. Keys have the clock of the codec (RFC 4733 section 2.1): telephone-event is offered at 8000 and, beside Opus, at
48000; a peer that names only 8000 beside Opus is understood too. Comfort noise (RFC 3389, payload type 13) belongs to G.711.
Invariants: an answer has exactly the m-lines of the offer, in order, unusable ones with port 0; it names only offered
payload numbers; sendonly is answered recvonly, inactive inactive; an offer equal to the last one changes nothing; a dynamic
payload number never changes its meaning within a session (RFC 3264 section 8.3.2).
An `OfferAnswer` is a plain struct, so that a snapshot of a call can carry it to another process.
"""

from __future__ import annotations

import msgspec

from firmware.sip.errors import SyntaxProblem
from firmware.sip.sdp import Description, MediaLine

CODECS = ("opus", "g722", "pcma", "pcmu")
G711 = ("pcma", "pcmu")
# By codec: payload number (a dynamic one is only a proposal) and what follows it in a=rtpmap.
_FORMATS = {
    "pcmu": (0, "PCMU/8000"), "pcma": (8, "PCMA/8000"), "g722": (9, "G722/8000"), "opus": (96, "opus/48000/2"),
    "cn": (13, "CN/8000"), "dtmf8": (101, "telephone-event/8000"), "dtmf48": (102, "telephone-event/48000"),
}  # fmt: skip
_CLOCKS = {"pcmu": 8000, "pcma": 8000, "g722": 8000, "opus": 48000}
# Mono, with redundancy; the bit rate keeps a packet of 60 ms below 480 bytes also where two phones are relayed.
OPUS_FMTP = "stereo=0;sprop-stereo=0;useinbandfec=1;maxaveragebitrate=48000"
LONGEST_PTIME = 60
_MIRROR = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
_NULL_ADDRESSES = ("0.0.0.0", "::", "")


class AudioPath(msgspec.Struct, frozen=True):
    """The agreed stream, from our point of view. `remote` is where we send, None while the peer wants nothing."""

    remote: tuple[str, int] | None
    codec: str                           # one of CODECS
    payload_type: int
    dtmf_type: int | None
    ptime_ms: int
    send: bool
    receive: bool
    dtmf_clock: int = 8000               # of the durations of keys, Hz
    comfort_noise: bool = False          # payload type 13 is understood, only beside G.711

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
        names = [*self.preference, "dtmf8"] + (["dtmf48"] if "opus" in self.preference else [])
        if any(codec in G711 for codec in self.preference):
            names.insert(len(self.preference), "cn")
        numbers = self._numbers(names)
        formats, attributes = _formats([(name, numbers[name]) for name in names if name in numbers])
        attributes += (("ptime", "20"), ("maxptime", str(LONGEST_PTIME)), (direction, ""))
        audio = MediaLine("audio", self.port, "RTP/AVP", formats, attributes=attributes)
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
        named = [codec, *_beside(line, codec[0])]
        formats, attributes = _formats(named)
        attributes += (("ptime", str(_ptime(line, codec[0]))), (wanted, ""))
        lines = [
            MediaLine("audio", self.port, other.proto, formats, attributes=attributes)
            if index == chosen
            else MediaLine(other.kind, 0, other.proto, other.formats)
            for index, other in enumerate(offer.media)
        ]
        self.line = chosen
        self.remote = offer
        self.path = self._path(offer, line, codec, wanted)
        return self._send(tuple(lines), offer.times)

    def offered(self) -> set[str]:
        """Codecs of ours that the peer named in its last description."""
        lines = self.remote.media if self.remote is not None else ()
        return {codec for line in lines if line.kind == "audio" and line.port for codec in codecs_of(line)}

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
        raise NotAcceptable("no known audio codec over RTP/AVP")

    def _codec(self, line: MediaLine) -> tuple[str, int] | None:
        """The codec of the line that we prefer, as (codec, payload number).

        Our order decides, not the peer's: two phones of one call then speak the same codec and can be relayed unchanged.
        """
        found = codecs_of(line)
        return next(((codec, found[codec]) for codec in self.preference if codec in found), None)

    def _numbers(self, names: list[str]) -> dict[str, int]:
        """Payload numbers for an offer: the static ones, those the peer uses for the same thing, else free dynamic ones."""
        line = self.remote.media[self.line] if self.remote is not None and self.line < len(self.remote.media) else None
        theirs = _named(line) if line is not None else {}
        used = {int(text) for text in line.formats if text.isdigit() and len(text) <= 3} if line is not None else set()
        numbers: dict[str, int] = {}
        for name in names:
            proposed = _FORMATS[name][0]
            if proposed < 96 or name in theirs:
                numbers[name] = theirs.get(name, proposed) if proposed >= 96 else proposed
                continue
            taken = used.union(numbers.values())
            free = next((number for number in (*range(proposed, 128), *range(96, proposed)) if number not in taken), None)
            if free is not None:         # a peer may have taken all 32
                numbers[name] = free
        return numbers

    def _path(self, theirs: Description, line: MediaLine, codec: tuple[str, int], ours: str) -> AudioPath:
        address = theirs.address_of(line)
        their = theirs.direction(line)
        silent = address in _NULL_ADDRESSES
        beside = dict(_beside(line, codec[0]))
        keys = next(((name, beside[name]) for name in ("dtmf48", "dtmf8") if name in beside), None)
        return AudioPath(
            remote=None if silent else (address, line.port),
            codec=codec[0],
            payload_type=codec[1],
            dtmf_type=keys[1] if keys else None,
            ptime_ms=_ptime(line, codec[0]),
            send=not silent and ours in ("sendrecv", "sendonly") and their in ("sendrecv", "recvonly"),
            receive=ours in ("sendrecv", "recvonly") and their in ("sendrecv", "sendonly"),
            dtmf_clock=48000 if keys and keys[0] == "dtmf48" else 8000,
            comfort_noise="cn" in beside,
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


def _named(line: MediaLine) -> dict[str, int]:
    """What we know of the formats of a line: name (a key of _FORMATS) and the first payload number that means it."""
    found: dict[str, int] = {}
    for text in line.formats:
        if not (text.isascii() and text.isdigit() and len(text) <= 3) or int(text) > 127:
            continue
        known = line.rtpmap(int(text))
        if known is None:
            continue
        name = known.encoding
        if name == "telephone-event" and int(text) >= 96 and known.clock in (8000, 48000):
            name = f"dtmf{known.clock // 1000}"
        elif name == "cn":
            if known.clock != 8000 or text != "13":     # only its static number; a dynamic one is for other clocks
                continue
        elif _CLOCKS.get(name) != known.clock or (name == "opus" and int(text) < 96):
            continue
        found.setdefault(name, int(text))
    return found


def codecs_of(line: MediaLine) -> dict[str, int]:
    """Codecs of a line that we have, with their payload numbers, in the peer's order."""
    return {name: number for name, number in _named(line).items() if name in CODECS}


def _beside(line: MediaLine, codec: str) -> list[tuple[str, int]]:
    """What goes beside the codec on this line: comfort noise with G.711, and keys, at the codec's clock where there is a choice."""
    named = _named(line)
    found = [("cn", named["cn"])] if codec in G711 and "cn" in named else []
    for name in ("dtmf48", "dtmf8") if codec == "opus" else ("dtmf8",):
        if name in named:
            return [*found, (name, named[name])]
    return found


def _formats(named: list[tuple[str, int]]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Payload numbers of an m-line, and its rtpmap and fmtp attributes."""
    attributes: list[tuple[str, str]] = []
    for name, number in named:
        attributes.append(("rtpmap", f"{number} {_FORMATS[name][1]}"))
        if name == "opus":
            attributes.append(("fmtp", f"{number} {OPUS_FMTP}"))
        elif name.startswith("dtmf"):
            attributes.append(("fmtp", f"{number} 0-15"))
    return tuple(str(number) for _, number in named), tuple(attributes)


def _ptime(line: MediaLine, codec: str) -> int:
    """Packet time in ms: what the peer asks for, on our 10 ms grid within 10..60 (Opus has no 30 and 50); 20 where it does not say."""
    text = (line.attribute("ptime") or "").partition(".")[0]
    wanted = max(10, min(LONGEST_PTIME, int(text) // 10 * 10)) if text.isascii() and text.isdigit() and len(text) <= 4 else 20
    return wanted - 10 if codec == "opus" and wanted in (30, 50) else wanted
