# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One chip select with its daisy chain: bytes in, bytes out, and the faults that wires have.

Theory of operation. Every byte goes through all chips of the chain in order, each passing on what it shall (chip_fxo, chip_fxs); SDO
is the wired AND of what chips drive, `idle` (0xFF, a pull-up) when none does. `byte_us` passes per byte. One `spi_cycle` is one assertion
of the chip select. Its falling edge always restarts the bits of a byte; whether it restarts a frame is `resync`: never, when
the cycle has more than one byte (so that a frame may be sent as one-byte cycles, and a whole-frame cycle always falls into step; the
default), or always.
Faults: all 0xFF and all 0x00 replies, one flipped bit per byte with a probability (towards the chips, or back), bytes that the chips
do not see (`slip` as a probability, `slip_next` as a count). They strike the wire, so chips and oracle stay honest.
"""

from libc.string cimport memset

from firmware.sim.chip_base cimport ILL_CONTENTION, chip_chance, chip_dice, chip_illegal
from firmware.sim.chip_fxo cimport fxo_byte, fxo_int_low, fxo_pin
from firmware.sim.chip_fxs cimport fxs_byte, fxs_int_low, fxs_pin

BUS_PARAMETERS = ("resync", "byte_us", "idle", "all_ff", "all_00", "flip_out", "flip_in", "slip", "slip_next", "int_stuck")
assert len(BUS_PARAMETERS) == BP_COUNT


cdef void spi_init(spi_bus *bus, chip_room *room, fxo_chip *fxo, fxs_chip *fxs, int count) noexcept nogil:
    memset(bus, 0, sizeof(spi_bus))
    bus.room = room
    bus.fxo = fxo
    bus.fxs = fxs
    bus.count = count
    bus.p[BP_RESYNC] = RESYNC_FRAME
    bus.p[BP_BYTE_US] = 5                               # 2 MHz and the pause between bytes
    bus.p[BP_IDLE] = 0xFF


cdef inline int flipped(chip_room *room, int byte, double chance) noexcept nogil:
    if chance > 0 and chip_chance(room) < chance:
        return byte ^ (1 << (chip_dice(room) >> 20 & 7))
    return byte


cdef void spi_cycle(spi_bus *bus, const unsigned char *out, unsigned char *back, int n) noexcept nogil:
    """One assertion of the chip select over `n` bytes."""
    cdef int i, k, byte, driven, wire, drivers
    cdef bint lost
    bus.cycles += 1
    if bus.p[BP_RESYNC] == RESYNC_ALWAYS or (bus.p[BP_RESYNC] == RESYNC_FRAME and n > 1):
        for k in range(bus.count):
            if bus.fxo != NULL:
                bus.fxo[k].at = 0
            else:
                bus.fxs[k].at = 0
    for i in range(n):
        byte = flipped(bus.room, out[i], bus.p[BP_FLIP_OUT])
        wire = -1
        drivers = 0
        lost = bus.p[BP_SLIP_NEXT] > 0
        if lost:
            bus.p[BP_SLIP_NEXT] -= 1
        elif bus.p[BP_SLIP] > 0:
            lost = chip_chance(bus.room) < bus.p[BP_SLIP]
        if not lost:
            for k in range(bus.count):
                driven = fxo_byte(&bus.fxo[k], &byte) if bus.fxo != NULL else fxs_byte(&bus.fxs[k], &byte)
                if driven >= 0:
                    wire = driven if wire < 0 else wire & driven
                    drivers += 1
        if drivers > 1:
            chip_illegal(bus.room, -1, ILL_CONTENTION, drivers, wire)
        if wire < 0:
            wire = <int>bus.p[BP_IDLE]
        wire = flipped(bus.room, wire, bus.p[BP_FLIP_IN])
        if bus.p[BP_ALL_FF] != 0:
            wire = 0xFF
        elif bus.p[BP_ALL_00] != 0:
            wire = 0x00
        back[i] = <unsigned char>wire
        bus.bytes += 1
        bus.room.us += <long long>bus.p[BP_BYTE_US]


cdef void spi_pin(spi_bus *bus, bint low) noexcept nogil:
    """The RESET line of the chain."""
    cdef int k
    for k in range(bus.count):
        if bus.fxo != NULL:
            fxo_pin(&bus.fxo[k], low)
        else:
            fxs_pin(&bus.fxs[k], low)


cdef bint spi_int_low(spi_bus *bus) noexcept nogil:
    """True while any chip of the chain holds the interrupt line low."""
    cdef int k
    if bus.p[BP_INT_STUCK] != 0:
        return True
    for k in range(bus.count):
        if fxo_int_low(&bus.fxo[k]) if bus.fxo != NULL else fxs_int_low(&bus.fxs[k]):
            return True
    return False
