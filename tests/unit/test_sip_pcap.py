"""Capture files: the format's header, packets that a reader checks, both families, bounds; and what tshark makes of one."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.sip.pcap import MOST_BYTES, MOST_PAYLOAD, Pcap, checksum, datagram

A, B = ("192.0.2.7", 5060), ("192.0.2.1", 5062)
A6, B6 = ("2001:db8::7", 5060), ("2001:db8::1", 5062)
INVITE = (
    b"INVITE sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:201@pbx>;tag=1\r\nTo: <sip:100@pbx>\r\n"
    b"Call-ID: c1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)


def _packets(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 24
    while at < len(data):
        seconds, micros, kept, whole = struct.unpack_from("<IIII", data, at)
        assert kept == whole
        found.append((seconds * 1000 + micros // 1000, data[at + 16 : at + 16 + kept]))
        at += 16 + kept
    return found


def test_the_header_is_that_of_the_classic_format() -> None:
    assert Pcap().data() == bytes.fromhex("d4c3b2a1" "0200" "0400" "00000000" "00000000" "ffff0000" "65000000")


@pytest.mark.parametrize(("source", "target", "head"), [(A, B, 20), (A6, B6, 40)])
def test_a_packet_has_right_lengths_addresses_and_checksums(source: tuple[str, int], target: tuple[str, int], head: int) -> None:
    pcap = Pcap()
    pcap.add(1_767_225_600_123, source, target, INVITE)
    ((at, packet),) = _packets(pcap.data())
    assert at == 1_767_225_600_123 and packet[0] >> 4 == (4 if head == 20 else 6)
    assert packet[head + 8 :] == INVITE
    assert struct.unpack_from("!HHH", packet, head) == (source[1], target[1], 8 + len(INVITE))
    ends = packet[12:20] if head == 20 else packet[8:40]
    pseudo = ends + (struct.pack("!xBH", 17, len(packet) - head) if head == 20 else struct.pack("!IxxxB", len(packet) - head, 17))
    assert checksum(pseudo + packet[head:]) == 0, "UDP"
    if head == 20:
        assert checksum(packet[:20]) == 0, "IP"
        assert struct.unpack_from("!H", packet, 2)[0] == len(packet)


@pytest.mark.hypothesis
@given(st.text(max_size=40), st.sampled_from(["192.0.2.1", "2001:db8::1", "[fe80::1%eth0]", "", "pbx.example"]), st.binary(max_size=2000))
def test_any_address_and_any_payload_make_a_packet(source: str, target: str, payload: bytes) -> None:
    packet = datagram((source, 5060), (target, 5061), payload)
    head = 20 if packet[0] >> 4 == 4 else 40
    assert packet[head + 8 :] == payload


def test_a_file_is_bounded_and_says_what_is_missing() -> None:
    pcap = Pcap()
    for _ in range(MOST_BYTES // MOST_PAYLOAD + 5):
        pcap.add(0, A, B, b"x" * (MOST_PAYLOAD + 100))
    assert len(pcap.data()) <= MOST_BYTES and pcap.left_out > 0
    assert pcap.packets == len(_packets(pcap.data()))


def test_tshark_reads_messages_and_notes_on_one_time_axis(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    assert tshark, "tools/setup.sh test installs tshark"
    pcap = Pcap()
    pcap.note(1_767_225_599_900, "line fact L1 RingBurst on=True")
    pcap.add(1_767_225_600_000, A, B, INVITE)
    pcap.add(1_767_225_600_250, B6, A6, INVITE.replace(b"INVITE sip", b"OPTIONS sip").replace(b"1 INVITE", b"1 OPTIONS"))
    path = tmp_path / "call.pcap"
    path.write_bytes(pcap.data())
    options = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-T", "json"]
    fields = ["frame.time_relative", "sip.Method", "syslog.msg", "_ws.expert"]
    command = [tshark, "-r", str(path), *options, *(x for field in fields for x in ("-e", field))]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    layers = [packet["_source"]["layers"] for packet in json.loads(told.stdout)]
    assert [round(float(one["frame.time_relative"][0]), 3) for one in layers] == [0.0, 0.1, 0.35]
    assert [one.get("sip.Method") for one in layers] == [None, ["INVITE"], ["OPTIONS"]]
    assert "RingBurst on=True" in layers[0]["syslog.msg"][0]
    assert not any("_ws.expert" in one for one in layers), layers
