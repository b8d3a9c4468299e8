"""Every text with which the checks refuse a configuration is there in Chinese, too."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware.config.forms import table
from firmware.config.model import check
from firmware.config.problems_zh import allowed_of, chinese
from firmware.config.schema.tree import Config
from firmware.config.schema_zh import described

CONFIG = Path(__file__).parents[2] / "firmware/config"
CJK = re.compile(r"[\u4e00-\u9fff]")


def forms(node: ast.expr) -> list[str]:
    """The texts that an expression may be, with N for what is put in."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)]
    if isinstance(node, ast.IfExp):
        return forms(node.body) + forms(node.orelse)
    return []


def texts() -> list[tuple[str, str]]:
    """Message and remedy of each `findings.add(path, value, message, remedy)`, and what is assigned to `remedy` before."""
    found: set[tuple[str, str]] = set()
    for path in CONFIG.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
            if isinstance(node, ast.Call) and name in ("add", "_refuse") and len(node.args) >= 4:
                found |= {(path.name, text) for one in node.args[2:4] for text in forms(one)}
            elif isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "remedy" for one in node.targets):
                found |= {(path.name, text) for text in forms(node.value)}
    return sorted(found)


@pytest.mark.parametrize(("file", "text"), texts())
def test_each_text_is_there(file: str, text: str) -> None:
    assert CJK.search(chinese(text)), f"firmware/config/problems_zh.toml lacks {text!r} of {file}"


def test_there_are_texts_to_look_for() -> None:
    assert len(texts()) > 200


@pytest.mark.parametrize(
    "line",
    [
        "schema = 7", "schema = true", "board = 5", "sip.port = 99999", "sip.port = 'x'", "rtp.jitter_min_ms = 1.5",
        "site.languages = 'zh'",
        "site.languages = ['xx']", "site.languages = []", "site.country = 'ZZ'", "site.name = ''", "extensions = 1", "extensions.201 = {}",
        "extensions.201 = {kind = 'sip', lamp = 1}", "queus.sales = {}", "inbound = [{to = 'queue/none'}]",
        "site.time_zone = 'Asia/Shangai'",
        "x", "a = [", "agents.1 = {pin = 'x'}", "sip.wss_origins = ['nothing']", "queues.a.ring_s = 100000",
    ],
)  # fmt: skip
def test_what_people_see_is_chinese_all_over(line: str) -> None:
    _, problems = check(f"{line}\n".encode(), file="x", zones={"Asia/Shanghai"})
    assert problems
    for one in problems:
        if "TOML" not in one.remedy:  # what is no TOML is told in the parser's words
            assert CJK.search(chinese(one.message)), one.message
        assert CJK.search(chinese(one.remedy)), one.remedy
        assert not allowed_of(one.remedy) or CJK.search(chinese(allowed_of(one.remedy)))


def patterns() -> set[str]:
    """Every pattern that the schema holds a text to, keys of tables included."""
    found, todo, seen = set(), [msgspec.inspect.type_info(Config)], set()
    while todo:
        kind: Any = todo.pop()
        while isinstance(kind, msgspec.inspect.Metadata):
            kind = kind.type
        if isinstance(kind, msgspec.inspect.StrType) and kind.pattern is not None:
            found.add(kind.pattern)
        if isinstance(kind, msgspec.inspect.StructType) and kind.cls not in seen:
            seen.add(kind.cls)
            todo += [field.type for field in kind.fields]
        todo += [getattr(kind, name) for name in ("key_type", "value_type", "item_type") if hasattr(kind, name)]
        todo += getattr(kind, "types", ())
    return found


def test_each_form_of_a_text_is_told_in_words_of_both_languages() -> None:
    """No installer reads patterns: each has words, and no words are left of one that is gone."""
    assert patterns() == table().keys()
    for pattern, (english, told) in table().items():
        assert CJK.search(told) and not CJK.search(english) and not set(english) & set("^\\{}"), pattern
        for example in re.findall(r"such as ([^\s,]+)", english):
            assert re.search(pattern, example), (pattern, example)


def test_a_wrong_text_shows_the_words_of_its_form() -> None:
    problem = check(b'ports.fxo.1.number = "0105 5550001"\n', file="x")[1][0]
    assert problem.remedy == "allowed: text in quotes: a telephone number of at most 20 digits, + in front allowed, without spaces"
    assert chinese(problem.remedy) == "允许：文字（加引号）：最多 20 位的电话号码，前面可加 +，不含空格"
    problem = check(b'reports.mail = ["x"]\n', file="x")[1][0]
    assert "^" not in chinese(problem.remedy) and "anna@example.com" in chinese(problem.remedy)


def descriptions() -> set[str]:
    """Every text with which the schema describes a setting or a table."""
    found, todo, seen = set(), [msgspec.inspect.type_info(Config)], set()
    while todo:
        kind: Any = todo.pop()
        while isinstance(kind, msgspec.inspect.Metadata):
            found.add(str((kind.extra_json_schema or {}).get("description", "")))
            kind = kind.type
        if isinstance(kind, msgspec.inspect.StructType) and kind.cls not in seen:
            seen.add(kind.cls)
            found.add((kind.cls.__doc__ or "").strip().split("\n")[0])
            todo += [field.type for field in kind.fields]
        todo += [getattr(kind, name) for name in ("value_type", "item_type") if hasattr(kind, name)]
    return found - {""}


def test_settings_are_described_in_chinese() -> None:
    texts = descriptions()
    missing = sorted(text for text in texts if not CJK.search(described(text)))
    assert len(texts) > 400 and len(missing) <= len(texts) // 50, f"firmware/config/schema_zh.toml lacks {missing}"
