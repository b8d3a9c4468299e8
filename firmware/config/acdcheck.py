"""Checks of what queues, agents, callbacks and emergency staffing refer to (L1, pure)."""

from __future__ import annotations

from firmware.config.problems import Findings, suggest
from firmware.config.schema.acd import Skills
from firmware.config.schema.tree import Config


def acd_check(config: Config, findings: Findings) -> None:
    """Add every problem of the call centre to `findings`."""
    _penalties(config, findings)
    _needs(config, findings)
    _callbacks(config, findings)
    _quiet(config, findings)
    _staffing(config, findings)


def _penalties(config: Config, findings: Findings) -> None:
    for number, agent in config.agents.items():
        for queue in agent.penalties:
            if queue not in agent.queues:
                path = f"agents.{number}.penalties.{queue}"
                findings.add(path, None, "is a penalty for a queue that the agent does not serve", suggest(queue, agent.queues))


def _needs(config: Config, findings: Findings) -> None:
    """A skill that no agent of the queue has would keep its callers for ever."""
    for name, queue in config.queues.items():
        _possible(config, findings, f"queues.{name}.needs", name, queue.needs)
    for name, menu in config.menus.items():
        for key, entry in menu.keys.items():
            kind, _, queue_name = entry.to.partition("/")
            if entry.needs and kind == "queue":
                _possible(config, findings, f"menus.{name}.keys.{key}.needs", queue_name, entry.needs)


def _possible(config: Config, findings: Findings, path: str, queue: str, needs: Skills) -> None:
    agents = [agent for agent in config.agents.values() if queue in agent.queues]
    if not agents:
        return                              # filled later: agents are logged in by hand or called in
    for skill in needs:
        known = sorted({one for agent in agents for one in agent.skills})
        if not any(skill in agent.skills for agent in agents):
            findings.add(f"{path}.{skill}", None, f"is a skill that no agent of queue {queue} has", suggest(skill, known))


def _callbacks(config: Config, findings: Findings) -> None:
    prefixes = {route.prefix for route in config.outbound}
    for name, queue in config.queues.items():
        if queue.callback.enabled and queue.callback.access not in prefixes:
            path = f"queues.{name}.callback.access"
            findings.add(path, queue.callback.access, "is the access code of no outbound route", suggest(queue.callback.access, prefixes))


def _quiet(config: Config, findings: Findings) -> None:
    for index, period in enumerate(config.acd.quiet):
        if any(int(time[:2]) > 23 for time in period.split("-")):
            findings.add(f"acd.quiet[{index}]", period, "is no time of day", "allowed: 00:00 to 23:59 on both sides")


def _staffing(config: Config, findings: Findings) -> None:
    staffing = config.acd.staffing
    called_in = [row.callers for row in staffing.call_in]
    for index, (before, after) in enumerate(zip(called_in, called_in[1:], strict=False)):
        if after <= before:
            remedy = "put the rows in the order of callers"
            findings.add(f"acd.staffing.call_in[{index + 1}].callers", after, f"does not follow {before}", remedy)
    if staffing.callers and not (staffing.steps or staffing.call_in):
        findings.add("acd.staffing.callers", staffing.callers, "calls nobody in", "add [[acd.staffing.steps]] with agents, or set it to 0")
    for index, step in enumerate(staffing.steps):
        for number in step.agents:
            agent = config.agents.get(number)
            if agent is not None and not agent.phone and not step.queues:
                path = f"acd.staffing.steps[{index}].agents"
                findings.add(path, number, "can neither be logged in nor joins a queue", f"give agents.{number}.phone, or queues")
