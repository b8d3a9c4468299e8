"""What callers hear: prompts, music, tones, bridges and relays of contacts, done on the media façade (L5).

Theory of operation
-------------------
Ports belong to the drivers; this part knows which leg has which (`ports`). A conversation is an engine bridge (numbers 0 to
63 are given out here), or a relay of RTP packets between two SIP phones where nothing needs their samples (media mixes it as
long as it cannot forward: other codec, a player); a relay that media refuses becomes a bridge. Keys are kept from the other
side in both, and passed on by the switchboard, which first looks whether they are a feature code.
Invariant: a bridge number belongs to one contact, and is free with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from firmware.call import actions as do
from firmware.errors import EngineBusy
from firmware.line.tones import ToneSpec

log = logging.getLogger("branchpbx.calls")
BRIDGES = 64
FIRST_RTP_PORT = 16
Speak = Callable[[str, str, Mapping[str, str]], Sequence[str]]


class CallMedia(Protocol):
    """The part of the media façade that calls use (`docs/interfaces.md`)."""

    def subscribe(self, fn: Callable[[Any], None]) -> object: ...
    def join(self, bridge: int, port: int, *, hear: bool = True, speak: bool = True) -> Any: ...
    def leave(self, port: int) -> Any: ...
    def relay(self, a: int, b: int) -> Any: ...
    def unrelay(self, a: int) -> Any: ...
    def play(
        self, port: int, clips: Sequence[str], *, token: int, loop: bool = False, stop_on_digit: bool = False, gain_db: float = 0.0
    ) -> Any: ...
    def tone(self, port: int, tone: ToneSpec, *, token: int = 0, duration_ms: int = 0) -> Any: ...
    def stop(self, port: int) -> Any: ...
    def detect(self, port: int, *, digits: bool, fsk: str = "", voice: bool = False, tones: Sequence[ToneSpec] = ()) -> Any: ...
    def mute_digits(self, port: int, on: bool) -> Any: ...
    def record(self, port: int, file: int, *, token: int) -> Any: ...
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
        self._relays: dict[str, tuple[int, int]] = {}

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
        number = self._bridges.get(contact)
        if number is None:
            number = next((one for one in range(BRIDGES) if one not in self._bridges.values()), None)
            if number is None:
                raise EngineBusy(f"all {BRIDGES} bridges are in use; contact {contact} cannot be joined")
            self._bridges[contact] = number
        self._media.join(number, a)
        self._media.join(number, b)

    def unbridge(self, contact: str, action: do.Unbridge) -> None:
        """Part two legs and free what joined them."""
        relay = self._relays.get(contact)
        if relay is not None:
            self._media.unrelay(relay[0])
        for leg in (action.a, action.b):
            if leg in self.ports:
                if relay is None:
                    self._media.leave(self.ports[leg])
                self._media.mute_digits(self.ports[leg], False)
        self.forget(contact)

    def forget(self, contact: str) -> None:
        """Free the contact's bridge or relay."""
        self._bridges.pop(contact, None)
        self._relays.pop(contact, None)

    def lost(self) -> None:
        """The media process was replaced: nothing is joined any more."""
        self._bridges.clear()
        self._relays.clear()

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
