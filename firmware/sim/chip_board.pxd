# A board of simulated line chips: two serial chains, PCM clocks, highway, and something plugged into each jack.
from libc.stdint cimport int16_t, int64_t, uint8_t

from firmware.sim.chip_base cimport chip_room, line_fact
from firmware.sim.chip_fxo cimport fxo_chip
from firmware.sim.chip_fxs cimport fxs_chip
from firmware.sim.chip_loop cimport phone_loop, trunk_loop
from firmware.sim.chip_pcm cimport pcm_highway
from firmware.sim.chip_spi cimport spi_bus

cdef enum:
    BOARD_FXO = 16
    BOARD_FXS = 8
    BUS_FXO = 0
    BUS_FXS = 1
    BUSES = 2
    EDGES = 64

ctypedef struct int_edges:
    bint low
    unsigned int written, taken
    int64_t us[EDGES]
    bint fell[EDGES]

ctypedef struct sim_board:
    chip_room room
    int fxo_count, fxs_count
    fxo_chip fxo[BOARD_FXO]
    fxs_chip fxs[BOARD_FXS]
    spi_bus bus[BUSES]
    int_edges edges[BUSES]
    pcm_highway highway
    trunk_loop trunk[BOARD_FXO]
    phone_loop phone[BOARD_FXS]
    bint fed_fxo[BOARD_FXO]     # facts of this jack come from outside, its loop model stands still
    bint fed_fxs[BOARD_FXS]
    line_fact fxo_fact[BOARD_FXO]
    line_fact fxs_fact[BOARD_FXS]
    double fxs_ring_ma[BOARD_FXS]

cdef void board_init(sim_board *b, int fxo_count, int fxs_count, double family, unsigned long long seed) noexcept nogil
cdef void board_transfer(sim_board *b, int bus, const uint8_t *out, uint8_t *back, int n) noexcept nogil
cdef void board_step(sim_board *b) noexcept nogil
cdef void board_clocks(sim_board *b, int pclk, int fsync) noexcept nogil
cdef void board_pin(sim_board *b, int bus, bint low) noexcept nogil
cdef void board_edges(sim_board *b) noexcept nogil
cdef unsigned int board_drive(const sim_board *b, int port) noexcept nogil


cdef class ChipBoard:
    cdef sim_board *b
    cdef double *place(self, str kind, int port, str name) except NULL
    cdef int check(self, str kind, int port) except -1
