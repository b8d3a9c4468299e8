# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The media engine: native threads and the memory they share (L2; only the media process imports this).

Theory of operation
-------------------
`start()` creates four native threads that never touch Python: *tick* (audio, commands, the only writer of the event ring),
*rtp* (epoll over the sockets; a virtual clock has the tick do this), *scan* (line facts) and *file* (recordings, the learner of tones). All memory is allocated in `__init__`. Every tick:
wait for the block, carry out commands, hear, mix, speak, gather the other threads' events, advance the clock word, wake core.
In real time a block is finished before the events are gathered; under a virtual clock only after core has handled every
event and its horizon lies ahead, so that all processes see one time. Without core (its flag is cleared) a virtual clock runs
in real time, and after 60 s without core everything is closed: the dead-man rule.
Invariants: the tick neither allocates nor locks nor writes files; the clock word never goes back, also over restarts.
"""
import os
import socket

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.codec cimport CODEC_PCMA, codec_init, codec_size
from firmware.dsp.commands cimport refuse_commands, run_commands, shut_all
from firmware.dsp.detect cimport learn_work
from firmware.dsp.echo cimport echo_free, echo_new, echo_reset
from firmware.dsp.emit cimport emit, tick_ms
from firmware.dsp.gauge cimport learned_use
from firmware.dsp.learner cimport learn_reset
from firmware.dsp.learner_pitch cimport LearnRing, LearnWork
from firmware.dsp.mixer cimport mixer_tick
from firmware.dsp.recorder cimport recorder_work
from firmware.dsp.ring cimport RingSegment
from firmware.dsp.rtp cimport rtp_keys_expire, rtp_receive
from firmware.dsp.scanner cimport scan_blocks
from firmware.dsp.seam cimport seam_none, seam_virtual, seam_world
from firmware.dsp.state cimport *
from firmware.errors import HardwareError

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    struct sched_param:
        int sched_priority
    int pthread_create(pthread_t* thread, void* attr, void* (*start)(void*) noexcept nogil, void* arg)
    int pthread_join(pthread_t thread, void** result)
    int pthread_setschedparam(pthread_t thread, int policy, const sched_param* param)
    pthread_t pthread_self()
    enum: SCHED_FIFO

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void* addr, size_t length)
    int mlockall(int flags)
    enum: PROT_READ, PROT_WRITE, MAP_SHARED, MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT
    void* MAP_FAILED

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int most, int timeout)
    enum: EPOLLIN, EPOLL_CTL_ADD, EPOLL_CLOEXEC

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    uint32_t ntohl(uint32_t)
    uint16_t ntohs(uint16_t)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    ssize_t recvfrom(int fd, void* data, size_t n, int flags, sockaddr_in* source, socklen_t* size)
    enum: MSG_DONTWAIT

cdef extern from "<unistd.h>" nogil:
    ssize_t write_fd "write"(int fd, const void* data, size_t n)
    int close_fd "close"(int fd)

cdef enum:
    DEAD_MAN = 6000             # ticks
    CORE_WAIT_NS = 2000000000
    BLOCK_NS = 10000000
    BURST = 64                  # datagrams taken from one socket at a time

CLIPS_MOST = 2048


# --- threads -----------------------------------------------------------------------------------------------------------

cdef void _realtime(EngineState* e, int priority) noexcept nogil:
    cdef sched_param param
    memset(&param, 0, sizeof(param))
    param.sched_priority = priority
    if pthread_setschedparam(pthread_self(), SCHED_FIFO, &param) == 0:
        e.realtime = 1
    add32(&e.started, 1)
    futex_wake32(&e.started)


cdef void _gather(EngineState* e, event_lane* lane) noexcept nogil:
    cdef ring_event* v = lane_peek(lane)
    while v != NULL:
        ring_post(e.ring, v, 0)
        e.posted += 1
        lane_pop(lane)
        v = lane_peek(lane)
    if lane.lost:
        e.ring.lost_events += lane.lost
        lane.lost = 0


cdef void _await_core(EngineState* e) noexcept nogil:
    """Virtual clock: no time passes until core has handled this tick."""
    cdef ring_segment* s = e.ring
    cdef uint64_t began = mono_ns(), spent, most = BLOCK_NS if e.core_slow else CORE_WAIT_NS
    cdef uint32_t seen
    if not load32(&s.core_present):
        e.due_ns = (e.due_ns + BLOCK_NS) if e.due_ns + BLOCK_NS > began and e.due_ns < began + 2 * BLOCK_NS else began + BLOCK_NS
        sleep_until_ns(e.due_ns)
        return
    swap32(&s.media_waiting, 1)
    while not load32(&e.stop):
        seen = load32(&s.core_progress)
        if load64(&s.event_tail) == s.event_head and loadi64(&s.horizon) > <int64_t>(e.tick + 1):
            e.core_slow = 0
            break
        if not load32(&s.core_present):
            break
        spent = mono_ns() - began
        if spent >= most:
            e.core_slow = 1
            break
        futex_wait32(&s.core_progress, seen, <int64_t>(most - spent) if most - spent < 100000000 else 100000000)
    store32(&s.media_waiting, 0)


cdef void _align(EngineState* e) noexcept nogil:
    """The world moved playback against capture: what the cancellers learned is void."""
    cdef int i
    e.align_epoch = load32(&e.world.align_epoch)
    e.depth = load32(&e.world.playback_depth)
    if e.depth < 1 or e.depth >= WORLD_BLOCKS:
        e.depth = 1
    for i in range(TDM_PORTS):
        if e.port[i].echo != NULL:
            echo_reset(e.port[i].echo)
            if e.port[i].open:
                learned_use(e, &e.port[i])


cdef void _dead_man(EngineState* e) noexcept nogil:
    if load32(&e.ring.core_present):
        e.core_gone_tick = e.tick
        e.dead = 0
    elif not e.dead and e.tick - e.core_gone_tick >= DEAD_MAN:
        e.dead = 1
        shut_all(e)


cdef void _wall(EngineState* e) noexcept nogil:
    """Keep Unix time of tick 0: the world sets it, or the system clock, followed when it steps by 50 ms or more."""
    cdef int64_t base
    if e.world != NULL:
        base = loadi64(&e.world.wall_base_ms)
    else:
        base = wall_now_ms() - <int64_t>e.tick * 10
        if -50 < base - e.ring.wall_base_ms < 50:
            return
    if base != e.ring.wall_base_ms:
        storei64(&e.ring.wall_base_ms, base)


cdef void* _tick_thread(void* arg) noexcept nogil:
    cdef EngineState* e = <EngineState*>arg
    cdef uint64_t one = 1, began, spent, due, last
    cdef int waited, virtual_clock, i
    _realtime(e, 50)
    e.due_ns = mono_ns() + BLOCK_NS
    while True:
        due = e.due_ns
        last = e.tick
        waited = e.seam.wait_block(e)
        if waited < 0:
            break
        began = mono_ns()
        virtual_clock = seam_virtual(e)
        if not virtual_clock and began > due and (began - due) // 1000 > e.ring.worst_late_us:
            e.ring.worst_late_us = (began - due) // 1000
        if e.tick > last:       # blocks were skipped: the clock word follows
            store64(&e.ring.tick, e.tick)
        _wall(e)
        if e.world != NULL and load32(&e.world.align_epoch) != e.align_epoch:
            _align(e)
        _dead_man(e)
        if virtual_clock:
            _receive_rtp(e, 0)
            for i in range(e.nrtp):
                rtp_keys_expire(e, &e.port[TDM_PORTS + i])
        run_commands(e)
        mixer_tick(e)
        if virtual_clock:
            scan_blocks(e)
        else:
            e.seam.finish(e)
        _gather(e, &e.scan_lane)
        _gather(e, &e.rtp_lane)
        _gather(e, &e.file_lane)
        spent = (mono_ns() - began) // 1000
        e.ring.busy_us += spent
        if spent > e.ring.worst_busy_us:
            e.ring.worst_busy_us = spent
        store64(&e.ring.tick, e.tick + 1)
        if e.posted or loadi64(&e.ring.horizon) <= <int64_t>(e.tick + 1):
            write_fd(e.event_fd, &one, 8)
            e.posted = 0        # not earlier: what was posted before the first tick counts too
        if virtual_clock:
            _await_core(e)
            e.seam.finish(e)
        store64(&e.tick, e.tick + 1)
    return NULL


cdef void* _scan_thread(void* arg) noexcept nogil:
    cdef EngineState* e = <EngineState*>arg
    cdef uint64_t delivered
    _realtime(e, 40)
    while not load32(&e.stop):
        if e.world == NULL or seam_virtual(e):
            sleep_until_ns(mono_ns() + 20000000)
            continue
        delivered = load64(&e.world.delivered)
        if not scan_blocks(e):
            futex_wait32(<uint32_t*>&e.world.delivered, <uint32_t>delivered, 20000000)
    return NULL


cdef void _receive_rtp(EngineState* e, int wait_ms) noexcept nogil:
    """Take what has arrived at the RTP sockets, waiting for it at most `wait_ms`."""
    cdef epoll_event ready[64]
    cdef uint8_t data[2048]
    cdef sockaddr_in source
    cdef socklen_t size
    cdef ssize_t n
    cdef int i, k, count
    cdef Port* p
    count = epoll_wait(e.epoll_fd, ready, 64, wait_ms)
    if count <= 0:
        return
    while swap32(&e.rtp_busy, 1):       # two threads meet here only when the clock has just become a virtual one
        sleep_until_ns(mono_ns() + 50000)
    for i in range(count):
        p = &e.port[ready[i].data.u32]
        for k in range(BURST):
            size = sizeof(source)
            n = recvfrom(p.rtp.fd, data, sizeof(data), MSG_DONTWAIT, &source, &size)
            if n < 0:
                break
            rtp_receive(e, p, data, <int>n, ntohl(source.sin_addr.s_addr), ntohs(source.sin_port))
    store32(&e.rtp_busy, 0)


cdef void* _rtp_thread(void* arg) noexcept nogil:
    """Real time: datagrams on arrival. A virtual clock lets the tick take them, so that none comes later than it was sent."""
    cdef EngineState* e = <EngineState*>arg
    cdef int i
    cdef uint64_t now, checked = 0
    _realtime(e, 45)
    while not load32(&e.stop):
        if seam_virtual(e):
            sleep_until_ns(mono_ns() + 20000000)
            continue
        _receive_rtp(e, 50)
        now = mono_ns()
        if now - checked > 50000000:
            checked = now
            for i in range(e.nrtp):
                rtp_keys_expire(e, &e.port[TDM_PORTS + i])
    return NULL


cdef void* _file_thread(void* arg) noexcept nogil:
    cdef EngineState* e = <EngineState*>arg
    while not load32(&e.stop):
        recorder_work(e)
        learn_work(e)
        sleep_until_ns(mono_ns() + 50000000)
    return NULL


# --- Python face -------------------------------------------------------------------------------------------------------

cdef class Engine:
    """The media engine of one appliance; see the module text. One instance per media process."""

    cdef EngineState* e
    cdef RingSegment ring
    cdef pthread_t threads[4]
    cdef int running
    cdef list names
    cdef list sockets
    cdef readonly bint locked

    def __cinit__(self):
        self.e = NULL

    def __init__(self, RingSegment ring, int event_fd, world_fd, rtp_fds, jitter=(20, 200), bint nlp=True):
        """Bind to the ring, the world segment (None: no line card) and the bound UDP sockets (IPv4), which stay the caller's.

        `jitter`: bounds of the jitter buffers in ms. Raises HardwareError for a world segment of another version.
        """
        cdef int i, k
        cdef Port* p
        cdef epoll_event event
        cdef void* m
        if len(rtp_fds) > PORTS - TDM_PORTS:
            rtp_fds = rtp_fds[:PORTS - TDM_PORTS]
        self.ring = ring
        self.names = []
        self.sockets = []
        self.e = <EngineState*>calloc(1, sizeof(EngineState))
        if self.e == NULL:
            raise MemoryError("media engine: no memory for its ports")
        memset(self.e, 0, sizeof(EngineState))  # touched here, so that the tick faults no page
        e = self.e
        e.ring = ring._live()
        e.event_fd = event_fd
        e.epoll_fd = -1
        e.clips = <Clip*>calloc(CLIPS_MOST, sizeof(Clip))
        e.nrtp = len(rtp_fds)
        e.rtp = <RtpPort*>calloc(max(1, e.nrtp), sizeof(RtpPort))
        e.coder_memory = <char*>calloc(max(1, e.nrtp), codec_size())
        e.jitter_least, e.jitter_most = jitter
        e.random = <uint32_t>(mono_ns() & 0x7FFFFFFF) | 1
        if e.clips == NULL or e.rtp == NULL or e.coder_memory == NULL:
            raise MemoryError("media engine: no memory for clips and RTP ports")
        memset(e.rtp, 0, max(1, e.nrtp) * sizeof(RtpPort))
        memset(e.coder_memory, 0, max(1, e.nrtp) * codec_size())
        e.learn_work = <LearnWork*>calloc(1, sizeof(LearnWork))
        if e.learn_work == NULL:
            raise MemoryError("media engine: no memory for the learner of tones")
        for i in range(RECORDERS):
            e.file[i].fd = -1
            e.recorder[i].fd = -1
            e.recorder[i].ring = <short*>calloc(2 * RECORD_FRAMES, sizeof(short))
            if e.recorder[i].ring == NULL:
                raise MemoryError("media engine: no memory for recorders")
        e.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        for i in range(PORTS):
            p = &e.port[i]
            p.id = i
            p.bridge = p.relay = p.recorder = p.whisper = -1
            p.rx_gain = p.tx_gain = 1.0
            if i < TDM_PORTS:
                e.line[i].battery = e.line[i].battery_raw = e.line[i].polarity_raw = 2
                if world_fd is not None:
                    e.kept[i] = <LearnRing*>calloc(1, sizeof(LearnRing))
                    if e.kept[i] == NULL:
                        raise MemoryError("media engine: no memory for the learner of tones")
                    learn_reset(e.kept[i])
                    for k in range(TAILS):
                        p.echoes[k] = echo_new(8000, 16 << k, nlp)
                        if p.echoes[k] == NULL:
                            raise MemoryError("media engine: no memory for echo cancellers")
            elif i - TDM_PORTS < e.nrtp:
                p.rtp = &e.rtp[i - TDM_PORTS]
                p.rtp.fd = rtp_fds[i - TDM_PORTS]
                p.rtp.relay_peer = -1
                p.rtp.coder_memory = e.coder_memory + (i - TDM_PORTS) * codec_size()
                codec_init(&p.rtp.coder, CODEC_PCMA, 8000, p.rtp.coder_memory)
                p.rtp.ts_block = BLOCK
                p.rtp.dtmf_khz = 8
                with socket.socket(fileno=socket.dup(p.rtp.fd)) as s:
                    p.rtp.local_port = s.getsockname()[1]
                memset(&event, 0, sizeof(event))
                event.events = EPOLLIN
                event.data.u32 = i
                if epoll_ctl(e.epoll_fd, EPOLL_CTL_ADD, p.rtp.fd, &event):
                    raise HardwareError(f"RTP socket {p.rtp.fd} cannot be watched: pass open UDP sockets")
        e.tick = load64(&e.ring.tick)
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

    def __dealloc__(self):
        cdef int i, k
        if self.e == NULL:
            return
        self.stop()
        if self.e.epoll_fd >= 0:
            close_fd(self.e.epoll_fd)
        free(self.e.learn_work)
        for i in range(TDM_PORTS):
            free(self.e.kept[i])
            for k in range(TAILS):
                if self.e.port[i].echoes[k] != NULL:
                    echo_free(self.e.port[i].echoes[k])
        for i in range(RECORDERS):
            free(self.e.recorder[i].ring)
            if self.e.file[i].fd >= 0:
                close_fd(self.e.file[i].fd)
        if self.e.clips != NULL:
            for i in range(self.e.nclips):
                free(self.e.clips[i].samples)
            free(self.e.clips)
        free(self.e.rtp)
        free(self.e.coder_memory)
        if self.e.world != NULL:
            munmap(self.e.world, sizeof(world_segment))
        free(self.e)
        self.e = NULL

    def load_clip(self, str name, samples):
        """Keep a clip (8 kHz mono 16-bit little-endian bytes) in memory; returns its number. Only before start()."""
        cdef const uint8_t[::1] view = samples
        cdef int n = view.shape[0] // 2
        cdef Clip* c
        if self.running:
            raise HardwareError(f"clip {name!r}: clips are loaded before the engine starts")
        if self.e.nclips >= CLIPS_MOST:
            raise HardwareError(f"clip {name!r}: more than {CLIPS_MOST} clips, remove some")
        c = &self.e.clips[self.e.nclips]
        c.samples = <short*>calloc(max(1, n), sizeof(short))
        if c.samples == NULL:
            raise MemoryError(f"clip {name!r}: no memory for {n} samples")
        if n:
            memcpy(c.samples, &view[0], n * 2)
        c.n = n
        self.e.nclips += 1
        self.names.append(name)
        return self.e.nclips - 1

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

    def attach_file(self, uint32_t file, int fd):
        """Hand over the descriptor of recording number `file`; the engine closes it."""
        cdef FileSlot* f = &self.e.file[file % RECORDERS]
        old = loadi32(&f.fd)
        if old >= 0:
            storei32(&f.fd, -1)
            close_fd(old)
        store32(&f.file, file)
        storei32(&f.fd, fd)

    def start(self, bint lock_memory=True):
        """Post the new epoch, fail commands meant for an earlier media process, and start the threads."""
        cdef pay_epoch d
        cdef int i
        cdef EngineState* e = self.e
        cdef void* (*entry[4])(void*) noexcept nogil
        if self.running:
            return
        # On fault only: locking everything would copy each page of the image that the processes share.
        self.locked = lock_memory and mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0
        d.epoch = e.ring.epoch + 1
        store32(&e.ring.epoch, d.epoch)
        _wall(e)
        if e.world != NULL:
            _align(e)
            e.last_delivered = load64(&e.world.delivered)
        emit(e, EVT_EPOCH, 0, <int64_t>e.tick * 10, &d, sizeof(d))
        refuse_commands(e)
        store64(&e.ring.tick, e.tick)
        entry[0] = _tick_thread
        entry[1] = _rtp_thread
        entry[2] = _scan_thread
        entry[3] = _file_thread
        for i in range(4):
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
            _gather(e, &e.file_lane)
        self.running = 0
        e.stop = 0
        e.started = 0
