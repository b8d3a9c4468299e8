# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The media engine: native threads and the memory they share (L2; only the media process imports this).

Theory of operation
-------------------
All memory is allocated in `__init__`; `start()` creates the native threads of `threads.pyx`, which never touch Python. The class offers what
core cannot ask for by a command: clips, files, line chips. Chips and clips are named before the start.
"""
import os
import socket

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.abi cimport address_fill, address_text
from firmware.dsp.address cimport *
from firmware.dsp.codec cimport codec_size
from firmware.dsp.commands cimport refuse_commands
from firmware.dsp.echo cimport echo_free, echo_new
from firmware.dsp.emit cimport emit, emit_from, tick_ms
from firmware.dsp.g711 cimport LAW_PCMA, g711_encode
from firmware.dsp.hardware cimport hardware_await, hardware_hold, hardware_ring
from firmware.dsp.learner_pitch cimport LearnRing, LearnWork
from firmware.dsp.recorder cimport recorder_work
from firmware.dsp.ring cimport RingSegment
from firmware.dsp.rtp_secure cimport secure_drop
from firmware.dsp.rtp_side cimport side_ask
from firmware.dsp.scan_plan cimport scan_compile, scan_figures
from firmware.dsp.scan_plan import FAULT_NAMES
from firmware.dsp.scan_spi cimport spi_bind, spi_lock, spi_unlock
from firmware.dsp.scan_state cimport SCAN_CHAINS, SCAN_SLOTS
from firmware.dsp.seam cimport seam_none, seam_virtual, seam_world
from firmware.dsp.state cimport *
from firmware.dsp.threads cimport THREADS, thread_entry, engine_align, engine_gather, engine_threads, engine_wall, engine_warm
from firmware.dsp.abi import SUITES as SUITE_NUMBERS
from firmware.errors import HardwareError

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t* thread, void* attr, void* (*start)(void*) noexcept nogil, void* arg)
    int pthread_join(pthread_t thread, void** result)

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void* addr, size_t length)
    int mlockall(int flags)
    enum: PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT
    void* MAP_FAILED

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int count, int flags)
    enum: EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    enum: EPOLLIN, EPOLL_CTL_ADD, EPOLL_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    int close_fd "close"(int fd)

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* s, size_t n)

cdef enum:
    BLOCK_NS = 10000000
    RING_BYTES = 2 * 2 * RECORD_FRAMES      # of a recorder: stereo, 16 bit

CLIPS_MOST = 2048
CLIP_REST = 12000               # ticks


cdef class Engine:
    """The media engine of one appliance; see the module text. One instance per media process."""

    cdef EngineState* e
    cdef RingSegment ring
    cdef pthread_t threads[4]           # THREADS
    cdef int running
    cdef list names
    cdef list gone                      # (number, tick) of clips that were dropped, the oldest first
    cdef list sockets
    cdef readonly bint locked

    def __cinit__(self):
        self.e = NULL

    def __init__(self, RingSegment ring, int event_fd, world_fd, rtp_fds, jitter=(20, 200), bint nlp=True, bint lines=False, rtcp_fds=(), slots=None):
        """Bind to the ring, the world segment (None: no line card) and the bound UDP sockets (IPv4 or IPv6), which stay the caller's.

        `lines`: there is a line card though there is no world (`alsa.bind_card`). `jitter`: bounds of the jitter buffers in ms. `rtcp_fds`: of the ports above those of `rtp_fds`, in the same order; none: RTCP goes with mux only. `slots`: those that have a line, and cancellers and the learner of tones with it (half a megabyte each); None: all. Raises HardwareError for a world segment of another version.
        """
        cdef int i, k
        cdef Port* p
        cdef epoll_event event
        cdef void* m
        rtp_fds = rtp_fds[:PORTS - TDM_PORTS]
        self.ring = ring
        self.names = []
        self.gone = []
        self.sockets = []
        self.e = <EngineState*>calloc(1, sizeof(EngineState))
        if self.e == NULL:
            raise MemoryError("media engine: no memory for its ports")
        memset(self.e, 0, sizeof(EngineState))  # touched here, so that the tick faults no page
        e = self.e
        e.ring = ring._live()
        e.event_fd = event_fd
        e.epoll_fd = e.seal.fd = e.side.fd = -1
        e.clips = <Clip*>calloc(CLIPS_MOST, sizeof(Clip))
        e.nrtp = len(rtp_fds)
        e.rtp = <RtpPort*>calloc(max(1, e.nrtp), sizeof(RtpPort))
        e.nports = TDM_PORTS + e.nrtp
        e.port = <Port*>calloc(e.nports, sizeof(Port))
        e.coder_memory = <char*>calloc(max(1, e.nrtp), codec_size())
        e.jitter_least, e.jitter_most = jitter
        e.random = <uint32_t>(mono_ns() & 0x7FFFFFFF) | 1
        if e.clips == NULL or e.rtp == NULL or e.port == NULL or e.coder_memory == NULL:
            raise MemoryError("media engine: no memory for clips and RTP ports")
        e.learn_work = <LearnWork*>calloc(1, sizeof(LearnWork))
        e.scan = <Scan*>calloc(1, sizeof(Scan))
        if e.learn_work == NULL or e.scan == NULL:
            raise MemoryError("media engine: no memory for the learner of tones and the scanner")
        memset(e.scan, 0, sizeof(Scan))
        for i in range(4):
            e.scan.spi[i] = -1
        # Pages of their own, which are there when a recording needs them: one in 128 ms. calloc would write most of the 8 MB at once.
        m = mmap(NULL, RECORDERS * RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if m == MAP_FAILED:
            raise MemoryError("media engine: no memory for recorders")
        for i in range(RECORDERS):
            e.file[i].fd = -1
            e.recorder[i].fd = -1
            e.recorder[i].ring = <short*>(<char*>m + i * RING_BYTES)
        e.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        e.seal.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        memset(&event, 0, sizeof(event))
        event.events = EPOLLIN
        event.data.u32 = BELL
        e.side.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if e.seal.fd < 0 or e.side.fd < 0 or epoll_ctl(e.epoll_fd, EPOLL_CTL_ADD, e.seal.fd, &event):
            raise HardwareError("media engine: no event descriptor, raise the limit of open files")
        for i in range(e.nports):
            p = &e.port[i]
            p.id = i
            p.bridge = p.relay = p.recorder = p.whisper = -1
            if i < TDM_PORTS:
                p.rx_gain = p.tx_gain = 1.0
                e.line[i].battery = e.line[i].battery_raw = e.line[i].polarity_raw = 2
                if (world_fd is not None or lines) and (slots is None or i in slots):
                    touch_pages(p, sizeof(Port))        # RTP ports: see engine_warm
                    e.kept[i] = <LearnRing*>calloc(1, sizeof(LearnRing))
                    if e.kept[i] == NULL:
                        raise MemoryError("media engine: no memory for the learner of tones")
                    for k in range(TAILS):
                        p.echoes[k] = echo_new(8000, 16 << k, nlp)
                        if p.echoes[k] == NULL:
                            raise MemoryError("media engine: no memory for echo cancellers")
            elif i - TDM_PORTS < e.nrtp:
                p.rtp = &e.rtp[i - TDM_PORTS]
                p.rtp.fd = rtp_fds[i - TDM_PORTS]
                p.rtp.rtcp_fd = rtcp_fds[i - TDM_PORTS] if i - TDM_PORTS < len(rtcp_fds) else -1
                p.rtp.relay_peer = -1
                p.rtp.side_left = SIDE_BURST
                with socket.socket(fileno=socket.dup(p.rtp.fd)) as s:
                    p.rtp.local_port = s.getsockname()[1]
                    p.rtp.family = s.family
                memset(&event, 0, sizeof(event))
                event.events = EPOLLIN
                event.data.u32 = i
                if epoll_ctl(e.epoll_fd, EPOLL_CTL_ADD, p.rtp.fd, &event):
                    raise HardwareError(f"RTP socket {p.rtp.fd} cannot be watched: pass open UDP sockets")
                event.data.u32 = i | RTCP_BIT
                if p.rtp.rtcp_fd >= 0 and epoll_ctl(e.epoll_fd, EPOLL_CTL_ADD, p.rtp.rtcp_fd, &event):
                    raise HardwareError(f"RTCP socket {p.rtp.rtcp_fd} cannot be watched: pass open UDP sockets")
        engine_warm(e)
        e.tick = load64(&e.ring.tick)
        name = os.urandom(12).hex().encode()            # RFC 7022 section 4.2: unlike any other, tells nothing
        memcpy(e.cname, <const char*>name, len(name))
        if world_fd is not None:
            m = mmap(NULL, sizeof(world_segment), PROT_READ | PROT_WRITE, MAP_SHARED, world_fd, 0)
            if m == MAP_FAILED:
                raise HardwareError("world segment cannot be mapped: pass the descriptor the parent made")
            e.world = <world_segment*>m
            if load32(&e.world.magic) != WORLD_MAGIC or e.world.version != WORLD_VERSION or e.world.ports != WORLD_PORTS:
                found = (hex(e.world.magic), e.world.version, e.world.ports)
                munmap(m, sizeof(world_segment))
                e.world = NULL
                raise HardwareError(f"world segment is magic, version, ports {found}, expected {(hex(WORLD_MAGIC), WORLD_VERSION, WORLD_PORTS)}: start the world of this release")
            e.world.media_pid = os.getpid()
            seam_world(e)
            if load64(&e.world.ticked) > e.tick:
                e.tick = load64(&e.world.ticked)
        else:
            seam_none(e)
        e.core_gone_tick = e.tick
        e.ntp_ns = e.tick * BLOCK_NS if seam_virtual(e) else mono_ns()
        e.ntp_base = <uint64_t>(wall_now_ms() + 2208988800000) // 1000 << 32

    def __dealloc__(self):
        cdef int i, k
        if self.e == NULL:
            return
        self.stop()
        if self.e.epoll_fd >= 0:
            close_fd(self.e.epoll_fd)
        if self.e.seal.fd >= 0:
            close_fd(self.e.seal.fd)
        if self.e.side.fd >= 0:
            close_fd(self.e.side.fd)
        if self.e.rtp != NULL:
            for i in range(self.e.nrtp):
                secure_drop(&self.e.rtp[i])
        free(self.e.learn_work)
        free(self.e.scan)
        for i in range(TDM_PORTS):
            free(self.e.kept[i])
            for k in range(TAILS):
                if self.e.port != NULL and self.e.port[i].echoes[k] != NULL:
                    echo_free(self.e.port[i].echoes[k])
        free(self.e.port)
        if self.e.recorder[0].ring != NULL:
            munmap(self.e.recorder[0].ring, RECORDERS * RING_BYTES)
        for i in range(RECORDERS):
            if self.e.file[i].fd >= 0:
                close_fd(self.e.file[i].fd)
        if self.e.clips != NULL:
            for i in range(self.e.nclips):
                free(self.e.clips[i].codes)
            free(self.e.clips)
        free(self.e.rtp)
        free(self.e.coder_memory)
        if self.e.world != NULL:
            munmap(self.e.world, sizeof(world_segment))
        free(self.e)
        self.e = NULL

    def capsule(self):
        """The engine for another native module (`alsa.bind_card`)."""
        return PyCapsule_New(self.e, "branchpbx.engine", NULL)

    def load_clip(self, str name, samples):
        """Keep a clip (8 kHz mono 16-bit little-endian bytes) in memory, as A-law; returns its number. From one thread; the engine may run.

        The number of a clip that was dropped is given again after `CLIP_REST` ticks, when no player can hold it any more.
        """
        cdef const uint8_t[::1] view = samples
        cdef int n = view.shape[0] // 2
        cdef int number = self.e.nclips
        cdef Clip* c
        cdef uint8_t* kept
        if self.gone and load64(&self.e.ring.tick) - <uint64_t>self.gone[0][1] > CLIP_REST:
            number = self.gone[0][0]
        elif self.e.nclips >= CLIPS_MOST:
            raise HardwareError(f"clip {name!r}: more than {CLIPS_MOST} clips, remove some")
        kept = <uint8_t*>calloc(max(1, n), 1)
        if kept == NULL:
            raise MemoryError(f"clip {name!r}: no memory for {n} samples")
        if n:
            g711_encode(LAW_PCMA, <const short*>&view[0], kept, n)
        c = &self.e.clips[number]
        if number < self.e.nclips:
            free(c.codes)
            self.gone.pop(0)
            self.names[number] = name
        else:
            self.names.append(name)
        c.codes = kept
        storei32(<int32_t*>&c.n, n)                         # what a player reads first
        if number == self.e.nclips:
            storei32(<int32_t*>&self.e.nclips, number + 1)
        return number

    def drop_clip(self, int number):
        """Forget a clip: players skip it from the next tick on; its memory goes when a number is needed again."""
        if not 0 <= number < self.e.nclips or self.e.clips[number].n < 0:
            return
        storei32(<int32_t*>&self.e.clips[number].n, -1)
        self.names[number] = f"-/{number}"
        self.gone.append((number, load64(&self.e.ring.tick)))

    @property
    def clips(self):
        """Names by number."""
        return list(self.names)

    @property
    def local_ports(self):
        """UDP port of each RTP port, from engine port 16 on."""
        return [self.e.rtp[i].local_port for i in range(self.e.nrtp)]

    @property
    def realtime(self):
        """True when the threads got real-time priority."""
        return bool(self.e.realtime)

    @property
    def silent_ticks(self):
        """Ticks that ran without a block from the line card."""
        return self.e.silent

    def attach_file(self, uint32_t file, int fd, bytes key=b"", bytes ident=b"", str coded=""):
        """Hand over the descriptor of recording number `file`; the engine closes it. With a key it is sealed, behind a header that is there.

        `coded`: "a-law", "mu-law" or "" for 16 bit; only what is sealed can be coded.
        """
        cdef FileSlot* f = &self.e.file[file % RECORDERS]
        if key and (len(key) != sizeof(f.key) or len(ident) != sizeof(f.ident)):
            raise ValueError("a sealed recording needs a key of 32 bytes and an identity of 16")
        if coded not in ("", "a-law", "mu-law") or (coded and not key):
            raise ValueError(f"{coded!r} is no coding of a recording{'' if key else ' that is not sealed'}")
        old = loadi32(&f.fd)
        if old >= 0:
            storei32(&f.fd, -1)
            close_fd(old)
        f.sealed = 0 if not key else {"": 1, "a-law": 2, "mu-law": 3}[coded]
        if f.sealed:
            memcpy(f.key, <const char*>key, sizeof(f.key))
            memcpy(f.ident, <const char*>ident, sizeof(f.ident))
        store32(&f.file, file)
        storei32(&f.fd, fd)

    # the side: STUN and DTLS on RTP sockets

    @property
    def side_fd(self):
        """Becomes readable (an eventfd) when `side_take` has something."""
        return self.e.side.fd

    def side_take(self, int most=32):
        """Datagrams of STUN and DTLS that arrived: (port, opening of the port, bytes, (address, UDP port)); from one thread."""
        cdef SideRing* q = &self.e.side
        cdef SideSlot* s
        cdef list out = []
        while q.tail < load64(&q.head) and len(out) < most:
            s = &q.slot[q.tail % SIDE_RING]
            out.append((s.port, s.opened, (<const char*>s.data)[:s.n], address_text(&s.source)))
            store64(&q.tail, q.tail + 1)
        return out

    def side_send(self, int port, bytes data, remote):
        """Send a datagram from the RTP socket of a port to (address, UDP port); False when the system did not take it."""
        cdef net_address to
        cdef RtpPort* r = self._rtp(port)
        address_fill(&to, remote)
        return net_send(r.fd, r.family, <const char*>data, len(data), &to) >= 0

    def side_nominate(self, int port, uint32_t opened, remote):
        """From the next tick on speak to and hear this address alone; None: what the SDP says again. Raises HardwareError when the tick stands still."""
        cdef SideAsk ask
        memset(&ask, 0, sizeof(ask))
        self._rtp(port)
        ask.port = port
        ask.opened = opened
        ask.suite = -1
        if remote is not None:
            address_fill(&ask.remote, remote)
        if not side_ask(self.e, &ask):
            raise HardwareError("the engine takes no wishes: it stands still")

    def side_keys(self, int port, uint32_t opened, str suite, bytes send, bytes receive):
        """SRTP keys of a port that was opened with suite "DTLS", from the next tick on. Raises ValueError for a wrong suite or size."""
        cdef SideAsk ask
        self._rtp(port)
        if suite not in SUITE_NUMBERS:
            raise ValueError(f"SRTP suite is {suite!r}, must be one of {', '.join(SUITE_NUMBERS)}")
        number, size = SUITE_NUMBERS[suite]
        if len(send) != size or len(receive) != size:
            raise ValueError(f"{suite} needs keys of {size} bytes, not {len(send)} and {len(receive)}")
        memset(&ask, 0, sizeof(ask))
        ask.port = port
        ask.opened = opened
        ask.suite = number
        memcpy(ask.send, <const char*>send, size)
        memcpy(ask.receive, <const char*>receive, size)
        taken = side_ask(self.e, &ask)
        explicit_bzero(&ask, sizeof(ask))
        if not taken:
            raise HardwareError("the engine takes no wishes: it stands still")

    def side_opening(self, int port):
        """The number of a port's opening or closing, to tell one call from the next."""
        return load32(&self._rtp(port).opened)

    @property
    def side_figures(self):
        """Datagrams for the side that were lost: (no room, refused by port)."""
        return self.e.side.lost, {TDM_PORTS + i: self.e.rtp[i].side_refused for i in range(self.e.nrtp) if self.e.rtp[i].side_refused}

    cdef RtpPort* _rtp(self, int port) except NULL:
        if not TDM_PORTS <= port < self.e.nports:
            raise ValueError(f"port {port} is no RTP port")
        return self.e.port[port].rtp

    # line chips

    def scan(self, int slot, str kind, plan, *, int chain, str framing, int position, base):
        """Let the scanner read and drive the chip of a slot by a plan (`hal.scan.ScanPlan`). Only before start().

        `base`: values of the registers of which a drive changes single bits, and of those that hold hook or feed: the drive that
        stands already is known by them. Returns its code, -1 = none. Raises ValueError for a plan that cannot be carried out.
        """
        if self.running:
            raise HardwareError(f"slot {slot}: chips are named before the engine starts")
        code = scan_compile(self.e.scan, slot, kind, plan, chain, framing, position, base)
        if code >= 0:
            store32(&self.e.drive[slot], <uint32_t><int>code)
        return code

    def spidev(self, int chain, int fd, uint32_t speed_hz=2_000_000):
        """Name the SPI device of a chain (without the world; only before start). A socket answers each packet of bytes with as many."""
        if self.running:
            raise HardwareError(f"chain {chain}: devices are named before the engine starts")
        if self.e.world != NULL:
            raise HardwareError(f"chain {chain}: the chips of the world are reached through its segment, not through a device")
        if not 0 <= chain < SCAN_CHAINS:
            raise ValueError(f"chain is {chain}, must be 0 to {SCAN_CHAINS - 1}")
        spi_bind(self.e.scan, chain, fd, speed_hz)

    def lock_chain(self, int chain, int wait_ms=100):
        """Keep the scanner off a chain for ONE access that takes several system calls; True when it is yours. It skips the chain meanwhile."""
        cdef int got
        cdef uint64_t wait_ns = <uint64_t>wait_ms * 1000000
        if not 0 <= chain < SCAN_CHAINS:
            raise ValueError(f"chain is {chain}, must be 0 to {SCAN_CHAINS - 1}")
        with nogil:
            got = spi_lock(self.e.scan, chain, wait_ns)
        return bool(got)

    def unlock_chain(self, int chain):
        """Let the scanner at the chain again."""
        if not 0 <= chain < SCAN_CHAINS:
            raise ValueError(f"chain is {chain}, must be 0 to {SCAN_CHAINS - 1}")
        spi_unlock(self.e.scan, chain)

    def hold_chip(self, int slot, bint on, int wait_ms=2000):
        """Have the scanner let go of a chip, or give it back; facts hold meanwhile, drives are remembered.

        Returns True when no access of the scanner is under way or posted any more; False when that did not come true within
        `wait_ms` (the hold stands nevertheless). A chip that is given back is driven again if it is not as it shall be.
        """
        cdef int done
        cdef int64_t wait_ns = <int64_t>wait_ms * 1000000
        self._chip(slot)
        if not self.running:
            wait_ns = 0
        with nogil:
            done = hardware_hold(self.e, slot, on, wait_ns)
        return bool(done) or not self.running

    def standing_drive(self, int slot):
        """The drive code that stands on a chip's line; -1 while a timed drive or pulses run, or before the first."""
        self._chip(slot)
        return loadi32(&self.e.scan.chip[slot].told)

    def hardware_wait(self, int64_t until):
        """Wait for faults of chips, at most until engine ms `until`: a list of (slot, fault, register, value read).

        The list is empty at `until`, after `hardware_wake`, and when the engine stops. Faults are named as in `hal.api.FaultKind`; one that
        stands comes again every 100 ms. One thread only; under a virtual clock time stands still while it is not inside.
        """
        cdef ScanFault found[16]
        cdef int i, n
        with nogil:
            n = hardware_await(self.e, until, found, 16)
        return [(found[i].slot, FAULT_NAMES[found[i].fault], found[i].reg, found[i].value) for i in range(n)]

    def hardware_wake(self):
        """Let `hardware_wait` return at once."""
        hardware_ring(self.e)

    @property
    def now(self):
        """Engine ms that `hardware_wait` goes by: the end of the last tick."""
        return max(loadi64(&self.e.hardware.now), <int64_t>load64(&self.e.tick) * 10)

    def post_health(self, int slot, str kind, bint raised, bint final, str step, str text, int register, int read, int attempt, str state):
        """Tell core about the health of a chip: event PortHealth, with the instant of the running tick. From one thread."""
        cdef pay_health h
        health_fill(&h, kind, raised, final, step, text, register, read, attempt, state)
        emit_from(self.e, &self.e.hardware.lane, EVT_PORT_HEALTH, slot, self.now, &h, sizeof(h))

    @property
    def scan_figures(self):
        """Counters of the scanner: scans, accesses, bytes, scans that came late, garbage by slot."""
        return scan_figures(self.e.scan)

    cdef int _chip(self, int slot) except -1:
        if not 0 <= slot < SCAN_SLOTS or not self.e.scan.chip[slot].used:
            raise ValueError(f"slot {slot} has no chip that is scanned")
        return 0

    def start(self, bint lock_memory=True):
        """Post the new epoch, fail commands meant for an earlier media process, and start the threads."""
        cdef pay_epoch d
        cdef int i
        cdef EngineState* e = self.e
        cdef thread_entry entry[THREADS]
        if self.running:
            return
        e.stop = 0
        # On fault only: locking everything would copy each page of the image that the processes share.
        self.locked = lock_memory and mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0
        d.epoch = e.ring.epoch + 1
        store32(&e.ring.epoch, d.epoch)
        engine_wall(e)
        if e.world != NULL:
            engine_align(e)
            e.last_delivered = load64(&e.world.delivered)
        emit(e, EVT_EPOCH, 0, <int64_t>e.tick * 10, &d, sizeof(d))
        refuse_commands(e)
        store64(&e.ring.tick, e.tick)
        e.origin_ns = mono_ns() - e.tick * <uint64_t>BLOCK_NS
        engine_threads(entry)
        for i in range(THREADS):
            if pthread_create(&self.threads[i], NULL, entry[i], <void*>e):
                self.running = i
                self.stop()
                raise HardwareError("media engine: a thread cannot be started, raise the limit of processes")
            self.running = i + 1
        with nogil:             # three of them ask for real-time priority: the answer belongs to the log
            for i in range(100):
                if load32(&e.started) >= 3:
                    break
                futex_wait32(&e.started, load32(&e.started), BLOCK_NS)

    def stop(self):
        """Stop the threads, then finish the recordings; idempotent."""
        cdef int i, n = self.running
        cdef EngineState* e = self.e
        if not n:
            return
        store32(&e.stop, 1)
        futex_wake32(&e.ring.core_progress)
        hardware_ring(e)
        futex_wake32(&e.hardware.progress)
        if e.world != NULL:
            futex_wake32(<uint32_t*>&e.world.delivered)
        with nogil:
            for i in range(n):
                pthread_join(self.threads[i], NULL)
            for i in range(RECORDERS):
                if load32(&e.recorder[i].state) == 1:
                    e.recorder[i].stop_at = tick_ms(e)
                    e.recorder[i].stopped_ns = mono_ns()
                    store32(&e.recorder[i].state, 2)
            recorder_work(e)
            engine_gather(e, &e.file_lane)
        self.running = 0
        e.hardware.attached = 0
        e.started = 0
