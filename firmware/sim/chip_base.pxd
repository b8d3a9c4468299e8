# What all simulated line chips share: the room they stand in (time, clocks, dice) and the two logs of the oracle.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t

cdef extern from "../dsp/world_segment.h":
    ctypedef struct line_fact:
        int16_t dc_dv
        int16_t current
        int16_t ac_dv
        int16_t ring_dc

cdef enum:
    NOTES = 4096
    FXS_BASE = 100          # chip numbers in the logs: FXO n is n, FXS n is 100 + n, a board line is -1

# Illegal accesses, in the order of ILLEGAL.
cdef enum:
    ILL_UNKNOWN, ILL_READ_ONLY, ILL_RESERVED, ILL_IN_RESET, ILL_IN_SOFT_RESET, ILL_CONTROL_BYTE, ILL_CONTENTION
    ILL_NO_CLOCKS, ILL_BAD_CLOCKS, ILL_NO_LINK, ILL_PDN, ILL_OPE_EARLY, ILL_BUSY, ILL_HALF_PAIR, ILL_INDIRECT
    ILL_RING_NO_BATTERY, ILL_CAL_IN_USE, ILL_CAL_NO_POWER, ILL_CAL_UNFLUSHED, ILL_DCDC_UNCHECKED, ILL_OVERHEATED
    ILL_SLOT_CLASH, ILL_SLOT_EDGE, ILL_SLOT_OUTSIDE, ILL_RING_INTO_LIFTED, ILL_KINDS

# Electrical history, in the order of HISTORY.
cdef enum:
    HIS_LOOP, HIS_CURRENT, HIS_POLARITY, HIS_LINK, HIS_FEED, HIS_RING, HIS_BATTERY, HIS_ALARM, HIS_RESET, HIS_CLOCKS, HIS_KINDS

ctypedef struct chip_note:
    int64_t us
    int16_t chip, kind
    int32_t a, b

ctypedef struct chip_log:
    uint64_t total
    uint64_t counts[32]
    chip_note notes[NOTES]

ctypedef struct chip_room:
    int64_t us, ms          # us runs ahead of ms while bytes pass within a millisecond
    int pclk, fsync         # Hz; 0 while the PCM stream is closed
    bint clocks             # PCLK is one of the allowed rates and FSYNC is 8 kHz
    uint64_t dice
    chip_log illegal, history

cdef void chip_illegal(chip_room *room, int chip, int kind, int a, int b) noexcept nogil
cdef void chip_history(chip_room *room, int chip, int kind, int a, int b) noexcept nogil
cdef uint64_t chip_dice(chip_room *room) noexcept nogil
cdef double chip_chance(chip_room *room) noexcept nogil
cdef bint chip_clocks(int pclk, int fsync) noexcept nogil
