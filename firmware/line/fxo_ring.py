"""FXO line: ringing and caller id, up to our answer (L1, pure). See `fxo.py` for the theory of operation."""

from __future__ import annotations

from typing import Any, Final

from firmware.call.model import Cause, Evidence, Party
from firmware.errors import LocalProtocolError, RemoteProtocolError
from firmware.line import callerid
from firmware.line.fxo_base import FxoBase
from firmware.line.fxo_table import ANSWER_SETTLE_MS, CID_KEYS_MS, CID_STALE_MS, GUARD_RING_MS, NO_LINE_MS, NOT_A_RING_MS, RING_STUCK_MS
from firmware.line.signals import Detect, Digit, Expired, FskMessage, HangUp, Missed, Offered, OpenAudio, RingBurst

AT_REST: Final = ("IDLE", "GUARD")


class FxoRinging(FxoBase):
    """See `fxo.Fxo`."""

    def _ring_changed_idle(self, fact: RingBurst) -> None:
        if fact.on:
            self._ring_starts(fact)

    def _ring_changed_guard(self, fact: RingBurst) -> None:
        """What rings this soon after our own hook change may be its transient: it must go on."""
        state = self.state
        if not fact.on:
            self._cancel("guard_ring")
        elif fact.at - state.hook_at >= GUARD_RING_MS:
            self._ring_starts(fact)
        else:
            state.burst_on_at = fact.at
            self._timer("guard_ring", state.hook_at + GUARD_RING_MS)

    def _ring_in_guard(self, _: Expired) -> None:
        self._ring_starts(RingBurst(self.state.burst_on_at, True))

    def _ring_starts(self, fact: RingBurst) -> None:
        state = self.state
        state.rings, state.rings_over, state.ring_started, state.burst_off_at = 0, 0, fact.at, -1
        state.offered = False
        state.cid_settled = state.caller is not None or self.config.caller_id == "none"
        if state.cid_keys:
            self._read_keys(final=True)
        self._enter("RINGING")
        self._burst_begins(fact.at, new_ring=True)

    def _burst_begins(self, at: int, *, new_ring: bool) -> None:
        """Ringing voltage: a ring once it has lasted as long as this country's shortest, none when it outlasts the longest."""
        state = self.state
        if new_ring:
            state.burst_ms, state.ring_counted, state.ring_too_long = 0, False, False
        state.burst_on_at = at
        self._after("ring_stuck", RING_STUCK_MS)
        least, most = self.profile.ring_burst_accept_ms
        if not state.ring_counted and not state.ring_too_long:
            self._timer("ring_valid", max(state.now, at + least - state.burst_ms))
        if not state.ring_too_long:
            self._timer("ring_long", max(state.now, at + most - state.burst_ms + 1))

    def _ring_valid(self, _: Expired | None) -> None:
        self.state.ring_counted = True
        self.state.rings += 1

    def _ring_long(self, _: Expired) -> None:
        state = self.state
        if state.ring_counted:
            state.ring_counted = False
            state.rings -= 1
        state.ring_too_long = True
        self._cancel("ring_valid")

    def _ring_changed(self, fact: RingBurst) -> None:
        state = self.state
        if fact.on:
            self._cancel("ring_end", "ring_over")
            self._burst_begins(fact.at, new_ring=fact.at - state.burst_off_at > self.profile.ring_join_ms())
            return
        state.burst_off_at = fact.at
        state.burst_ms += fact.at - state.burst_on_at
        self._cancel("ring_stuck", "ring_valid", "ring_long")
        least, most = self.profile.ring_burst_accept_ms
        if not state.ring_counted and not state.ring_too_long and least <= state.burst_ms <= most:
            self._ring_valid(None)
        if not state.ring_counted:
            state.odd_rings += 1
        if state.rings == 0:
            self._timer("ring_end", fact.at + max(NOT_A_RING_MS, self.profile.ring_join_ms() + 100))
            return
        # the next burst must come within the cadence's silence; 2 s more is a ring that stopped
        self._timer("ring_end", fact.at + min(10_000, max(5000, self.profile.ring_gap_ms() + 2000)))
        if len(self.profile.ring_cadence_ms) > 2:
            self._timer("ring_over", fact.at + self.profile.ring_join_ms())
        else:
            self._ring_complete(None)

    def _ring_complete(self, _: Expired | None) -> None:
        state = self.state
        if state.rings_over == state.rings:
            return
        state.rings_over = state.rings
        if not state.cid_settled and state.rings == 1:
            if self.config.caller_id != "dtmf":
                self._act(Detect(digits=self._wants_keys(), fsk=self._fsk_standard()))
            self._after("cid_wait", self.profile.caller_id_wait_ms)
        self._consider_offer()

    def _consider_offer(self) -> None:
        state = self.state
        if state.offered or not state.cid_settled or state.rings_over < self.config.answer_after_rings:
            return
        state.offered = state.call = True
        caller = state.caller or Party(reason="unavailable")
        self._emit(Offered(state.now, caller, rings=state.rings, ring_started=state.ring_started))

    def _ring_ended(self, _: Expired) -> None:
        state = self.state
        if state.call:
            self._end(Cause.CANCELLED, Evidence("ring-stopped", 0.95, f"last ring ended at {state.burst_off_at} ms"), True)
        elif not state.offered and state.rings:
            self._emit(Missed(state.now, state.caller or Party(reason="unavailable"), state.rings, state.ring_started))
        self._to_rest()

    def _ring_stuck(self, _: Expired) -> None:
        self._end(Cause.LINE_FAULT, Evidence("timer", 1.0, "ringing voltage without end"), True)
        self.state.forget_call()
        self._fault("ringing voltage without end: check the line and the operator")
        self._enter("NO_LINE", self.state.fault)
        self._after("line_back", NO_LINE_MS)

    def _caller_id_message(self, fact: FskMessage) -> None:
        state = self.state
        try:
            message = callerid.parse(fact.payload, self.profile.caller_id.charset)
        except RemoteProtocolError:
            state.caller_id_errors += 1
            return
        if message.waiting is not None:
            self._exchange_says(message.waiting)
        elif self.config.caller_id not in ("none", "dtmf") and (not state.cid_settled or state.state in AT_REST):
            self._settle_caller(message.party)

    def _caller_id_early(self, fact: FskMessage) -> None:
        self._caller_id_message(fact)
        self._after("cid_stale", CID_STALE_MS)

    def _caller_id_key(self, fact: Digit) -> None:
        state = self.state
        if state.cid_settled or not self._wants_keys() or len(state.cid_keys) >= 40:
            return
        state.cid_keys += fact.digit
        if state.state in AT_REST:
            self._after("cid_stale", CID_STALE_MS)
        if callerid.dtmf_complete(state.cid_keys):
            self._read_keys(final=False)
        else:
            self._after("cid_keys", CID_KEYS_MS)

    def _caller_id_keys_end(self, _: Expired) -> None:
        self._read_keys(final=True)

    def _read_keys(self, *, final: bool) -> None:
        state = self.state
        self._cancel("cid_keys")
        try:
            party = callerid.parse_dtmf(state.cid_keys)
        except RemoteProtocolError:
            state.caller_id_errors += 1
            if final:
                state.cid_keys = ""
            return
        self._settle_caller(party)

    def _settle_caller(self, party: Party) -> None:
        state = self.state
        state.caller, state.cid_settled, state.cid_keys = party, True, ""
        self._cancel("cid_wait", "cid_keys")
        if state.state == "RINGING":
            self._consider_offer()

    def _caller_id_timed_out(self, _: Expired) -> None:
        self.state.cid_settled = True
        self._consider_offer()

    def _caller_id_stale(self, _: Expired) -> None:
        state = self.state
        state.caller, state.cid_settled, state.cid_keys = None, False, ""
        self._cancel("cid_keys")

    def _decline(self, given: HangUp) -> None:
        # a ringing line cannot be refused: we let it ring and take no further notice of it
        self._end(given.cause, given.evidence, False)
        self.state.offered = True

    def _answer(self, _: Any) -> None:
        state = self.state
        if not state.call:
            raise LocalProtocolError("the ringing line was not offered, or its leg is over: nothing to answer")
        self._act(OpenAudio())
        self._act(self._talk_detectors())
        self._hook(True)
        self._enter("ANSWERING")
        self._await_current()
        self._after("settle", ANSWER_SETTLE_MS)

    def _answer_settled(self, _: Any) -> None:
        state = self.state
        if not state.loop:
            self._after("settle", 100)
            return
        self._talk(Evidence("off-hook", 1.0, f"answered after {state.rings} rings"))
