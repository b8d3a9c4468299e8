"""Classes of service: which phone may dial how far (L1, pure)."""

from __future__ import annotations

from firmware.config.schema.people import Extension

#: From nearest to farthest; a phone may dial its own class and every nearer one.
CLASSES = ("internal", "local", "national", "international")


def allowed(extension: Extension | None, needed: str) -> bool:
    """Whether a phone may dial a route of class `needed`. An unknown or locked phone may dial internal numbers only.

    Emergency numbers never come here (`call/emergency.py`).
    """
    return reaches("internal" if extension is None or extension.locked else extension.permission, needed)


def reaches(granted: str, needed: str) -> bool:
    """Whether class `granted` includes class `needed`."""
    return CLASSES.index(granted) >= CLASSES.index(needed)
