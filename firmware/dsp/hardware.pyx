# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What the engine does for the keeper of the line chips: tells faults, keeps its time, lets go of a chip (L2).

Theory of operation. The keeper is one Python thread of the media process. It waits in `hardware_await` without the interpreter until
the scanner has flagged a fault, its instant of the engine clock is reached, somebody rings (`hardware_ring`), or the engine stops.
Under a virtual clock the tick waits for the keeper as it waits for core: once the keeper has called, no time passes unless it is
inside, with nothing flagged and its instant ahead. So what it does to chips falls into the same tick in every run. A keeper that does
not come back for two seconds is waited for at real-time pace only.
A chip is let go of when no access to it is under way or posted: `held` is raised first, the turn of the builder is waited for, then the
world must have run the last program that has an access to this chip.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from firmware.dsp.abi cimport *
from firmware.dsp.scan_state cimport FAULT_QUEUE, ScanFault
from firmware.dsp.state cimport *

cdef enum:
    WAIT_NS = 2000000000
    PACE_NS = 10000000
    SLICE_NS = 100000000
    LOOK_NS = 200000


cdef void hardware_flag(EngineState* e, int slot, int fault, int reg, int value) noexcept nogil:
    """Decoder: a fault the keeper shall look at."""
    cdef Hardware* h = &e.hardware
    cdef uint64_t head = h.fault_head
    cdef ScanFault* f
    if not load32(&h.attached):
        return
    if head - load64(&h.fault_tail) >= FAULT_QUEUE:
        e.scan.faults_lost += 1
        return
    f = &h.fault[head % FAULT_QUEUE]
    f.slot = slot
    f.fault = fault
    f.reg = reg
    f.value = value
    store64(&h.fault_head, head + 1)
    add32(&h.bell, 1)
    futex_wake32(&h.bell)


cdef inline int _due(EngineState* e, Hardware* h) noexcept nogil:
    """Whether the keeper has something to leave for."""
    return (load64(&h.fault_tail) != load64(&h.fault_head) or loadi64(&h.now) >= loadi64(&h.until) or load32(&h.wake) != 0
            or load32(&e.stop) != 0)


cdef int hardware_await(EngineState* e, int64_t until, ScanFault* out, int most) noexcept nogil:
    """Keeper: wait; returns how many faults are in `out`."""
    cdef Hardware* h = &e.hardware
    cdef uint32_t seen
    cdef int n = 0
    storei64(&h.until, until)
    store32(&h.attached, 1)
    swap32(&h.inside, 1)
    add32(&h.progress, 1)
    futex_wake32(&h.progress)
    while True:
        seen = load32(&h.bell)
        if _due(e, h):
            break
        futex_wait32(&h.bell, seen, SLICE_NS)
    swap32(&h.inside, 0)        # before anything is taken: the tick must not see it inside and idle
    store32(&h.wake, 0)
    while n < most and h.fault_tail != load64(&h.fault_head):
        out[n] = h.fault[h.fault_tail % FAULT_QUEUE]
        store64(&h.fault_tail, h.fault_tail + 1)
        n += 1
    return n


cdef void hardware_ring(EngineState* e) noexcept nogil:
    """Let the keeper return from its wait, or from the next one."""
    swap32(&e.hardware.wake, 1)
    add32(&e.hardware.bell, 1)
    futex_wake32(&e.hardware.bell)


cdef void hardware_tick(EngineState* e, int lockstep) noexcept nogil:
    """Tick: its end is reached; with a virtual clock go on only when the keeper has nothing left to do by now."""
    cdef Hardware* h = &e.hardware
    cdef uint64_t began, spent, most
    cdef uint32_t seen
    storei64(&h.now, <int64_t>(e.tick + 1) * 10)
    if not load32(&h.attached):
        return
    if _due(e, h):
        add32(&h.bell, 1)
        futex_wake32(&h.bell)
    if not lockstep:
        return
    began = mono_ns()
    most = PACE_NS if h.slow else WAIT_NS
    while not load32(&e.stop):
        seen = load32(&h.progress)
        if load32(&h.inside) and not _due(e, h):
            h.slow = 0
            return
        spent = mono_ns() - began
        if spent >= most:
            h.slow = 1
            return
        futex_wait32(&h.progress, seen, <int64_t>(most - spent) if most - spent < SLICE_NS else SLICE_NS)


cdef int hardware_hold(EngineState* e, int slot, int on, int64_t wait_ns) noexcept nogil:
    """Hold or give back a chip; returns 1 when nothing of ours moves its registers any more (or, off, at once)."""
    cdef uint32_t turn
    cdef uint64_t carried, deadline = mono_ns() + <uint64_t>wait_ns
    swap32(&e.scan.chip[slot].held, on)
    if not on:
        return 1
    turn = load32(&e.scan.build_turn)
    while turn & 1 and load32(&e.scan.build_turn) == turn:
        if mono_ns() >= deadline:
            return 0
        sleep_until_ns(mono_ns() + LOOK_NS)
    if e.world == NULL:
        return 1
    carried = load64(&e.scan.chip[slot].carried)
    while load64(&e.world.ran) < carried:
        if load32(&e.stop) or mono_ns() >= deadline:
            return 0
        sleep_until_ns(mono_ns() + LOOK_NS)
    return 1
