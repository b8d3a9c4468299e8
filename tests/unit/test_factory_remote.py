"""The fixture over a serial line: against its simulated processor, over a real pseudo terminal, and against hostile bytes."""

from __future__ import annotations

import os
import pty
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.errors import HardwareError
from firmware.factory.bench import SimulatedBench
from firmware.factory.instruments import FixtureError
from firmware.factory.remote import LONGEST, Frames, RemoteFixture, frame, number_of, open_serial, unframe
from firmware.factory.results import StepResult
from firmware.sim.fixture import SimStand
from firmware.sim.fixture_line import FixtureLine
from tests.unit.factory_stage import bench_of, run, small


class Wire:
    """A serial port whose other end answers at once; `spoil` may change what comes back."""

    def __init__(self, line: FixtureLine) -> None:
        self.line = line
        self.incoming = bytearray()
        self.spoil = lambda data: data
        self.now = 0.0
        self.broken = False

    def write(self, data: bytes) -> int:
        if self.broken:
            raise OSError(5, "gone")
        self.incoming += self.spoil(self.line.feed(data))
        return len(data)

    def read(self, length: int, timeout: float | None = None) -> bytes:
        if not self.incoming:
            self.now += timeout or 0.0
        found = bytes(self.incoming[:length])
        del self.incoming[:length]
        return found


@pytest.fixture
def wire() -> Wire:
    return Wire(FixtureLine(SimStand(2, 2, tolerances=False).fixture))


@pytest.fixture
def fixture(wire: Wire) -> RemoteFixture:
    return RemoteFixture(wire, lambda: wire.now)


def test_every_instrument_goes_over_the_line(wire: Wire, fixture: RemoteFixture) -> None:
    assert "simulated_fixture" in fixture.identify()
    fixture.reset()
    fixture.supply(True)
    assert fixture.supply_milliamps() == pytest.approx(300)
    assert fixture.rail_volts("5V") == pytest.approx(5)
    fixture.feed("fxo:2", -48.0, 600.0, 25.0)
    assert fixture.volts("fxo:2") == pytest.approx(-48, abs=0.5)
    assert fixture.milliamps("fxo:2") == 0
    fixture.ring("fxo:1", 50.0, 25.0)
    fixture.load("fxs:1", float("inf"), 5)
    assert fixture.ringing("fxs:1")[0] == 0
    assert fixture.ohms("fxo:1", "fxs:1") < 1
    assert fixture.ohms("fxo:2", "fxs:1") > 1e8
    fixture.join("fxs:2", "fxo:2", True)
    fixture.part()
    fixture.send_tone("fxo:1", 1004.0, -10.0)
    assert fixture.hertz("bit") == 0
    fixture.watch_reset()
    seconds, joined = fixture.reset_seen()
    assert seconds != seconds
    assert not joined
    fixture.power_cycle(0.1)
    assert fixture.tone_level("fxo:1", 1000.0) < -100
    assert len(set(wire.line.requests)) == 20


def test_what_the_fixture_refuses_is_told(fixture: RemoteFixture) -> None:
    with pytest.raises(FixtureError, match="no jack 'fxo:9'"):
        fixture.volts("fxo:9")
    with pytest.raises(FixtureError, match="no such command"):
        fixture.ask("SELF:DESTR")
    with pytest.raises(HardwareError, match="without spaces"):
        fixture.rail_volts("5 V")


def test_a_damaged_reply_is_asked_for_again(wire: Wire, fixture: RemoteFixture) -> None:
    spoiled = []

    def once(data: bytes) -> bytes:
        if spoiled:
            return data
        spoiled.append(data)
        return data[:3] + bytes((data[3] ^ 1,)) + data[4:]

    wire.spoil = once
    assert fixture.rail_volts("5V") == pytest.approx(5)
    assert len(wire.line.requests) == 2


def test_a_late_reply_is_not_taken_for_the_next_one(wire: Wire, fixture: RemoteFixture) -> None:
    late = bytearray()

    def hold_back(data: bytes) -> bytes:
        late.extend(data)
        return b""

    wire.spoil = hold_back
    with pytest.raises(FixtureError, match="does not answer"):
        fixture.rail_volts("12V")
    wire.spoil = lambda data: bytes(late) + data
    assert fixture.rail_volts("5V") == pytest.approx(5)


def test_silence_and_a_pulled_cable_are_told(wire: Wire, fixture: RemoteFixture) -> None:
    wire.spoil = lambda data: b"\x00\xff*00\n" * 3
    with pytest.raises(FixtureError, match="damaged lines"):
        fixture.supply_milliamps()
    wire.broken = True
    with pytest.raises(FixtureError, match="check cable"):
        fixture.supply_milliamps()


@pytest.mark.parametrize("word", ["nan", "inf", "1_000", "0x10", "", "1e999", "12,5", "1" * 30, "٣", "--1", "1 "])
def test_what_is_no_number_is_refused(word: str) -> None:
    with pytest.raises(FixtureError, match="no number"):
        number_of(word, "MEAS:VOLT?")


@pytest.mark.parametrize("reply", ["OK", "OK 1 2", "OK nan", "FINE 1", "ERR 200 broken", "OK 1e999"])
def test_replies_of_the_wrong_shape_never_become_measurements(wire: Wire, fixture: RemoteFixture, reply: str) -> None:
    wire.spoil = lambda data: frame(f"{data.split()[0].decode()} {reply}")
    with pytest.raises(FixtureError):
        fixture.supply_milliamps()


@given(st.binary(max_size=600), st.integers(1, 40))
def test_any_bytes_in_any_pieces_give_only_whole_frames(data: bytes, size: int) -> None:
    good = frame("7 OK 1.5")
    stream = data + b"\n" + good + data
    pieces = Frames()
    found = [payload for at in range(0, len(stream), size) for payload in pieces.feed(stream[at : at + size])]
    assert found == Frames().feed(stream)
    assert "7 OK 1.5" in found
    assert all(frame(payload)[:-1] in stream.replace(b"\r\n", b"\n") for payload in found)


def test_a_line_without_end_takes_no_memory() -> None:
    frames = Frames()
    for _ in range(1000):
        assert frames.feed(b"x" * 4096) == []
    assert len(frames._line) <= LONGEST
    assert frames.feed(b"\n" + frame("1 OK")) == ["1 OK"]
    assert frames.dropped == 1
    assert unframe(b"1 OK*ZZ") is None


@given(st.binary(max_size=200))
def test_the_instruments_survive_any_reply(data: bytes) -> None:
    wire = Wire(FixtureLine(SimStand(1, 1).fixture))
    wire.spoil = lambda reply: data
    fixture = RemoteFixture(wire, lambda: wire.now)
    with pytest.raises(FixtureError):
        fixture.supply_milliamps()


@contextmanager
def terminal(line: FixtureLine) -> Iterator[str]:
    """A pseudo terminal with the simulated fixture at its other end."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)

    def serve() -> None:
        while True:
            try:
                data = os.read(ours, 256)
            except OSError:
                return
            if data == b"\x04":
                return
            reply = line.feed(data)
            if reply:
                os.write(ours, reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        os.write(theirs, b"\x04")
        thread.join(5)
        os.close(ours)
        os.close(theirs)


def test_over_a_terminal_with_the_serial_library() -> None:
    pytest.importorskip("periphery")
    stand = SimStand(1, 1, tolerances=False)
    with terminal(FixtureLine(stand.fixture)) as name:
        fixture = RemoteFixture(open_serial(name))
        assert fixture.rail_volts("12V") == pytest.approx(12)
        fixture.feed("fxo:1", 48.0, 600.0, 25.0)
        assert fixture.ohms("fxo:1", "fxo:1") == pytest.approx(4.7e6)
    with pytest.raises(FixtureError, match="cannot be opened"):
        open_serial("/dev/does-not-exist")


def test_a_whole_board_is_tested_over_the_line(seed: int) -> None:
    board, limits = small()
    bench = bench_of(board, seed=seed)
    wire = Wire(FixtureLine(bench.fixture))
    bench.fixture = RemoteFixture(wire, lambda: wire.now)
    found = run(bench, board, limits)
    assert found.verdict == "pass", found.reasons()
    assert len(set(wire.line.requests)) >= 18
    assert powered(bench) == 0


@pytest.mark.parametrize("step", ["supply", "loop", "analog"])
def test_a_cable_pulled_in_the_middle_judges_no_board_and_leaves_no_port_fed(step: str, seed: int) -> None:
    board, limits = small()
    bench = bench_of(board, seed=seed)
    wire = Wire(FixtureLine(bench.fixture))
    bench.fixture = RemoteFixture(wire, lambda: wire.now)

    def keep(result: StepResult) -> None:
        wire.broken = wire.broken or result.step == step

    with pytest.raises(FixtureError, match="serial port fails"):
        run(bench, board, limits, keep=keep)
    assert powered(bench) == 0
    assert not bench.stand.relay
    assert not bench.highway.clocks_running()


def powered(bench: SimulatedBench) -> int:
    """FXS ports that still feed something."""
    return sum(bool(phone.state["powered"]) for phone in bench.stand.board.fxs)
