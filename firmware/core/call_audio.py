"""What callers hear: prompts, music, tones, bridges and relays of contacts, done on the media façade (L5).

Theory of operation
-------------------
Ports belong to the drivers; this part knows which leg has which (`ports`). A conversation is an engine bridge (numbers 0 to
62 are given out here), or a relay of RTP packets between two SIP phones where nothing needs their samples (media mixes it as
long as it cannot forward: other codec, a player); a relay that media refuses becomes a bridge. Keys are kept from the other
side in both, and passed on by the switchboard, which first looks whether they are a feature code.
Invariant: a bridge number belongs to one contact, and is free with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from firmware.call import actions as do
from firmware.call.voicemail_actions import PlayFile
from firmware.errors import EngineBusy
from firmware.line.tones import ToneSpec

log = logging.getLogger("branchpbx.calls")
BRIDGES = 127                # of the engine's 128; the last is the installer's (`doctor/hand.py`)
FIRST_RTP_PORT = 16
TAP_TONE_MS = 400            # heard by a telephone that somebody begins to listen to, where the country asks for it
Speak = Callable[[str, str, Mapping[str, str]], Sequence[str]]


class CallMedia(Protocol):
    """The part of the media façade that calls use (`docs/interfaces.md`)."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...
    def join(self, bridge: int, port: int, *, hear: bool = True, speak: bool = True, whisper: int | None = None) -> Any: ...
    def leave(self, port: int) -> Any: ...
    def gain_control(self, port: int, on: bool) -> Any: ...
    def relay(self, a: int, b: int) -> Any: ...
    def unrelay(self, a: int) -> Any: ...
    def play(
        self, port: int, clips: Sequence[str], *, token: int, loop: bool = False, stop_on_digit: bool = False, gain_db: float = 0.0
    ) -> Any: ...
    def tone(self, port: int, tone: ToneSpec, *, token: int = 0, duration_ms: int = 0) -> Any: ...
    def stop(self, port: int) -> Any: ...
    def detect(self, port: int, *, digits: bool, fsk: str = "", voice: bool = False, tones: Sequence[ToneSpec] = ()) -> Any: ...
    def mute_digits(self, port: int, on: bool) -> Any: ...
    def record(self, port: int, file: int, *, token: int, key: bytes = b"", ident: bytes = b"", coded: str = "") -> Any: ...
    def mask(self, port: int, on: bool) -> Any: ...
    def stop_record(self, port: int) -> Any: ...
    def close(self, port: int) -> Any: ...


class CallAudio:
    """See the theory of operation."""

    def __init__(self, media: CallMedia, speak: Speak, tones: Mapping[str, ToneSpec]) -> None:
        self._media = media
        self._speak = speak
        self._tones = tones
        self.ports: dict[str, int] = {}
        self._bridges: dict[str, int] = {}
        #: While an earlier core's calls are taken over: bridges in which media has somebody, whoever that is.
        self.running: frozenset[int] = frozenset()
        self._joined: dict[str, tuple[int, int]] = {}           # ports in each bridge
        self._relays: dict[str, tuple[int, int]] = {}
        self._taps: dict[str, int] = {}                         # port of the one who listens, by contact
        self._raised: set[str] = set()                          # legs of quiet people

    # --- players ------------------------------------------------------------------------------------------------------

    def sound(self, action: do.PlayPrompt | do.PlayMusic | do.PlayTone | do.StopPlay | do.Loop, *, sip: bool) -> None:
        """Start or stop the player of a leg; a leg without a port is silent."""
        port = self.ports.get(action.leg, -1)
        if port < 0:
            return
        match action:
            case do.PlayPrompt():
                clips = [clip for say in action.says for clip in self._speak(action.language, say.prompt, say.variables)]
                self._listen(port, sip)
                self._media.play(port, clips, token=action.token, stop_on_digit=action.keys)
            case do.PlayMusic():
                self._media.play(port, self._speak("", action.clip, {}), token=action.token, loop=True)
            case do.PlayTone():
                self._media.tone(port, self._tones[action.tone], token=action.token)
            case do.StopPlay():
                self._media.stop(port)
            case do.Loop():
                self._media.relay(port, port)

    def recording(self, action: PlayFile, clip: str) -> None:
        """Words, a recording (`clip`, "" for none: what is said without it) and words again, to one leg."""
        port = self.ports.get(action.leg, -1)
        if port < 0:
            return

        def words(says: Sequence[do.Say]) -> list[str]:
            return [one for say in says for one in self._speak(action.language, say.prompt, say.variables)]

        clips = [*words(action.before), *([clip] if clip else words(action.without)), *words(action.after)]
        self._listen(port, port >= FIRST_RTP_PORT)
        self._media.play(port, clips, token=action.token, stop_on_digit=action.keys)

    def _listen(self, port: int, sip: bool) -> None:
        """Keys of a SIP phone that sends them in-band; analog legs are listened to by their driver."""
        if sip:
            self._media.detect(port, digits=True)

    def stop_record(self, leg: str) -> None:
        """Close the recording of a leg; one whose port is gone was closed with it."""
        if leg in self.ports:
            self._media.stop_record(self.ports[leg])

    # --- conversations ------------------------------------------------------------------------------------------------

    def bridge(self, contact: str, action: do.Bridge, sip: Sequence[str]) -> None:
        """Let two legs talk; `sip`: those of them that are SIP. Raises EngineBusy when no bridge is free."""
        if action.a not in self.ports or action.b not in self.ports:
            return
        a, b = self.ports[action.a], self.ports[action.b]
        if action.relay:
            self._relays[contact] = (a, b)
            on_failure(self._media.relay(a, b), lambda: self._relay_failed(contact, a, b))
        else:
            self._join(contact, a, b)
        for leg, port in ((action.a, a), (action.b, b)):
            self._listen(port, leg in sip)
            self._media.mute_digits(port, True)

    def _relay_failed(self, contact: str, a: int, b: int) -> None:
        if self._relays.get(contact) == (a, b):
            log.info("contact %s: the relay was refused, the audio is mixed", contact)
            del self._relays[contact]
            self._join(contact, a, b)

    def _join(self, contact: str, a: int, b: int) -> None:
        number = self.number(contact)
        self._joined[contact] = a, b
        self._media.join(number, a)
        self._media.join(number, b)

    def number(self, owner: str) -> int:
        """The bridge of a contact or room, taken where it has none. Raises EngineBusy when none is free."""
        number = self._bridges.get(owner)
        if number is None:
            number = next((one for one in range(BRIDGES) if one not in self._bridges.values() and one not in self.running), None)
            if number is None:
                raise EngineBusy(f"all {BRIDGES} bridges are in use; {owner} cannot be joined")
            self._bridges[owner] = number
        return number

    def take_over(self, owner: str, number: int) -> None:
        """A contact or room has this bridge from before."""
        self._bridges[owner] = number

    def tap(self, contact: str, action: do.Tap, *, sip: bool) -> None:
        """Let a third leg hear the two that talk, and be heard as its mode says. A relay becomes a bridge first."""
        port, of = self.ports.get(action.leg, -1), self.ports.get(action.of, -1)
        relay = self._relays.pop(contact, None)
        if relay is not None:
            self._media.unrelay(relay[0])
            self._join(contact, *relay)
        number = self._bridges.get(contact)
        if port < 0 or of < 0 or number is None:
            return
        self._taps[contact] = port
        self._media.join(number, port, speak=action.mode == "barge", whisper=of if action.mode == "whisper" else None)
        self._listen(port, sip)
        self._media.mute_digits(port, True)
        if action.tone:
            self._media.tone(of, self._tones["call-waiting"], duration_ms=TAP_TONE_MS)

    def untap(self, contact: str) -> None:
        """Take the third leg out."""
        port = self._taps.pop(contact, -1)
        if port in self.ports.values():
            self._media.leave(port)
            self._media.mute_digits(port, False)

    def unbridge(self, contact: str, action: do.Unbridge) -> None:
        """Part two legs and free what joined them."""
        self.untap(contact)
        relay = self._relays.get(contact)
        if relay is not None:
            self._media.unrelay(relay[0])
        for leg in (action.a, action.b):
            if leg in self.ports:
                if relay is None:
                    self._media.leave(self.ports[leg])
                self._media.mute_digits(self.ports[leg], False)
            self.raise_quiet(leg, False)
        self.forget(contact)

    def raise_quiet(self, leg: str, on: bool) -> None:
        """Raise a quiet person on a leg for the others, or no longer; media mixes a relay meanwhile."""
        self._raised &= self.ports.keys()       # the port of a leg that has ended is closed
        if leg in self.ports and on != (leg in self._raised):
            (self._raised.add if on else self._raised.discard)(leg)
            self._media.gain_control(self.ports[leg], on)

    def mute(self, leg: str, on: bool) -> None:
        """Cut a leg off from its conversation, both ways, and back; nothing happens where it has none."""
        port = self.ports.get(leg, -1)
        for contact, number in self._bridges.items():
            if port in self._joined.get(contact, ()):
                self._media.join(number, port, hear=not on, speak=not on)

    def forget(self, contact: str) -> None:
        """Free the contact's bridge or relay."""
        self._bridges.pop(contact, None)
        self._joined.pop(contact, None)
        self._relays.pop(contact, None)
        self._taps.pop(contact, None)

    def lost(self) -> None:
        """The media process was replaced: nothing is joined any more."""
        self._bridges.clear()
        self._joined.clear()
        self._relays.clear()
        self._taps.clear()
        self._raised.clear()

    # --- adoption -----------------------------------------------------------------------------------------------------

    def adopt(self, contact: str, a: str, b: str, running: Mapping[int, Any]) -> None:
        """Two legs talked when the earlier core died and talk still: learn by which bridge or relay, or join them again."""
        if a not in self.ports or b not in self.ports:
            return
        one, two = running.get(self.ports[a]), running.get(self.ports[b])
        bridges = {getattr(port, "bridge", -1) for port in (one, two)}
        if getattr(one, "relay", -1) == self.ports[b]:
            self._relays[contact] = (self.ports[a], self.ports[b])
        elif len(bridges) == 1 and bridges != {-1} and bridges != {None}:
            self._bridges[contact] = bridges.pop()
            self._joined[contact] = self.ports[a], self.ports[b]
        else:
            self._join(contact, self.ports[a], self.ports[b])

    def close_strangers(self, running: Mapping[int, Any]) -> None:
        """Close RTP ports that media runs for no leg we took over."""
        for port in running:
            if port >= FIRST_RTP_PORT and port not in self.ports.values():
                self._media.close(port)


def on_failure(answer: Any, fn: Callable[[], None]) -> None:
    """Call `fn` if the media command fails; what is no future counts as done."""
    add = getattr(answer, "add_done_callback", None)
    if add is not None:
        add(lambda future: fn() if not future.cancelled() and future.exception() is not None else None)


def when_done(answer: Any, fn: Callable[[], None]) -> None:
    """Call `fn` when the media command is answered, well or not."""
    add = getattr(answer, "add_done_callback", None)
    if add is None:
        fn()
        return

    def done(future: Any) -> None:
        if not future.cancelled():
            future.exception()
        fn()

    add(done)
