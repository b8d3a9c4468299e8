"""Recordings to the centre: the part of management, call control's catalogue and a server over real TLS; what breaks, and where it goes on.

Every test ends with the same question: is each recording at the centre bit for bit, once, and noted once here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware.app.upload_desk import UploadDesk
from firmware.config.model import check, load
from firmware.config.problems_zh import chinese
from firmware.config.schema.recording import Recording
from firmware.config.schema.tree import Config
from firmware.control.client import CommandFailed
from firmware.control.gate import Gate, Peer
from firmware.core.recordings import MEGABYTE
from firmware.fleet import transfer
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.store import sealing
from firmware.store.db import Database
from firmware.store.vault import Sealed
from tests.tus_server import TusServer
from tests.unit.test_recording_queries import Desk
from tests.unit.test_recordings import DAY, DEVICE, NOW, Box
from tools import open_recording

PRIVATE = bytes(range(1, 33))
PUBLIC = sealing.b64(sealing.public_of(PRIVATE))
NIGHT = datetime(2026, 1, 2, 18, 0, tzinfo=UTC).timestamp()         # 02:00 of the 3rd in Shanghai
MORNING = NIGHT + 4 * 3600


class Site:
    """A box with recordings, a centre, and management that may be started again."""

    def __init__(self, folder: Path, server: TusServer, more: str = "", to: str = "") -> None:
        self.folder, self.server = folder / "box", server
        (self.folder / "keys").mkdir(parents=True)
        self.desk = Desk(self.folder)
        (self.folder / "keys" / "recordings.key").write_bytes(DEVICE.key)
        self.more = more
        self.config: Config = load(
            f'[recording.upload]\nurl = "{to or server.url}"\nca = "{server.ca}"\nrecipient = "{PUBLIC}"\nkbit_s = 64\n{more}'.encode(),
            file="site.toml",
        )
        self.now = NIGHT
        self.slept: list[float] = []         # when a block has waited for its time
        self.day_breaks = -1                # after so many blocks
        self.fails: Callable[[str, bool], bool] = lambda path, after: False
        self.db: Database | None = None
        self.begin()

    def begin(self) -> None:
        """Management starts (again)."""
        self.end()
        self.db = Database(self.folder / "manage.db", "manage")
        desk = UploadDesk(
            state=self.folder, config=lambda: self.config, db=self.db, core=self.core, wall_s=lambda: self.now, sleep=self.sleep
        )
        self.gate = Gate(Bus(), ManualClock(now=1000))
        desk.attach(self.gate)
        assert desk.alarms() == {}
        self.part = asyncio.run(desk.part())

    def end(self) -> None:
        if self.db is not None:
            self.db.close()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(self.now)
        if len(self.slept) == self.day_breaks:
            self.now = MORNING
        await asyncio.sleep(0)

    async def core(self, path: str, **args: Any) -> Any:
        """Call control as management reaches it; `fails` breaks it before a command is carried out, or after."""
        if self.fails(path, False):
            raise CommandFailed("unavailable", "it is gone")
        reply = await self.desk.gate.perform(Peer("manage", "admin"), path, args)
        if not reply["ok"]:
            raise CommandFailed(reply["error"]["kind"], reply["error"]["message"])
        if self.fails(path, True):
            raise CommandFailed("unavailable", "it is gone")
        return msgspec.to_builtins(reply["result"])

    def look(self, times: int = 1) -> None:
        """Look so many times, each after the longest pause."""
        for _ in range(times):
            asyncio.run(self.part.look())
            self.now += 901

    def ask(self, path: str, peer: Peer = Peer("uid:0", "admin")) -> Any:
        async def asked() -> Any:
            return await self.gate.perform(peer, path, {})

        reply = asyncio.run(asked())
        assert reply["ok"], reply
        return msgspec.to_builtins(reply["result"])

    def noted(self) -> list[tuple[str, str]]:
        """Who let which recording be sent, as the access log has it."""
        self.desk.store.flush()
        return sorted((str(row["path"]), str(row["who"])) for row in self.desk.store.heard(1000) if row["what"] == "send")

    def arrived(self, *paths: str) -> None:
        """Exactly these are at the centre, whole, openable, proved, and noted once."""
        there = self.server.whole("recording")
        assert sorted(there) == sorted(paths)
        for path in paths:
            assert there[path] == (self.desk.recordings.folder / path).read_bytes()
        identity = sealing.unb64(self.part._papers.device.public.identity, "key")
        records = self.server.whole("record")
        assert sorted(records) == sorted(f"{path}.json" for path in paths)
        for path in paths:
            known, samples = open_recording.opened(records[f"{path}.json"], self.desk.recordings.folder / path, identity, PRIVATE)
            assert known["path"] == path
            assert b"".join(samples) == b"".join(Sealed(self.desk.recordings.folder / path, DEVICE))
            assert samples.how == "whole"
        assert [path for path, _ in self.noted()] == sorted(paths)
        assert self.part.kept.sent == len(paths)
        assert self.part._rows == {}

    def links(self) -> list[tuple[str, str]]:
        """What the centre knows of the chain, proved."""
        documents = self.server.whole("chain")
        ordered = [documents[name] for name in sorted(documents, key=lambda name: int(name.split("-")[1]))]
        identity = sealing.unb64(self.part._papers.device.public.identity, "key")
        return [(link["what"], link["path"]) for link in open_recording.followed(ordered, identity)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TusServer]:
    made = TusServer(tmp_path / "centre").start()
    yield made
    made.stop()


@pytest.fixture
def site(tmp_path: Path, server: TusServer) -> Iterator[Site]:
    made = Site(tmp_path, server, 'token = "geheim-123"\n')
    yield made
    made.end()
    made.desk.db.close()


def call(site: Site, name: str, caller: str = "1", rating: int = 0, at: int = NOW, line: int = 1, queue: str = "sales") -> str:
    """A call that was recorded and is over."""
    path = site.desk.contact(name, caller, "8001", rating, at)
    site.desk.db.execute("UPDATE contacts SET ended_ms = ?, queue = ? WHERE id = ?", (at + 30_000, queue, name))
    site.desk.db.execute(
        "INSERT INTO legs (id, contact, kind, endpoint, role, incoming, started_ms, ended_ms, cause) "
        "VALUES (?, ?, 'fxo', ?, 'caller', 1, 0, 0, '')", (f"L{name}", name, f"line/{line}"),
    )  # fmt: skip
    site.desk.store.flush()
    return path


def two(site: Site) -> list[str]:
    return [call(site, f"C{number}", f"1380000000{number}", at=NOW + number) for number in (1, 2)]


def sizes(site: Site) -> int:
    """Bytes of everything at the centre."""
    return sum(one.length for one in site.server.files.values())


def test_recordings_arrive_once_sealed_and_can_be_opened_and_proved_there(site: Site) -> None:
    one, other = two(site)
    site.look()
    site.arrived(one, other)
    assert site.noted() == [(one, "night"), (other, "night")]
    assert site.links() == [("sealed", one), ("sealed", other)]
    assert site.server.tokens == {"Bearer geheim-123"}
    assert site.server.total == sizes(site)
    everything = b"".join(kept.data for kept in site.server.files.values()) + json.dumps(
        [kept.facts for kept in site.server.files.values()]
    ).encode()
    for secret in (b"13800000001", b"8001", b"sales"):
        assert secret not in everything
        assert all(secret not in sealing.unb64(json.loads(body)["report"], "x") for body in site.server.whole("record").values())
    asked = len(site.server.asked)
    site.look(2)
    assert len(site.server.asked) == asked, "nothing waits, and the centre is asked all the same"
    shown = site.ask("show upload")
    assert (shown["state"], shown["waiting"], shown["sent"], shown["says"]) == ("idle", 0, 2, "")
    assert shown["last_sent"].startswith("2026-01-03 02:")


def test_what_a_record_says_in_clear_and_what_only_the_centre_reads(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = call(site, "C1", "13800000001", rating=3)
    site.look()
    record, file, wav = tmp_path / "record.json", tmp_path / "one.rec", tmp_path / "one.wav"
    record.write_bytes(site.server.whole("record")[f"{path}.json"])
    file.write_bytes(site.server.whole("recording")[path])
    (tmp_path / "centre.key").write_bytes(PRIVATE)
    box = site.part._papers.device.public.identity
    words = ["open", str(record), str(file), str(wav), "--key", str(tmp_path / "centre.key"), "--box", box]
    assert open_recording.main(words) == 0
    known = json.loads(capsys.readouterr().out)
    assert (known["caller"], known["agents"], known["queue"], known["rating"], known["end"]) == ("13800000001", "8001", "sales", 3, "whole")
    assert wav.stat().st_size > 600_000
    wav.unlink()
    other = sealing.b64(sealing.verifying_key(bytes(32)))
    assert open_recording.main([*words[:-1], other]) == 1                       # another box's
    (tmp_path / "centre.key").write_bytes(bytes(range(2, 34)))
    assert open_recording.main(words) == 1                                      # another centre's
    (tmp_path / "centre.key").write_bytes(PRIVATE)
    file.write_bytes(file.read_bytes()[:-1])
    assert open_recording.main(words) == 1                                      # not the file
    assert not wav.exists()
    assert capsys.readouterr().err.count("open_recording: ") == 3


def test_without_a_key_of_the_centre_nothing_goes_but_the_sealed_file_and_what_the_chain_says(tmp_path: Path, server: TusServer) -> None:
    site = Site(tmp_path, server)
    site.config = msgspec.structs.replace(site.config, recording=msgspec.structs.replace(
        site.config.recording, upload=msgspec.structs.replace(site.config.recording.upload, recipient="")))  # fmt: skip
    path = call(site, "C1", "13800000001")
    site.look()
    body = json.loads(sealing.unb64(json.loads(server.whole("record")[f"{path}.json"])["report"], "report"))
    assert body["sealed"] == "" and not {"caller", "called", "agents", "key", "queue"} & body.keys()
    site.end()
    site.desk.db.close()


@pytest.mark.parametrize("restart", [False, True], ids=["goes-on", "restarted"])
@pytest.mark.parametrize("cut", [[1], [40_000], [400_000, 400_001], [500_000, 900_000, 1_300_000]], ids=str)
def test_a_connection_that_is_cut_goes_on_from_the_byte_that_is_there(site: Site, cut: list[int], restart: bool) -> None:
    paths = two(site)
    site.server.cuts = list(cut)
    for number in range(len(cut)):
        site.look()
        assert site.noted() == [] or number
        shown = site.ask("show upload")
        assert "not reached" in shown["says"] and "无法连接" in shown["says_zh"]
        if restart:
            site.begin()
    site.look(2)
    site.arrived(*paths)
    assert site.server.total == sizes(site), "a byte went out twice"
    assert site.links() == [("sealed", path) for path in paths]


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PATCH", "HEAD"])
def test_an_answer_that_is_lost_changes_nothing(site: Site, method: str) -> None:
    paths = two(site)
    site.server.deaf = {method}
    if method == "HEAD":
        site.server.cuts = [300_000]
    for _ in range(4):
        site.look()
        site.begin()
    site.arrived(*paths)


def test_a_recording_that_is_too_large_does_not_keep_the_others_back(site: Site) -> None:
    one, other = two(site)
    site.server.refused_names = {one}
    site.look()
    assert sorted(site.server.whole("recording")) == [other]
    assert site.part.alarms()["upload:held"][0] == f"1 recordings are not sent; {one}: the file is larger than the centre takes"
    site.server.refused_names = set()
    asyncio.run(site.gate.perform(Peer("leader", "admin"), "upload now", {}))
    site.look()
    assert sorted(site.server.whole("recording")) == [one, other]


def test_another_centre_gets_all_that_it_lacks_and_nothing_of_the_log_in_goes_to_the_one_before(site: Site, tmp_path: Path) -> None:
    paths = two(site)
    site.server.cuts = [400_000]
    site.look()
    before, other = len(site.server.asked), TusServer(tmp_path / "other").start()
    site.config = msgspec.structs.replace(site.config, recording=msgspec.structs.replace(
        site.config.recording, upload=msgspec.structs.replace(site.config.recording.upload, url=other.url, ca=str(other.ca))))  # fmt: skip
    site.look(2)
    assert len(site.server.asked) == before
    site.server = other
    site.arrived(*paths)
    other.stop()


@pytest.mark.parametrize("status", [401, 404, 409, 500])
@pytest.mark.parametrize("method", ["POST", "PATCH", "HEAD"])
def test_a_refusal_is_told_and_tried_again(site: Site, method: str, status: int) -> None:
    path = call(site, "C1")
    site.server.says = [(method, status)]
    if method == "HEAD":
        site.server.cuts = [300_000]
    site.look(3)
    site.arrived(path)


def test_checksums_are_sent_where_the_centre_looks_at_them(site: Site) -> None:
    paths = two(site)
    site.server.checksum = True
    site.server.cuts = [200_000]
    site.look(3)
    site.arrived(*paths)


def test_the_window_ends_in_the_middle_and_the_next_one_goes_on(site: Site) -> None:
    paths = two(site)

    def heard(total: int) -> None:
        if total > 900_000 and site.now < MORNING:
            site.now = MORNING

    site.server.heard = heard
    site.look()
    shown = site.ask("show upload")
    assert (shown["state"], shown["sent"], shown["waiting"], shown["says"]) == ("waiting", 1, 1, "")
    before = len(site.server.asked)
    site.look(3)
    assert len(site.server.asked) == before, "something was sent outside the window"
    site.begin()
    site.now = NIGHT + 86_400
    site.look()
    site.arrived(*paths)
    assert site.server.total == sizes(site)


def test_not_one_block_goes_out_after_the_end_of_the_window(site: Site) -> None:
    path = call(site, "C1")
    site.day_breaks = 50
    site.look()
    assert len(site.slept) == 50, "it went on by day"
    assert 40 * transfer.BLOCK < site.server.total <= 51 * transfer.BLOCK
    assert site.ask("show upload")["says"] == "", "the end of the window is told as a fault"
    site.now = NIGHT + 86_400
    site.look()
    site.arrived(path)
    assert site.server.total == sizes(site)


def test_a_person_sends_it_by_day_and_may_end_that(site: Site) -> None:
    paths = two(site)
    site.now = MORNING
    site.look()
    assert site.server.asked == []

    def heard(total: int) -> None:
        if total > 100_000:
            site.part._by = ""

    site.server.heard = heard
    asyncio.run(site.gate.perform(Peer("leader@ssh", "admin"), "upload now", {}))
    site.look(2)
    assert site.noted() == []
    site.server.heard = lambda total: None
    refused = asyncio.run(site.gate.perform(Peer("8001", "supervisor"), "upload now", {}))
    assert refused["error"]["kind"] == "not_allowed"
    asyncio.run(site.gate.perform(Peer("leader@ssh", "admin"), "upload now", {}))
    site.look()
    site.arrived(*paths)
    assert {who for _, who in site.noted()} == {"leader@ssh"}
    call(site, "C3", at=NOW + 9)
    site.look(2)
    assert len(site.noted()) == 2, "what a person began is over once all is there"


def test_a_recording_that_is_erased_on_its_way_is_taken_back(site: Site) -> None:
    one, other = two(site)

    def heard(total: int) -> None:
        if total > 300_000 and not gone:
            gone.append(one)
            assert site.desk.recordings.erase([one], NOW) == 1
            assert site.desk.store.flush()

    gone: list[str] = []
    site.server.heard = heard
    site.look(2)
    site.arrived(other)
    assert [kept.facts["filename"] for kept in site.server.ended] == [one]
    assert len(site.server.ended[0].data) < site.server.ended[0].length
    assert site.links() == [("sealed", one), ("sealed", other), ("removed", one)]


@pytest.mark.parametrize("where", ["cut", "told"])
def test_a_recording_that_is_erased_between_two_tries_is_taken_back(site: Site, where: str) -> None:
    one, other = two(site)
    if where == "cut":
        site.server.cuts = [300_000]
    else:
        site.fails = lambda path, after: path == "recordings sent" and not after
    site.look()
    site.fails = lambda path, after: False
    site.begin()
    assert site.desk.recordings.erase([one], NOW) == 1
    site.desk.store.flush()
    site.look(2)
    site.arrived(other)
    assert {kept.facts["filename"] for kept in site.server.ended} == ({one} if where == "cut" else {one, f"{one}.json"})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("command", ["recordings outbox", "recordings chain", "recordings sent"])
def test_call_control_may_be_gone_at_any_question(site: Site, command: str, after: bool) -> None:
    paths = two(site)
    for number in range(1, 8):
        count = 0

        def fails(path: str, now_after: bool, wanted: int = number) -> bool:
            nonlocal count
            count += path == command and now_after == after
            return path == command and now_after == after and count == wanted

        site.fails = fails
        site.look()
        site.begin()
    site.fails = lambda path, after: False
    site.look()
    site.arrived(*paths)
    assert site.server.total == sizes(site)


def test_a_disk_that_is_full_loses_no_state(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = two(site)
    assert site.db is not None
    monkeypatch.setattr(site.db, "flush", lambda seconds=5.0: False)
    site.look()
    assert {method for method, _, _ in site.server.asked} == {"OPTIONS", "POST"}, "bytes went out without a note of where"
    assert "disk is full" in site.ask("show upload")["says"]
    monkeypatch.undo()
    site.look(2)
    site.arrived(*paths)


def test_a_file_that_is_not_what_the_chain_says_is_not_sent(site: Site) -> None:
    one, other = two(site)
    file = site.desk.recordings.folder / one
    sound = file.read_bytes()
    file.write_bytes(sound[:5000] + bytes([sound[5000] ^ 1]) + sound[5001:])
    site.look(2)
    site.arrived(other)
    english, told = site.part.alarms()["upload:held"]
    assert english == f"1 recordings are not sent; {one}: is not what the chain says; `recordings verify` tells more"
    assert told.startswith("1 份录音未上传")
    asked = len(site.server.asked)
    site.look(3)
    assert len(site.server.asked) == asked
    assert site.ask("show upload")["waiting"] == 1


def test_only_some_queues_and_lines(tmp_path: Path, server: TusServer) -> None:
    ports = '[queues.sales]\n[ports.fxo.1]\n[ports.fxo.3]\n[[inbound]]\nto = "queue/sales"\n'
    site = Site(tmp_path, server, f'queues = ["sales"]\nlines = ["1", "3"]\n{ports}')
    paths = two(site)
    call(site, "C3", at=NOW + 3, line=2)
    call(site, "C4", at=NOW + 4, queue="service")
    third = call(site, "C5", at=NOW + 5, line=3)
    site.look()
    assert sorted(site.server.whole("recording")) == [*paths, third]
    site.end()
    site.desk.db.close()


def test_of_a_call_that_goes_on_nothing_is_sent_before_its_end(site: Site) -> None:
    path = site.desk.contact("C1", "1", "8001")
    forgotten = site.desk.contact("C2", "1", "8001", at=NOW - 3_600_000 - 21_001)       # core was killed: its end is never told
    site.look()
    assert sorted(site.server.whole("recording")) == [forgotten]
    site.desk.db.execute("UPDATE contacts SET ended_ms = ? WHERE id = 'C1'", (NOW + 30_000,))
    site.desk.store.flush()
    site.look()
    site.arrived(*sorted((path, forgotten)))


def test_nights_without_success_raise_an_alarm_until_one_succeeds(site: Site) -> None:
    paths = two(site)
    site.server.says = [("OPTIONS", 500)] * 40
    asyncio.run(site.part.look())
    assert site.ask("show upload")["state"] == "pausing"
    for night in range(3):
        assert site.part.alarms() == {}
        site.now = NIGHT + night * 86_400
        site.look(3)
        assert site.ask("show upload")["says_zh"] == "中心应答 500"
        site.now = MORNING + night * 86_400
        site.look()
        site.begin()
    english, told = site.part.alarms()["upload:nights"]
    assert english == "no recording has reached the centre for 3 nights: the centre answers 500"
    assert told == "已连续 3 夜没有录音送达中心：中心应答 500"
    assert site.ask("show upload")["nights_without"] == 3
    site.server.says = []
    site.now = NIGHT + 4 * 86_400
    site.look()
    assert site.part.alarms() == {}
    site.arrived(*paths)


def test_nothing_is_sent_to_a_server_of_another_ca(tmp_path: Path, server: TusServer) -> None:
    other = TusServer(tmp_path / "other").start()
    site = Site(tmp_path, server, to=other.url)
    two(site)
    site.look()
    assert other.asked == []
    assert "certificate" in site.ask("show upload")["says"]
    other.stop()
    site.end()
    site.desk.db.close()


def test_off_it_says_so_and_asks_nobody(site: Site) -> None:
    two(site)
    site.config = Config()
    site.look()
    shown = site.ask("show upload")
    assert (shown["state"], shown["says"]) == ("off", "off: recording.upload.url is not set")
    refused = asyncio.run(site.gate.perform(Peer("uid:0", "admin"), "upload now", {}))
    assert refused["error"]["message"] == "recordings stay here: recording.upload.url is not set"
    assert site.server.asked == []


def test_under_quota_pressure_those_that_the_centre_has_go_first(tmp_path: Path) -> None:
    box = Box(tmp_path)
    paths = [box.one(f"C{number}", 10.0, at=NOW + number) for number in range(4)]        # 320 kB each
    for path in paths[2:]:
        box.store.sent(path, "night", NOW, "https://centre.example/1")
        box.store.sent(path, "night", NOW, "https://centre.example/1")
    assert box.store.flush()
    assert len(box.store.heard(10)) == 2
    quota = Recording(reserve_mb=1, quota_mb=1, sent_first=True)
    assert quota.quota_mb * MEGABYTE < 4 * 320_000
    box.recordings.settings = quota
    box.recordings.sweep(NOW)
    assert box.paths() == [paths[3], paths[1], paths[0]]
    box.recordings.settings = Recording(reserve_mb=1, quota_mb=1)
    box.one("C9", 10.0, at=NOW + 9)
    box.recordings.sweep(NOW)
    assert box.paths() == [f"{paths[0].rpartition('/')[0]}/C9.rec", paths[3], paths[1]]
    box.recordings.sweep(NOW + 91 * DAY)
    assert box.paths() == []
    box.db.close()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('begin = "05:00"\nend = "05:00"\n', "recording.upload.end"),
        (f'recipient = "{"A" * 42}8="\n', ""),
        ('recipient = "AAAA"\n', "recording.upload.recipient"),
        ('url = "http://centre.example/files/"\n', "recording.upload.url"),
        ('end = ""\n', "recording.upload.end"),
        ('queues = ["nowhere"]\n', "recording.upload.queues"),
    ],
)
def test_what_cannot_work_is_refused(text: str, path: str) -> None:
    _, found = check(f"[recording.upload]\n{text}".encode(), file="site.toml")
    assert any(problem.path.startswith(path) for problem in found) if path else not found
    assert all(chinese(problem.message) != problem.message for problem in found)
