"""A line's own disconnect tone: proposed, verified or refuted by calls, kept over a restart; and the statistic of false hang-ups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.app import tone_views
from firmware.call.model import Cause, LegEnded
from firmware.control.gate import Gate, Peer
from firmware.core.lines_hangups import DAY_MS, LEAST, WITHIN_MS, NightlyHangUps, judge
from firmware.core.lines_learn import LineLearning
from firmware.errors import CommandError
from firmware.line.disconnect_learn import MOST, STATES, VERIFY, Candidate, LineTones
from firmware.line.profiles import PROFILES, profile
from firmware.runtime.alarms import Alarms
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.store.db import Database
from firmware.store.hangups import HangUps, count_hang_ups
from firmware.store.linebook import LineBookStore
from tests.unit.test_line_ports import Site, media_event

OWN: dict[str, Any] = {
    "reason": "", "start": 0, "freqs_hz": (620.0,), "cadence_ms": (180, 320), "levels_db": (0.0, 0.0), "level_dbm0": -14.0,
    "confidence": 0.9, "purity": 0.95, "jitter": 0.02, "repetitions": 9,
}


class Media:
    """Hands events to whoever subscribed, the lines first as in the box."""

    def __init__(self) -> None:
        self.readers: list[Callable[[Any], None]] = []

    def subscribe(self, fn: Callable[[Any], None]) -> None:
        self.readers.append(fn)


class Branch:
    """A site whose lines learn."""

    def __init__(self, db: Database, clock: ManualClock | None = None) -> None:
        self.site = Site(start=False, clock=clock)
        self.media = Media()
        self.media.subscribe(self.site.lines.media_event)
        self.learning = LineLearning(self.site.lines, self.media, self.site.bus, self.site.clock, LineBookStore(db))
        self.site.lines.start()
        self.site.run(500)
        self.tell("Battery", present=True, volts=48.0)

    def tell(self, kind: str, **fields: Any) -> Branch:
        event = media_event(kind, 0, self.site.clock.now(), **fields)
        for reader in self.media.readers:
            reader(event)
        return self

    def talk(self) -> str:
        self.site.run(5000)
        return self.site.talk_in(0)

    def hears(self, name: str) -> Branch:
        return self.tell("ToneHeard", name=name, cycles=3, start_at=self.site.clock.now() - 1500, confidence=0.9)

    def agent_hangs_up(self, leg: str) -> Branch:
        self.site.lines.hang_up(leg, Cause.NORMAL)
        self.site.run(500)
        return self.tell("LearnedTone", **OWN)

    @property
    def state(self) -> str:
        one = self.learning.of("line/1").active()
        return "" if one is None else one.state

    def listened_for(self) -> set[str]:
        detects = [named for name, port, named in self.site.wire.commands if name == "detect" and port == 0 and named["tones"]]
        return {spec.name for spec in detects[-1]["tones"]}


@pytest.fixture
def db(tmp_path: Path) -> Any:
    opened = Database(tmp_path / "state.db", "state")
    yield opened
    opened.close()


def test_tone_of_a_natural_hang_up_is_proposed_verified_by_two_calls_and_then_releases_the_line(db: Database, tmp_path: Path) -> None:
    branch = Branch(db)
    branch.agent_hangs_up(branch.talk())
    assert branch.state == "proposed"
    for _ in range(VERIFY):
        leg = branch.talk()
        assert "learned?" in branch.listened_for() and "learned" not in branch.listened_for()
        branch.site.run(5000)
        branch.hears("learned?").site.run(1000)
        assert not [one for one in branch.site.all(LegEnded) if one.leg == leg], "a proposal must not end a call"
        branch.agent_hangs_up(leg)
    assert branch.state == "used" and branch.learning.of("line/1").candidates[0].verified == VERIFY
    leg = branch.talk()
    assert "learned" in branch.listened_for()
    branch.site.run(5000)
    branch.hears("learned")
    ended = branch.site.all(LegEnded)[-1]
    assert ended.leg == leg and ended.by_far and "learned tone" in ended.evidence.detail
    assert branch.learning.of("line/1").candidates[0].verified == VERIFY + 1
    # a restart of core knows it
    db.flush()
    again = Branch(db, ManualClock(now=10_000))
    assert again.state == "used" and again.site.lines.ports["line/1"].machine.disconnect.learned is not None


def test_calls_that_go_on_after_the_tone_refute_it(db: Database) -> None:
    branch = Branch(db)
    branch.agent_hangs_up(branch.talk())
    leg = branch.talk()
    branch.site.run(3000)
    branch.hears("learned?").site.run(2000)
    branch.tell("ToneStopped", name="learned?").site.run(4000)
    branch.tell("Voice", active=True).site.run(5000)
    branch.agent_hangs_up(leg)                                   # and the learner saw it at the end once more
    one = branch.learning.of("line/1").candidates[0]
    assert (one.state, one.against) == ("refuted", 1)
    branch.talk()
    assert not {"learned", "learned?"} & branch.listened_for()


def test_call_that_ends_right_after_the_tone_is_no_evidence_against_it(db: Database) -> None:
    branch = Branch(db)
    branch.agent_hangs_up(branch.talk())
    leg = branch.talk()
    branch.site.run(3000)
    branch.hears("learned?").site.run(2000)
    branch.tell("ToneStopped", name="learned?").site.run(1000)
    branch.tell("Voice", active=False)
    branch.agent_hangs_up(leg)
    one = branch.learning.of("line/1").candidates[0]
    assert (one.state, one.verified, one.against) == ("proposed", 1, 0), "one call verifies once"


def test_another_line_on_the_jack_begins_anew(db: Database) -> None:
    branch = Branch(db)
    branch.agent_hangs_up(branch.talk())
    db.flush()
    db.execute("UPDATE line_book SET line = '0000000000000001'")
    db.flush()
    assert Branch(db).state == ""


@pytest.mark.parametrize("country", sorted(PROFILES))
def test_what_the_profile_knows_is_not_proposed(country: str) -> None:
    for name, spec in PROFILES[country].tones.items():
        if not spec.cadence_ms or spec.phase_freqs_hz:
            continue
        tones = LineTones()
        levels = spec.phase_levels_db or ()
        outcome = tones.sight(Candidate(spec.freqs_hz, spec.cadence_ms, -12.0, levels), profile(country), 0.9)
        assert outcome == ("known" if name in ("busy", "congestion", "unobtainable") else "refused") and not tones.candidates, name


def test_sightings_of_one_tone_are_one_candidate_and_their_mean() -> None:
    tones, cn = LineTones(), profile("CN")
    for freq, on, off in ((620.0, 180, 320), (624.0, 188, 312), (616.0, 172, 328)):
        tones.sight(Candidate((freq,), (on, off), -14.0), cn, 0.9)
    (one,) = tones.candidates
    assert one.sightings == 3 and abs(one.freqs_hz[0] - 620.0) < 1.0 and abs(one.cadence_ms[0] - 180) <= 1
    assert tones.sight(Candidate((620.0,), (180, 320), -14.0), cn, 0.3) == "weak"
    assert tones.sight(Candidate((150.0,), (180, 320), -14.0), cn, 0.9) == "refused"


def test_operators_choice_stands_one_voice_against_it_but_not_two() -> None:
    tones = LineTones([Candidate((620.0,), (180, 320), -14.0)])
    assert tones.accept(5).by == "operator"  # type: ignore[union-attr]
    tones.went_on()
    assert tones.active() is not None
    tones.went_on()
    assert tones.active() is None and tones.accept(6) is None


TONES = st.tuples(st.sampled_from([300.0, 500.0, 620.0, 900.0, 1500.0, 2500.0]), st.integers(60, 900), st.integers(60, 900))


@given(st.lists(st.one_of(TONES, st.sampled_from(["end", "on", "accept"])), max_size=40))
def test_memory_is_bounded_and_a_refuted_tone_is_never_active(history: list[Any]) -> None:
    tones, cn = LineTones(), profile("CN")
    for at, what in enumerate(history):
        if what == "end":
            tones.ended_with(at)
        elif what == "on":
            tones.went_on()
        elif what == "accept":
            tones.accept(at)
        else:
            tones.sight(Candidate((what[0],), (what[1], what[2]), -14.0, last_ms=at), cn, 0.9)
        active = tones.active()
        assert len(tones.candidates) <= MOST and all(one.state in STATES for one in tones.candidates)
        assert active is None or active.state != "refuted"
        assert sum(one.state == "used" for one in tones.candidates) <= 1


def test_commands_show_accept_and_forget(db: Database) -> None:
    branch = Branch(db)
    branch.agent_hangs_up(branch.talk())
    gate = Gate(Bus(), branch.site.clock)
    nightly = NightlyHangUps(lambda since, until, within: [], branch.site.clock, Alarms(Bus(), branch.site.clock), UTC)
    tone_views.attach(gate, branch.learning, nightly, UTC)
    boss = Peer("test", "admin")

    def ask(path: str, **args: Any) -> Any:
        reply = asyncio.run(gate.perform(boss, path, args))
        return reply["result"] if reply["ok"] else reply["error"]["message"]

    (row,) = ask("tone show", line="1")
    assert row["line"] == "line/1" and "620 Hz, 180/320 ms" in row["tone"]
    assert "2 more calls" in row["state_en"] and "2 次" in row["state_zh"]
    (row,) = ask("tone accept", line="line/1")
    assert row["state_en"].startswith("used")
    assert branch.site.lines.ports["line/1"].machine.disconnect.learned is not None
    assert ask("tone forget", line="1") == [] and ask("tone show") == []
    assert branch.site.lines.ports["line/1"].machine.disconnect.learned is None
    assert "no proposal" in ask("tone accept", line="2")
    assert "show lines" in ask("tone show", line="9")
    with pytest.raises(CommandError):
        branch.learning.port("101")


# --- statistic ----------------------------------------------------------------------------------------------------------------


def leg(db: Database, number: str, ended: int, evidence: str, *, by_far: bool = True, line: str = "line/1", name: str = "") -> None:
    key = name or f"{line}-{number}-{ended}"
    db.execute("INSERT INTO contacts (id, generation, boot, kind, opened_ms) VALUES (?, 'g', 1, 'inbound', ?)", (key, ended - 60_000))
    db.execute(
        "INSERT INTO legs (id, contact, kind, endpoint, role, incoming, number, started_ms, answered_ms, ended_ms, cause, evidence, "
        "confidence, by_far) VALUES (?, ?, 'fxo', ?, 'caller', 1, ?, ?, ?, ?, 'normal', ?, 0.9, ?)",
        (key, key, line, number, ended - 60_000, ended - 50_000, ended, evidence, by_far),
    )


def test_calls_back_are_counted_from_the_records(tmp_path: Path) -> None:
    db = Database(tmp_path / "calls.db", "calls")
    leg(db, "111", 1_000_000, "busy-tone")
    leg(db, "111", 1_150_000, "command", by_far=False, line="line/2")      # began 90 s later: called back, on another line
    leg(db, "222", 1_000_000, "busy-tone")
    leg(db, "222", 1_400_000, "busy-tone")                                 # began 340 s later: another matter
    leg(db, "", 1_000_000, "busy-tone")
    leg(db, "333", 5_000_000, "busy-tone")                                 # outside the days asked for
    db.flush()
    rows = {(one.endpoint, one.evidence): one for one in count_hang_ups(db, 0, 4_000_000, WITHIN_MS)}
    db.close()
    one = rows["line/1", "busy-tone"]
    assert (one.calls, one.numbered, one.back, one.by_far) == (4, 3, 1, True)
    assert rows["line/2", "command"].back == 0


def row(endpoint: str, evidence: str, numbered: int, back: int, by_far: bool = True) -> HangUps:
    return HangUps(endpoint, evidence, by_far, numbered, 0.9, numbered, back)


def test_estimate_is_what_exceeds_the_usual_share() -> None:
    found = {one.endpoint: one for one in judge([
        row("line/1", "busy-tone", 40, 14), row("line/1", "command", 60, 3, by_far=False),
        row("line/2", "busy-tone", 40, 3), row("line/2", "loop-drop", 60, 4),
        row("line/3", "silence", 2, 2),
    ])}
    assert found["line/1"].suspicious and 10.0 < found["line/1"].estimate <= 14.0
    assert not found["line/2"].suspicious and found["line/2"].estimate < LEAST
    assert not found["line/3"].suspicious, "two calls prove nothing"


@given(st.lists(st.tuples(st.sampled_from(["line/1", "line/2"]), st.sampled_from(["busy-tone", "command", "silence"]), st.integers(0, 200),
                          st.integers(0, 200)), max_size=6))
def test_estimates_are_sane_for_any_counts(counts: list[tuple[str, str, int, int]]) -> None:
    rows = [row(endpoint, kind, n, min(n, back), kind != "command") for endpoint, kind, n, back in counts]
    for one in judge(rows):
        assert 0.0 <= one.estimate <= one.back and 0.0 < one.usual < 1.0 and (not one.suspicious or one.back >= LEAST)


def test_every_night_at_three_the_alarm_follows_the_estimate() -> None:
    clock = ManualClock(now=0)
    bad = [row("line/1", "busy-tone", 40, 20), row("line/1", "command", 60, 1, by_far=False)]
    asked: list[tuple[int, int, int]] = []
    answer: list[HangUps] = bad

    def count(since: int, until: int, within: int) -> list[HangUps]:
        asked.append((since, until, within))
        return answer

    alarms = Alarms(Bus(), clock)
    NightlyHangUps(count, clock, alarms, UTC).start()
    clock.advance(DAY_MS + 1000)
    assert len(asked) == 1 and [kind for kind, _, _ in alarms.list()] == ["false-hang-ups:line/1"]
    answer = [row("line/1", "busy-tone", 40, 1)]
    clock.advance(DAY_MS)
    assert len(asked) == 2 and not alarms.list()
    assert asked[1][1] - asked[0][1] == DAY_MS and asked[0][1] - asked[0][0] == 7 * DAY_MS
