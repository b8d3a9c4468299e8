"""A greeting in an agent's own voice: recorded at his telephone, heard at the answer, removed by him or his shift leader (F5, NUM-01).

Every scenario of the telephone also with a restart at each step. The files, and what becomes of a broken one, with the part of core.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firmware.__main__ import main
from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
from firmware.call.mailroom import MailRoom
from firmware.call.rules import rule
from firmware.config.schema.calls import InboundRoute, Menu, MenuKey, Queue
from firmware.config.schema.people import Agent, Extension
from firmware.core.voicemail import VoicemailPart
from firmware.errors import EngineBusy
from firmware.media.events import Recorded
from firmware.prompts import clip_files, site_root
from firmware.store.messages import MessageFiles
from tests.unit.call_stage import config
from tests.unit.mail_stage import MailStage

TO_SALES = [InboundRoute(to="queue/sales", greeting=False, notice=False)]


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def restart(request: pytest.FixtureRequest) -> bool:
    """Whether the whole state goes through JSON after every input."""
    return bool(request.param)


def stage_of(restart: bool = False, **changes: Any) -> MailStage:
    """A site of one language; Anna is agent 8001 at 201."""
    base: dict[str, Any] = {"inbound": TO_SALES, "menus": {}, "queues": {"sales": Queue(), "service": Queue()}}
    stage = MailStage(config(**(base | changes)), restart=restart)
    stage.log_in("8001", "201")
    return stage


def kinds(stage: MailStage) -> list[str]:
    """The kinds of the history of all calls."""
    return [action.kind for _, _, action in stage.done if isinstance(action, do.Record)]


def record(stage: MailStage, extension: str = "201", keys: str = "1") -> str:
    """Dial the code and speak three seconds; the question what to do with it is put."""
    leg = stage.dial(extension, "*76")
    stage.run(1000)
    stage.press(leg, keys)
    stage.run(5000)
    stage.say_something(leg, 2000)
    stage.run(3000)
    stage.press(leg, "#")
    stage.run(1000)
    return leg


# --- at the agent's telephone -----------------------------------------------------------------------------------------


def test_an_agent_records_hears_and_keeps_his_greeting(restart: bool) -> None:
    stage = stage_of(restart)
    leg = record(stage)
    assert stage.heard[leg] == ["vm.greet.keys", "vm.greet.start", "beep", "vm.choice"]
    assert stage.room.own == set(), "nobody hears it before it is accepted"
    stage.press(leg, "2")
    stage.run(100)
    assert stage.heard[leg][-2].startswith("file take/")
    stage.run(5000)
    stage.press(leg, "1")
    stage.run(1000)
    assert stage.room.own == {"zh/8001"}
    assert [one.take.name for one in stage.kept] == ["zh/agent.own.8001"]
    assert stage.heard[leg][-2:] == ["vm.greet.kept", "vm.greet.keys"]
    stage.press(leg, "2")
    stage.run(100)
    assert stage.heard[leg][-2:] == ["file agent/zh/8001", "vm.greet.keys"]
    stage.press(leg, "*")
    stage.run(4000)
    assert stage.heard[leg][-1] == "vm.ended"
    stage.at_rest()


def test_who_records_again_keeps_the_second_one_and_who_hangs_up_the_old_one(restart: bool) -> None:
    stage = stage_of(restart)
    leg = record(stage)
    stage.press(leg, "3")
    stage.run(6000)
    stage.press(leg, "#")
    stage.run(1000)
    stage.press(leg, "1")
    stage.run(1000)
    assert [one.take.key.rpartition("-")[2] for one in stage.kept] == ["2"] and len(stage.dropped) == 1
    stage.leave(leg)
    stage.run(1000)
    other = record(stage)
    stage.leave(other)
    stage.run(1000)
    assert len(stage.kept) == 1 and len(stage.dropped) == 2
    stage.at_rest()


def test_it_ends_by_itself_at_its_longest(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.dial("201", "*76")
    stage.run(1000)
    stage.press(leg, "1")
    stage.run(4100)
    for second in range(0, 60, 2):
        stage.at(1000 * second, lambda: stage.say_something(leg, 1700))
    stage.run(rule("greeting.own") + 1000)
    stage.press(leg, "1")
    stage.run(1000)
    (take,) = stage.takes.values()
    assert abs(take[2] - rule("greeting.own")) <= 100
    assert stage.room.own == {"zh/8001"}
    stage.leave(leg)
    stage.run(60_000)
    stage.at_rest()


def test_key_3_is_the_spoken_number_again(restart: bool) -> None:
    stage = stage_of(restart)
    stage.room.own.add("zh/8001")
    leg = stage.dial("201", "*76")
    stage.run(500)
    stage.press(leg, "3")
    stage.run(500)
    assert stage.heard[leg][-2:] == ["vm.greet.standard", "vm.greet.keys"]
    assert [action.name for _, _, action in stage.done if isinstance(action, vm.PromptRemoved)] == ["zh/agent.own.8001"]
    stage.press(leg, "2")
    stage.run(500)
    assert stage.heard[leg][-2:] == ["agent.id", "vm.greet.keys"]
    stage.leave(leg)
    stage.run(1000)
    assert stage.room.own == set()
    stage.at_rest()


def test_where_callers_come_to_two_languages_a_key_says_which_one_it_is_for(restart: bool) -> None:
    menu = Menu(prompt="ivr.lang", otherwise="queue/sales", keys={"2": MenuKey(to="queue/sales", language="en")})
    stage = stage_of(restart, menus={"language": menu}, inbound=[InboundRoute(to="menu/language", greeting=False, notice=False)])
    leg = record(stage, keys="21")
    stage.press(leg, "1")
    stage.run(500)
    assert stage.heard[leg][0] == "vm.ask.language" and stage.room.own == {"en/8001"}
    assert set(stage.languages[leg]) == {"zh"}, "what the agent himself is told stays in the language of the site"
    stage.leave(leg)
    stage.run(500)
    chinese = stage.ring_in("line/1")
    stage.run(30_000)
    assert "agent.id" in stage.heard[chinese] and "file agent/en/8001" not in stage.heard[chinese]
    stage.leave(chinese)
    stage.run(20_000)
    english = stage.ring_in("line/2")
    stage.run(500)
    stage.press(english, "2")
    stage.run(10_000)
    assert "file agent/en/8001" in stage.heard[english]


@pytest.mark.parametrize(
    ("extension", "digits", "prompt"),
    [
        ("202", "*76", "agent.unknown"), ("202", "*768001", "sup.refused"), ("203", "*768002", "sup.refused"),
        ("203", "*769999", "sup.refused"),
    ],
)  # fmt: skip
def test_others_are_refused_and_that_is_in_the_history(extension: str, digits: str, prompt: str) -> None:
    extensions = config().extensions | {"203": Extension(kind="sip", supervises=["service"])}
    stage = stage_of(extensions=extensions)
    leg = stage.dial(extension, digits)
    stage.run(500)
    assert stage.heard[leg] == [prompt]
    stage.run(3000)
    assert "greeting-refused" in kinds(stage)
    stage.at_rest()


@pytest.mark.parametrize(("dialled", "keyed"), [("*768001", ""), ("*76", "8001#"), ("*76", "8001")])
def test_a_shift_leader_hears_and_removes_but_does_not_speak_for_an_agent(dialled: str, keyed: str, restart: bool) -> None:
    stage = stage_of(restart, extensions=config().extensions | {"203": Extension(kind="sip", supervises=["sales"])})
    stage.room.own.add("zh/8001")
    leg = stage.dial("203", dialled)
    stage.run(500)
    stage.press(leg, keyed)
    stage.run(rule("mail.key") + 500)
    stage.press(leg, "1")
    stage.run(100)
    assert stage.heard[leg][-2:] == ["sup.refused", "vm.greet.keys"]
    stage.press(leg, "2")
    stage.run(100)
    assert "file agent/zh/8001" in stage.heard[leg]
    stage.press(leg, "3")
    stage.run(100)
    assert stage.room.own == set() and not stage.takes
    stage.press(leg, "#")
    stage.run(4000)
    stage.at_rest()


def test_a_full_disk_is_told_before_anybody_speaks() -> None:
    stage = stage_of()
    stage.room.refused = "3 MB free"
    leg = stage.dial("201", "*76")
    stage.run(500)
    stage.press(leg, "1")
    stage.run(500)
    assert stage.heard[leg][-1] == "vm.sorry" and not stage.takes
    stage.run(3000)
    stage.at_rest()


def test_who_keys_nothing_is_asked_again_and_then_let_go(restart: bool) -> None:
    stage = stage_of(restart)
    leg = stage.dial("201", "*76")
    stage.run(60_000)
    assert stage.heard[leg] == ["vm.greet.keys"] * 3 + ["vm.ended"]
    stage.at_rest()


# --- at the answer ----------------------------------------------------------------------------------------------------


def answered(stage: MailStage) -> tuple[str, str]:
    """A caller whom agent 8001 answers: both legs, while they are told."""
    caller = stage.ring_in()
    while not stage.state(caller).agent:
        stage.run(100)
    return caller, stage.leg_at("201")


@pytest.mark.parametrize(
    ("queue", "trainee", "heard", "history"),
    [
        (Queue(), False, ["file agent/zh/8001", "agent.id"], {"agent-greeting", "agent-number"}),
        (Queue(agent_greeting="instead"), False, ["file agent/zh/8001"], {"agent-greeting"}),
        (Queue(agent_greeting="instead"), True, ["file agent/zh/8001", "agent.trainee"], {"agent-greeting", "agent-number"}),
        (Queue(agent_greeting="no"), False, ["agent.id"], {"agent-number"}),
        (Queue(agent_greeting="before", agent_number=False), False, ["file agent/zh/8001"], {"agent-greeting"}),
        (Queue(agent_greeting="no", agent_number=False), False, [], set()),
    ],
)
def test_what_the_queue_lets_callers_hear(queue: Queue, trainee: bool, heard: list[str], history: set[str], restart: bool) -> None:
    agents = {"8001": Agent(pin="11", queues=["sales"], trainee=trainee)}
    stage = stage_of(restart, queues={"sales": queue}, agents=agents)
    stage.room.own.add("zh/8001")
    caller, agent = answered(stage)
    assert [one for one in stage.heard[caller] if one not in ("q.join", "music")] == heard
    assert stage.heard.get(agent, []) == heard, "the agent hears where he is to begin"
    assert {kind for kind in kinds(stage) if kind in ("agent-greeting", "agent-number")} == history
    stage.run(2000 * len(heard) + 300)
    assert stage.talking(caller, agent), "audio connects within 300 ms of what was said"
    ways = [action for _, _, action in stage.done if isinstance(action, vm.PlayFile)]
    assert all("agent.id" in {say.prompt for say in (*way.without, *way.after)} or trainee for way in ways), "a broken one is the number"
    stage.leave(caller)
    stage.run(20_000)


def test_who_waited_long_is_told_to_the_agent_before_his_greeting() -> None:
    stage = stage_of()
    stage.room.own.add("zh/8001")
    stage.board.agent_command("8001", "pause", stage.now, reason="1")
    caller = stage.ring_in()
    stage.run(70_000)
    stage.board.agent_command("8001", "ready", stage.now)
    while not stage.state(caller).agent:
        stage.run(100)
    agent = stage.leg_at("201")
    assert stage.heard[agent] == ["agent.whisper", "file agent/zh/8001", "agent.id"]
    stage.run(4300)
    assert stage.talking(caller, agent), "talk begins when the caller has heard it, whatever the agent still hears"
    stage.leave(caller)
    stage.run(20_000)
    stage.at_rest()


def test_a_key_does_not_cut_it_and_an_agent_who_leaves_gives_the_caller_back(restart: bool) -> None:
    stage = stage_of(restart)
    stage.room.own.add("zh/8001")
    caller, agent = answered(stage)
    stage.press(caller, "5")
    assert not stage.talking(caller, agent)
    stage.leave(agent)
    stage.run(100)
    assert stage.state(caller).phase.value == "queued" and stage.heard[caller][-1] == "music"
    stage.leave(caller)
    stage.run(20_000)
    stage.at_rest()


# --- files ------------------------------------------------------------------------------------------------------------


class Alarms:
    """Those that are raised."""

    def __init__(self) -> None:
        self.raised: dict[str, str] = {}

    def raise_(self, kind: str, text: str, zh: str = "") -> None:
        assert text and zh
        self.raised[kind] = text

    def clear(self, kind: str) -> None:
        self.raised.pop(kind, None)


class Bench:
    """The part of core on files; `broken`: media cannot load a file. Also what the part asks of calls, audio and media."""

    def __init__(self, folder: Path, *, broken: bool = False) -> None:
        self.room = MailRoom()
        self.alarms_ = Alarms()
        self.played: list[tuple[str, str]] = []
        self.written: list[str] = []
        self.told: list[Any] = []
        self.heard: Callable[[Any], None] = lambda event: None
        self.files = MessageFiles(folder / "voicemail", site_root(folder))
        self.broken = broken
        self.late: list[Callable[[], None]] | None = None
        """Where media takes its time: what is to be answered."""
        self.loads: list[str] = []
        self.busy = False
        executors: dict[Any, Any] = {do.Record: lambda contact, action: self.written.append(action.kind)}
        self.executors = executors
        clock = SimpleNamespace(now=lambda: 1000, wall_ms=lambda: 1000, call_later=lambda ms, fn: None)
        playing = SimpleNamespace(plays={"leg": SimpleNamespace(token=7)})
        calls: Any = SimpleNamespace(
            board=SimpleNamespace(mail=self.room, contacts={}), clock=clock, executors=executors, alarms=self.alarms_,
            audio=SimpleNamespace(ports={"leg": 16}, recording=lambda action, clip: self.played.append((action.file, clip))),
            state=lambda contact: playing, take=self.told.append,
        )  # fmt: skip
        media = SimpleNamespace(subscribe=self._subscribe, load_clip=self._load, record=lambda *args, **more: None)
        self.part = VoicemailPart(
            calls, media, self.files, config(), lambda work, then: then(work()), told=lambda extension: None,
            prompt=lambda name, path: self.part.own_greeting(name.replace("agent.own.", "")),
        )  # fmt: skip
        self.part.load()

    @property
    def alarms(self) -> dict[str, str]:
        """What is raised."""
        return self.alarms_.raised

    def _subscribe(self, fn: Callable[[Any], None]) -> None:
        self.heard = fn

    def _load(self, name: str, path: Path) -> Any:
        if self.busy:
            raise EngineBusy("the channel is full")
        self.loads.append(name)
        answer: Any = SimpleNamespace(
            cancelled=lambda: False, exception=lambda: ValueError("it is no WAV") if self.broken else None, result=lambda: 100
        )
        answer.add_done_callback = lambda fn: fn(answer) if self.late is None else self.late.append(lambda: fn(answer))
        return answer

    def play(self) -> None:
        """The caller is to hear it."""
        self.executors[vm.PlayFile]("c1", vm.PlayFile("leg", 7, "zh", "agent/zh/8001", without=(do.Say("agent.id"),)))


def bring(state: Path, file: Path, name: str = "zh/agent.own.8001") -> int:
    """Bring a file by the command of the product."""
    return main(["prompt", "add", str(file), "--as", name, "--state", str(state), "--lang", "en"])


def tone(path: Path, seconds: float) -> Path:
    """A WAV of this length."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x00\x10\x00\xf0" * int(4000 * seconds))
    return path


def test_a_file_is_taken_up_to_the_longest_and_is_there_after_a_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bring(tmp_path, tone(tmp_path / "long.wav", 15.5)) != 0
    assert "15 s" in capsys.readouterr().err
    assert bring(tmp_path, tone(tmp_path / "good.wav", 3), "zh/agent.own.anna") != 0, "agents have numbers"
    assert Bench(tmp_path).room.own == set()
    assert bring(tmp_path, tmp_path / "good.wav") == 0
    bench = Bench(tmp_path)
    assert bench.room.own == {"zh/8001"} and not bench.alarms
    bench.play()
    assert bench.played[0][1].startswith("vm/agent/zh/8001@")
    assert "zh/agent.own.8001" in clip_files(site=site_root(tmp_path))
    assert main(["prompt", "remove", "zh/agent.own.8001", "--state", str(tmp_path), "--lang", "en"]) == 0
    assert "number" in capsys.readouterr().out
    bench.play()
    assert bench.played[1] == ("agent/zh/8001", "") and bench.room.own == set() and not bench.alarms
    assert bench.written == ["agent-greeting-lacks"]


@pytest.mark.parametrize("damage", ["cut", "empty", "words"])
def test_a_broken_file_is_the_number_and_an_alarm_until_it_is_brought_anew(tmp_path: Path, damage: str) -> None:
    file = tone(tmp_path / "good.wav", 3)
    assert bring(tmp_path, file) == 0
    path = site_root(tmp_path) / "zh" / "agent.own.8001.wav"
    path.write_bytes({"cut": path.read_bytes()[:20_000], "empty": b"", "words": b"no sound at all"}[damage])
    bench = Bench(tmp_path)
    assert bench.room.own == set() and list(bench.alarms) == ["greeting:zh/8001"]
    assert bring(tmp_path, file) == 0
    bench.part.own_greeting("zh/8001")
    assert bench.room.own == {"zh/8001"} and not bench.alarms


def test_one_that_breaks_while_it_is_in_use_is_the_number_from_then_on(tmp_path: Path) -> None:
    assert bring(tmp_path, tone(tmp_path / "good.wav", 3)) == 0
    bench = Bench(tmp_path, broken=True)
    bench.play()
    assert bench.played == [("agent/zh/8001", "")] and bench.room.own == set() and list(bench.alarms) == ["greeting:zh/8001"]


def test_both_who_hear_it_wait_for_one_load_of_the_file(tmp_path: Path) -> None:
    assert bring(tmp_path, tone(tmp_path / "good.wav", 3)) == 0
    bench = Bench(tmp_path)
    bench.late = []
    bench.play()
    bench.play()
    assert bench.played == [] and len(bench.loads) == 1, "a second load would take the first one from under who hears it"
    for answer in bench.late:
        answer()
    assert len(bench.played) == 2 and len({clip for _, clip in bench.played}) == 1 and bench.played[0][1]
    bench.play()
    assert len(bench.played) == 3 and len(bench.loads) == 1


def test_where_media_has_no_time_the_number_is_said_and_the_greeting_stays(tmp_path: Path) -> None:
    assert bring(tmp_path, tone(tmp_path / "good.wav", 3)) == 0
    bench = Bench(tmp_path)
    bench.busy = True
    bench.play()
    assert bench.played == [("agent/zh/8001", "")] and bench.room.own == {"zh/8001"} and not bench.alarms
    bench.busy = False
    bench.play()
    assert bench.played[1][1]


def test_a_full_disk_keeps_the_old_greeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bring(tmp_path, tone(tmp_path / "good.wav", 3)) == 0
    path = site_root(tmp_path) / "zh" / "agent.own.8001.wav"
    before = path.read_bytes()
    bench = Bench(tmp_path)
    take = vm.Take("prompt", "zh/agent.own.8001", "c1-1", "c1")
    bench.executors[vm.StartTake]("c1", vm.StartTake("leg", 7, take))
    with wave.open(str(bench.files.path("take/c1-1")), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x00\x08\x00\x00" * 16_000)
    bench.heard(Recorded(port=16, at=1000, wall_ms=0, token=7, samples=16_000, lost_samples=0))
    assert [type(one).__name__ for one in bench.told] == ["TakeRecorded"]
    real = wave.Wave_write.writeframes

    def full(self: Any, data: Any) -> None:
        real(self, data[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wave.Wave_write, "writeframes", full)
    bench.executors[vm.KeepTake]("c1", vm.KeepTake(7, take))
    assert path.read_bytes() == before and [one.name for one in path.parent.iterdir()] == [path.name]
    assert list(bench.alarms) == ["voicemail:disk"] and bench.room.own == {"zh/8001"}
    monkeypatch.undo()
    again = Bench(tmp_path)
    assert again.room.own == {"zh/8001"}, "and so it is after a restart"
