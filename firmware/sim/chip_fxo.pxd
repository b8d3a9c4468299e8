# Si3050 with Si3019: the register file. The line side (ring detector, hook, meters) is in chip_fxo_line.
from libc.stdint cimport int16_t, uint8_t

from firmware.sim.chip_base cimport chip_room, line_fact

# Parameters and faults, in the order of FXO_PARAMETERS.
cdef enum:
    XP_REVISION, XP_LINE_TYPE, XP_LINE_REVISION, XP_SOFT_RESET_MS, XP_LINK_MS, XP_RELOCK_ALONE, XP_ADC_CAL_MS, XP_RES_CAL_MS
    XP_RCALD_BIT, XP_THRESHOLD, XP_STEP_TAU_MS, XP_RDT_MS, XP_LVS_GAIN, XP_LVS_TAU_MS, XP_LCS_NOISE, XP_DROPOUT_MA
    XP_DROPOUT_LINK_MS, XP_OVERLOAD_MA, XP_MONITOR_OFFSET, XP_BILLING_DV, XP_TIP_GROUND
    XP_FAULT_REPLY, XP_FAULT_LINK, XP_FAULT_HOOK, XP_FAULT_CHATTER, XP_FAULT_HOOK_CLOSED, XP_COUNT

ctypedef struct fxo_chip:
    chip_room *room
    int index
    double p[XP_COUNT]
    uint8_t reg[64]
    bint reset                      # RESET held low
    # framing
    int at, control, address
    bint mine
    # system side
    int soft_left, link_ms
    int latched                     # 1: clocks were lost, 2: RESET was released without any; both need an init
    bint link, dead                 # dead: powered down with PDN, needs RESET
    # line side
    bint closed, audio, dropped, overload, opd
    int hook_ms, settle_left, fall_left, back_left, dropped_ms
    double milliamps, volts, lvs, lvs_state, step_state, last_dc
    int polarity
    bint ringing_p, ringing_n, was_p, was_n, had_fact
    int gap, confirm, since_valid, delay_left, rdt_left
    bint valid, validated
    # oracle memory
    bint told_loop, told_current, told_ring
    int told_polarity, quiet_ms
    # digital hybrid
    float hybrid[8]
    int16_t echo[8]
    int echo_at
    bint hybrid_on

cdef void fxo_init(fxo_chip *c, chip_room *room, int index) noexcept nogil
cdef void fxo_reset(fxo_chip *c) noexcept nogil
cdef void fxo_pin(fxo_chip *c, bint low) noexcept nogil
cdef void fxo_self_reset(fxo_chip *c) noexcept nogil
cdef int fxo_read(fxo_chip *c, int reg) noexcept nogil
cdef void fxo_write(fxo_chip *c, int reg, int value) noexcept nogil
cdef bint fxo_int_low(fxo_chip *c) noexcept nogil
cdef int fxo_byte(fxo_chip *c, int *byte) noexcept nogil
