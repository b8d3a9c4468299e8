"""What a text of some form looks like, in words for people (L1, pure).

A pattern is exact and says nothing to somebody with a cable in the hand: `forms.toml` has words and an example for each pattern of the
schema, in both languages. A pattern that is not there shows itself.
"""

from __future__ import annotations

import pkgutil
import tomllib
from functools import lru_cache


@lru_cache(maxsize=1)
def table() -> dict[str, list[str]]:
    """Pattern to its words, English and Chinese; read when somebody made the first mistake."""
    found: dict[str, list[str]] = tomllib.loads((pkgutil.get_data("firmware.config", "forms.toml") or b"").decode())
    return found


def words(pattern: str) -> str:
    """A pattern in English words."""
    return table().get(pattern, [pattern])[0]
