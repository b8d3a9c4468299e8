"""Whatever stands in a site file, validation answers with problems or a configuration, and never anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from firmware.config.diff import content_hash, diff
from firmware.config.model import check, load
from firmware.config.render import to_toml
from firmware.config.schema.tree import Config

DEMO = (Path(__file__).parents[2] / "board/world/site.toml").read_text("utf-8")
NAMES = sorted({*msgspec.structs.asdict(Config()), "fxo", "fxs", "201", "main", "keys", "kind", "to", "prompt", "port"})
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70_000),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["sip", "fxs", "menu/main", "queue/x", "09:00"]),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)), max_leaves=12
)


def toml(value: Any) -> str:
    """Inline TOML of plain data."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{msgspec.json.encode(name).decode()} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value) if value == value and abs(value) != float("inf") else "inf"
    return msgspec.json.encode(value or "").decode().replace("\x7f", "\\u007f")


@given(st.dictionaries(st.sampled_from(NAMES), TREES, max_size=4))
def test_any_tree_is_judged(tree: dict[str, Any]) -> None:
    text = "\n".join(f"{name} = {toml(value)}" for name, value in tree.items())
    config, problems = check(text.encode(), file="x", zones={"Asia/Shanghai"}, prompts={"ivr.main"})
    assert (config is None) == bool(problems)
    assert all(problem.message and problem.remedy and problem.path for problem in problems)


@given(st.binary(max_size=60))
def test_any_bytes_are_judged(data: bytes) -> None:
    config, problems = check(data, file="x")
    assert (config is None) == bool(problems)


@given(st.integers(0, len(DEMO) - 1), st.integers(1, 40))
def test_a_hole_in_the_demo_site_is_judged(start: int, size: int) -> None:
    text = DEMO[:start] + DEMO[start + size :]
    config, problems = check(text.encode(), file="x")
    if config is not None:
        assert load(to_toml(config).encode(), file="y") == config
        assert content_hash(load(to_toml(config).encode(), file="y")) == content_hash(config)
        assert diff(config, config) == []
    else:
        assert problems
