# cython: language_level=3, boundscheck=False, wraparound=False
"""Mail to the line chips of the simulated world: one access, one pin or a stretch of chip time by hand (L2).

Theory of operation
-------------------
`world_segment.h` says how: a client fills its box, stores `asked` + 1 (release), raises `bell` and wakes it; a thread of the world answers
in place and stores `answered` = `asked`. A box belongs to one process (0 media, 1 the parent); a lock makes its threads take turns. All
waits are futex waits without the GIL, so heartbeat and event loop go on meanwhile.
A request that was not answered in time stays in the box: nothing is written over it, because a world that comes late still works on
it. The next request waits for that answer first; so does a successor of a client that died in the middle.
Invariants: an access is whole or not done at all, the world never runs half of one; no wait is longer than `limit_ms`.
"""
import os
import threading

from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from firmware.errors import HardwareError

from errno import EMSGSIZE, ETIMEDOUT

cdef extern from "ring_segment.h" nogil:
    uint32_t load32(const uint32_t* p)
    void store32(uint32_t* p, uint32_t v)
    uint32_t add32(uint32_t* p, uint32_t v)
    uint64_t mono_ns()
    void futex_wait32(uint32_t* p, uint32_t seen, int64_t wait_ns)
    void futex_wake32(uint32_t* p)

cdef extern from "world_segment.h" nogil:
    enum:
        WORLD_MAGIC, WORLD_VERSION, WORLD_MAILS, WORLD_MAIL_BYTES
        MAIL_TRANSFER, MAIL_RESET, MAIL_RELAY, MAIL_SENSE, MAIL_CLOCKS, MAIL_STEP, MAIL_INT, MAIL_NOW
    ctypedef struct world_mail:
        uint32_t asked, answered, op, chain, split, size
        int32_t value, error
        int64_t now_us
        uint8_t data[256]
    ctypedef struct world_segment:
        uint32_t magic, version, media_pid, chains, bell
        world_mail mail[2]

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void* addr, size_t length)
    enum: PROT_READ, PROT_WRITE, MAP_SHARED
    void* MAP_FAILED

cdef enum:
    SLICE_NS = 100000000


cdef int _answered(world_mail* box, uint64_t deadline) noexcept nogil:
    """Wait until the box has no open request; false when `deadline` (monotonic ns) passed."""
    cdef uint32_t seen
    cdef int64_t left
    while True:
        seen = load32(&box.answered)
        if seen == load32(&box.asked):
            return 1
        left = <int64_t>(deadline - mono_ns())
        if left <= 0:
            return 0
        futex_wait32(&box.answered, seen, left if left < SLICE_NS else SLICE_NS)


cdef class ChipMail:
    """One mail box of the world segment `world_fd`; see the module text.

    Every method raises OSError: ETIMEDOUT when the world does not answer within `limit_ms`, or the error it answers with.
    """

    cdef world_segment* map
    cdef world_mail* box
    cdef object lock
    cdef uint64_t limit_ns
    cdef readonly int chains

    def __cinit__(self):
        self.map = NULL

    def __init__(self, int world_fd, int box, int limit_ms=2000):
        cdef void* p
        if not 0 <= box < WORLD_MAILS:
            raise ValueError(f"mail box {box}: the world has {WORLD_MAILS}, counted from 0")
        if os.fstat(world_fd).st_size < <long>sizeof(world_segment):
            raise HardwareError("the world segment is too short for line chips: restart the appliance")
        p = mmap(NULL, sizeof(world_segment), PROT_READ | PROT_WRITE, MAP_SHARED, world_fd, 0)
        if p == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))
        self.map = <world_segment*>p
        if self.map.magic != WORLD_MAGIC or self.map.version != WORLD_VERSION:
            found = (hex(self.map.magic), self.map.version)
            raise HardwareError(f"world segment is magic, version {found}, this program speaks {(hex(WORLD_MAGIC), WORLD_VERSION)}: "
                                "restart the appliance")
        self.box = &self.map.mail[box]
        self.lock = threading.Lock()
        self.limit_ns = <uint64_t>limit_ms * 1000000
        self.chains = self.map.chains
        if box == 0:
            self.map.media_pid = os.getpid()    # the PCM clocks stop with this process

    def __dealloc__(self):
        if self.map != NULL:
            munmap(self.map, sizeof(world_segment))

    cdef _ask(self, uint32_t op, uint32_t chain, int32_t value, bytes data, bint split):
        """One request and its answer: value, bytes, time of the chips (us)."""
        cdef uint32_t size = len(data)
        cdef const uint8_t* source = data
        cdef int good
        cdef int32_t error
        cdef uint64_t deadline
        if size > WORLD_MAIL_BYTES:
            raise OSError(EMSGSIZE, f"{size} bytes in one access, the world takes {WORLD_MAIL_BYTES}")
        with self.lock:
            with nogil:
                deadline = mono_ns() + self.limit_ns
                good = _answered(self.box, deadline)
                if good:
                    self.box.op = op
                    self.box.chain = chain
                    self.box.split = split
                    self.box.size = size
                    self.box.value = value
                    self.box.error = 0
                    memcpy(self.box.data, source, size)
                    store32(&self.box.asked, self.box.asked + 1)
                    add32(&self.map.bell, 1)
                    futex_wake32(&self.map.bell)
                    good = _answered(self.box, deadline)
            if not good:
                raise OSError(ETIMEDOUT, f"the simulated world does not answer within {self.limit_ns // 1000000} ms")
            error = self.box.error
            if error:
                raise OSError(error, os.strerror(error))
            return self.box.value, <bytes>(<const char*>self.box.data)[:size], self.box.now_us

    def transfer(self, int chain, data, *, bint split):
        """Clock bytes over a chain and give what came back; `split`: each byte under a chip select of its own."""
        return self._ask(MAIL_TRANSFER, chain, 0, bytes(data), split)[1]

    def reset(self, int chain, bint released):
        """The RESET line of a chain: released (high) or held (low)."""
        self._ask(MAIL_RESET, chain, released, b"", 0)

    def relay(self, bint energised):
        """The lifeline relay."""
        self._ask(MAIL_RELAY, 0, energised, b"", 0)

    def sense(self):
        """True while the relay's contacts separate the lifeline jacks."""
        return bool(self._ask(MAIL_SENSE, 0, 0, b"", 0)[0])

    def clocks(self, int value=-1):
        """The PCM clocks: 1 run, 0 stop, -1 ask; gives whether they run."""
        return self._ask(MAIL_CLOCKS, 0, value, b"", 0)[0] == 1

    def step(self, int ms):
        """Let chip time pass with the copper as it stands; only while the engine does not tick."""
        self._ask(MAIL_STEP, 0, ms, b"", 0)

    def int_level(self, int chain):
        """Level of a chain's INT line: False while a chip pulls it."""
        return bool(self._ask(MAIL_INT, chain, 0, b"", 0)[0])

    def now_us(self):
        """Time of the chips, microseconds."""
        return self._ask(MAIL_NOW, 0, 0, b"", 0)[2]
