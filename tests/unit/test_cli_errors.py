"""Every refusal has its Chinese form: those of the console by code, those of the appliance by their fixed part."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from firmware.control.client import CommandFailed
from firmware.surfaces.cli.errors import SAID, NotUnderstood, chinese, said

ROOT = Path(__file__).parents[2] / "firmware"
RAISED = ("CommandError", "NotAllowed", "NotRunning", "failure")
PASSED_ON = "X1: X1"                # a command's name before what another refused
WIDE = re.compile("[\u4e00-\u9fff]")


def refusals() -> list[tuple[str, str]]:
    """(place, sentence) of every refusal in the sources; "X1" stands for what is filled in."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if {"cli", "sim", "wire", "update", "central"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISED:
                sentences = [_sentence(argument) for argument in node.args]
                for sentence in sentences:
                    if " " in sentence and sentence != PASSED_ON and not any(WIDE.search(one) for one in sentences):
                        found.append((f"{path.relative_to(ROOT)}:{node.lineno}", sentence))
    return found


def _sentence(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "X1" for part in node.values)
    return ""


def test_every_refusal_of_the_appliance_has_its_chinese_form() -> None:
    known = refusals()
    assert len(known) > 50
    missing = [f"{place}: {sentence}" for place, sentence in known if not WIDE.search(chinese(sentence) or "")]
    assert not missing, "add these to FORMS in firmware/surfaces/cli/errors.py, or give them `message_zh`:\n" + "\n".join(missing)


@pytest.mark.parametrize("code", SAID)
def test_the_consoles_own_mistakes_are_told_in_both_languages(code: str) -> None:
    fields = {name: "x" for text in SAID[code] for name in re.findall(r"{(\w+)", text)}
    error = NotUnderstood(code, **fields)
    assert said(error, "en") == str(error) and WIDE.search(said(error, "zh"))
    assert not WIDE.search(str(error))


def test_facts_of_a_refusal_are_kept_in_its_chinese_form() -> None:
    assert said(CommandFailed("not_allowed", "agent pause needs the role supervisor; bo@ttyS0 has viewer"), "zh") == (
        "agent pause 需要 supervisor 角色；bo@ttyS0 的角色是 viewer"
    )
    assert said(CommandFailed("refused", "set: line/1 is busy talking"), "zh") == "set：line/1 当前状态：busy talking"
    assert said(CommandFailed("refused", "something new"), "zh") == "something new"
    assert said(CommandFailed("refused", "something new", {"message_zh": "新情况"}), "zh") == "新情况"
