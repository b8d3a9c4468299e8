# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The scanner's accesses carried by Linux spidev: one message per chain and millisecond (L2).

Theory of operation. The scanner thread sleeps to the next whole millisecond of its own (CLOCK_MONOTONIC, absolute), builds the accesses of that
scan, sends them as one message per chain (`spi_message.h`) and decodes the replies. What it missed is made up in time, not in scans: durations go on
by the clock, polls that fell into the gap are read now. Instants are engine ms by the last tick and what passed since.
Python moves registers of held chips over the same chain, an access in several system calls. It takes the chain's lock for each access; the
scanner only tries it, leaves out a chain that is taken, and keeps that chain's writes for the next scan. So the scanner never waits for
Python, and the tick waits for neither.
A message that fails gives no facts; after three in a row the fault "bus" is told for the chips of the chain. Drives that may not have
arrived are written again.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from firmware.dsp.abi cimport *
from firmware.dsp.hardware cimport hardware_flag
from firmware.dsp.scan_build cimport scan_build, scan_take
from firmware.dsp.scan_decode cimport scan_decode
from firmware.dsp.scan_state cimport *
from firmware.dsp.state cimport *

cdef extern from "spi_message.h" nogil:
    int spi_device_message(int fd, const uint8_t* out, uint8_t* back, int n, uint32_t speed_hz)
    int spi_socket_message(int fd, const uint8_t* out, uint8_t* back, int n, uint32_t speed_hz)
    int spi_is_socket(int fd)

cdef enum:
    MS_NS = 1000000
    LOOK_NS = 50000
    FAILED = 3                  # messages in a row
    AGAIN = 100                 # scans between two tellings
    CHAIN_BYTES = 3066          # 3 for each access of a batch


cdef void spi_bind(Scan* s, int chain, int fd, uint32_t speed_hz) noexcept nogil:
    """Name the device of a chain; the descriptor stays the caller's."""
    s.spi[chain] = fd
    s.speed_hz[chain] = speed_hz
    s.message[chain] = spi_socket_message if spi_is_socket(fd) else spi_device_message


cdef int spi_there(const Scan* s) noexcept nogil:
    """Whether there is a chain to scan."""
    cdef int i
    for i in range(SCAN_CHAINS):
        if s.spi[i] >= 0:
            return s.chips > 0
    return 0


cdef int spi_lock(Scan* s, int chain, uint64_t wait_ns) noexcept nogil:
    """Python: take a chain for one access; 0 = it was not to be had in time."""
    cdef uint64_t deadline = mono_ns() + wait_ns
    while swap32(&s.chain_lock[chain], 1):
        if mono_ns() >= deadline:
            return 0
        sleep_until_ns(mono_ns() + LOOK_NS)
    return 1


cdef void spi_unlock(Scan* s, int chain) noexcept nogil:
    """Give it back."""
    store32(&s.chain_lock[chain], 0)


cdef int64_t _instant(EngineState* e) noexcept nogil:
    """Engine ms of now, by the last tick and what passed since; never back."""
    cdef int64_t at = <int64_t>((mono_ns() - load64(&e.origin_ns)) // MS_NS)
    if at > e.scan.last_at:
        e.scan.last_at = at
    return e.scan.last_at


cdef void _failed(EngineState* e, ScanBatch* b, int chain) noexcept nogil:
    """A message that failed: nothing was read, and nobody knows what was written."""
    cdef Scan* s = e.scan
    cdef ScanAccess* a
    cdef int i, slot
    s.bus_errors += 1
    for i in range(b.count):
        a = &b.access[i]
        if a.chain == chain:
            if a.op == ACCESS_WRITE:
                store32(&s.chip[a.slot].rewrite, 1)
            a.op = ACCESS_WRITE
    s.failed[chain] += 1
    if s.failed[chain] >= FAILED and (s.failed[chain] - FAILED) % AGAIN == 0:
        for slot in range(SCAN_SLOTS):
            if s.chip[slot].used and s.chip[slot].chain == chain:
                hardware_flag(e, slot, FAULT_BUS, -1, -1)


cdef void _carry(EngineState* e, ScanBatch* b, int chain) noexcept nogil:
    cdef Scan* s = e.scan
    cdef uint8_t out[CHAIN_BYTES]
    cdef uint8_t back[CHAIN_BYTES]
    cdef ScanAccess* a
    cdef uint64_t began
    cdef int i, k, n = 0
    for i in range(b.count):
        a = &b.access[i]
        if a.chain == chain:
            for k in range(a.bytes):
                out[n] = a.byte[k]
                n += 1
    if n == 0:
        return
    began = mono_ns()
    i = s.message[chain](s.spi[chain], out, back, n, s.speed_hz[chain])
    s.bus_ns += mono_ns() - began
    s.messages += 1
    if i < 0:
        _failed(e, b, chain)
        return
    s.failed[chain] = 0
    n = 0
    for i in range(b.count):
        a = &b.access[i]
        if a.chain == chain:
            n += a.bytes
            a.reply = back[n - 1]


cdef void spi_scan(EngineState* e, int missed) noexcept nogil:
    """Scanner thread: one scan, after `missed` milliseconds that had none."""
    cdef Scan* s = e.scan
    cdef ScanBatch* b = &s.batch[0]
    cdef int chain
    add32(&s.build_turn, 1)
    for chain in range(SCAN_CHAINS):
        s.taken_chain[chain] = s.spi[chain] < 0 or swap32(&s.chain_lock[chain], 1) != 0
        if s.taken_chain[chain] and s.spi[chain] >= 0:
            s.skipped += 1
    s.ms += missed
    s.late += missed
    scan_take(e, b)
    scan_build(e, b, 0)
    for chain in range(SCAN_CHAINS):
        if not s.taken_chain[chain]:
            _carry(e, b, chain)
            store32(&s.chain_lock[chain], 0)
    scan_decode(e, b, _instant(e))
    add32(&s.build_turn, 1)


cdef void spi_run(EngineState* e) noexcept nogil:
    """Scanner thread: scan each millisecond until the engine stops."""
    cdef uint64_t due = mono_ns() + MS_NS, now, missed
    while not load32(&e.stop):
        sleep_until_ns(due)
        now = mono_ns()
        missed = (now - due) // MS_NS if now > due else 0
        due += (missed + 1) * MS_NS
        spi_scan(e, <int>missed)
