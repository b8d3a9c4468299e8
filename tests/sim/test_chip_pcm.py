"""The PCM highway of simulated line chips: slots, laws, gains, mutes, loops. Sections 1.2, 2.2 and 4 of the facts."""

from __future__ import annotations

import random
from array import array
from typing import Literal

import pytest

from firmware.dsp import g711
from firmware.sim.chip_face import SimBoard
from tests.sim.test_chip_power_up import Fxo, Fxs, kinds, powered

N = 80


def speech(seed: int, peak: int = 8000) -> list[int]:
    dice = random.Random(seed)
    return [dice.randint(-peak, peak) for _ in range(N)]


def block(board: SimBoard, play: dict[int, list[int]], lines: dict[int, list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """One block: channels played and lines spoken by number; (channels captured, what each line hears)."""
    channels, ports = board.chips.channels, board.chips.fxo_count + board.chips.fxs_count
    out = array("h", [x for k in range(channels) for x in play.get(k, [0] * N)])
    said = array("h", [x for k in range(ports) for x in lines.get(k, [0] * N)])
    back, heard = board.chips.audio(out.tobytes(), said.tobytes())
    captured, outward = array("h", back), array("h", heard)
    return [list(captured[N * k : N * k + N]) for k in range(channels)], [list(outward[N * k : N * k + N]) for k in range(ports)]


def talking(seed: int = 1) -> tuple[SimBoard, Fxo, Fxs]:
    """Two ports each; FXO 0 off hook in slot 0, FXS 0 active in slot 2; both at unity."""
    board = powered(2, 2, seed=seed)
    fxo, fxs = Fxo(board), Fxs(board)
    fxo.bring_up()
    fxs.bring_up()
    fxs.set(26, 0x4000)
    fxs.wait()
    fxo.write(31, 0x20)
    fxo.write(5, 1)
    board.step(500)
    return board, fxo, fxs


def silent(samples: list[int]) -> bool:
    return not any(samples)


def ratio(a: list[int], b: list[int]) -> float:
    return (sum(x * x for x in a) / sum(x * x for x in b)) ** 0.5


def test_each_port_has_its_slot_and_no_other() -> None:
    board, _, _ = talking()
    a, b, c, d = (speech(k) for k in range(4))
    captured, heard = block(board, {0: a, 2: b, 5: a}, {0: c, 2: d})
    assert captured[0] == c
    assert captured[2] == d
    assert heard[0] == a
    assert heard[2] == b
    assert all(silent(captured[k]) for k in (1, 3, 4, 5, 6, 7))
    assert silent(heard[1]) and silent(heard[3])
    assert not board.illegal


@pytest.mark.parametrize("start", [1, 17, 49, 97, 113])
def test_the_start_counts_place_both_directions(start: int) -> None:
    board, fxo, fxs = talking()
    fxs.write(1, 0)
    fxo.write(34, start)
    fxo.write(36, (start + 32) % 128)
    said, played = speech(1), speech(2)
    slot, other = start // 16, (start + 32) % 128 // 16
    captured, heard = block(board, {other: played}, {0: said})
    assert captured[slot] == said
    assert heard[0] == played


@pytest.mark.parametrize("start", [0, 114, 129, 1000])
def test_a_start_count_that_does_not_fit_is_silent_and_noted(start: int) -> None:
    board, fxo, _ = talking()
    for reg in (34, 36):
        fxo.write(reg, start & 0xFF)
        fxo.write(reg + 1, start >> 8)
    captured, heard = block(board, {k: speech(k) for k in range(8)}, {0: speech(9)})
    assert silent(heard[0])
    assert not any(captured[0])
    assert "slot-outside-frame" in kinds(board)


def test_a_slot_that_is_not_aligned_shares_two_channels() -> None:
    board, fxo, _ = talking()
    fxo.write(34, 1 + 68)
    fxo.write(36, 1 + 68)
    played = speech(3)
    said = speech(4)
    channel4 = [((x & 0xFFFF) >> 4) - (0x10000 if (x & 0xFFFF) >> 4 & 0x8000 else 0) for x in played]
    channel5 = [(x << 12 & 0xFFFF) - (0x10000 if x << 12 & 0x8000 else 0) for x in played]
    captured, heard = block(board, {4: channel4, 5: channel5}, {0: said})
    assert heard[0] == played
    assert [(a & 0xFFF) << 4 | (b & 0xFFFF) >> 12 for a, b in zip(captured[4], captured[5], strict=True)] == [x & 0xFFFF for x in said]


@pytest.mark.parametrize(("law", "name"), [(0, "alaw"), (1, "ulaw")])
def test_companded_slots_are_bytes(law: int, name: Literal["alaw", "ulaw"]) -> None:
    board, fxo, fxs = talking()
    fxo.write(33, 0x20 | law << 3)
    fxs.write(1, 0x20 | law << 3)
    said = speech(5)
    codes = list(g711.encode(name, array("h", said).tobytes()))
    linear = list(array("h", g711.decode(name, bytes(codes))))
    played = [(code << 8) - (0x10000 if code & 0x80 else 0) for code in codes]
    captured, heard = block(board, {0: played, 2: played}, {0: said, 2: said})
    assert [(x >> 8) & 0xFF for x in captured[0]] == codes
    assert [(x >> 8) & 0xFF for x in captured[2]] == codes
    assert heard[0] == heard[2] == linear


def test_two_speakers_on_one_slot_and_neighbours_without_tri_are_noted() -> None:
    board, fxo, fxs = talking()
    fxs.write(2, 1)
    block(board, {}, {})
    assert kinds(board) == {"slot-clash"}
    board, fxo, fxs = talking()
    fxs.write(2, 17)
    block(board, {}, {})
    assert not board.illegal
    fxo.write(33, 0x38)
    block(board, {}, {})
    block(board, {}, {})
    assert board.chips.illegal_counts() == {"slot-edge": 1}


@pytest.mark.parametrize(("coarse", "fine", "db"), [(0, 0, 0), (3, 0, 3), (22, 0, -6), (0, 5, 0.5), (18, 21, -2.5), (15, 0, 12)])
def test_fxo_gains(coarse: int, fine: int, db: float) -> None:
    board, fxo, _ = talking()
    for reg, value in ((38, coarse), (40, fine), (39, coarse), (41, fine)):
        fxo.write(reg, value)
    said = speech(6, 3000)
    captured, heard = block(board, {0: said}, {0: said})
    assert ratio(captured[0], said) == pytest.approx(10 ** (db / 20), rel=2e-3)
    assert ratio(heard[0], said) == pytest.approx(10 ** (db / 20), rel=2e-3)


def test_full_scale_bits_of_an_fxo() -> None:
    for reg, value, db in ((31, 0xA0, 3.2), (30, 0x10, 6.0)):
        board, fxo, _ = talking()
        fxo.write(reg, value)
        said = speech(7, 3000)
        captured, heard = block(board, {0: said}, {0: said})
        assert ratio(heard[0], said) == pytest.approx(10 ** (db / 20), rel=2e-3)
        assert ratio(captured[0], said) == pytest.approx(10 ** (-db / 20), rel=2e-3)


@pytest.mark.parametrize(("code", "gain"), [(0, 1.0), (1, 0.668), (2, 1.496), (3, 0.0)])
def test_fxs_gains(code: int, gain: float) -> None:
    board, _, fxs = talking()
    fxs.write(9, code << 2 | code)
    said = speech(8, 3000)
    captured, heard = block(board, {2: said}, {2: said})
    assert ratio(captured[2], said) == pytest.approx(gain, abs=2e-3)
    assert ratio(heard[2], said) == pytest.approx(gain, abs=2e-3)


def test_fxs_words_26_and_27_scale() -> None:
    board, _, fxs = talking()
    fxs.set(26, 0x2000)
    fxs.set(27, 0x1000)
    fxs.wait()
    said = speech(9, 3000)
    captured, heard = block(board, {2: said}, {2: said})
    assert ratio(heard[2], said) == pytest.approx(0.5, abs=1e-3)
    assert ratio(captured[2], said) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize(("fxo_bits", "fxs_bits", "toward_line", "toward_bus"), [(0x80, 0x10, True, False), (0x08, 0x20, False, True)])
def test_mutes(fxo_bits: int, fxs_bits: int, toward_line: bool, toward_bus: bool) -> None:
    board, fxo, fxs = talking()
    fxo.write(15, fxo_bits)
    fxs.write(9, fxs_bits)
    said = speech(10)
    captured, heard = block(board, {0: said, 2: said}, {0: said, 2: said})
    assert [silent(heard[0]), silent(heard[2])] == [toward_line] * 2
    assert [silent(captured[0]), silent(captured[2])] == [toward_bus] * 2


@pytest.mark.parametrize(("reg", "value"), [(33, 0xB9), (10, 1), (1, 2)])
def test_fxo_loops(reg: int, value: int) -> None:
    board, fxo, _ = talking()
    fxo.write(5, 8)
    board.step(30)
    fxo.write(reg, value)
    played = speech(11)
    captured, _ = block(board, {0: played}, {0: speech(12)})
    assert captured[0] == played
    assert all(silent(captured[k]) for k in range(1, 8))


def test_the_loop_behind_the_isolation_needs_the_link() -> None:
    board, fxo, _ = talking()
    fxo.write(1, 2)
    board.fxo[0].set(fault_link=1)
    board.step(3)
    captured, _ = block(board, {0: speech(13)}, {})
    assert silent(captured[0])


@pytest.mark.parametrize("value", [1, 2, 4])
def test_fxs_loops(value: int) -> None:
    board, _, fxs = talking()
    fxs.write(64, 0)
    fxs.write(8, value)
    board.step(5)
    played = speech(14)
    captured, heard = block(board, {2: played}, {2: speech(15)})
    assert captured[2] == played
    assert silent(heard[2])


def test_on_hook_the_monitor_bit_lets_caller_id_through_with_an_offset() -> None:
    for bits, through in ((0, False), (8, True)):
        board, fxo, _ = talking()
        fxo.write(5, bits)
        board.step(30)
        said = speech(16, 2000)
        captured, heard = block(board, {0: said}, {0: said})
        assert silent(heard[0])
        if through:
            assert [x - y for x, y in zip(captured[0], said, strict=True)] == pytest.approx([0.05 * 32767] * N, abs=1)
        else:
            assert silent(captured[0])


def test_audio_is_muted_until_the_line_has_settled() -> None:
    board, fxo, _ = talking()
    fxo.write(5, 0)
    board.step(30)
    fxo.write(5, 1)
    said = speech(17)
    for expected in (False, False, True):
        captured, heard = block(board, {0: said}, {0: said})
        assert silent(captured[0]) != expected
        assert silent(heard[0]) != expected
        board.step(210)


@pytest.mark.parametrize(("feed", "talks"), [(0, False), (1, True), (2, True), (3, False), (4, False), (5, True), (6, True), (7, False)])
def test_an_fxs_talks_in_its_fed_states_only(feed: int, talks: bool) -> None:
    board, _, fxs = talking()
    fxs.write(64, feed)
    board.step(2)
    said = speech(18)
    captured, heard = block(board, {2: said}, {2: said})
    assert silent(captured[2]) != talks
    assert silent(heard[2]) != talks


def test_pcme_and_rxe_switch_a_port_off() -> None:
    board, fxo, fxs = talking()
    said = speech(19)
    fxs.write(1, 0x1D)
    fxo.write(2, 0x02)
    captured, heard = block(board, {0: said, 2: said}, {0: said, 2: said})
    assert silent(captured[0]) and silent(captured[2]) and silent(heard[2])
    assert heard[0] == said
    fxo.write(33, 0x19)
    _, heard = block(board, {0: said}, {})
    assert silent(heard[0])


def test_without_clocks_there_is_no_audio() -> None:
    board, _, _ = talking()
    board.pcm.stop()
    said = speech(20)
    captured, heard = block(board, dict.fromkeys(range(8), said), dict.fromkeys(range(4), said))
    assert all(silent(channel) for channel in captured + heard)


def test_hybrid_coefficients_take_an_echo_out_when_they_fit() -> None:
    board, fxo, _ = talking()
    for reg, value in ((45, 0x20), (46, 0xF0)):             # 0.25 and -0.125
        fxo.write(reg, value)
    played = speech(21)
    echo = [round(0.25 * a - 0.125 * b) for a, b in zip(played, [0, *played], strict=False)]
    captured, _ = block(board, {0: played}, {0: echo})
    assert max(abs(x) for x in captured[0]) <= 2
    fxo.write(2, 0x01)                                      # HBE off
    captured, _ = block(board, {0: played}, {0: echo})
    assert captured[0] == echo


def test_a_block_of_the_wrong_size_is_refused() -> None:
    board = powered(1, 1)
    with pytest.raises(ValueError, match="8 channels and 2 lines"):
        board.chips.audio(bytes(10), bytes(10))
    assert board.chips.audio(b"", b"") == (b"", b"")


def test_two_mhz_carry_sixteen_channels() -> None:
    board = powered(1, 1)
    board.pcm.start(2_048_000)
    assert board.chips.channels == 16
