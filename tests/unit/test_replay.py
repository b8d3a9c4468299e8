"""Recorded calls heard by telephone: whose, by whom, the keys, and what media is given of a sealed file."""

from __future__ import annotations

import asyncio
import io
import os
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
from firmware.call.model import Cause, Evidence, LegEnded
from firmware.call.replay import PART_MS
from firmware.config.schema.people import Extension
from firmware.core.replay import ReplayPart, to_mono
from firmware.dsp import vault
from firmware.media.requests import _in_memory
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from tests.unit.call_stage import config
from tests.unit.mail_stage import MailStage
from tests.unit.test_recordings import NOW, Box

CALLS = (
    vm.Kept("c.rec", "C3", -3_600_000, 70_000, "13800000003"),
    vm.Kept("b.rec", "C2", -7_200_000, 20_000, "13800000002"),
    vm.Kept("a.rec", "C1", -90_000_000, 20_000, ""),
)


class ReplayStage(MailStage):
    """Recordings are found and played in virtual time. `found`: agent -> calls; `gone`: what cannot be played."""

    def __init__(self, *, restart: bool = False, supervises: dict[str, list[str]] | None = None) -> None:
        conf = config()
        extensions = dict(conf.extensions)
        for number, queues in (supervises or {}).items():
            extensions[number] = Extension(kind="sip", supervises=queues)
        self.finds: list[vm.FindRecordings] = []
        self.plays: list[vm.PlayRecording] = []
        self.calls = CALLS
        self.gone: set[str] = set()
        super().__init__(config(extensions=extensions), restart=restart)

    def _act(self, contact: str, action: do.Action) -> None:
        match action:
            case vm.FindRecordings():
                self.finds.append(action)
                self.at(20, lambda: self.give(vm.RecordingsFound(action.leg, self.now, action.token, self.calls)))
            case vm.PlayRecording():
                self.plays.append(action)
                self.heard.setdefault(action.leg, []).append(f"{action.path} {action.at_ms}")
                if action.path in self.gone:
                    self.at(20, lambda: self.give(vm.Unplayable(action.leg, self.now, action.token, "removed")))
                    return
                self.playing[action.leg] = (action.token, "keys")
                length = next(one.length for one in self.calls if one.path == action.path)
                self.at(min(action.ms, length - action.at_ms), lambda: self._part_over(action))
        super()._act(contact, action)

    def _part_over(self, action: vm.PlayRecording) -> None:
        if self.playing.get(action.leg, (0, ""))[0] == action.token:
            del self.playing[action.leg]
            self.give(do.Played(action.leg, self.now, action.token, True))


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def restart(request: pytest.FixtureRequest) -> bool:
    """Whether the whole state goes through JSON after every input."""
    return bool(request.param)


def test_an_agent_hears_his_own_calls_one_after_the_other(restart: bool) -> None:
    stage = ReplayStage(restart=restart)
    stage.log_in("8001", "201")
    leg = stage.dial("201", "*94")
    stage.run(500)
    assert [(one.agent, one.queues, one.by) for one in stage.finds] == [("8001", (), "extension 201, agent 8001")]
    stage.run(6000)
    assert stage.heard[leg] == ["rp.found", "call.at.today", "call.with", "c.rec 0"]
    stage.run(PART_MS)
    assert stage.heard[leg][-1] == f"c.rec {PART_MS}"
    stage.run(41_000)
    assert stage.heard[leg][-2:] == [f"c.rec {2 * PART_MS}", "rp.keys"]
    stage.press(leg, "2")
    stage.run(5000)
    assert stage.heard[leg][-1] == "b.rec 0"
    stage.press(leg, "2")
    stage.run(5000)
    assert stage.heard[leg][-2:] == ["call.with.unknown", "a.rec 0"]
    stage.press(leg, "2")
    stage.run(100)
    assert stage.heard[leg][-1] == "rp.end"
    stage.press(leg, "3")
    stage.run(5000)
    assert stage.heard[leg][-1] == "a.rec 0"
    stage.press(leg, "#")
    stage.run(5000)
    stage.at_rest()
    assert [one.path for one in stage.plays if one.first] == ["c.rec", "b.rec", "a.rec", "a.rec"]
    replayed = [action.data for _, _, action in stage.done if isinstance(action, do.Record) and action.kind == "replayed"]
    assert [one["contact"] for one in replayed] == ["C3", "C2", "C1", "C1"] and replayed[0]["by"] == "201"


def test_keys_go_on_and_back_within_a_recording(restart: bool) -> None:
    stage = ReplayStage(restart=restart)
    stage.log_in("8001", "201")
    leg = stage.dial("201", "*94")
    stage.run(6100)                     # found, told; the recording begins at 1 + 2 + 4 s
    stage.run(10_000)
    at = stage.plays[-1]
    stage.press(leg, "6")
    stage.run(10)
    jumped = stage.plays[-1].at_ms
    assert at.at_ms == 0 and 24_000 < jumped < 26_000 and not stage.plays[-1].first
    stage.press(leg, "4")
    stage.run(10)
    assert stage.plays[-1].at_ms == jumped + 10 - 15_000
    stage.press(leg, "4")
    stage.run(10)
    assert stage.plays[-1].at_ms == 0
    stage.press(leg, "666666")
    assert stage.heard[leg][-1] == "rp.keys"
    stage.press(leg, "1")
    stage.run(4500)
    assert stage.plays[-1].at_ms == 0 and stage.plays[-1].first
    stage.leave(leg)
    stage.run(1000)
    stage.at_rest()


def test_who_is_no_agent_and_supervises_nobody_is_refused(restart: bool) -> None:
    stage = ReplayStage(restart=restart)
    for extension, digits, prompt in (("101", "*94", "agent.unknown"), ("101", "*948001", "sup.refused")):
        leg = stage.dial(extension, digits)
        stage.run(5000)
        assert stage.heard[leg] == [prompt]
    stage.log_in("8001", "201")
    leg = stage.dial("201", "*948002")
    stage.run(500)
    assert stage.heard[leg] == ["sup.refused"] and not stage.finds
    stage.run(5000)
    stage.at_rest()


@pytest.mark.parametrize(
    ("supervises", "agent", "queues"),
    [(["sales"], "8001", ()), (["*"], "8003", ()), (["sales"], "8003", ("sales",)), (["sales", "vip"], "8003", ("sales", "vip"))],
)
def test_a_shift_leader_hears_his_agents(restart: bool, supervises: list[str], agent: str, queues: tuple[str, ...]) -> None:
    stage = ReplayStage(restart=restart, supervises={"204": supervises})
    leg = stage.dial("204", "*94")
    stage.run(2500)
    assert stage.heard[leg] == ["sup.ask"]
    stage.press(leg, agent + "#")
    stage.run(500)
    assert [(one.agent, one.queues, one.by) for one in stage.finds] == [(agent, queues, "extension 204")]
    stage.run(7000)
    stage.press(leg, "*")
    stage.run(2500)
    stage.press(leg, "8002")
    stage.run(8000)
    assert stage.finds[-1].agent == "8002"
    stage.press(leg, "*9999#")
    stage.run(100)
    assert stage.heard[leg][-1] == "sup.refused"
    stage.run(5000)
    stage.at_rest()
    stage.dial("204", f"*94{agent}#")
    stage.run(500)
    assert stage.finds[-1].agent == agent


def test_what_cannot_be_played_is_said_and_passed_over(restart: bool) -> None:
    stage = ReplayStage(restart=restart)
    stage.gone = {"c.rec"}
    stage.log_in("8001", "201")
    leg = stage.dial("201", "*94")
    stage.run(14_000)
    assert stage.heard[leg][3:] == ["c.rec 0", "rp.gone", "call.at.today", "call.with", "b.rec 0"]
    stage.leave(leg)
    stage.run(1000)
    stage.calls = ()
    leg = stage.dial("201", "*94")
    stage.run(5000)
    assert stage.heard[leg] == ["rp.none"]
    stage.at_rest()


# --- core -------------------------------------------------------------------------------------------------------------


class Media:
    """Takes clips and plays them."""

    def __init__(self) -> None:
        self.clips: dict[str, bytes] = {}
        self.dropped: list[str] = []
        self.played: list[str] = []

    def load_clip(self, name: str, source: bytes) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        with wave.open(io.BytesIO(source)) as file:
            assert file.getparams()[:3] == (1, 2, 8000)
            self.clips[name] = file.readframes(file.getnframes())
        done.set_result(len(source))
        return done

    def drop_clip(self, name: str) -> None:
        self.dropped.append(name)


class Bench:
    """The core part with a real catalogue and sealed files."""

    def __init__(self, folder: Path) -> None:
        self.box, self.media, self.bus, self.clock = Box(folder), Media(), Bus(), ManualClock(now=1000)
        self.told: list[Any] = []
        self.state = SimpleNamespace(plays={"L1": SimpleNamespace(token=7)})
        audio = SimpleNamespace(ports={"L1": 17}, recording=lambda action, clip: self.media.played.append(clip))
        self.calls: Any = SimpleNamespace(
            executors={}, bus=self.bus, clock=self.clock, take=self.told.append, audio=audio, state=lambda contact: self.state
        )
        ReplayPart(self.calls, self.media, self.box.recordings, lambda work, then: then(work()))

    async def do(self, action: Any) -> None:
        self.calls.executors[type(action)]("C9", action)
        await asyncio.sleep(0.01)

    def access(self) -> list[tuple[str, str, str]]:
        self.box.store.flush()
        return [(row["who"], row["what"], row["path"]) for row in reversed(self.box.store.heard(20))]


def test_parts_are_unsealed_in_memory_and_each_listening_is_logged(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    path = bench.box.one("C1", 75.0)
    by = "extension 201, agent 8001"

    async def scenario() -> None:
        for at_ms, first in ((0, True), (PART_MS, False), (2 * PART_MS, False)):
            await bench.do(vm.PlayRecording("L1", 7, path, at_ms, PART_MS, by, first))
        assert bench.media.played == ["replay/17/0", "replay/17/1", "replay/17/0"]
        assert sorted(bench.media.clips) == ["replay/17/0", "replay/17/1"], "no more than two are ever loaded"
        assert len(bench.media.clips["replay/17/1"]) == PART_MS * 16 and len(bench.media.clips["replay/17/0"]) == 15 * 16_000
        bench.state.plays["L1"].token = 8
        await bench.do(vm.PlayRecording("L1", 7, path, 0, PART_MS, by, False))
        assert len(bench.media.played) == 3, "the person went on meanwhile"
        bench.bus.publish(LegEnded("L1", 2000, Cause.NORMAL, Evidence("bye"), True))
        assert sorted(bench.media.dropped) == ["replay/17/0", "replay/17/1"]

    asyncio.run(scenario())
    assert bench.access() == [(by, "replay", path)]
    assert not list(tmp_path.rglob("*.wav"))
    bench.box.db.close()


def test_what_is_gone_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    path = bench.box.one("C1", 2.0)
    (bench.box.recordings.folder / path).unlink()
    asyncio.run(bench.do(vm.PlayRecording("L1", 7, path, 0, PART_MS, "x", True)))
    assert [type(one) for one in bench.told] == [vm.Unplayable] and bench.told[0].token == 7 and not bench.media.played
    bench.box.db.close()


def test_the_catalogue_is_asked_by_agent_and_queue(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number, (kind, agents, queue) in enumerate((("inbound", "8001", "sales"), ("outbound", "8001", ""), ("inbound", "8002", "sales"))):
        name = f"C{number}"
        bench.box.db.execute(
            "INSERT INTO contacts (id, generation, boot, kind, opened_ms, caller, caller_name, caller_reason, called, line, extension) "
            "VALUES (?, 'g', 1, ?, ?, '1390', '', '', '0755', 'line/1', '')", (name, kind, NOW),
        )  # fmt: skip
        bench.box.db.execute("UPDATE contacts SET agents = ?, queue = ? WHERE id = ?", (agents, queue, name))
        bench.box.one(name, 2.0, at=NOW + number)
    asyncio.run(bench.do(vm.FindRecordings("L1", 5, "8001", (), "leader", 20)))
    asyncio.run(bench.do(vm.FindRecordings("L1", 6, "8001", ("sales",), "leader", 20)))
    every, of_queue = bench.told
    told = [(one.contact, one.number, one.length, one.at) for one in every.calls]
    assert told == [("C1", "0755", 2000, NOW + 1), ("C0", "1390", 2000, NOW)]
    assert every.token == 5 and [one.contact for one in of_queue.calls] == ["C0"]
    assert [one[:2] for one in bench.access()] == [("leader", "list")] * 2
    bench.box.db.close()


def test_both_sides_are_heard_and_nothing_wraps() -> None:
    def mono(samples: list[int]) -> list[int]:
        data = b"".join(value.to_bytes(2, "little", signed=True) for value in samples)
        with wave.open(io.BytesIO(to_mono(data))) as file:
            found = file.readframes(file.getnframes())
        return [int.from_bytes(found[i:i + 2], "little", signed=True) for i in range(0, len(found), 2)]

    assert mono([100, 23, -50, 20]) == [123, -30]
    assert mono([32000, 32000, -32768, -32768, 1, 2]) == [32767, -32768, 3]


def test_a_span_steps_over_what_is_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(tmp_path)
    path = box.one("C1", 10.0)
    opened: list[int] = []
    monkeypatch.setattr("firmware.store.vault.vault", SimpleNamespace(
        **{name: getattr(vault, name) for name in ("HEADER", "HEAD", "TAG", "FINAL", "CODED", "MU_LAW", "BYTES", "SIZE", "seal")},
        open_piece=lambda *args: (opened.append(1), vault.open_piece(*args))[1],
    ))
    whole = b"".join(box.recordings.sealed(path))
    opened.clear()
    assert box.recordings.sealed(path).span(4000, 2000) == whole[4 * 32_000:6 * 32_000]
    assert len(opened) <= 6
    assert box.recordings.sealed(path).span(9500, 2000) == whole[9 * 32_000 + 16_000:]
    assert box.recordings.sealed(path).span(10_000, 2000) == b"" and box.recordings.sealed(path).span(600_000, 1) == b""
    box.db.close()


def test_a_clip_from_memory_is_read_from_its_begin() -> None:
    with os.fdopen(_in_memory(b"RIFF" * 5000), "rb") as file:
        assert file.read() == b"RIFF" * 5000
