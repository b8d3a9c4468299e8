"""Whom an RTP port believes: symmetric RTP that locks after learning, against strangers and with what phones really do."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from firmware.dsp import abi
from firmware.dsp.srtp import Srtp
from tests.unit.engine_stage import Stage

SECOND = 50                     # packets
LEARN = 25
SUITE = "AES_CM_128_HMAC_SHA1_80"
KEY = bytes(range(30))


class Source:
    """A UDP socket that sends RTP to port 16."""

    def __init__(self, stage: Stage, host: str = "127.0.0.1", *, ssrc: int = 1, seq: int = 100, sealer: Srtp | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.address: tuple[str, int] = self.socket.getsockname()
        self.target, self.ssrc, self.seq, self.sealer = stage.local(16), ssrc, seq, sealer
        self.heard = 0

    def send(self) -> None:
        packet = struct.pack("!BBHII", 0x80, 8, self.seq & 0xFFFF, self.seq * 160, self.ssrc) + bytes(160)
        self.socket.sendto(self.sealer.protect(packet) if self.sealer else packet, self.target)
        self.seq += 1

    def listen(self) -> int:
        """Packets that came since the last time."""
        count = 0
        while True:
            try:
                self.socket.recv(2000)
            except BlockingIOError:
                self.heard += count
                return count
            count += 1


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage(rtp=1)
    yield one
    one.close()


def open_port(stage: Stage, remote: tuple[str, int] | None, *, update: bool = False, suite: str = "") -> None:
    keys = {"suite": suite, "send_key": KEY, "receive_key": KEY} if suite else {}
    body = abi.pack_rtp(remote, "pcma", 8, 101, 20, True, True, "leg", **keys)  # type: ignore[arg-type]
    stage.do("update_rtp" if update else "open_rtp", 16, body)
    stage.tick()


def run(stage: Stage, packets: int, *sources: Source) -> None:
    """Everybody sends `packets` packets, one each 20 ms."""
    for _ in range(packets):
        for source in sources:
            source.send()
        stage.tick(2)


def remote(stage: Stage) -> tuple[str, int] | None:
    found: tuple[str, int] | None = stage.snapshot()[16]["remote"]
    return found


def foreign(stage: Stage) -> int:
    return int(stage.snapshot()[16]["foreign"])


NAT = ("10.9.9.9", 4000)        # what a telephone behind NAT writes into its SDP


def test_one_packet_of_a_stranger_neither_draws_sound_nor_keeps_the_telephone_out(stage: Stage) -> None:
    stranger, phone = Source(stage, "127.7.7.7", ssrc=66), Source(stage)
    open_port(stage, NAT)
    stranger.send()
    stage.tick(10)
    run(stage, LEARN, phone)
    stage.tick(4)
    assert remote(stage) == phone.address
    assert stranger.listen() == 0
    run(stage, SECOND, phone, stranger)                        # now it may shout as it likes
    stage.tick(4)
    assert remote(stage) == phone.address
    assert stranger.listen() == 0
    assert foreign(stage) >= SECOND
    assert phone.listen() > SECOND


def test_a_stranger_who_sprays_a_packet_now_and_then_gets_nothing(stage: Stage) -> None:
    stranger, phone = Source(stage, "127.7.7.7", ssrc=66), Source(stage)
    open_port(stage, NAT)
    for _ in range(6):
        stranger.seq += 1000
        stranger.send()
        run(stage, 4, phone)
    run(stage, LEARN, phone)
    assert remote(stage) == phone.address
    assert stranger.listen() == 0


def test_of_two_who_speak_from_the_beginning_the_address_of_the_sdp_wins(stage: Stage) -> None:
    stranger, phone = Source(stage, "127.7.7.7", ssrc=66), Source(stage)
    open_port(stage, phone.address)
    run(stage, 10, stranger)
    run(stage, 2, phone, stranger)
    stage.tick(2)
    stranger.listen()
    run(stage, SECOND, phone, stranger)
    assert stranger.listen() == 0
    assert remote(stage) == phone.address


def test_the_address_of_the_sdp_takes_over_late_after_half_a_second_and_not_by_one_packet(stage: Stage) -> None:
    early, phone = Source(stage, "127.7.7.7", ssrc=66), Source(stage)
    open_port(stage, phone.address)
    run(stage, SECOND, early)                                  # it was locked: the telephone was silent
    assert remote(stage) == early.address
    run(stage, 5, early, phone)
    assert remote(stage) == early.address
    run(stage, LEARN, early, phone)
    assert remote(stage) == phone.address
    early.listen()
    run(stage, SECOND, early, phone)
    assert early.listen() == 0


def test_a_nat_that_forgot_is_learned_again_after_silence_and_another_host_is_not(stage: Stage) -> None:
    phone, moved, stranger = Source(stage), Source(stage), Source(stage, "127.7.7.7", ssrc=66)
    open_port(stage, NAT)
    run(stage, SECOND, phone)
    run(stage, SECOND, phone, moved)                           # while it speaks nobody of its host can take its place
    assert remote(stage) == phone.address
    run(stage, 3 * SECOND, stranger)                           # silent for 3 s: a stranger speaks on and on
    assert remote(stage) == phone.address
    assert stranger.listen() == 0
    run(stage, 5, moved, stranger)
    assert remote(stage) == phone.address
    run(stage, LEARN + 25, moved)
    assert remote(stage) == moved.address
    stage.tick(2)
    moved.listen()
    run(stage, 10, moved)
    assert moved.listen() >= 9


def test_a_new_ssrc_of_the_locked_source_is_a_new_stream_of_the_same_telephone(stage: Stage) -> None:
    phone = Source(stage)
    open_port(stage, phone.address)
    run(stage, 10, phone)
    phone.ssrc, phone.seq = 99, 40_000
    run(stage, 10, phone)
    state = stage.snapshot()[16]
    assert (state["rx_packets"], state["foreign"], state["remote"]) == (20, 0, phone.address)


def test_a_reinvite_that_names_another_address_is_learned_at_once_and_one_that_repeats_it_changes_nothing(stage: Stage) -> None:
    phone, other = Source(stage), Source(stage, "127.7.7.7")
    open_port(stage, phone.address)
    run(stage, SECOND, phone)
    open_port(stage, phone.address, update=True)
    run(stage, 10, other)
    assert remote(stage) == phone.address
    open_port(stage, other.address, update=True)
    run(stage, 2, other, phone)
    assert remote(stage) == other.address
    stage.tick(2)
    phone.listen()
    run(stage, SECOND, other, phone)
    assert phone.listen() == 0


def test_a_stranger_with_numbers_out_of_order_is_not_learned(stage: Stage) -> None:
    stranger = Source(stage, "127.7.7.7", ssrc=66)
    open_port(stage, NAT)
    for n in range(100):
        stranger.seq += 50
        stranger.ssrc = n % 7
        run(stage, 1, stranger)
    assert remote(stage) == NAT
    assert stranger.listen() == 0


def test_what_srtp_has_proven_is_learned_by_one_packet_and_followed_when_it_moves(stage: Stage) -> None:
    sealer = Srtp(SUITE, KEY, False)
    phone, moved = Source(stage, sealer=sealer), Source(stage, "127.8.8.8", sealer=sealer)
    stranger = Source(stage, "127.7.7.7", ssrc=66)
    open_port(stage, NAT, suite=SUITE)
    run(stage, 5, stranger)
    assert remote(stage) == NAT
    run(stage, 1, phone)
    assert remote(stage) == phone.address
    run(stage, 10, phone, stranger)
    assert stranger.listen() == 0
    moved.seq = phone.seq
    stage.tick(30)                                             # 300 ms later it speaks from elsewhere
    run(stage, 1, moved)
    assert remote(stage) == moved.address
    phone.seq = moved.seq
    run(stage, 1, phone)                                       # but not by every stray packet
    assert remote(stage) == moved.address


def test_a_port_that_knows_no_address_yet_learns_one_by_a_row_of_packets(stage: Stage) -> None:
    phone = Source(stage)
    open_port(stage, None)
    run(stage, 2, phone)
    assert (remote(stage), phone.listen()) == (None, 0)
    run(stage, 2, phone)
    stage.tick(4)
    assert remote(stage) == phone.address
    assert phone.listen() > 0
