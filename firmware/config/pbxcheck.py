"""Checks of groups, rooms, parking, lists of lamps and speed dials (L1, pure); see `crosscheck.py` for how."""

from __future__ import annotations

import re

from firmware.config.emergency import emergency_numbers
from firmware.config.problems import Findings
from firmware.config.schema.tree import Config


def pbx_check(config: Config, findings: Findings) -> None:
    """Add every problem of what telephones do together to `findings`."""
    _numbers(config, findings)
    _lists(config, findings)
    dials = [("speed_dials", config.speed_dials)]
    dials += [(f"extensions.{number}.speed_dials", entry.speed_dials) for number, entry in config.extensions.items()]
    for path, table in dials:
        for digits in table:
            if re.search(r"^[0-9]{2}$", digits) is None:
                findings.add(f"{path}.{digits}", None, "is not two digits", "allowed: 00 to 99")
    for name in config.groups:
        if _comes_back(config, name):
            remedy = "let the last group end at a queue, an extension or an announcement"
            findings.add(f"groups.{name}.otherwise", config.groups[name].otherwise, "leads back to this group", remedy)


def _lists(config: Config, findings: Findings) -> None:
    """Members of lists of lamps can be watched, and a list's own address is that of nothing else."""
    codes = config.features
    places = {f"{codes.unpark}{place}" for place in range(1, config.parking.places + 1)} if codes.unpark else set()
    known = {*config.extensions, *config.agents, *(f"line/{jack}" for jack in config.ports.fxo), *places}
    known |= {codes.night} if codes.night else set()
    for name, entry in config.lists.items():
        if name in known:
            findings.add(f"lists.{name}", None, "has the address of something that is watched by itself", "give the list another name")
        for index, member in enumerate(entry.members):
            if member not in known:
                remedy = "allowed: an extension, an agent, line/N, the code of the night key or of a parking place"
                findings.add(f"lists.{name}.members[{index}]", member, "cannot be watched", remedy)
            elif member in entry.members[:index]:
                findings.add(f"lists.{name}.members[{index}]", member, "is in the list already", "name each member once")


def _comes_back(config: Config, name: str) -> bool:
    """Whether a group's `otherwise` leads through groups to itself."""
    seen: set[str] = set()
    to = config.groups[name].otherwise
    while to.startswith("group/") and to not in seen:
        if to == f"group/{name}":
            return True
        seen.add(to)
        group = config.groups.get(to.removeprefix("group/"))
        to = group.otherwise if group is not None else ""
    return False


def _numbers(config: Config, findings: Findings) -> None:
    """Internal numbers of groups and rooms: unique, and told from every other number that may be dialled."""
    taken = {number: f"extensions.{number}" for number in config.extensions}
    taken |= dict.fromkeys(emergency_numbers(config.site.country, config.emergency_numbers), "an emergency number")
    prefixes = {route.prefix: f"outbound[{index}]" for index, route in enumerate(config.outbound) if route.prefix}
    named = [(f"groups.{name}.number", entry.number) for name, entry in config.groups.items()]
    named += [(f"rooms.{name}.number", entry.number) for name, entry in config.rooms.items()]
    named += [(f"pages.{name}.number", entry.number) for name, entry in config.pages.items()]
    for path, number in named:
        if not number:
            continue
        clash = next((where for one, where in taken.items() if one.startswith(number) or number.startswith(one)), "")
        clash = clash or next((where for one, where in prefixes.items() if number.startswith(one)), "")
        if clash:
            findings.add(path, number, f"cannot be told from {clash}", "use a number that begins differently")
        taken[number] = path
