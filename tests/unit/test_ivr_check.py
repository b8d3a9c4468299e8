"""The check of the call graph and of message boxes names each mistake once, with the way out."""

from __future__ import annotations

import pytest

from tests.unit.test_config_check import problems

SITE = """
[[inbound]]
to = "ivr/first"
"""


def told(text: str) -> list[tuple[str, str]]:
    return [(one.path, one.message) for one in problems(text) if one.path.startswith(("ivr", "mailboxes", "mail", "studio", "inbound"))]


def test_a_graph_that_ends_is_right() -> None:
    assert told(SITE + '[ivr.first]\nkind = "input"\nprompts = ["ivr.main"]\nto = "ivr/second"\n'
                '[ivr.second]\nkind = "choose"\nby = "$first"\ncases = {"1" = "announce/q.full"}\n') == []  # fmt: skip


def test_a_circle_without_a_key_is_told() -> None:
    (one, two) = told(SITE + '[ivr.first]\nkind = "say"\nprompts = ["ivr.main"]\nto = "ivr/second"\n'
                      '[ivr.second]\nkind = "say"\nprompts = ["ivr.main"]\nto = "ivr/first"\n')  # fmt: skip
    assert one == ("ivr.first", "leads back here without a key: a caller who does nothing goes in circles")
    assert two[0] == "ivr.second"


def test_a_node_without_way_out_is_told_even_where_keys_lead_round() -> None:
    text = SITE + '[ivr.first]\nkind = "input"\nprompts = ["ivr.main"]\nto = "ivr/first"\notherwise = "menu/m"\n'
    text += '[menus.m]\nprompt = "ivr.main"\notherwise = "ivr/first"\n[menus.m.keys.1]\nto = "ivr/first"\n'
    assert ("ivr.first", "leads back here without a key: a caller who does nothing goes in circles") in told(text)


def test_a_node_that_nobody_reaches_is_told() -> None:
    lost = '[ivr.first]\nkind = "silent"\n[ivr.lost]\nkind = "silent"\n'
    assert told(SITE + lost) == [("ivr.lost", "is reached by no route, key or node")]


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ('kind = "say"\nprompts = ["ivr.main"]\nsecret = true', "ivr.first.secret"), ('kind = "say"', "ivr.first.prompts"),
        ('kind = "input"\nprompts = ["ivr.main"]\nleast = 9\nmost = 4', "ivr.first.least"), ('kind = "choose"', "ivr.first.by"),
        ('kind = "say"\nprompts = ["no.such"]', "ivr.first.prompts[0]"),
        ('kind = "say"\nprompts = ["ivr.main"]\nvariables = {n = "$nobody"}', "ivr.first.variables.n"),
        ('kind = "silent"\nto = "voicemail/none"', "ivr.first.to"), ('kind = "silent"\nto = "ivr/none"', "ivr.first.to"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_told(lines: str, path: str) -> None:
    assert path in [one for one, _ in told(f"{SITE}[ivr.first]\n{lines}\n")]


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ("[mailboxes.night]", "mailboxes.night"), ('[mailboxes.night]\nnumber = "900"\npin = "1111"', "mailboxes.night.pin"),
        ('[mailboxes.night]\nnumber = "900"\npin = "1234"', "mailboxes.night.pin"),
        ('[mailboxes.night]\nnumber = "900"\npin = "5173"\nmail = "a@b.example"', "mailboxes.night.mail"),
        ('[mailboxes.a]\nnumber = "900"\npin = "5173"\n[mailboxes.b]\nnumber = "900"\npin = "5174"', "mailboxes.b.number"),
        ('[mail]\nhost = "mail.example"\nuser = "u"\nsecurity = "none"', "mail.security"),
        ('[studio]\npin = "2222"', "studio.pin"), ('[studio]\nnumbers = {"1" = "no.such"}', "studio.numbers.1"),
    ],
)  # fmt: skip
def test_a_box_or_mail_server_that_cannot_work_is_told(lines: str, path: str) -> None:
    assert path in [one for one, _ in told(lines + "\n")]
