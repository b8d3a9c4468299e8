"""`firmware/wire` and `firmware/rescue` keep to the subset of Python that MicroPython runs: looked up in the source, without running it.

What runs there is proved by tests/micropython and tests/unit/test_rescue_program.py; this test says at once, and where, when a file leaves
the subset.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [path for part in ("wire", "rescue") for path in sorted((ROOT / "firmware" / part).glob("*.py"))]
SHELLS = {"rescue/system.py", "rescue/main.py", "rescue/service.py"}
SHELL_MODULES = {"json", "os", "select", "socket", "sys", "time"}
MODULES = {"struct", "binascii", "hashlib"}
NODES = (
    ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await, ast.Match, ast.TryStar, ast.JoinedStr, ast.NamedExpr, ast.YieldFrom,
)  # fmt: skip
# Methods and functions that MicroPython's builtins do not have.
ABSENT = {
    "hex", "fromhex", "removeprefix", "removesuffix", "translate", "maketrans", "isascii", "casefold", "zfill", "expandtabs", "format_map",
    "bit_length", "bit_count", "ljust", "rjust", "swapcase", "isidentifier", "fromkeys_", "setdefault_", "as_integer_ratio", "breakpoint",
    "vars", "__init_subclass__", "__set_name__", "__slots__", "__post_init__",
}  # fmt: skip


def faults(text: str, shell: bool = False) -> Iterator[str]:
    """What of the source is outside the subset."""
    tree = ast.parse(text)
    modules = MODULES | SHELL_MODULES if shell else MODULES
    only_checked = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        line = f"line {getattr(node, 'lineno', 0)}"
        if id(node) in only_checked:
            continue
        if isinstance(node, NODES):
            yield f"{line}: {type(node).__name__}"
        elif isinstance(node, ast.Import):
            yield from (f"{line}: imports {one.name}" for one in node.names if one.name not in modules)
        elif isinstance(node, ast.ImportFrom):
            if node.level or not (node.module in modules or (node.module or "").startswith(("firmware.wire", "firmware.rescue"))):
                yield f"{line}: imports from {node.module}"
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            if node.decorator_list:
                yield f"{line}: a decorator"
            if isinstance(node, ast.FunctionDef) and (node.args.posonlyargs or node.args.kwonlyargs):
                yield f"{line}: positional-only or keyword-only arguments"
            if isinstance(node, ast.ClassDef) and node.keywords:
                yield f"{line}: keywords of a class"
        elif isinstance(node, ast.Attribute) and node.attr in ABSENT:
            yield f"{line}: .{node.attr} is not there"
        elif isinstance(node, ast.Constant) and isinstance(node.value, complex):
            yield f"{line}: a complex number"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_the_rescue_runs_keeps_to_the_subset(path: Path) -> None:
    name = f"{path.parent.name}/{path.name}"
    assert not list(faults(path.read_text(encoding="utf-8"), name in SHELLS))
    if path.parent.name == "wire":
        assert "firmware.rescue" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "import typing\n", "from dataclasses import dataclass\n", "from enum import Enum\n", "import asyncio\n", "x = f'{1}'\n",
        "async def f(): ...\n", "def f(*, a): ...\n", "def f(a, /): ...\n", "match 1:\n    case 1: ...\n", "b''.hex()\n",
        "from ..errors import PbxError\n", "import os\n", "@property\ndef f(self): ...\n",
    ],
)  # fmt: skip
def test_the_check_finds_what_it_must(text: str) -> None:
    assert list(faults(text))


def test_types_may_be_imported_for_the_checker_only() -> None:
    assert not list(faults("TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from typing import Any\n"))
    assert len(FILES) >= 18
