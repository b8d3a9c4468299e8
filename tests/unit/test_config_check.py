"""What `check` says about site files: every mistake at once, each with path, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware.config.board import Board, parse_board
from firmware.config.model import check, load
from firmware.config.problems import ConfigErrors, Problem
from firmware.config.render import to_toml

ROOT = Path(__file__).parents[2]
DEMO = (ROOT / "board/world/site.toml").read_bytes()
BOARD = Board("world", "world", [0, 1, 2, 3], [4, 5, 6, 7])
BASE = """
[ports.fxo.1]
[ports.fxs.1]
[extensions.101]
kind = "fxs"
jack = "1"
[extensions.201]
kind = "sip"
[queues.sales]
[[inbound]]
to = "queue/sales"
"""


def problems(text: str) -> list[Problem]:
    config, found = check(
        text.encode(),
        file="site.toml",
        board=BOARD,
        zones={"Asia/Shanghai", "UTC"},
        prompts={"q.full", "xfer.fail", "ext.none", "night.msg", "ivr.main", "greet.morning", "greet.afternoon", "greet.evening"},
    )
    assert (config is None) == bool(found)
    return found


def paths(text: str) -> list[str]:
    return [problem.path for problem in problems(text)]


def test_demo_site_is_right() -> None:
    assert load(DEMO, file="site.toml", board=parse_board((ROOT / "board/world/board.toml").read_bytes(), "b")).site.name == "Demo branch"


def test_base_of_these_tests_is_right() -> None:
    assert problems(BASE) == []


def test_every_mistake_is_named_at_once_with_file_path_value_and_remedy() -> None:
    text = (
        BASE
        + """
[site]
time_zone = "Mars"
[sip]
port = 70000
[extensions.202]
kind = "spi"
[agents.8001]
queues = ["sale"]
[queues.help]
rng_s = 3
"""
    )
    found = {problem.path: problem for problem in problems(text)}
    assert set(found) == {"site.time_zone", "sip.port", "extensions.202.kind", "agents.8001.queues[0]", "queues.help.rng_s"}
    assert found["sip.port"].text() == "site.toml: sip.port = 70000: is too large; allowed: a whole number from 0 to 65535"
    assert found["extensions.202.kind"].remedy == "allowed: fxs, sip"
    assert "did you mean sales?" in found["agents.8001.queues[0]"].remedy
    assert "did you mean ring_s?" in found["queues.help.rng_s"].remedy
    with pytest.raises(ConfigErrors) as refused:
        load(text.encode(), file="site.toml", board=BOARD)
    assert str(refused.value).count("\n") >= 3


@pytest.mark.parametrize(
    ("added", "path"),
    [
        ("board = 3", "board"),
        ("emergency_callback_s = true", "emergency_callback_s"),
        ("day_parts = []", "day_parts"),
        ('day_parts = [{start = "06:00", greeting = "greet.morning"}]', "day_parts[0].start"),
        (
            'day_parts = [{start = "00:00", greeting = "greet.morning"}, {start = "00:00", greeting = "greet.evening"}]',
            "day_parts[1].start",
        ),
        ('day_parts = [{start = "24:00", greeting = "greet.morning"}]', "day_parts[0].start"),
        ('day_parts = [{start = "00:00", greeting = "greet.mornin"}]', "day_parts[0].greeting"),
        ('emergency_numbers = ["1x"]', "emergency_numbers[0]"),
        ("note = 3", "note"),
        ('[features]\npause = "*11"', "features.pause"),
        ('[features]\npause = "13"', "features.pause"),
        ("[sip]\nregistration_min_s = 3600\nregistration_max_s = 60", "sip.registration_min_s"),
        ("[sip]\nwss = true\nwss_port = 5061", "sip.wss_port"),
        ("[sip]\nwss = true\nwss_origins = [\"intranet.example\"]", "sip.wss_origins[0]"),
        ("[sip]\nwss = true\nwss_origins = [\"https://intranet.example/phone\"]", "sip.wss_origins[0]"),
        ("[rtp]\nfirst_port = 20001", "rtp.first_port"),
        ("[rtp]\njitter_min_ms = 200\njitter_max_ms = 100", "rtp.jitter_min_ms"),
        ("[ports.fxo.5]", "ports.fxo.5"),
        ("[ports.fxs.x]", "ports.fxs.x"),
        ('[extensions.102]\nkind = "fxs"', "extensions.102.jack"),
        ('[extensions.102]\nkind = "fxs"\njack = "1"', "extensions.102.jack"),
        ('[extensions.102]\nkind = "fxs"\njack = "4"', "extensions.102.jack"),
        ('[extensions.202]\nkind = "sip"\njack = "1"', "extensions.202.jack"),
        ('[extensions.202]\nkind = "sip"\nsecret = "1234"', "extensions.202.secret"),
        ('[extensions.202]\nkind = "sip"\nsrtp = "maybe"', "extensions.202.srtp"),
        ('[sip]\ntls = false\n[extensions.202]\nkind = "sip"\nsrtp = "required"', "extensions.202.srtp"),
        ('[extensions.110]\nkind = "sip"', "extensions.110"),
        ('[extensions.1101]\nkind = "sip"', "extensions.1101"),
        ('[extensions.11]\nkind = "sip"', "extensions.11"),
        ('[extensions.2011]\nkind = "sip"', "extensions.2011"),
        ('[extensions.abc]\nkind = "sip"', "extensions.abc"),
        ('[extensions.901]\nkind = "sip"\n[[outbound]]', "extensions.901"),
        ('[[outbound]]\nprefix = "110"', "outbound[0].prefix"),
        ('[[outbound]]\ngroup = "gsm"', "outbound[0].group"),
        ('[[outbound]]\npattern = "1.X"', "outbound[0].pattern"),
        ('[[outbound]]\nprefix = ""', "outbound[0].prefix"),
        ('[agents.8001]\npin = "1111"', "agents.8001.pin"),
        ('[queues.night]\non_timeout = "queue/days"', "queues.night.on_timeout"),
        ('[queues.night]\non_full = "announce/nosuch"', "queues.night.on_full"),
        ('[queues.night]\non_no_agent = "queue/night"', "queues.night.on_no_agent"),
        ('[menus.main]\nprompt = "ivr.main"\nkeys.1.to = "menu/main"\notherwise = "menu/main"', "menus.main"),
        ('[menus.main]\nprompt = "ivr.main"\nkeys.1.to = "queue/sales"\notherwise = "menu/main"', "menus.main.otherwise"),
        ('[menus.main]\nprompt = "ivr.main"\nkeys.1.to = "queue/sales"\nkeys.10.to = "queue/sales"', "menus.main.keys.10"),
        ('[menus.main]\nprompt = "ivr.main"\n[menus.main.keys]', "menus.main.keys"),
        ('[menus.main]\nkeys.1.to = "queue/sales"', "menus.main.prompt"),
        (
            '[site]\nlanguages = ["zh"]\n[menus.main]\nprompt = "ivr.main"\nkeys.1.to = "hangup"\nkeys.1.language = "en"',
            "menus.main.keys.1.language",
        ),
    ],
)
def test_mistake_is_named_by_its_path(added: str, path: str) -> None:
    text = added + BASE if not added.startswith("[") else BASE + added
    assert paths(text) == [path]


def test_encryption_may_be_demanded_where_browsers_alone_have_tls() -> None:
    assert paths(BASE + '[sip]\ntls = false\nwss = true\n[extensions.202]\nkind = "sip"\nsrtp = "required"') == []


def test_code_that_begins_others_names_them_all() -> None:
    found = {problem.path: problem for problem in problems(BASE + '[features]\npause = "*1"')}
    assert {"features.pause", "features.ready"} <= set(found) and all(path.startswith("features.") for path in found)
    assert "features.login (*11), features.logout (*12)" in found["features.pause"].message


def test_line_without_inbound_route_is_named() -> None:
    assert paths(BASE.replace("[[inbound]]", '[[inbound]]\ncaller = "010"')) == ["ports.fxo.1"]


def test_number_that_only_the_country_makes_an_emergency_number() -> None:
    text = BASE + '[extensions.911]\nkind = "sip"\n'
    assert paths(text) == []
    assert paths('emergency_numbers = ["911"]\n' + text) == ["extensions.911"]
    assert paths(text + '[site]\ncountry = "US"\n') == ["extensions.911"]


def test_wrong_toml_names_the_line() -> None:
    (problem,) = problems("a = = 3\n")
    assert "line 1" in problem.path
    (problem,) = problems("site = 3")
    assert problem.path == "site"


def test_not_utf8_is_one_problem() -> None:
    _, found = check(b"\xff\xfe", file="x")
    assert [problem.message for problem in found] == ["is not UTF-8 text"]


def test_newer_schema_is_refused_with_remedy() -> None:
    (problem,) = problems("schema = 99")
    assert "newer version" in problem.message


def test_secret_is_never_shown() -> None:
    text = BASE + '[extensions.202]\nkind = "sip"\nsecret = "hunter2"\n[agents.8001]\npin = "12ab"\n'
    assert not any("hunter2" in problem.text() or "12ab" in problem.text() for problem in problems(text))


TRUNK = BASE + '[trunks.a]\ndomain = "sip.example.com"\nuser = "0123"\nsecret = "s"\n'


def test_a_trunk_takes_the_values_of_its_template_and_keeps_its_own() -> None:
    config = load((TRUNK + 'template = "ims"\nexpires_s = 900\ncountry_code = "86"\n').encode(), file="site.toml")
    trunk = config.trunks["a"]
    assert (trunk.template, trunk.did_from, trunk.caller_id, trunk.expires_s) == ("", "p-called-party-id", "ppi", 900)


def test_a_value_that_is_the_default_again_beats_the_template() -> None:
    config = load((TRUNK + 'template = "ims"\ntrusted = false\nsend_as = "as-dialled"\n').encode(), file="site.toml")
    again = load(to_toml(config).encode(), file="site.toml")
    assert again == config and again.trunks["a"].trusted is False and again.trunks["a"].caller_id == "ppi"


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ('template = "nobody"\n', "trunks.a.template"),
        ('transport = "tls"\n[sip]\ntls = false\n', "trunks.a.transport"),
        ('srtp = "required"\n', "trunks.a.srtp"),
        ('accept_from = ["0.0.0.0/0"]\n', "trunks.a.accept_from[0]"),
        ('accept_from = ["carrier"]\n', "trunks.a.accept_from[0]"),
        ('send_as = "+e164"\n', "trunks.a.country_code"),
        ('caller_shown = "extension"\n', "trunks.a.number"),
        ('domain = "sip:example.com"\n', "trunks.a.domain"),
        ('[[outbound]]\ntrunks = ["b"]\n', "outbound[0].trunks[0]"),
        ('[toll]\noffice_start = "20:00"\n', "toll.office_end"),
        ('[trunks.b]\ndomain = "peer"\nkind = "static"\n[trunks.c]\ndomain = "PEER"\nkind = "static"\n', "trunks.c.domain"),
    ],
)
def test_mistakes_of_trunks_are_named(more: str, path: str) -> None:
    text = TRUNK + more
    if path == "trunks.a.domain":
        text = text.replace('domain = "sip.example.com"\n', "")
    assert path in paths(text)


def test_a_trunk_without_any_way_in_and_a_registering_one_without_user_are_named() -> None:
    text = BASE.replace('to = "queue/sales"', 'to = "queue/sales"\nlines = ["1"]') + '[trunks.a]\ndomain = "x"\n'
    assert {"trunks.a", "trunks.a.user", "trunks.a.secret"} <= set(paths(text))
    assert problems(text + 'kind = "static"\nbreak_out = "internal"\n') == []


def test_a_route_over_trunks_alone_needs_no_line() -> None:
    assert problems(TRUNK + '[[outbound]]\ntrunks = ["a"]\ngroup = ""\n') == []


def test_lists_of_lamps_name_what_can_be_watched_once() -> None:
    good = '[lists.desk]\nmembers = ["101", "201", "line/1", "*56", "*719", "8001"]\n[agents.8001]\nqueues = ["sales"]\n'
    assert problems(BASE + good) == []
    bad = '[lists.201]\nmembers = ["101"]\n'
    bad += '[lists.desk]\nmembers = ["299", "101", "101", "line/4", "*710"]\n[lists."a b"]\nmembers = ["101"]\n'
    assert sorted(paths(BASE + bad)) == [
        "lists.201", "lists.a b", "lists.desk.members[0]", "lists.desk.members[2]", "lists.desk.members[3]", "lists.desk.members[4]",
    ]  # fmt: skip
