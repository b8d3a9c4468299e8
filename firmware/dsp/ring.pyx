# cython: language_level=3
"""The shared-memory segment between core and media: command ring, event ring, clock words, heartbeats (L2).

Theory of operation: see `ring_segment.h`. The parent creates the segment in a memfd and its children inherit the
descriptor; every process attaches and refuses a segment of another magic, version or size. `CommandWriter` belongs to
core alone, `EventReader` to core alone; the other ends are in the engine's tick. No method blocks.
"""
import os

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.errors import EngineBusy, HardwareError

TURNS = 1000                    # attempts to copy a record while its writer is at it
PROCESSES = ("parent", "media", "core", "manage", "world")

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void* addr, size_t length)
    enum: PROT_READ, PROT_WRITE, MAP_SHARED
    void* MAP_FAILED


cdef int _slot(int slot) except -1:
    if not 0 <= slot < GAUGE_LINES:
        raise ValueError(f"slot is {slot}, must be 0 to {GAUGE_LINES - 1}")
    return slot


cdef object _memory(const echo_memory* source):
    cdef echo_memory m
    cdef int i
    for i in range(TURNS):
        if turn_copy(&m, source, sizeof(m)):
            if m.taps == 0 or m.taps > GAUGE_TAPS:
                return None
            return m.line, m.rate, m.depth, m.tick, m.erl_db, m.erle_db, (<const char*>m.tap)[:m.taps * sizeof(float)]
    return None


cdef class RingSegment:
    """One mapping of the segment. Create once in the parent, attach by descriptor elsewhere; the descriptor stays the caller's."""

    def __cinit__(self):
        self.map = NULL
        self.fd = -1

    def __dealloc__(self):
        self.close()

    @staticmethod
    def create():
        """A new segment in a memfd, inheritable by children; raises OSError when memory is short."""
        fd = os.memfd_create("branchpbx-rings", 0)
        os.set_inheritable(fd, True)
        os.ftruncate(fd, sizeof(ring_segment))
        cdef RingSegment self = RingSegment()
        self._map(fd)
        self.map.version = RING_VERSION
        self.map.size = sizeof(ring_segment)
        self.map.commands = RING_COMMANDS
        self.map.events = RING_EVENTS
        store32(&self.map.magic, RING_MAGIC)
        return self

    @staticmethod
    def attach(int fd):
        """Map an existing segment; raises HardwareError when it is not one of this version."""
        cdef RingSegment self = RingSegment()
        size = os.fstat(fd).st_size
        if size < <long>sizeof(ring_segment):
            raise HardwareError(f"ring segment has {size} bytes, this program needs {sizeof(ring_segment)}: restart the appliance")
        self._map(fd)
        if (load32(&self.map.magic) != RING_MAGIC or self.map.version != RING_VERSION or self.map.size != sizeof(ring_segment)
                or self.map.commands != RING_COMMANDS or self.map.events != RING_EVENTS):
            found = (hex(self.map.magic), self.map.version, self.map.size)
            self.close()
            raise HardwareError(f"ring segment is magic, version, size {found}, this program speaks "
                                f"{(hex(RING_MAGIC), RING_VERSION, sizeof(ring_segment))}: restart the appliance")
        return self

    def _map(self, int fd):
        cdef void* p = mmap(NULL, sizeof(ring_segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if p == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))
        self.map = <ring_segment*>p
        self.fd = fd

    cpdef close(self):
        """Unmap; idempotent."""
        if self.map != NULL:
            munmap(self.map, sizeof(ring_segment))
            self.map = NULL

    cdef ring_segment* _live(self) except NULL:
        if self.map == NULL:
            raise HardwareError("ring segment is closed: attach it again before use")
        return self.map

    @property
    def tick(self):
        """Blocks of 10 ms the engine has completed."""
        return load64(&self._live().tick)

    @property
    def wall_base_ms(self):
        """Unix time in ms of tick 0."""
        return loadi64(&self._live().wall_base_ms)

    @property
    def epoch(self):
        """Number of media processes that have started on this segment."""
        return load32(&self._live().epoch)

    @property
    def horizon(self):
        """Tick at which core wants to be woken."""
        return loadi64(&self._live().horizon)

    def set_horizon(self, int64_t tick):
        """Publish core's next deadline; a virtual clock does not run past it."""
        storei64(&self._live().horizon, tick)
        self._progress()

    cdef _progress(self):
        add32(&self.map.core_progress, 1)
        if load32(&self.map.media_waiting):
            futex_wake32(&self.map.core_progress)

    @property
    def core_present(self):
        """True while a core process runs; the parent keeps it."""
        return bool(load32(&self._live().core_present))

    def set_core_present(self, bint present):
        """The parent's word on core. Setting it holds a virtual clock (2 s at most) until the new core publishes a horizon."""
        if present:
            storei64(&self._live().horizon, 0)
        store32(&self._live().core_present, present)
        self._progress()

    def beat(self, str process):
        """Say that this process is alive, by CLOCK_MONOTONIC."""
        store64(&self._live().heartbeat_ns[PROCESSES.index(process)], mono_ns())

    def heartbeat_ns(self, str process):
        """Last sign of life of a process (CLOCK_MONOTONIC ns), 0 = never."""
        return load64(&self._live().heartbeat_ns[PROCESSES.index(process)])

    def statistics(self):
        """Counters: used slots, dropped events, tick lateness and cost (microseconds)."""
        cdef ring_segment* s = self._live()
        return {
            "commands_used": load64(&s.command_head) - load64(&s.command_tail), "events_used": load64(&s.event_head) - load64(&s.event_tail),
            "dropped_events": s.dropped_events, "lost_events": s.lost_events, "worst_late_us": s.worst_late_us,
            "worst_busy_us": s.worst_busy_us, "busy_us": s.busy_us, "tick": s.tick, "epoch": s.epoch,
        }

    def gauge(self, int port):
        """What media measured of a port last, as a dict of `gauges.h`'s names; None while nobody asked for it."""
        cdef port_gauge g
        cdef int i
        if not 0 <= port < GAUGE_PORTS:
            raise ValueError(f"port is {port}, must be 0 to {GAUGE_PORTS - 1}")
        for i in range(TURNS):
            if turn_copy(&g, &self._live().gauges.port[port], sizeof(g)):
                return dict(g) if g.measured else None
        return None             # its writer died over it

    def quality(self, int port):
        """What an RTP port's reports told last, as a dict of `rtp_gauge`'s names (gauges.h); None before the first."""
        cdef rtp_gauge g
        cdef int i
        if not 0 <= port < GAUGE_PORTS:
            raise ValueError(f"port is {port}, must be 0 to {GAUGE_PORTS - 1}")
        for i in range(TURNS):
            if turn_copy(&g, &self._live().gauges.rtp[port], sizeof(g)):
                return dict(g) if g.generation else None
        return None             # its writer died over it

    def learned(self, int slot):
        """The echo filter that media learned last on a slot, as (line, rate, depth, tick, erl_db, erle_db, taps as bytes), or None."""
        return _memory(&self._live().gauges.learned[_slot(slot)])

    def offered(self, int slot):
        """The echo filter offered for a slot, shaped as that of `learned`, or None."""
        return _memory(&self._live().gauges.offered[_slot(slot)])

    def offer(self, int slot, uint64_t line, uint32_t rate, uint32_t depth, float erl_db, float erle_db, bytes taps):
        """Core only: keep a filter for the next opening of a slot. Raises ValueError when it has more taps than there is room for."""
        cdef echo_memory* m = &self._live().gauges.offered[_slot(slot)]
        cdef size_t size = len(taps)
        if not size or size % sizeof(float) or size > sizeof(m.tap):
            raise ValueError(f"an echo filter has {size} bytes, must be a multiple of {sizeof(float)} up to {sizeof(m.tap)}")
        turn_begin(&m.turn)
        m.taps = size // sizeof(float)
        m.rate, m.depth, m.line = rate, depth, line
        m.erl_db, m.erle_db = erl_db, erle_db
        m.tick = 0
        memcpy(m.tap, <const char*>taps, size)
        turn_end(&m.turn)

    def clear_worst(self):
        """Start a new period of worst lateness and worst cost."""
        self._live().worst_late_us = 0
        self.map.worst_busy_us = 0


cdef class CommandWriter:
    """The producing end of the command ring (core)."""

    cdef RingSegment ring

    def __init__(self, RingSegment ring):
        self.ring = ring

    @property
    def room(self):
        """Commands that fit now."""
        cdef ring_segment* s = self.ring._live()
        return RING_COMMANDS - (s.command_head - load64(&s.command_tail))

    def write(self, int command, int port, bytes body=b""):
        """Append one command and return its sequence number; raises EngineBusy when the ring is full."""
        cdef ring_segment* s = self.ring._live()
        cdef uint64_t head = s.command_head
        cdef ring_command* c
        if head - load64(&s.command_tail) >= RING_COMMANDS:
            raise EngineBusy(f"command ring is full ({RING_COMMANDS} commands wait): refuse the new call and try again later")
        if len(body) > RING_BODY:
            raise ValueError(f"command body has {len(body)} bytes, at most {RING_BODY} fit")
        c = &s.command[head % RING_COMMANDS]
        memset(c, 0, sizeof(ring_command))
        c.seq = head
        c.type = command
        c.port = port
        c.size = len(body)
        memcpy(c.body, <const char*>body, len(body))
        store64(&s.command_head, head + 1)
        return head


cdef class EventReader:
    """The consuming end of the event ring (core). `read` does not consume; `commit` does, once everything read was handled."""

    cdef RingSegment ring
    cdef uint64_t seen

    def __init__(self, RingSegment ring):
        self.ring = ring
        self.seen = load64(&ring._live().event_tail)

    def read(self, int limit=1024):
        """Events not yet read, as (type, port, at, wall_ms, tick, mono_ns, payload) with the payload shapes of `abi.unpack`."""
        cdef ring_segment* s = self.ring._live()
        cdef uint64_t head = load64(&s.event_head)
        cdef list out = []
        cdef const ring_event* e
        while self.seen < head and len(out) < limit:
            e = &s.event[self.seen % RING_EVENTS]
            out.append((e.type, e.port, e.at, e.wall_ms, e.tick, e.mono_ns, unpack(e)))
            self.seen += 1
        return out

    @property
    def uncommitted(self):
        """Events read and not yet given back."""
        return self.seen - load64(&self.ring._live().event_tail)

    def commit(self):
        """Give the slots of everything read back to the engine."""
        cdef ring_segment* s = self.ring._live()
        if self.seen != s.event_tail:
            store64(&s.event_tail, self.seen)
        self.ring._progress()
