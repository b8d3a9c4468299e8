"""RTP ports of SIP legs: opened and moved with the negotiated path; keys, silence and loss of media come back (L5).

Theory of operation
-------------------
RFC 4733 keys arrive as media events of the port. A phone that negotiated telephone-event sends its keys there, so what is
heard in-band from it is the same key again and is not reported. Silence is ended by policy (`rtp.silence_timeout_s`),
not while the phone holds us: then it may send nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from firmware.core.phones_leg import PhoneLeg, PhoneMedia, media_arguments
from firmware.runtime.clock import Clock, Timer


class AudioOwner(Protocol):
    """Who is told."""

    def digit(self, state: PhoneLeg, digit: str, at: int) -> None: ...
    def audio_lost(self, state: PhoneLeg) -> None: ...
    def media_lost(self) -> None: ...


class PhonesAudio:
    """See the theory of operation above. Raises EngineBusy where the media façade does."""

    def __init__(self, media: PhoneMedia, clock: Clock, owner: AudioOwner, silence_limit_ms: Callable[[], int]) -> None:
        self._media = media
        self._clock = clock
        self._owner = owner
        self._limit = silence_limit_ms
        self._ports: dict[int, PhoneLeg] = {}
        self._silence: dict[str, Timer] = {}
        media.subscribe(self._media_event)

    def allocate(self, state: PhoneLeg) -> None:
        """Take an RTP port for the leg."""
        rtp = self._media.allocate_rtp(state.leg)
        state.port, state.local_port = rtp.port, rtp.local_port
        self._ports[rtp.port] = state

    def adopt(self, state: PhoneLeg) -> None:
        """The leg's port still runs in media."""
        if state.port >= 0:
            self._ports[state.port] = state

    def apply(self, state: PhoneLeg) -> bool:
        """Open the port on the negotiated path, or move it there; True when hold changed."""
        path = state.negotiation.path
        if path is None:
            return False
        if not state.opened:
            state.opened = True
            state.held = path.held
            self._media.open_rtp(state.port, **media_arguments(path, state.leg))
            return path.held
        self._media.update_rtp(state.port, **media_arguments(path, state.leg))
        changed = path.held != state.held
        state.held = path.held
        if state.held:
            self.stop_silence(state.leg)
        return changed

    def send_digits(self, state: PhoneLeg, digits: str) -> None:
        """Send keys as RFC 4733 events."""
        if state.opened:
            self._media.send_dtmf(state.port, digits, token=0)

    def close(self, state: PhoneLeg) -> None:
        """Give the port back."""
        self.stop_silence(state.leg)
        if state.port >= 0:
            self._ports.pop(state.port, None)
            self._media.close_rtp(state.port)

    def stop_silence(self, leg: str) -> None:
        timer = self._silence.pop(leg, None)
        if timer is not None:
            timer.cancel()

    def _media_event(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "MediaLost":
            self._owner.media_lost()
            return
        state = self._ports.get(getattr(event, "port", -1))
        if state is None:
            return
        if kind == "Digit":
            path = state.negotiation.path
            if event.source == "rfc4733" or path is None or path.dtmf_type is None:
                self._owner.digit(state, event.digit, event.at)
        elif kind == "RtpStarted":
            self.stop_silence(state.leg)
        elif kind == "RtpSilent":
            self._silent(state, int(event.ms))

    def _silent(self, state: PhoneLeg, ms: int) -> None:
        limit = self._limit()
        if limit == 0 or state.held or not state.answered:
            return
        self.stop_silence(state.leg)
        if ms >= limit:
            self._owner.audio_lost(state)
        else:
            self._silence[state.leg] = self._clock.call_later(limit - ms, lambda: self._owner.audio_lost(state))
