"""Extensions from CSV: each row's fate, what is laid over, what is refused and why; and back."""

from __future__ import annotations

import random
import tomllib
from typing import Any

import pytest

from firmware.config.importing import MOST_ROWS, Plan, plan, table
from firmware.config.model import check, load
from firmware.config.problems import Problem
from firmware.config.render import toml_of

BASE = """
[extensions.201]
kind = "sip"
name = "Anna"
secret = "old-secret-201"
permission = "national"
[extensions.301]
kind = "fxs"
jack = "1"
[ports.fxs.1]
[mail]
host = "mail.example.com"
sender = "pbx@example.com"
"""
HEAD = (
    "extension,password,name,voicemail,ringtimer,outboundcid,tech,secret,voicemail_enable,voicemail_vmpwd,voicemail_email,"
    "voicemail_options"
)


def verdict(tree: dict[str, Any]) -> list[Problem]:
    return check(toml_of(tree).encode(), file="import")[1]


def planned(*rows: str, head: str = HEAD, base: str = BASE) -> Plan:
    return plan(tomllib.loads(base), "\r\n".join([head, *rows]), verdict)


def fates(outcome: Plan) -> list[tuple[str, str]]:
    return [(row.extension, row.fate) for row in outcome.rows]


def test_a_table_of_freepbx() -> None:
    outcome = planned(
        '202,,Bob Jones,novm,0,"""Branch"" <01012345678>",pjsip,kq8-ZMw2-pp1,,,,',
        "203,,张伟,default,25,,pjsip,aa8-ZMw2-pp2,yes,4711,zhang@example.com,attach=no|saycid=no|delete=yes",
        "201,,Anna Li,novm,0,,pjsip,,,,,",
    )
    assert not outcome.problem
    assert fates(outcome) == [("202", "added"), ("203", "added"), ("201", "changed")]
    assert outcome.rows[2].changes == ("name",)
    assert outcome.ignored == ("password",)
    extensions = outcome.tree["extensions"]
    assert extensions["202"] == {"kind": "sip", "name": "Bob Jones", "secret": "kq8-ZMw2-pp1", "outside_number": "01012345678"}
    assert extensions["203"]["ring_s"] == 25
    assert extensions["201"] == {"kind": "sip", "name": "Anna Li", "secret": "old-secret-201", "permission": "national"}
    assert outcome.tree["mailboxes"]["203"] == {
        "extensions": ["203"], "title": "张伟", "pin": "4711", "mail": "zhang@example.com", "mail_audio": False, "mail_removes": True,
    }  # fmt: skip


def test_each_bad_row_says_why_in_both_languages_and_costs_no_other() -> None:
    outcome = planned(
        "20x,,Bad number,,,,,,,,,", "204,,Weak,,,,pjsip,204,,,,", "301,,Analogue,,,,pjsip,,,,,", "205,,Dahdi,,,,dahdi,,,,,",
        "206,,Bad ring,,banana,,,,,,,", "207,,Bad pin,,,,,,yes,12a4,,", "208,,No number,,,Anonymous,,,,,,", "209,,Good,,,,,,,,,",
        "209,,Twice,,,,,,,,,", "210,,Bad mail,,,,,,yes,1234,not a mail,", "211,,Long ring,,9999,,,,,,,",
    )  # fmt: skip
    assert not outcome.problem
    assert [row.extension for row in outcome.rows if row.fate == "added"] == ["209"]
    refused = [row for row in outcome.rows if row.fate == "refused"]
    assert len(refused) == 10
    assert all(row.why and row.why_zh for row in refused)
    assert "line 9" in next(row.why for row in refused if row.name == "Twice")
    assert "easy to guess" in next(row.why for row in refused if row.name == "Weak")
    assert sorted(outcome.tree["extensions"]) == ["201", "209", "301"]


def test_what_is_the_same_is_said_to_be() -> None:
    once = planned("202,,Bob,,,,pjsip,kq8-ZMw2-pp1,,,,")
    again = planned("202,,Bob,,,,pjsip,kq8-ZMw2-pp1,,,,", base=toml_of(once.tree))
    assert fates(again) == [("202", "same")]


def test_other_spreadsheets() -> None:
    semicolons = plan(tomllib.loads(BASE), "\ufeffname;extension;tech\nBob;202;sip\n;;\n\n", verdict)
    assert fates(semicolons) == [("202", "added")]
    assert semicolons.tree["extensions"]["202"]["name"] == "Bob"


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n1,2\n", 'extension\n"open', "extension\n" + "1\n" * (MOST_ROWS + 1), "x" * 2_000_001])
def test_what_is_no_table_is_refused_as_a_whole(text: str) -> None:
    outcome = plan(tomllib.loads(BASE), text, verdict)
    assert outcome.problem
    assert outcome.problem_zh
    assert not outcome.tree


def test_a_row_that_collides_with_another_table_is_refused_alone() -> None:
    base = BASE + '[groups.all]\nnumber = "202"\nmembers = ["201"]\n'
    outcome = planned("202,,Bob,,,,,,,,,", "203,,Carl,,,,,,,,,", base=base)
    assert ("203", "added") in fates(outcome) or outcome.problem
    assert "202" not in outcome.tree.get("extensions", {})


def test_what_is_written_is_read_back_unchanged() -> None:
    first = planned("202,,=cmd|' /C calc'!A0,,,,,kq8-ZMw2-pp1,yes,4711,b@example.com,", "203,,+49,,40,01012345678,,kq8-ZMw2-pp3,,,,")
    config = load(toml_of(first.tree).encode(), file="x")
    text = table(config, secrets=True)
    assert "'=cmd" in text
    again = plan(tomllib.loads(toml_of(first.tree)), text, verdict)
    assert {row.fate for row in again.rows} == {"same"}
    without = table(config, secrets=False)
    assert "kq8-ZMw2" not in without
    assert "4711" not in without
    assert {row.fate for row in plan(tomllib.loads(toml_of(first.tree)), without, verdict).rows} == {"same"}


def test_noise_raises_nothing() -> None:
    rng = random.Random(5)
    base = tomllib.loads(BASE)
    text = HEAD + "\n202,,Bob,default,25,<0123>,pjsip,kq8-ZMw2-pp1,yes,4711,b@example.com,attach=yes\n" * 3
    for _ in range(150):
        letters = list(text)
        for _ in range(rng.randint(1, 20)):
            letters[rng.randrange(len(letters))] = rng.choice('\0\n\r",;=|\x7f中9<')
        outcome = plan(base, "".join(letters), verdict)
        assert outcome.problem or not verdict(outcome.tree)
