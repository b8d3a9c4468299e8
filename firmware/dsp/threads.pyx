# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The native threads of the media engine (L2).

Theory of operation
-------------------
*tick* (audio, commands, the only writer of the event ring), *rtp* (epoll over the sockets; a virtual clock has the tick do this), *scan*
(lines) and *file* (recordings, the learner of tones, and memory for the RTP ports that come next). Every tick: wait for the block, carry out commands, hear, mix, speak, let the
keeper of the chips see the instant, gather the other threads' events, advance the clock word, wake core.
In real time a block is finished before the events are gathered; under a virtual clock only after core has handled every
event and its horizon lies ahead, so that all processes see one time. Without core (its flag is cleared) a virtual clock runs
in real time, and after 60 s without core everything is closed: the dead-man rule.
Invariants: the tick neither allocates nor locks nor writes files; the clock word never goes back, also over restarts.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from firmware.dsp.abi cimport *
from firmware.dsp.address cimport net_address, net_receive
from firmware.dsp.commands cimport run_commands, shut_all
from firmware.dsp.detect cimport learn_work
from firmware.dsp.echo cimport echo_reset
from firmware.dsp.gauge cimport learned_use
from firmware.dsp.hardware cimport hardware_tick
from firmware.dsp.mixer cimport mixer_tick
from firmware.dsp.recorder cimport recorder_work
from firmware.dsp.rtcp cimport rtcp_leave_all, rtcp_receive, rtcp_run
from firmware.dsp.rtp cimport rtp_keys_expire, rtp_receive
from firmware.dsp.rtp_secure cimport secure_flush, secure_waits
from firmware.dsp.rtp_side cimport side_run
from firmware.dsp.scan_spi cimport spi_run, spi_there
from firmware.dsp.scan_world cimport scan_blocks, world_post
from firmware.dsp.seam cimport seam_virtual
from firmware.dsp.state cimport *

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    struct sched_param:
        int sched_priority
    int pthread_setschedparam(pthread_t thread, int policy, const sched_param* param)
    pthread_t pthread_self()
    enum: SCHED_FIFO

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_wait(int epfd, epoll_event* events, int most, int timeout)

cdef extern from "<unistd.h>" nogil:
    ssize_t write_fd "write"(int fd, const void* data, size_t n)
    ssize_t read_fd "read"(int fd, void* data, size_t n)

cdef enum:
    DEAD_MAN = 6000             # ticks
    CORE_WAIT_NS = 2000000000
    BLOCK_NS = 10000000
    BURST = 64                  # datagrams of one socket in a tick of a virtual clock
    RTCP_BURST = 8
    WARM = 8                    # RTP ports


cdef void _realtime(EngineState* e, int priority) noexcept nogil:
    cdef sched_param param
    memset(&param, 0, sizeof(param))
    param.sched_priority = priority
    if pthread_setschedparam(pthread_self(), SCHED_FIFO, &param) == 0:
        e.realtime = 1
    add32(&e.started, 1)
    futex_wake32(&e.started)


cdef void engine_gather(EngineState* e, event_lane* lane) noexcept nogil:
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


cdef void engine_reset_echo(EngineState* e) noexcept nogil:
    """What the cancellers learned is void; what is known of the lines under this alignment is tried again."""
    cdef int i
    for i in range(TDM_PORTS):
        if e.port[i].echo != NULL:
            echo_reset(e.port[i].echo)
            if e.port[i].open:
                learned_use(e, &e.port[i])


cdef void engine_align(EngineState* e) noexcept nogil:
    """The world moved playback against capture: what the cancellers learned is void."""
    e.align_epoch = load32(&e.world.align_epoch)
    e.depth = load32(&e.world.playback_depth)
    if e.depth < 1 or e.depth >= WORLD_BLOCKS:
        e.depth = 1
    engine_reset_echo(e)


cdef void _dead_man(EngineState* e) noexcept nogil:
    if load32(&e.ring.core_present):
        e.core_gone_tick = e.tick
        e.dead = 0
    elif not e.dead and e.tick - e.core_gone_tick >= DEAD_MAN:
        e.dead = 1
        shut_all(e)


cdef void engine_wall(EngineState* e) noexcept nogil:
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
        store64(&e.origin_ns, began - (e.tick + 1) * <uint64_t>BLOCK_NS)
        virtual_clock = seam_virtual(e)
        if not virtual_clock and began > due and (began - due) // 1000 > e.ring.worst_late_us:
            e.ring.worst_late_us = (began - due) // 1000
        if e.tick > last:       # blocks were skipped: the clock word follows
            store64(&e.ring.tick, e.tick)
        engine_wall(e)
        if e.world != NULL and load32(&e.world.align_epoch) != e.align_epoch:
            engine_align(e)
        _dead_man(e)
        if virtual_clock:
            for i in range(BURST):
                if _receive_rtp(e, 0) <= 0:
                    break
            _rtp_pass(e)
        run_commands(e)
        side_run(e)
        mixer_tick(e)
        if secure_waits(e):
            if virtual_clock:
                _own_rtp(e)
                if load32(&e.seal.ask):
                    rtcp_leave_all(e)
                secure_flush(e)
                store32(&e.rtp_busy, 0)
            else:
                write_fd(e.seal.fd, &one, 8)
        if virtual_clock:
            scan_blocks(e)
        else:
            world_post(e)
            e.seam.finish(e)
        hardware_tick(e, virtual_clock)
        engine_gather(e, &e.hardware.lane)
        engine_gather(e, &e.scan_lane)
        engine_gather(e, &e.rtp_lane)
        engine_gather(e, &e.file_lane)
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
            world_post(e)
            e.seam.finish(e)
        store64(&e.tick, e.tick + 1)
    return NULL


cdef void* _scan_thread(void* arg) noexcept nogil:
    cdef EngineState* e = <EngineState*>arg
    cdef uint64_t delivered
    _realtime(e, 40)
    if e.world == NULL and spi_there(e.scan):
        spi_run(e)
    while not load32(&e.stop):
        if e.world == NULL or seam_virtual(e):
            sleep_until_ns(mono_ns() + 20000000)
            continue
        delivered = load64(&e.world.delivered)
        if not scan_blocks(e):
            futex_wait32(<uint32_t*>&e.world.delivered, <uint32_t>delivered, 20000000)
    return NULL


cdef void _own_rtp(EngineState* e) noexcept nogil:
    """Until rtp_busy is cleared: what belongs to the RTP thread. Two threads meet here only when the clock has just become a virtual one."""
    while swap32(&e.rtp_busy, 1):
        sleep_until_ns(mono_ns() + 50000)


cdef void _rtp_pass(EngineState* e) noexcept nogil:
    """What is due at RTP ports without a packet: ends of keys, reports."""
    cdef int i
    for i in range(e.nrtp):
        rtp_keys_expire(e, &e.port[TDM_PORTS + i])
        rtcp_run(e, &e.port[TDM_PORTS + i])


cdef int _receive_rtp(EngineState* e, int wait_ms) noexcept nogil:
    """Take a datagram from each socket that has one, waiting for it at most `wait_ms`; how many had one."""
    cdef epoll_event ready[64]
    cdef uint64_t words[256]            # aligned for decryption
    cdef uint8_t* data = <uint8_t*>words
    cdef uint64_t rung
    cdef net_address source
    cdef ssize_t n
    cdef int i, k, count
    cdef Port* p
    count = epoll_wait(e.epoll_fd, ready, 64, wait_ms)
    if count <= 0:
        return 0
    _own_rtp(e)
    for i in range(count):
        if ready[i].data.u32 == BELL:
            read_fd(e.seal.fd, &rung, 8)
            if load32(&e.seal.ask):
                rtcp_leave_all(e)
            secure_flush(e)
            continue
        p = &e.port[ready[i].data.u32 & (RTCP_BIT - 1)]
        if ready[i].data.u32 & RTCP_BIT:
            for k in range(RTCP_BURST):
                n = net_receive(p.rtp.rtcp_fd, data, sizeof(words), &source)
                if n < 0:
                    break
                rtcp_receive(e, p, data, <int>n, &source, 1)
            continue
        n = net_receive(p.rtp.fd, data, sizeof(words), &source)
        if n >= 0:              # one each: epoll tells again of what is left, for less than asking every socket twice
            rtp_receive(e, p, data, <int>n, &source)
    store32(&e.rtp_busy, 0)
    return count


cdef void* _rtp_thread(void* arg) noexcept nogil:
    """Real time: datagrams on arrival. A virtual clock lets the tick take them, so that none comes later than it was sent."""
    cdef EngineState* e = <EngineState*>arg
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
            _own_rtp(e)
            _rtp_pass(e)
            store32(&e.rtp_busy, 0)
    return NULL


cdef void engine_warm(EngineState* e) noexcept nogil:
    """Have the memory of the RTP ports there that are opened next: core takes the lowest ones. Not that of Opus and of tone detectors."""
    cdef int wanted = WARM, i
    cdef Port* p
    if e.warm == e.nrtp:
        return
    for i in range(e.nrtp - 1, -1, -1):
        if e.port[TDM_PORTS + i].open:
            wanted = i + 1 + WARM
            break
    while e.warm < wanted and e.warm < e.nrtp:
        p = &e.port[TDM_PORTS + e.warm]
        touch_pages(p.rtp, sizeof(RtpPort))
        touch_pages(p, <size_t>(<char*>p.tone - <char*>p))
        touch_pages(&p.fax, <size_t>(<char*>p + sizeof(Port) - <char*>&p.fax))
        e.warm += 1


cdef void* _file_thread(void* arg) noexcept nogil:
    cdef EngineState* e = <EngineState*>arg
    while not load32(&e.stop):
        engine_warm(e)
        recorder_work(e)
        learn_work(e)
        sleep_until_ns(mono_ns() + 50000000)
    return NULL


cdef void engine_threads(thread_entry* entry) noexcept nogil:
    """Entry points; each takes the EngineState."""
    entry[0] = _tick_thread
    entry[1] = _rtp_thread
    entry[2] = _scan_thread
    entry[3] = _file_thread
