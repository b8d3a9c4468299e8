"""The candidate: a configuration that is being written, one setting at a time, wholly or not at all (L1, pure).

Theory of operation
-------------------
The candidate is the tree of a site file, without defaults. `set` checks the one value against its type before anything changes; what
only the whole can tell (a name that is not defined yet, an entry whose kind is still missing) may be wrong for a while and is told with
each change as `problems`; a commit is refused for it. Every change works on a copy, and the copy takes the place of the tree at the end.
Each changed path remembers who changed it. Secrets go in and come out as "(hidden)"; a "(hidden)" that comes back means the secret that is
there already.
"""

from __future__ import annotations

import copy
import tomllib
from typing import Any

from msgspec import inspect

from firmware.config.diff import Setting, bare, flat_tree, kind_of, steps, word
from firmware.config.model import allowed, check_value
from firmware.config.problems import ConfigErrors, Findings, Problem, suggest
from firmware.config.render import HIDDEN

FILE = "candidate"
Tree = dict[str, Any]


class Candidate:
    """See the theory of operation. `tree` is replaced, never changed in place."""

    def __init__(self, tree: Tree, authors: dict[str, str] | None = None) -> None:
        self.tree = tree
        self.authors = dict(authors or {})

    def set(self, path: str, text: str, author: str) -> None:
        """Change one setting. Raises ConfigErrors; nothing has changed then."""
        way, kind, about = _resolve(path)
        findings = Findings(FILE)
        value = self._value(way, kind, about, path, text, findings)
        if not findings.problems and text.strip():  # an empty entry is filled by what comes next
            shown = HIDDEN if about.secret else value
            if not check_value(value, kind, path, findings) or findings.problems:
                findings.problems = [_hide(one) if about.secret else one for one in findings.problems] or [
                    Problem(FILE, path, str(shown), "cannot be used", allowed(kind, about.unit))
                ]
        if findings.problems:
            raise ConfigErrors(findings.problems)
        tree = copy.deepcopy(self.tree)
        _put(tree, way, value, path)
        self._take(tree, path, author)

    def delete(self, path: str, author: str) -> None:
        """Take a setting, or an entry with all below it, out. Raises ConfigErrors; nothing has changed then."""
        way, _, _ = _resolve(path)
        tree = copy.deepcopy(self.tree)
        _drop(tree, way, path)
        self._take(tree, path, author)

    def replace(self, tree: Tree, author: str) -> None:
        """Take a whole tree."""
        before, after = flat_tree(self.tree), flat_tree(tree)
        self.tree = tree
        for path in {*before, *after}:
            if before.get(path) != after.get(path) or (path in before) != (path in after):
                self.authors[path] = author

    def _take(self, tree: Tree, path: str, author: str) -> None:
        self.tree = tree
        below = f"{path}."
        for known in [one for one in self.authors if one.startswith((below, f"{path}["))]:
            del self.authors[known]
        self.authors[path] = author

    def author(self, path: str) -> str:
        """Who changed a path, or the entry around it, or something in it; "" where nobody did."""
        if path in self.authors:
            return self.authors[path]
        around = [one for one in self.authors if path.startswith((f"{one}.", f"{one}["))]
        if around:
            return self.authors[max(around, key=len)]
        return next((who for one, who in self.authors.items() if one.startswith((f"{path}.", f"{path}["))), "")

    def _value(self, way: list[str | int], kind: inspect.Type, about: Setting, path: str, text: str, findings: Findings) -> Any:
        inner = bare(kind)
        table = isinstance(inner, (inspect.StructType, inspect.DictType))
        text = text.strip()
        if not text:
            if not table:
                findings.add(path, None, "has no value", allowed(kind, about.unit))
            known = _get(self.tree, way)
            return known if isinstance(known, dict) else {}
        if text in (HIDDEN, f'"{HIDDEN}"') and about.secret:
            known = _get(self.tree, way)
            if known is None:
                findings.add(path, None, "has no secret that could be kept", "give the secret itself")
            return known
        return _read(text, inner, path, about, findings)


def secrets_kept(tree: Tree, known: Tree) -> Tree:
    """A tree whose "(hidden)" secrets are those of `known`: what was shown can be loaded again."""
    return _kept(tree, known, [])  # type: ignore[no-any-return]


def _kept(value: Any, known: Any, way: list[str | int]) -> Any:
    if isinstance(value, dict):
        return {name: _kept(item, known.get(name) if isinstance(known, dict) else None, [*way, name]) for name, item in value.items()}
    if isinstance(value, list):
        others = known if isinstance(known, list) else []
        return [_kept(item, others[index] if index < len(others) else None, [*way, index]) for index, item in enumerate(value)]
    if value == HIDDEN and isinstance(known, str):
        found = kind_of(way)
        return known if found is not None and found[1].secret else value
    return value


def path_of(way: list[str | int]) -> str:
    """Names and places as a path."""
    text = ""
    for step in way:
        text += f"[{step}]" if isinstance(step, int) else f".{word(step)}" if text else word(step)
    return text


def _refuse(path: str, value: str | None, message: str, remedy: str) -> ConfigErrors:
    findings = Findings(FILE)
    findings.add(path, value, message, remedy)
    return ConfigErrors(findings.problems)


def _hide(problem: Problem) -> Problem:
    return Problem(problem.file, problem.path, HIDDEN if problem.value else "", problem.message, problem.remedy)


def _resolve(path: str) -> tuple[list[str | int], inspect.Type, Setting]:
    """Names, type and facts of a path; the refusal names the first word that is wrong and what may stand there."""
    try:
        way = steps(path)
    except ValueError:
        raise _refuse(path, None, "is no path", "write names with dots between, like queues.sales.ring_s or inbound[0].to") from None
    for length in range(1, len(way) + 1):
        if kind_of(way[:length]) is None:
            before, around = path_of(way[: length - 1]), kind_of(way[: length - 1])
            assert around is not None
            inner, wrong = bare(around[0]), way[length - 1]
            if isinstance(inner, inspect.StructType) and isinstance(wrong, str):
                remedy = suggest(wrong, [field.encode_name for field in inner.fields])
            elif isinstance(inner, inspect.ListType):
                remedy = f"write {before}[0] for its first entry"
            else:
                remedy = f"{before} is one value, nothing is below it"
            raise _refuse(path_of(way[:length]), None, "is not a setting", remedy)
    found = kind_of(way)
    assert found is not None
    return way, *found


def _read(text: str, kind: inspect.Type, path: str, about: Setting, findings: Findings) -> Any:
    shown = HIDDEN if about.secret else text
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        findings.add(path, shown, "holds a control character", allowed(kind, about.unit))
        return None
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        value = None
    words = isinstance(kind, inspect.StrType) or (
        isinstance(kind, inspect.LiteralType) and all(isinstance(one, str) for one in kind.values)
    )
    if words and not isinstance(value, str):
        if text[:1] in ("'", '"'):
            findings.add(path, shown, "is text whose quotes do not close", allowed(kind, about.unit))
            return None
        return text
    if value is None:
        findings.add(path, shown, "is not a value as a site file writes it", allowed(kind, about.unit))
    return value


def _get(tree: Any, way: list[str | int]) -> Any:
    for step in way:
        if isinstance(step, int):
            if not isinstance(tree, list) or step >= len(tree):
                return None
            tree = tree[step]
        else:
            if not isinstance(tree, dict) or step not in tree:
                return None
            tree = tree[step]
    return tree


def _put(tree: Tree, way: list[str | int], value: Any, path: str) -> None:
    here: Any = tree
    for index, step in enumerate(way):
        last = index == len(way) - 1
        fresh: Any = value if last else [] if isinstance(way[index + 1], int) else {}
        if isinstance(step, int):
            if step > len(here):
                where = path_of(way[:index])
                raise _refuse(path, None, f"is beyond the end: {where} has {len(here)} entries", f"the next one is {where}[{len(here)}]")
            if step == len(here):
                here.append(fresh)
            elif last:
                here[step] = value
        elif last or step not in here:
            here[step] = fresh
        here = here[step]


def _drop(tree: Tree, way: list[str | int], path: str) -> None:
    if _get(tree, way) is None:
        near = [one for one in flat_tree(tree) if one.startswith(path_of(way[:1]))]
        raise _refuse(path, None, "is not set: it has its default already", suggest(path, near) if near else "nothing is set there")
    around: Any = _get(tree, way[:-1]) if len(way) > 1 else tree
    del around[way[-1]]
    # What only held it goes along, up to the entry of a table: that exists without values of its own.
    for length in range(len(way) - 1, 0, -1):
        found = _get(tree, way[:length])
        kind = kind_of(way[: length - 1])
        entry = kind is not None and isinstance(bare(kind[0]), (inspect.DictType, inspect.ListType))
        if found not in ({}, []) or entry:
            return
        holder: Any = _get(tree, way[: length - 1]) if length > 1 else tree
        del holder[way[length - 1]]
