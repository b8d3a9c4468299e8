# Si3210 / Si3215: the register file. The linefeed is in chip_fxs_line.
from libc.stdint cimport int64_t, uint8_t, uint16_t

from firmware.sim.chip_base cimport chip_room

# Parameters and faults, in the order of FXS_PARAMETERS.
cdef enum:
    SP_FAMILY, SP_REVISION, SP_PART, SP_BUSY_US, SP_CAL_MS, SP_AUTO_CAL_FAILS, SP_RISE_V_PER_MS, SP_DECAY_MS, SP_LEAK_MS, SP_FEED_OHMS
    SP_OVERHEAD_V, SP_RECTIFY, SP_MANUAL_98, SP_MANUAL_99, SP_OVERHEAT_MS, SP_SPIDC_LOST
    SP_FAULT_REPLY, SP_FAULT_NO_RISE, SP_FAULT_NO_FALL, SP_FAULT_CALIBRATION, SP_FAULT_ALARM, SP_FAULT_HOOK, SP_FAULT_LEAK, SP_COUNT

ctypedef struct fxs_chip:
    chip_room *room
    int index
    double p[SP_COUNT]
    uint8_t reg[128]
    uint16_t ind[128]               # by Si3210 numbers
    bint reset
    # framing: two bytes, or three with SPIDC
    int at, address
    bint chain, mine
    # indirect access
    bint armed_low, armed_high, busy, busy_write
    int busy_address
    int64_t busy_until              # -1: waits for clocks
    # supply and calibration
    double vbat
    bint dcdc_unchecked, calibrated, calibrating
    int cal_left, dccal_left, low_ms
    # linefeed
    int lfs
    bint alarm_open, tripped, lcr, rtp, raw
    double loop_filter, trip_filter, debounce, trip_debounce
    double power_q[6]
    double power_f[3]
    int hot_ms, ring_left
    bint ring_pause
    double ring_phase, ring_volts
    double milliamps, volts
    # oracle memory
    int told_feed, told_polarity, lifted_ms
    bint told_loop, told_ring, told_battery, told_alarm

cdef void fxs_init(fxs_chip *c, chip_room *room, int index) noexcept nogil
cdef void fxs_pin(fxs_chip *c, bint low) noexcept nogil
cdef void fxs_self_reset(fxs_chip *c) noexcept nogil
cdef int fxs_read(fxs_chip *c, int reg) noexcept nogil
cdef void fxs_write(fxs_chip *c, int reg, int value) noexcept nogil
cdef void fxs_settle(fxs_chip *c) noexcept nogil
cdef bint fxs_int_low(fxs_chip *c) noexcept nogil
cdef int fxs_byte(fxs_chip *c, int *byte) noexcept nogil
cdef int fxs_indirect(const fxs_chip *c, int address) noexcept nogil
