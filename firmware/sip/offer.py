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
Encryption (RFC 4568): `secure` holds our crypto lines, one for each suite, and with them the line is RTP/SAVP in our offers; what is
agreed stays so in later ones. An offer is answered in kind, an encrypted line before a plain one, unless `srtp` says "off" or "required".
An RTP/AVP line with crypto lines asks for encryption where the answerer can (RFC 8643): it is answered with one.
Our key for a suite is the same all through the session, so packets go on when an offer changes something else. `without_keys` is what
may be kept on disk: after a restart its owner gives new `secure` lines, which the next offer or answer carries to the peer.
Browsers (`dtls_sdp`, `ice`): with `dtls`, the fingerprint of our certificate, a line UDP/TLS/RTP/SAVP(F) is answered in kind, whatever
`srtp` says, as its peer has nothing else; with `web` our offers are of that kind. ICE goes along where the peer speaks it; then media
learns from its checks where it is, and the address of the line says nothing, not even hold.
An `OfferAnswer` is a plain struct, so that a snapshot of a call can carry it to another process.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import msgspec

from firmware.sip import dtls_sdp, ice, rtcp_sdp, sdes
from firmware.sip.dtls_sdp import Dtls
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


class MediaKeys(msgspec.Struct, frozen=True):
    """Suite, and master key and salt of what we send and of what the peer does. Its text shows none."""

    suite: str
    send: bytes
    receive: bytes

    def __repr__(self) -> str:
        return f"MediaKeys({self.suite})"


class IcePath(msgspec.Struct, frozen=True):
    """What media needs to answer the peer's checks: our credentials and the peer's fragment."""

    ours: ice.Credentials
    far_ufrag: str


class AudioPath(msgspec.Struct, frozen=True, omit_defaults=True):
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
    keys: MediaKeys | None = None
    suite: str = ""                      # of the keys, also where they are left out (`without_keys`); "": not by SDES
    dtls: Dtls | None = None             # keys come by DTLS on the stream itself
    ice: IcePath | None = None           # `remote` is None: media learns it
    rtcp: tuple[str, int] | None = None  # where reports go, None: the port above `remote`'s
    mux: bool = False                    # reports share the port of the stream

    @property
    def held(self) -> bool:
        """The peer has put us on hold (it does not want to hear us)."""
        return not self.send


class NotAcceptable(SyntaxProblem):
    """No media line of an offer or answer can be used (488)."""


class OfferAnswer(msgspec.Struct, omit_defaults=True):
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
    events: bool = True                  # keys may go as RFC 4733; without, neither offered nor agreed to
    srtp: Literal["off", "offer", "required"] = "off"
    secure: tuple[sdes.Crypto, ...] = () # our lines, most wanted first
    dtls: str = ""                       # fingerprint of our certificate, "" where media cannot do DTLS
    lite: ice.Secret | None = None       # of this session, None where media cannot do ICE
    web: bool = False                    # the peer is a browser: offer what it understands
    keyed: bool = False                  # the peer refused all but DTLS: offer that, without what only browsers have

    # --- offering -----------------------------------------------------------------------------------------------------

    def offer(self) -> Description:
        """A full offer (initial, late in a 200 to an offerless INVITE, or a re-INVITE)."""
        direction = "sendonly" if self.hold else "sendrecv"
        names = [*self.preference]
        if self.events:
            names += ["dtmf8", *(["dtmf48"] if "opus" in self.preference else [])]
        if any(codec in G711 for codec in self.preference):
            names.insert(len(self.preference), "cn")
        numbers = self._numbers(names)
        formats, attributes = _formats([(name, numbers[name]) for name in names if name in numbers])
        session: tuple[tuple[str, str], ...] = ()
        if self._offers_dtls():
            profile, keys, session = self._dtls_offer()
        else:
            lines, profile = self._offered_keys()
            keys = tuple(("crypto", line.build()) for line in lines)
            if self.path is not None and self.path.mux:
                keys += ((rtcp_sdp.MUX, ""),)
        attributes += (*keys, ("ptime", "20"), ("maxptime", str(LONGEST_PTIME)), (direction, ""))
        audio = MediaLine("audio", self.port, profile, formats, attributes=attributes)
        if self.last is None or not self.last.media:
            return self._send((audio,), attributes=session)
        # RFC 3264 section 8: a later offer keeps the number and order of m-lines.
        media = [msgspec.structs.replace(line, port=0, attributes=()) for line in self.last.media]
        media[self.line] = audio
        return self._send(tuple(media), attributes=session)

    def in_clear(self) -> Description:
        """The same offer without encryption, for a peer that refused it."""
        self.srtp, self.secure = "off", ()
        return self.offer()

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
        keys = self._accept_keys(answer, line)
        dtls = dtls_sdp.agreed(answer, line) if line.proto.upper() in dtls_sdp.PROFILES else None
        self._note_restart(answer, line)
        self.remote = answer
        mux = rtcp_sdp.shares_port(self.last.media[self.line]) and rtcp_sdp.shares_port(line)
        self.path = self._path(answer, line, codec, "sendonly" if self.hold else "sendrecv", keys, dtls, mux=mux)
        return self.path

    # --- answering ----------------------------------------------------------------------------------------------------

    def receive_offer(self, offer: Description) -> Description:
        """Answer the peer's offer and set `path`. Raises NotAcceptable when nothing in it suits us (488, call kept)."""
        chosen, codec = self._choose(offer)
        line = offer.media[chosen]
        wanted = _MIRROR[offer.direction(line)]
        dtls = self._answer_dtls(offer, line)
        if offer.address_of(line) in _NULL_ADDRESSES and wanted == "sendrecv" and self._far_ice(offer, line) is None:
            wanted = "recvonly"          # RFC 2543 style of hold
        if self.hold:
            wanted = {"sendrecv": "sendonly", "recvonly": "inactive"}.get(wanted, wanted)
        named = [codec, *self._beside(line, codec[0])]
        formats, attributes = _formats(named)
        pair = self._answer_keys(line)
        keys: tuple[tuple[str, str], ...] = (("crypto", pair[0].build()),) if pair else ()
        keys += ((rtcp_sdp.MUX, ""),) if rtcp_sdp.shares_port(line) else ()
        session: tuple[tuple[str, str], ...] = ()
        if dtls is not None:
            self._note_restart(offer, line)
            keys, session = self._dtls_answer(offer, line, dtls)
        attributes += (*keys, ("ptime", str(_ptime(line, codec[0]))), (wanted, ""))
        lines = [
            MediaLine("audio", self.port, other.proto, formats, attributes=attributes)
            if index == chosen
            else MediaLine(other.kind, 0, other.proto, other.formats, attributes=_name_of(other) if dtls is not None else ())
            for index, other in enumerate(offer.media)
        ]
        self.line = chosen
        self.remote = offer
        self.path = self._path(offer, line, codec, wanted, _keys(*pair) if pair else None, dtls, mux=rtcp_sdp.shares_port(line))
        return self._send(tuple(lines), offer.times, session)

    def offered(self) -> set[str]:
        """Codecs of ours that the peer named in its last description."""
        lines = self.remote.media if self.remote is not None else ()
        return {codec for line in lines if line.kind == "audio" and line.port for codec in codecs_of(line)}

    def repeat(self) -> Description | None:
        """What we sent last (for a re-INVITE that changes nothing)."""
        return self.last

    # --- inner --------------------------------------------------------------------------------------------------------

    def _choose(self, offer: Description) -> tuple[int, tuple[str, int]]:
        media = offer.media
        # Prefer an encrypted line, one that must be before one that may be, then the one that carries our audio already.
        places: Iterable[int] = range(len(media))
        if len(media) > 1:
            places = sorted(places, key=lambda place: (*self._rank(offer, media[place]), place != self.line))
        for index in places:
            line = media[index]
            if line.kind != "audio" or line.port == 0 or not (self._plain(line) or self._encrypted(offer, line)):
                continue
            codec = self._codec(line)
            if codec is not None:
                return index, codec
        profiles = {line.proto.upper() for line in media if line.kind == "audio" and line.port}
        if self.srtp == "off" and profiles == {"RTP/SAVP"}:
            raise NotAcceptable("RTP/SAVP needs SIP over TLS, and an extension that may encrypt")
        raise NotAcceptable("no known audio codec over RTP/SAVP" if self.srtp == "required" else "no known audio codec over RTP/AVP")

    def _rank(self, offer: Description, line: MediaLine) -> tuple[bool, bool]:
        return not self._encrypted(offer, line), line.proto.upper() == "RTP/AVP"

    def _encrypted(self, offer: Description, line: MediaLine) -> bool:
        return self._answer_keys(line) is not None or self._answer_dtls(offer, line) is not None

    def _plain(self, line: MediaLine) -> bool:
        return self.srtp != "required" and line.proto.upper() == "RTP/AVP"

    def _offered_keys(self) -> tuple[tuple[sdes.Crypto, ...], str]:
        """Lines and profile of an offer: all, or only what is agreed. Raises NotAcceptable where we must encrypt and have no keys."""
        agreed = self.path.suite if self.path is not None else ""
        sent = self.last.media[self.line].proto if self.last is not None and len(self.last.media) > self.line else ""
        if self.srtp == "off":
            return (), "RTP/AVP"
        if (self.srtp == "required" or agreed or sent == "RTP/SAVP") and not self.secure:
            raise NotAcceptable("no keys to encrypt with")
        if self.path is not None and not agreed and self.srtp != "required":
            return (), "RTP/AVP"
        lines = tuple(line for line in self.secure if not agreed or line.suite == agreed)
        return lines, (sent if agreed and sent else "RTP/SAVP") if lines else "RTP/AVP"

    def _accept_keys(self, answer: Description, line: MediaLine) -> MediaKeys | None:
        """What the peer's answer agrees to; it must be in kind."""
        assert self.last is not None
        sent = self.last.media[self.line]
        if line.proto.upper() != sent.proto:
            raise NotAcceptable("answer has another profile than the offer")
        lines = sdes.lines_of(sent.attributes)
        if sent.proto in dtls_sdp.PROFILES:
            if dtls_sdp.agreed(answer, line) is None:
                raise NotAcceptable("answer without a fingerprint, or without its part in the handshake")
            return None
        if sent.proto != "RTP/SAVP" and not lines:
            return None
        try:
            return _keys(*sdes.accept(line.attributes, lines))
        except SyntaxProblem as problem:
            raise NotAcceptable(str(problem)) from problem

    def _answer_keys(self, line: MediaLine) -> tuple[sdes.Crypto, sdes.Crypto] | None:
        """(our line, the peer's) for an offered line; None when it is plain or nothing suits."""
        if self.srtp == "off" or line.attribute("crypto") is None or line.proto.upper() not in ("RTP/SAVP", "RTP/AVP"):
            return None
        keys = {ours.suite: ours.key for ours in self.secure}
        theirs = sdes.choose(line.attributes, tuple(keys))
        return (sdes.Crypto(theirs.tag, theirs.suite, keys[theirs.suite]), theirs) if theirs is not None else None

    # --- browsers -----------------------------------------------------------------------------------------------------

    def _offers_dtls(self) -> bool:
        """What is agreed stays; at first it depends on who is called."""
        return bool(self.dtls) and (self.web or self.keyed if self.path is None else self.path.dtls is not None)

    def _dtls_offer(self) -> tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
        """Profile, attributes of the line and of the session."""
        line = self.remote.media[self.line] if self.remote is not None and self.line < len(self.remote.media) else None
        speaks = self.lite is not None and (not self.keyed if self.path is None else self.path.ice is not None)
        marks = (("rtcp-mux", ""),) if self.keyed and line is None else ice.browser_marks(line)
        mid = dict(marks).get("mid") if speaks else None
        own = dtls_sdp.attributes(self.dtls, "actpass")
        if self.lite is not None and speaks:
            own += ice.candidates(self.address, self.port, self.lite.credentials())
        profile = line.proto if line is not None else dtls_sdp.PROFILES[1 if self.keyed else 0]
        return profile, (*own, *marks), ice.session_marks(speaks, mid)

    def _answer_dtls(self, offer: Description, line: MediaLine) -> Dtls | None:
        """What an offered line comes to, None where it is of another kind or lacks something. Roles stay (RFC 8842 section 5.3)."""
        if not self.dtls or (self.lite is None and ice.credentials_of(offer, line) is not None):
            return None
        found, before = dtls_sdp.answer_to(offer, line), self.path.dtls if self.path is not None else None
        if found is None or before is None or before.fingerprint != found.fingerprint or dtls_sdp.setup_of(offer, line) != "actpass":
            return found
        return before

    def _dtls_answer(
        self, offer: Description, line: MediaLine, dtls: Dtls
    ) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
        """Attributes of the line and of the session."""
        own = dtls_sdp.attributes(self.dtls, dtls.role)
        speaks = self._far_ice(offer, line) is not None
        if self.lite is not None and speaks:
            own += ice.candidates(self.address, self.port, self.lite.credentials())
        return (*own, *ice.browser_marks(line)), ice.session_marks(speaks, ice.bundled_mid(offer, line))

    def _far_ice(self, theirs: Description, line: MediaLine) -> ice.Credentials | None:
        usable = self.lite is not None and bool(self.dtls) and line.proto.upper() in dtls_sdp.PROFILES
        return ice.credentials_of(theirs, line) if usable else None

    def _note_restart(self, theirs: Description, line: MediaLine) -> None:
        """A peer that offers with new credentials has restarted ICE, and gets new ones of ours."""
        before = self.remote.media[self.line] if self.remote is not None and self.line < len(self.remote.media) else None
        now = self._far_ice(theirs, line)
        if self.path is None or self.path.ice is None or self.remote is None or before is None or now is None or self.lite is None:
            return
        if ice.credentials_of(self.remote, before) != now:
            self.lite = self.lite.restarted()

    def without_keys(self) -> OfferAnswer:
        """The same without any key, for a journal."""
        path = msgspec.structs.replace(self.path, keys=None) if self.path is not None and self.path.keys is not None else self.path
        remote = ice.sealed(self.remote) if self.remote is not None else None
        return msgspec.structs.replace(self, secure=(), path=path, last=_bare(self.last), remote=_bare(remote))

    def _codec(self, line: MediaLine) -> tuple[str, int] | None:
        """The codec of the line that we prefer, as (codec, payload number).

        Our order decides, not the peer's: two phones of one call then speak the same codec and can be relayed unchanged.
        """
        found = _named(line)
        for codec in self.preference:
            if codec in found and codec in CODECS:
                return codec, found[codec]
        return None

    def _beside(self, line: MediaLine, codec: str) -> list[tuple[str, int]]:
        return [one for one in _beside(line, codec) if self.events or not one[0].startswith("dtmf")]

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

    def _path(self, theirs: Description, line: MediaLine, codec: tuple[str, int], ours: str, media_keys: MediaKeys | None,
              dtls: Dtls | None, *, mux: bool) -> AudioPath:  # fmt: skip
        address = theirs.address_of(line)
        their = theirs.direction(line)
        far = self._far_ice(theirs, line) if dtls is not None else None
        learnt = IcePath(self.lite.credentials(), far.ufrag) if far is not None and self.lite is not None else None
        silent = address in _NULL_ADDRESSES and learnt is None
        beside = dict(self._beside(line, codec[0]))
        name = "dtmf48" if "dtmf48" in beside else "dtmf8"
        keys = (name, beside[name]) if name in beside else None
        return AudioPath(
            remote=None if silent or learnt is not None else (address, line.port),
            codec=codec[0],
            payload_type=codec[1],
            dtmf_type=keys[1] if keys else None,
            ptime_ms=_ptime(line, codec[0]),
            send=not silent and ours in ("sendrecv", "sendonly") and their in ("sendrecv", "recvonly"),
            receive=ours in ("sendrecv", "recvonly") and their in ("sendrecv", "sendonly"),
            dtmf_clock=48000 if keys and keys[0] == "dtmf48" else 8000,
            comfort_noise="cn" in beside,
            keys=media_keys,
            suite=media_keys.suite if media_keys is not None else "",
            dtls=dtls,
            ice=learnt,
            rtcp=None if mux or silent or learnt is not None else rtcp_sdp.reports_to(theirs, line),
            mux=mux,
        )

    def _send(self, lines: tuple[MediaLine, ...], times: tuple[str, ...] = ("0 0",),
              attributes: tuple[tuple[str, str], ...] = ()) -> Description:  # fmt: skip
        last = self.last
        if last is not None and last.media == lines and last.times == times and last.attributes == attributes:
            return last
        self.version += 1
        self.last = Description(
            origin_user="-", origin_id=self.session_id, version=self.version, origin_address=self.address, address=self.address,
            times=times, attributes=attributes, media=lines,
        )  # fmt: skip
        return self.last


def _named(line: MediaLine) -> dict[str, int]:
    """What we know of the formats of a line: name (a key of _FORMATS) and the first payload number that means it."""
    return _named_alike(line.formats, tuple([pair for pair in line.attributes if pair[0] == "rtpmap"]))


@lru_cache(maxsize=64)
def _named_alike(formats: tuple[str, ...], maps: tuple[tuple[str, str], ...]) -> dict[str, int]:
    """The same by what decides it: each model of telephone writes its own lines, and writes them in every call."""
    line = MediaLine("audio", 0, "", formats, attributes=maps)
    found: dict[str, int] = {}
    for text in formats:
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


def _name_of(line: MediaLine) -> tuple[tuple[str, str], ...]:
    """A refused line of a browser keeps its name."""
    mid = ice.mid_of(line)
    return (("mid", mid),) if mid is not None else ()


def _keys(ours: sdes.Crypto, theirs: sdes.Crypto) -> MediaKeys:
    return MediaKeys(ours.suite, ours.key, theirs.key)


def _bare(description: Description | None) -> Description | None:
    """A description without crypto lines."""
    if description is None or all(line.attribute("crypto") is None for line in description.media):
        return description
    media = tuple(
        msgspec.structs.replace(line, attributes=tuple(pair for pair in line.attributes if pair[0] != "crypto"))
        for line in description.media
    )
    return msgspec.structs.replace(description, media=media)


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
