"""What a board file says about the box: which jacks exist, on which PCM slot each is, and which chips and lines serve them."""

import re
import tomllib
from typing import Any, Literal

import msgspec

from firmware.errors import ConfigError

ALSA_DEVICE = re.compile(r"hw:(?P<card>[A-Za-z0-9_]+),(?P<device>\d+)")
CHAIN_LIMIT = {"si3050": 16, "si321x": 8}  # chips behind one chip select
CHIP_KIND = {"si3050": "fxo", "si321x": "fxs"}
WORLD_INT, WORLD_RELAY, WORLD_SENSE = 8, 16, 17  # lines of the GPIO chip "world"; RESET of chain N is line N, its INT 8 + N
PCM_CLOCKS_KHZ = (256, 512, 768, 1024, 1536, 2048, 4096, 8192)  # what the chips lock to


class GpioLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a GPIO chip's character device. `active_low` lines are on when their level is low."""

    chip: str
    line: int
    active_low: bool = False


class PcmBus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The TDM bus: slot n starts `first_bit` + n * `slot_bits` bit clocks after the frame pulse."""

    slots: int = 8
    slot_bits: int = 16
    first_bit: int = 1
    early_release: bool = True
    """Chips let go of the bus half a clock early, for slots that follow one another without a gap."""
    device: str = "hw:0,0"
    """Seam `alsa`: sound device of the bus; its stream drives the clocks."""
    world: str = ""
    """Seam `world`: the half of a loopback sound card at which the simulated lines speak and hear; `device` is then the half of the engine.
    Empty: their sound goes through memory."""
    spare: int = -1
    """Slot without a jack whose sound the board returns: it tells the delay of the sound device to the sample; -1 = none."""

    @property
    def clock_khz(self) -> int:
        """Bit clock."""
        return 8 * self.slots * self.slot_bits

    def start(self, slot: int) -> int:
        """Start count of a slot."""
        return slot * self.slot_bits + self.first_bit


class ChipChain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Chips behind one chip select, in the order of the chain; `jacks` are those they serve."""

    chip: Literal["si3050", "si321x"]
    spi: str
    """SPI device file; its name includes the chip select. On seam `world`: "world:N", N = number of the chain from 0."""
    jacks: list[str]
    reset: GpioLine
    interrupt: GpioLine | None = None
    speed_hz: int = 2_000_000
    daisy: bool = True
    """Si321x: the chips are wired (or can be addressed) as a daisy chain; false: one chip with two-byte accesses."""

    @property
    def kind(self) -> str:
        """Kind of the jacks."""
        return CHIP_KIND[self.chip]


class Linefeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the FXS drivers must know of the power stage."""

    converter_period: int = 0xFF
    """Register 92: 0xFF = 64 kHz with a bipolar transistor."""
    external: bool = False
    """The line is driven by a Si3201, which is calibrated by hand."""
    loop_milliamps: int = 20
    indirect: dict[str, int] = {}
    """Indirect registers (numbers of the Si3210) that depend on the transistors: power thresholds 32 to 34, filters 37 to 39."""


class Lifeline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The relay that joins an FXO and an FXS jack while it has no current."""

    relay: GpioLine
    sense: GpioLine | None = None
    fxo: str = "1"
    fxs: str = "1"


class Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One board. Jack N (counted from 1, as printed on the box) is on PCM slot `slots_*[N - 1]`."""

    name: str
    seam: Literal["world", "alsa"]
    slots_fxo: list[int]
    slots_fxs: list[int]
    pcm: PcmBus = PcmBus()
    chains: list[ChipChain] = []
    linefeed: Linefeed = Linefeed()
    lifeline: Lifeline | None = None
    leds: dict[str, GpioLine] = {}
    image: dict[str, Any] = {}
    """How the image of this board is made: read by tools/vm and buildroot, never by the appliance."""

    def fxo_slot(self, jack: str) -> int:
        """PCM slot of an FXO jack; ConfigError when the board has no such jack."""
        return _slot("FXO", jack, self.slots_fxo)

    def fxs_slot(self, jack: str) -> int:
        """PCM slot of an FXS jack; ConfigError when the board has no such jack."""
        return _slot("FXS", jack, self.slots_fxs)


def parse_board(data: bytes, file: str) -> Board:
    """Board of a `board.toml`. Raises ConfigError that names the file."""
    try:
        board = msgspec.convert(tomllib.loads(data.decode("utf-8")), Board)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from error
    slots = board.slots_fxo + board.slots_fxs
    if len(set(slots)) != len(slots) or not all(0 <= slot <= 15 for slot in slots):
        raise ConfigError(f"{file}: slots {slots} must be different numbers of 0 to 15")
    fault = _chips_fault(board)
    if fault:
        raise ConfigError(f"{file}: {fault}")
    return board


def _chips_fault(board: Board) -> str:
    """What is wrong with chains, bus and lines; empty when nothing is."""
    pcm = board.pcm
    if board.chains:
        if pcm.clock_khz not in PCM_CLOCKS_KHZ:
            return f"pcm: {pcm.slots} slots of {pcm.slot_bits} bit make {pcm.clock_khz} kHz; chips lock to {PCM_CLOCKS_KHZ} kHz only"
        if pcm.slot_bits < 16:
            return f"pcm: a slot of {pcm.slot_bits} bit does not hold a 16-bit sample; use 16 or more"
        if not -1 <= pcm.spare < pcm.slots or pcm.spare in board.slots_fxo + board.slots_fxs:
            return f"pcm: spare is {pcm.spare}; it is a slot below {pcm.slots} without a jack, or -1"
        if not 0 <= pcm.first_bit <= 1 or max(board.slots_fxo + board.slots_fxs, default=0) >= pcm.slots:
            return f"pcm: first_bit is 0 or 1, and slots are below {pcm.slots}"
    for kind, count in (("fxo", len(board.slots_fxo)), ("fxs", len(board.slots_fxs))):
        jacks = sorted(jack for chain in board.chains if chain.kind == kind for jack in chain.jacks)
        wanted = sorted(str(number + 1) for number in range(count))
        if board.chains and jacks != wanted:
            return f"chains: {kind.upper()} jacks {jacks} must be each of {wanted} once"
    for chain in board.chains:
        limit = CHAIN_LIMIT[chain.chip] if chain.daisy or chain.chip != "si321x" else 1
        if not 1 <= len(chain.jacks) <= limit:
            return f"chain {chain.spi}: {len(chain.jacks)} chips; {chain.chip} chains have 1 to {limit}"
        if not 100_000 <= chain.speed_hz <= 4_000_000:
            return f"chain {chain.spi}: speed_hz {chain.speed_hz} is not within 100000 to 4000000"
    devices = [chain.spi for chain in board.chains]
    if len(set(devices)) != len(devices):
        return f"chains: SPI devices {devices} must differ, FXO and FXS chips need chip selects of their own"
    fault = _seam_fault(board)
    if fault:
        return fault
    outputs = _outputs(board)
    if len(set(outputs)) != len(outputs):
        return f"GPIO lines {sorted({place for place in outputs if outputs.count(place) > 1})} are named for more than one purpose"
    for number in board.linefeed.indirect:
        if number not in ("32", "33", "34", "37", "38", "39"):
            return f"linefeed.indirect: {number} does not depend on the board; 32 to 34 and 37 to 39 do"
    if not 20 <= board.linefeed.loop_milliamps <= 41:
        return f"linefeed.loop_milliamps {board.linefeed.loop_milliamps} is not within 20 to 41"
    if board.lifeline is not None:
        served = {(chain.kind, jack) for chain in board.chains for jack in chain.jacks}
        if not {("fxo", board.lifeline.fxo), ("fxs", board.lifeline.fxs)} <= served:
            return f"lifeline: jacks FXO {board.lifeline.fxo} and FXS {board.lifeline.fxs} must be on the board's chains"
    return ""


def _seam_fault(board: Board) -> str:
    """What does not suit the seam: the world's chains have fixed names, real ones need a sound device."""
    if board.seam == "alsa":
        if not ALSA_DEVICE.fullmatch(board.pcm.device):
            return f"pcm: device is {board.pcm.device!r}; name the sound device that drives the clocks, such as \"hw:0,0\""
        return "pcm: world is for boards of the seam world" if board.pcm.world else ""
    if board.pcm.world:
        pair = [board.pcm.device, board.pcm.world]
        if not all(ALSA_DEVICE.fullmatch(name) for name in pair) or pair[0] == pair[1]:
            return f"pcm: device and world are {pair}; name both halves of a loopback sound card, hw:Loopback,0 and hw:Loopback,1"
        if board.pcm.spare < 0:
            return "pcm: a sound card between lines and engine needs a spare slot, by which its delay is known"
    for number, chain in enumerate(board.chains):
        if chain.spi != f"world:{number}":
            return f"chain {chain.spi}: on the seam world chain {number} has spi \"world:{number}\""
        lines = [(chain.reset, number, "reset")] + ([(chain.interrupt, WORLD_INT + number, "interrupt")] if chain.interrupt else [])
        for line, wanted, name in lines:
            if (line.chip, line.line) != ("world", wanted):
                return f"chain {chain.spi}: on the seam world {name} is {{chip = \"world\", line = {wanted}}}"
    lifeline = board.lifeline
    if lifeline is not None and (lifeline.relay.line != WORLD_RELAY or (lifeline.sense is not None and lifeline.sense.line != WORLD_SENSE)):
        return f"lifeline: on the seam world relay is line {WORLD_RELAY} and sense line {WORLD_SENSE} of chip \"world\""
    return ""


def _outputs(board: Board) -> list[tuple[str, int]]:
    lines = [chain.reset for chain in board.chains] + list(board.leds.values())
    if board.lifeline is not None:
        lines.append(board.lifeline.relay)
    return [(line.chip, line.line) for line in lines]


def _slot(kind: str, jack: str, slots: list[int]) -> int:
    if jack.isascii() and jack.isdigit() and 1 <= int(jack) <= len(slots):
        return slots[int(jack) - 1]
    raise ConfigError(f"{kind} jack {jack!r} is not on this board; it has jacks 1 to {len(slots)}")
