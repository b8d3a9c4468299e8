"""Management's part of the configuration and its store, with a call control that only says what it was told."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

ring = pytest.importorskip("firmware.dsp.ring", reason="the ring segment is not built: make ext")

from firmware.app import configuration as part  # noqa: E402
from firmware.app.configuration import Configuration  # noqa: E402
from firmware.app.reconfigure import FILE, fingerprint  # noqa: E402
from firmware.app.start import Start  # noqa: E402
from firmware.config import model, plan, upgrade  # noqa: E402
from firmware.config.schema.tree import Config  # noqa: E402
from firmware.control.client import CommandFailed, NotRunning  # noqa: E402
from firmware.control.gate import Gate, Peer  # noqa: E402
from firmware.runtime.bus import Bus  # noqa: E402
from firmware.runtime.clock import ManualClock  # noqa: E402
from firmware.store import configuration as stored  # noqa: E402
from firmware.store import files  # noqa: E402
from firmware.store.configuration import ConfigurationStore, boot_id, in_force  # noqa: E402
from tests.unit.test_control_manage import handover  # noqa: E402

SITE = '[extensions.201]\nkind = "sip"\n[queues.sales]\n[[inbound]]\nto = "queue/sales"\n'
ADMIN, LEADER = Peer("ann", "admin"), Peer("lee", "supervisor")


class CoreLike:
    """What call control says of configurations; it may refuse, be away, or be in a call."""

    def __init__(self, state: Path) -> None:
        self.path = state / "run" / FILE
        self.digest, self.calls, self.ports = "", 0, []
        self.control, self.away, self.refuses = False, False, ""
        self.taken: list[str] = []
        self.alarms: dict[str, list[str]] = {}

    async def __call__(self, path: str, **args: Any) -> Any:
        if self.away:
            raise NotRunning("away")
        if path == "configuration take":
            if self.refuses and self.refuses in self.path.read_bytes().decode("latin-1"):
                raise CommandFailed("internal", "it cannot be taken")
            config = msgspec.msgpack.decode(self.path.read_bytes(), type=Config)
            assert fingerprint(config) == args["digest"]
            self.digest, self.alarms = args["digest"], args["alarms"]
            self.taken.append(self.digest)
        if path in ("show lines", "show phones", "show trunks"):
            return []
        return {
            "digest": self.digest,
            "differs": [],
            "calls": self.calls,
            "control": self.control,
            "ports": self.ports,
            "waits": [],
            "alarms": list(self.alarms),
        }


class Box:
    """A state folder with the part and its core."""

    def __init__(self, state: Path) -> None:
        (state / "site.toml").write_text(SITE)
        start = Start(state / "site.toml", state, None)
        site = start.site()
        assert site.config is not None, [one.text() for one in site.problems]
        self.state, self.core = state, CoreLike(state)
        self.handover = handover(state)
        self.handover.config = start.take(site)
        self.handover.start = start.token
        self.begin()

    def begin(self) -> None:
        """Management starts."""
        self.part = Configuration(self.handover, self.core)
        self.gate = Gate(Bus(), ManualClock())
        self.part.attach(self.gate)

    async def ask(self, path: str, peer: Peer = ADMIN, **args: Any) -> Any:
        reply = await self.gate.perform(peer, path, args)
        return reply["result"] if reply["ok"] else reply["error"]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    (tmp_path / "run").mkdir()
    return Box(tmp_path)


def run(work: Any) -> Any:
    return asyncio.run(work)


def test_each_role_changes_what_the_schema_lets_it_change(box: Box) -> None:
    async def work() -> None:
        assert (await box.ask("set", LEADER, setting="queues.sales.ring_s", value="30"))["changes"] == 1
        assert (await box.ask("set", LEADER, setting="extensions.201.secret", value="long-enough-1"))["kind"] == "not_allowed"
        assert (await box.ask("set", Peer("vi", "viewer"), setting="queues.sales.ring_s", value="31"))["kind"] == "not_allowed"
        assert (await box.ask("set", setting="extensions.201.secret", value="long-enough-1"))["changes"] == 2
        diff = await box.ask("show diff")
        assert [(one["path"], one["new"], one["author"]) for one in diff] == [
            ("extensions.201.secret", "(hidden)", "ann"), ("queues.sales.ring_s", "30", "lee"),
        ]  # fmt: skip
        shown = json.dumps([await box.ask(path) for path in ("show candidate", "show plan", "show diff", "export configuration")])
        assert "long-enough-1" not in shown

    run(work())


def test_a_very_large_site_is_looked_at_as_a_whole_at_the_commit_only(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "CHECK_S", -1.0)

    async def work() -> None:
        assert (await box.ask("set", setting="queues.sales.ring_s", value="30"))["checked"]
        assert await box.ask("set", setting="inbound[0].to", value="queue/none") == {"changes": 2, "problems": [], "checked": False}
        assert (await box.ask("set", setting="queues.sales.ring_s", value="3000"))["kind"] == "refused"
        assert "names no queue" in (await box.ask("commit"))["message"]

    run(work())


def test_a_candidate_outlives_management_and_is_gone_after_the_commit(box: Box) -> None:
    async def work() -> None:
        await box.ask("set", setting="queues.sales.ring_s", value="30")
        box.begin()
        assert (await box.ask("show diff"))[0]["author"] == "ann"
        await box.ask("commit", note="longer")
        box.begin()
        assert await box.ask("show diff") == []
        assert (await box.ask("show revisions"))[0]["note"] == "longer"
        assert (await box.ask("commit"))["message_zh"] == "与运行配置没有差异，无需提交"

    run(work())


def test_a_configuration_that_call_control_does_not_take_is_taken_back_at_once(box: Box) -> None:
    async def work() -> None:
        await box.ask("commit")
        before = box.core.digest
        box.core.refuses = "poison"
        await box.ask("set", setting="site.name", value="poison")
        refused = await box.ask("commit")
        assert refused["kind"] == "refused" and "is in force again" in refused["message"] and "已恢复" in refused["message_zh"]
        assert (await box.ask("show trial"))["running"] == 1
        assert box.core.digest in (before, fingerprint(box.handover.config))
        kept = in_force(box.state / "config")
        assert kept is not None and "poison" not in kept.text
        assert "config:reverted" in box.core.alarms

    run(work())


def test_what_other_parts_want_raised_reaches_call_control_and_goes_away_again(box: Box) -> None:
    wanted: dict[str, list[str]] = {}
    box.part.alarming.append(lambda: wanted)

    async def work() -> None:
        await box.part._look()
        assert box.core.alarms == {}
        for text in ("no stick", "disk full"):
            wanted["backup:nightly"] = [text, text]
            await box.part._look()
            assert box.core.alarms == wanted, "also another text of the same kind"
        box.core.alarms, box.core.digest = {}, ""
        await box.part._look()
        assert box.core.alarms == wanted, "another call control is told, too"
        wanted.clear()
        await box.part._look()
        assert box.core.alarms == {}

    run(work())


def test_a_call_control_that_is_away_for_long_does_not_get_a_new_configuration(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "COME_UP_S", 0.2)

    async def work() -> None:
        box.core.away = True
        await box.ask("set", setting="site.name", value="North")
        assert (await box.ask("commit"))["kind"] == "refused"
        assert (await box.ask("show trial"))["running"] == 1

    run(work())


def test_a_trial_ends_by_itself_in_the_next_management_too(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        await box.ask("set", setting="site.name", value="North")
        assert (await box.ask("commit confirmed", seconds=10))["state"] == "trial"
        box.begin()
        assert (await box.ask("show trial"))["state"] == "trial"
        later = box.part.store.book.trial
        assert later is not None and later.boot == boot_id()
        monkeypatch.setattr(box.part.store, "_now_ms", lambda: later.until_ms + 1)
        await box.part._look()
        trial = await box.ask("show trial")
        assert (trial["state"], trial["running"]) == ("running", 1) and "未及时确认" in trial["reverted_zh"]
        assert "North" not in box.part.running.site.name

    run(work())


def test_new_processes_are_asked_for_when_nothing_is_in_their_way(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: asked.append(number))
    wanted, built = box.state / "run/wanted.json", box.state / "run/built.json"

    def levels(config: Config) -> None:
        built.write_bytes(msgspec.json.encode({name: plan.digests(config) for name in ("parent", "media", "core")}))

    async def look() -> str:
        wanted.unlink(missing_ok=True)
        await box.part._look()
        return str(json.loads(wanted.read_text())["level"]) if wanted.exists() else ""

    async def work() -> None:
        levels(box.handover.config)
        assert await look() == ""
        box.core.control, box.core.ports = True, ["201"]
        assert await look() == ""
        box.core.ports = []
        assert await look() == "control"
        box.core.control = False
        await box.ask("set", setting="rtp.jitter_max_ms", value="150")
        assert "no call is up" in (await box.ask("commit"))["waits"]
        box.core.calls = 1
        assert await look() == ""
        assert not (await box.ask("verify configuration"))["right"]
        box.core.calls = 0
        assert await look() == "media"
        levels(box.handover.config)
        assert await look() == ""
        assert (await box.ask("verify configuration"))["right"]
        await box.ask("set", setting="sip.port", value="5070")
        await box.ask("commit")
        assert await look() == "appliance"
        assert set(asked) == {signal.SIGHUP}

    run(work())


def test_a_full_disk_refuses_and_changes_nothing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        await box.ask("set", setting="site.name", value="North")

        def full(*_: Any, **__: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", full)
            refused = await box.ask("commit")
        assert refused["kind"] == "refused" and "nothing was changed" in refused["message"]
        assert (await box.ask("show trial"))["running"] == 1 and len(await box.ask("show diff")) == 1
        assert (await box.ask("commit"))["revision"] == 2

    run(work())


def test_a_damaged_file_gives_way_to_the_newest_good_one_with_an_alarm(box: Box) -> None:
    async def work() -> None:
        for name in ("North", "South"):
            await box.ask("set", setting="site.name", value=name)
            await box.ask("commit")
        folder = box.state / "config"
        for path in (folder / "startup.toml", folder / "revisions/000003.toml"):
            path.write_bytes(path.read_bytes().replace(b"South", b"Sauth"))
        store = ConfigurationStore(folder)
        assert (store.book.running, store.text(2).count("North")) == (2, 1)
        assert {one.kind for one in store.damages} == {"config:startup.toml", "config:000003.toml"}
        assert all(one.chinese for one in store.damages)
        box.begin()
        await box.part._look()
        assert "config:startup.toml" in box.core.alarms
        assert Start(None, box.state, None).site().config == box.part.running
        # A revision whose own file is damaged while startup.toml is good comes from there, without loss.
        await box.ask("set", setting="site.name", value="West")
        await box.ask("commit")
        newest = max((folder / "revisions").glob("*.toml"))
        newest.write_bytes(b"#: nonsense")
        assert ConfigurationStore(folder).text(box.part.store.book.running).count("West") == 1

    run(work())


def test_a_start_takes_the_newest_configuration_that_this_version_can_use(box: Box) -> None:
    async def work() -> None:
        await box.ask("set", setting="site.name", value="North")
        await box.ask("commit")
        store = box.part.store
        store.commit('schema = 99\nname = "of the future"\n', "next version", "")
        start = Start(None, box.state, None)
        site = start.site()
        assert site.config is not None and site.config.site.name == "North"
        start.take(site)
        found = ConfigurationStore(box.state / "config")
        assert "North" in found.text(found.book.running) and any("cannot be used" in one.text for one in found.damages)

    run(work())


def another_version(patch: pytest.MonkeyPatch) -> None:
    """A firmware with a schema 2, in which `site.name` is what schema 1 calls `site.title`."""

    def upgrade_1_to_2(tree: dict[str, Any]) -> dict[str, Any]:
        site = tree.get("site", {})
        return {**tree, "site": {("name" if name == "title" else name): value for name, value in site.items()}}

    patch.setitem(upgrade.UPGRADES, 1, upgrade_1_to_2)
    for module in (upgrade, model, stored):
        patch.setattr(module, "SCHEMA_VERSION", 2)


def test_revisions_of_an_older_schema_run_are_rolled_back_to_and_loaded(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old to new: what this version has stored names its version, and a later one reads it by its upgrade function, wherever it lies."""

    async def work() -> None:
        assert box.part.store.text(1).startswith("schema = 1\n")
        store = box.part.store
        for name in ("West", "South"):              # as a schema in which it was called otherwise would have written it
            store.commit(store.text(1).replace("schema = 1\n", f'schema = 1\nsite = {{ title = "{name}" }}\n'), "older version", "")
        another_version(monkeypatch)
        start = Start(None, box.state, None)
        site = start.site()
        assert site.config is not None, [one.text() for one in site.problems]
        assert start.take(site).site.name == "South"
        box.begin()
        assert box.part.running.site.name == "South" and await box.ask("show candidate", under="site") == ['set site.name "South"']
        [changed] = await box.ask("show diff", since=1)
        assert (changed["path"], changed["old"], changed["new"]) == ("site.name", '"West"', '"South"')
        older = store.text(2) + "[queues.more]\n"
        assert (await box.ask("load", text=older))["problems"] == []
        assert [one["path"] for one in await box.ask("show diff")] == ["queues.more", "site.name"]
        await box.ask("discard")
        assert (await box.ask("rollback", back=1))["revision"] == 4 and box.part.running.site.name == "West"
        await box.ask("set", setting="queues.sales.ring_s", value="33")
        await box.ask("commit")
        assert store.text(4).startswith("schema = 1\n") and box.part.store.text(5).startswith("schema = 2\n")
        assert (await box.ask("verify configuration"))["right"]
        wrong = await box.ask("load", text='schema = 1\nsite = 5\n')
        assert wrong["kind"] == "refused" and "is not the version of what follows" in wrong["message"], wrong

    run(work())


def test_an_older_firmware_takes_the_newest_configuration_of_its_own_schema(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """New to old: a board that falls back to the image of before."""

    async def work() -> None:
        with monkeypatch.context() as patch:
            another_version(patch)
            box.begin()
            await box.ask("set", setting="site.name", value="North")
            await box.ask("commit")
            await box.ask("set", setting="site.name", value="Half")
            assert box.part.store.sketch() is not None
        assert box.part.store.text(2).startswith("schema = 2\n")
        start = Start(None, box.state, None)
        site = start.site()
        assert site.config is not None and site.config.site.name == Config().site.name
        start.take(site)
        box.begin()
        assert "config:startup.toml" in box.part._alarms() and box.part.running.site.name == Config().site.name
        assert await box.ask("show diff") == [], "what the other version was writing is not taken for this one's"

    run(work())


def test_a_site_file_is_imported_when_it_has_changed_only(box: Box) -> None:
    async def work() -> None:
        await box.ask("set", setting="site.name", value="North")
        await box.ask("commit")
        same = Start(box.state / "site.toml", box.state, None).site()
        assert same.config is not None and same.config.site.name == "North"
        (box.state / "site.toml").write_text(SITE.replace("[queues.sales]", "[queues.sales]\nring_s = 44"))
        start = Start(box.state / "site.toml", box.state, None)
        site = start.site()
        assert start.take(site).queues["sales"].ring_s == 44
        assert ConfigurationStore(box.state / "config").book.revisions[-1].how == "import"
        (box.state / "site.toml").write_text("queues = 5")
        assert Start(box.state / "site.toml", box.state, None).site().problems

    run(work())


def test_a_full_disk_keeps_nobody_from_starting(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (box.state / "site.toml").write_text(SITE.replace("[queues.sales]", "[queues.sales]\nring_s = 44"))
    start = Start(box.state / "site.toml", box.state, None)
    site = start.site()
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", full)
        assert start.take(site).queues["sales"].ring_s == 44
    assert len(ConfigurationStore(box.state / "config").book.revisions) == 1


def test_words_come_with_help_in_both_languages(box: Box) -> None:
    async def work() -> None:
        (word,) = await box.ask("complete", prefix="queues.sales.ring_s")
        assert word["help"] == "Ring one agent for this long" and word["help_zh"] == "每位坐席的振铃时长"
        assert (word["allowed_zh"], word["unit"], word["apply"], word["role"]) == ("允许：5 到 120 s 的整数", "s", "live", "supervisor")

    run(work())
