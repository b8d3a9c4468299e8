# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Registers of a simulated Si3210 or Si3215, direct and indirect, and its bytes on the serial bus.

Theory of operation. Two bytes (b7 read, address; data), or with SPIDC three: a select byte whose lowest bit is this chip's and which is
passed on shifted right. So `00 80` sent in two-byte mode switches every chip at once, and a read then makes all of them drive.
Indirect words are kept under Si3210 numbers; `SI3215` translates. Writing 28 or 29 arms a write, writing 30 starts it (or a read), 31 b0
shows busy for 62 us; without clocks it stays. Access while busy or with half a pair is noted and spoils the access.
Status registers 18..20 clear where a 1 is written. Bits outside a mask, read-only and unknown registers are noted.
Calibration (96 b6) runs for a time per enabled step, needs supply and an idle line, and leaves its results in 98..107.
"""

from libc.string cimport memset

from firmware.sim.chip_base cimport (
    FXS_BASE,
    HIS_RESET,
    ILL_BUSY,
    ILL_CAL_IN_USE,
    ILL_CAL_NO_POWER,
    ILL_CAL_UNFLUSHED,
    ILL_DCDC_UNCHECKED,
    ILL_HALF_PAIR,
    ILL_IN_RESET,
    ILL_INDIRECT,
    ILL_NO_CLOCKS,
    ILL_READ_ONLY,
    ILL_RESERVED,
    ILL_RING_NO_BATTERY,
    ILL_UNKNOWN,
    chip_history,
    chip_illegal,
)

_TABLE = (
    ("family", 3215), ("revision", 5), ("part", 0), ("busy_us", 62), ("calibration_ms", 600), ("auto_calibration_fails", 0),
    ("rise_volts_per_ms", 0.5), ("decay_ms", 600), ("leak_decay_ms", 60), ("feed_ohms", 160), ("overhead_volts", 7.5), ("rectify", 1),
    ("manual_98", 0x0C), ("manual_99", 0x0D), ("overheat_ms", 2000), ("spidc_lost", 0),
    ("fault_reply", 0), ("fault_no_rise", 0), ("fault_no_fall", 0), ("fault_calibration", 0), ("fault_alarm", 0), ("fault_hook", 0),
    ("fault_leak", 0),
)
FXS_PARAMETERS = tuple(name for name, _ in _TABLE)
assert len(FXS_PARAMETERS) == SP_COUNT
cdef double _default[SP_COUNT]

# register: (value after reset, writable bits); a register that is not here does not exist
_REGISTERS = {
    0: (0, 0xC0), 1: (0x08, 0x3F), 2: (0, 0xFF), 3: (0, 0x03), 4: (0, 0xFF), 5: (0, 0x03), 8: (0x02, 0x07), 9: (0, 0xFF),
    10: (0x08, 0x3F), 11: (0x33, 0xFF), 14: (0x10, 0x1B), 15: (0, 0xFF), 18: (0, 0xFF), 19: (0, 0xFF), 20: (0, 0xFF), 21: (0, 0xFF),
    22: (0, 0xFF), 23: (0, 0xFF), 24: (0, 0), 28: (0, 0xFF), 29: (0, 0xFF), 30: (0, 0xFF), 31: (0, 0),
    **{reg: (0, 0xFF) for reg in range(32, 44)}, 34: (0, 0x3F), **{reg: (0, 0xFF) for reg in range(48, 53)}, 64: (0, 0x07),
    66: (0x03, 0x1F), 67: (0x1F, 0x1F), 68: (0x04, 0), 69: (0x0A, 0x7F), 70: (0x0A, 0x7F), 71: (0, 0x07), 72: (0x20, 0x7F),
    73: (0x02, 0x3F), 74: (0x32, 0x3F), 75: (0x10, 0x3F), 76: (0, 0x07), 77: (0, 0), **{reg: (0, 0) for reg in range(78, 90)},
    92: (0xFF, 0xFF), 93: (0x12, 0x9F), 94: (0, 0), 96: (0, 0x7F), 97: (0, 0x1F),
    98: (0x10, 0xFF), 99: (0x10, 0xFF), 100: (0x11, 0xFF), 101: (0x11, 0xFF), 102: (0x08, 0xFF), 103: (0x88, 0xFF), 104: (0, 0xFF),
    105: (0, 0xFF), 106: (0x20, 0xFF), 107: (0x08, 0xFF), 108: (0, 0xFF),
}
cdef int _first[128]
cdef int _mask[128]
cdef int _si3215[256]       # Si3215 address -> Si3210 address, -1: does not exist
cdef int _si3210[256]


def registers(family=3215):
    """Every register: (value after reset, writable bits)."""
    table = dict(_REGISTERS)
    if family == 3215:
        table[1] = (0x88, 0x3F)
        del table[24]
    return table


def indirect_addresses(family=3215):
    """Indirect addresses that exist, and the Si3210 number of each."""
    return {address: _si3215[address] if family == 3215 else _si3210[address] for address in range(256)
            if (_si3215[address] if family == 3215 else _si3210[address]) >= 0}


cdef void _fill():
    cdef int k
    for k in range(128):
        _first[k], _mask[k] = _REGISTERS.get(k, (0, -1))
    for k in range(SP_COUNT):
        _default[k] = _TABLE[k][1]
    for k in range(256):
        _si3215[k] = -1
        _si3210[k] = k if k < 44 or 88 <= k <= 104 else -1
        if k <= 9:
            _si3215[k] = k + 13
        elif 13 <= k <= 27:
            _si3215[k] = k + 13
        elif 69 <= k <= 74:
            _si3215[k] = k + 30
    _si3215[64] = 41
    _si3215[66] = 43
    _si3215[97] = 97                # cleared by every known driver, without effect


_fill()


cdef int fxs_indirect(const fxs_chip *c, int address) noexcept nogil:
    """Si3210 number of an indirect address, -1 where there is none."""
    return _si3215[address & 255] if c.p[SP_FAMILY] == 3215 else _si3210[address & 255]


cdef void fxs_clear(fxs_chip *c) noexcept nogil:
    cdef int k
    for k in range(128):
        c.reg[k] = <uint8_t>_first[k]
        c.ind[k] = 0
    c.reg[0] = <uint8_t>((<int>c.p[SP_PART] & 3) << 4 | (<int>c.p[SP_REVISION] & 15))
    c.reg[1] = 0x88 if c.p[SP_FAMILY] == 3215 else 0x08
    c.armed_low = c.armed_high = c.busy = c.calibrated = c.calibrating = c.alarm_open = c.tripped = c.dcdc_unchecked = False
    c.lcr = c.rtp = c.ring_pause = False
    c.raw = True
    c.lfs = 0
    c.cal_left = c.dccal_left = c.low_ms = c.hot_ms = 0
    c.loop_filter = c.trip_filter = c.debounce = c.trip_debounce = c.ring_phase = c.ring_volts = 0.0
    for k in range(3):
        c.power_f[k] = 0.0
    c.at = 0
    c.mine = c.chain = False


cdef void fxs_init(fxs_chip *c, chip_room *room, int index) noexcept nogil:
    """A chip as it comes from the factory, RESET held low."""
    cdef int k
    memset(c, 0, sizeof(fxs_chip))
    c.room = room
    c.index = index + FXS_BASE
    for k in range(SP_COUNT):
        c.p[k] = _default[k]
    c.reset = True
    fxs_clear(c)


cdef void fxs_self_reset(fxs_chip *c) noexcept nogil:
    """A brown-out: first values everywhere; the framing mode stays unless `spidc_lost` is set."""
    cdef bint chain = c.chain and c.p[SP_SPIDC_LOST] == 0
    fxs_clear(c)
    c.chain = chain
    if chain:
        c.reg[0] |= 0x80


cdef void fxs_pin(fxs_chip *c, bint low) noexcept nogil:
    """The RESET line."""
    if low == c.reset:
        return
    c.reset = low
    fxs_clear(c)
    chip_history(c.room, c.index, HIS_RESET, low, 0)
    if not low and not c.room.clocks:
        chip_illegal(c.room, c.index, ILL_NO_CLOCKS, -1, -1)


cdef void fxs_settle(fxs_chip *c) noexcept nogil:
    """Finish an indirect access whose time has come; without clocks its time stands still."""
    if not c.busy:
        return
    if not c.room.clocks:
        c.busy_until = -1
        return
    if c.busy_until < 0:
        c.busy_until = c.room.us + <int64_t>c.p[SP_BUSY_US]
    if c.room.us < c.busy_until:
        return
    c.busy = False
    c.reg[20] |= 0x02
    if c.busy_address < 0:
        if not c.busy_write:
            c.reg[28] = c.reg[29] = 0
    elif c.busy_write:
        c.ind[c.busy_address] = <uint16_t>(c.reg[28] | <int>c.reg[29] << 8)
    else:
        c.reg[28] = <uint8_t>(c.ind[c.busy_address] & 0xFF)
        c.reg[29] = <uint8_t>(c.ind[c.busy_address] >> 8)


cdef int fxs_read(fxs_chip *c, int reg) noexcept nogil:
    """What the chip answers; registers that do not exist read 0."""
    fxs_settle(c)
    if _mask[reg] < 0 or (reg == 24 and c.p[SP_FAMILY] == 3215):
        return 0
    if c.busy and (reg == 28 or reg == 29):
        chip_illegal(c.room, c.index, ILL_BUSY, reg, -1)
    if reg == 31:
        return 1 if c.busy else 0
    if reg == 64:
        return c.lfs << 4 | c.reg[64]
    if reg == 68:
        return (4 if c.raw else 0) | (2 if c.rtp else 0) | (1 if c.lcr else 0)
    if reg == 82:
        c.dcdc_unchecked = False
    return c.reg[reg]


cdef void start_calibration(fxs_chip *c) noexcept nogil:
    cdef int bits = 0, value = (c.reg[96] & 0x3F) | (c.reg[97] & 0x1F) << 6, k
    while value:
        bits += value & 1
        value >>= 1
    c.calibrating = True
    c.cal_left = <int>(c.p[SP_CAL_MS] * bits / 11.0) + 1
    if c.p[SP_FAULT_CALIBRATION] != 0 or (c.p[SP_AUTO_CAL_FAILS] != 0 and c.reg[97] & 0x07):
        c.cal_left = -1
    if c.reg[64] & 7 or c.lcr:
        chip_illegal(c.room, c.index, ILL_CAL_IN_USE, 96, c.reg[96])
    if c.vbat < 20.0 or not c.room.clocks:
        chip_illegal(c.room, c.index, ILL_CAL_NO_POWER, 96, c.reg[96])
    for k in range(35, 40):
        if c.ind[k] != 0x8000:
            chip_illegal(c.room, c.index, ILL_CAL_UNFLUSHED, 96, k)
            break


cdef void start_indirect(fxs_chip *c, int value) noexcept nogil:
    cdef int address = fxs_indirect(c, value)
    if address < 0:
        chip_illegal(c.room, c.index, ILL_INDIRECT, 30, value)
    if c.armed_low != c.armed_high:
        chip_illegal(c.room, c.index, ILL_HALF_PAIR, 30, value)
    c.busy = True
    c.busy_write = c.armed_low or c.armed_high
    c.busy_address = address
    c.busy_until = c.room.us + <int64_t>c.p[SP_BUSY_US] if c.room.clocks else -1
    c.armed_low = c.armed_high = False


cdef void fxs_write(fxs_chip *c, int reg, int value) noexcept nogil:
    """A complete write. What a data sheet forbids is noted; the register then keeps what it may."""
    cdef int mask = _mask[reg], old = c.reg[reg]
    fxs_settle(c)
    if mask < 0 or (reg == 24 and c.p[SP_FAMILY] == 3215):
        chip_illegal(c.room, c.index, ILL_UNKNOWN, reg, value)
        return
    if mask == 0:
        chip_illegal(c.room, c.index, ILL_READ_ONLY, reg, value)
        return
    if 28 <= reg <= 30 and c.busy:
        chip_illegal(c.room, c.index, ILL_BUSY, reg, value)
        return
    # bits that only report may be written back as they were read
    if value & ~mask and (value & ~mask) != (fxs_read(c, reg) & ~mask) and reg != 0 and not (reg == 64 and not value & 0x88):
        chip_illegal(c.room, c.index, ILL_RESERVED, reg, value)
    if 18 <= reg <= 20:
        c.reg[reg] = <uint8_t>(old & ~value)            # a 1 clears
        return
    c.reg[reg] = <uint8_t>((old & ~mask) | (value & mask))
    value = c.reg[reg]
    if reg == 0:
        if not c.chain and value & 0x80:
            c.at = 0
        c.chain = (value & 0x80) != 0
    elif reg == 14:
        if old & 0x10 and not value & 0x10:
            if c.dcdc_unchecked:
                chip_illegal(c.room, c.index, ILL_DCDC_UNCHECKED, reg, value)
            c.dcdc_unchecked = True
    elif reg == 28:
        c.armed_low = True
    elif reg == 29:
        c.armed_high = True
    elif reg == 30:
        start_indirect(c, value)
    elif reg == 64:
        if value == 4 and (c.reg[14] & 0x10 or c.vbat < 0.9 * 1.5 * (c.reg[75] & 0x3F)):
            chip_illegal(c.room, c.index, ILL_RING_NO_BATTERY, reg, value)
        c.alarm_open = c.tripped = False
        if value != c.lfs:
            c.debounce = 0.0
        c.lfs = value
        c.ring_left = 0
        c.ring_pause = False
    elif reg == 93 and value & 0x80:
        c.dccal_left = 10
    elif reg == 96:
        if value & 0x40:
            start_calibration(c)
        else:
            c.calibrating = False


cdef bint fxs_int_low(fxs_chip *c) noexcept nogil:
    """True while the chip pulls the common interrupt line down."""
    return not c.reset and (c.reg[18] & c.reg[21] or c.reg[19] & c.reg[22] or c.reg[20] & c.reg[23]) != 0


cdef int fxs_byte(fxs_chip *c, int *byte) noexcept nogil:
    """Clock one byte through the chip: `byte` becomes what the next chip of the chain sees. Returns what this chip drives, or -1."""
    cdef int seen = byte[0], answer = -1
    if c.reset:
        chip_illegal(c.room, c.index, ILL_IN_RESET, -1, seen)
        return -1
    if c.chain and c.at == 0:
        c.mine = seen & 1
        byte[0] = seen >> 1
        c.at = 1
        return -1
    if c.at == (1 if c.chain else 0):
        c.address = seen
        c.at += 1
        return -1
    c.at = 0
    if c.chain and not c.mine:
        return -1
    if c.address & 0x80:
        answer = fxs_read(c, c.address & 0x7F)
        if c.p[SP_FAULT_REPLY] == 1:
            answer = -1
        elif c.p[SP_FAULT_REPLY] == 2:
            answer = 0
    elif c.p[SP_FAULT_REPLY] == 0:
        fxs_write(c, c.address, seen)
    return answer
