"""The candidate, the plan and the words of paths: wholly or not at all, told beforehand, in both languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.app.checking import report
from firmware.app.site import read_site
from firmware.config import plan
from firmware.config.candidate import Candidate, path_of, secrets_kept
from firmware.config.diff import changes, diff, flat, flat_tree, plain, setting, steps
from firmware.config.elders import with_gone
from firmware.config.jsonschema import document
from firmware.config.model import check, load
from firmware.config.problems import ConfigErrors
from firmware.config.render import HIDDEN, set_lines, set_lines_of, toml_of
from firmware.config.schema.base import APPLY_CLASSES
from firmware.config.schema.calls import Queue
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.ports import FxoLine, FxsPhone
from firmware.config.schema.tree import Config
from firmware.config.upgrade import UPGRADES, upgraded
from firmware.config.words import words

ROOT = Path(__file__).parents[2]
DEMO = load((ROOT / "board/world/site.toml").read_bytes(), file="demo")


def candidate() -> Candidate:
    return Candidate(plain(DEMO))


def refused(path: str, value: str | None) -> str:
    one = candidate()
    before = json.dumps(one.tree)
    with pytest.raises(ConfigErrors) as told:
        if value is None:
            one.delete(path, "ann")
        else:
            one.set(path, value, "ann")
    assert json.dumps(one.tree) == before and one.authors == {}
    return str(told.value)


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("queues.sales.ring_s", "2000", "from 5 to 120 s"),
        ("queues.sales.ring_s", "soon", "from 5 to 120 s"),
        ("queues.sales.ring_s", "", "has no value"),
        ("queues.sales.rings", "5", "did you mean ring_s"),
        ("queue.sales.ring_s", "5", "did you mean queues"),
        ("queues", "5", "is not a table"),
        ("site.country", "ZZ", "allowed: AU, CN"),
        ("site.name.x", "5", "is one value"),
        ("inbound.to", "queue/sales", "inbound[0]"),
        ("inbound[40].to", "queue/sales", "beyond the end"),
        ("a..b", "5", "is no path"),
        ("site.name", "a\nb", "control character"),
        ("site.name", '"open', "quotes do not close"),
        ("site.languages", '["zh", "xx"]', "site.languages[1]"),
        ("queues.sales.hours", None, "has its default already"),
        ("extensions.201.secret", HIDDEN, "no secret that could be kept"),
    ],
)
def test_a_wrong_change_names_the_remedy_and_changes_nothing(path: str, value: str | None, word: str) -> None:
    assert word in refused(path, value)


def test_values_are_read_as_a_site_file_writes_them_and_words_as_text() -> None:
    one = candidate()
    one.set("site.name", "North branch", "ann")
    one.set("queues.sales.ring_s", "25", "ann")
    one.set("queues.sales.record", "true", "ann")
    one.set("extensions.299", "", "bo")
    one.set("extensions.299.kind", "sip", "bo")
    one.set("extensions.299.jack", "1", "bo")
    one.set('extensions.299.speed_dials."07"', '"201"', "bo")
    tree = one.tree
    assert (tree["site"]["name"], tree["queues"]["sales"]["ring_s"], tree["queues"]["sales"]["record"]) == ("North branch", 25, True)
    assert tree["extensions"]["299"] == {"kind": "sip", "jack": "1", "speed_dials": {"07": "201"}}
    assert (one.author("extensions.299.kind"), one.author("extensions.299"), one.author("site.name")) == ("bo", "bo", "ann")
    one.delete("extensions.299.jack", "cy")
    one.delete("extensions.299.speed_dials.07", "cy")
    assert one.tree["extensions"]["299"] == {"kind": "sip"}
    one.delete("extensions.299", "cy")
    assert "299" not in one.tree["extensions"] and plain(DEMO)["extensions"] == one.tree["extensions"]


def test_secrets_go_in_and_are_not_shown_and_a_hidden_one_stays() -> None:
    one = candidate()
    one.set("extensions.201.secret", "correct-horse-7", "ann")
    shown = "\n".join(set_lines_of(one.tree))
    assert "correct-horse-7" not in shown and f"set extensions.201.secret {HIDDEN}" in shown
    one.set("extensions.201.secret", HIDDEN, "bo")
    assert one.tree["extensions"]["201"]["secret"] == "correct-horse-7"
    loaded = secrets_kept({"extensions": {"201": {"kind": "sip", "secret": HIDDEN}}, "site": {"name": HIDDEN}}, one.tree)
    assert loaded == {"extensions": {"201": {"kind": "sip", "secret": "correct-horse-7"}}, "site": {"name": HIDDEN}}
    found = changes(flat(DEMO), flat_tree(one.tree))
    assert [(change.path, change.new) for change in found] == [("extensions.201.secret", HIDDEN)]


def test_set_lines_paste_back() -> None:
    one = Candidate({})
    for line in set_lines(DEMO, secrets=True):
        _, path, *value = line.split(" ", 2)
        one.set(path, value[0] if value else "", "ann")
    assert load(toml_of(one.tree).encode(), file="x") == DEMO


@given(
    st.sampled_from(sorted(flat(DEMO))),
    st.text(max_size=12) | st.sampled_from(["1", "true", "[]", "{}", '"x"', "-1", "1e999", "1979-05-27"]),
)
def test_any_value_is_taken_whole_or_refused_with_a_remedy(path: str, value: str) -> None:
    one = candidate()
    before = one.tree
    try:
        one.set(path, value, "ann")
    except ConfigErrors as error:
        assert one.tree is before and error.problems and all(problem.remedy for problem in error.problems)
        return
    config, problems = check(toml_of(one.tree).encode(), file="x")
    assert (config is None) == bool(problems)


@given(st.text(max_size=30))
def test_any_path_is_refused_or_taken(path: str) -> None:
    one = candidate()
    before = json.dumps(one.tree)
    try:
        one.set(path, "1", "ann")
    except ConfigErrors:
        assert json.dumps(one.tree) == before
    words(path, one.tree)


@given(st.lists(st.one_of(st.text(min_size=1, max_size=6), st.integers(0, 99)), min_size=1, max_size=5))
def test_paths_are_read_as_they_are_written(way: list[str | int]) -> None:
    if isinstance(way[0], str):
        assert steps(path_of(way)) == way


# --- the plan -----------------------------------------------------------------------------------------------------------------


def changed(**tables: Any) -> Config:
    return msgspec.structs.replace(DEMO, **tables)


def classes(new: Config) -> dict[str, str]:
    return {row.path: row.apply for row in plan.rows(DEMO, new)}


def test_the_plan_says_of_each_path_how_it_takes_effect() -> None:
    sip = msgspec.structs.replace(DEMO.sip, port=5070, keep_alive_s=30)
    rtp = msgspec.structs.replace(DEMO.rtp, jitter_max_ms=150)
    extensions = {**DEMO.extensions, "298": Extension(kind="sip")}
    found = classes(changed(sip=sip, rtp=rtp, extensions=extensions, board="am335x"))
    assert found == {
        "sip.port": "restart", "sip.keep_alive_s": "control", "rtp.jitter_max_ms": "calls-drain", "extensions.298.kind": "live",
        "board": "reboot",
    }  # fmt: skip
    assert plan.farthest(plan.rows(DEMO, changed(sip=sip, rtp=rtp))) == "restart"
    assert plan.farthest([]) == "live"


def test_ports_wait_for_their_own_calls_only() -> None:
    jack = next(iter(DEMO.ports.fxs))
    owner = next(number for number, entry in DEMO.extensions.items() if entry.jack == jack)
    ports = msgspec.structs.replace(
        DEMO.ports, fxo={**DEMO.ports.fxo, "9": FxoLine()}, fxs={**DEMO.ports.fxs, jack: FxsPhone(echo_tail_ms=64)}
    )  # fmt: skip
    new = changed(ports=ports)
    rows = plan.rows(DEMO, new)
    assert {row.apply for row in rows if row.path != f"ports.fxs.{jack}"} == {"restart-port"}
    assert plan.ports_of(rows, DEMO, new) == {"line/9", owner, f"fxs/{jack}"}
    moved = changed(extensions={**DEMO.extensions, owner: msgspec.structs.replace(DEMO.extensions[owner], jack="7")})
    assert plan.ports_of(plan.rows(DEMO, moved), DEMO, moved) == {owner, f"fxs/{jack}", "fxs/7"}


def test_each_class_has_its_words_and_a_fingerprint_of_its_own() -> None:
    assert set(plan.SAYS) == set(APPLY_CLASSES) == set(plan.digests(DEMO))
    before = plan.digests(DEMO)
    after = plan.digests(changed(rtp=msgspec.structs.replace(DEMO.rtp, calls=32)))
    assert [name for name in APPLY_CLASSES if before[name] != after[name]] == ["restart"]


# --- calls of an earlier configuration ----------------------------------------------------------------------------------------------


def test_entries_that_are_gone_are_kept_for_calls_that_began_before() -> None:
    old = Config(queues={"a": Queue(ring_s=11), "b": Queue()}, agents={"1": Agent()})
    new = Config(queues={"b": Queue(ring_s=12)})
    rules = with_gone(new, old)
    assert rules.queues == {"b": Queue(ring_s=12), "a": Queue(ring_s=11)} and rules.agents == {"1": Agent()}
    assert with_gone(new, old, ("queues",)).agents == {}
    assert with_gone(old, new) is old


# --- schema versions ----------------------------------------------------------------------------------------------------------------


def test_older_versions_are_upgraded_step_by_step_and_newer_ones_are_left() -> None:
    def upgrade_1_to_2(tree: dict[str, Any]) -> dict[str, Any]:
        return {("b" if name == "a" else name): value for name, value in tree.items()}

    def upgrade_2_to_3(tree: dict[str, Any]) -> dict[str, Any]:
        return {**tree, "c": tree["b"] * 2}

    given = {"schema": 1, "a": 4}
    assert upgraded(given, {1: upgrade_1_to_2, 2: upgrade_2_to_3}, 3) == {"schema": 3, "b": 4, "c": 8}
    assert given == {"schema": 1, "a": 4}
    for tree in ({"schema": 3, "b": 1}, {"schema": 9}, {"b": 1}, {"schema": "x"}, {"schema": True}):
        assert upgraded(tree, {1: upgrade_1_to_2}, 3) is tree
    with pytest.raises(ValueError, match=r"^2: KeyError: 'b'$"):
        upgraded({"schema": 2}, {2: upgrade_2_to_3}, 3)


def test_each_older_version_has_its_upgrade_and_its_golden_files() -> None:
    from firmware.config.schema.tree import SCHEMA_VERSION

    assert sorted(UPGRADES) == list(range(1, SCHEMA_VERSION))
    for version, upgrade in UPGRADES.items():
        assert upgrade.__name__ == f"upgrade_{version}_to_{version + 1}"
        folder = ROOT / "tests/vectors/upgrade"
        before, after = (load_tree(folder / f"{version}-{side}.toml") for side in ("before", "after"))
        assert {**upgrade(before), "schema": version + 1} == after


def load_tree(path: Path) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(path.read_text("utf-8"))


# --- words and schema ---------------------------------------------------------------------------------------------------------------


def test_words_lead_from_the_root_to_a_value() -> None:
    tree = plain(DEMO)
    assert {"site", "queues", "extensions"} <= {one.word for one in words("", tree)}
    assert [one.word for one in words("que", tree)] == ["queues"]
    assert {"sales", "<name>"} <= {one.word for one in words("queues.", tree)}
    (ring,) = words("queues.sales.ring_s", tree)
    assert (ring.kind, ring.about.unit, ring.default) == ("value", "s", "20") and "5 to 120" in ring.allowed
    assert [one.word for one in words("site.country", tree)] == ["AU", "CN", "DE", "FR", "UK", "US"]
    assert [one.word for one in words("queues.sales.record", tree)] == ["true", "false"]
    assert {one.word for one in words("inbound[0].t", tree)} == {"to", "trunks"}
    assert [one.word for one in words("inbound.", tree)] == [f"[{index}]" for index in range(len(DEMO.inbound) + 1)]
    assert words("nothing.here.", tree) == []
    assert [one.about.secret for one in words("extensions.201.secret", tree)] == [True]


def test_what_a_table_says_holds_for_what_is_in_it() -> None:
    assert setting("queues.sales.ring_s").role == "supervisor"
    assert setting("users.ann.name").role == "admin"
    assert setting("extensions.201.secret").secret
    assert setting("no.such.thing").description == ""


def test_the_json_schema_names_every_setting_and_its_references_are_there() -> None:
    schema = document()
    text = json.dumps(schema)
    for name in {part.split('"')[0] for part in text.split("#/$defs/")[1:]}:
        assert name in schema["$defs"]
    queue = schema["$defs"]["Queue"]["properties"]
    assert set(queue) == {field.encode_name for field in msgspec.structs.fields(Queue)}
    assert (queue["ring_s"]["minimum"], queue["ring_s"]["x-unit"]) == (5, "s")
    assert schema["$defs"]["Extension"]["properties"]["secret"]["writeOnly"] is True
    assert schema["$defs"]["Config"]["additionalProperties"] is False


@pytest.mark.parametrize(("language", "words"), [("en", ["is too large", "has 2 mistakes"]), ("zh", ["太大", "有 2 处错误"])])
def test_check_lists_every_mistake_at_once(tmp_path: Path, language: str, words: list[str]) -> None:
    path = tmp_path / "site.toml"
    path.write_text('site.languages = ["xx"]\n[queues.a]\nring_s = 9999\n')
    text, status = report(read_site(path), language, False)
    assert status == 2 and all(word in text for word in words)
    facts = json.loads(report(read_site(path), language, True)[0])
    assert [one["path"] for one in facts["errors"]] == ["site.languages[0]", "queues.a.ring_s"]
    assert facts["errors"][1]["allowed_zh"] == "允许：5 到 120 s 的整数"


def test_a_bare_entry_that_gets_a_value_is_no_entry_that_goes() -> None:
    before = Config(queues={"a": Queue()})
    after = Config(queues={"a": Queue(ring_s=11)})
    assert [(one.path, one.kind) for one in diff(before, after)] == [("queues.a.ring_s", "added")]
    assert [(one.path, one.kind) for one in diff(after, before)] == [("queues.a.ring_s", "removed")]
