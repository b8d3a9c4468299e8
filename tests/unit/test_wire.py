"""Frames, records, the detector and both ends of the provisioning protocol on a line that loses, doubles, bends and breaks."""

from __future__ import annotations

import hashlib
import hmac
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.wire import frame, link, proof, provision, tlv
from firmware.wire.detect import ATTENTION, Detector
from firmware.wire.device import Device
from firmware.wire.tool import Tool
from tests.unit.wire_line import IDENTITY, Stage, ToolOwner

KINDS = st.integers(0, 255)


# --- frames, records, proofs ------------------------------------------------------------------------------------------


@given(KINDS, KINDS, st.integers(0, 65535), st.binary(max_size=500), st.lists(st.integers(1, 40), max_size=30))
def test_a_frame_arrives_however_the_stream_is_cut_and_holds_nothing_a_console_acts_on(
    kind: int, epoch: int, seq: int, payload: bytes, cuts: list[int]
) -> None:
    sent = frame.encode(kind, epoch, seq, payload)
    assert not set(sent[1:-1]) & (set(frame.HIDDEN) - {0x10})
    decoder, got, at = frame.Decoder(), [], 0
    stream = b"noise \xff" + sent + sent
    for cut in [*cuts, len(stream)]:
        got += decoder.feed(stream[at : at + cut])
        at += cut
    assert got == [(kind, epoch, seq, payload)] * 2


@given(st.binary(max_size=200), st.data())
def test_no_frame_with_a_wrong_bit_is_taken(payload: bytes, data: st.DataObject) -> None:
    sent = bytearray(frame.encode(0x44, 1, 2, payload))
    at = data.draw(st.integers(0, len(sent) - 1))
    sent[at] ^= 1 << data.draw(st.integers(0, 7))
    assert all(one == (0x44, 1, 2, payload) for one in frame.Decoder().feed(bytes(sent)))


@given(st.binary(max_size=400))
def test_a_decoder_never_raises_and_finds_the_frame_after_any_noise(noise: bytes) -> None:
    decoder = frame.Decoder()
    decoder.feed(noise)
    good = frame.encode(1, 2, 3, b"payload")
    assert decoder.feed(b"\x01" + good)[-1:] == [(1, 2, 3, b"payload")]


def test_what_a_decoder_holds_is_bounded() -> None:
    decoder = frame.Decoder(most=256)
    for _ in range(1000):
        decoder.feed(b"x" * 1000)
        assert decoder.held() <= 2 * (256 + frame.OVERHEAD)
    assert decoder.dropped > 990_000
    assert decoder.feed(b"\x01" + frame.encode(1, 2, 3, b"p")) == [(1, 2, 3, b"p")]


def test_enter_keys_of_a_person_are_counted_and_those_within_frames_or_text_are_not() -> None:
    decoder = frame.Decoder()
    decoder.feed(frame.encode(1, 1, 1, b"\r\r\r\r"))
    assert decoder.returns == 0
    for part in (b"\r", b"\n\r", b"x\r", b"\r\n"):
        decoder.feed(part)
    assert decoder.returns == 2


@given(st.lists(st.tuples(KINDS, st.binary(max_size=60)), max_size=20, unique_by=lambda one: one[0]))
def test_records_come_back(records: list[tuple[int, bytes]]) -> None:
    assert tlv.decode(tlv.encode(records)) == dict(records)


@given(st.binary(max_size=300))
def test_records_of_a_stranger_are_read_or_refused(data: bytes) -> None:
    found = tlv.decode(data)
    if found is not None:
        assert sum(3 + len(value) for value in found.values()) <= len(data)
        tlv.as_number(found, 1), tlv.as_text(found, 2)


@given(st.integers(0, 2**63))
def test_numbers_come_back(value: int) -> None:
    assert tlv.as_number({1: tlv.number(value)}, 1) == value


@given(st.binary(min_size=1, max_size=100), st.binary(max_size=100))
def test_proofs_are_the_standard_ones(key: bytes, message: bytes) -> None:
    assert proof.hmac_sha256(key, message) == hmac.new(key, message, hashlib.sha256).digest()
    assert proof.same(message, message)
    assert not proof.same(message + b"\0", message + b"\1")


# --- person or program ------------------------------------------------------------------------------------------------


@given(st.binary(max_size=40), st.binary(max_size=40), st.lists(st.integers(1, 5), max_size=30))
def test_the_call_is_found_however_it_is_cut_and_the_rest_is_kept(before: bytes, after: bytes, cuts: list[int]) -> None:
    before = before.replace(b"\x1b", b"")
    detector, console, at = Detector(), b"", 0
    stream = before + ATTENTION + after
    for cut in [*cuts, len(stream)]:
        console += detector.receive(stream[at : at + cut], at)
        at += cut
    assert detector.found
    assert console == before
    assert detector.rest == after


@given(st.lists(st.sampled_from([b"\x1b", b"\x1b[A", b"_", b"BPX", b"show status\r", b"\x1b_BPXWIRE", b"\x03"]), max_size=30))
def test_a_person_loses_no_key_to_the_detector(keys: list[bytes]) -> None:
    detector, console, now = Detector(), b"", 0
    for key in keys:
        console += detector.receive(key, now)
        now += 200
        due = detector.deadline()
        assert due is None or due <= now
        console += detector.expire(now)
    assert not detector.found
    assert console == b"".join(keys)


def test_the_call_is_harmless_to_a_console() -> None:
    assert not set(ATTENTION) & {0x0A, 0x0D, 0x03, 0x04, 0x11, 0x13}
    assert ATTENTION.startswith(b"\x1b_")
    assert ATTENTION.endswith(b"\x1b\\")


def test_enter_three_times_gives_the_line_back_to_a_person() -> None:
    stage = Stage().open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    stage.device.machine.receive(b"\r\r\r", stage.now)
    assert ("closed", "person") in stage.device.machine.events()
    assert not stage.device.machine.open


# --- requests ---------------------------------------------------------------------------------------------------------


def talk(stage: Stage, count: int = 12) -> None:
    """Ask so many things; each must be done exactly once, in order."""
    stage.open()
    for number in range(1, count + 1):
        stage.tool.machine.send(("request", number, b"ask %d " % number + b"x" * (number * 37 % 700), False), stage.now)
    stage.until(lambda: len(stage.tool.results) == count)
    asked = [b"ask %d " % number + b"x" * (number * 37 % 700) for number in range(1, count + 1)]
    assert stage.device.executed == asked
    assert all(stage.tool.results[number] == (provision.OK, b"did " + asked[number - 1]) for number in range(1, count + 1))


@pytest.mark.parametrize("baud", [9600, 115200, 3_000_000])
def test_everything_asked_is_done_once_in_order(baud: int) -> None:
    talk(Stage(baud))


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.sampled_from([9600, 115200]), st.floats(0, 3e-4), st.floats(0, 1e-3), st.floats(0, 1e-3))
def test_noise_costs_time_and_nothing_else(seed: int, baud: int, flip: float, lose: float, double: float) -> None:
    talk(Stage(baud, seed, flip=flip, lose=lose, double=double), 6)


def test_a_break_at_every_frame_of_a_conversation_ends_in_the_same_result() -> None:
    whole = Stage()
    talk(whole, 5)
    assert whole.carried >= 8
    for number in range(whole.carried + 1):
        stage = Stage(seed=number)
        step = stage.step

        def cutting(stage: Stage = stage, step: object = step, number: int = number) -> None:
            step()  # type: ignore[operator]
            if stage.carried >= number and stage.dead_until < 0:
                stage.cut(8000)

        stage.step = cutting  # type: ignore[method-assign]
        talk(stage, 5)
        assert stage.dead_until > 0


def test_what_comes_again_is_answered_from_the_kept_result_and_what_is_too_old_is_refused() -> None:
    stage = Stage()
    talk(stage, 40)
    done = len(stage.device.executed)
    tool = stage.tool.machine
    for ident in (40, 1):
        tool.send(("request", ident, b"again", False), stage.now)
        stage.tool.results.pop(ident)
        stage.until(lambda ident=ident: ident in stage.tool.results)
    assert len(stage.device.executed) == done
    assert stage.tool.results[40][0] == provision.OK
    assert stage.tool.results[1] == (provision.STALE, b"")


def test_what_is_too_long_for_the_other_side_is_told_and_the_line_goes_on() -> None:
    stage = Stage(3_000_000).open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    stage.tool.machine.send(("request", 1, bytes(provision.MESSAGE_MOST), False), stage.now)
    stage.until(lambda: 1 in stage.tool.results)
    assert stage.tool.results[1] == (provision.TOO_LONG, b"")
    stage.device.machine._result_most = 100
    for ident, size in ((2, 95), (3, 10)):
        stage.tool.machine.send(("request", ident, bytes(size), False), stage.now)
        stage.until(lambda ident=ident: ident in stage.tool.results)
    assert stage.tool.results[2] == (provision.TOO_LONG, b"")
    assert stage.tool.results[3][0] == provision.OK
    assert len(stage.device.executed) == 2
    assert not stage.tool.said("lost")


def test_another_session_while_one_is_alive_is_told_so_and_the_first_goes_on() -> None:
    stage = Stage().open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    other = ToolOwner(115200, random.Random(9), b"session2")
    other.machine.send(("open",), stage.now)
    stage.device.receive(other.machine.output(), stage.now)
    other.machine.receive(stage.device.machine.output(), stage.now)
    other.act(stage.now)
    assert ("refused", "busy") in other.events
    stage.tool.machine.send(("request", 1, b"still here", False), stage.now)
    stage.until(lambda: 1 in stage.tool.results)
    assert stage.device.sessions == [False]


def test_a_session_whose_tool_died_is_taken_over_without_its_requests() -> None:
    stage = Stage().open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    stage.tool = ToolOwner(115200, random.Random(9), b"session2")
    stage.open()
    took = stage.until(lambda: stage.tool.machine.state == "ready")
    assert took < 6000
    assert stage.device.sessions == [False, False]


def test_silence_and_goodbye_give_the_line_back() -> None:
    stage = Stage().open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    stage.tool.machine.send(("close",), stage.now)
    stage.until(lambda: stage.device.detector is not None)
    stage.device.console = b""
    stage.down.put(b"show status\r", stage.now, 115200)
    stage.until(lambda: not stage.down.queue)
    assert stage.device.console == b"show status\r"
    stage = Stage().open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    stage.tool.machine.state = "closed"
    stage.tool.machine._link = None
    assert 55_000 < stage.until(lambda: stage.device.detector is not None) < 65_000


# --- rates ------------------------------------------------------------------------------------------------------------


def test_the_rate_is_raised_and_things_go_on_at_it() -> None:
    stage = Stage(9600).open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    stage.tool.machine.send(("baud", 921600), stage.now)
    stage.until(lambda: stage.tool.said("rate"))
    assert stage.tool.said("rate") == [("rate", 921600, True)]
    assert stage.device.baud == stage.tool.baud == 921600
    content = random.Random(1).randbytes(100_000)
    stage.tool.put(7, b"f", content, stage.now)
    assert stage.until(lambda: 7 in stage.tool.results) < 3000
    assert bytes(stage.device.files[b"f"]) == content


def test_a_rate_that_the_cable_does_not_carry_falls_back_by_itself() -> None:
    stage = Stage(115200).open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    broken = stage.down.put
    stage.down.put = lambda data, now, baud: broken(data, now, baud if baud < 1_000_000 else 1)  # type: ignore[method-assign]
    stage.tool.machine.send(("baud", 3_000_000), stage.now)
    stage.until(lambda: stage.tool.said("rate"))
    assert stage.tool.said("rate") == [("rate", 115200, False)]
    stage.down.queue.clear()
    stage.down.busy_until = 0
    stage.tool.machine.send(("request", 1, b"after", False), stage.now)
    stage.until(lambda: 1 in stage.tool.results, 20_000)
    assert stage.device.baud == stage.tool.baud == 115200


def test_a_line_that_dies_at_a_raised_rate_is_found_again_at_the_first_one() -> None:
    stage = Stage(9600).open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    stage.tool.machine.send(("baud", 115200), stage.now)
    stage.until(lambda: stage.tool.said("rate"))
    stage.cut(20_000)
    stage.tool.machine.send(("request", 1, b"later", False), stage.now)
    stage.until(lambda: 1 in stage.tool.results)
    assert stage.tool.baud == stage.device.baud == 9600


def test_a_rate_above_what_the_device_can_is_not_taken() -> None:
    stage = Stage(9600, baud_most=115200).open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    stage.tool.machine.send(("baud", 3_000_000), stage.now)
    stage.until(lambda: stage.tool.said("rate"))
    assert stage.tool.said("rate") == [("rate", 9600, False)]


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [{}, {"flip": 2e-5, "lose": 1e-5, "double": 1e-5}], ids=["clean", "noisy"])
def test_files_go_both_ways_through_breaks_and_only_what_is_missing_goes_again(noise: dict[str, float]) -> None:
    stage = Stage(115200, seed=3, **noise).open()
    content = random.Random(4).randbytes(200_000)
    stage.tool.put(1, b"f", content, stage.now)
    source = random.Random(5)
    for _ in range(4):
        goal = stage.now + source.randrange(1500, 5000)
        stage.until(lambda goal=goal: stage.now >= goal)
        stage.cut(7000)
    stage.until(lambda: 1 in stage.tool.results)
    assert stage.tool.results[1] == (provision.OK, b"")
    assert bytes(stage.device.files[b"f"]) == content
    assert stage.device.finished == [b"f"]
    assert len(stage.tool.said("reopen")) >= 2
    stage.tool.get(2, b"f", stage.now)
    for _ in range(3):
        goal = stage.now + source.randrange(1500, 5000)
        stage.until(lambda goal=goal: stage.now >= goal)
        stage.cut(7000)
    stage.until(lambda: 2 in stage.tool.results)
    assert bytes(stage.tool.fetching[2][1]) == content
    sent = len(stage.to_device) + len(stage.to_tool)
    assert sent < (3.4 if noise else 2.6) * len(content)


def test_five_megabytes_arrive_after_cuts_at_random_places_with_little_sent_twice() -> None:
    stage = Stage(3_000_000, seed=11).open()
    content = random.Random(6).randbytes(5_000_000)
    stage.tool.put(1, b"bundle", content, stage.now)
    source = random.Random(7)
    places = sorted(source.randrange(len(content)) for _ in range(4))
    for place in places:
        stage.until(lambda place=place: len(stage.device.files.get(b"bundle", b"")) >= place)
        stage.cut(8000)
    stage.until(lambda: 1 in stage.tool.results)
    assert hashlib.sha256(stage.device.files[b"bundle"]).digest() == hashlib.sha256(content).digest()
    assert len(stage.tool.said("lost")) == len(places)
    assert len(stage.to_device) < 1.2 * len(content)


def test_what_is_there_of_another_file_is_not_built_upon() -> None:
    stage = Stage().open()
    stage.device.files[b"f"] = bytearray(b"something else" * 100)
    content = random.Random(4).randbytes(20_000)
    stage.tool.put(1, b"f", content, stage.now)
    stage.until(lambda: 1 in stage.tool.results)
    assert bytes(stage.device.files[b"f"]) == content


def test_an_empty_file_goes_both_ways() -> None:
    stage = Stage().open()
    stage.tool.put(1, b"f", b"", stage.now)
    stage.until(lambda: 1 in stage.tool.results)
    stage.tool.get(2, b"f", stage.now)
    stage.until(lambda: 2 in stage.tool.results)
    assert stage.tool.results == {1: (provision.OK, b""), 2: (provision.OK, b"")}


def test_a_clean_line_is_used_to_nine_tenths_at_9600() -> None:
    stage = Stage(9600).open()
    stage.until(lambda: stage.tool.machine.state == "ready")
    content = random.Random(4).randbytes(60_000)
    stage.tool.put(1, b"f", content, stage.now)
    took = stage.until(lambda: 1 in stage.tool.results)
    assert len(content) / (took / 1000) / 960 > 0.9
    assert stage.tool.machine.statistics()["repeated"] == 0


# --- strangers --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([0x44, 0x4C, 0x41, 0x48, 0x50, 0x42, 0x58]), st.integers(0, 3), st.integers(0, 70),
                          st.binary(max_size=60)), max_size=40))  # fmt: skip
def test_hostile_frames_raise_nothing_and_leave_nothing_large(frames: list[tuple[int, int, int, bytes]]) -> None:
    device = Device(IDENTITY, random.Random(1).randbytes)
    hello = tlv.encode([(tlv.VERSION, b"\x01"), (tlv.SESSION, b"12345678"), (tlv.NONCE, b"n" * 16)])
    device.receive(frame.encode(provision.HELLO, 1, 0, hello), 0)
    now = 0
    for kind, epoch, seq, payload in frames:
        now += 7
        device.receive(frame.encode(kind, epoch, seq, payload), now)
        for event in device.events():
            if event[0] == "request":
                device.send(("result", event[1], provision.OK, b"done"), now)
        assert len(device.output()) < 100_000
        device.expire(now)


@given(st.binary(max_size=80))
def test_messages_of_a_stranger_are_read_or_refused(data: bytes) -> None:
    message = provision.read_message(data)
    assert message is None or message[0] == data[0]


def test_a_message_without_end_closes_the_session_and_holds_no_more_than_agreed() -> None:
    device = Device(IDENTITY, random.Random(1).randbytes, message_most=4096)
    hello = tlv.encode([(tlv.VERSION, b"\x01"), (tlv.SESSION, b"12345678"), (tlv.NONCE, b"n" * 16)])
    device.receive(frame.encode(provision.HELLO, 1, 0, hello), 0)
    for seq in range(6):
        device.receive(frame.encode(link.DATA, 1, seq, b"x" * 1000), seq)
    assert any(event[0] == "closed" for event in device.events())


def test_a_version_from_the_future_is_refused_with_ours() -> None:
    device = Device(IDENTITY, random.Random(1).randbytes)
    hello = tlv.encode([(tlv.VERSION, b"\x09"), (tlv.SESSION, b"12345678"), (tlv.NONCE, b"n" * 16)])
    device.receive(frame.encode(provision.HELLO, 1, 0, hello), 0)
    kind, _, _, payload = frame.Decoder().feed(device.output())[0]
    assert kind == provision.REFUSED
    assert tlv.as_text(tlv.decode(payload) or {}, tlv.REASON) == "version 1"
    assert not device.open


def test_the_face_is_the_same_on_both_ends() -> None:
    for machine in (Device(IDENTITY, random.randbytes), Tool(b"12345678", random.randbytes)):
        assert all(callable(getattr(machine, name)) for name in ("receive", "send", "events", "output", "deadline", "expire"))
