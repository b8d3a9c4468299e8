# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What came back from the line chips: guards, facts, and what the detectors of the lines are told (L2).

Theory of operation. Replies are grouped into scans, the reads of one chip in one ms. Each is judged as `hal.scan.facts_of` does: a guard
whose register was read must hold (`unless` another register of the same scan says that it does not count); a scan that breaks a
"garbage" guard gives no facts at all, the facts that held go on to hold, and is counted. Registers that were not read say nothing.
Faults go to the keeper (`hardware_flag`) when they were seen a few times in a row, and again every 100 ms while they stand. Garbage leaks: three
up for a bad scan, one down for a good one, so that a flipped bit now and then is no fault and a chain out of step is one.
A guard that some bit is set proves that a chip speaks. A loop counts as changed only when such a proof came after the change: a data line that
fell to zero looks like a telephone that hung up, until the next proof is asked for.
While the isolation link of an FXO chip is down, its voltage and current read zero and are not believed.
The chip debounces the loop closure itself (register 69: 5 ms); instants are those of the edge on the line.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from firmware.dsp.abi cimport *
from firmware.dsp.emit cimport emit_from
from firmware.dsp.hardware cimport hardware_flag
from firmware.dsp.scan_build cimport scan_wanted
from firmware.dsp.scan_plan cimport scan_compile
from firmware.dsp.scan_plan import FACT_NAMES, FAULT_NAMES
from firmware.dsp.scan_state cimport *
from firmware.dsp.scanner cimport line_fxo, line_fxs
from firmware.dsp.state cimport *

cdef enum:
    AGAIN_MS = 100
    DIFFERS_MS = 100
    LEAK_UP = 3
    LEAK_FLAG = 9
    LEAK_MOST = 30
    LOOP_LAG_MS = 5


cdef inline int _has(const ScanChip* c, int reg) noexcept nogil:
    return (c.have[reg >> 5] >> (reg & 31)) & 1


cdef void _flag(EngineState* e, int slot, ScanChip* c, int fault, int reg, int value, int64_t at) noexcept nogil:
    if c.standing_fault[fault] and at - c.flagged_at[fault] < AGAIN_MS:
        return
    c.standing_fault[fault] = 1
    c.flagged_at[fault] = at
    hardware_flag(e, slot, fault, reg, value)


cdef int _silence(const ScanChip* c, int reg) noexcept nogil:
    """Which kind of garbage: nothing but ones, nothing but zeros, or else."""
    cdef int i, all_ones = 1, all_zeros = 1
    for i in range(128):
        if _has(c, i):
            all_ones = all_ones and c.value[i] == 0xFF
            all_zeros = all_zeros and c.value[i] == 0
    return FAULT_ONES if all_ones else (FAULT_ZEROS if all_zeros else FAULT_GARBAGE)


cdef inline int _broken(const ScanChip* c, const ScanGuard* g) noexcept nogil:
    cdef int bits
    if g.unless and _has(c, g.unless_reg) and c.value[g.unless_reg] & g.unless_mask == g.unless_value:
        return 0
    bits = c.value[g.reg] & g.mask
    return not bits if g.some else bits != g.value


cdef int _guards(EngineState* e, int slot, ScanChip* c, int64_t at) noexcept nogil:
    """Judge a scan; 0 = garbage."""
    cdef const ScanGuard* g
    cdef int i, broken, proven = 0
    for i in range(c.table.guards):
        g = &c.table.guard[i]
        if g.fault != FAULT_GARBAGE or not _has(c, g.reg):
            continue
        proven |= g.some
        if _broken(c, g):
            c.garbage += 1
            c.leak = c.leak + LEAK_UP if c.leak < LEAK_MOST else c.leak
            if c.leak >= LEAK_FLAG:
                _flag(e, slot, c, _silence(c, g.reg), g.reg, c.value[g.reg], at)
            return 0
    if proven:
        c.verified_at = at
        c.leak -= c.leak > 0
    if not c.leak:
        c.standing_fault[FAULT_ONES] = c.standing_fault[FAULT_ZEROS] = c.standing_fault[FAULT_GARBAGE] = 0
    for i in range(c.table.guards):
        g = &c.table.guard[i]
        if g.fault == FAULT_GARBAGE or not _has(c, g.reg):
            continue
        broken = _broken(c, g)
        if g.fault == FAULT_LINK:
            c.link_down = broken
        if not broken:
            if c.seen[i] >= g.confirm:
                c.standing_fault[g.fault] = 0
            c.seen[i] = 0
            continue
        c.seen[i] += 1
        if c.seen[i] >= g.confirm:
            _flag(e, slot, c, g.fault, g.reg, c.value[g.reg], at)
    return 1


cdef int32_t _level(const ScanLevel* l, int value) noexcept nogil:
    if l.coding == CODING_SIGNED8:
        value = value - 256 if value & 0x80 else value
    elif l.coding == CODING_MAGNITUDE6:
        value = -(value & 0x3F) if value & 0x40 else value & 0x3F
    return value * l.micro


cdef void _facts(ScanChip* c, int64_t at) noexcept nogil:
    cdef int i
    for i in range(c.table.bits):
        if _has(c, c.table.bit[i].reg):
            c.fact[c.table.bit[i].fact] = (c.value[c.table.bit[i].reg] & c.table.bit[i].mask) != 0
            c.fact_at[c.table.bit[i].fact] = at
    for i in range(c.table.levels):
        if not _has(c, c.table.level[i].reg):
            continue
        if c.link_down and c.table.level[i].fact <= FACT_MILLIAMPS:
            continue
        c.fact[c.table.level[i].fact] = _level(&c.table.level[i], c.value[c.table.level[i].reg])
        c.fact_at[c.table.level[i].fact] = at


cdef void _drive_stands(EngineState* e, int slot, ScanChip* c, int check, int dials, int64_t at) noexcept nogil:
    """Whether hook or feed are what they were told to be."""
    cdef int i, k, wanted, differs = 0, seen = 0
    for k in range(c.table.saids):
        i = c.table.said[k]
        if not _has(c, i):
            continue
        wanted = scan_wanted(c, i)
        if wanted < 0:
            continue
        seen = 1
        if c.value[i] & c.table.says[i] != wanted:
            differs = 1
            if check:
                store32(&c.rewrite, 1)
            elif c.differs_since >= 0 and at - c.differs_since >= DIFFERS_MS:
                _flag(e, slot, c, FAULT_HOOK if c.kind == SCAN_FXO else FAULT_SETTINGS, i, c.value[i], at)
    if not seen:
        return
    if not differs or check or dials:
        if c.differs_since >= 0:
            c.standing_fault[FAULT_HOOK] = c.standing_fault[FAULT_SETTINGS] = 0
        c.differs_since = -1
    elif c.differs_since < 0:
        c.differs_since = at


cdef void _scan(EngineState* e, int slot, ScanChip* c, int check, int dials, int64_t at) noexcept nogil:
    cdef Line* n = &e.line[slot]
    cdef int sign, kind
    if not _guards(e, slot, c, at):
        if check:
            store32(&c.rewrite, 1)      # nobody can tell: say it again
        return
    _facts(c, at)
    _drive_stands(e, slot, c, check, dials, at)
    kind = loadi32(&n.kind)
    if kind != c.kind:
        return
    if kind == SCAN_FXO:
        sign = c.fact[FACT_RING_POSITIVE] - c.fact[FACT_RING_NEGATIVE]
        line_fxo(e, slot, n, sign, c.fact[FACT_VOLTS] // 100000 if c.fact_at[FACT_VOLTS] >= 0 else 0, c.fact_at[FACT_VOLTS] >= 0,
                 c.fact[FACT_MILLIAMPS] // 100, c.fact[FACT_OFF_HOOK], dials, at)
        return
    if line_fxs(e, slot, n, c.fact[FACT_CLOSED], c.fact[FACT_RING_TRIP], c.fact[FACT_VOLTS] // 100000, c.fact_at[FACT_VOLTS] >= 0,
                c.fact[FACT_MILLIAMPS] // 100, c.fact_at[FACT_MILLIAMPS], c.verified_at, LOOP_LAG_MS, at):
        store32(&c.tripped, 1)


cdef void scan_decode(EngineState* e, ScanBatch* b, int64_t at) noexcept nogil:
    """Decoder: the replies of a batch whose first ms is engine ms `at`."""
    cdef const ScanAccess* a
    cdef ScanChip* c
    cdef pay_played d
    cdef int i = 0, k, slot, ms, reads, check, dials
    while i < b.count:
        slot = b.access[i].slot
        ms = b.access[i].ms
        c = &e.scan.chip[slot]
        c.have[0] = c.have[1] = c.have[2] = c.have[3] = 0
        reads = check = dials = 0
        while i < b.count and b.access[i].slot == slot and b.access[i].ms == ms:
            a = &b.access[i]
            if a.op != ACCESS_WRITE:
                c.value[a.reg] = a.reply
                c.have[a.reg >> 5] |= <uint32_t>1 << (a.reg & 31)
                reads = 1
                check |= a.op == ACCESS_CHECK
                dials |= a.dials
            i += 1
        if reads:
            _scan(e, slot, c, check, dials, at + ms)
    for k in range(b.notes):
        memset(&d, 0, sizeof(d))
        d.token = b.note[k].token
        d.finished = b.note[k].finished
        emit_from(e, &e.scan_lane, EVT_PULSE_SENT, b.note[k].slot, at + b.note[k].ms, &d, sizeof(d))


def judge(str kind, plan, values):
    """What the tables make of one scan, as `hal.scan.facts_of` gives it: for the test that compares the two, and for looking at a board.

    `values`: register -> value of the registers that were read.
    """
    cdef Scan* s = <Scan*>calloc(1, sizeof(Scan))
    cdef ScanChip* c
    cdef int i
    if s == NULL:
        raise MemoryError("no memory for a scan")
    try:
        base = {write.register: 0 for writes in plan.drives.values() for write in writes}
        scan_compile(s, 0, kind, plan, 0, "si3050" if kind == "fxo" else "si321x", 0, base)
        c = &s.chip[0]
        for register, value in values.items():
            c.value[<int>register & 127] = value
            c.have[(<int>register & 127) >> 5] |= <uint32_t>1 << (register & 31)
        faults = []
        for i in range(c.table.guards):
            name = FAULT_NAMES[c.table.guard[i].fault]
            if _has(c, c.table.guard[i].reg) and _broken(c, &c.table.guard[i]) and name not in faults:
                faults.append(name)
        if "garbage" in faults:
            return ("garbage",), {}
        _facts(c, 0)
        return tuple(faults), {FACT_NAMES[i]: c.fact[i] for i in range(FACTS) if c.fact_at[i] >= 0}
    finally:
        free(s)
