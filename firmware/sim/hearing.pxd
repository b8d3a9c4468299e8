from libc.stdint cimport int16_t

cdef enum:
    BLOCK = 80
    BANK = 8
    HISTORY = 1024


cdef class FskReceiver:
    cdef double mark_step, space_step, mark_angle, space_angle
    cdef double mark_i[7]
    cdef double mark_q[7]
    cdef double space_i[7]
    cdef double space_q[7]
    cdef double mi, mq, si, sq, clock, bit_time
    cdef int slot, state, bits, mark_run, quiet
    cdef unsigned int shift
    cdef bint line
    cdef bytearray message
    cdef bint collecting
    cdef readonly list messages
    cdef readonly int errors
    cdef int hear(self, const int16_t *data) except -1
    cdef int take_byte(self, int value) except -1


cdef class Ear:
    cdef int16_t *tape
    cdef readonly long long tape_length
    cdef long long tape_room, tape_limit
    cdef readonly long long tape_start
    cdef readonly bint recording
    cdef public bint listening
    cdef public bint wants_digits
    cdef public FskReceiver fsk
    cdef int16_t previous[BLOCK]
    cdef int bank_size
    cdef double bank_coefficient[BANK]
    cdef float bank_history[HISTORY][BANK]
    cdef float level_history[HISTORY]
    cdef long long last_block
    cdef public double loud_dbm0
    cdef readonly long long first_loud, last_loud, loud_start
    cdef readonly long long loud_blocks, quiet_run, loud_run
    cdef int digit_now, digit_seen, digit_hits, digit_misses
    cdef long long digit_start
    cdef readonly list digits
    cdef public bint news
    cdef int hear(self, const int16_t *data, long long block) except -1
    cdef void skip(self, long long block) noexcept
    cdef int find_digit(self, const int16_t *data, long long block) except -1
    cdef int keep(self, const int16_t *data) except -1
