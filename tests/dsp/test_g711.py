"""G.711 against the bit-by-bit formula of the recommendation."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.dsp import g711


def alaw_reference(sample: int) -> int:
    value = (~sample if sample < 0 else sample) >> 4
    if value > 15:
        exponent = 1
        while value > 31:
            value >>= 1
            exponent += 1
        value = value - 16 + (exponent << 4)
    return (value | (0x80 if sample >= 0 else 0)) ^ 0x55


def ulaw_reference(sample: int) -> int:
    value = min(((~sample if sample < 0 else sample) >> 2) + 33, 0x1FFF)
    segment, rest = 1, value >> 6
    while rest:
        segment += 1
        rest >>= 1
    return ((8 - segment) << 4) | (15 - ((value >> segment) & 15)) | (0x80 if sample >= 0 else 0)


EVERY = np.arange(-32768, 32768).astype("<i2")


@pytest.mark.parametrize(("law", "reference"), [("alaw", alaw_reference), ("ulaw", ulaw_reference)])
def test_every_sample_codes_as_the_formula_says(law, reference):
    assert g711.encode(law, EVERY.tobytes()) == bytes(reference(int(x)) for x in EVERY)


@pytest.mark.parametrize("law", ["alaw", "ulaw", 0, 8])
def test_every_code_survives_a_round_trip(law):
    codes = bytes(range(256))
    again = g711.encode(law, g711.decode(law, codes))
    assert [c for c in range(256) if again[c] != c] == ([0x7F] if law in ("ulaw", 0) else [])


def test_known_decoded_values():
    assert np.frombuffer(g711.decode("ulaw", bytes([0x00, 0x80, 0xFF, 0x7F])), "<i2").tolist() == [-32124, 32124, 0, 0]
    assert np.frombuffer(g711.decode("alaw", bytes([0xAA, 0x2A, 0xD5, 0x55])), "<i2").tolist() == [32256, -32256, 8, -8]


@pytest.mark.parametrize("law", ["alaw", "ulaw"])
def test_decoding_is_within_half_a_step_of_the_input(law):
    back = np.frombuffer(g711.decode(law, g711.encode(law, EVERY.tobytes())), "<i2").astype(int)
    size = np.abs(EVERY.astype(int))
    error = np.abs(back - EVERY.astype(int))
    inside = size < 31000
    assert np.all(error[inside] <= np.maximum(16, (size[inside] + 132) // 32 + 4))


def test_an_odd_number_of_bytes_and_an_unknown_law_are_refused():
    with pytest.raises(ValueError, match="even number"):
        g711.encode("alaw", b"abc")
    with pytest.raises(ValueError, match="companding law 'gsm'"):
        g711.encode("gsm", b"ab")
