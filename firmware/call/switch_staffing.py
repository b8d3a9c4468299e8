"""Emergency staffing between contacts: who is logged in by it, which queues they serve, what is told (L1, pure; G10).

The decision is `staffing.decide`'s. Agents of a step who are logged out are logged in on the telephone of `Agent.phone`; those at work
serve the queues of the step beside their own. Standing down ends both, after the call that somebody is in.
"""

from __future__ import annotations

from firmware.call import staffing
from firmware.call.events import StaffingChanged
from firmware.call.floor import Status, is_callback
from firmware.call.switch_callbacks import Callbacks
from firmware.config.schema.acd import Step


class StaffingDesk(Callbacks):
    """See the module docstring."""

    def _staff(self, now: int) -> bool:
        """Take or leave a step where it is due; whether anything changed."""
        settings, state, floor = self.config.acd.staffing, self.acd.staffing, self.floor
        if not state.step and not settings.callers:
            return False
        at_work = [one for one in floor.state.agents.values() if one.status is not Status.LOGGED_OUT and one.agent not in state.joined]
        settings = staffing.scaled(settings, len(at_work))
        waits = [one.since for line in floor.state.queues.values() for one in line if not is_callback(one.contact)]
        over = sum(now - since > settings.wait_s * 1000 for since in waits)
        move = staffing.decide(state, over, settings, now)
        if move == "up":
            self._step_up(over, now)
        elif move == "down":
            self._stand_down(over, now)
        elif state.step:
            self._call_in(settings.steps[: state.step], now)     # whoever was logged out meanwhile, or lost it with the power
        floor.state.staffing_at = staffing.due(state, waits, settings, now)
        return bool(move)

    def _step_up(self, over: int, now: int) -> None:
        settings, state = self.config.acd.staffing, self.acd.staffing
        state.step, state.over_since = state.step + 1, now
        if state.step > len(settings.steps):
            self.keep_acd()
            self._publish(StaffingChanged(now, state.step, over, "", [], staffing.people(settings, over)))
            return
        step = settings.steps[state.step - 1]
        joined = self._call_in([step], now) if staffing.holds(step, self.local(now)) else []
        if not joined:
            state.over_since = now - settings.sustained_s * 1000       # nobody came of it: the next step is due at once
        self.keep_acd()
        self._publish(StaffingChanged(now, state.step, over, step.name, joined))

    def _call_in(self, steps: list[Step], now: int) -> list[str]:
        """Agents of these steps join where they have not yet; who did."""
        joined = []
        for step in steps:
            if not staffing.holds(step, self.local(now)):
                continue
            queues = [name for name in step.queues if name in self.config.queues]
            for number in step.agents:
                known, agent = self.config.agents.get(number), self.floor.state.agents.get(number)
                if known is None or agent is None:
                    continue
                if agent.status is Status.LOGGED_OUT:
                    if number in self.acd.staffing.joined or not known.phone or self.floor.on_phone(known.phone) is not None:
                        continue                # left by himself, or there is no telephone for him
                    if not self.floor.log_in(number, known.phone, now):
                        continue
                    self.acd.staffing.joined.append(number)
                    joined.append(number)
                elif queues and agent.called_in != queues:
                    joined.append(number)
                agent.called_in = list(queues)
        return joined

    def _stand_down(self, over: int, now: int) -> None:
        state = self.acd.staffing
        for agent in self.floor.state.agents.values():
            agent.called_in = []
        left, state.joined = state.joined, []
        for number in left:
            if number in self.floor.state.agents:
                self.floor.log_out(number, now)
        state.step, state.over_since, state.calm_since = 0, -1, -1
        self.keep_acd()
        self._publish(StaffingChanged(now, 0, over, "", left))
