"""The trace of a call: all sources in order of time, figures of RTP thinned out, files in bounds, names that nobody knows."""

from __future__ import annotations

import base64
import json
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from firmware.call.model import Cause, Evidence, LegAnswered, LegEnded
from firmware.call.quality import Quality
from firmware.core.call_trace import CHUNK, FILES_KEPT, FRESH_MS, LEGS_KEPT, LOOK_MS, NOTES_KEPT, CallTraces, figures_text, whole
from firmware.errors import CommandError
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.sip.trace import TraceLine

PEER, OURS = ("192.0.2.7", 5060), ("192.0.2.1", 5060)
HIDDEN = b"INVITE sip:100@pbx SIP/2.0\r\nContent-Length: 99\r\n\r\na=crypto:1 X inline:*\r\n"


class Stage:
    """Call C1: leg L1 of line 1, leg L2 of a SIP phone on engine port 20."""

    def __init__(self) -> None:
        self.clock, self.bus = ManualClock(), Bus()
        self.figures: Quality | None = Quality(
            received=250, sent=251, lost=1, loss=0.4, jitter_ms=2.0, worst_jitter_ms=5.0, mos=4.4,
        )  # fmt: skip
        self.asked: list[int] = []
        self.entries = [SimpleNamespace(at=100, direction="fact", leg="L1", text="RingBurst on=True")]
        ringing = b"SIP/2.0 180 Ringing\r\n\r\n"
        self.messages = {"L2": [TraceLine(300, "out", PEER, HIDDEN, OURS, "udp"), TraceLine(320, "in", PEER, ringing, OURS, "udp")]}
        self.recorded: list[dict[str, Any]] = []
        self.legs: list[dict[str, Any]] = []
        legs = {name: SimpleNamespace(id=name, endpoint=endpoint) for name, endpoint in (("L1", "line/1"), ("L2", "201"))}
        contacts = {"C1": SimpleNamespace(legs=legs)}
        of = lambda leg: next((known for known, state in contacts.items() if leg in state.legs), "")  # noqa: E731 - as the board says it
        self.board = board = SimpleNamespace(contacts=contacts, contact_of=of)
        records = SimpleNamespace(
            legs=lambda name: self.legs if name == "C1" else [], events=lambda name: self.recorded if name == "C1" else []
        )
        lines: Any = SimpleNamespace(ports={"line/1": None}, trace=self._lines)
        phones: Any = SimpleNamespace(trace=lambda leg: self.messages.get(leg, []))
        calls: Any = SimpleNamespace(board=board, records=records)
        self.traces = CallTraces(lines, phones, calls, self.clock, self.bus, self._quality)

    def _lines(self, endpoint: str = "", leg: str = "") -> list[Any]:
        return [entry for entry in self.entries if entry.leg == leg or (endpoint == "line/1" and not leg)]

    def _quality(self, port: int) -> Quality | None:
        self.asked.append(port)
        return self.figures

    def answered(self, leg: str, port: int) -> None:
        self.bus.publish(LegAnswered(leg, self.clock.now(), port, Evidence("sip", 1.0, "")))

    def ended(self, leg: str) -> None:
        self.bus.publish(LegEnded(leg, self.clock.now(), Cause.NORMAL, Evidence("sip", 1.0, ""), True))


def test_everything_of_a_call_is_told_in_order_of_time() -> None:
    stage = Stage()
    stage.clock.advance(400)
    stage.answered("L1", 0)
    stage.answered("L2", 20)
    stage.clock.advance(3000)
    stage.ended("L2")
    wall = stage.clock.wall_ms() - stage.clock.now()
    stage.recorded = [{"at_ms": wall + 200, "kind": "ringing", "leg": "L2", "data": json.dumps({"endpoint": "201", "none": ""})}]
    rows = stage.traces.rows("C1")
    assert [(row.at, row.source) for row in rows] == [(100, "line"), (200, "call"), (300, "sip"), (320, "sip"), (3400, "rtp")]
    assert rows[1].text == "ringing endpoint=201" and rows[2].text == "192.0.2.7:5060 INVITE sip:100@pbx SIP/2.0"
    assert "lost 1" in rows[4].text and stage.asked == [20], "a line has no figures of RTP"
    assert "inline:*" in stage.traces.rows("L2", full=True)[0].text
    assert [row.source for row in stage.traces.rows("line/1")] == ["line"]
    assert {row.leg for row in stage.traces.rows("201")} == {"L2"}, "a telephone stands for its call"
    with pytest.raises(CommandError, match="nothing is kept of 'C9'"):
        stage.traces.rows("C9")


def test_figures_of_a_long_call_are_thinned_out_and_those_of_a_moment_are_not_believed() -> None:
    stage = Stage()
    stage.answered("L2", 20)
    stage.clock.advance(FRESH_MS - 100)
    stage.ended("L2")
    assert not [row for row in stage.traces.rows("L2") if row.source == "rtp"], "may be of the call before"
    stage.answered("L3", 21)
    stage.clock.advance(LOOK_MS * NOTES_KEPT * 5)
    stage.ended("L3")
    at = [row.at for row in stage.traces.rows("L3")]
    assert len(at) <= NOTES_KEPT + 1 and at[-1] == stage.clock.now() and at[0] < LOOK_MS * NOTES_KEPT, "from its beginning to its end"
    apart = [later - sooner for sooner, later in zip(at[:-2], at[1:-1], strict=True)]
    assert LOOK_MS < max(apart) <= 2 * min(apart)
    before = len(stage.asked)
    stage.clock.advance(60_000)
    assert len(stage.asked) == before, "nobody is asked when nobody talks"


def test_legs_that_outlived_call_control_are_looked_at_again() -> None:
    stage = Stage()
    stage.traces.going_on([SimpleNamespace(tag="L2", port=20), SimpleNamespace(tag="L1", port=0), SimpleNamespace(tag="", port=21)])
    stage.clock.advance(LOOK_MS)
    assert stage.asked == [20]


def test_a_call_that_has_just_ended_is_known_before_it_is_recorded() -> None:
    stage = Stage()
    stage.ended("L2")
    stage.board.contacts.clear()
    assert [row.leg for row in stage.traces.rows("C1")] == ["L1", "L2", "L2"]


def test_a_call_whose_legs_are_recorded_in_part_is_told_whole() -> None:
    stage = Stage()
    stage.ended("L2")
    stage.board.contacts.clear()
    stage.legs.append({"id": "L1"})
    assert {row.leg for row in stage.traces.rows("C1")} == {"L1", "L2"}


def test_legs_in_memory_are_bounded() -> None:
    stage = Stage()
    for number in range(LEGS_KEPT + 20):
        stage.answered(f"X{number}", 20)
    stage.clock.advance(LOOK_MS)
    assert len(stage.asked) == LEGS_KEPT


def test_a_file_holds_messages_with_both_ends_and_notes() -> None:
    stage = Stage()
    stage.clock.advance(5000)
    made = stage.traces.capture("C1")
    assert (made.name, made.sip, made.line, made.left_out) == ("C1.pcap", 2, 1, 0)
    part = stage.traces.read("C1.pcap", 0)
    data = base64.b64decode(part.data)
    assert part.next == 0 and len(data) == made.bytes and data[:4] == struct.pack("<I", 0xA1B2C3D4)
    assert b"RingBurst on=True" in data and b"Content-Length: 23\r\n" in data, "its body lost a key"
    assert data.index(bytes([192, 0, 2, 1, 192, 0, 2, 7])) < data.index(bytes([192, 0, 2, 7, 192, 0, 2, 1])), "out, then in"
    with pytest.raises(CommandError, match="capture call"):
        stage.traces.read("other.pcap", 0)
    with pytest.raises(CommandError, match="nothing is kept"):
        stage.traces.capture("C9")


def test_files_are_few_and_are_read_in_parts() -> None:
    stage = Stage()
    stage.messages = {f"L{number}": [TraceLine(1, "in", PEER, b"x" * 60_000, OURS)] * 8 for number in range(10, 30)}
    for number in range(10, 30):
        stage.traces.capture(f"L{number}")
    with pytest.raises(CommandError):
        stage.traces.read(f"L{29 - FILES_KEPT}.pcap", 0)
    offset, data = 0, b""
    while True:
        part = stage.traces.read("L29.pcap", offset)
        data += base64.b64decode(part.data)
        assert len(data) <= offset + CHUNK
        offset = part.next
        if not offset:
            break
    assert len(data) == part.size > 2 * CHUNK


def test_figures_in_words() -> None:
    heard = Quality(
        received=9, sent=8, lost=1, loss=10.0, jitter_ms=1.04, worst_jitter_ms=3.0, mos=None, far_lost=2, far_jitter_ms=0.5, far_mos=4.1,
        round_trip_ms=12.0,
    )  # fmt: skip
    assert figures_text(heard) == (
        "received 9, lost 1, jitter 1.0 ms (worst 3.0); sent 8; far end: lost 2, jitter 0.5 ms, round trip 12.0 ms, MOS 4.1"
    )


def test_a_message_without_length_stays_as_it_is() -> None:
    assert whole(b"BYE sip:a SIP/2.0\r\n\r\n") == b"BYE sip:a SIP/2.0\r\n\r\n"
