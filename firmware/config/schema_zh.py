"""Descriptions of settings in Chinese, by their English text (L1, pure)."""

from __future__ import annotations

import pkgutil
import tomllib
from functools import lru_cache


@lru_cache(maxsize=1)
def _table() -> dict[str, str]:
    return dict(tomllib.loads((pkgutil.get_data("firmware.config", "schema_zh.toml") or b"").decode()))


def described(english: str) -> str:
    """A description in Chinese; as it is where the table has none."""
    return _table().get(english, english)
