"""Site files of older schema versions, made into what this version reads (L1, pure).

Theory of operation
-------------------
`UPGRADES[N]` turns the tree of version N into that of N + 1: a pure function named `upgrade_N_to_M`, with a golden pair of files in
`tests/vectors/upgrade`. They are applied one after the other. A tree of a newer version than this one is left as it is: validation refuses
it, and the configuration of before stays in force. A tree without `schema` is one that a person wrote for this version: whatever the
product writes (revisions, exports, backups) names its version, and a signed document says it beside the configuration. A function is given
trees that nobody has checked yet; one that it cannot read is refused like any other mistake in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from firmware.config.schema.tree import SCHEMA_VERSION

Tree = dict[str, Any]
UPGRADES: dict[int, Callable[[Tree], Tree]] = {}


def upgraded(tree: Tree, upgrades: Mapping[int, Callable[[Tree], Tree]] | None = None, newest: int = 0) -> Tree:
    """The tree in the newest schema version (0: this one's); the same object where there was nothing to do. Raises ValueError for a tree
    that cannot be read as what it says to be."""
    steps, newest = UPGRADES if upgrades is None else upgrades, newest or SCHEMA_VERSION
    version = tree.get("schema", newest)
    while isinstance(version, int) and not isinstance(version, bool) and version < newest and version in steps:
        try:
            tree = {**steps[version](tree), "schema": version + 1}
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{version}: {type(error).__name__}: {error}") from error
        version += 1
    return tree
