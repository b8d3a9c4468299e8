"""Caller-id FSK: bytes of the standards, an obvious demodulator, bad lines, and silence where there is no message."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.dsp import CallerIdReceiver, FskTransmitter, g711
from tests.conftest import soak
from tests.dsp.cid_signals import TONES, band_noise, bits_of, message, modulated
from tests.dsp.signals import Sound, music, noise, pcm, samples, silence, sine, speech

# GR-30: MDMF, 30 September 12:30, 6095551212, "JOHN DOE"; SDMF, 1 April 12:30, 5551212; message waiting on (MDMF)
MDMF = bytes.fromhex("8020" "01083039333031323330" "020a36303935353531323132" "07084a4f484e20444f45")
SDMF = bytes.fromhex("040f" "3034303131323330" "35353531323132")
WAITING = bytes.fromhex("8203" "0b01ff")


def demodulated(x: Sound, standard: str, rate: int = 8000) -> bytes:
    """The slow obvious receiver: correlate every bit-long stretch with both tones, take start bits from edges after the marks."""
    t = np.arange(len(x)) / rate
    width = round(rate / 1200.0)
    strength = []
    for freq in TONES[standard]:
        turned = np.concatenate([[0.0], np.cumsum(x * np.exp(-2j * np.pi * freq * t))])
        strength.append(np.abs(turned[width:] - turned[:-width]))
    on = strength[0] > strength[1]
    at, out = 0, bytearray()
    run = 0
    while at < len(on) and run < 40 * rate // 1200:     # to the end of forty marks
        run = run + 1 if on[at] and strength[0][at] > 0.1 * strength[0].max() else 0
        at += 1
    while at < len(on):
        while at < len(on) and on[at]:
            at += 1
        places = [at + round((k + 0.5) * rate / 1200.0) for k in range(10)]
        if places[-1] >= len(on) or on[places[0]] or not on[places[9]]:
            break
        out.append(sum(int(on[places[k + 1]]) << k for k in range(8)))
        at = places[9]
    return bytes(out)


def received(x: Sound, standard: str, rate: int = 8000, block: int = 0) -> list[bytes]:
    receiver, data = CallerIdReceiver(standard, rate), pcm(x)
    step = 2 * block if block else len(data)
    return [found for at in range(0, len(data), step) for found in receiver.feed(data[at:at + step])]


# --- the standards' bytes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [MDMF, SDMF, WAITING, b"\x80\xff" + bytes(range(255)), b"\x06\x03BBB", b"\x82\x00"])
@pytest.mark.parametrize("standard", ["bell202", "v23"])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_what_is_sent_reads_as_the_standard_says(payload, standard, rate):
    sender = FskTransmitter(payload, standard, -13.5, rate)
    x = samples(sender.generate(sender.samples))
    assert not sender.running
    assert demodulated(x, standard, rate)[:len(payload) + 1] == payload + bytes([-sum(payload) & 0xFF])
    assert len(x) == pytest.approx((300 + 180 + 10 * (len(payload) + 1) + 10) * rate / 1200, abs=1)


@pytest.mark.parametrize("payload", [MDMF, SDMF, WAITING, b"\x80\xff" + bytes(range(255)), b"\x06\x03BBB", b"\x82\x00"])
@pytest.mark.parametrize("standard", ["bell202", "v23"])
@pytest.mark.parametrize("listen", ["itself", "auto"])
def test_what_a_plain_modulator_sends_is_received(payload, standard, listen, rng):
    x = modulated(bits_of(payload), standard, phase=rng.uniform(0, 6.28))
    receiver = CallerIdReceiver(standard if listen == "itself" else "auto")
    assert receiver.feed(pcm(np.concatenate([silence(30), x, silence(30)]))) == [payload]
    assert receiver.standard == standard and receiver.errors == 0


@given(st.binary(min_size=1, max_size=60), st.sampled_from(["bell202", "v23"]), st.integers(0, 66))
def test_any_bytes_travel(body, standard, late):
    payload = bytes([0x80, len(body)]) + body
    sender = FskTransmitter(payload, standard, seizure_bits=20, mark_bits=60)
    assert CallerIdReceiver("auto").feed(bytes(2 * late) + sender.generate(sender.samples + 100)) == [payload]


# --- lines -------------------------------------------------------------------------------------------------------------

SHAPES = {
    "clean": {},
    "loud": {"level": 0.0},
    "faintest": {"level": -42.0},
    "fast clock": {"clock": -0.01},
    "slow clock": {"clock": 0.01},
    "tones 1 % high": {"shift": (0.01, 0.01)},
    "tones 1 % low": {"shift": (-0.01, -0.01)},
    "tones apart": {"shift": (-0.01, 0.01)},
    "tones together": {"shift": (0.01, -0.01)},
    "mark 10 dB stronger": {"twist": 10.0},
    "space 10 dB stronger": {"twist": -10.0},
    "all of it": {"clock": 0.01, "shift": (-0.01, -0.01), "twist": 6.0, "level": -30.0},
}
LEADS = {
    "whole": {}, "no seizure": {"seizure": 0}, "short seizure": {"seizure": 40}, "eighty marks": {"seizure": 0, "marks": 80},
    "twenty-five marks": {"seizure": 96, "marks": 25}, "marks between bytes": {"between": (0.0, 2.0, 10.0, 3.4, 0.0, 7.7)},
}


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("standard", ["bell202", "v23"])
@pytest.mark.parametrize("shape", SHAPES)
def test_tolerances(rng, shape, standard, rate):
    for listen in (standard, "auto"):
        payload = message(rng)
        x = modulated(bits_of(payload), standard, rate=rate, phase=rng.uniform(0, 6.28), **SHAPES[shape])
        x = np.concatenate([silence(20 + rng.uniform(0, 9), rate), x, silence(30, rate)])
        quiet = SHAPES[shape].get("level", -13.5) - 25.0
        assert received(x + noise(rng, len(x), quiet), listen, rate) == [payload]


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("standard", ["bell202", "v23"])
def test_leads_and_gaps(rng, lead, standard):
    for snr in (40.0, 15.0):
        payload = message(rng)
        x = np.concatenate([silence(25), modulated(bits_of(payload, **LEADS[lead]), standard), silence(30)])
        assert received(x + band_noise(rng, len(x), -13.5 - snr), "auto") == [payload]


def impaired(rng: np.random.Generator, kind: str, x: Sound) -> Sound:
    t = np.arange(len(x)) / 8000.0
    if kind == "hum":
        return x + sine(rng.choice([50.0, 60.0]), 1000.0 * len(x) / 8000.0 + 1, -12.0)[:len(x)] + 1000.0
    if kind == "ring trip":                             # what ringing leaves on the line: 20 Hz and an offset that die away
        return x + 9000.0 * np.exp(-t / 0.15) * np.cos(2.0 * np.pi * 20.0 * t) - 5000.0 * np.exp(-t / 0.3)
    if kind == "click":                                 # of the exchange's relay, during the marks
        x[int(rng.integers(2700, 3000))] += 20000.0
        return x
    if kind == "long loop":                             # 6 dB more loss at 2200 Hz than at 1200, and bent delays
        return np.convolve(x, [0.55, 0.45])
    if kind == "loaded loop":                           # the other way
        return np.convolve(x, [1.0, -0.5])
    if kind == "band":                                  # nothing outside 300 to 3400 Hz
        spectrum, freq = np.fft.rfft(x), np.fft.rfftfreq(len(x), 1 / 8000.0)
        return np.fft.irfft(spectrum * (freq > 300.0) * (freq < 3400.0), len(x))
    if kind == "echo":                                  # 9 dB down after 1.5 ms
        return x + 0.35 * np.concatenate([np.zeros(12), x[:-12]])
    if kind == "companded":
        return samples(g711.decode("alaw", g711.encode("alaw", pcm(x))))
    if kind == "dial tone":
        return x + np.where(t < 0.2, sine(425.0, 1000.0 * len(x) / 8000.0 + 1, -20.0)[:len(x)], 0.0)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["hum", "ring trip", "click", "long loop", "loaded loop", "band", "echo", "companded", "dial tone"])
@pytest.mark.parametrize("standard", ["bell202", "v23"])
def test_bad_lines(rng, kind, standard):
    for level in (-13.5, -30.0):
        payload = message(rng)
        x = np.concatenate([silence(40), modulated(bits_of(payload), standard, level), silence(40)])
        x = impaired(rng, kind, x)
        assert received(x + noise(rng, len(x), level - 22.0), "auto") == [payload]


@pytest.mark.parametrize(("standard", "snr"), [("bell202", 10.0), ("v23", 11.0)])
@pytest.mark.parametrize("listen", ["itself", "auto"])
def test_noise_of_the_goals(rng, standard, snr, listen):
    draws, right = 20 * min(soak(), 20), 0
    for _ in range(draws):
        payload = message(rng, 20, 40)
        x = modulated(bits_of(payload), standard, phase=rng.uniform(0, 6.28))
        x = np.concatenate([silence(40 + rng.uniform(0, 9)), x, silence(30)])
        found = received(x + band_noise(rng, len(x), -13.5 - snr), standard if listen == "itself" else "auto")
        assert found in ([], [payload])
        right += found == [payload]
    assert right >= draws - 3 * min(soak(), 20)         # of 700 none was lost; 2 dB below the goals one in two hundred


# --- streams -----------------------------------------------------------------------------------------------------------


def test_block_sizes_do_not_matter(rng):
    parts = [modulated(bits_of(message(rng)), standard) for standard in ("bell202", "v23", "bell202")]
    x = np.concatenate([np.concatenate([silence(50), part, silence(50)]) for part in parts])
    x += band_noise(rng, len(x), -24.5)
    whole = received(x, "auto")
    assert len(whole) >= 1                              # of 3, at a ratio at which one in hundreds is lost
    for block in (1, 7, 80, 160, 240, 1000):
        assert received(x, "auto", block=block) == whole


def test_messages_in_a_row_are_told_once_and_by_their_standard(rng):
    receiver, told = CallerIdReceiver("auto"), []
    for standard in ("bell202", "v23", "v23", "bell202"):
        payload = message(rng)
        found = receiver.feed(pcm(np.concatenate([silence(100), modulated(bits_of(payload), standard), silence(100)])))
        told.append((found == [payload], receiver.standard == standard))
    assert told == [(True, True)] * 4


# --- what is no message ------------------------------------------------------------------------------------------------


def test_a_damaged_message_is_counted_and_not_delivered(rng):
    x = modulated(bits_of(bytes([0x80, 30]) + bytes(range(30))), "bell202")
    x[5000:5040] = 0.0
    receiver = CallerIdReceiver("bell202")
    assert receiver.feed(pcm(np.concatenate([x, silence(100)]))) == []
    assert receiver.errors == 1


@pytest.mark.parametrize("after", ["silence", "speech", "noise"])
def test_a_message_cut_by_answering_is_counted_and_the_next_one_heard(rng, after):
    x = modulated(bits_of(MDMF), "v23")
    follow = {"silence": silence(400), "speech": speech(rng, 2.0)[:3200], "noise": noise(rng, 3200, -30.0)}[after]
    receiver = CallerIdReceiver("auto")
    assert receiver.feed(pcm(np.concatenate([x[:4800], follow]))) == []
    assert 1 <= receiver.errors <= 2                    # speech, too, begins like a message once in an hour
    assert receiver.feed(pcm(np.concatenate([x, silence(50)]))) == [MDMF]


@pytest.mark.parametrize("standard", ["bell202", "v23", "auto"])
def test_speech_music_and_noise_make_no_message(rng, standard):
    receiver = CallerIdReceiver(standard)
    assert receiver.feed(pcm(speech(rng, 20.0))) == []
    assert receiver.feed(pcm(music(rng, 20.0))) == []
    assert receiver.feed(pcm(noise(rng, 160_000, -20.0))) == []
    assert receiver.feed(pcm(sine(1200.0, 5000, -10.0))) == []
    assert receiver.errors <= 4                         # a tone of music begins like a message once in half an hour


@given(st.lists(st.tuples(st.sampled_from([-32768, -1, 0, 1, 32767]), st.integers(1, 400)), max_size=40), st.binary(max_size=2000))
def test_hostile_samples_do_no_harm(runs, raw):
    receiver = CallerIdReceiver("auto")
    x = np.concatenate([np.zeros(0), *(np.full(n, v) for v, n in runs)])
    assert receiver.feed(pcm(x) + raw[:len(raw) & ~1]) == []
    x = np.concatenate([np.tile([32767.0, -32768.0], 400), silence(30), modulated(bits_of(SDMF), "v23"), silence(30)])
    assert receiver.feed(pcm(x)) == [SDMF]


def test_bad_arguments_say_what_is_allowed():
    with pytest.raises(ValueError, match="'bell202' or 'v23' or 'auto'"):
        CallerIdReceiver("v22")
    with pytest.raises(ValueError, match=r"'bell202' or 'v23'$"):
        FskTransmitter(SDMF, "auto")
    with pytest.raises(ValueError, match="8000 or 16000"):
        CallerIdReceiver("v23", 44100)
    with pytest.raises(ValueError, match="even number"):
        CallerIdReceiver().feed(b"abc")
    with pytest.raises(ValueError, match="2 to 257 bytes"):
        FskTransmitter(b"\x80" * 300)
    with pytest.raises(ValueError, match="0 to 4000"):
        FskTransmitter(SDMF, mark_bits=-1)
