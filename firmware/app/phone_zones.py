"""The rule of a time zone for years to come, from the system's copy of the IANA data base."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from firmware.errors import ConfigError
from firmware.surfaces.phones.zones import Told, Zone, parse, tell


def rule_of(name: str) -> str:
    """The POSIX rule at the end of a zone's file (RFC 9636 section 3.3). Raises ConfigError."""
    zoneinfo.ZoneInfo(name)              # refuses what is no name of a zone, paths that lead elsewhere included
    files = [Path(folder, name) for folder in zoneinfo.TZPATH]
    data = next((file.read_bytes() for file in files if file.is_file()), None)
    if data is None:
        try:
            data = resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
        except (ModuleNotFoundError, OSError) as error:
            raise ConfigError(f"time zone {name}: no file of it on this box ({error}); install tzdata") from error
    lines = data.rsplit(b"\n", 2)
    if len(lines) != 3 or not lines[1]:
        raise ConfigError(f"time zone {name}: its file has no rule for the years to come; install a newer tzdata")
    return lines[1].decode("ascii", "replace")


def told_of(name: str, wall_ms: int) -> Told:
    """The zone for telephones; a rule that none of them can read becomes the offset of now. Raises ConfigError."""
    now = datetime.fromtimestamp(wall_ms / 1000, UTC).astimezone(zoneinfo.ZoneInfo(name)).utcoffset()
    seconds = int(now.total_seconds()) if now is not None else 0
    try:
        return tell(parse(rule_of(name)), seconds)
    except ConfigError:
        return tell(Zone(seconds), seconds)
