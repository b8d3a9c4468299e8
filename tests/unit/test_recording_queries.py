"""Find, hear, export, prove and erase recordings through the gate: with roles, and an access log that names who asked."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from firmware.control.gate import Gate, Peer
from firmware.core.recording_queries import attach
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from tests.unit.test_recordings import DAY, NOW, Box

LEADER, ADMIN, AGENT = Peer("leader", "supervisor"), Peer("root", "admin"), Peer("8001", "agent")


class Desk(Box):
    """A box whose recordings belong to contacts, behind a gate."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clock = ManualClock(now=1000)
        self.clock.wall_ms = lambda: NOW  # type: ignore[method-assign]
        self.gate = Gate(Bus(), self.clock)
        attach(self.gate, self.recordings, self.clock, ZoneInfo("Asia/Shanghai"))

    def contact(self, name: str, caller: str, agent: str, rating: int = 0, at: int = NOW) -> str:
        self.db.execute(
            "INSERT INTO contacts (id, generation, boot, kind, opened_ms, caller, caller_name, caller_reason, called, line, extension) "
            "VALUES (?, 'g', 1, 'inbound', ?, ?, '', '', '', 'line/1', '')", (name, at, caller),
        )  # fmt: skip
        self.db.execute("UPDATE contacts SET agents = ?, queue = 'sales', rating = ? WHERE id = ?", (agent, rating, name))
        return self.one(name, 21.0, at=at)

    def ask(self, peer: Peer, what: str, **args: Any) -> Any:
        reply = asyncio.run(self.gate.perform(peer, what, args))
        if not reply["ok"]:
            raise PermissionError(reply["error"]["kind"])
        self.store.flush()
        return reply["result"]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.db.close()


def test_recordings_are_found_by_agent_number_rating_queue_and_day(desk: Desk) -> None:
    one = desk.contact("C1", "13800000001", "8001 8002", rating=3, at=NOW - 2 * DAY)
    two = desk.contact("C2", "13800000002", "8002", rating=1)

    def found(**args: Any) -> list[str]:
        return [row["path"] for row in desk.ask(LEADER, "recordings list", **args)]

    assert found() == [two, one]
    assert found(agent="8001") == [one]
    assert found(agent="800") == []
    assert found(agent="8002", rating=1) == [two]
    assert found(number="13800000001") == [one]
    assert found(queue="service") == []
    day = desk.ask(LEADER, "recordings list", agent="8001")[0]["time"][:10]
    assert found(since=day, until=day) == [one]
    assert desk.ask(LEADER, "recordings list")[0]["seconds"] == 21


def test_a_recording_is_heard_in_parts_and_who_heard_it_is_kept(desk: Desk) -> None:
    path = desk.contact("C1", "1", "8001")
    whole, at = b"", 0
    while True:
        part = desk.ask(LEADER, "recordings listen", recording=path, at=at)
        whole, at = whole + base64.b64decode(part["samples"]), part["next"]
        if not at:
            break
    assert whole == b"".join(desk.recordings.sealed(path))
    log = [(row["who"], row["what"], row["path"]) for row in desk.ask(LEADER, "recordings access")]
    assert log == [("leader", "listen", path)]


def test_only_who_may_gets_at_recordings(desk: Desk) -> None:
    path = desk.contact("C1", "1", "8001")
    for name, args in (("recordings list", {}), ("recordings listen", {"recording": path}), ("recordings access", {})):
        with pytest.raises(PermissionError, match="not_allowed"):
            desk.ask(AGENT, name, **args)
    for name, args in (("recordings export", {"recording": path}), ("recordings erase", {"number": "123"}), ("recordings disk", {})):
        with pytest.raises(PermissionError, match="not_allowed"):
            desk.ask(LEADER, name, **args)
    assert "root" in desk.ask(ADMIN, "recordings export", recording=path)["label"]
    with pytest.raises(PermissionError, match="refused"):
        desk.ask(ADMIN, "recordings export", recording="../calls.db")


def test_erased_by_number_means_gone_everywhere_and_provable(desk: Desk) -> None:
    one = desk.contact("C1", "13800000001", "8001")
    two = desk.contact("C2", "13800000002", "8001")
    assert desk.ask(ADMIN, "recordings erase", number="13800000001") == {"erased": 1}
    assert [row["path"] for row in desk.ask(LEADER, "recordings list")] == [two]
    assert not (desk.recordings.folder / one).exists()
    assert desk.ask(LEADER, "recordings verify") == {"checked": 1, "sound": True, "wrong": []}
    assert desk.ask(LEADER, "recordings access")[1]["detail"] == "1 of 1 erased by number"
    links = desk.db.query("SELECT * FROM recording_chain")
    assert not any("13800000001" in str(tuple(link)) for link in links)


def test_a_sample_for_review_is_drawn_for_each_agent_with_the_worst_rated_call(desk: Desk) -> None:
    mine = [desk.contact(f"C{n}", "13800000001", "8001", rating=3 if n == 4 else 1, at=NOW - n * 1000) for n in range(12)]
    other = desk.contact("D1", "13800000002", "8002")
    desk.contact("E1", "13800000003", "8003", at=NOW - 40 * DAY)
    seen: set[str] = set()
    for _ in range(30):
        drawn = desk.ask(LEADER, "recordings draw", days=30, count=3)
        by = {agent: [one for one in drawn if one["drawn_for"] == agent] for agent in ("8001", "8002", "8003")}
        assert [one["drawn_by"] for one in by["8001"]] == ["rating", "chance", "chance"] and by["8001"][0]["path"] == mine[4]
        assert len({one["path"] for one in by["8001"]}) == 3
        assert [one["path"] for one in by["8002"]] == [other] and by["8003"] == []
        seen |= {one["path"] for one in by["8001"]}
    assert len(seen) > 6, "not always the same ones"
    assert [one["drawn_for"] for one in desk.ask(LEADER, "recordings draw", agent="8002")] == ["8002"]
    assert {row["what"] for row in desk.ask(LEADER, "recordings access")} == {"draw"}
    with pytest.raises(PermissionError):
        desk.ask(AGENT, "recordings draw")
