# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Recordings: from the tick through a ring to the file thread, as two-channel WAV (L2).

Theory of operation. The tick pushes 80 stereo frames (left what the telephone says, right what it hears) per block into the
recorder's ring and never waits: without room the frames are counted as lost. The file thread takes the descriptor that the
media process put into `file[]` (it may arrive after the recording began), and every 50 ms writes what has gathered, first the
samples, then the header with the new sizes. So the file is a correct WAV after every single write: the header never promises
samples that are not there, and a reader of a file cut anywhere behind the header finds whole samples before the cut.
fdatasync runs every 5 s and at the end. A write that fails (disk full) loses exactly its samples; the next one is tried anew.
Invariants: frames written = frames in the header; pushed = written + failed, offered = pushed + lost; `recorded` is posted once.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.emit cimport emit_from, tick_ms
from firmware.dsp.state cimport *

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void* data, size_t n, long offset)
    int fdatasync(int fd)
    int ftruncate(int fd, long size)
    int close_fd "close"(int fd)

cdef enum:
    HEADER = 44
    BATCH = 2048                # frames per write
    SYNC = 40000                # frames: 5 s
    MOST = 0x3FFFFFF0           # frames: the sizes of a WAV header are 32 bit
    WAIT_FILE_NS = 5000000000
    FREE = 0
    RUNNING = 1
    STOPPED = 2


cdef int recorder_start(EngineState* e, Port* p, uint32_t file, int64_t token) noexcept nogil:
    """Tick: begin to record a port; 0 when every recorder is taken."""
    cdef int i
    cdef Recorder* r
    for i in range(RECORDERS):
        r = &e.recorder[i]
        if load32(&r.state) == FREE:
            r.file = file
            r.token = token
            r.port = p.id
            r.head = r.tail = r.lost = r.failed = r.written = r.synced = 0
            r.fd = -1
            store32(&r.state, RUNNING)
            p.recorder = i
            return 1
    return 0


cdef void recorder_stop(EngineState* e, Port* p) noexcept nogil:
    """Tick: no more frames; `recorded` follows when they are on the disk."""
    cdef Recorder* r
    if p.recorder < 0:
        return
    r = &e.recorder[p.recorder]
    p.recorder = -1
    r.stop_at = tick_ms(e)
    r.stopped_ns = mono_ns()
    store32(&r.state, STOPPED)


cdef void recorder_push(EngineState* e, Port* p) noexcept nogil:
    """Tick: one block of the port."""
    cdef Recorder* r = &e.recorder[p.recorder]
    cdef uint64_t head = r.head
    cdef short* to
    cdef int i
    if head - load64(&r.tail) > RECORD_FRAMES - BLOCK:
        r.lost += BLOCK
        return
    to = r.ring + 2 * (head % RECORD_FRAMES)        # RECORD_FRAMES is no multiple of 80, so wrap by frame
    if head % RECORD_FRAMES + BLOCK <= RECORD_FRAMES:
        for i in range(BLOCK):
            to[2 * i] = p.heard[i]
            to[2 * i + 1] = p.out[i]
    else:
        for i in range(BLOCK):
            to = r.ring + 2 * ((head + i) % RECORD_FRAMES)
            to[0] = p.heard[i]
            to[1] = p.out[i]
    store64(&r.head, head + BLOCK)


cdef void _le32(uint8_t* to, uint32_t v) noexcept nogil:
    to[0] = v & 255
    to[1] = (v >> 8) & 255
    to[2] = (v >> 16) & 255
    to[3] = v >> 24


cdef int _header(int fd, uint64_t frames) noexcept nogil:
    """The 44 bytes of a WAV header: PCM, 2 channels, 8000 Hz, 16 bit."""
    cdef uint8_t h[44]
    memcpy(h, b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x40\x1f\0\0\0\x7d\0\0\x04\0\x10\0data\0\0\0\0", 44)
    _le32(&h[4], <uint32_t>(36 + frames * 4))
    _le32(&h[40], <uint32_t>(frames * 4))
    return pwrite(fd, h, HEADER, 0) == HEADER


cdef void _take_file(EngineState* e, Recorder* r) noexcept nogil:
    cdef FileSlot* f = &e.file[r.file % RECORDERS]
    cdef int fd = loadi32(&f.fd)
    if fd >= 0 and load32(&f.file) == r.file:
        storei32(&f.fd, -1)
        r.fd = fd
        _header(fd, 0)


cdef int _drain(Recorder* r, int all) noexcept nogil:
    """Write whole batches (or all that is there); returns whether anything moved."""
    cdef uint64_t head = load64(&r.head)
    cdef uint64_t tail = r.tail
    cdef uint64_t n, at
    cdef ssize_t done
    cdef int moved = 0
    while tail < head and (all or head - tail >= BATCH // 4):
        at = tail % RECORD_FRAMES
        n = head - tail
        if n > BATCH:
            n = BATCH
        if n > RECORD_FRAMES - at:
            n = RECORD_FRAMES - at
        if r.written + n > MOST:
            done = -1
        else:
            done = pwrite(r.fd, r.ring + 2 * at, n * 4, HEADER + <long>(r.written * 4))
        moved = 1
        if done >= 4:
            r.written += <uint64_t>done // 4
            if not _header(r.fd, r.written):
                done = 0
            n = <uint64_t>done // 4 if done > 0 else n
        if done < 4:
            r.failed += n
        tail += n
        store64(&r.tail, tail)
    return moved


cdef int recorder_work(EngineState* e) noexcept nogil:
    """File thread: serve every recorder once; returns whether there was work."""
    cdef int i, moved = 0
    cdef uint32_t state
    cdef Recorder* r
    cdef pay_recorded d
    for i in range(RECORDERS):
        r = &e.recorder[i]
        state = load32(&r.state)
        if state == FREE:
            continue
        if r.fd < 0:
            _take_file(e, r)
        if r.fd >= 0:
            moved |= _drain(r, state == STOPPED)
            if r.written - r.synced >= SYNC:
                fdatasync(r.fd)
                r.synced = r.written
        if state == STOPPED and (r.fd >= 0 or mono_ns() - r.stopped_ns > WAIT_FILE_NS):
            if r.fd >= 0:
                fdatasync(r.fd)
                close_fd(r.fd)
                r.fd = -1
            else:
                r.failed += load64(&r.head)
            memset(&d, 0, sizeof(d))
            d.token = r.token
            d.samples = r.written
            d.lost = r.lost + r.failed
            emit_from(e, &e.file_lane, EVT_RECORDED, r.port, r.stop_at, &d, sizeof(d))
            store32(&r.state, FREE)
            moved = 1
    return moved
