"""Legs whose keys come by DTLS and whose address comes by ICE: what media has to be told for browsers (L5).

Theory of operation
-------------------
Media owns the certificate and its private key; here only its fingerprint is known, asked for at the start and again when media was
replaced. Without it nothing of DTLS is offered or accepted (488). A leg's port is opened as one that waits for keys ("DTLS"), then media
is asked to answer the peer's checks ("ice") and to shake hands ("dtls"). The same request again changes nothing there, so it may be
repeated after a restart of core. A handshake that fails ends the leg: what the peer shows is not what it announced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from firmware.core.phones_leg import PhoneLeg, PhoneMedia
from firmware.errors import PbxError
from firmware.runtime.clock import Clock
from firmware.sip import ice
from firmware.sip.flow import WEB, Flow
from firmware.sip.offer import AudioPath, NotAcceptable, OfferAnswer

RETRY_MS = 1000
ANY_PORT = -1

log = logging.getLogger("branchpbx.phones")


class PhonesWeb:
    """See the theory of operation above. `failed(leg, why)`: no encrypted audio will come."""

    def __init__(self, media: PhoneMedia, clock: Clock, failed: Callable[[PhoneLeg, str], None]) -> None:
        self._media = media
        self._clock = clock
        self._failed = failed
        self._told: dict[int, tuple[Any, Any]] = {}          # by port: what media knows of ICE and DTLS
        self.fingerprint = ""

    def learn(self) -> None:
        """Ask media for its certificate's fingerprint."""
        self.fingerprint = ""
        try:
            asked = self._media.side(ANY_PORT, "fingerprint")
        except PbxError:
            self._clock.call_later(RETRY_MS, self.learn)
            return
        asked.add_done_callback(self._learnt)

    def _learnt(self, answer: Any) -> None:
        if answer.cancelled():
            return
        problem = answer.exception()
        if problem is None:
            self.fingerprint = str(answer.result())
        elif isinstance(problem, PbxError):
            log.warning("no DTLS for now: %s", problem)
            self._clock.call_later(RETRY_MS, self.learn)

    def provide(self, negotiation: OfferAnswer, setting: str, flow: Flow, token: Callable[[int], str], *, calling: bool) -> OfferAnswer:
        """Let a negotiation follow `srtp` of an extension. Raises NotAcceptable for a browser that would have to be called without."""
        browser = flow.transport in WEB
        if setting != "no" and self.fingerprint:
            negotiation.dtls, negotiation.lite, negotiation.web = self.fingerprint, ice.Secret(token(32)), browser
        elif browser and calling:
            raise NotAcceptable("a browser's speech needs DTLS, which srtp forbids or media lacks")
        return negotiation

    def serve(self, state: PhoneLeg, path: AudioPath) -> None:
        """Tell media what the leg's port needs; after it was opened or moved."""
        if path.dtls is None:
            return
        ice_told, dtls_told = self._told.get(state.port, (None, None))
        dtls = {"role": path.dtls.role, "fingerprint": path.dtls.fingerprint.hex(), "remote": path.remote}
        self._told[state.port] = path.ice, dtls
        if path.ice is not None and path.ice != ice_told:
            ours = path.ice.ours
            self._ask(state, "ice", {"ufrag": ours.ufrag, "pwd": ours.password, "remote_ufrag": path.ice.far_ufrag})
        if dtls != dtls_told:
            self._ask(state, "dtls", dtls)

    def forget(self, port: int) -> None:
        """The port was given back."""
        self._told.pop(port, None)

    def news(self, state: PhoneLeg, facts: Mapping[str, Any]) -> None:
        """What media says of the leg's handshake."""
        log.info("leg %s: DTLS %s %s", state.leg, facts.get("state"), facts.get("why", ""))
        if facts.get("state") == "failed":
            self._failed(state, str(facts.get("why", "")) or "handshake")

    def _ask(self, state: PhoneLeg, what: str, args: Mapping[str, Any]) -> None:
        def answered(answer: Any) -> None:
            problem = None if answer.cancelled() else answer.exception()
            if problem is not None:
                self._refused(state, what, str(problem))

        try:
            self._media.side(state.port, what, **args).add_done_callback(answered)
        except PbxError as problem:
            self._refused(state, what, str(problem))

    def _refused(self, state: PhoneLeg, what: str, why: str) -> None:
        """Later, so that whoever opens the port just now comes to an end first."""
        log.error("leg %s: media refuses %s: %s", state.leg, what, why)
        self._clock.call_later(0, lambda: self._failed(state, why) if state.port in self._told else None)
