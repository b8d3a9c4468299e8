"""Caller-id FSK: loopback over bad lines, and silence where there is no message."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.dsp.fsk import CallerIdReceiver, FskTransmitter
from tests.dsp.signals import noise, pcm, samples, speech


def message(rng: np.random.Generator) -> bytes:
    n = int(rng.integers(8, 40))
    return bytes([0x80, n]) + bytes(rng.integers(0, 256, n, dtype=np.uint8))


def line(rng, payload, standard, rate=8000, level=-13.5, snr=40.0, skip_bits=0, clock=0.0, offset=0.0, slope=None):
    sender = FskTransmitter(payload, standard, level, rate)
    x = samples(sender.generate(sender.samples + 400))[skip_bits * rate // 1200:]
    if clock:
        x = np.interp(np.arange(0.0, len(x) - 1.0, 1.0 + clock), np.arange(len(x)), x)
    if slope:
        x = np.convolve(x, slope)
    x = np.concatenate([np.zeros(900 + int(rng.integers(0, 60))), x])
    return pcm(x + noise(rng, len(x), level - snr) + offset)


CONDITIONS = {
    "clean": {},
    "loud": {"level": 0.0},
    "faint": {"level": -40.0},
    "faintest": {"level": -42.0},
    "noise 20 dB": {"snr": 20.0},
    "noise 13 dB": {"snr": 13.0},
    "fast clock": {"clock": 0.01, "snr": 20.0},
    "slow clock": {"clock": -0.01, "snr": 20.0},
    "offset": {"offset": 3000.0},
    "faint with offset": {"offset": -3000.0, "level": -30.0},
    "marks only": {"skip_bits": 300},
    "eighty marks": {"skip_bits": 400},
    "sloping up": {"slope": [1.0, -0.6]},
    "sloping down": {"slope": [1.0, 0.6]},
}


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("standard", ["bell202", "v23"])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_messages_arrive(rng, condition, standard, rate):
    for _ in range(6):
        payload = message(rng)
        receiver = CallerIdReceiver(standard, rate)
        assert receiver.feed(line(rng, payload, standard, rate, **CONDITIONS[condition])) == [payload]
        assert receiver.errors == 0


@pytest.mark.parametrize("standard", ["bell202", "v23"])
def test_two_messages_in_a_row_and_any_buffer_size(rng, standard):
    first, second = message(rng), b"\x04\x0a" + b"0401123055"
    sound = line(rng, first, standard) + line(rng, second, standard)
    for size in (2, 160, 320, 958, len(sound)):
        receiver = CallerIdReceiver(standard)
        found = []
        for at in range(0, len(sound), size):
            found += receiver.feed(sound[at:at + size])
        assert found == [first, second]


def test_a_damaged_message_is_counted_and_not_delivered(rng):
    x = samples(line(rng, bytes([0x80, 30]) + bytes(range(30)), "bell202"))
    x[len(x) // 2 + 1600:len(x) // 2 + 1640] = 0.0
    receiver = CallerIdReceiver("bell202")
    assert receiver.feed(pcm(x)) == []
    assert receiver.errors == 1


def test_a_message_cut_short_is_counted(rng):
    sound = line(rng, bytes([0x80, 30]) + bytes(range(30)), "bell202")
    receiver = CallerIdReceiver("bell202")
    assert receiver.feed(sound[:len(sound) // 8 * 6] + bytes(4000)) == []
    assert receiver.errors == 1


@pytest.mark.parametrize("standard", ["bell202", "v23"])
def test_speech_and_noise_make_no_message(rng, standard):
    receiver = CallerIdReceiver(standard)
    assert receiver.feed(pcm(speech(rng, 30.0))) == []
    assert receiver.feed(pcm(noise(rng, 240_000, -20.0))) == []


def test_the_other_standard_is_not_needed_to_be_silent_but_never_lies(rng):
    payload = message(rng)
    assert CallerIdReceiver("v23").feed(line(rng, payload, "bell202")) in ([], [payload])


def test_bad_arguments_say_what_is_allowed():
    with pytest.raises(ValueError, match="'bell202' or 'v23'"):
        CallerIdReceiver("v22")
    with pytest.raises(ValueError, match="8000 or 16000"):
        CallerIdReceiver("v23", 44100)
    with pytest.raises(ValueError, match="2 to 257 bytes"):
        FskTransmitter(b"\x80" * 300)
