# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The line cards of the simulated box: what joins wires, register-level chips and the media process, millisecond by millisecond.

Theory of operation. A `card_rack` is one `sim_board` with its wires. `rack_ms` is a millisecond: each wire answers what its chip does
to it now (`wire_jack`), the chip is fed that fact, the accesses of posted programs that are due run, and the chips step. Serial
accesses therefore see the state after the millisecond before, and what they write holds from this one on.
Programs (`world_segment.h`): `programs_begin` looks what was posted, `programs_run` runs one millisecond of all of them in order,
`programs_end` publishes. A program whose bytes make no sense ends at the first wrong access.
Mail: a thread of its own sleeps on `bell` and serves both boxes under the lock that a block is made under, so a request takes
effect between two blocks. It needs no interpreter. MAIL_STEP lets chips live while nothing passes at the far ends.
Lifeline: while the relay's contacts are released, the pair's jacks are cut off from their chips and joined.
Clocks run while they were asked for (MAIL_CLOCKS), media's process lives, and no fault stops them.
A world that takes over from another finds in `pad0` which RESET lines were high, the relay and the clocks: its chips are as after a
power failure, their lines as they were.
Invariant: nothing here allocates or touches Python; the board is changed only under the lock.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from firmware.sim.chip_board cimport BUS_FXO, board_clocks, board_drive, board_edges, board_pin, board_step
from firmware.sim.chip_fxo cimport fxo_chip
from firmware.sim.chip_fxo_line cimport fxo_volts_needed
from firmware.sim.chip_fxs cimport SP_FEED_OHMS, fxs_chip
from firmware.sim.chip_fxs_line cimport fxs_limit_ma, fxs_open_volts, fxs_ring_hz
from firmware.sim.chip_spi cimport spi_bus, spi_cycle
from firmware.sim.seam cimport (
    FEED_RINGING,
    LINE_OFF_HOOK,
    LINE_ON_HOOK,
    MAIL_CLOCKS,
    MAIL_INT,
    MAIL_NOW,
    MAIL_RELAY,
    MAIL_RESET,
    MAIL_SENSE,
    MAIL_STEP,
    MAIL_TRANSFER,
    WORLD_MAIL_BYTES,
    WORLD_MAILS,
    WORLD_PROGRAMS,
    WORLD_PROGRAM_BYTES,
    load32,
    load64,
    store32,
    store64,
    world_access,
    world_mail,
    world_program,
    world_wait,
    world_wake,
)
from firmware.sim.wire cimport phone_advance, phone_closed, phone_joined, phone_settle, trunk_advance, trunk_settle

cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t *lock, void *attributes)
    int pthread_mutex_lock(pthread_mutex_t *lock)
    int pthread_mutex_unlock(pthread_mutex_t *lock)
    int pthread_create(pthread_t *thread, void *attributes, void *(*run)(void *) noexcept nogil, void *argument)
    int pthread_join(pthread_t thread, void **result)

cdef extern from "<signal.h>" nogil:
    """
    #include <signal.h>
    static sigset_t rack_signals;
    static void rack_signals_block(void) { sigset_t all; sigfillset(&all); pthread_sigmask(SIG_SETMASK, &all, &rack_signals); }
    static void rack_signals_restore(void) { pthread_sigmask(SIG_SETMASK, &rack_signals, 0); }
    """
    void rack_signals_block()
    void rack_signals_restore()
    int kill(int pid, int number)

cdef extern from "<unistd.h>" nogil:
    int getpid()

cdef extern from "<errno.h>" nogil:
    int errno, EINVAL, EMSGSIZE, ENOSYS, ESRCH

cdef enum:
    BELL_NS = 500000000
    STEP_MOST = 60000
    PIN_RELAY = 0x40
    PIN_CLOCKS = 0x80


# --- what the chips do to their jacks ----------------------------------------------------------------------------------------


cdef void fxo_jack(const fxo_chip *c, wire_jack *jack) noexcept nogil:
    jack.drive = LINE_OFF_HOOK if c.closed else LINE_ON_HOOK
    jack.volts = 6.0 if c.opd else fxo_volts_needed(c, 0.0)
    jack.ohms = 800.0 if c.opd else fxo_volts_needed(c, 1.0) - fxo_volts_needed(c, 0.0)
    jack.amps = 0.060 if c.reg[26] & 2 else 3.0


cdef void fxs_jack(const sim_board *b, int k, wire_jack *jack) noexcept nogil:
    cdef const fxs_chip *c = &b.fxs[k]
    jack.drive = <int>board_drive(b, b.fxo_count + k)
    jack.volts = fxs_open_volts(c)
    jack.ohms = c.p[SP_FEED_OHMS]
    jack.amps = fxs_limit_ma(c) / 1000.0
    jack.ring_volts = c.ring_volts
    jack.ring_hz = fxs_ring_hz(c) if jack.drive == FEED_RINGING else 0.0
    jack.ring_dc = 1.5 * (c.reg[72] & 0x3F)


cdef bint rack_contacts(const card_rack *r) noexcept nogil:
    """Where the relay's contacts are: true = energised."""
    return r.energised if r.welded < 0 else r.welded != 0


cdef bint rack_joined(const card_rack *r) noexcept nogil:
    """True while the lifeline pair hangs together, past its chips."""
    return r.fxo >= 0 and r.fxs >= 0 and not rack_contacts(r)


cdef void joined_ms(card_rack *r, bint passing) noexcept nogil:
    """The pair's millisecond: the exchange's line on the telephone; both chips see an open pair."""
    cdef wire_jack jack
    cdef line_fact fact
    cdef void *line = r.trunk[r.fxo]
    cdef void *phone = r.phone[r.fxs]
    memset(&r.board.fxo_fact[r.fxo], 0, sizeof(line_fact))
    memset(&r.board.fxs_fact[r.fxs], 0, sizeof(line_fact))
    fxs_jack(r.board, r.fxs, &jack)
    r.board.fxs_fact[r.fxs].dc_dv = <int16_t>(jack.volts * 10.0)
    r.board.fxs_ring_ma[r.fxs] = 0.0
    memset(&jack, 0, sizeof(jack))
    if phone != NULL:
        if passing:
            (<advance_fn>phone_advance)(phone)
        if (<closed_fn>phone_closed)(phone):
            jack.drive = LINE_OFF_HOOK
        jack.ohms = 300.0
        jack.amps = 3.0
    if line == NULL:
        return
    if passing:
        (<advance_fn>trunk_advance)(line)
    (<trunk_fn>trunk_settle)(line, &jack, &fact)
    if phone != NULL:
        (<joined_fn>phone_joined)(phone, line)


cdef void rack_ms(card_rack *r, int ms, bint passing) noexcept nogil:
    """One millisecond; `ms` of programs where 0..9, none where -1. `passing`: time passes at the far ends, too."""
    cdef sim_board *b = r.board
    cdef wire_jack jack
    cdef bint joined = rack_joined(r)
    cdef int k
    memset(&jack, 0, sizeof(jack))
    for k in range(b.fxo_count):
        if joined and k == r.fxo:
            continue
        memset(&b.fxo_fact[k], 0, sizeof(line_fact))
        if r.trunk[k] == NULL:
            continue
        if passing:
            (<advance_fn>trunk_advance)(r.trunk[k])
        fxo_jack(&b.fxo[k], &jack)
        (<trunk_fn>trunk_settle)(r.trunk[k], &jack, &b.fxo_fact[k])
    for k in range(b.fxs_count):
        if joined and k == r.fxs:
            continue
        fxs_jack(b, k, &jack)
        if r.phone[k] == NULL:
            memset(&b.fxs_fact[k], 0, sizeof(line_fact))
            b.fxs_fact[k].dc_dv = <int16_t>(jack.volts * 10.0)
            b.fxs_ring_ma[k] = 0.0
            continue
        if passing:
            (<advance_fn>phone_advance)(r.phone[k])
        b.fxs_ring_ma[k] = (<phone_fn>phone_settle)(r.phone[k], &jack, &b.fxs_fact[k])
    if joined:
        joined_ms(r, passing)
    if ms >= 0:
        programs_run(r, ms)
    board_step(b)


# --- clocks ------------------------------------------------------------------------------------------------------------------


cdef void rack_clocks(card_rack *r) noexcept nogil:
    """Let the PCM clocks follow what was asked for, faults, and the life of media's process."""
    cdef int pid = <int>r.seam.media_pid
    cdef bint on
    if r.clocks and pid > 0 and pid != r.known_pid and kill(pid, 0) < 0 and errno == ESRCH:
        r.clocks = False
        r.known_pid = pid
    on = r.clocks and not r.clocks_dead
    board_clocks(r.board, r.pclk if on else 0, 8000 if on else 0)
    board_edges(r.board)
    keep_pins(r)


cdef void keep_pins(card_rack *r) noexcept nogil:
    """Leave word for a world that takes over."""
    cdef int k
    cdef uint8_t pins = 0
    for k in range(r.chains):
        if not (r.board.fxo[0].reset if r.bus[k] == BUS_FXO else r.board.fxs[0].reset):
            pins |= <uint8_t>(1 << k)
    if r.energised:
        pins |= PIN_RELAY
    if r.clocks:
        pins |= PIN_CLOCKS
    r.seam.pad0[0] = pins


cdef void take_over(card_rack *r) noexcept nogil:
    """Put relay, clocks and RESET where an earlier world had them."""
    cdef int k
    cdef uint8_t pins = r.seam.pad0[0]
    r.energised = pins & PIN_RELAY != 0
    r.clocks = pins & PIN_CLOCKS != 0
    rack_clocks(r)
    for k in range(r.chains):
        if pins & 1 << k:
            board_pin(r.board, r.bus[k], False)
    keep_pins(r)


cdef void access(card_rack *r, int chain, uint8_t *data, int size, bint split) noexcept nogil:
    """One access in place; the interrupt lines are followed after it."""
    cdef spi_bus *bus = &r.board.bus[r.bus[chain]]
    cdef int i
    if split:
        for i in range(size):
            spi_cycle(bus, data + i, data + i, 1)
    elif size:
        spi_cycle(bus, data, data, size)
    board_edges(r.board)


# --- programs ----------------------------------------------------------------------------------------------------------------


cdef void programs_begin(card_rack *r) noexcept nogil:
    """Look what was posted since."""
    cdef uint64_t posted = load64(&r.seam.posted), ran = load64(&r.seam.ran)
    r.cursors = 0
    if posted < ran or posted - ran > WORLD_PROGRAMS:   # another media process began to count, or the oldest are written over
        ran = posted if posted < ran else posted - WORLD_PROGRAMS
        store64(&r.seam.ran, ran)
    while ran < posted:
        r.cursor[r.cursors].number = ran
        r.cursor[r.cursors].at = 0
        r.cursors += 1
        ran += 1


cdef void programs_run(card_rack *r, int ms) noexcept nogil:
    """The accesses of this millisecond, program after program."""
    cdef program_cursor *cursor
    cdef world_program *p
    cdef world_access *a
    cdef uint32_t size
    cdef int k
    for k in range(r.cursors):
        cursor = &r.cursor[k]
        p = &r.seam.program[cursor.number % WORLD_PROGRAMS]
        size = p.size if p.size <= WORLD_PROGRAM_BYTES else 0
        while cursor.at + sizeof(world_access) <= size:
            a = <world_access *>(p.data + cursor.at)
            if a.ms > ms and a.ms < 10:
                break
            if a.chain >= r.chains or a.ms >= 10 or cursor.at + sizeof(world_access) + a.bytes > size:
                cursor.at = size
                r.refused += 1
                break
            access(r, a.chain, p.data + cursor.at + sizeof(world_access), a.bytes, a.split)
            r.accesses += 1
            r.bytes += a.bytes
            cursor.at += sizeof(world_access) + a.bytes


cdef void programs_end(card_rack *r, uint64_t block) noexcept nogil:
    """Publish the answers of what ran."""
    cdef int k
    for k in range(r.cursors):
        r.seam.program[r.cursor[k].number % WORLD_PROGRAMS].block = block
    if r.cursors:
        store64(&r.seam.ran, r.cursor[r.cursors - 1].number + 1)
    r.cursors = 0


# --- mail --------------------------------------------------------------------------------------------------------------------


cdef int answer(card_rack *r, world_mail *m) noexcept nogil:
    """Do what a request asks; returns an errno."""
    cdef sim_board *b = r.board
    cdef uint32_t op = m.op, size = m.size
    cdef int64_t until
    cdef int k
    if op == MAIL_TRANSFER or op == MAIL_RESET or op == MAIL_INT:
        if m.chain >= <uint32_t>r.chains:
            return EINVAL
    if op == MAIL_TRANSFER:
        if size > WORLD_MAIL_BYTES:
            return EMSGSIZE
        access(r, <int>m.chain, m.data, <int>size, m.split != 0)
        r.bytes += size
        while b.room.us >= (b.room.ms + 1) * 1000:      # whole milliseconds that the bytes took
            rack_ms(r, -1, False)
    elif op == MAIL_RESET:
        board_pin(b, r.bus[m.chain], m.value == 0)
        keep_pins(r)
    elif op == MAIL_RELAY:
        r.energised = m.value != 0
        keep_pins(r)
    elif op == MAIL_SENSE:
        m.value = rack_contacts(r)
    elif op == MAIL_CLOCKS:
        if m.value >= 0:
            r.clocks = m.value != 0
            k = <int>r.seam.media_pid
            r.known_pid = k if k > 0 and kill(k, 0) < 0 and errno == ESRCH else 0
            rack_clocks(r)
        m.value = b.room.clocks
    elif op == MAIL_STEP:
        if not 0 <= m.value <= STEP_MOST:
            return EINVAL
        until = b.room.us + 1000 * m.value
        while b.room.ms * 1000 < until:
            rack_ms(r, -1, False)
    elif op == MAIL_INT:
        board_edges(b)
        m.value = not b.edges[r.bus[m.chain]].low
    elif op != MAIL_NOW:
        return ENOSYS
    return 0


cdef void *serve(void *argument) noexcept nogil:
    cdef card_rack *r = <card_rack *>argument
    cdef world_mail *m
    cdef uint32_t seen, asked
    cdef int box
    while not load32(<uint32_t *>&r.stop):
        seen = load32(&r.seam.bell)
        for box in range(WORLD_MAILS):
            m = &r.seam.mail[box]
            asked = load32(&m.asked)
            if asked == load32(&m.answered):
                continue
            pthread_mutex_lock(&r.lock)
            m.error = answer(r, m)
            m.now_us = r.board.room.us
            r.mails += 1
            pthread_mutex_unlock(&r.lock)
            store32(&m.answered, asked)
            world_wake(&m.answered)
        world_wait(&r.seam.bell, seen, BELL_NS)
    return NULL


cdef void rack_init(card_rack *r, world_segment *seam, sim_board *board) noexcept nogil:
    """`r` is zeroed memory; the caller fills in chains, channels, lifeline and wires before `rack_start`."""
    cdef int k
    r.seam = seam
    r.board = board
    r.fxo = r.fxs = r.welded = -1
    for k in range(board.fxo_count):
        board.fed_fxo[k] = True
    for k in range(board.fxs_count):
        board.fed_fxs[k] = True
    pthread_mutex_init(&r.lock, NULL)


cdef int rack_start(card_rack *r) noexcept nogil:
    """Take over what stands, and open the mail. Returns an errno."""
    cdef int failed
    take_over(r)
    r.owner = getpid()
    rack_signals_block()
    failed = pthread_create(&r.thread, NULL, serve, r)
    rack_signals_restore()
    r.started = failed == 0
    return failed


cdef void rack_stop(card_rack *r) noexcept nogil:
    """Close the mail; a forked child, which has no such thread, only forgets it."""
    if r.started and r.owner == getpid():
        store32(<uint32_t *>&r.stop, 1)
        store32(&r.seam.bell, load32(&r.seam.bell) + 1)
        world_wake(&r.seam.bell)
        pthread_join(r.thread, NULL)
    r.started = False


cdef void rack_hold(card_rack *r) noexcept nogil:
    pthread_mutex_lock(&r.lock)


cdef void rack_release(card_rack *r) noexcept nogil:
    pthread_mutex_unlock(&r.lock)
