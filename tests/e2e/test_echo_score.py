"""Two calls of a real SIP phone over one line with a 60 ms hybrid of 8 dB: what the caller hears of his own words.

The phone says spoken words of the prompts, the other side only listens; what the phone decoded is scored against what it
encoded (`EchoScore`: residual over the background, which counts as audible from 3 dB on).
"""

from __future__ import annotations

import sqlite3
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from firmware.dsp.echo_score import EchoScore, EchoWord
from tests.e2e.appliance import ROOT, Appliance, wait_until
from tests.e2e.audio import Samples, read_wav, write_tone
from tests.e2e.baresip import Baresip, closed

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

Start = Callable[..., Appliance]
AUDIBLE_DB = 3.0
LEAD_S = 14.0  # dial tone, dialling, ringing and the answer are over
WORDS = ("n.1", "n.2", "n.3", "n.4", "n.5", "n.6", "n.7", "n.8", "n.9")
PROMPTS = ROOT / "build" / "prompts" / "en"


def spoken(path: Path) -> Path:
    """A microphone that says nothing for a while, then words with pauses."""
    parts: list[Samples] = [np.zeros(int(LEAD_S * 8000))]
    for name in WORDS:
        word = read_wav(PROMPTS / f"{name}.wav")[0].samples
        loud = np.flatnonzero(np.abs(word) > 200)
        parts += [word[loud[0] : loud[-1] + 1], np.zeros(4800)]
    samples = np.concatenate([*parts, np.zeros(120 * 8000)])
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


@pytest.fixture
def speaker(network: str, tmp_path: Path) -> Iterator[Callable[[Appliance], Baresip]]:
    """Extension 201 as a phone that says the words in each of its calls."""
    running: list[Baresip] = []

    def start(box: Appliance) -> Baresip:
        folder = tmp_path / "phone"
        folder.mkdir()
        microphone = spoken(folder / "microphone.wav")
        phone = Baresip(folder, user="201", secret=box.accounts()["201"], server=box.sip, host=network, microphone=microphone)
        running.append(phone)
        phone.wait_for_registration()
        return phone

    yield start
    for phone in running:
        phone.stop()


def line_states(box: Appliance) -> dict[str, str]:
    """Availability of the outside lines."""
    return {row["endpoint"]: row["available"] for row in box.ctl("show lines") if row["kind"] == "fxo"}


def restarted(box: Appliance) -> bool:
    """Call control answers again."""
    try:
        return bool(box.ctl("show lines"))
    except (OSError, ConnectionError):
        return False


def lines_used(box: Appliance) -> list[str]:
    """The line of each call to outside that is over."""
    with sqlite3.connect(f"file:{box.state / 'calls.db'}?mode=ro", uri=True) as db:
        return [row[0] for row in db.execute("SELECT line FROM contacts WHERE kind = 'outbound' AND ended_ms IS NOT NULL ORDER BY seq")]


def one_call(box: Appliance, phone: Baresip, number: str) -> tuple[list[EchoWord], dict[str, float]]:
    """Call, say the words, hang up; the score of each word and the figures of the call."""
    seen = len(phone.events)
    before = len(list(phone.folder.glob("dump-*-dec.wav")))
    phone.dial(number)
    phone.wait("CALL_ESTABLISHED", 30, seen)
    said = len(WORDS) * 1.3
    time.sleep(LEAD_S + said)  # real time: a real phone speaks
    phone.hang_up()
    wait_until(lambda: not box.ctl("show calls"), "the call is gone")
    wait_until(lambda: len(list(phone.folder.glob("dump-*-dec.wav"))) > before, "the phone wrote what it heard")
    mouth = read_wav(closed(max(phone.folder.glob("dump-*-enc.wav"), key=lambda path: path.stat().st_mtime_ns)))[0].samples
    ear = phone.heard().samples
    n = min(len(mouth), len(ear))
    score = EchoScore(8000, 400)
    words = score.feed(mouth[:n].astype("<i2").tobytes(), ear[:n].astype("<i2").tobytes()) + score.finish()
    return words, dict(score.figures())


def test_no_echo_is_heard_from_the_second_word_of_the_first_call_and_in_the_whole_second_call(
    appliance: Start, speaker: Callable[[Appliance], Baresip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = appliance()
    quiet = write_tone(tmp_path / "quiet.wav", 440, 60, -120)
    box.world({"do": "number", "number": "62001234", "kind": "answer", "answer_after": 2, "say": str(quiet)})
    for line in (1, 2, 3, 4):
        box.world({"do": "exchange", "line": line, "erl_db": 8, "echo_delay_ms": 60})
    phone = speaker(box)
    rest = line_states(box)
    cold, cold_figures = one_call(box, phone, "962001234")
    wait_until(lambda: line_states(box) == rest, "the line is at rest again", 20)
    box.kill("core")  # what was learned does not live there
    wait_until(lambda: restarted(box), "call control is back", 20)
    wait_until(lambda: line_states(box) == rest, "the lines are watched again", 20)
    warm, warm_figures = one_call(box, phone, "962001234")
    for name, words, figures in (("cold", cold, cold_figures), ("warm", warm, warm_figures)):
        residuals = " ".join("masked" if word.masked else f"{word.residual_db:.1f}" for word in words)
        with capsys.disabled():
            sys.stdout.write(f"\n{name} start: residual of each word over {figures['background_dbm0']:.0f} dBm0, dB: {residuals}\n")
    lines = wait_until(lambda: len(found := lines_used(box)) == 2 and found, "both calls are recorded")
    assert len(set(lines)) == 1, "both calls go over one line"
    assert len(cold) >= len(WORDS) - 1
    assert len(warm) >= len(WORDS) - 1
    assert max(word.residual_db for word in cold[1:]) < AUDIBLE_DB
    assert max(word.residual_db for word in warm) < AUDIBLE_DB
    assert not any(word.masked for word in (*cold, *warm))
