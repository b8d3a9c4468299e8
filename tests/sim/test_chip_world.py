"""Wires, chips and the seam together: programs, mail, clocks, the lifeline, and what people in the world see of it."""

from __future__ import annotations

import errno
import math
import os
import struct
import subprocess
import sys

import pytest

from firmware.config.board import parse_board
from firmware.dsp.chip_mail import ChipMail
from firmware.sim.callerid import fsk_message, read_message
from firmware.sim.hearing import Ear, FskReceiver, measure
from firmware.sim.people import CallPlan
from firmware.sim.segment import Segment
from firmware.sim.signal import FskSource, Mouth, ToneSource
from tests.sim.chip_box import FXO, FXS, LAYOUT, Access, ChipBox, chip_board, read, write


def tone(box: ChipBox, slot: int, hz: float = 1000.0, level: float = -12.0) -> None:
    mouth = Mouth()
    mouth.play(ToneSource([((hz,), level, 0.0)]))
    box.playing[slot] = mouth.block


def test_a_program_reads_each_millisecond_what_the_line_did_until_then() -> None:
    box = ChipBox()
    box.scan = [read(0, 5, ms) for ms in range(10)]
    box.town.call_in(CallPlan("13800138000", 1, caller_id="none", patience_ms=20_000))
    box.run(3_000)
    series = sorted(box.series(read(0, 5)))
    assert len({at for at, _ in series}) == len(series) >= 2_900
    begins = [at for (at, value), (_, before) in zip(series[1:], series, strict=False) if value & 0x20 and not before & 0x20]
    assert begins, "no positive half-wave was seen"
    assert [b - a for a, b in zip(begins, begins[1:], strict=False)] == [40] * (len(begins) - 1)
    assert 24 <= len(begins) <= 26  # one burst of 1 s at 25 Hz


@pytest.mark.parametrize("ms", [0, 3, 9])
def test_a_write_holds_from_its_millisecond_on(ms: int) -> None:
    box = ChipBox()
    box.run(100)
    box.off_hook(1, ms)
    box.run(100)
    loops = [note for note in box.segment.history if note[1:4] == ("fxo", "2", "loop")]
    assert [(at, state) for at, _, _, _, state, _ in loops] == [(100 + ms, 1)]
    assert box.town.exchange.line(2).seizures == 1


def test_several_programs_run_in_one_block_in_order() -> None:
    box = ChipBox()
    before = box.word("ran")
    box.post([write(0, 34, 0x11, 2), read(0, 34, 4)])
    box.post([write(0, 34, 0x22, 3), read(0, 34, 5)])
    box.town.world.step()
    box.collect(before)
    assert box.word("ran") == before + 2
    assert [reply[-1] for _, access, reply in box.answers if access.data[0] & 0x40] == [0x22, 0x22]
    assert {block for block, _, _ in box.answers} == {box.segment.block - 1}


def test_a_program_that_makes_no_sense_ends_there_and_is_counted() -> None:
    box = ChipBox()
    before = box.word("ran")
    box.post([read(0, 2), Access(1, 9, (1, 2, 3)), read(0, 2, 2)])
    box.town.world.step()
    box.collect(before)
    assert next(reply for _, _, reply in box.answers)[-1] == 0x03
    assert box.segment.counters()["refused"] == 1
    assert box.word("ran") == box.word("posted")


def test_dial_pulses_of_the_box_reach_the_exchange_with_their_times() -> None:
    box = ChipBox()
    box.off_hook(0)
    box.run(1_500)
    for digit in (1, 1, 0):
        for _ in range(digit or 10):
            box.on_hook(0, ms=4)
            box.run(60)
            box.off_hook(0, ms=4)
            box.run(40)
        box.run(800)
    box.run(2_000)
    call = box.town.exchange.calls[-1]
    assert call.digits == "110"
    edges = [(note["at_ms"], note["off"]) for note in box.town.world.observations if note["what"] == "hook"]
    breaks = [b[0] - a[0] for a, b in zip(edges, edges[1:], strict=False) if not a[1]]
    assert len(breaks) == 12
    assert set(breaks) == {60}


def test_a_flash_and_dial_pulses_of_a_phone_are_seen_by_the_chip_in_ms() -> None:
    box = ChipBox()
    box.scan = [read(0, 68, ms, FXS) for ms in range(10)]
    phone = box.town.phone(1)
    phone.lift()
    box.run(500)
    phone.flash(300)
    box.run(1_000)
    phone.pulse("3")
    box.run(1_200)
    series = sorted(box.series(read(0, 68, 0, FXS)))
    edges = [(at, value & 1) for (at, value), (_, before) in zip(series[1:], series, strict=False) if (value ^ before) & 1]
    opens = [b[0] - a[0] for a, b in zip(edges, edges[1:], strict=False) if a[1] == 0]
    assert [round(ms / 10) for ms in opens] == [30, 6, 6, 6]


def test_a_phone_rings_trips_and_talks_through_its_chip() -> None:
    box = ChipBox()
    phone = box.town.phone(2)
    for _ in range(2):
        box.feed(1, 4)
        box.run(1_000)
        box.feed(1, 2)
        box.run(4_000)
    assert phone.rings == 2
    box.feed(1, 4)
    box.run(300)
    box.scan = [read(1, 64, 0, FXS)]
    phone.lift()
    box.run(250)
    assert [value >> 4 for _, value in box.series(read(1, 64, 0, FXS))][-1] == 1, "the chip feeds by itself after the trip"
    box.feed(1, 1)
    box.run(100)
    assert phone.wire.milliamps == pytest.approx(20, abs=0.5)
    tone(box, 5, 1000, -12)
    phone.say(ToneSource([((700.0,), -15.0, 0.0)]))
    tape = box.keep(5)
    box.run(1_000)
    assert measure(bytes(tape), 700, 0.3, 1.0) == pytest.approx(-15.0, abs=0.3)
    gain = 20 * math.log10(box.segment.chips.peek_indirect(1, 13) / 0x4000)
    assert phone.wire.ear.level(20) == pytest.approx(-12.0 + gain, abs=0.5)


def test_caller_id_reaches_the_display_between_rings() -> None:
    box = ChipBox()
    mouth = Mouth()
    box.feed(0, 4)
    box.run(1_000)
    box.feed(0, 2)
    box.playing[4] = mouth.block
    box.run(500)
    mouth.play(FskSource(fsk_message("13800138000", "Li", "", 0), "bell202"))
    box.run(2_000)
    assert box.town.phone(1).display["number"] == "13800138000"


def test_caller_id_of_the_exchange_passes_the_on_hook_monitor() -> None:
    box = ChipBox()
    tape = box.keep(2)
    box.town.call_in(CallPlan("13800138000", 3, name="Wang", patience_ms=20_000))
    box.run(6_000)
    ear = Ear()
    ear.listening = True
    ear.fsk = FskReceiver("bell202")
    words = struct.unpack(f"<{len(tape) // 2}h", bytes(tape))
    assert min(words[8000:12000]) > 500, "the converter's offset is not there"
    level = 1638
    flat = struct.pack(f"<{len(words)}h", *(max(-32768, word - level) for word in words))
    for block in range(len(flat) // 160):
        ear.feed(flat[160 * block : 160 * block + 160], block)
    assert [read_message(kind, data)["number"] for kind, data in ear.fsk.messages] == ["13800138000"]


def test_speech_passes_the_trunk_both_ways_at_level_and_only_when_settled() -> None:
    box = ChipBox()
    box.town.exchange.line(1).wire.hiss(-99)
    box.town.call_in(CallPlan("13800138000", 1, say="tone:700", partners_hz=(1000.0,), caller_id="none"))
    box.run(1_000)
    tape = box.keep(0)
    tone(box, 0)
    box.off_hook(0)
    box.run(3_000)
    person = next(iter(box.town.people.values()))
    assert person.answered >= 0
    assert person.partners["1000"] == pytest.approx(-12.0, abs=0.3)
    assert measure(bytes(tape), 700, 1.0, 2.5) == pytest.approx(-16.0, abs=0.3)
    assert not any(bytes(tape)[320 : 320 + 2 * 8 * 300]), "audio before the off-hook counter and the calibration were over"


def test_the_two_boxes_of_mail_answer_and_say_what_is_wrong() -> None:
    box = ChipBox()
    assert box.mail.transfer(FXO, [0x60, 2, 0xFF], split=True)[-1] == 0x03
    assert box.parent.clocks() is True
    assert box.parent.int_level(FXO) is True
    before = box.mail.now_us()
    box.mail.step(25)
    assert box.mail.now_us() - before >= 25_000
    with pytest.raises(OSError, match="Invalid") as wrong:
        box.mail.transfer(7, [1], split=True)
    assert wrong.value.errno == errno.EINVAL
    box.parent.reset(FXO, False)
    assert box.mail.transfer(FXO, [0x60, 2, 0xFF], split=True)[-1] == 0xFF
    assert box.mail.transfer(FXS, [1, 0x80 | 8, 0xFF], split=True)[-1] == 0x00, "the other chain lost its registers"


def test_stepping_chips_moves_no_cadence_and_no_hook_of_the_world() -> None:
    box = ChipBox()
    box.town.call_in(CallPlan("13800138000", 1, caller_id="none", patience_ms=60_000))
    box.run(500)
    box.mail.step(5_000)
    box.run(300)
    assert box.town.exchange.line(1).wire.bursts == 1


def test_a_new_world_answers_the_mail_that_stands_and_keeps_relay_and_reset() -> None:
    box = ChipBox(lifeline=True)
    box.parent.relay(True)
    fd = box.fd
    at = LAYOUT["mail"] + LAYOUT["mail_size"]
    del box.town, box.cards
    box.segment = None  # type: ignore[assignment]
    asked = struct.unpack_from("<I", box.memory, at)[0]
    box.memory[at + 8 : at + 12] = struct.pack("<I", 4)  # MAIL_SENSE
    struct.pack_into("<I", box.memory, at, asked + 1)
    again = Segment(fd, board=chip_board(lifeline=True))
    mail = ChipMail(fd, 1)
    assert mail.sense() is True
    assert struct.unpack_from("<I", box.memory, at + 4)[0] >= asked + 1
    assert again.lifeline == "apart"
    assert again.clocks_running
    assert mail.transfer(FXO, [0x60, 2, 0xFF], split=True)[-1] == 0x03, "the chips are held in RESET"


def test_the_lifeline_joins_line_and_phone_until_the_relay_has_current() -> None:
    box = ChipBox(lifeline=True)
    line, phone = box.town.exchange.line(1), box.town.phone(1)
    assert box.segment.lifeline == "joined"
    assert box.parent.sense() is False
    person = box.town.call_in(CallPlan("13800138000", 1, say="tone:700", partners_hz=(1000.0,)))
    box.run(6_500)
    assert phone.rings == 2
    assert phone.display["number"] == "13800138000"
    phone.lift()
    phone.say(ToneSource([((1000.0,), -12.0, 0.0)]))
    box.run(3_000)
    assert person.answered >= 0
    assert person.partners["1000"] == pytest.approx(-12.0, abs=0.5)
    assert phone.wire.ear.level(20) == pytest.approx(-16.0, abs=1.0)
    assert phone.wire.milliamps == pytest.approx(48 / 1.2, abs=1)
    assert box.segment.chips.state("fxo", 0)["milliamps"] == 0
    phone.hang_up()
    box.run(1_000)
    assert str(line.state) == "idle"
    box.parent.relay(True)
    assert box.parent.sense() is True
    box.town.call_in(CallPlan("13800138000", 1, caller_id="none"))
    rings = phone.rings
    box.run(8_000)
    assert phone.rings == rings, "the phone rings past its chip"
    box.off_hook(0)
    box.run(500)
    assert line.wire.off_hook
    assert box.segment.chips.state("fxo", 0)["milliamps"] > 30


def test_a_welded_relay_shows_at_the_sense_contact() -> None:
    box = ChipBox(lifeline=True)
    box.segment.weld(True)
    box.parent.relay(True)
    assert box.parent.sense() is False
    assert box.segment.lifeline == "joined"
    box.segment.weld(False)
    assert box.parent.sense() is True


def test_the_clocks_stop_with_the_media_process() -> None:
    box = ChipBox()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    struct.pack_into("<I", box.memory, LAYOUT["media_pid"], process.pid)
    box.run(500)
    assert box.segment.clocks_running
    process.kill()
    process.wait()
    box.run(500)
    assert not box.segment.clocks_running
    assert not box.segment.chips.state("fxo", 0)["link"]
    assert box.mail.clocks(1) is True, "a new media process opens its stream before it has told its number"
    box.run(500)
    assert box.segment.clocks_running
    struct.pack_into("<I", box.memory, LAYOUT["media_pid"], os.getpid())
    box.run(500)
    assert box.segment.clocks_running


@pytest.mark.parametrize(("code", "milliamps"), [(0, 20.0), (3, 29.0)])
def test_the_loop_current_into_600_ohm_is_that_of_register_71(code: int, milliamps: float) -> None:
    box = ChipBox()
    phone = box.town.phone(1)
    phone.wire.resistance = 600.0
    box.do(write(0, 71, code, 0, FXS))
    phone.lift()
    box.run(1_500)
    assert phone.wire.milliamps == pytest.approx(milliamps, rel=0.1)
    box.mail.step(2_000)
    box.run(10)
    assert phone.wire.milliamps == pytest.approx(milliamps, rel=0.1)


def life(seed: int) -> tuple[list[object], list[bytes], bytes, list[object]]:
    box = ChipBox(seed=seed)
    box.segment.chips.set("bus", FXO, "flip_in", 0.01)
    box.scan = [read(k, 5, ms) for ms in range(10) for k in range(4)] + [read(0, 68, 0, FXS)]
    tape = box.keep(0)
    box.town.call_in(CallPlan("13800138000", 1, say="speech:2", hang_up_after_ms=2_000))
    box.run(3_000)
    box.off_hook(0, 4)
    box.run(4_000)
    return list(box.town.world.observations), [reply for _, _, reply in box.answers], bytes(tape), list(box.segment.history)


def test_the_same_seed_gives_the_same_bytes_samples_and_notes() -> None:
    assert life(5) == life(5)
    assert life(5)[1] != life(6)[1]


def test_a_board_file_without_chips_is_refused_with_the_reason() -> None:
    bare = parse_board(b'name = "bare"\nseam = "world"\nslots_fxo = [0]\nslots_fxs = [4]\n', "board.toml")
    with pytest.raises(ValueError, match="bare has no chains"):
        Segment(os.memfd_create("world-bare"), board=bare)
