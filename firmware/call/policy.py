"""Rules of the requirements as data: what the box does about each, where it is set, what proves it (L1, pure; Z21).

Theory of operation. `data/requirements.txt` lists the ids of all requirements, `data/policy.toml` says for each either what the box does (a
`Policy`) or why it is not the box's (`left_out`); a test checks that no id is missing and that settings, evidence and report columns exist.
`in_force` joins that with a configuration: measures of single people are off where the country's profile says so, whatever else is set, and
what is measured of people is for a person to review: nothing in this product acts on such a measure.
"""

from __future__ import annotations

import pkgutil
import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import msgspec

from firmware.call.consent import consent
from firmware.config.schema.tree import Config

State = Literal["enforced", "offered", "measured"]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule; the head of `data/policy.toml` says what the fields mean."""

    id: str
    state: State
    default: str
    setting: str
    evidence: str
    report: str
    en: str
    zh: str
    people: bool = False


class Force(msgspec.Struct, frozen=True):
    """A rule at a site: `values` of its setting, by queue where it is one of each queue; `on` false: off for this country's people."""

    policy: Policy
    on: bool
    values: tuple[tuple[str, str], ...]


@cache
def policies() -> tuple[Policy, ...]:
    """Every rule that the box carries out, in the order of the file."""
    return msgspec.convert(_file()["rule"], tuple[Policy, ...])


@cache
def left_out() -> Mapping[str, str]:
    """Ids that are not the box's, with the reason."""
    found = _file()["not_here"]
    return {name: str(found[why]) for name, why in found["ids"].items()}


@cache
def requirements() -> tuple[str, ...]:
    """Ids of all requirements."""
    return tuple(_data("requirements.txt").split())


def page() -> str:
    """`docs/policy.md`: the table for people, in both languages."""
    lines = [
        "# Rules of the requirements, and what proves them",
        "",
        "Made from `firmware/call/data/policy.toml`; `show policy` has the values of a site. *Enforced*: the box does it by itself.",
        "*Offered*: where it is configured. *Measured*: it is counted and reported. What says something about one person is marked",
        "*people*: such measures are off where the country's profile says so (`firmware/call/data/consent.toml`), and a person always",
        "reviews them; nothing acts on them by itself.",
        "",
        "| id | rule | 规则 | state | default | setting | evidence | report |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in policies():
        state = f"{one.state}, people" if one.people else one.state
        named = (f"`{text}`" if text else "" for text in (one.setting, one.evidence, one.report))
        cells = (one.id, one.en, one.zh, state, one.default, *named)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Not the box's", "", "| why | ids |", "|---|---|"]
    reasons = sorted(set(left_out().values()))
    lines += [f"| {why} | {', '.join(sorted(name for name, one in left_out().items() if one == why))} |" for why in reasons]
    return "\n".join(lines) + "\n"


def in_force(config: Config) -> list[Force]:
    """Every rule as it holds at a site."""
    measured = consent(config).measures
    return [Force(one, measured or not (one.people and one.state == "measured"), _values(config, one.setting)) for one in policies()]


def _values(config: Config, setting: str) -> tuple[tuple[str, str], ...]:
    if not setting:
        return ()
    head, _, rest = setting.partition(".")
    if head == "queue":
        return tuple((name, _said(_walk(queue, rest))) for name, queue in config.queues.items())
    table = getattr(config, head)
    if rest and isinstance(table, dict | list):
        rows = table.items() if isinstance(table, dict) else ((str(number + 1), one) for number, one in enumerate(table))
        return tuple((f"{head}.{name}", _said(_walk(one, rest))) for name, one in rows)
    return ((setting, _said(_walk(table, rest) if rest else table)),)


def _walk(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _said(value: Any) -> str:
    """A value as a table shows it; tables and lists by their size."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict | list | tuple):
        return str(len(value))
    if isinstance(value, msgspec.Struct):
        return "on" if getattr(value, "enabled", True) else "off"
    return str(value)


def _file() -> dict[str, Any]:
    return tomllib.loads(_data("policy.toml"))


def _data(name: str) -> str:
    return (pkgutil.get_data("firmware.call", f"data/{name}") or b"").decode("utf-8")
