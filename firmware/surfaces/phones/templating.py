"""A telephone's file from its facts: templates are data, run in a sandbox.

Each make has one template below `templates`. It sees the facts of `settings.py` and nothing else: jinja2's immutable sandbox refuses
Python's
attributes, an unknown name is an error, values are quoted for XML where the format is XML, and lose every control character where a line
end
would begin another setting. `secret` facts are absent, not empty, in a file without them: templates leave the setting out and the
telephone keeps
what it has.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = Path(__file__).parent / "templates"


def _one_line(value: Any) -> Any:
    """Text without anything that could end its line."""
    if not isinstance(value, str) or hasattr(value, "__html__"):      # numbers; what a macro of the template made
        return value
    return "".join(character for character in value if character >= " " and character != "\x7f")


@functools.cache
def _environment(markup: bool) -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, autoescape=markup, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    made.finalize = _one_line
    return made


def render(template: str, facts: dict[str, Any], *, markup: bool, line_end: str = "\n") -> bytes:
    """The file of `template`; `{fingerprint}` in it becomes ten digits that change with the content (Fanvil applies no file twice)."""
    text = _environment(markup).get_template(template).render(facts)
    if "{fingerprint}" in text:
        digits = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        text = text.replace("{fingerprint}", f"{digits:010d}", 1)
    return text.replace("\n", line_end).encode()
