"""Telephone numbers between what people dial and what a trunk wants to see (L1, pure).

Theory of operation
-------------------
A *plan* says how numbers are written here: country code, the prefix of national and of international numbers, the area code. A
dialled number is read by it into E.164 and written in the form that the trunk wants; a number of the trunk goes the other way, so
that a telephone can call it back. Then come the rules of the trunk, in order; the first that fits is applied (ITU-T E.164, E.123).
Invariants: what cannot be read as a number (short service numbers, letters, keys) passes unchanged but for the rules; an emergency
number never comes here; a result is never empty unless the number was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

#: Shorter ones are services of the network (ITU-T E.129): they have no country code.
SHORTEST = 7
LONGEST = 15


class Plan(Protocol):
    """How numbers are written: fields of `config/schema/trunks.py`."""

    @property
    def country_code(self) -> str: ...
    @property
    def area_code(self) -> str: ...
    @property
    def national_prefix(self) -> str: ...
    @property
    def international_prefix(self) -> str: ...


class Rule(Protocol):
    """One rule: numbers that begin with `begins` lose `strip` digits and get `prepend` in front."""

    @property
    def begins(self) -> str: ...
    @property
    def strip(self) -> int: ...
    @property
    def prepend(self) -> str: ...


def to_e164(number: str, plan: Plan, *, network: bool = False) -> str:
    """Digits of E.164 without +, "" where the number is none. `network`: of a peer, which may leave all prefixes out."""
    digits = number.removeprefix("+")
    if not digits.isascii() or not digits.isdigit():
        return ""
    if number.startswith("+"):
        return digits if SHORTEST <= len(digits) <= LONGEST else ""
    if not plan.country_code or len(digits) < SHORTEST:
        return ""
    if plan.international_prefix and digits.startswith(plan.international_prefix):
        found = digits[len(plan.international_prefix):]
    elif plan.national_prefix and digits.startswith(plan.national_prefix):
        found = plan.country_code + digits[len(plan.national_prefix):]
    elif network and digits.startswith(plan.country_code) and len(digits) > SHORTEST + len(plan.country_code):
        found = digits
    else:
        found = plan.country_code + plan.area_code + digits
    return found if SHORTEST <= len(found) <= LONGEST else ""


def written(number: str, plan: Plan, form: str) -> str:
    """`number` in a form: "as-dialled", "+e164", "e164" (no +) or "national" (as people here dial it)."""
    if form == "as-dialled":
        return number
    found = to_e164(number, plan)
    if not found:
        return number
    if form == "+e164":
        return "+" + found
    return found if form == "e164" else _national(found, plan)


def _national(e164: str, plan: Plan) -> str:
    own = bool(plan.country_code) and e164.startswith(plan.country_code)
    return plan.national_prefix + e164[len(plan.country_code):] if own else plan.international_prefix + e164


def ruled(number: str, rules: Sequence[Rule]) -> str:
    """`number` after the first rule that fits."""
    for rule in rules:
        if number.startswith(rule.begins):
            changed = rule.prepend + number[rule.strip:]
            return changed or number
    return number


def from_network(number: str, plan: Plan) -> str:
    """A number that a trunk told, as people here dial it; unchanged where it is none or nothing is known of the plan."""
    found = to_e164(number, plan, network=True) if plan.country_code else ""
    return _national(found, plan) if found else number
