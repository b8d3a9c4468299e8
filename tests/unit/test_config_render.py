"""Text forms of a configuration: TOML that reads back, differences, the manual page."""

from __future__ import annotations

from pathlib import Path

import msgspec

from firmware.config.diff import Change, content_hash, diff, setting
from firmware.config.model import load
from firmware.config.render import reference, set_lines, to_toml
from firmware.config.schema.people import Extension
from firmware.config.schema.tree import Config

ROOT = Path(__file__).parents[2]
DEMO = load((ROOT / "board/world/site.toml").read_bytes(), file="site.toml")


def test_toml_reads_back_as_the_same_configuration() -> None:
    assert load(to_toml(DEMO).encode(), file="again") == DEMO


def test_defaults_are_not_written_and_do_not_change_the_hash() -> None:
    written = load(b'board = "world"\n[sip]\nport = 5060\nrealm = "branchpbx"\n', file="a")
    assert to_toml(written) == "schema = 1\n", "a file of ours names its version, also where that is this one"
    assert content_hash(written) == content_hash(Config())
    assert content_hash(DEMO) != content_hash(Config())


def test_set_lines_hide_secrets() -> None:
    config = msgspec.structs.replace(Config(), extensions={"201": Extension(kind="sip", secret="correct horse")})
    assert "set extensions.201.secret (hidden)" in set_lines(config)
    assert 'set extensions.201.secret "correct horse"' in set_lines(config, secrets=True)


def test_text_with_quotes_and_controls_survives() -> None:
    config = msgspec.structs.replace(Config(), note='say "hi" \\ 你好')
    assert load(to_toml(config).encode(), file="x") == config


def test_diff_names_paths_values_and_apply_class() -> None:
    new = msgspec.structs.replace(
        DEMO,
        sip=msgspec.structs.replace(DEMO.sip, port=5070),
        extensions={**DEMO.extensions, "205": Extension(kind="sip", secret="abcdefgh")},
    )
    del new.extensions["204"]
    changes = {change.path: change for change in diff(DEMO, new)}
    assert changes["sip.port"] == Change("sip.port", "added", None, 5070, "restart")
    assert changes["extensions.205.secret"].new == "(hidden)"
    assert changes["extensions.204.kind"].kind == "removed"
    assert diff(DEMO, DEMO) == []


def test_setting_tells_unit_and_description_through_tables_and_lists() -> None:
    assert setting("ports.fxo.1.echo_tail_ms").unit == "ms"
    assert setting("inbound[0].caller").description == "Caller number prefix, empty for all"
    assert setting("no.such.path").description == ""


def test_reference_page_is_current() -> None:
    page = ROOT / "docs/reference/configuration.md"
    assert page.read_text("utf-8") == reference(), "run: python -m firmware check --reference > docs/reference/configuration.md"
