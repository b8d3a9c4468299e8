"""The policy table: no requirement is missing, and what it names as setting, evidence and report column exists."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from firmware.call.policy import in_force, left_out, page, policies, requirements
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config
from firmware.reports.texts import TEXTS
from firmware.store.db import load_migrations, migrations_of
from tests.unit.call_stage import config

ROOT = Path(__file__).resolve().parent.parent.parent
FACTS = ROOT.parent / "shared" / "facts" / "call-centre-requirements.md"
CODE = "\n".join(path.read_text("utf-8") for folder in ("call", "core") for path in (ROOT / "firmware" / folder).glob("*.py"))


def columns() -> set[str]:
    """table.column of calls.db."""
    import sqlite3

    db = sqlite3.connect(":memory:")
    for _, _, sql in load_migrations(migrations_of("calls")):
        db.executescript(sql)
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {f"{table}.{row[1]}" for table in tables for row in db.execute(f"PRAGMA table_info({table})")}
    db.close()
    return found


def test_every_requirement_is_a_rule_or_left_out_with_a_reason() -> None:
    ruled, left = [one.id for one in policies()], set(left_out())
    assert len(ruled) == len(set(ruled))
    assert not set(ruled) & left
    assert set(ruled) | left == set(requirements())
    assert all(len(why) > 5 for why in left_out().values())


def test_the_list_of_requirements_is_that_of_the_facts() -> None:
    if not FACTS.exists():
        pytest.skip("the facts are not beside this checkout")
    found = re.findall(r"^\| ([A-Z]{2,3}-[0-9]{2})", FACTS.read_text("utf-8"), re.MULTILINE)
    assert set(found) == set(requirements())


@pytest.mark.parametrize("one", policies(), ids=lambda one: one.id)
def test_what_a_rule_names_exists(one: object) -> None:
    from firmware.call.policy import Policy

    assert isinstance(one, Policy)
    assert one.default and one.en and one.zh
    kind, _, name = one.evidence.partition(":")
    if kind in ("event", "log", "alarm"):
        assert f'"{name}"' in CODE, one.evidence
    else:
        assert one.evidence in columns(), one.evidence
    assert not one.report or one.report in TEXTS
    if one.setting:
        head, _, rest = one.setting.partition(".")
        node = Config if head != "queue" else None
        info = {field.name: field for field in msgspec.structs.fields(Config)}
        target = info["queues" if head == "queue" else head].type
        assert node is None or head in info
        if rest:
            assert _reaches(target, rest.split(".")), one.setting


def _reaches(kind: object, path: list[str]) -> bool:
    """Whether a type has such a field, through tables and lists."""
    found = [one for one in _structs(kind) if path[0] in one.__struct_fields__]
    if not found:
        return False
    field = next(field for field in msgspec.structs.fields(found[0]) if field.name == path[0])
    return len(path) == 1 or _reaches(field.type, path[1:])


def _structs(kind: object) -> list[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [one for argument in getattr(kind, "__args__", ()) for one in _structs(argument)]


def test_measures_of_people_are_off_where_the_country_says_so() -> None:
    for country, on in (("CN", True), ("DE", False), ("FR", False), ("UK", True)):
        found = {one.policy.id: one.on for one in in_force(config(site=Site(country=country, languages=["en"])))}
        assert found["ATT-07"] is on
        assert found["END-02"] is on
        assert found["ANS-01"] is True


def test_settings_are_shown_by_queue() -> None:
    found = {one.policy.id: dict(one.values) for one in in_force(config())}
    assert found["SYS-05"] == {"sales": "on", "service": "off"}
    assert found["ANS-01"] == {"reports.rings": "3"}


def test_the_page_of_the_policy_is_current() -> None:
    hint = "run: .venv/bin/python -c 'from firmware.call.policy import page; print(page(), end=str())' > docs/policy.md"
    assert (ROOT / "docs" / "policy.md").read_text("utf-8") == page(), hint
