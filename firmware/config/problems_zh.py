"""Problems of a configuration in Chinese (L1, pure).

Theory of operation
-------------------
The checks speak English where they find something; `problems_zh.toml` has each of their texts in Chinese, with {} for what is put in, in
the order of the English ({0}, {1} where the Chinese wants another). What is put in may be such a text itself. A text without a translation
comes back as it is; a test keeps the table whole.
"""

from __future__ import annotations

import pkgutil
import re
import tomllib
from functools import lru_cache

from firmware.config.forms import table


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """Texts with nothing put in, and the forms of the others, those with most words of their own first."""
    texts: dict[str, str] = tomllib.loads((pkgutil.get_data("firmware.config", "problems_zh.toml") or b"").decode())
    whole = {**dict(table().values()), **{english: told for english, told in texts.items() if "{}" not in english}}
    forms = sorted((one for one in texts.items() if "{}" in one[0]), key=lambda one: -len(one[0].replace("{}", "")))
    return whole, [(re.compile("(.+?)".join(map(re.escape, english.split("{}"))), re.DOTALL), told) for english, told in forms]


@lru_cache(maxsize=4096)
def chinese(text: str) -> str:
    """A message, remedy or range in Chinese; as it is where the table has no such text."""
    if not text:
        return ""
    whole, forms = _table()
    if text in whole:
        return whole[text]
    for pattern, form in forms:
        found = pattern.fullmatch(text)
        if found is not None:
            return form.format(*(whole.get(group, group) for group in found.groups()))
    return text


def allowed_of(remedy: str) -> str:
    """The range or the words of a remedy that names them; "" for another one."""
    head, mark, rest = remedy.partition("allowed: ")
    return mark + rest if mark and (not head or head.startswith("did you mean")) else ""
