"""The measuring tools measure: a site the product accepts, onsets where they are, a capacity that is a straight line."""

from __future__ import annotations

import socket
import wave
from array import array
from pathlib import Path

import pytest

from firmware.app.site import read_site
from tools import bench_calls
from tools.bench_calls import burst_wave, write_bursts
from tools.bench_calls import matched as delays

from bench_appliance import site  # isort: skip  (bench_calls puts its folder on the path)
from bench_peers import bdecode, bencode  # isort: skip
from load_sip import PCMA, SILENT, TONE, Load, Stream, media_of  # isort: skip


def test_the_product_accepts_the_site_of_the_benchmark(tmp_path: Path) -> None:
    extensions = [str(300 + number) for number in range(bench_calls.RTP_PORTS)]
    file = tmp_path / "site.toml"
    file.write_text(site(extensions, bench_calls.RTP_PORTS))
    found = read_site(file)
    assert found.problems == []
    assert found.config is not None
    assert len(found.config.extensions) == bench_calls.RTP_PORTS + bench_calls.LINES
    assert [route.to for route in found.config.inbound[:2]] == ["extension/101", "extension/300"]


def test_a_burst_is_found_once_and_an_echo_of_it_is_not() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        stream = Stream(unused)
        quiet = bytes(code ^ 0x20 for code in TONE[PCMA])  # two segments lower: a quarter of the amplitude
        for payload in (SILENT[PCMA], quiet, TONE[PCMA], TONE[PCMA], SILENT[PCMA]):
            Load._find_onset(stream, payload, PCMA)
        assert len(stream.onsets_heard) == 1


def test_delays_join_each_burst_with_its_arrival() -> None:
    said = [0.0, 1e9, 2e9]
    assert delays(said, [20e6, 1e9 + 30e6, 2e9 + 900e6]) == pytest.approx([20, 30])  # the third was lost


def test_bursts_of_a_telephone_come_at_their_time(tmp_path: Path) -> None:
    write_bursts(tmp_path / "bursts.wav", burst_wave(800), 1000, 3)
    with wave.open(str(tmp_path / "bursts.wav")) as file:
        samples = array("h", file.readframes(file.getnframes()))
    assert len(samples) == 24_000
    for second in range(3):
        turn = samples[8000 * second : 8000 * second + 8000]
        loud = [at for at, value in enumerate(turn) if abs(value) > 3500]
        assert (loud[0], loud[-1] // 80) == (4000, 4799 // 80)


@pytest.mark.parametrize("value", [{"command": "ping"}, {"b": ["x", 1, -5], "a": {"ü": "\r\n"}}, [], 0, ""])
def test_control_messages_of_the_peer_survive_the_way(value: object) -> None:
    raw = bencode(value)
    assert bdecode(raw) == (value, len(raw))


def test_audio_address_of_a_session_description() -> None:
    assert media_of(b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 8\r\n") == ("10.0.0.1", 4000)
    assert media_of(b"v=0\r\nm=audio 0 RTP/AVP 8\r\n") is None


def test_capacity_is_the_straight_line_from_idle_to_a_full_core() -> None:
    idle = {"cpu": {"media": 1.5, "core": 0.5}}
    busy = {"calls": 10, "cpu": {"media": 6.0, "core": 1.0}}
    figures = {"idle": idle, **dict.fromkeys(bench_calls.KINDS.values(), busy)}
    capacity, ratios = bench_calls.derive(figures, {"relay_floor": {"cpu_per_call_percent": 0.25}})
    assert capacity["FXO-SIP"] == {"calls_measured": 10, "cpu_per_call_percent": 0.5, "calls_on_one_core": 196}
    assert ratios == {"SIP-SIP relayed / bare relay in C": 2.0}
