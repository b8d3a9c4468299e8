"""What the `tone` commands answer."""

from __future__ import annotations

from datetime import datetime, tzinfo

from firmware.control.gate import Gate
from firmware.control.tone_commands import HangUpRow, ToneAccept, ToneForget, ToneHangUps, ToneRow, ToneShow
from firmware.core.lines_hangups import LineHangUps, NightlyHangUps
from firmware.core.lines_learn import LineLearning, in_words
from firmware.line.disconnect_learn import VERIFY, Candidate


def attach(gate: Gate, learning: LineLearning, nightly: NightlyHangUps, zone: tzinfo) -> None:
    """Register the handlers."""

    def accept(command: ToneAccept) -> list[ToneRow]:
        learning.accept(command.line)
        return rows(learning, command.line, zone)

    def forget(command: ToneForget) -> list[ToneRow]:
        learning.forget(command.line)
        return rows(learning, command.line, zone)

    gate.handle(ToneShow, lambda command: rows(learning, command.line, zone))
    gate.handle(ToneAccept, accept)
    gate.handle(ToneForget, forget)
    gate.handle(ToneHangUps, lambda command: [hang_up_row(one) for one in nightly.over(command.days)])


def rows(learning: LineLearning, line: str, zone: tzinfo) -> list[ToneRow]:
    """One row for each tone; of one line, or of all where `line` is empty."""
    names = [learning.port(line).endpoint] if line else sorted(learning.tones)
    return [_row(name, one, zone) for name in names for one in learning.of(name).candidates]


def _row(endpoint: str, one: Candidate, zone: tzinfo) -> ToneRow:
    english, chinese = state_words(one)
    last = datetime.fromtimestamp(one.last_ms / 1000, zone).isoformat(" ", "seconds")[:19]
    return ToneRow(endpoint, in_words(one), english, chinese, one.sightings, one.verified, one.against, last)


def state_words(one: Candidate) -> tuple[str, str]:
    """What is done with a tone."""
    if one.state == "used":
        if one.by == "operator":
            return "used, accepted by hand", "已采用（人工确认）"
        return "used, verified by calls", "已采用（通话验证）"
    if one.state == "refuted":
        return "refuted: a call went on after it", "已否定：响过之后通话仍在继续"
    left = max(0, VERIFY - one.verified)
    return f"proposed: {left} more calls must end with it", f"建议采用：还需 {left} 次通话以此音结束"


def hang_up_row(one: LineHangUps) -> HangUpRow:
    """With a verdict in words."""
    if one.suspicious:
        words = "callers are probably cut off", "很可能误挂了来电"
    elif one.estimate >= 1.0:
        words = "no more than chance", "在偶然范围内"
    else:
        words = "good", "正常"
    return HangUpRow(one.endpoint, one.released, one.confidence, one.numbered, one.back, round(100.0 * one.usual, 1), one.estimate, *words)
