"""All caller-id receivers at once: they deliver what each alone would, once, and say what brought it."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.dsp import CallerIdReceiver, DtmfGenerator
from firmware.dsp.cas import CasGenerator
from firmware.dsp.cid import CallerIdListener, LineSignal
from tests.dsp.cid_signals import bits_of, message, modulated
from tests.dsp.rare import assert_rare
from tests.dsp.signals import music, noise, pcm, samples, silence, speech
from tests.dsp.test_fsk import MDMF, SDMF


@pytest.mark.parametrize("rate", [8000, 16000])
def test_uk_sequence_and_call_waiting(rng, rate):
    alert = CasGenerator(100, -15.0, rate).generate(rate // 10)
    waiting = CasGenerator(80, -15.0, rate).generate(rate * 8 // 100)
    x = np.concatenate([
        silence(300, rate), samples(alert), silence(120, rate), modulated(bits_of(MDMF), "v23", rate=rate), silence(300, rate),
        samples(waiting), silence(150, rate), modulated(bits_of(SDMF, seizure=0, marks=80), "bell202", rate=rate), silence(100, rate)])
    x += noise(rng, len(x), -50.0)
    assert CallerIdListener(rate).feed(pcm(x)) == [
        LineSignal("alert", "", b""), LineSignal("message", "v23", MDMF),
        LineSignal("call-waiting", "", b""), LineSignal("message", "bell202", SDMF)]


def test_the_right_standard_wins_whatever_the_line(rng):
    right = 0
    for _ in range(40):
        standard = str(rng.choice(["bell202", "v23"]))
        payload = message(rng)
        off = rng.uniform(-0.01, 0.01)
        x = modulated(bits_of(payload, 0, int(rng.integers(40, 180))), standard, rng.uniform(-40.0, 0.0), clock=rng.uniform(-0.01, 0.01),
                      shift=(off, off), twist=rng.uniform(-6.0, 6.0), phase=rng.uniform(0, 6.28))
        x = np.concatenate([silence(rng.uniform(20, 40)), x, silence(40)])
        found = CallerIdListener().feed(pcm(x))
        assert [signal for signal in found if signal.kind == "message"] in ([], [LineSignal("message", standard, payload)])
        right += found == [LineSignal("message", standard, payload)]
    assert right >= 36                                  # of 1240 draws none was lost


def test_damage_is_told_with_its_standard(rng):
    for standard in ("bell202", "v23"):
        x = modulated(bits_of(MDMF), standard)
        assert CallerIdListener().feed(pcm(np.concatenate([x[:5000], silence(200)]))) == [LineSignal("damaged", standard, b"")]


def test_sounds_of_a_line_bring_nothing(rng):
    def brought(_: int) -> list[LineSignal]:
        keys = DtmfGenerator("D5551234C", 60, 60)
        x = np.concatenate([samples(keys.generate(12_000)), speech(rng, 20.0), music(rng, 20.0), noise(rng, 80_000, -20.0)])
        return [signal for signal in CallerIdListener().feed(pcm(x)) if signal.kind != "damaged"]

    assert_rare(brought, 1, 20, 2)


def test_blocks_of_any_size_and_the_parts_alone_give_the_same(rng):
    payload = message(rng)
    data = pcm(np.concatenate([samples(CasGenerator(100).generate(800)), silence(100), modulated(bits_of(payload), "v23"), silence(50)]))
    whole = CallerIdListener().feed(data)
    assert [signal.payload for signal in whole if signal.kind == "message"] == CallerIdReceiver("v23").feed(data) == [payload]
    for size in (2, 158, 160, 320, 480):
        listener = CallerIdListener()
        assert [signal for at in range(0, len(data), size) for signal in listener.feed(data[at:at + size])] == whole


def test_bad_arguments_say_what_is_allowed():
    with pytest.raises(ValueError, match="8000 or 16000"):
        CallerIdListener(48000)
    with pytest.raises(ValueError, match="even number"):
        CallerIdListener().feed(b"abc")
