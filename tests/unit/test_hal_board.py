"""Board files with chips; chains opened, counted, brought up and attached; GPIO lines held by the parent."""

from __future__ import annotations

import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from firmware.config.board import Board, parse_board
from firmware.errors import ConfigError, HardwareError
from firmware.hal import gpio
from firmware.hal.board import load_board
from firmware.hal.cards import Card, PortSettings
from firmware.hal.scan import DAISY_RESYNC
from tests.unit.hal_bench import Chain321x, Chain3050, Chip321x, Clocks, Line, Time, chip_3050

BOARD = b"""
name = "card"
seam = "alsa"
slots_fxo = [0, 1]
slots_fxs = [4, 5]
[[chains]]
chip = "si3050"
spi = "/dev/spidev0.0"
jacks = ["1", "2"]
reset = {chip = "/dev/gpiochip1", line = 12}
[[chains]]
chip = "si321x"
spi = "/dev/spidev0.1"
jacks = ["2", "1"]
reset = {chip = "/dev/gpiochip1", line = 13}
interrupt = {chip = "/dev/gpiochip1", line = 14}
[lifeline]
relay = {chip = "/dev/gpiochip2", line = 1}
sense = {chip = "/dev/gpiochip2", line = 2, active_low = true}
[leds]
status = {chip = "/dev/gpiochip2", line = 3, active_low = true}
"""


def board() -> Board:
    return parse_board(BOARD, "board.toml")


# --- the file -----------------------------------------------------------------------------------------------------------


def test_a_board_with_chips_is_read_and_the_simulated_one_still_is() -> None:
    card = board()
    assert [chain.kind for chain in card.chains] == ["fxo", "fxs"]
    assert card.pcm.clock_khz == 1024
    assert [card.pcm.start(slot) for slot in (0, 1, 7)] == [1, 17, 113]
    assert card.lifeline is not None
    world = load_board("world")
    assert [(chain.kind, chain.spi, len(chain.jacks)) for chain in world.chains] == [("fxo", "world:0", 4), ("fxs", "world:1", 4)]
    assert world.lifeline is not None


def test_the_board_of_the_documentation_is_valid() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/boards.md").read_text(encoding="utf-8")
    example, loop = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    shown = parse_board(example.encode(), "docs/boards.md")
    assert [len(chain.jacks) for chain in shown.chains] == [4, 4]
    # The second example is of the emulated board, which has slots without a jack.
    emulated = (Path(__file__).resolve().parents[2] / "board/qemu-armv7/board.toml").read_text(encoding="utf-8")
    without_pcm = re.sub(r"(?m)^\[pcm\].*\n(?:(?!\[).*\n)*", "", emulated)
    joined = parse_board(f"{without_pcm}\n{loop}".encode(), "docs/boards.md")
    assert (joined.pcm.device, joined.pcm.world, joined.pcm.spare) == ("hw:Loopback,0", "hw:Loopback,1", 7)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'jacks = ["1", "2"]', b'jacks = ["1"]', "FXO jacks"), (b'jacks = ["2", "1"]', b'jacks = ["2", "2"]', "FXS jacks"),
        (b"spidev0.1", b"spidev0.0", "must differ"), (b"line = 13}", b"line = 12}", "more than one purpose"),
        (b'chip = "si3050"', b'chip = "si3050"\nspeed_hz = 9000000', "speed_hz"),
        (b'chip = "si321x"', b'chip = "si321x"\ndaisy = false', "1 to 1"),
        (b"[lifeline]", b"[pcm]\nslots = 10\n[lifeline]", "1280 kHz"),
        (b"[lifeline]", b"[pcm]\nslot_bits = 12\n[lifeline]", "does not hold"),
        (b"[leds]", b"fxs = \"3\"\n[leds]", "lifeline"), (b"[leds]", b"[linefeed]\nindirect = {20 = 1}\n[leds]", "does not depend"),
        (b"[leds]", b"[linefeed]\nloop_milliamps = 50\n[leds]", "20 to 41"), (b'chip = "si3050"', b'chip = "si9999"', "si9999"),
        (b"slots_fxs = [4, 5]", b"slots_fxs = [4, 9]", "slots are below"),
    ],
)  # fmt: skip
def test_a_wrong_board_file_says_what_is_wrong(old: bytes, new: bytes, words: str) -> None:
    text = BOARD.replace(old, new, 1)
    assert text != BOARD
    with pytest.raises(ConfigError, match=words):
        parse_board(text, "board.toml")


# --- chains -------------------------------------------------------------------------------------------------------------


def card(
    chain: Any, number: int, *, clocks: Clocks | None = None, settings: dict[str, PortSettings] | None = None
) -> tuple[Card, Line, Time]:
    reset, time = Line(), Time()
    return (
        Card(board(), board().chains[number], spi=chain, reset=reset, clocks=clocks or Clocks(), clock=time, settings=settings),
        reset,
        time,
    )


def test_a_chain_is_reset_counted_and_each_port_gets_its_slot() -> None:
    chain = Chain3050([chip_3050(), chip_3050()])
    opened, reset, time = card(chain, 0, settings={"2": PortSettings(country="UK")})
    assert opened.bring_up() == {}
    assert reset.levels == [False, True]
    assert time.ms >= 10
    assert [chip.registers[34] for chip in chain.chips] == [1, 17]
    assert [chip.registers[30] for chip in chain.chips] == [0x0A, 0x05]


def test_jacks_follow_the_order_of_the_chain() -> None:
    chain = Chain321x([Chip321x(), Chip321x()])
    opened, _, _ = card(chain, 1)
    assert opened.bring_up() == {}
    assert [chip.registers[2] for chip in chain.chips] == [81, 65]  # jack 2 is the first chip
    again, _, _ = card(chain, 1)
    for chip in chain.chips:
        chip.writes.clear()
    assert again.attach() == {"1": (), "2": ()}
    assert [chip.writes for chip in chain.chips] == [[], []]


def test_one_port_that_fails_leaves_the_others_in_service() -> None:
    broken = Chip321x()
    broken.battery_when_on = 0x10
    chain = Chain321x([broken, Chip321x()])
    opened, _, _ = card(chain, 1)
    assert list(opened.bring_up()) == ["2"]
    assert "FXS jack 2" in str(opened.faults["2"])
    assert chain.chips[1].registers[64] == 0x11


@pytest.mark.parametrize(("chips", "words"), [(0, "found 0"), (1, "found 1"), (3, "found 3.*more chips")])
def test_a_wrong_number_of_chips_keeps_the_chain_in_reset(chips: int, words: str) -> None:
    opened, reset, _ = card(Chain3050([chip_3050() for _ in range(chips)]), 0)
    faults = opened.bring_up()
    assert set(faults) == {"1", "2"}
    with pytest.raises(HardwareError, match=words):
        raise faults["1"]
    assert reset.levels[-1] is False


def test_without_clocks_reset_is_not_released() -> None:
    opened, reset, _ = card(Chain3050([chip_3050(), chip_3050()]), 0, clocks=Clocks(running=False))
    assert set(opened.bring_up()) == {"1", "2"}
    assert True not in reset.levels


def test_the_neighbour_hears_nothing_when_a_chip_is_brought_up_again() -> None:
    chain = Chain321x([Chip321x(), Chip321x()])
    opened, _, _ = card(chain, 1)
    opened.bring_up()
    before = dict(chain.chips[1].registers)
    chain.chips[1].writes.clear()
    chain.chips[0].reset()
    opened.ports["2"].reinitialise()
    assert chain.chips[0].registers[64] == 0x11
    assert chain.chips[0].registers[0] & 0x80
    assert chain.chips[1].writes == []
    assert chain.chips[1].registers == before
    assert len(DAISY_RESYNC) % 2 == len(DAISY_RESYNC) % 3 == 0


def test_power_down_leaves_every_line_and_holds_reset() -> None:
    chain = Chain321x([Chip321x(), Chip321x()])
    opened, reset, _ = card(chain, 1)
    opened.bring_up()
    opened.power_down()
    assert all(chip.registers[14] == 0x10 and chip.registers[64] == 0 for chip in chain.chips)
    assert reset.levels[-1] is False


# --- GPIO ---------------------------------------------------------------------------------------------------------------


class Recorded:
    """What was opened of a library that stands in for python-periphery, by its documented constructors."""

    def __init__(self) -> None:
        self.opened: list[tuple[Any, ...]] = []
        self.lines: list[Any] = []
        self.fail = ""
        recorded = self

        class CdevGPIO(Line):
            def __init__(self, path: str, line: int, direction: str, *, edge: str, inverted: bool, label: str) -> None:
                super().__init__()
                if recorded.fail == f"{path}:{line}":
                    raise OSError(16, "Device or resource busy")
                self.place, self.closed = (path, line), False
                recorded.opened.append((path, line, direction, edge, inverted))
                recorded.lines.append(self)

            def write(self, value: bool) -> None:
                recorded.opened.append(("write", self.place[1], value))
                super().write(value)

            def close(self) -> None:
                self.closed = True

        class SPI:
            def __init__(self, path: str, mode: int, speed: float) -> None:
                recorded.opened.append((path, mode, speed))

        self.module = types.ModuleType("periphery")
        self.module.CdevGPIO, self.module.SPI = CdevGPIO, SPI  # type: ignore[attr-defined]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    monkeypatch.setitem(sys.modules, "periphery", recorded.module)
    return recorded


def test_outputs_start_off_and_are_held_until_they_are_released(library: Recorded) -> None:
    lines = gpio.BoardLines(board())
    assert library.opened == [
        ("/dev/gpiochip2", 1, "low", "none", False),
        ("/dev/gpiochip2", 2, "in", "none", True),
        ("/dev/gpiochip1", 12, "low", "none", False),
        ("/dev/gpiochip1", 13, "low", "none", False),
        ("/dev/gpiochip2", 3, "low", "none", True),
    ]
    lines.energise()
    gpio.ResetLine(lines.resets[0], Time()).pulse()
    assert lines.sensed() is False
    library.opened.clear()
    del lines
    assert not any(line.closed for line in library.lines), "a forgotten object must not release RESET"
    (held,) = gpio._HELD
    held.release()
    assert library.opened == [("write", 1, False), ("write", 12, False), ("write", 13, False)]
    assert all(line.closed for line in library.lines)
    assert gpio._HELD == []


def test_a_line_that_is_taken_names_itself_and_gives_the_others_back(library: Recorded) -> None:
    library.fail = "/dev/gpiochip1:13"
    with pytest.raises(HardwareError, match=r"/dev/gpiochip1 line 13.*busy.*check that no other program"):
        gpio.BoardLines(board())
    assert gpio._HELD == []
    assert all(line.closed for line in library.lines)


def test_spi_opens_in_mode_3(library: Recorded) -> None:
    gpio.open_spi(board().chains[0])
    assert library.opened == [("/dev/spidev0.0", 3, 2_000_000)]


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "periphery", None)
    with pytest.raises(HardwareError, match="python-periphery"):
        gpio.periphery()


def test_the_real_library_takes_our_arguments() -> None:
    periphery = gpio.periphery()
    inspect.signature(periphery.CdevGPIO.__init__).bind(None, "/dev/gpiochip0", 1, "low", edge="none", inverted=False, label="x")
    inspect.signature(periphery.SPI.__init__).bind(None, "/dev/spidev0.0", 3, 2_000_000)
