"""Callbacks and lost callers between contacts: when a request stands in the queue, who carries it out, what came of it (L1, pure).

Theory of operation
-------------------
`_callbacks` runs whenever things settle and puts every request where it belongs by its own facts: in the floor at its old place
when its time has come, out of it in quiet hours and while an attempt is under way, away when it has expired or its queue is gone. So
a restart, a power cut and a change of the configuration need nothing of their own. `_over` and `_changed` book what a contact's end, or
its conversation, means for requests, the missed-call list and who served whom.
"""

from __future__ import annotations

from firmware.call import actions as do
from firmware.call import callback, missed
from firmware.call.acd_state import Request, same_number
from firmware.call.contact import Contact
from firmware.call.dialling import attempt_for
from firmware.call.events import CallbackChanged, MissedChanged, PromiseBroken
from firmware.call.floor import is_callback
from firmware.call.model import Cause, Party
from firmware.call.queue import Waiting
from firmware.call.quiet import quiet_ms
from firmware.call.rules import rule
from firmware.call.state import ContactState, Kind, Phase
from firmware.call.switch_outside import OutsideDuties
from firmware.config.schema.calls import Queue
from firmware.errors import PbxError


def _kept(request: Request) -> bool:
    """Whether nothing more is to be said about a promised time by time alone."""
    return request.late or request.called_ms > 0


def _promise(request: Request) -> str:
    """What became of a promised time: "", "kept" or "broken"."""
    if not request.promise_ms:
        return ""
    return "kept" if 0 < request.called_ms <= request.promise_ms else "broken"


class Callbacks(OutsideDuties):
    """See the module docstring."""

    def _callbacks(self, now: int) -> bool:
        """Put every request where it belongs; whether anything changed."""
        requests = self.acd.callbacks
        self.floor.state.callback_at = -1
        if not requests:
            return False
        wall, busy = self.wall(now), False
        quiet = quiet_ms(self.local(now), self.config.acd.quiet)
        for request in list(requests.values()):
            if request.contact and request.contact not in self.contacts:
                request.contact = ""
                request.not_before_ms = max(request.not_before_ms, wall + rule("callback.ours"))
            queued = self.floor.entry(request.id) is not None
            queue = self.config.queues.get(request.queue)
            self._promised(request, wall, now)
            if request.contact:
                continue
            if queue is None or wall >= request.expires_ms:
                self._give_up(request, now, "expired" if queue is not None else "no queue")
                busy = True
            elif quiet or wall < request.not_before_ms:
                if queued:
                    self.floor.leave(request.id, now)
                if quiet:
                    request.not_before_ms = max(request.not_before_ms, wall + quiet)
            elif not queued:
                since = now - (wall - request.since_ms)
                place = Waiting(request.id, since, 0, request.language, ahead=request.ahead, needs=dict(request.needs))
                self.floor.join(request.queue, place, now)
                busy = True
        self.floor.state.callback_at = self._callback_deadline(now)
        return busy

    def _callback_due(self, request: str, agent: str, queue: Queue, now: int) -> None:
        """The strategy offers a request of the floor to an agent; one that is gone or being tried leaves the floor."""
        found = self.acd.callbacks.get(request)
        if found is None or found.contact:
            self.floor.leave(request, now)
        else:
            self._carry_out(found, agent, queue, now)

    def _callbacks_only(self) -> None:
        """After a restart: entries of the floor whose request is gone go, too."""
        for name, line in self.floor.state.queues.items():
            self.floor.state.queues[name] = [one for one in line if not is_callback(one.contact) or one.contact in self.acd.callbacks]

    def _callback_deadline(self, now: int) -> int:
        """When `_callbacks` has something to do by time alone; -1 for never."""
        wall = self.wall(now)
        times = [
            now + max(1, (one.not_before_ms if one.not_before_ms > wall else one.expires_ms) - wall)
            for one in self.acd.callbacks.values() if not one.contact
        ]  # fmt: skip
        times += [now + max(1, one.promise_ms - wall) for one in self.acd.callbacks.values() if one.promise_ms and not _kept(one)]
        return min(times, default=-1)

    def _promised(self, request: Request, wall: int, now: int) -> None:
        """A promised time that passes without a call is told at once, also by the next process, and when the call is made after all."""
        overdue = 0 < request.promise_ms <= wall and not request.called_ms
        if overdue and not request.late:
            request.late = True
            self.keep_acd()
            self.act(request.first, do.Record(now, "promise-broken", "", {"request": request.id, "before_ms": request.promise_ms}))
        elif request.late and request.called_ms:
            request.late = False
        if overdue is not (request.id in self.late):
            self._tell_late(request, now, on=overdue)

    def _tell_late(self, request: Request, now: int, *, on: bool) -> None:
        (self.late.add if on else self.late.discard)(request.id)
        self._publish(PromiseBroken(now, request.id, request.queue, request.number, request.promise_ms, on))

    def _carry_out(self, request: Request, agent: str, queue: Queue, now: int) -> None:
        """The strategy offers a request to an agent."""
        self.floor.leave(request.id, now)
        wall = self.wall(now)
        state = ContactState(
            self._ids.contact(), Kind.RETURNED, now, Phase.RETURNING, caller=Party(request.number), called=request.number,
            language=request.language or self.config.site.languages[0], queue=request.queue, queued=now - (wall - request.since_ms),
            first_queued=now,
        )  # fmt: skip
        state.visit.request, state.visit.ahead, state.visit.needs = request.id, request.ahead, dict(request.needs)
        c = Contact(state, self, now)
        attempt = attempt_for(c, callback.way_to(self.routing, queue.callback, request.number), "back")
        if attempt is None or not any(self.floor.usable(one) for one in attempt.endpoints):
            # The number may no longer be dialled, or no line is free: nobody is rung for that.
            request.last = "refused" if attempt is None else "congestion"
            request.not_before_ms = wall + rule("callback.ours")
            return
        request.contact = state.id
        self.keep_acd()
        self.contacts[state.id] = state
        self.act(state.id, do.OpenContact())
        c.record("callback-begins", request=request.id, first=request.first, tries=request.tries, agent=agent)
        self._publish(CallbackChanged(now, request.id, request.queue, "calling", request.tries))
        if queue.callback.first == "agent":
            callback.ring_agent(c, agent, queue)
        else:
            callback.dial_caller(c)
        self._changed(state, "", now)

    def _give_up(self, request: Request, now: int, why: str) -> None:
        """The request is over without success: the caller is lost."""
        self._drop(request, now, why)
        self._lost(request.number, now, queue=request.queue, why=f"callback {why}", contact=request.first)

    def _drop(self, request: Request, now: int, why: str) -> None:
        self.acd.callbacks.pop(request.id, None)
        self.floor.leave(request.id, now)
        self.keep_acd()
        if request.first:
            self.act(request.first, do.Record(now, "callback-over", "", {
                "request": request.id, "why": why, "tries": request.tries, "promise": _promise(request),
            }))  # fmt: skip
        if request.id in self.late:
            self._tell_late(request, now, on=False)
        self._publish(CallbackChanged(now, request.id, request.queue, why, request.tries))

    def _lost(self, number: str, now: int, *, queue: str, why: str, contact: str) -> None:
        days = self.config.acd.missed_keep_days
        entry = missed.lost(self.acd, number, self.wall(now), queue=queue, why=why, contact=contact, keep_days=days)
        self.keep_acd()
        self._publish(MissedChanged(now, number, "lost", entry.times))

    # --- contacts -----------------------------------------------------------------------------------------------------

    def _changed(self, state: ContactState, before: str, now: int) -> None:
        if state.phase is Phase.TALKING and before != Phase.TALKING.value:
            self._talks(state, now)
        super()._changed(state, before, now)

    def _talks(self, state: ContactState, now: int) -> None:
        """Somebody speaks with a number: it is lost no more, and needs no callback."""
        numbers = missed.numbers_of(state)
        for number in numbers:
            entry = missed.reached(self.acd, number)
            if entry is not None:
                self.act(state.id, do.Record(now, "missed-reached", "", {"number": entry.number, "times": entry.times}))
                self._publish(MissedChanged(now, entry.number, "reached", entry.times))
                self.keep_acd()
            for request in list(self.acd.callbacks.values()):
                if request.contact != state.id and not request.contact and same_number(request.number, number):
                    self._drop(request, now, "reached")
        if state.agent and numbers:
            missed.served(self.acd, numbers[-1], state.agent, self.wall(now))
            self.keep_acd()

    def _over(self, state: ContactState, now: int) -> None:
        super()._over(state, now)
        request = self.acd.callbacks.get(state.acd.request) if state.acd is not None else None
        if request is not None and request.contact == state.id:
            queue = self.config.queues.get(request.queue)
            result = callback.outcome(state, request, queue.callback, self.wall(now)) if queue is not None else "lost"
            if result == "reached":
                self._drop(request, now, "reached")
            elif result in ("lost", "stranger"):
                self._give_up(request, now, "tried" if result == "lost" else result)
            else:
                self._publish(CallbackChanged(now, request.id, request.queue, "waiting", request.tries))
            self.keep_acd()
        elif missed.is_lost(state):
            why = state.cause.value if state.cause is not None else ""
            self._lost(state.caller.number, now, queue=state.queue, why=why, contact=state.id)

    def forgotten(self, state: ContactState, now: int) -> None:
        """A contact ended with the process that held it: what that means for its caller."""
        request = self.acd.callbacks.get(state.acd.request) if state.acd is not None else None
        if request is not None:
            request.contact = ""
        if request is not None and state.connected >= 0:
            self._drop(request, now, "reached")
        elif missed.is_lost(state) or self._promised_in_vain(state):
            self._lost(state.caller.number, now, queue=state.queue, why=Cause.SYSTEM.value, contact=state.id)

    def _promised_in_vain(self, state: ContactState) -> bool:
        """The request that had taken this caller's place was not on the disk yet."""
        done = state.acd is not None and state.acd.stage == "done" and state.mail is None and state.connected < 0
        return done and bool(state.caller.number) and not any(request.first == state.id for request in self.acd.callbacks.values())

    def orphaned(self, number: str, queue: str, contact: str, now: int) -> None:
        """A caller nobody had spoken with when power failed: all that is left of his call is its record. He is lost, or has a callback."""
        if not any(request.first == contact for request in self.acd.callbacks.values()):
            self._lost(number, now, queue=queue, why=Cause.SYSTEM.value, contact=contact)

    # --- commands -----------------------------------------------------------------------------------------------------

    def withdraw_callback(self, request: str, now: int) -> None:
        """Its caller wants no callback any more; nothing happens where the request is over."""
        found = self.acd.callbacks.get(request)
        if found is not None:
            self._drop(found, now, "cancelled")

    def cancel_callback(self, request: str, now: int) -> Request:
        """Drop a request; an attempt under way goes on. Raises PbxError if there is none."""
        found = self.acd.callbacks.get(request) or self.acd.callbacks.get(f"cb:{request}")
        if found is None:
            raise PbxError(f"there is no callback {request}; `show callbacks` lists them")
        self._drop(found, now, "cancelled")
        self._settle(now)
        return found

    def close_missed(self, number: str, now: int) -> None:
        """Take a number off the missed-call list by hand. Raises PbxError if it is not on it."""
        entry = missed.reached(self.acd, number)
        if entry is None:
            raise PbxError(f"{number} is not on the missed-call list; `show missed` prints it")
        self.keep_acd()
        self._publish(MissedChanged(now, entry.number, "closed", entry.times))
