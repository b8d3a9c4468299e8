"""Carrier templates: values for trunks as data, one TOML file for each (L1, pure).

Theory of operation
-------------------
A trunk that names a `template` gets the values of that file wherever it says nothing itself. This is done on the parsed site file,
before anything is checked, so a value of a template is checked like one that was written; the name of the template is gone then, and
what is shown or stored is the whole trunk. A new carrier is a new file here.
Invariant: a template never gives an address, a user or a password.
"""

from __future__ import annotations

import pkgutil
import tomllib
from typing import Any

NAMES = ("asterisk", "branch", "ims", "registering", "static-peer")


def values_of(name: str) -> dict[str, Any] | None:
    """Values of a template, None where there is none of this name."""
    if name not in NAMES:
        return None
    data = pkgutil.get_data(__name__, f"{name}.toml")
    return dict(tomllib.loads((data or b"").decode())["values"])


def expand(tree: dict[str, Any]) -> dict[str, Any]:
    """A parsed site file with the templates of its trunks written out; names that are no template stay for the check to find."""
    trunks = tree.get("trunks")
    if not isinstance(trunks, dict):
        return tree
    written = {}
    for name, trunk in trunks.items():
        template = trunk.get("template") if isinstance(trunk, dict) else None
        values = values_of(template) if isinstance(template, str) else None
        rest = {key: value for key, value in trunk.items() if key != "template"} if values is not None else trunk
        written[name] = rest if values is None else {**values, **rest}
    return {**tree, "trunks": written}
