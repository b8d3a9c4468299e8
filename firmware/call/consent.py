"""Who must know that a call is recorded or listened to: the country's profile as data (L1, pure; I1, QM-03).

Theory of operation
-------------------
`data/consent.toml` has a table for each country of the configuration and for the variants of one ("US-ALL"), each with its sources. The
rules below ask the profile, never the country code. `recording.consent` chooses: "country" is the table of `site.country`, "all" asks for
every party's knowledge whatever the country says: a setting can ask for more than the law, never for less.
Invariant: a file that misses a table or a field does not load (a test reads it).
"""

from __future__ import annotations

import pkgutil
import tomllib
from functools import cache
from typing import Final, Literal

import msgspec

from firmware.config.schema.tree import Config

PROFILES: Final = ("CN", "US", "US-ALL", "UK", "DE", "FR", "AU")


class Consent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of `data/consent.toml`, whose head says what the fields mean."""

    outside: Literal["notice", "none"]
    inside: Literal["notice", "internal", "informed"]
    on_demand: bool
    emergency: bool
    listen: Literal["notice", "informed"]
    listen_tone: bool
    measures: bool
    keep_days: int
    sources: tuple[str, ...]


@cache
def profiles() -> dict[str, Consent]:
    """Every table by name. Raises msgspec.ValidationError where the file is not as it must be."""
    data = pkgutil.get_data("firmware.call", "data/consent.toml") or b""
    return msgspec.convert(tomllib.loads(data.decode("utf-8")), dict[str, Consent])


def consent_name(config: Config) -> str:
    """Name of the table that holds for a site."""
    country = config.site.country
    return f"{country}-ALL" if config.recording.consent == "all" and f"{country}-ALL" in PROFILES else country


def consent(config: Config) -> Consent:
    """The table that holds for a site, with what the site asks for beyond it."""
    found = profiles()[consent_name(config)]
    if config.recording.consent == "all":
        found = msgspec.structs.replace(found, outside="notice", inside="notice", listen="notice")
    return found
