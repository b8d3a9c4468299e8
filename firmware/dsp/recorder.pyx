# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Recordings: from the tick through a ring to the file thread, as two-channel WAV or sealed (L2).

Theory of operation. The tick pushes 80 stereo frames (left what the telephone says, right what it hears) per block into the
recorder's ring and never waits: without room the frames are counted as lost. The file thread takes the descriptor that the
media process put into `file[]` (it may arrive after the recording began), and every 50 ms writes what has gathered, first the
samples, then the header with the new sizes. So the file is a correct WAV after every single write: the header never promises
samples that are not there, and a reader of a file cut anywhere behind the header finds whole samples before the cut.
A file that came with a key is not a WAV: behind its header the samples stand in sealed pieces of half a second (`vault.pyx`), and no clear
sample ever reaches the disk; a piece that could not be written is counted and its index never used again. Where it is wanted the file thread
codes them by G.711 first, which halves the file; the tick knows nothing of it.
fdatasync runs every 5 s, every second where sealed, and at the end. While a recorder is masked, its frames are silence on both channels. A write that fails (disk full) loses exactly its samples; the next one is tried anew.
Invariants: frames written = frames in the header; pushed = written + failed, offered = pushed + lost; `recorded` is posted once.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport *
from firmware.dsp.emit cimport emit_from, tick_ms
from firmware.dsp.g711 cimport LAW_PCMA, LAW_PCMU, g711_encode
from firmware.dsp.state cimport *
from firmware.dsp.vault cimport VAULT_CODED, VAULT_FINAL, VAULT_HEAD, VAULT_HEADER, VAULT_MU_LAW, VAULT_TAG, vault_seal

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* s, size_t n)

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void* data, size_t n, long offset)
    int fdatasync(int fd)
    int ftruncate(int fd, long size)
    int close_fd "close"(int fd)

cdef enum:
    HEADER = 44
    BATCH = 2048                # frames per write
    SYNC = 40000                # frames: 5 s
    PIECE = 4000                # frames of a sealed piece: 0.5 s
    SYNC_SEALED = 8000          # frames: 1 s
    MOST = 0x3FFFFFF0           # frames: the sizes of a WAV header are 32 bit
    WAIT_FILE_NS = 5000000000
    FREE = 0
    RUNNING = 1
    STOPPED = 2
    CODED_A = 2                 # values of `sealed` above 1
    CODED_MU = 3

cdef short _plain[2 * PIECE]                                        # of the file thread alone
cdef uint8_t _coded[2 * PIECE]
cdef uint8_t _sealed[VAULT_HEAD + 4 * PIECE + VAULT_TAG]


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
            r.masked = 0
            store32(&r.state, RUNNING)
            p.recorder = i
            return 1
    return 0


cdef int recorder_mask(EngineState* e, Port* p, int on) noexcept nogil:
    """Tick: silence from here on, or no longer; 0 when the port is not recorded."""
    if not p.open or p.recorder < 0:
        return 0
    e.recorder[p.recorder].masked = on
    return 1


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
            to[2 * i] = 0 if r.masked else p.heard[i]
            to[2 * i + 1] = 0 if r.masked else p.out[i]
    else:
        for i in range(BLOCK):
            to = r.ring + 2 * ((head + i) % RECORD_FRAMES)
            to[0] = 0 if r.masked else p.heard[i]
            to[1] = 0 if r.masked else p.out[i]
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
        r.sealed = f.sealed
        if r.sealed:
            memcpy(r.key, f.key, sizeof(r.key))
            memcpy(r.ident, f.ident, sizeof(r.ident))
            explicit_bzero(f.key, sizeof(f.key))
            r.index = 0
            r.offset = VAULT_HEADER
        storei32(&f.fd, -1)
        r.fd = fd
        if not r.sealed:
            _header(fd, 0)


cdef int _put_piece(Recorder* r, uint32_t word, const uint8_t* data) noexcept nogil:
    """Seal and write one piece of `data`; 1 when it is in the file. Its index is used up in any case."""
    cdef int size = vault_seal(r.key, r.ident, r.index, word, data, _sealed)
    r.index += 1
    if size == 0 or pwrite(r.fd, _sealed, size, <long>r.offset) != size:
        return 0
    r.offset += size
    return 1


cdef int _put_frames(Recorder* r, int n) noexcept nogil:
    """Write `n` frames of `_plain` as one piece, as the recorder codes them."""
    cdef uint32_t word = <uint32_t>(n * 2) | <uint32_t>VAULT_CODED
    if r.sealed < CODED_A:
        return _put_piece(r, <uint32_t>(n * 4), <const uint8_t*>_plain)
    if r.sealed == CODED_MU:
        word |= <uint32_t>VAULT_MU_LAW
    g711_encode(LAW_PCMU if r.sealed == CODED_MU else LAW_PCMA, _plain, _coded, 2 * n)
    return _put_piece(r, word, _coded)


cdef int _drain_sealed(Recorder* r, int all) noexcept nogil:
    """Write whole pieces (or all that is there); returns whether anything moved."""
    cdef uint64_t head = load64(&r.head)
    cdef uint64_t tail = r.tail
    cdef uint64_t n, at, first
    cdef int moved = 0
    while tail < head and (all or head - tail >= PIECE):
        n = head - tail
        if n > PIECE:
            n = PIECE
        at = tail % RECORD_FRAMES
        first = n if at + n <= RECORD_FRAMES else RECORD_FRAMES - at
        memcpy(_plain, r.ring + 2 * at, first * 4)
        memcpy(&_plain[2 * first], r.ring, (n - first) * 4)
        if _put_frames(r, <int>n):
            r.written += n
        else:
            r.failed += n
        tail += n
        store64(&r.tail, tail)
        moved = 1
    explicit_bzero(_plain, sizeof(_plain))
    explicit_bzero(_coded, sizeof(_coded))
    return moved


cdef void _end_sealed(Recorder* r) noexcept nogil:
    """The last piece, empty; without it a file counts as cut off."""
    _put_piece(r, <uint32_t>VAULT_FINAL, _coded)
    ftruncate(r.fd, <long>r.offset)
    explicit_bzero(r.key, sizeof(r.key))


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
            if r.sealed:
                moved |= _drain_sealed(r, state == STOPPED)
            else:
                moved |= _drain(r, state == STOPPED)
            if r.written - r.synced >= <uint64_t>(SYNC_SEALED if r.sealed else SYNC):
                fdatasync(r.fd)
                r.synced = r.written
        if state == STOPPED and (r.fd >= 0 or mono_ns() - r.stopped_ns > WAIT_FILE_NS):
            if r.fd >= 0:
                if r.sealed:
                    _end_sealed(r)
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
