# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What is sent to the line chips in each millisecond: drives, dial pulses, polls (L2).

Theory of operation. Drives come from the tick as requests and are taken at the start of a batch (`scan_take`); `scan_build` then makes
the accesses of one ms after the other. Durations count *scan milliseconds*, one per scan, so a hold or a pulse has exactly its length
on the line whatever the processes do meanwhile. A drive becomes its plan's writes, each at its own ms; a masked write keeps the bits of
`shadow`, what the register held. A new drive cancels what is left of the one before: its late writes, a hold, pulses.
Within a ms a chip's writes go first, then the polls that are due (when `ms + slot` reached a multiple of `every`: registers of slower periods are read together with
the faster ones, and the chips of a chain take turns with their long scans).
A chip that is held gets nothing, while its times go on; when it is given back the registers of its drive are read first, and the drive is
repeated if they differ (`ACCESS_CHECK`).
Frames are those of `hal.scan.read_frames` and `write_frames`: one byte under each chip select. One flipped bit makes a write of a read.
So the byte that is sent while the reply comes is what the register holds (what the drive left in it, or what it read last): such a write
changes nothing. With all ones a flipped bit would open the feed under a conversation, or lift a line. Bits are added that make a read of
it where a chip has lost a byte and takes it for the beginning of an access; in the registers that are polled they have no meaning.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.scan_state cimport *
from firmware.dsp.state cimport *

cdef enum:
    FILLER = 0xFF
    READ_3050 = 0x60
    WRITE_3050 = 0x20
    READ_321X = 0x80


cdef int scan_frames(int framing, int position, int reading, int reg, int value, uint8_t* out) noexcept nogil:
    """Bytes of one access; a read's value comes back with the last. Returns how many."""
    cdef int n = 0
    if framing == FRAMING_SI3050:
        out[0] = ((READ_3050 if reading else WRITE_3050) | (position & 1) << 3 | (position & 2) << 1 | (position & 4) >> 1
                  | (position & 8) >> 3)
        out[1] = reg
        n = 2
    else:
        if framing == FRAMING_DAISY:
            out[0] = 1 << position
            n = 1
        out[n] = (READ_321X | reg) if reading else reg
        n += 1
    out[n] = FILLER if reading else value
    return n + 1


cdef void _access(Scan* s, ScanBatch* b, int slot, const ScanChip* c, int ms, int op, int reg, int value) noexcept nogil:
    cdef ScanAccess* a
    cdef int held
    if b.count >= SCAN_ACCESSES:
        return
    a = &b.access[b.count]
    a.ms = ms
    a.slot = slot
    a.chain = c.chain
    a.op = op
    a.reg = reg
    a.dials = c.pulse.phase != PULSE_NONE
    a.bytes = scan_frames(c.framing, c.position, op != ACCESS_WRITE, reg, value, a.byte)
    if op != ACCESS_WRITE:
        held = scan_wanted(c, reg)
        a.byte[a.bytes - 1] = (held if held >= 0 else c.value[reg]) | (READ_3050 if c.framing == FRAMING_SI3050 else READ_321X)
    b.count += 1
    s.accesses += 1
    s.bytes += a.bytes


cdef int scan_wanted(const ScanChip* c, int reg) noexcept nogil:
    """What the drive of now leaves in a register, -1 = nothing is known."""
    cdef int i
    cdef const ScanDrive* d
    if c.code < 0:
        return -1
    d = &c.table.drive[c.code]
    for i in range(d.count - 1, -1, -1):
        if d.write[i].reg == reg and d.write[i].mask == 0xFF:
            return d.write[i].value & c.table.says[reg]
    return -1


cdef void _apply(Scan* s, ScanChip* c, int code) noexcept nogil:
    """Begin a drive: its writes become due one after the other."""
    cdef const ScanDrive* d = &c.table.drive[code]
    cdef int64_t due = s.ms
    cdef int i
    c.pendings = 0
    c.code = code
    for i in range(d.count):
        due += d.write[i].after_ms
        c.pending[i].due = due
        c.pending[i].reg = d.write[i].reg
        c.pending[i].value = d.write[i].value
        c.pending[i].mask = d.write[i].mask
        c.pendings += 1


cdef void _note(ScanBatch* b, int slot, int ms, ScanChip* c, int finished) noexcept nogil:
    """Pulse dialling ended."""
    c.pulse.phase = PULSE_NONE
    storei32(&c.told, c.standing)
    if b.notes < SCAN_NOTES:
        b.note[b.notes].slot = slot
        b.note[b.notes].ms = ms
        b.note[b.notes].token = c.pulse.token
        b.note[b.notes].finished = finished
        b.notes += 1


cdef void _stand(EngineState* e, int slot, ScanChip* c, int code, int standing) noexcept nogil:
    _apply(e.scan, c, code)
    c.standing = standing
    storei32(&c.told, standing if code == standing and c.until < 0 else -1)
    store32(&e.drive[slot], <uint32_t>code)


cdef int _pulses(char digit) noexcept nogil:
    return 10 if digit == 48 else digit - 48    # "0"


cdef void _dial(EngineState* e, ScanBatch* b, int slot, ScanChip* c, int ms) noexcept nogil:
    """The next change of the hook of a line that dials."""
    cdef ScanPulse* p = &c.pulse
    if p.phase == PULSE_BREAK:
        _apply(e.scan, c, LINE_OFF_HOOK)
        p.left -= 1
        if p.left > 0:
            p.phase = PULSE_MAKE
            p.at += p.make_ms
        elif p.index + 1 < p.count:
            p.index += 1
            p.left = _pulses(p.digits[p.index])
            p.phase = PULSE_BETWEEN
            p.at += p.between_ms
        else:
            _note(b, slot, ms, c, 1)
        return
    _apply(e.scan, c, LINE_ON_HOOK)
    p.phase = PULSE_BREAK
    p.at += p.break_ms


# --- requests: the tick writes, the builder takes -------------------------------------------------------------------------

cdef ScanRequest* _request(EngineState* e, int slot, int op) noexcept nogil:
    cdef Scan* s = e.scan
    cdef ScanRequest* r
    if s.asked - load64(&s.taken) >= SCAN_REQUESTS:
        return NULL
    r = &s.request[s.asked % SCAN_REQUESTS]
    memset(r, 0, sizeof(ScanRequest))
    r.slot = slot
    r.op = op
    return r


cdef int scan_ask_drive(EngineState* e, int slot, int code, int hold_ms, int then) noexcept nogil:
    """Tick: a drive for the builder; returns a FAIL_* code."""
    cdef const ScanTable* t = &e.scan.chip[slot].table
    cdef ScanRequest* r
    if not t.drive[code].known or (hold_ms and not t.drive[then].known):
        return FAIL_RANGE
    r = _request(e, slot, ASK_DRIVE)
    if r == NULL:
        return FAIL_ROOM
    r.code = code
    r.hold_ms = hold_ms
    r.then = then
    store64(&e.scan.asked, e.scan.asked + 1)
    return 0


cdef int scan_ask_pulse(EngineState* e, int slot, const body_pulse* b) noexcept nogil:
    """Tick: digits for the builder; returns a FAIL_* code."""
    cdef ScanRequest* r
    cdef int i
    if e.scan.chip[slot].kind != SCAN_FXO:
        return FAIL_PORT
    if b.count < 1 or b.count > RING_DIGITS or not (10 <= b.break_ms <= 200 and 10 <= b.make_ms <= 200 and 200 <= b.between_ms <= 5000):
        return FAIL_RANGE
    for i in range(b.count):
        if not 48 <= b.digits[i] <= 57:
            return FAIL_RANGE
    r = _request(e, slot, ASK_PULSE)
    if r == NULL:
        return FAIL_ROOM
    r.pulse.token = b.token
    r.pulse.count = b.count
    r.pulse.break_ms = b.break_ms
    r.pulse.make_ms = b.make_ms
    r.pulse.between_ms = b.between_ms
    memcpy(r.pulse.digits, b.digits, RING_DIGITS)
    store64(&e.scan.asked, e.scan.asked + 1)
    return 0


cdef void scan_take(EngineState* e, ScanBatch* b) noexcept nogil:
    """Builder: begin a batch with what was asked since the last."""
    cdef Scan* s = e.scan
    cdef ScanRequest* r
    cdef ScanChip* c
    b.count = 0
    b.notes = 0
    while s.taken < load64(&s.asked):
        r = &s.request[s.taken % SCAN_REQUESTS]
        c = &s.chip[r.slot]
        if c.pulse.phase != PULSE_NONE:
            _note(b, r.slot, 0, c, 0)
            if c.code != c.standing:
                _apply(s, c, c.standing)
        if r.op == ASK_DRIVE:
            c.until = s.ms + r.hold_ms if r.hold_ms else -1
            if c.kind == SCAN_FXO and c.code == r.code and c.standing == r.code and c.until < 0:
                storei32(&c.told, c.standing)   # a hook that is told what it does would click
            else:
                _stand(e, r.slot, c, r.code, r.then if r.hold_ms else r.code)
        else:
            c.pulse = r.pulse
            if c.standing != LINE_OFF_HOOK or c.until >= 0:
                _note(b, r.slot, 0, c, 0)
            else:
                c.pulse.left = _pulses(c.pulse.digits[0])
                c.pulse.phase = PULSE_BETWEEN
                c.pulse.at = s.ms
                storei32(&c.told, -1)
        store64(&s.taken, s.taken + 1)


# --- one millisecond ---------------------------------------------------------------------------------------------------------

cdef void _times(EngineState* e, ScanBatch* b, int slot, ScanChip* c, int ms) noexcept nogil:
    """What is due by now without anybody asking."""
    if swap32(&c.tripped, 0) and c.kind == SCAN_FXS and c.code == FEED_RINGING:
        c.until = -1
        _stand(e, slot, c, FEED_ACTIVE, FEED_ACTIVE)
    if swap32(&c.rewrite, 0) and c.code >= 0 and c.pulse.phase == PULSE_NONE:
        _apply(e.scan, c, c.code)
    if c.until >= 0 and e.scan.ms >= c.until:
        c.until = -1
        _stand(e, slot, c, c.standing, c.standing)
    while c.pulse.phase != PULSE_NONE and e.scan.ms >= c.pulse.at:
        _dial(e, b, slot, c, ms)


cdef void _writes(EngineState* e, ScanBatch* b, int slot, ScanChip* c, int ms, int held) noexcept nogil:
    cdef ScanPending* p
    cdef int done = 0, i
    while done < c.pendings and c.pending[done].due <= e.scan.ms:
        p = &c.pending[done]
        c.shadow[p.reg] = (c.shadow[p.reg] & ~p.mask) | (p.value & p.mask)
        if not held:
            _access(e.scan, b, slot, c, ms, ACCESS_WRITE, p.reg, c.shadow[p.reg])
        done += 1
    if done:
        for i in range(done, c.pendings):
            c.pending[i - done] = c.pending[i]
        c.pendings -= done


cdef inline int64_t _after(int64_t at, int every) noexcept nogil:
    """The next multiple of a period. A division of 64 bits is long on ARM, and most periods are one."""
    return at + 1 if every == 1 else (at // every + 1) * every


cdef void scan_build(EngineState* e, ScanBatch* b, int ms) noexcept nogil:
    """Builder: all accesses of the next scan ms, `ms` within the batch."""
    cdef Scan* s = e.scan
    cdef ScanChip* c
    cdef int slot, i, held, first
    for slot in range(SCAN_SLOTS):
        c = &s.chip[slot]
        if not c.used:
            continue
        held = load32(&c.held) != 0
        first = b.count
        _times(e, b, slot, c, ms)
        if s.taken_chain[c.chain]:
            continue            # its writes wait
        _writes(e, b, slot, c, ms, held)
        if held:
            c.was_held = 1
            continue
        if c.was_held:
            c.was_held = 0
            for i in range(c.table.saids):
                if scan_wanted(c, c.table.said[i]) >= 0:
                    _access(s, b, slot, c, ms, ACCESS_CHECK, c.table.said[i], 0)
            for i in range(c.table.polls):
                c.poll_due[i] = _after(s.ms + slot - 1, c.table.poll[i].every)
        for i in range(c.table.polls):
            if s.ms + slot >= c.poll_due[i]:
                c.poll_due[i] = _after(s.ms + slot, c.table.poll[i].every)
                _access(s, b, slot, c, ms, ACCESS_POLL, c.table.poll[i].reg, 0)
        if b.count > first:
            store64(&c.carried, b.number + 1)
    s.ms += 1
    s.scans += 1
