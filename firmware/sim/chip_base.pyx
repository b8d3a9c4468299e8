# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The room simulated line chips stand in: time, PCM clocks, dice, and the oracle's two logs.

Theory of operation. Chips are C structures that share one `chip_room`. Time is in microseconds (bytes on the bus) and in whole
milliseconds (everything electrical). The oracle is two rings of the newest 4096 notes with counts that never wrap: *illegal* holds
every access that a data sheet forbids, with time, chip, register and value; *history* holds what happened on the copper (loop,
current, polarity, feed, ringing, battery) and is written from electrical state, never from what a register says.
Invariant: dice are a seeded xorshift, so one seed gives one run; nothing here allocates or needs the interpreter.
"""

ILLEGAL = (
    "unknown-register", "read-only", "reserved-bits", "in-reset", "in-soft-reset", "bad-control-byte", "contention",
    "reset-released-without-clocks", "clock-rate", "hook-without-link", "powered-down", "overload-protect-early", "indirect-busy",
    "indirect-half-pair", "indirect-address", "ring-without-battery", "calibration-in-use", "calibration-without-power",
    "calibration-unflushed", "dc-dc-restarted-unchecked", "overheated", "slot-clash", "slot-edge", "slot-outside-frame",
    "ring-into-lifted-phone",
)
HISTORY = ("loop", "current", "polarity", "link", "feed", "ring", "battery", "alarm", "reset", "clocks")
assert len(ILLEGAL) == ILL_KINDS and len(HISTORY) == HIS_KINDS


cdef inline void note(chip_log *log, int64_t us, int chip, int kind, int a, int b) noexcept nogil:
    cdef chip_note *entry = &log.notes[log.total % NOTES]
    entry.us = us
    entry.chip = <int16_t>chip
    entry.kind = <int16_t>kind
    entry.a = a
    entry.b = b
    log.counts[kind] += 1
    log.total += 1


cdef void chip_illegal(chip_room *room, int chip, int kind, int a, int b) noexcept nogil:
    """Note an access that a data sheet forbids; `a` is the register, `b` the value, -1 where there is none."""
    note(&room.illegal, room.us, chip, kind, a, b)


cdef void chip_history(chip_room *room, int chip, int kind, int a, int b) noexcept nogil:
    """Note something that happened on the copper: `a` is the new state, `b` a measure (0.1 mA or 0.1 V)."""
    note(&room.history, room.us, chip, kind, a, b)


cdef uint64_t chip_dice(chip_room *room) noexcept nogil:
    cdef uint64_t x = room.dice
    x ^= x << 13
    x ^= x >> 7
    x ^= x << 17
    room.dice = x
    return x


cdef double chip_chance(chip_room *room) noexcept nogil:
    """A number in 0..1."""
    return <double>(chip_dice(room) >> 11) / 9007199254740992.0


cdef bint chip_clocks(int pclk, int fsync) noexcept nogil:
    """True for a PCLK that the chips lock to with a frame of exactly 8 kHz."""
    if fsync != 8000:
        return False
    return (pclk == 256000 or pclk == 512000 or pclk == 768000 or pclk == 1024000 or pclk == 1536000 or pclk == 2048000
            or pclk == 4096000 or pclk == 8192000)
