# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The two back ends of the PCM and line seam: the simulated world in shared memory, and no line card at all (L2).

Theory of operation: see `world_segment.h` for the world. In real time the tick waits for its block until 15 ms after its
nominal instant, then runs on silence at 10 ms intervals until blocks come in time again. With a virtual clock it waits 2 s
once, then falls into real-time pace until the world answers. When the world has come back but stays behind (it was stopped
and did not catch up), the tick waits for it, half a second at most at a time, because a block that comes after its tick is
lost. Without a line card the tick is paced by CLOCK_MONOTONIC, capture is silence and lines have no facts.
Invariant: no function here blocks beyond the bounds named above.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.state cimport *

cdef enum:
    BLOCK_NS = 10000000
    GRACE_NS = 15000000
    SLICE_NS = 100000000


cdef int seam_virtual(EngineState* e) noexcept nogil:
    """True when another clock than real time paces the world."""
    return e.world != NULL and load32(&e.world.speed) != 100


cdef int _world_wait(EngineState* e) noexcept nogil:
    cdef world_segment* w = e.world
    cdef uint64_t delivered, now, deadline, began = mono_ns()
    cdef int64_t left
    cdef int moved = 0
    while not load32(&e.stop):
        delivered = load64(&w.delivered)
        now = mono_ns()
        if delivered > e.tick:
            if delivered - e.tick > WORLD_BLOCKS - 4:
                e.tick = delivered - 2      # too late for these blocks: their memory is being reused
            e.due_ns = now + BLOCK_NS
            e.block_late = 0
            e.silent_run = 0
            e.block_there = 1
            e.last_delivered = delivered
            return 1
        if delivered != e.last_delivered:
            moved = 1
            e.last_delivered = delivered
        if seam_virtual(e):
            deadline = began + (<uint64_t>BLOCK_NS if e.block_late else <uint64_t>2000000000)
        else:
            deadline = e.due_ns + GRACE_NS
            if moved and e.silent_run > 20:
                deadline = began + 500000000
        if now >= deadline:
            e.due_ns = (e.due_ns + BLOCK_NS) if e.due_ns + SLICE_NS > now else now
            e.block_late = 1
            e.silent_run += 1
            e.block_there = 0
            e.silent += 1
            w.silent_ticks += 1
            return 0
        left = <int64_t>(deadline - now)
        futex_wait32(<uint32_t*>&w.delivered, <uint32_t>delivered, left if left < SLICE_NS else SLICE_NS)
    return -1


cdef void _world_capture(EngineState* e, int slot, short* out) noexcept nogil:
    if e.block_there:
        memcpy(out, e.world.capture[e.tick % WORLD_BLOCKS][slot], BLOCK * sizeof(short))
    else:
        memset(out, 0, BLOCK * sizeof(short))


cdef void _world_playback(EngineState* e, int slot, const short* samples) noexcept nogil:
    memcpy(e.world.playback[e.tick % WORLD_BLOCKS][slot], samples, BLOCK * sizeof(short))


cdef void _world_finish(EngineState* e) noexcept nogil:
    store64(&e.world.ticked, e.tick + 1)
    futex_wake32(<uint32_t*>&e.world.ticked)


cdef int _world_facts(EngineState* e, uint64_t block, int slot, line_fact* out) noexcept nogil:
    memcpy(out, e.world.facts[block % WORLD_BLOCKS][slot], WORLD_FACTS * sizeof(line_fact))
    return WORLD_FACTS


cdef void _world_drive(EngineState* e, int slot, uint32_t code) noexcept nogil:
    store32(&e.drive[slot], code)
    store32(&e.world.drive[slot], code)


cdef uint64_t _world_delivered(EngineState* e) noexcept nogil:
    return load64(&e.world.delivered)


cdef int _none_wait(EngineState* e) noexcept nogil:
    cdef uint64_t now
    sleep_until_ns(e.due_ns)
    if load32(&e.stop):
        return -1
    now = mono_ns()
    e.due_ns = (e.due_ns + BLOCK_NS) if e.due_ns + SLICE_NS > now else now + BLOCK_NS
    e.block_there = 0
    return 1


cdef void _none_capture(EngineState* e, int slot, short* out) noexcept nogil:
    memset(out, 0, BLOCK * sizeof(short))


cdef void _none_playback(EngineState* e, int slot, const short* samples) noexcept nogil:
    return


cdef void _none_finish(EngineState* e) noexcept nogil:
    return


cdef int _none_facts(EngineState* e, uint64_t block, int slot, line_fact* out) noexcept nogil:
    return 0


cdef void _none_drive(EngineState* e, int slot, uint32_t code) noexcept nogil:
    store32(&e.drive[slot], code)


cdef uint64_t _none_delivered(EngineState* e) noexcept nogil:
    return 0


cdef void seam_world(EngineState* e) noexcept nogil:
    """Bind the world; drives that stand in the segment (an earlier media process set them) are kept."""
    cdef int i
    e.seam.wait_block = _world_wait
    e.seam.capture = _world_capture
    e.seam.playback = _world_playback
    e.seam.finish = _world_finish
    e.seam.facts = _world_facts
    e.seam.drive = _world_drive
    e.seam.delivered = _world_delivered
    for i in range(WORLD_PORTS):
        e.drive[i] = load32(&e.world.drive[i])
    store64(&e.scan.decoded, load64(&e.world.posted))   # what an earlier media process posted is nobody's


cdef void seam_none(EngineState* e) noexcept nogil:
    """Bind no line card."""
    e.seam.wait_block = _none_wait
    e.seam.capture = _none_capture
    e.seam.playback = _none_playback
    e.seam.finish = _none_finish
    e.seam.facts = _none_facts
    e.seam.drive = _none_drive
    e.seam.delivered = _none_delivered
