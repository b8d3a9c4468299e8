"""Checks of ports, line groups and the custom country profile that look at more than one entry (L1, pure)."""

from __future__ import annotations

from firmware.config.country import site_profile
from firmware.config.problems import Findings, suggest
from firmware.config.schema.tree import Config
from firmware.errors import ConfigError


def line_check(config: Config, findings: Findings) -> None:
    """Add what is wrong between lines, groups and profile."""
    _groups(config, findings)
    _hotlines(config, findings)
    try:
        site_profile(config)
    except ConfigError as error:
        findings.add("ports.custom.values", None, str(error), "correct or remove the value")


def _groups(config: Config, findings: Findings) -> None:
    lines: dict[str, int] = {}
    for line in config.ports.fxo.values():
        if line.enabled:
            lines[line.group] = lines.get(line.group, 0) + 1
    for name, group in config.ports.groups.items():
        if name not in lines:
            findings.add(f"ports.groups.{name}", None, "is the group of no line in service", suggest(name, lines))
        elif group.reserve >= lines[name]:
            remedy = f"allowed: at most {lines[name] - 1}, as {lines[name]} lines are in the group"
            findings.add(f"ports.groups.{name}.reserve", group.reserve, "leaves no line for outgoing calls", remedy)


def _hotlines(config: Config, findings: Findings) -> None:
    served = {extension.jack for extension in config.extensions.values() if extension.kind == "fxs"}
    for jack, phone in config.ports.fxs.items():
        if phone.hotline and jack not in served:
            remedy = "give an extension this jack, or remove it"
            findings.add(f"ports.fxs.{jack}.hotline", phone.hotline, "needs an extension on this jack", remedy)
