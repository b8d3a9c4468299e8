"""The echo score: what a person would hear of his own words, with lines that crackle, distort, flash and jump."""

from __future__ import annotations

import numpy as np
import pytest

from firmware.dsp.echo_score import EchoScore, EchoWord
from tests.dsp.signals import Sound, hybrid, level, noise, pcm, silence, speech


def words(rng: np.random.Generator, count: int, dbm0: float = -16.0) -> Sound:
    """Words of 0.3 to 0.6 s with pauses between."""
    parts = [silence(600)]
    while len(parts) < 1 + 2 * count:
        word = speech(rng, 2.0, level_dbm0=dbm0)
        word = word[int(rng.integers(0, 8000)) :][: int(rng.integers(2400, 4800))]
        if np.mean(word != 0.0) > 0.9:
            parts += [word, silence(250 + 200 * rng.random())]
    return np.concatenate([*parts, silence(800)])


def delayed(x: Sound, ms: float) -> Sound:
    return np.concatenate([silence(ms), x])[: len(x)]


def score(reference: Sound, returned: Sound) -> tuple[EchoScore, list[EchoWord]]:
    one = EchoScore()
    found = one.feed(pcm(reference), pcm(returned))
    return one, found + one.finish()


def test_a_line_without_echo_scores_nothing(rng: np.random.Generator) -> None:
    far = words(rng, 12)
    one, found = score(far, noise(rng, len(far), -58))
    assert one.figures()["audible"] == 0
    assert one.figures()["worst_db"] < 1.5
    assert len(found) >= 10
    silent, _ = score(far, np.zeros(len(far)))
    assert silent.figures()["worst_db"] == 0.0


@pytest.mark.parametrize("ms", [0, 60, 180])
@pytest.mark.parametrize("loss_db", [20.0, 35.0])
def test_an_echo_scores_its_level_over_the_background(ms: int, loss_db: float, rng: np.random.Generator) -> None:
    far = words(rng, 12)
    echo = delayed(far, ms) * 10 ** (-loss_db / 20)
    one, _ = score(far, echo + noise(rng, len(far), -60))
    figures = one.figures()
    expected = level(far[far != 0]) - loss_db + 60
    assert figures["mean_db"] == pytest.approx(expected, abs=5.5)
    assert figures["audible"] == figures["words"] >= 10
    assert figures["delay_ms"] == pytest.approx(ms, abs=15)
    assert figures["background_dbm0"] == pytest.approx(-60, abs=2)


def test_more_line_noise_hides_more_echo(rng: np.random.Generator) -> None:
    far = words(rng, 10)
    echo = delayed(far, 60) * 10 ** (-40 / 20)
    at = {dbm0: score(far, echo + noise(rng, len(far), dbm0))[0].figures()["mean_db"] for dbm0 in (-65, -55, -45)}
    assert at[-65] > at[-55] + 3
    assert at[-55] > at[-45] + 0.3      # 2.1 +- 0.25 in 65 draws
    assert at[-45] < 1.5


def test_a_distorting_line_is_heard_although_its_echo_is_no_linear_picture(rng: np.random.Generator) -> None:
    far = words(rng, 24)
    through = delayed(far, 60)
    bent = (np.square(through / 8000.0) - 0.2 * (through / 8000.0) ** 3) * 8000.0 * 10 ** (-30 / 20)
    one, _ = score(far, bent - np.mean(bent) + noise(rng, len(far), -62))
    assert one.figures()["audible"] >= 0.7 * one.figures()["words"]     # one word in fifty is too short or too soft for it


def test_somebody_else_speaking_is_no_echo(rng: np.random.Generator) -> None:
    far = words(rng, 25)
    near = speech(rng, len(far) / 8000)[: len(far)]
    one, _ = score(far, near + noise(rng, len(far), -60))
    figures = one.figures()
    assert figures["masked"] >= 0.5 * (figures["words"] + figures["masked"])
    assert figures["audible"] <= 0.3 * (figures["words"] + figures["masked"])


def test_echo_of_the_first_word_only_is_told_of_that_word(rng: np.random.Generator) -> None:
    """A canceller that learns on the first word."""
    far = words(rng, 8)
    echo = delayed(far, 60) * 10 ** (-8 / 20)
    first = score(far, noise(rng, len(far), -60))[1][0]
    echo[(first.end_ms + 150) * 8 :] = 0.0
    _, found = score(far, echo + noise(rng, len(far), -60))
    assert found[0].residual_db > 20
    assert max(each.residual_db for each in found[1:]) < 2


def test_a_parallel_telephone_makes_the_words_audible_from_then_on(rng: np.random.Generator) -> None:
    """Its loop changes the hybrid: what was cancelled comes back until it is learned anew."""
    far = words(rng, 14)
    h = hybrid(rng, 16, 14)
    change = len(far) // 2
    echo = delayed(np.convolve(far, h)[: len(far)], 10)
    echo[:change] = 0.0
    _, found = score(far, echo + noise(rng, len(far), -60))
    before = [each for each in found if each.end_ms * 8 < change - 800]
    after = [each for each in found if each.start_ms * 8 > change]
    assert max(each.residual_db for each in before) < 2
    assert min(each.residual_db for each in after) > 8


def test_a_hook_flash_is_a_crack_and_not_an_echo(rng: np.random.Generator) -> None:
    far = words(rng, 14)
    line = noise(rng, len(far), -60)
    for at in range(8000, len(far) - 8000, 24000):
        line[at : at + 2400] *= 0.01  # the loop is open
        line[at : at + 40] += 12000.0 * np.exp(-np.arange(40) / 8.0)
        line[at + 2400 : at + 2440] -= 12000.0 * np.exp(-np.arange(40) / 8.0)
    one, found = score(far, line)
    assert one.figures()["audible"] <= 1
    assert len([each for each in found if not each.masked]) >= 4       # 9.4 +- 0.7 in 54 draws


def test_an_xrun_that_moves_the_echo_is_followed(rng: np.random.Generator) -> None:
    far = words(rng, 24)
    change = len(far) // 2
    echo = delayed(far, 40)
    echo[change:] = delayed(far, 110)[change:]
    one, found = score(far, echo * 10 ** (-25 / 20) + noise(rng, len(far), -60))
    assert one.figures()["delay_ms"] == pytest.approx(110, abs=15)
    late = [each for each in found if each.start_ms * 8 > change]
    assert sum(each.residual_db > 10 for each in late) >= 0.5 * len(late)  # one word in forty is not


@pytest.mark.parametrize("rate", [8000, 16000])
def test_blocks_of_any_size_score_the_same(rate: int, rng: np.random.Generator) -> None:
    far = speech(rng, 6.0, rate)
    back = delayed(far, 50) * 0.05 + noise(rng, len(far), -60)
    whole, parts = EchoScore(rate), EchoScore(rate)
    whole.feed(pcm(far), pcm(back))
    for at in range(0, len(far), 333):
        parts.feed(pcm(far[at : at + 333]), pcm(back[at : at + 333]))
    assert whole.figures() == parts.figures()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="echo score"):
        EchoScore(8000, 5000)
    with pytest.raises(ValueError, match="same whole number"):
        EchoScore().feed(b"1234", b"12")
