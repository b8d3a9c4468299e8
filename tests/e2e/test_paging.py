"""Paging in the whole product: one telephone speaks, the others and the loudspeaker say it, and nobody answers back.

The loudspeaker is real alsa-lib through pyalsaaudio: a device of its own configuration, whose plugin writes what is played into a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from firmware.sim.signal import g711_decode
from tests.e2e.appliance import wait_until
from tests.e2e.audio import Sound
from tests.e2e.branch import CALLER_HZ, HZ, LEVEL, Branch, open_branch, said

pytestmark = [pytest.mark.e2e]

MORE = """
[pages.shop]
number = "790"
members = ["101", "202"]
speaker = true
longest_s = 20
[pages.office]
number = "791"
members = ["202"]
permission = "nobody"
[speaker]
device = "shop_speaker"
[groups.desk]
number = "600"
members = ["202"]
"""


@pytest.fixture(scope="module")
def opened(network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Branch, Path]]:
    folder = tmp_path_factory.mktemp("paging")
    played = folder / "played.alaw"
    alsa = folder / "asound.conf"
    alsa.write_text(f'pcm.quiet {{ type null }}\npcm.shop_speaker {{ type file slave.pcm quiet file "{played}" format raw }}\n')
    before = os.environ.get("ALSA_CONFIG_PATH")
    os.environ["ALSA_CONFIG_PATH"] = str(alsa)
    try:
        with open_branch(network, folder, MORE) as branch:
            yield branch, played
    finally:
        if before is None:
            del os.environ["ALSA_CONFIG_PATH"]
        else:
            os.environ["ALSA_CONFIG_PATH"] = before


def test_one_telephone_speaks_to_all_and_to_the_loudspeaker(opened: tuple[Branch, Path]) -> None:
    branch, played = opened
    branch.fresh()
    branch.answer("202", HZ["201"], after=1, talk=30)
    branch.answer("101", HZ["201"], after=1, talk=30)
    ident = branch.dial("201", "*53", HZ["202"], HZ["101"], talk=14)
    one = branch.done(ident)
    for listener in ("202", "101"):
        two = branch.at(listener)
        heard = branch.heard(two["ident"], two["answered"] + 500, one["ended"] - 300)
        assert heard.tone_dbm0(HZ["201"]) > LEVEL - 8, f"{listener} hears {heard.tone_dbm0(HZ['201']):.1f} dBm0 of who speaks"
        assert heard.tone_dbm0(HZ["202" if listener == "101" else "101"]) < LEVEL - 35, "listeners hear each other"
    back = branch.heard(ident, branch.at("202")["answered"] + 500, one["ended"] - 300)
    assert back.tone_dbm0(HZ["202"]) < LEVEL - 35 and back.tone_dbm0(HZ["101"]) < LEVEL - 35, "who speaks hears nobody"
    record = branch.records()[0]
    assert (record["kind"], record["cause"]) == ("internal", "normal") and branch.history(record).count("page") == 1
    wait_until(lambda: played.exists() and played.stat().st_size > 4 * 8000, "the loudspeaker's file is written")
    sound = Sound(np.frombuffer(g711_decode(played.read_bytes(), True), np.int16).astype(float), 8000)
    assert len(sound.samples) > 4 * 8000 and sound.tone_dbm0(HZ["201"]) > LEVEL - 10, "the loudspeaker says it"
    assert sound.tone_dbm0(HZ["202"]) < LEVEL - 35
    assert "speaker" not in str(branch.box.ctl("show alarms"))


def test_a_page_ends_after_its_longest_time_and_without_the_right_not_at_all(opened: tuple[Branch, Path]) -> None:
    branch, _ = opened
    branch.fresh()
    branch.answer("202", HZ["201"], after=1, talk=60)
    long = branch.done(branch.dial("201", "790", talk=60))
    assert 18_000 <= long["ended"] - branch.at("202")["answered"] <= 22_000
    refused = branch.dial("201", "791", tone_hz=0, talk=20)
    branch.done(refused)
    assert said(branch.heard(refused), "en/num.refused") > 0.5


def test_the_dial_tone_stutters_while_calls_are_forwarded(opened: tuple[Branch, Path]) -> None:
    branch, _ = opened
    branch.fresh()
    for keys, steady in (("*61202#", False), ("*61#", True)):
        branch.done(branch.dial("101", keys[:3], tone_hz=0, keys=f"{keys[3:]}@2", talk=25))
        branch.sleep(2)
        assert bool(branch.box.ctl("show forwards")) is not steady
        since = branch.sleep(1)
        branch.done(branch.dial("101", "202", CALLER_HZ, talk=3))
        branch.sleep(2)
        trace = [row["text"] for row in branch.box.ctl("show trace", call="101") if row["at"] > since]
        tones = [text for text in trace if text.startswith("PlayTone")]
        assert ("PlayTone tone=stutter duration_ms=600" in tones) is not steady and "PlayTone tone=dial" in tones, f"after {keys}: {tones}"
