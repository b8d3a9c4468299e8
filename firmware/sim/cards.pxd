# The line cards of the simulated box: chips, relay and PCM clocks between the wires and the media process.
from libc.stdint cimport int16_t, uint32_t, uint64_t

from firmware.sim.chip_base cimport line_fact
from firmware.sim.chip_board cimport BOARD_FXO, BOARD_FXS, sim_board
from firmware.sim.seam cimport world_segment
from firmware.sim.wire cimport wire_jack

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_t:
        pass

# The wire functions as C sees them: the first argument is a wire that somebody else keeps alive.
ctypedef void (*advance_fn)(void *wire) noexcept nogil
ctypedef void (*trunk_fn)(void *wire, const wire_jack *jack, line_fact *fact) noexcept nogil
ctypedef double (*phone_fn)(void *wire, const wire_jack *jack, line_fact *fact) noexcept nogil
ctypedef bint (*closed_fn)(void *wire) noexcept nogil
ctypedef void (*joined_fn)(void *phone, void *line) noexcept nogil

ctypedef struct program_cursor:
    uint64_t number
    uint32_t at

ctypedef struct card_rack:
    world_segment *seam
    sim_board *board
    void *trunk[BOARD_FXO]
    void *phone[BOARD_FXS]
    int chains
    int bus[4]                      # of each chain
    int pclk
    # lifeline
    int fxo, fxs                    # chips of the pair, -1: the board has none
    bint energised                  # what the relay is told
    int welded                      # -1: the contacts move; else where they stick
    # clocks
    bint clocks, clocks_dead        # asked for; fault
    int known_pid                   # a media process that was dead already when clocks were asked for
    # programs
    program_cursor cursor[16]
    int cursors
    # counters
    uint64_t accesses, bytes, mails, refused
    # mail
    bint stop, started
    int owner
    pthread_t thread
    pthread_mutex_t lock

cdef void rack_init(card_rack *r, world_segment *seam, sim_board *board) noexcept nogil
cdef int rack_start(card_rack *r) noexcept nogil
cdef void rack_stop(card_rack *r) noexcept nogil
cdef void rack_hold(card_rack *r) noexcept nogil
cdef void rack_release(card_rack *r) noexcept nogil
cdef void rack_ms(card_rack *r, int ms, bint passing) noexcept nogil
cdef bint rack_joined(const card_rack *r) noexcept nogil
cdef bint rack_contacts(const card_rack *r) noexcept nogil
cdef void rack_clocks(card_rack *r) noexcept nogil
cdef void programs_begin(card_rack *r) noexcept nogil
cdef void programs_run(card_rack *r, int ms) noexcept nogil
cdef void programs_end(card_rack *r, uint64_t block) noexcept nogil
