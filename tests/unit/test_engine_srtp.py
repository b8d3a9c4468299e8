"""Encrypted RTP ports of the media engine: mixed and relayed calls, keys that change, and what strangers send."""

from __future__ import annotations

import os
import random
import struct
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from firmware.dsp import abi
from firmware.dsp.g711 import decode
from firmware.dsp.srtp import Srtp
from firmware.media.events import SrtpKeys
from tests.unit.engine_stage import Phone, Stage, level, sine

SUITES = tuple(abi.SUITES)


def keys(suite: str, seed: int) -> tuple[bytes, bytes]:
    noise = random.Random(f"{suite} {seed}")
    return noise.randbytes(abi.SUITES[suite][1]), noise.randbytes(abi.SUITES[suite][1])


class SecurePhone(Phone):
    """A phone that seals what it sends and opens what it hears; `refused` counts what was not genuine."""

    def __init__(self, stage: Stage, port: int, suite: str, seed: int = 1, ssrc: int = 0x77777777) -> None:
        super().__init__(stage.local(port), ssrc=ssrc)
        self.suite, self.refused, self.wire = suite, 0, list[bytes]()
        self.rekey(seed)

    def rekey(self, seed: int) -> None:
        self.ours, self.theirs = keys(self.suite, seed)        # the engine's, then ours
        self.opener, self.sealer = Srtp(self.suite, self.ours, True), Srtp(self.suite, self.theirs, False)

    def raw(self, pt: int, payload: bytes, *, marker: bool = False, ts: int | None = None) -> None:
        stamp = (self.ts if ts is None else ts) & 0xFFFFFFFF
        packet = struct.pack("!BBHII", 0x80, pt | (0x80 if marker else 0), self.seq & 0xFFFF, stamp, self.ssrc) + payload
        self.seq += 1
        self.wire.append(self.sealer.protect(packet))
        self.socket.sendto(self.wire[-1], self.target)

    def receive(self) -> None:
        arrived = len(self.packets)
        super().receive()
        for packet in self.packets[arrived:]:
            opened = self.opener.unprotect(packet)
            self.refused += isinstance(opened, str)
            self.packets[arrived:] = [*self.packets[arrived:][1:], *([] if isinstance(opened, str) else [opened])]


def open_port(
    stage: Stage, port: int, phone: Phone, *, suite: str = "", send: bytes = b"", receive: bytes = b"", update: bool = False
) -> int:
    body = abi.pack_rtp(
        ("127.0.0.1", phone.port), "pcma", 8, 101, 20, True, True, f"rtp-{port}", suite=suite, send_key=send, receive_key=receive
    )
    return stage.do("update_rtp" if update else "open_rtp", port, body)


def secure_port(stage: Stage, port: int, phone: SecurePhone, *, update: bool = False) -> int:
    return open_port(stage, port, phone, suite=phone.suite, send=phone.ours, receive=phone.theirs, update=update)


def talk(stage: Stage, phone: Phone, freq: float) -> None:
    def work(block: int) -> None:
        if block % 2 == 0 and phone.talking:
            phone.send(sine(freq, -12, 160, phone.ts - 5000))
        phone.receive()

    stage.each.append(work)


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(rtp=4)
    yield one
    one.close()


@pytest.mark.parametrize("suite", SUITES)
def test_an_encrypted_and_a_plain_phone_hear_each_other_mixed_and_relayed(stage: Stage, suite: str) -> None:
    a, b = SecurePhone(stage, 16, suite), Phone(stage.local(17), ssrc=0x9999)
    done = secure_port(stage, 16, a)
    open_port(stage, 17, b)
    stage.join(1, 16, 17)
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(60)
    assert stage.done(done) == 0
    stage.do("relay", 16, abi.pack_relay(17))
    stage.tick(100)
    state = stage.snapshot()
    assert state[16]["relaying"]
    assert (state[16]["suite"], state[17]["suite"]) == (suite, "")
    assert state[16]["rx_packets"] >= 70
    assert (a.refused, state[16]["forged"], state[16]["repeated"], state[16]["malformed"]) == (0, 0, 0, 0)
    for phone, freq in ((a, 1000), (b, 600)):
        audio = phone.heard()
        assert level(audio[2000:6000], freq) == pytest.approx(-12, abs=0.5)
        assert level(audio[-4000:], freq) == pytest.approx(-12, abs=0.5)
    numbers = [struct.unpack("!H", packet[2:4])[0] for packet in a.packets]
    assert [y - x for x, y in zip(numbers, numbers[1:], strict=False)] == [1] * (len(numbers) - 1)


def test_two_encrypted_phones_of_different_suites_are_relayed(stage: Stage) -> None:
    a, b = SecurePhone(stage, 16, SUITES[0]), SecurePhone(stage, 17, SUITES[3], ssrc=0x1)
    secure_port(stage, 16, a)
    secure_port(stage, 17, b)
    stage.do("relay", 16, abi.pack_relay(17))
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(100)
    assert stage.snapshot()[16]["relaying"]
    assert level(a.heard()[-4000:], 1000) == pytest.approx(-12, abs=0.5)
    assert level(b.heard()[-4000:], 600) == pytest.approx(-12, abs=0.5)
    assert (a.refused, b.refused) == (0, 0)


def test_a_relayed_encrypted_call_is_recorded_as_it_is_heard(stage: Stage, tmp_path: Path) -> None:
    a, b = SecurePhone(stage, 16, SUITES[0]), SecurePhone(stage, 17, SUITES[1], seed=2, ssrc=0x1)
    secure_port(stage, 16, a)
    secure_port(stage, 17, b)
    stage.join(1, 16, 17)
    stage.do("relay", 16, abi.pack_relay(17))
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(40)
    path = tmp_path / "call.wav"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    stage.do("record", 16, abi.pack_record(7, 1))
    stage.engine.attach_file(1, descriptor)
    stage.tick(120)
    stage.do("stop_record", 16)
    for _ in range(100_000):
        stage.tick()
        if stage.named("recorded", 16):
            break
    with wave.open(str(path)) as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16).reshape(-1, 2)
    assert level(frames[2000:8000, 0], 600) == pytest.approx(-12, abs=0.5)
    assert level(frames[2000:8000, 1], 1000) == pytest.approx(-12, abs=0.5)
    assert level(frames[2000:8000, 0], 1000) < -50
    assert (a.refused, b.refused) == (0, 0)


def test_the_same_keys_again_go_on_and_other_keys_begin_anew(stage: Stage) -> None:
    a, b = SecurePhone(stage, 16, SUITES[0]), SecurePhone(stage, 17, SUITES[0], seed=2)
    secure_port(stage, 16, a)
    secure_port(stage, 17, b)
    stage.join(1, 16, 17)
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(50)
    secure_port(stage, 16, a, update=True)
    stage.tick(50)
    again = stage.snapshot()[16]
    assert (again["forged"], again["repeated"], a.refused) == (0, 0, 0)
    stage.ring.set_core_present(True)
    a.rekey(3)
    secure_port(stage, 16, a, update=True)
    stage.tick(60)
    assert stage.snapshot()[16]["forged"] <= 1                 # a packet that was on its way
    assert a.refused <= 2
    assert level(a.heard()[-2400:], 1000) == pytest.approx(-12, abs=0.5)
    assert level(b.heard()[-2400:], 600) == pytest.approx(-12, abs=0.5)


def test_a_key_that_changes_leaves_the_other_direction_alone(stage: Stage) -> None:
    a, b = SecurePhone(stage, 16, SUITES[0]), Phone(stage.local(17), ssrc=0x9999)
    secure_port(stage, 16, a)
    open_port(stage, 17, b)
    stage.join(1, 16, 17)
    talk(stage, a, 600)
    talk(stage, b, 1000)
    stage.tick(50)
    old = a.wire[-3]
    before = stage.snapshot()[16]
    a.ours = keys(a.suite, 5)[0]                   # what the engine sends under
    a.opener = Srtp(a.suite, a.ours, True)
    secure_port(stage, 16, a, update=True)
    stage.tick(20)
    a.refused = 0
    a.socket.sendto(old, a.target)
    stage.tick(20)
    after = stage.snapshot()[16]
    assert (after["forged"], after["repeated"] - before["repeated"], a.refused) == (0, 1, 0)   # the replay window is the old one
    a.theirs = keys(a.suite, 6)[1]                 # and what we send under
    a.sealer = Srtp(a.suite, a.theirs, False)
    secure_port(stage, 16, a, update=True)
    stage.tick(40)
    a.socket.sendto(old, a.target)
    stage.tick(20)
    last = stage.snapshot()[16]
    assert last["repeated"] == after["repeated"]
    assert 1 <= last["forged"] <= 2                # the old one, and one that was on its way
    assert a.refused == 0
    assert level(a.heard()[-2400:], 1000) == pytest.approx(-12, abs=0.5)
    assert level(b.heard()[-2400:], 600) == pytest.approx(-12, abs=0.5)


def test_nothing_in_clear_enters_or_leaves_an_encrypted_port(stage: Stage) -> None:
    a, plain, b = SecurePhone(stage, 16, SUITES[0]), Phone(stage.local(16)), Phone(stage.local(17))
    secure_port(stage, 16, a)
    open_port(stage, 17, b)
    stage.join(1, 16, 17)
    talk(stage, b, 1000)
    talk(stage, plain, 600)                                    # would be locked to after 25 packets
    stage.tick(100)
    state = stage.snapshot()[16]
    a.receive()
    assert state["rx_packets"] == 0
    assert state["forged"] >= 45
    assert plain.packets == []                                 # nobody learned where it is
    assert len(a.packets) >= 45
    assert a.refused == 0
    assert level(b.heard()[-4000:], 600) < -60


def test_what_was_on_its_way_before_the_keys_is_not_held_against_a_peer(stage: Stage) -> None:
    a = SecurePhone(stage, 16, SUITES[0])
    secure_port(stage, 16, a)
    stage.tick()
    for _ in range(3):
        Phone.raw(a, 8, b"\xd5" * 160)
    stage.tick(2)
    assert stage.snapshot()[16]["forged"] == 3                 # nothing genuine yet
    a.raw(8, b"\xd5" * 160)
    stage.tick(2)
    state = stage.snapshot()[16]
    assert (state["rx_packets"], state["forged"]) == (1, 0)
    Phone.raw(a, 8, b"\xd5" * 160)
    stage.tick(2)
    assert stage.snapshot()[16]["forged"] == 1


def test_a_call_does_not_inherit_the_counts_of_the_one_before_it(stage: Stage) -> None:
    a = SecurePhone(stage, 16, SUITES[0])
    secure_port(stage, 16, a)
    stage.tick()
    a.raw(8, b"\xd5" * 160)
    for packet in [*a.wire, a.wire[0][:40] + bytes([a.wire[0][40] ^ 1]) + a.wire[0][41:], b"\x80"]:
        a.socket.sendto(packet, a.target)
    a.sealer = Srtp(a.suite, keys(a.suite, 99)[0], False)
    a.raw(8, b"\xd5" * 160)
    stage.tick(2)
    before = stage.snapshot()[16]
    assert before["rx_packets"] and before["forged"] and before["repeated"]
    stage.do("close", 16)
    stage.tick(2)
    secure_port(stage, 16, SecurePhone(stage, 16, SUITES[0]))
    stage.tick(2)
    state = stage.snapshot()[16]
    assert [state[name] for name in ("rx_packets", "forged", "repeated", "malformed", "foreign")] == [0, 0, 0, 0, 0]


def test_wrong_keys_altered_and_repeated_packets_are_counted_and_dropped(stage: Stage) -> None:
    a = SecurePhone(stage, 16, SUITES[0])
    secure_port(stage, 16, a)
    stage.tick()
    for _ in range(20):
        a.raw(8, b"\xd5" * 160)
    stage.tick(2)
    assert stage.snapshot()[16]["rx_packets"] == 20
    for packet in a.wire:
        a.socket.sendto(packet, a.target)
        a.socket.sendto(packet[:40] + bytes([packet[40] ^ 1]) + packet[41:], a.target)
    stage.tick(2)
    state = stage.snapshot()[16]
    assert (state["rx_packets"], state["repeated"]) == (20, 40)         # the library looks at numbers first
    a.sealer = Srtp(a.suite, keys(a.suite, 99)[0], False)
    for _ in range(20):
        a.raw(8, b"\xd5" * 160)
    stage.tick(2)
    state = stage.snapshot()[16]
    assert (state["rx_packets"], state["forged"]) == (20, 20)


def test_random_bytes_do_no_harm(stage: Stage) -> None:
    a = SecurePhone(stage, 16, SUITES[3])
    secure_port(stage, 16, a)
    stage.tick()
    noise = random.Random(5)
    for n in range(1500):
        a.socket.sendto((b"\x80" if n % 2 else b"") + noise.randbytes(noise.randrange(1, 1800)), a.target)
        if n % 30 == 0:
            stage.tick()
    a.raw(8, b"\xd5" * 160)
    stage.tick(2)
    state = stage.snapshot()[16]
    assert state["rx_packets"] == 1
    assert state["forged"] > 1000


def until(stage: Stage, there: Callable[[], bool]) -> None:
    """Real time has no fixed number of blocks: go on until it is so."""
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline
        stage.tick(5)


def test_in_real_time_the_rtp_thread_seals_what_the_tick_leaves_it(stage: Stage) -> None:
    stage.world.u32[4] = 100                                   # speed in per cent: the wall clock
    a, b = SecurePhone(stage, 16, SUITES[0]), Phone(stage.local(17))
    secure_port(stage, 16, a)
    open_port(stage, 17, b)
    stage.join(1, 16, 17)
    talk(stage, a, 600)
    talk(stage, b, 1000)
    until(stage, lambda: len(a.packets) >= 25)
    stage.do("relay", 16, abi.pack_relay(17))

    def relaying() -> bool:
        stage.do("snapshot", 0)
        return any(name == "port" and port == 16 and state["relaying"] for name, port, _at, state in stage.events)

    until(stage, relaying)
    mixed = len(a.packets)
    until(stage, lambda: len(a.packets) >= mixed + 25)
    state = [state for name, port, _at, state in stage.events if name == "port" and port == 16][-1]
    assert (a.refused, state["forged"], state["repeated"]) == (0, 0, 0)
    numbers = [struct.unpack("!H", packet[2:4])[0] for packet in a.packets]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_keys_heard_under_encryption_are_digits(stage: Stage) -> None:
    a = SecurePhone(stage, 16, SUITES[0])
    secure_port(stage, 16, a)
    stage.do("detect", 16, abi.pack_detect(True, 0, False, 0))
    stage.tick(2)
    for end in (0, 0, 0x80):
        a.raw(101, struct.pack("!BBH", 5, end | 10, 800), ts=9000)
    stage.tick(5)
    assert [payload[0] for _at, payload in stage.named("digit", 16)] == ["5"]


def test_a_port_that_is_opened_again_without_keys_speaks_in_clear(stage: Stage) -> None:
    a, b = SecurePhone(stage, 16, SUITES[0]), Phone(stage.local(17))
    secure_port(stage, 16, a)
    open_port(stage, 17, b)
    talk(stage, b, 1000)
    stage.tick(20)
    stage.do("close", 16)
    stage.tick(2)
    c = Phone(stage.local(16))
    open_port(stage, 16, c)
    stage.join(1, 16, 17)
    talk(stage, c, 600)
    stage.tick(60)
    assert stage.snapshot()[16]["suite"] == ""
    assert level(c.heard()[-2400:], 1000) == pytest.approx(-12, abs=0.5)
    assert len(decode(8, c.packets[-1][12:])) == 320


def test_the_command_leaves_no_key_in_the_ring(stage: Stage) -> None:
    a = SecurePhone(stage, 16, SUITES[2])
    secure_port(stage, 16, a)
    stage.tick(4)
    with Path("/proc/self/maps").open(encoding="ascii") as maps:
        spans = [line.split()[0].split("-") for line in maps if "branchpbx-rings" in line and "rw" in line]
    assert spans
    with Path("/proc/self/mem").open("rb") as memory:
        for low, high in spans:
            memory.seek(int(low, 16))
            data = memory.read(int(high, 16) - int(low, 16))
            assert a.ours[:16] not in data
            assert a.theirs[:16] not in data


def test_unknown_suites_and_short_keys_are_refused(stage: Stage) -> None:
    phone = Phone(stage.local(16))
    with pytest.raises(ValueError, match="suite"):
        open_port(stage, 16, phone, suite="NULL", send=b"", receive=b"")
    with pytest.raises(ValueError, match="30 bytes"):
        open_port(stage, 16, phone, suite=SUITES[0], send=bytes(30), receive=bytes(29))
    body = bytearray(abi.pack_rtp(("127.0.0.1", phone.port), "pcma", 8, 101, 20, True, True, "t"))
    body[60] = 6                                               # the number behind comfort_noise
    bad = stage.do("open_rtp", 16, bytes(body))
    stage.tick(2)
    assert stage.done(bad) > 0


def test_the_text_of_keys_shows_none() -> None:
    assert repr(SrtpKeys("AES_CM_128_HMAC_SHA1_80", b"send" * 7, b"receive" * 4)) == "SrtpKeys(AES_CM_128_HMAC_SHA1_80)"
