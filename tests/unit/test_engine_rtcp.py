"""RTCP of the media engine: what it reports, what it believes, and the quality that comes of it; in virtual time."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from firmware.call.quality import grade, mos, rating
from firmware.dsp import abi
from firmware.dsp.srtp import Srtp
from firmware.media.events import SrtpKeys
from firmware.media.quality import rtp_quality
from tests.unit.engine_stage import Stage

SR, RR, SDES, BYE = 200, 201, 202, 203


class Far:
    """A far end: RTP on an even port, RTCP above it (or on the same with mux)."""

    def __init__(self, stage: Stage, port: int = 16, *, mux: bool = False, host: str = "127.0.0.1", ssrc: int = 0x5151) -> None:
        self.rtp = bound(host)
        self.rtcp = self.rtp if mux else bound(host)
        self.host, self.ssrc, self.port = host, ssrc, port
        self.target = stage.local(port)
        self.reports = self.target if mux else ("127.0.0.1", stage.rtcp_sockets[port - 16].getsockname()[1])
        self.address = host, int(self.rtp.getsockname()[1])
        self.rtcp_address = host, int(self.rtcp.getsockname()[1])
        self.seq, self.ts = 65400, 1000
        self.heard: list[bytes] = []

    def packet(self, *, step: int = 1, late: int = 0, payload: int = 160) -> None:
        header = struct.pack("!BBHII", 0x80, 8, self.seq & 0xFFFF, (self.ts - late) & 0xFFFFFFFF, self.ssrc)
        self.rtp.sendto(header + bytes(payload), self.target)
        self.seq += step
        self.ts += 160 * step

    def report(self, *blocks: bytes, kind: int = RR, extra: bytes = b"", sender: bytes = b"") -> None:
        body = struct.pack("!I", self.ssrc) + sender + b"".join(blocks)
        self.send(struct.pack("!BBH", 0x80 | len(blocks), kind, len(body) // 4) + body + extra)

    def send(self, data: bytes) -> None:
        self.rtcp.sendto(data, self.reports)

    def receive(self) -> list[bytes]:
        """RTCP datagrams that came."""
        found = []
        while True:
            try:
                found.append(self.rtcp.recv(2000))
            except BlockingIOError:
                break
        found = [data for data in found if 192 <= data[1] <= 223]
        self.heard += found
        return found


def bound(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    made.setblocking(False)
    return made


def block(ssrc: int, *, fraction: int = 0, lost: int = 0, top: int = 100, jitter: int = 0, lsr: int = 0, dlsr: int = 0) -> bytes:
    return struct.pack("!IIIIII", ssrc, fraction << 24 | lost & 0xFFFFFF, top, jitter, lsr, dlsr)


def parts(data: bytes) -> list[tuple[int, int, bytes]]:
    """(type, count, body) of the packets of a compound."""
    found = []
    while data:
        size = 4 * (struct.unpack("!H", data[2:4])[0] + 1)
        found.append((data[1], data[0] & 31, data[4:size]))
        data = data[size:]
    return found


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(rtp=3, rtcp=True)
    yield one
    one.close()


def open_port(stage: Stage, far: Far, *, mux: bool = False, update: bool = False, **more: Any) -> None:
    body = abi.pack_rtp(far.address, "pcma", 8, 101, 20, True, True, "leg", mux=mux, **more)
    stage.do("update_rtp" if update else "open_rtp", far.port, body)
    stage.tick()


def talk(stage: Stage, far: Far, seconds: float) -> None:
    for _ in range(int(seconds * 50)):
        far.packet()
        stage.tick(2)


def quality(stage: Stage, port: int = 16) -> dict[str, Any]:
    """What is shown once it has been renewed."""
    stage.tick(102)
    found = stage.ring.quality(port)
    assert found is not None
    return found


def test_sender_reports_tell_what_was_sent_and_what_arrived_with_its_jitter_and_loss(stage: Stage) -> None:
    far = Far(stage)
    sound: list[bytes] = []
    open_port(stage, far, rtcp=far.rtcp_address)
    for n in range(600):
        far.packet(step=1 if n % 20 else 2, late=80 if n % 2 else 0)      # 5 % lost; every second one 10 ms older than it should be
        stage.tick(2)
        sound += iter_packets(far)
    far.receive()
    assert 1 <= len(far.heard) <= 5                            # 12 s: the first within 3.1 s, then one every 2.05 to 6.2 s
    data = far.heard[-1]
    (kind, count, body), (names, chunks, chunk) = parts(data)
    assert (kind, count, names, chunks) == (SR, 1, SDES, 1)
    ssrc, ntp_high, _ntp_low, stamp, packets, octets = struct.unpack("!IIIIII", body[:24])
    assert packets >= 100
    assert octets == packets * 160
    assert ntp_high > 3_900_000_000                            # after 2023
    about, loss, top, jitter, lsr, dlsr = struct.unpack("!IIIIII", body[24:48])
    assert about == far.ssrc
    assert (loss >> 24) / 256 == pytest.approx(0.05, abs=0.02)
    assert top > 65536                                         # the numbers went round
    assert jitter == pytest.approx(80, abs=12)                 # ticks of 8 kHz: 10 ms
    assert (lsr, dlsr) == (0, 0)
    assert chunk[:6] == struct.pack("!IBB", ssrc, 1, 24)
    assert b"127.0.0.1" not in chunk                           # a CNAME that tells nothing (RFC 7022)
    assert {one[8:12] for one in sound} == {struct.pack("!I", ssrc)}
    assert any(abs(struct.unpack("!I", one[4:8])[0] - stamp) <= 160 for one in sound)
    shown = rtp_quality(quality(stage))
    assert shown.loss == pytest.approx(5, abs=1)
    assert shown.jitter_ms == pytest.approx(10, abs=1.5)
    assert shown.mos is not None
    assert 3.0 < shown.mos < 4.2
    assert shown.far_mos is None


def iter_packets(far: Far) -> Iterator[bytes]:
    while True:
        try:
            yield far.rtp.recv(2000)
        except BlockingIOError:
            return


def test_a_round_trip_is_measured_and_the_far_ends_figures_are_shown(stage: Stage) -> None:
    far = Far(stage)
    open_port(stage, far, rtcp=far.rtcp_address)
    talk(stage, far, 0.1)
    while not far.heard:
        stage.tick()
        far.receive()
    body = parts(far.heard[0])[0][2]
    ssrc, high, low = struct.unpack("!III", body[:12])
    far.report(block(ssrc, top=100))
    stage.tick(40)                                             # the far end thinks for 300 of 400 ms
    lsr = (high << 16 | low >> 16) & 0xFFFFFFFF
    far.report(block(ssrc, fraction=26, lost=30, top=400, jitter=160, lsr=lsr, dlsr=0x10000 * 3 // 10), block(0xDEAD, lost=999))
    stage.tick(2)
    shown = rtp_quality(quality(stage))
    assert (shown.far_lost, shown.far_loss, shown.far_jitter_ms) == (30, 10.0, 20.0)
    assert shown.round_trip_ms == pytest.approx(100, abs=25)
    assert shown.worst_round_trip_ms == shown.round_trip_ms
    assert shown.far_mos is not None
    assert shown.far_mos < 3.6
    far.report(block(ssrc, lsr=lsr, dlsr=0x7FFFFFFF))          # longer than anything: nonsense
    stage.tick(2)
    assert rtp_quality(quality(stage)).round_trip_ms == shown.round_trip_ms


def test_our_report_answers_the_far_ends_with_its_time_and_the_delay_since(stage: Stage) -> None:
    far = Far(stage)
    open_port(stage, far, rtcp=far.rtcp_address)
    talk(stage, far, 0.2)
    far.report(kind=SR, sender=struct.pack("!IIIII", 0xAABBCCDD, 0x11223344, 1000, 10, 1600))
    began = stage.world.ticked
    stage.tick(1)
    far.receive()
    far.heard.clear()
    while not far.heard:
        stage.tick(1)
        far.receive()
    now = stage.world.ticked
    lsr, dlsr = struct.unpack("!II", parts(far.heard[0])[0][2][24 + 16 : 24 + 24])
    assert lsr == 0xCCDD1122
    assert dlsr / 65536 == pytest.approx((now - began) / 100, abs=0.03)


def test_a_port_that_only_listens_sends_receiver_reports(stage: Stage) -> None:
    far = Far(stage)
    stage.do("open_rtp", 16, abi.pack_rtp(far.address, "pcma", 8, 101, 20, False, True, "leg", rtcp=far.rtcp_address))
    talk(stage, far, 8)
    far.receive()
    assert {parts(data)[0][:2] for data in far.heard} == {(RR, 1)}


def test_goodbye_at_the_end_also_when_the_port_is_opened_again_at_once(stage: Stage) -> None:
    far, next_one = Far(stage), Far(stage)
    open_port(stage, far, rtcp=far.rtcp_address)
    talk(stage, far, 4)
    far.receive()
    ssrc = far.heard[-1][4:8]
    stage.do("close", 16)
    open_port(stage, next_one, rtcp=next_one.rtcp_address)
    stage.tick(2)
    (report, _names, bye) = parts(far.receive()[-1])
    assert (report[0], bye[0], bye[2]) == (RR, BYE, ssrc)
    talk(stage, next_one, 0.5)
    stage.do("close", 16)
    stage.tick(5)
    assert next_one.receive() == []                            # never told of us: no goodbye (RFC 3550 section 6.3.7)
    open_port(stage, next_one, rtcp=next_one.rtcp_address)
    stage.tick(2)
    at_once = stage.ring.quality(16)
    assert at_once is not None
    assert (at_once["received"], at_once["reports_sent"]) == (0, 0)        # not those of the last call
    talk(stage, next_one, 0.5)
    assert quality(stage)["received"] == 25                    # counted anew


def test_with_mux_reports_share_the_port_and_the_other_socket_is_deaf(stage: Stage) -> None:
    far = Far(stage, mux=True)
    open_port(stage, far, mux=True)
    talk(stage, far, 4)
    (data, *_rest) = far.receive() or far.heard
    ssrc = struct.unpack("!I", data[4:8])[0]
    far.report(block(ssrc, top=50))
    stage.tick(2)
    assert quality(stage)["far_reports"] == 1
    far.reports = "127.0.0.1", stage.rtcp_sockets[0].getsockname()[1]
    far.report(block(ssrc, top=60))
    stage.tick(2)
    assert (quality(stage)["far_reports"], quality(stage)["reports_refused"]) == (1, 1)


def test_reports_go_to_the_port_above_until_the_far_ends_come_from_another(stage: Stage) -> None:
    pair = None
    while pair is None:
        rtp, other = bound("127.0.0.1"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            other.bind(("127.0.0.1", rtp.getsockname()[1] + 1))
            pair = rtp, other
        except OSError:
            rtp.close()
    far = Far(stage)
    far.rtp, far.address = pair[0], pair[0].getsockname()
    pair[1].setblocking(False)
    moved, far.rtcp = far.rtcp, pair[1]
    open_port(stage, far)
    talk(stage, far, 4)
    assert far.receive()
    far.rtcp = moved
    far.report()
    talk(stage, far, 7)
    assert far.receive()


def test_reports_follow_a_call_that_moves_to_another_host(stage: Stage) -> None:
    far, moved = Far(stage), Far(stage, host="127.3.3.3")
    open_port(stage, far, rtcp=far.rtcp_address)
    far.report()
    talk(stage, far, 4)
    assert far.receive()
    stage.do("update_rtp", 16, abi.pack_rtp(moved.address, "pcma", 8, 101, 20, True, True, "leg", rtcp=moved.rtcp_address))
    stage.tick(2)
    far.receive()
    talk(stage, moved, 7)
    assert moved.receive()
    assert far.receive() == []


def test_hostile_reports_are_counted_and_change_nothing(stage: Stage) -> None:
    seed = os.environ.get("BRANCHPBX_SEED", "rtcp")
    noise = random.Random(seed)
    far, stranger = Far(stage), Far(stage, host="127.9.9.9")
    open_port(stage, far, rtcp=far.rtcp_address)
    talk(stage, far, 4)
    ssrc = struct.unpack("!I", far.receive()[-1][4:8])[0]
    stranger.report(block(ssrc, fraction=255, lost=9999), extra=struct.pack("!BBHI", 0x81, BYE, 1, far.ssrc))
    whole = struct.pack("!BBHI", 0x81, RR, 7, far.ssrc) + block(ssrc)
    wrong = [
        b"", b"\x80", whole[:-1], whole[:-4], b"\x41" + whole[1:], b"\xa1" + whole[1:], whole[:1] + bytes([BYE]) + whole[2:],
        whole[:2] + b"\xff\xff" + whole[4:], whole + b"\x80\xc9", whole + b"\x80\xc9\0\x09", whole + bytes(8),
    ]  # fmt: skip
    for data in wrong:
        far.send(data)
    stage.tick(3)
    refused = quality(stage)["reports_refused"]
    for n in range(600):
        length = 4 * noise.randrange(1, 60)
        head = bytes([0x80 | noise.randrange(32), noise.choice((SR, RR))]) + (length // 4).to_bytes(2, "big")
        far.send(head + noise.randbytes(length) if n % 2 else noise.randbytes(length))
        if n % 8 == 0:
            stage.tick()
    stage.tick(3)
    shown = quality(stage)
    assert refused >= len(wrong) - 1, f"seed {seed}"           # an empty datagram cannot be told from none
    assert (shown["far_reports"], shown["far_bye"], shown["received"]) == (0, 0, 200), f"seed {seed}"
    far.report(block(ssrc, lost=3, top=500))
    stage.tick(2)
    assert quality(stage)["far_lost"] == 3


def test_reports_are_no_way_to_make_us_talk_more(stage: Stage) -> None:
    far = Far(stage)
    open_port(stage, far, rtcp=far.rtcp_address)
    talk(stage, far, 1)
    for _ in range(500):
        far.report()
        stage.tick()
    far.receive()
    assert len(far.heard) <= 4


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM"])
def test_encrypted_ports_report_encrypted_and_believe_nothing_else_goodbye_included(stage: Stage, suite: str) -> None:
    size = abi.SUITES[suite][1]
    ours, theirs = bytes(range(size)), bytes(range(100, 100 + size))
    keys = SrtpKeys(suite, ours, theirs)
    sealer, opener = Srtp(suite, theirs, False), Srtp(suite, ours, True)
    far = Far(stage)
    open_port(stage, far, rtcp=far.rtcp_address, suite=keys.suite, send_key=keys.send, receive_key=keys.receive)
    for n in range(200):
        far.rtp.sendto(sealer.protect(struct.pack("!BBHII", 0x80, 8, n, n * 160, far.ssrc) + bytes(160)), far.target)
        stage.tick(2)
    raw = far.receive()[-1]
    clear = opener.unprotect(raw, True)
    assert isinstance(clear, bytes)
    assert parts(clear)[0][0] == SR
    report = struct.pack("!BBHI", 0x81, RR, 7, far.ssrc) + block(struct.unpack("!I", clear[4:8])[0], lost=7, top=100)
    far.send(report)
    stage.tick(2)
    assert (quality(stage)["far_reports"], quality(stage)["reports_refused"]) == (0, 1)
    sealed = sealer.protect(report, True)
    far.send(sealed)
    far.send(sealed)                                           # replayed
    stage.tick(2)
    assert (quality(stage)["far_reports"], quality(stage)["reports_refused"]) == (1, 2)
    stage.do("close", 16)
    stage.tick(3)
    last = opener.unprotect(far.receive()[-1], True)
    assert isinstance(last, bytes)
    assert parts(last)[-1][0] == BYE


def test_relayed_calls_are_counted_and_reported_on_both_sides(stage: Stage) -> None:
    one, two = Far(stage), Far(stage, 17, ssrc=0x6262)
    open_port(stage, one, rtcp=one.rtcp_address)
    open_port(stage, two, rtcp=two.rtcp_address)
    stage.do("relay", 16, abi.pack_relay(17))
    for _ in range(300):
        one.packet()
        two.packet()
        stage.tick(2)
    assert stage.snapshot()[16]["relaying"]
    for far in (one, two):
        kind, count, body = parts(far.receive()[-1])[0]
        assert (kind, count) == (SR, 1)
        assert struct.unpack("!I", body[24:28])[0] == far.ssrc
    assert [quality(stage, port)["received"] for port in (16, 17)] == [300, 300]
    assert [quality(stage, port)["lost"] for port in (16, 17)] == [0, 0]


def test_a_stream_that_begins_anew_keeps_what_was_counted(stage: Stage) -> None:
    far = Far(stage)
    open_port(stage, far, rtcp=far.rtcp_address)
    talk(stage, far, 1)
    far.ssrc, far.seq = 0x7777, 30
    talk(stage, far, 1)
    far.seq += 20_000                                          # a jump: the second packet there is believed
    talk(stage, far, 1)
    shown = quality(stage)
    assert shown["received"] == 149
    assert shown["lost"] == 0


def test_grades_follow_the_e_model() -> None:
    assert rating(0, 0) == pytest.approx(93.2)
    assert mos(93.2) == pytest.approx(4.41, abs=0.01)          # the best of G.107's default
    assert rating(0, 400) == pytest.approx(93.2 - 9.6 - 24.5, abs=0.1)
    assert (mos(-5), mos(120)) == (1.0, 4.5)
    grades = [grade(loss, 0, None) for loss in (0, 1, 3, 10, 30, 100)]
    assert grades == sorted(grades, reverse=True)
    assert grades[-1] < 2
