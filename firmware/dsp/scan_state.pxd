# The memory of the chip scanner: what it knows of each chip, what it sends, what the keeper of the chips is told.
#
# Ownership: *builder* fields belong to the thread that makes accesses (the tick with the world, the scanner thread on hardware),
# *decoder* fields to the scanner (`scan_busy` keeps its two possible threads apart). Words between threads are atomics of
# ring_segment.h; drives travel from the tick to the builder through `request`, which has one writer and one reader.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from firmware.dsp.abi cimport event_lane

cdef enum:
    SCAN_SLOTS = 16
    SCAN_CHAINS = 4
    SCAN_POLLS = 16
    SCAN_GUARDS = 16
    SCAN_BITS = 8
    SCAN_LEVELS = 8
    SCAN_WRITES = 6             # of one drive
    SCAN_DRIVES = 8
    SCAN_PENDING = 16
    SCAN_REQUESTS = 64
    SCAN_ACCESSES = 1022        # what a program of the world holds, 6 bytes at least each
    SCAN_BATCHES = 16           # WORLD_PROGRAMS
    SCAN_NOTES = 16             # pulse dialling ended, per batch
    FRAMING_SI3050 = 0
    FRAMING_SI321X = 1
    FRAMING_DAISY = 2
    CODING_UNSIGNED = 0
    CODING_SIGNED8 = 1
    CODING_MAGNITUDE6 = 2
    # facts of a plan
    FACT_RING_POSITIVE = 0
    FACT_RING_NEGATIVE = 1
    FACT_OFF_HOOK = 2
    FACT_DROP_OUT = 3
    FACT_CLOSED = 4
    FACT_RING_TRIP = 5
    FACT_VOLTS = 6
    FACT_MILLIAMPS = 7
    FACT_BATTERY = 8
    FACTS = 9
    # faults, in the order of hal.api.FaultKind
    FAULT_ONES = 0
    FAULT_ZEROS = 1
    FAULT_GARBAGE = 2
    FAULT_RESET = 3
    FAULT_SETTINGS = 4
    FAULT_LINK = 5
    FAULT_OVERLOAD = 6
    FAULT_HOOK = 7
    FAULT_POWER = 8
    FAULT_SUPPLY = 9
    FAULT_BUSY = 10
    FAULT_BUS = 11
    FAULT_CLOCKS = 12
    FAULTS = 13
    FAULT_QUEUE = 64
    # what an access is for
    ACCESS_WRITE = 0
    ACCESS_POLL = 1
    ACCESS_CHECK = 2            # after a hold: is the drive still there?
    # requests
    ASK_DRIVE = 0
    ASK_PULSE = 1
    # phases of pulse dialling
    PULSE_NONE = 0
    PULSE_BREAK = 1
    PULSE_MAKE = 2
    PULSE_BETWEEN = 3

cdef struct ScanPoll:
    uint16_t every
    uint8_t reg

cdef struct ScanGuard:
    uint8_t fault, reg, mask, value, some, unless, unless_reg, unless_mask, unless_value, confirm

cdef struct ScanBit:
    uint8_t fact, reg, mask

cdef struct ScanLevel:
    uint8_t fact, reg, coding
    int32_t micro

cdef struct ScanWrite:
    uint8_t reg, value, mask
    uint16_t after_ms

cdef struct ScanDrive:
    int known
    int count
    ScanWrite write[6]

cdef struct ScanTable:          # a plan, compiled
    int polls, guards, bits, levels
    ScanPoll poll[16]
    ScanGuard guard[16]
    ScanBit bit[8]
    ScanLevel level[8]
    ScanDrive drive[8]
    uint8_t says[128]           # bits of a register that drives decide
    int saids
    uint8_t said[48]            # those registers

cdef struct ScanPending:
    int64_t due                 # scan ms
    uint8_t reg, value, mask

cdef struct ScanPulse:
    int phase
    int64_t at                  # scan ms of the next change
    int64_t token
    int index, left
    int count, break_ms, make_ms, between_ms
    char digits[64]

cdef struct ScanRequest:
    int slot, op
    int code, hold_ms, then
    ScanPulse pulse

cdef struct ScanAccess:
    uint8_t ms, slot, chain, op, reg, bytes, reply, dials   # dials: pulses are under way
    uint8_t byte[3]

cdef struct ScanNote:           # pulse dialling ended
    int64_t token
    int32_t slot, ms, finished

cdef struct ScanBatch:          # the accesses of one program, or of one ms on hardware
    uint64_t block              # it was meant for (world)
    uint64_t number             # of the program (world)
    int count
    int notes
    ScanAccess access[1022]
    ScanNote note[16]

cdef struct ScanChip:
    int used                    # before start
    int kind                    # SCAN_FXO, SCAN_FXS
    int chain, framing, position
    ScanTable table
    uint32_t held               # hold_chip
    # builder
    uint8_t shadow[128]         # what the registers of drives hold
    int standing                # the code that stands, -1: not known yet
    int code                    # the code of now
    int64_t until               # scan ms at which `then` follows, -1 = none
    int then
    int pendings
    ScanPending pending[16]
    ScanPulse pulse
    int was_held
    int64_t poll_due[16]        # scan ms + slot from which on each register is read next: a multiple of its period
    uint64_t carried            # the last batch that has accesses to it, + 1
    # decoder -> builder
    uint32_t tripped
    uint32_t rewrite
    # builder -> anybody
    int32_t told                # standing, or -1 while a hold or pulses run
    # decoder
    uint8_t value[128]          # of the scan at hand
    uint32_t have[4]            # which of them
    int32_t fact[9]             # micro units, bits 0 or 1; what held last
    int64_t fact_at[9]          # engine ms of its reading, -1 = never
    int seen[16]                # how often in a row each guard was broken
    int standing_fault[13]
    int64_t flagged_at[13]
    int64_t verified_at         # engine ms of the last scan that proved a chip speaks
    int leak                    # garbage: 3 up, 1 down
    int64_t differs_since       # the drive is not what was told, -1 = it is
    int link_down
    uint64_t garbage

cdef struct ScanFault:
    int32_t slot, fault, reg, value

cdef struct Scan:
    int chips
    ScanChip chip[16]
    # tick -> builder
    uint64_t asked
    uint64_t taken
    ScanRequest request[64]
    # builder
    uint32_t build_turn         # odd while accesses are made
    int64_t ms                  # scan ms: what durations are measured in
    int64_t last_at             # engine ms
    ScanBatch batch[16]
    uint64_t decoded            # programs
    # hardware chains
    int spi[4]                  # descriptors, -1 = none
    uint32_t speed_hz[4]
    uint32_t chain_lock[4]
    int (*message[4])(int fd, const uint8_t* out, uint8_t* back, int n, uint32_t speed_hz) noexcept nogil
    int taken_chain[4]          # somebody else is at this chain, or there is none: nothing is sent to its chips
    uint32_t failed[4]          # messages in a row
    # counters
    uint64_t scans, accesses, bytes, late, skipped, messages, bus_ns, bus_errors, faults_lost

cdef struct Hardware:           # what the keeper of the chips waits for
    uint32_t attached           # it has called once: a virtual clock waits for it
    uint32_t inside
    uint32_t bell               # futex: raised for the waiting keeper
    uint32_t progress           # futex: raised for the waiting tick
    uint32_t wake
    int64_t until
    int64_t now                 # engine ms that was reached
    int slow
    uint64_t fault_head
    uint64_t fault_tail
    ScanFault fault[64]
    event_lane lane
