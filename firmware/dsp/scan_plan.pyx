# cython: language_level=3
"""Scan plans compiled into C tables (L2).

Theory of operation. A plan is plain data of another package (`hal.scan.ScanPlan`, read by its attribute names): which registers to poll
and how often, which values cannot be true, what bits and levels mean, and which writes a drive stands for. Here each becomes a row of
a C table, so that a scan runs without Python. Everything that can be wrong with a plan is found here, before the engine starts.
A guard that is polled often must be broken in three scans in a row before it is a fault, a rare one twice: a flipped bit is none.
`base` holds the registers of which a drive writes some bits only, and those that tell which drive stands already (attach).
"""
from libc.string cimport memset

from firmware.dsp.scan_state cimport *
from firmware.dsp.state cimport SCAN_FXO, SCAN_FXS

FRAMINGS = ("si3050", "si321x", "si321x-daisy")
POSITIONS = (16, 1, 8)
CODINGS = ("unsigned", "signed8", "sign-magnitude6")
FACT_NAMES = ("ring_positive", "ring_negative", "off_hook", "drop_out", "closed", "ring_trip", "volts", "milliamps", "battery_volts")
FAULT_NAMES = ("all-ones", "all-zeros", "garbage", "chip-reset", "settings", "link", "overload", "hook", "power-alarm", "supply", "busy", "bus",
               "clocks")
KINDS = {"fxo": SCAN_FXO, "fxs": SCAN_FXS}


cdef int _place(object value, tuple names, str what) except -1:
    if value not in names:
        raise ValueError(f"{what} {value!r} is not known: one of {', '.join(names)}")
    return names.index(value)


cdef int _byte(object value, str what, int most=255) except -1:
    if not 0 <= value <= most:
        raise ValueError(f"{what} is {value}, must be 0 to {most}")
    return value


cdef int _room(object rows, int most, str what) except -1:
    if len(rows) > most:
        raise ValueError(f"the plan has {len(rows)} {what}, at most {most} fit")
    return len(rows)


cdef int _drives(ScanTable* t, object drives) except -1:
    cdef ScanDrive* d
    cdef int i
    for code, writes in drives.items():
        d = &t.drive[_byte(int(code), "drive code", SCAN_DRIVES - 1)]
        d.known = 1
        d.count = _room(writes, SCAN_WRITES, "writes of a drive")
        for i, write in enumerate(writes):
            d.write[i].reg = _byte(write.register, "register", 127)
            d.write[i].value = _byte(write.value, "value")
            d.write[i].mask = _byte(write.mask, "mask")
            d.write[i].after_ms = _byte(write.after_ms, "after_ms", 1000)
            t.says[d.write[i].reg] |= d.write[i].value & d.write[i].mask
    for i in range(128):
        if t.says[i]:
            t.said[t.saids] = i
            t.saids += 1
    return 0


cdef int _table(ScanTable* t, object plan) except -1:
    cdef int i
    memset(t, 0, sizeof(ScanTable))
    every = {}
    t.polls = _room(plan.polls, SCAN_POLLS, "polls")
    for i, poll in enumerate(plan.polls):
        t.poll[i].reg = _byte(poll.register, "register", 127)
        t.poll[i].every = _byte(poll.every, "every", 1000)
        if not poll.every:
            raise ValueError(f"register {poll.register} is polled every 0 scans")
        every[poll.register] = poll.every
    t.guards = _room(plan.guards, SCAN_GUARDS, "guards")
    for i, guard in enumerate(plan.guards):
        t.guard[i].fault = _place(guard.fault, FAULT_NAMES, "fault")
        t.guard[i].reg = _byte(guard.register, "register", 127)
        t.guard[i].mask = _byte(guard.mask, "mask")
        t.guard[i].value = _byte(guard.value, "value")
        t.guard[i].some = bool(guard.some)
        t.guard[i].confirm = 2 if every.get(guard.register, 1) > 16 else 3
        if guard.unless is not None:
            t.guard[i].unless = 1
            t.guard[i].unless_reg, t.guard[i].unless_mask, t.guard[i].unless_value = guard.unless
    t.bits = _room(plan.bits, SCAN_BITS, "bits")
    for i, bit in enumerate(plan.bits):
        t.bit[i].fact = _place(bit.fact, FACT_NAMES, "fact")
        t.bit[i].reg = _byte(bit.register, "register", 127)
        t.bit[i].mask = _byte(bit.mask, "mask")
    t.levels = _room(plan.levels, SCAN_LEVELS, "levels")
    for i, level in enumerate(plan.levels):
        t.level[i].fact = _place(level.fact, FACT_NAMES, "fact")
        t.level[i].reg = _byte(level.register, "register", 127)
        t.level[i].coding = _place(level.coding, CODINGS, "coding")
        t.level[i].micro = level.micro
    return _drives(t, plan.drives)


cdef int _stands(const ScanTable* t, const ScanDrive* d, object base) except -1:
    """Whether the registers of `base` are what this drive leaves behind."""
    cdef int i, k, last
    cdef uint8_t said
    if not d.known or not d.count:
        return 0
    for i in range(d.count):
        last = 1
        for k in range(i + 1, d.count):
            last = last and d.write[k].reg != d.write[i].reg
        if not last or d.write[i].mask != 0xFF:
            continue            # single bits are protection and the like: what feed or hook are is written whole
        said = t.says[d.write[i].reg]
        if d.write[i].reg not in base or (base[d.write[i].reg] ^ d.write[i].value) & said:
            return 0
    return 1


cdef object scan_compile(Scan* s, int slot, str kind, object plan, int chain, str framing, int position, object base):
    """Take a chip into the scan; ValueError names what is wrong. Nothing is changed then."""
    cdef ScanTable t
    cdef ScanChip* c
    cdef int i, k, code, how
    if not 0 <= slot < SCAN_SLOTS:
        raise ValueError(f"slot is {slot}, must be 0 to {SCAN_SLOTS - 1}")
    if kind not in KINDS:
        raise ValueError(f"a port is fxo or fxs, not {kind!r}")
    how = _place(framing, FRAMINGS, "framing")
    _byte(chain, "chain", SCAN_CHAINS - 1)
    _byte(position, "position", POSITIONS[how] - 1)
    _table(&t, plan)
    for code in range(SCAN_DRIVES):
        for i in range(t.drive[code].count):
            if t.drive[code].write[i].mask != 0xFF and t.drive[code].write[i].reg not in base:
                raise ValueError(f"slot {slot}: a drive changes some bits of register {t.drive[code].write[i].reg}, give its value in base")
    c = &s.chip[slot]
    if not c.used:
        s.chips += 1
    memset(c, 0, sizeof(ScanChip))
    c.table = t
    c.kind = KINDS[kind]
    c.chain = chain
    c.framing = how
    c.position = position
    for reg, value in base.items():
        c.shadow[_byte(reg, "register", 127)] = _byte(value, "value")
    c.standing = -1
    for code in range(SCAN_DRIVES):
        if c.standing < 0 and _stands(&t, &t.drive[code], base):
            c.standing = code
    c.code = c.told = c.standing
    c.until = -1
    c.differs_since = -1
    for k in range(t.polls):
        c.poll_due[k] = (slot + t.poll[k].every - 1) // t.poll[k].every * t.poll[k].every
    for k in range(FACTS):
        c.fact_at[k] = -1
    c.used = 1
    return c.standing


cdef dict scan_figures(Scan* s):
    """Counters since start."""
    return {
        "scans": s.scans, "accesses": s.accesses, "bytes": s.bytes, "late": s.late, "skipped": s.skipped, "messages": s.messages, "bus_us": s.bus_ns // 1000,
        "bus_errors": s.bus_errors, "garbage": {slot: s.chip[slot].garbage for slot in range(SCAN_SLOTS) if s.chip[slot].used},
    }
