"""Changes that two people make: one alone gets nowhere on any way, and a second one keeps the trial."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("firmware.dsp.ring", reason="the ring segment is not built: make ext")

from firmware.config.approval import guarded, person
from firmware.config.model import check
from firmware.config.problems_zh import chinese
from firmware.config.schema.users import Approval
from firmware.control.gate import Peer
from firmware.control.passwords import make
from tests.unit.test_configuration_part import SITE, Box

STORED = make("tea at four")
GUARDED = "".join(f'[users.{name}]\nrole = "admin"\npassword = "{STORED}"\n' for name in ("anna", "bo"))
GUARDED += '[approval]\npaths = ["users.*.role", "toll"]\n' + SITE
ANNA, ALSO_ANNA, BO = Peer("anna@ttyS0", "admin"), Peer("anna@ssh 10.0.0.7", "admin"), Peer("bo@ssh 10.0.0.8", "admin")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    (tmp_path / "run").mkdir()
    made = Box(tmp_path)
    asyncio.run(made.ask("load", text=GUARDED))
    assert "revision" in asyncio.run(made.ask("commit"))
    return made


def run(box: Box, peer: Peer, path: str, **args: Any) -> dict[str, Any]:
    return asyncio.run(box.ask(path, peer, **args))  # type: ignore[no-any-return]


def test_nobody_commits_alone_and_another_one_keeps_it(box: Box) -> None:
    run(box, ANNA, "set", setting="users.chen.role", value='"supervisor"')
    refused = run(box, ANNA, "commit")
    assert "changed by two people" in refused["message"] and "两人" in refused["message_zh"]
    assert run(box, ANNA, "commit confirmed", seconds=60)["state"] == "trial"
    for own in (ANNA, ALSO_ANNA):
        assert "your own" in run(box, own, "confirm")["message"]
    assert "role" in run(box, Peer("lee@ttyS0", "supervisor"), "confirm")["message"]
    assert run(box, BO, "confirm")["state"] == "running"
    assert "chen" in box.part.running.users


def test_a_way_around_is_refused_too(box: Box) -> None:
    """Taking the guard away, going back to before it, or committing as somebody else's change."""
    run(box, ANNA, "delete", setting="approval.paths")
    assert "approval" in run(box, ANNA, "commit")["message"]
    run(box, ANNA, "discard")
    assert "two people" in run(box, ANNA, "rollback", back=1)["message"]
    run(box, BO, "set", setting="users.chen.role", value='"admin"')
    assert "two people" in run(box, ANNA, "commit")["message"]
    # A trial is taken back by anybody, to what was before and to nothing else.
    run(box, ANNA, "commit confirmed", seconds=60)
    assert "two people" in run(box, ANNA, "rollback", back=2)["message"]
    assert run(box, ANNA, "rollback", back=1)["state"] == "running" and "chen" not in box.part.running.users


def test_what_is_not_guarded_is_changed_by_one(box: Box) -> None:
    run(box, ANNA, "set", setting="queues.sales.ring_s", value="21")
    assert run(box, ANNA, "commit")["state"] == "running"
    run(box, ANNA, "set", setting="queues.sales.ring_s", value="22")
    run(box, ANNA, "commit confirmed", seconds=60)
    assert run(box, ANNA, "confirm")["state"] == "running"


def test_the_centre_has_signed_what_it_sends(box: Box) -> None:
    centre = Peer("centre", "admin")
    run(box, centre, "set", setting="users.chen.role", value='"supervisor"')
    run(box, centre, "commit confirmed", seconds=60)
    assert run(box, centre, "confirm")["state"] == "running"


def test_paths_are_matched_as_a_whole_and_by_part() -> None:
    approval = Approval(paths=["users.*.role", "toll"])
    touched: Callable[..., list[str]] = lambda *paths: guarded(approval, paths)  # noqa: E731
    assert touched("users.anna.role", "users.anna", "toll.most", "approval.paths[0]") == [
        "users.anna.role", "users.anna", "toll.most", "approval.paths[0]",
    ]  # fmt: skip
    assert touched("users.anna.name", "tolls", "queues.q.ring_s") == []
    assert guarded(Approval(), ["approval.paths"]) == []
    assert person("anna@ssh 10.0.0.7") == person("anna@ttyS0") == "anna"


def test_one_administrator_cannot_lock_himself_out() -> None:
    _, found = check(GUARDED.replace('[users.bo]\nrole = "admin"', '[users.bo]\nrole = "viewer"').encode(), file="site.toml")
    [problem] = [one for one in found if one.path == "approval.paths"]
    assert "two administrators" in problem.message and chinese(problem.message) != problem.message
