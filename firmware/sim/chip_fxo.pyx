# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Registers of a simulated Si3050 with a Si3019 behind its isolation link, and its bytes on the serial bus.

Theory of operation. An access is three bytes: control (b7 broadcast, b6 read, b5 = 1, b4 = 0, b3..0 the chip's place, bits reversed),
address, data. Every chip sees every byte; the one whose place counts to zero answers, the others pass on a place less one. A first byte
with b5 = 0 or b4 = 1 is no control byte: it is noted and skipped, which is how bytes that slipped fall into step again.
`MASK` holds the writable bits, `FIRST` the values after reset. Bits outside the mask keep their value and are noted when set, as are
writes to read-only and unknown registers. Register 4 and the flags of 17 and 44 clear by writing 0. Soft reset takes its time, and so
does the link; while clocks are missing there is no link, and after such a loss the link returns only after SR, RESET or a cycle of PDL
(`relock_alone` 1 lifts that); a RESET released without clocks needs SR or RESET with them. Settings of the line side are held by the system side and take effect when the link is up.
Invariant: the copper is changed only by chip_fxo_line, once per millisecond.
"""

from libc.string cimport memset

from firmware.sim.chip_base cimport (
    HIS_LINK,
    HIS_RESET,
    ILL_CONTROL_BYTE,
    ILL_IN_RESET,
    ILL_IN_SOFT_RESET,
    ILL_NO_CLOCKS,
    ILL_NO_LINK,
    ILL_OPE_EARLY,
    ILL_PDN,
    ILL_READ_ONLY,
    ILL_RESERVED,
    ILL_UNKNOWN,
    chip_history,
    chip_illegal,
)

# Defaults stand beside the names; those the sources mark as open points are the cautious choice.
_TABLE = (
    ("revision", 4), ("line_type", 3), ("line_revision", 3), ("soft_reset_ms", 100), ("link_ms", 100), ("relock_alone", 0),
    ("adc_calibration_ms", 256), ("resistor_calibration_ms", 17), ("rcald_bit", 5), ("threshold", 0.5), ("step_tau_ms", 10),
    ("rdt_ms", 5000), ("lvs_gain", 1.0), ("lvs_tau_ms", 8), ("lcs_noise", 1), ("dropout_ma", 1.0), ("dropout_link_ms", 300),
    ("overload_ma", 110), ("monitor_offset", 0.05), ("billing_volts", 0), ("tip_ground", 0),
    ("fault_reply", 0), ("fault_link", 0), ("fault_hook", 0), ("fault_chatter", 0), ("fault_hook_closed", 0),
)
FXO_PARAMETERS = tuple(name for name, _ in _TABLE)
assert len(FXO_PARAMETERS) == XP_COUNT
cdef double _default[XP_COUNT]

# register: (value after reset, writable bits); a register that is not here does not exist
_REGISTERS = {
    1: (0x00, 0xBA), 2: (0x03, 0xD7), 3: (0x00, 0xFF), 4: (0x00, 0xFF), 5: (0x00, 0x09), 6: (0x10, 0x18), 7: (0x00, 0x08), 10: (0, 1),
    11: (0, 0), 12: (0, 0), 13: (0, 0), 15: (0, 0x88), 16: (0, 0x53), 17: (0, 0xFF), 18: (0, 0x02), 19: (0, 0), 22: (0x96, 0xFF),
    23: (0x2D, 0xFF), 24: (0x19, 0xBF), 25: (0, 0xFF), 26: (0, 0xF3), 28: (0, 0), 29: (0, 0), 30: (0, 0x1F), 31: (0x20, 0xEB),
    32: (0, 0x07), 33: (0, 0xFB), 34: (0, 0xFF), 35: (0, 0x03), 36: (0, 0xFF), 37: (0, 0x03), 38: (0, 0x1F), 39: (0, 0x1F),
    40: (0, 0x1F), 41: (0, 0x1F), 43: (0, 0xFF), 44: (0, 0x0F), **{reg: (0, 0xFF) for reg in range(45, 53)}, 59: (0, 0x56),
}
cdef int _first[128]
cdef int _mask[128]


def registers():
    """Every register: (value after reset, writable bits)."""
    return dict(_REGISTERS)


cdef void _fill():
    cdef int reg
    for reg in range(128):
        _first[reg], _mask[reg] = _REGISTERS.get(reg, (0, -1))
    for reg in range(XP_COUNT):
        _default[reg] = _TABLE[reg][1]


_fill()


cdef void fxo_init(fxo_chip *c, chip_room *room, int index) noexcept nogil:
    """A chip as it comes from the factory, RESET held low."""
    cdef int k
    memset(c, 0, sizeof(fxo_chip))
    c.room = room
    c.index = index
    for k in range(XP_COUNT):
        c.p[k] = _default[k]
    c.reset = True
    fxo_reset(c)


cdef void fxo_reset(fxo_chip *c) noexcept nogil:
    """Registers to their first values, the line on hook."""
    cdef int reg
    for reg in range(64):
        c.reg[reg] = <uint8_t>_first[reg]
    c.link_ms = 0
    if c.link:
        chip_history(c.room, c.index, HIS_LINK, 0, 0)
    c.latched = 0
    c.link = c.dead = c.overload = c.opd = False
    c.rdt_left = c.gap = c.confirm = c.since_valid = c.delay_left = 0
    c.valid = c.validated = c.hybrid_on = False


cdef void fxo_self_reset(fxo_chip *c) noexcept nogil:
    """A brown-out or a disturbance: everything is at its first value, and framing starts anew."""
    fxo_reset(c)
    c.soft_left = 0
    c.at = 0
    c.mine = False


cdef void fxo_pin(fxo_chip *c, bint low) noexcept nogil:
    """The RESET line."""
    if low == c.reset:
        return
    c.reset = low
    fxo_self_reset(c)
    chip_history(c.room, c.index, HIS_RESET, low, 0)
    if not low and not c.room.clocks:
        chip_illegal(c.room, c.index, ILL_NO_CLOCKS, -1, -1)
        c.latched = 2


cdef int fxo_read(fxo_chip *c, int reg) noexcept nogil:
    """What the chip answers; registers that do not exist read 0."""
    cdef int value
    if c.soft_left > 0:
        return 0x80 if reg == 1 else 0
    if reg >= 64:
        return 0
    if reg == 11:
        return ((<int>c.p[XP_LINE_TYPE] & 15) << 4 if c.link else 0) | (<int>c.p[XP_REVISION] & 15)
    if reg == 13:
        return 0x40 | ((<int>c.p[XP_LINE_REVISION] & 15) << 2 if c.link else 0)
    value = c.reg[reg]
    if reg == 5:
        if c.p[XP_FAULT_HOOK] != 0:
            value &= 0xFE
        value |= (0x40 if c.ringing_n else 0) | (0x20 if c.ringing_p else 0) | (0x04 if c.rdt_left > 0 else 0)
    elif reg == 12:
        value = (value & 0x1F) | (0x40 if c.link else 0)
    elif reg == 19:
        value = (4 if c.overload else 0) | (2 if c.dropped else 0) | (1 if c.opd else 0)
    return value


cdef void fxo_write(fxo_chip *c, int reg, int value) noexcept nogil:
    """A complete write. What a data sheet forbids is noted; the register then keeps what it may."""
    cdef int mask = _mask[reg], old, k
    if c.soft_left > 0:
        chip_illegal(c.room, c.index, ILL_IN_SOFT_RESET, reg, value)
        return
    if mask < 0 or reg >= 64:
        chip_illegal(c.room, c.index, ILL_UNKNOWN, reg, value)
        return
    if mask == 0:
        chip_illegal(c.room, c.index, ILL_READ_ONLY, reg, value)
        return
    if c.dead and reg != 6:
        chip_illegal(c.room, c.index, ILL_PDN, reg, value)
    if reg == 4:                                        # a 0 clears, a 1 leaves
        c.reg[4] &= <uint8_t>value
        return
    # live bits of register 5 may be written back as they were read
    if value & ~mask & (~0x64 if reg == 5 else 0xFF):
        chip_illegal(c.room, c.index, ILL_RESERVED, reg, value)
    old = c.reg[reg]
    value &= mask
    if reg == 17:
        value = (value & 0xFC) | (old & value & 0x03)
    elif reg == 44:
        value = (value & 0x07) | (old & value & 0x08)
    elif reg == 7 and value:
        chip_illegal(c.room, c.index, ILL_RESERVED, reg, value)
    c.reg[reg] = <uint8_t>value
    if reg == 1 and value & 0x80:
        k = 0 if c.room.clocks else c.latched
        fxo_reset(c)
        c.latched = k
        c.soft_left = <int>c.p[XP_SOFT_RESET_MS]
    elif reg == 5:
        if value & 1 and not old & 1:
            if not c.link:
                chip_illegal(c.room, c.index, ILL_NO_LINK, reg, value)
    elif reg == 6:
        if old & 0x10 and not value & 0x10 and c.room.clocks and c.latched == 1:
            c.latched = 0
        if value & 0x08:
            c.dead = True
    elif reg == 17:
        if value & 0x08 and not old & 0x08 and c.reg[5] & 1 and c.hook_ms < 25:
            chip_illegal(c.room, c.index, ILL_OPE_EARLY, reg, value)
            c.opd = True                                # the surge of going off hook looks like an overload
        if not value & 0x08:
            c.opd = False
        if value & 0x40 and not old & 0x40 and c.closed:
            c.settle_left += <int>c.p[XP_ADC_CAL_MS]
    elif 45 <= reg < 53:
        c.hybrid_on = False
        for k in range(8):
            c.hybrid[k] = <float>((<int>c.reg[45 + k] ^ 0x80) - 0x80) / <float>128.0
            if c.reg[45 + k]:
                c.hybrid_on = True


cdef bint fxo_int_low(fxo_chip *c) noexcept nogil:
    """True while the chip pulls the common, active-low interrupt line down."""
    cdef bint active
    if c.reset or c.soft_left > 0 or not c.reg[2] & 0x80:
        return False
    active = (c.reg[4] & c.reg[3]) != 0 or (c.reg[44] & 0x0A) == 0x0A
    return active != ((c.reg[2] & 0x40) != 0)           # INTP set: the line rests low


cdef int fxo_byte(fxo_chip *c, int *byte) noexcept nogil:
    """Clock one byte through the chip: `byte` becomes what the next chip of the chain sees. Returns what this chip drives, or -1."""
    cdef int seen = byte[0], place, answer = -1
    if c.reset:
        chip_illegal(c.room, c.index, ILL_IN_RESET, -1, seen)
        return -1
    if c.at == 0:
        if not seen & 0x20 or seen & 0x10:
            if seen != 0xFF and seen != 0x00:
                chip_illegal(c.room, c.index, ILL_CONTROL_BYTE, -1, seen)
            return -1
        c.control = seen
        c.mine = (seen & 0x0F) == 0 or (seen & 0x80) != 0
        place = ((seen & 1) << 3 | (seen & 2) << 1 | (seen & 4) >> 1 | (seen & 8) >> 3) - 1
        place &= 15
        byte[0] = (seen & 0xF0) | (place & 1) << 3 | (place & 2) << 1 | (place & 4) >> 1 | (place & 8) >> 3
        c.at = 1
        return -1
    if c.at == 1:
        c.address = seen & 0x7F
        c.at = 2
        return -1
    c.at = 0
    if not c.mine:
        return -1
    if c.control & 0x40:
        answer = fxo_read(c, c.address)
        if c.p[XP_FAULT_REPLY] == 1:
            answer = -1
        elif c.p[XP_FAULT_REPLY] == 2:
            answer = 0
    elif c.p[XP_FAULT_REPLY] == 0:
        fxo_write(c, c.address, seen)
    return answer
