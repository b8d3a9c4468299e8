"""Devices of the kernel under the seam: what is opened, which bytes go out under which chip select, when the clocks run."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import pytest

from firmware.app.chips import Chips, Kept
from firmware.config.board import parse_board
from firmware.errors import ConfigError, HardwareError
from firmware.hal import gpio
from firmware.hal.bus import SoleUser
from firmware.hal.framing import SpiRegisters
from firmware.hal.lifeline import LifelineWord
from firmware.hal.seams import DeviceSeam, RealTime, open_cards
from firmware.hal.service import ChipService, ServiceClock
from firmware.sim.chip_face import SimBoard
from tests.unit.test_hal_board import BOARD, Recorded

SPI_IOC_MESSAGE_3 = 0x40606B00  # linux/spi/spidev.h on every machine with the common _IOC layout


class Kernel:
    """`SPI_IOC_MESSAGE` on the simulator's chip select: reads the transfers where their pointers say, as the kernel does."""

    def __init__(self, sim: SimBoard, chain: str) -> None:
        self.select = sim.spi[chain]
        self.fd = 7
        self.requests: list[tuple[int, int, list[tuple[int, int]]]] = []

    def transfer(self, data: list[int]) -> list[int]:
        return self.select.transfer(data)

    def ioctl(self, fd: int, request: int, parts: Any) -> int:
        count = (request >> 16 & 0x3FFF) // 32
        raw = bytes(ctypes.string_at(ctypes.addressof(parts), count * 32))
        seen, together = [], []
        for index in range(count):
            part = gpio.SpiTransfer.from_buffer_copy(raw[index * 32 : index * 32 + 32])
            byte = ctypes.string_at(part.tx_buf, part.len)[0]
            seen.append((byte, part.cs_change))
            together.append((byte, part))
            if part.cs_change or index == count - 1:
                replies = self.select.transfer([sent for sent, _ in together])
                for reply, (_, done) in zip(replies, together, strict=True):
                    ctypes.memmove(done.rx_buf, bytes([reply]), 1)
                together = []
        self.requests.append((fd, request, seen))
        return 0


def test_an_access_is_one_request_with_a_chip_select_for_each_byte() -> None:
    sim = SimBoard(2, 2)
    sim.power_up()
    kernel = Kernel(sim, "fxo")
    device = gpio.PeripherySpi(kernel, kernel.ioctl)
    chip = SpiRegisters(device, "si3050", 1)
    assert chip.read(2) == 0x03
    assert kernel.requests == [(7, SPI_IOC_MESSAGE_3, [(0x68, 1), (2, 1), (0xFF, 0)])]
    chip.write(34, 0x5A)
    assert sim.fxo[1].peek(34) == 0x5A
    assert SpiRegisters(SoleUser(kernel), "si3050", 1).read(34) == chip.read(34) == 0x5A
    assert device.fd == 7


def test_clocks_run_while_one_stream_of_the_sound_device_does(tmp_path: Path) -> None:
    clocks = gpio.AlsaClocks("hw:0,0", tmp_path)
    assert not clocks.clocks_running()
    for way in "pc":
        (tmp_path / f"card0/pcm0{way}/sub0").mkdir(parents=True)
    status = {way: tmp_path / f"card0/pcm0{way}/sub0/status" for way in "pc"}
    status["p"].write_text("closed\n")
    status["c"].write_text("state: XRUN\nowner_pid   : 1\n")
    assert not clocks.clocks_running()
    status["c"].write_text("state: RUNNING\nowner_pid   : 1\n")
    assert clocks.clocks_running()
    (tmp_path / "linecard/pcm2p/sub0").mkdir(parents=True)
    (tmp_path / "linecard/pcm2p/sub0/status").write_text("state: RUNNING\n")
    assert gpio.AlsaClocks("hw:linecard,2", tmp_path).clocks_running()
    with pytest.raises(HardwareError, match=r"pcm\.device"):
        gpio.AlsaClocks("default", tmp_path)


def test_chains_share_their_device_with_the_scanner_and_reset_lines_come_from_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Recorded()
    monkeypatch.setitem(sys.modules, "periphery", library.module)
    library.module.SPI.fd = 11  # type: ignore[attr-defined]
    board = parse_board(BOARD, "board.toml")
    lines = gpio.BoardLines(board)
    try:
        seam = DeviceSeam(board, lines)
        cards = open_cards(board, seam, RealTime(), {})
        assert [card.chain.spi for card in cards] == ["/dev/spidev0.0", "/dev/spidev0.1"]
        assert [seam.scanner_fd(chain) for chain in board.chains] == [11, 11]
        opened = [entry for entry in library.opened if str(entry[0]).startswith("/dev/spidev")]
        assert opened == [("/dev/spidev0.0", 3, 2_000_000), ("/dev/spidev0.1", 3, 2_000_000)], "each opened once"
        assert [seam.reset(chain) for chain in board.chains] == lines.resets
        assert set(cards[0].bring_up()) == {"1", "2"}, "without clocks nothing is sent"
        lines.release()
        with pytest.raises(HardwareError, match="RESET"):
            seam.reset(board.chains[0])
    finally:
        lines.release()


class Named:
    """What the engine was told before its start."""

    def __init__(self) -> None:
        self.scans: list[tuple[int, str, int, dict[int, int]]] = []
        self.devices: list[tuple[int, int, int]] = []

    def scan(self, slot: int, kind: str, plan: object, *, chain: int, framing: str, position: int, base: dict[int, int]) -> int:
        self.scans.append((slot, kind, position, base))
        return -1

    def spidev(self, chain: int, fd: int, speed_hz: int) -> None:
        self.devices.append((chain, fd, speed_hz))


def test_without_its_sound_device_a_card_stays_out_with_the_reason_and_media_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("firmware.dsp.alsa", reason="the sound device's module is not built: make ext")
    library = Recorded()
    monkeypatch.setitem(sys.modules, "periphery", library.module)
    library.module.SPI.fd = 11  # type: ignore[attr-defined]
    board = parse_board(BOARD.replace(b"slots_fxs = [4, 5]", b'slots_fxs = [4, 5]\n[pcm]\ndevice = "hw:nosuchcard,0"'), "board.toml")
    lines, word = gpio.BoardLines(board), LifelineWord()
    try:
        seam = DeviceSeam(board, lines)
        clock = ServiceClock(seam.bench_clock())
        service = ChipService(open_cards(board, seam, clock, {}), clock)
        chips, engine = Chips(board, seam, service, tmp_path / "chips.json", Kept("card"), word, fresh=True), Named()
        chips.prepare(engine, lambda: None)  # type: ignore[arg-type]
    finally:
        lines.release()
    assert "nosuchcard" in caplog.text
    assert [port.up for port in service.ports.values()] == [False] * 4
    assert all("PCM clocks" in str(port.error) for port in service.ports.values())
    assert not word.pair_ready
    assert engine.devices == [(0, 11, 2_000_000), (1, 11, 2_000_000)]
    assert [(slot, kind, position) for slot, kind, position, _ in engine.scans] == [
        (0, "fxo", 0), (1, "fxo", 1), (5, "fxs", 0), (4, "fxs", 1),
    ]  # fmt: skip
    assert not any(entry[0] == "write" and entry[2] for entry in library.opened), "no RESET was released, no relay drawn"


@pytest.mark.parametrize(("spare", "words"), [(8, "spare is 8"), (4, "without a jack"), (-2, "spare is -2")])
def test_the_spare_slot_is_one_without_a_jack(spare: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_board(BOARD.replace(b"slots_fxs = [4, 5]", b"slots_fxs = [4, 5]\n[pcm]\nspare = %d" % spare), "board.toml")
