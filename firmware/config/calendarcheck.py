"""Checks of opening hours, holidays, the calendar and accounts (L1, pure); see `crosscheck.py` for how."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import pairwise

from firmware.config import holidays as public
from firmware.config.problems import Findings, suggest
from firmware.config.schema.calendar import OpeningHours
from firmware.config.schema.tree import Config

SETS = (*public.WEEKDAYS, "half", "holiday")
BRANCHES = ("to", "at_lunch", "closed", "on_holiday", "night")


def calendar_check(config: Config, findings: Findings, prompts: Collection[str]) -> None:
    """Add every problem of the calendar to `findings`."""
    for name, hours in config.hours.items():
        for field in SETS:
            _spans(f"hours.{name}.{field}", getattr(hours, field), findings)
        if not any(getattr(hours, field) for field in public.WEEKDAYS):
            findings.add(f"hours.{name}", None, "is never open", 'give the days their hours, such as mon = ["08:30-12:00", "13:00-18:00"]')
    _circles(config, findings)
    for name, entry in config.holidays.items():
        path = f"holidays.{name}"
        dated = re.match(r"[0-9]{4}-", entry.first) is not None
        if entry.first.startswith("@"):
            known = next(iter(public.lunar().values()))
            if re.split(r"[+-]", entry.first[1:])[0] not in known:
                findings.add(f"{path}.first", entry.first, "is no day of the table", suggest(entry.first, [f"@{one}" for one in known]))
        elif not any(public.resolve(entry.first, year) for year in ([int(entry.first[:4])] if dated else range(2024, 2033))):
            remedy = "allowed: 2026-02-16, 02-16, easter+1, 2 mon 05, last mon 05"
            findings.add(f"{path}.first", entry.first, "is in no year a date", remedy)
        if entry.last and (not dated or entry.last < entry.first or public.resolve(entry.last, int(entry.last[:4])) is None):
            remedy = "give a date of a year that is not before `first`, which has one, too"
            findings.add(f"{path}.last", entry.last, "does not end a range", remedy)
        _spans(f"{path}.hours", entry.hours, findings)
        if entry.greeting and prompts and entry.greeting not in prompts:
            findings.add(f"{path}.greeting", entry.greeting, "is not a prompt", suggest(entry.greeting, prompts))
        if entry.day == "greeting" and not entry.greeting:
            findings.add(f"{path}.greeting", None, "is missing", "name the prompt that greets on these days")
    _official(config, findings)
    _accounts(config, findings)


def _accounts(config: Config, findings: Findings) -> None:
    pins: dict[str, str] = {}
    for name, account in config.accounts.items():
        path = f"accounts.{name}.pin"
        if account.pin in pins:
            findings.add(path, "(hidden)", f"is also that of account {pins[account.pin]}", "give each account a PIN of its own")
        elif len(set(account.pin)) < 3 or account.pin in "01234567890123" or account.pin in "98765432109876":
            findings.add(path, "(hidden)", "is easy to guess", "give mixed digits")
        pins.setdefault(account.pin, name)
    for index, route in enumerate(config.outbound):
        if route.account and not config.accounts:
            findings.add(f"outbound[{index}].account", "true", "can be used by nobody", "add an [accounts.NAME] with a pin, or remove it")


def _spans(path: str, spans: list[str], findings: Findings) -> None:
    ordered = sorted(spans)
    for earlier, later in pairwise(ordered):
        first, end = earlier.split("-")
        if end <= first or later[:5] < end:
            findings.add(path, later, f"overlaps {earlier}", "give spans of a day that follow one another")


def _circles(config: Config, findings: Findings) -> None:
    """Opening hours that lead to opening hours must come to an end, whatever the time is."""

    def onward(hours: OpeningHours) -> set[str]:
        return {to.removeprefix("hours/") for to in (getattr(hours, field) for field in BRANCHES) if to.startswith("hours/")}

    for name, hours in config.hours.items():
        seen: set[str] = set()
        todo = onward(hours)
        while todo:
            one = todo.pop()
            if one not in seen and one in config.hours:
                seen.add(one)
                todo |= onward(config.hours[one])
        if name in seen:
            findings.add(f"hours.{name}", None, "leads back to itself", "let one of these hours end at a queue, a menu or an announcement")


def _official(config: Config, findings: Findings) -> None:
    calendar = config.calendar
    code = config.site.country if calendar.country == "site" else calendar.country
    regions = () if code == "none" else public.country(code).regions
    if calendar.region and calendar.region not in regions:
        remedy = suggest(calendar.region, regions) if regions else "remove it"
        findings.add("calendar.region", calendar.region, f"is no region of {code} here", remedy)
    for year, plan in calendar.official.items():
        path = f"calendar.official.{year}"
        if re.fullmatch(r"20[0-9]{2}", year) is None:
            findings.add(path, None, "is not a year", "allowed: the year, such as [calendar.official.2027]")
            continue
        for field in ("off", "work"):
            for index, span in enumerate(getattr(plan, field)):
                first, _, last = span.partition("/")
                ends = [public.plain_date(int(year), one) for one in (first, last or first)]
                if None in ends or (last or first) < first:
                    findings.add(f"{path}.{field}[{index}]", span, "is no range of that year", "allowed: MM-DD, or MM-DD/MM-DD in order")
        if not plan.off:
            findings.add(path, None, "has no day off", "give the days of the year's plan: off and work")
