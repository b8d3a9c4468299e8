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

import msgspec

from firmware.call.quality import Quality
from firmware.core.phones_leg import PhoneLeg, PhoneMedia, media_arguments
from firmware.core.phones_vault import KeyVault
from firmware.core.phones_web import PhonesWeb
from firmware.runtime.clock import Clock, Timer
from firmware.sip.offer import AudioPath, MediaKeys


class AudioOwner(Protocol):
    """Who is told."""

    def digit(self, state: PhoneLeg, digit: str, at: int) -> None: ...
    def audio_lost(self, state: PhoneLeg) -> None: ...
    def audio_refused(self, state: PhoneLeg, why: str) -> None: ...
    def media_lost(self) -> None: ...
    def check(self, state: PhoneLeg) -> None: ...


class PhonesAudio:
    """See the theory of operation above. Raises EngineBusy where the media façade does."""

    def __init__(
        self, media: PhoneMedia, clock: Clock, owner: AudioOwner, silence_limit_ms: Callable[[], int], vault: KeyVault | None = None
    ) -> None:
        self._vault = vault
        self._media = media
        self._clock = clock
        self._owner = owner
        self._limit = silence_limit_ms
        self._ports: dict[int, PhoneLeg] = {}
        self._paths: dict[int, AudioPath] = {}               # as media knows them: a refresh that changes nothing leaves the stream alone
        self._silence: dict[str, Timer] = {}
        self.web = PhonesWeb(media, clock, owner.audio_refused)
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
        if state.held:
            self._look_after(state)

    def apply(self, state: PhoneLeg) -> bool:
        """Open the port on the negotiated path, or move it there; True when hold changed."""
        path = state.negotiation.path
        if path is None or (path.suite and path.keys is None):     # adopted: media has the keys, and nothing new was negotiated
            return False
        if not state.opened:
            state.opened = True
            state.held = path.held
            self._media.open_rtp(state.port, **media_arguments(path, state.leg))
            self._note(state, path)
            self.web.serve(state, path)
            if path.held:
                self._look_after(state)
            return path.held
        if self._paths.get(state.port) != path:
            self._media.update_rtp(state.port, **media_arguments(path, state.leg))
            self._note(state, path)
            self.web.serve(state, path)
        changed = path.held != state.held
        state.held = path.held
        if changed:
            self.stop_silence(state.leg)
            if state.held:
                self._look_after(state)
        return changed

    def _look_after(self, state: PhoneLeg) -> None:
        """A phone that holds us may send nothing: it is asked now and then whether it is still there."""
        limit = self._limit()
        if limit:
            self._silence[state.leg] = self._clock.call_later(limit, lambda: self._ask(state))

    def _ask(self, state: PhoneLeg) -> None:
        self._silence.pop(state.leg, None)
        self._look_after(state)
        self._owner.check(state)

    def _note(self, state: PhoneLeg, path: AudioPath) -> None:
        self._paths[state.port] = path
        if self._vault is not None:
            if path.keys is not None:
                self._vault.keep(state.port, state.leg, path.keys)
            else:
                self._vault.wipe(state.port)

    def recall(self, state: PhoneLeg) -> MediaKeys | None:
        """What the leg's port ran under in an earlier process."""
        return self._vault.recall(state.port, state.leg) if self._vault is not None and state.opened else None

    def send_digits(self, state: PhoneLeg, digits: str) -> None:
        """Send keys as RFC 4733 events."""
        if state.opened:
            self._media.send_dtmf(state.port, digits, token=0)

    def quality(self, state: PhoneLeg) -> Quality | None:
        """How good the leg is, or was until now; None before anything was counted."""
        found = self._media.quality(state.port) if state.opened and state.port >= 0 else None
        path = state.negotiation.path
        if found is None or path is None:
            return found
        suite = path.suite or ("DTLS" if path.dtls is not None else "")
        return msgspec.structs.replace(found, codec=path.codec, suite=suite)

    def close(self, state: PhoneLeg) -> None:
        """Give the port back."""
        self.stop_silence(state.leg)
        if state.port >= 0:
            self._ports.pop(state.port, None)
            self._paths.pop(state.port, None)
            self.web.forget(state.port)
            if self._vault is not None:
                self._vault.wipe(state.port)
            self._media.close_rtp(state.port)

    def stop_silence(self, leg: str) -> None:
        timer = self._silence.pop(leg, None)
        if timer is not None:
            timer.cancel()

    def _media_event(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "MediaLost":
            self._owner.media_lost()
            self.web.learn()
            return
        state = self._ports.get(getattr(event, "port", -1))
        if state is None:
            return
        if kind == "Digit":
            path = state.negotiation.path
            if event.source == "rfc4733" or path is None or path.dtmf_type is None:
                self._owner.digit(state, event.digit, event.at)
        elif kind == "RtpStarted" and not state.held:
            self.stop_silence(state.leg)
        elif kind == "SideNews" and event.what == "dtls":
            self.web.news(state, event.facts)
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
