# One chip select of the serial bus, with all chips of its chain and the faults of its wires.
from firmware.sim.chip_base cimport chip_room
from firmware.sim.chip_fxo cimport fxo_chip
from firmware.sim.chip_fxs cimport fxs_chip

# What a new assertion of the chip select does to a frame that is under way.
cdef enum:
    RESYNC_NEVER, RESYNC_FRAME, RESYNC_ALWAYS

# Parameters and faults, in the order of BUS_PARAMETERS.
cdef enum:
    BP_RESYNC, BP_BYTE_US, BP_IDLE, BP_ALL_FF, BP_ALL_00, BP_FLIP_OUT, BP_FLIP_IN, BP_SLIP, BP_SLIP_NEXT, BP_INT_STUCK, BP_COUNT

ctypedef struct spi_bus:
    chip_room *room
    fxo_chip *fxo                   # one of the two is NULL
    fxs_chip *fxs
    int count
    double p[BP_COUNT]
    long long bytes, cycles

cdef void spi_init(spi_bus *bus, chip_room *room, fxo_chip *fxo, fxs_chip *fxs, int count) noexcept nogil
cdef void spi_cycle(spi_bus *bus, const unsigned char *out, unsigned char *back, int n) noexcept nogil
cdef void spi_pin(spi_bus *bus, bint low) noexcept nogil
cdef bint spi_int_low(spi_bus *bus) noexcept nogil
