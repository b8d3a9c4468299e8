# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The scanner against the simulated world: accesses carried as programs in shared memory, or facts where there are no chips (L2).

Theory of operation: see `world_segment.h`. The tick builds the accesses of the next ten ms into a batch and writes them out as a program
(`world_post`, before it stores `ticked`); the world runs it and overwrites each byte with the reply. Whoever scans (`scan_busy`) copies the
replies back and decodes them (`scan_blocks`); instants are those of the block the world ran it in.
The scan of a block runs in the scanner thread in real time, and within the tick under a virtual clock, so that events belong to their
tick; `scan_busy` keeps the two apart when the pace changes. A world that is behind gets no further programs than two: the scanner's time stands still with it.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from firmware.dsp.abi cimport *
from firmware.dsp.scan_build cimport scan_build, scan_take
from firmware.dsp.scan_decode cimport scan_decode
from firmware.dsp.scan_state cimport *
from firmware.dsp.scanner cimport line_fxo, line_fxs
from firmware.dsp.state cimport *

cdef enum:
    OUTSTANDING = 2
    BATCH_MS = 10
    RING_DV = 200
    LOOP_DMA = 100
    TRIP_MS = 100


cdef void _write_out(const ScanBatch* b, world_program* p) noexcept nogil:
    cdef const ScanAccess* a
    cdef world_access head
    cdef uint32_t at = 0
    cdef int i
    for i in range(b.count):
        a = &b.access[i]
        if at + sizeof(world_access) + a.bytes > WORLD_PROGRAM_BYTES:
            break
        head.ms = a.ms
        head.chain = a.chain
        head.split = 1
        head.bytes = a.bytes
        memcpy(&p.data[at], &head, sizeof(world_access))
        memcpy(&p.data[at + sizeof(world_access)], a.byte, a.bytes)
        at += sizeof(world_access) + a.bytes
    p.size = at


cdef void world_post(EngineState* e) noexcept nogil:
    """Tick: the accesses of the next block."""
    cdef world_segment* w = e.world
    cdef Scan* s = e.scan
    cdef uint64_t posted
    cdef ScanBatch* b
    cdef int ms
    if w == NULL or not s.chips:
        return
    posted = w.posted
    if posted - load64(&w.ran) >= OUTSTANDING or posted - load64(&s.decoded) >= SCAN_BATCHES - OUTSTANDING:
        s.skipped += BATCH_MS
        return
    add32(&s.build_turn, 1)
    b = &s.batch[posted % SCAN_BATCHES]
    b.block = e.tick + 1
    b.number = posted
    scan_take(e, b)
    for ms in range(BATCH_MS):
        scan_build(e, b, ms)
    _write_out(b, &w.program[posted % WORLD_PROGRAMS])
    store64(&w.posted, posted + 1)
    add32(&s.build_turn, 1)


cdef int _collect(EngineState* e) noexcept nogil:
    """Scanner: decode the programs that ran; returns whether there was one."""
    cdef world_segment* w = e.world
    cdef Scan* s = e.scan
    cdef uint64_t ran = load64(&w.ran), k = s.decoded
    cdef ScanBatch* b
    cdef world_program* p
    cdef uint32_t at
    cdef int i, any = k < ran
    while k < ran:
        b = &s.batch[k % SCAN_BATCHES]
        p = &w.program[k % WORLD_PROGRAMS]
        at = 0
        for i in range(b.count):
            at += sizeof(world_access) + b.access[i].bytes
            if at > p.size:
                b.count = i         # was not sent: no room
                break
            b.access[i].reply = p.data[at - 1]
        if p.block != b.block:
            s.late += BATCH_MS
        scan_decode(e, b, <int64_t>p.block * BATCH_MS)
        k += 1
        store64(&s.decoded, k)
    return any


# --- facts in shared memory: a world without chips --------------------------------------------------------------------------

cdef void _fxs_fact(EngineState* e, int slot, Line* n, const line_fact* f, int64_t now) noexcept nogil:
    cdef int ringing = load32(&e.drive[slot]) == FEED_RINGING, trip
    if not ringing or f.ring_dc <= LOOP_DMA:
        n.trip_since = now
    trip = ringing and now - n.trip_since >= TRIP_MS - 1
    if line_fxs(e, slot, n, f.current >= LOOP_DMA, trip, f.dc_dv, 1, f.ring_dc if ringing else f.current, now, now, 0, now):
        e.seam.drive(e, slot, FEED_ACTIVE)


cdef void _fxo_fact(EngineState* e, int slot, Line* n, const line_fact* f, int64_t now) noexcept nogil:
    cdef int sign = 1 if f.ac_dv > RING_DV else (-1 if f.ac_dv < -RING_DV else 0)
    line_fxo(e, slot, n, sign, f.dc_dv, 1, f.current, load32(&e.drive[slot]) == LINE_OFF_HOOK, 0, now)


cdef int scan_blocks(EngineState* e) noexcept nogil:
    """Scan every block delivered and not yet scanned; returns whether there was one. Any engine thread, one at a time."""
    cdef line_fact facts[10]
    cdef uint64_t block, last
    cdef int slot, i, n, kind
    cdef int64_t at
    cdef Line* line
    if e.world == NULL or swap32(&e.scan_busy, 1):
        return 0
    last = e.seam.delivered(e)
    block = load64(&e.world.scanned)
    if block + WORLD_BLOCKS // 2 < last or block > last:
        block = last - 1 if last else 0         # too late, or another world: go on with what is there
    n = block < last
    if e.scan.chips:
        n |= _collect(e)
    while block < last:
        for slot in range(WORLD_PORTS):
            line = &e.line[slot]
            kind = loadi32(&line.kind)
            if kind == SCAN_OFF or e.scan.chip[slot].used:
                continue
            at = <int64_t>block * 10
            e.seam.facts(e, block, slot, facts)
            for i in range(WORLD_FACTS):
                if kind == SCAN_FXO:
                    _fxo_fact(e, slot, line, &facts[i], at + i)
                else:
                    _fxs_fact(e, slot, line, &facts[i], at + i)
        block += 1
        store64(&e.world.scanned, block)
    store32(&e.scan_busy, 0)
    return n
