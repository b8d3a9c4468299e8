# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A board of simulated line chips, at C level for the world and as `ChipBoard` for Python (`chip_face` gives it the seam's four faces).

Theory of operation. Up to 16 FXO chips hang on bus 0 and up to 8 FXS chips on bus 1, each bus with its own RESET and interrupt line. The
caller moves bytes (`board_transfer`), milliseconds (`board_step`) and blocks of audio (chip_pcm). A step takes one `line_fact` per jack:
the one put into `fxo_fact`/`fxs_fact` where the jack is marked as fed from outside, or what its own loop model says. `board_drive` tells in
the codes of world_segment.h what a chip does to its line, judged by copper, not by registers.
Bytes let microseconds pass within the millisecond; a step never turns the clock back.
Names: a port has parameters (chip, loop model, faults) that can be set and states that can only be read; see `set`, `get`, `state`.
Invariant: everything below `cdef void` runs without the interpreter and allocates nothing.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from firmware.sim.chip_base cimport (
    HIS_CLOCKS,
    ILL_BAD_CLOCKS,
    NOTES,
    chip_clocks,
    chip_history,
    chip_illegal,
    chip_log,
    chip_note,
)
from firmware.sim.chip_fxo cimport fxo_init, fxo_read, fxo_self_reset
from firmware.sim.chip_fxo_line cimport fxo_step
from firmware.sim.chip_fxs cimport SP_FAMILY, fxs_indirect, fxs_init, fxs_read, fxs_self_reset
from firmware.sim.chip_fxs_line cimport fxs_limit_ma, fxs_open_volts, fxs_powered, fxs_ring_hz, fxs_ring_peak, fxs_step
from firmware.sim.chip_loop cimport phone_init, phone_step, trunk_init, trunk_step
from firmware.sim.chip_pcm cimport PCM_BLOCK, PCM_CHIPS, pcm_capture, pcm_init, pcm_playback
from firmware.sim.chip_spi cimport spi_cycle, spi_init, spi_int_low, spi_pin

from firmware.sim.chip_base import HISTORY, ILLEGAL
from firmware.sim.chip_fxo import FXO_PARAMETERS
from firmware.sim.chip_fxs import FXS_PARAMETERS
from firmware.sim.chip_loop import PHONE_PARAMETERS, TRUNK_PARAMETERS
from firmware.sim.chip_spi import BUS_PARAMETERS

cdef extern from "../dsp/world_segment.h":
    enum:
        FEED_OPEN, FEED_ACTIVE, FEED_ON_HOOK_TX, FEED_RINGING, FEED_REVERSED, FEED_REVERSED_TX
        LINE_ON_HOOK, LINE_OFF_HOOK


cdef void board_init(sim_board *b, int fxo_count, int fxs_count, double family, unsigned long long seed) noexcept nogil:
    """A board without power-up: RESET low, clocks stopped. `b` is zeroed memory."""
    cdef int k
    b.room.dice = seed * 2654435761u + 88172645463325252u
    if b.room.dice == 0:
        b.room.dice = 1
    b.fxo_count = fxo_count
    b.fxs_count = fxs_count
    for k in range(fxo_count):
        fxo_init(&b.fxo[k], &b.room, k)
        trunk_init(&b.trunk[k])
    for k in range(fxs_count):
        fxs_init(&b.fxs[k], &b.room, k)
        b.fxs[k].p[SP_FAMILY] = family
        phone_init(&b.phone[k])
    spi_init(&b.bus[BUS_FXO], &b.room, &b.fxo[0], NULL, fxo_count)
    spi_init(&b.bus[BUS_FXS], &b.room, NULL, &b.fxs[0], fxs_count)
    pcm_init(&b.highway, &b.room)


cdef void board_edges(sim_board *b) noexcept nogil:
    """Follow both interrupt lines."""
    cdef int k
    cdef bint low
    cdef int_edges *e
    for k in range(BUSES):
        low = spi_int_low(&b.bus[k])
        e = &b.edges[k]
        if low != e.low:
            e.low = low
            e.us[e.written % EDGES] = b.room.us
            e.fell[e.written % EDGES] = low
            e.written += 1


cdef void board_transfer(sim_board *b, int bus, const uint8_t *out, uint8_t *back, int n) noexcept nogil:
    """One assertion of a chip select."""
    spi_cycle(&b.bus[bus], out, back, n)
    board_edges(b)


cdef void board_step(sim_board *b) noexcept nogil:
    """One millisecond of copper on every jack."""
    cdef int k
    b.room.ms += 1
    if b.room.us < b.room.ms * 1000:
        b.room.us = b.room.ms * 1000
    for k in range(b.fxo_count):
        if not b.fed_fxo[k]:
            trunk_step(&b.trunk[k], &b.fxo[k], &b.fxo_fact[k])
        fxo_step(&b.fxo[k], &b.fxo_fact[k])
    for k in range(b.fxs_count):
        if not b.fed_fxs[k]:
            b.fxs_ring_ma[k] = phone_step(&b.phone[k], &b.fxs[k], &b.fxs_fact[k])
        fxs_step(&b.fxs[k], &b.fxs_fact[k], b.fxs_ring_ma[k])
    board_edges(b)


cdef void board_clocks(sim_board *b, int pclk, int fsync) noexcept nogil:
    """PCM clocks start, change or (0) stop."""
    cdef bint good = chip_clocks(pclk, fsync)
    cdef int k
    if pclk == b.room.pclk and fsync == b.room.fsync:
        return
    for k in range(b.fxs_count):
        fxs_read(&b.fxs[k], 31)                         # what was done by now is done
    b.room.pclk = pclk
    b.room.fsync = fsync
    b.room.clocks = good
    for k in range(b.fxs_count):
        fxs_read(&b.fxs[k], 31)
    if pclk and not good:
        chip_illegal(&b.room, -1, ILL_BAD_CLOCKS, -1, pclk)
    chip_history(&b.room, -1, HIS_CLOCKS, good, pclk // 1000)
    if good:
        b.highway.bits = pclk // 8000


cdef void board_pin(sim_board *b, int bus, bint low) noexcept nogil:
    """The RESET line of a chain."""
    spi_pin(&b.bus[bus], low)
    board_edges(b)


cdef unsigned int board_drive(const sim_board *b, int port) noexcept nogil:
    """What a port (FXO first) does to its line, in the codes of world_segment.h."""
    cdef const fxs_chip *c
    if port < b.fxo_count:
        return LINE_OFF_HOOK if b.fxo[port].closed else LINE_ON_HOOK
    c = &b.fxs[port - b.fxo_count]
    if not fxs_powered(c) or c.lfs & 3 == 3:
        return FEED_OPEN
    return <unsigned int>c.lfs


cdef object notes(chip_log *log, object names, uint64_t since):
    """Notes from number `since` on, as far as they are still there."""
    cdef uint64_t k = since if log.total < NOTES or since > log.total - NOTES else log.total - NOTES
    cdef chip_note *n
    found = []
    while k < log.total:
        n = &log.notes[k % NOTES]
        found.append((n.us, n.chip, names[n.kind], n.a, n.b))
        k += 1
    return found


cdef class ChipBoard:
    """Chips, chains and loop models of one board."""

    def __cinit__(self, int fxo=4, int fxs=4, *, int family=3215, unsigned long long seed=1):
        if not 0 <= fxo <= BOARD_FXO or not 0 <= fxs <= BOARD_FXS:
            raise ValueError(f"a board has at most {BOARD_FXO} FXO and {BOARD_FXS} FXS chips")
        if family not in (3210, 3215):
            raise ValueError(f"the families are 3210 and 3215, not {family}")
        self.b = <sim_board *>calloc(1, sizeof(sim_board))
        if self.b == NULL:
            raise MemoryError
        board_init(self.b, fxo, fxs, family, seed)

    def __dealloc__(self):
        free(self.b)

    @property
    def fxo_count(self):
        return self.b.fxo_count

    @property
    def fxs_count(self):
        return self.b.fxs_count

    @property
    def ms(self):
        return self.b.room.ms

    @property
    def us(self):
        return self.b.room.us

    @property
    def channels(self):
        """Channels of the sound device: 16-bit slots of a frame."""
        return self.b.highway.bits // 16

    def transfer(self, int bus, data):
        """One assertion of a chip select; whole milliseconds that the bytes took pass on the copper, too."""
        cdef bytes out = bytes(data)
        cdef bytearray back = bytearray(len(out))
        cdef const uint8_t *source = out
        cdef uint8_t *target = back
        cdef int n = <int>len(out)
        if bus not in (BUS_FXO, BUS_FXS):
            raise ValueError(f"there is no bus {bus}")
        with nogil:
            board_transfer(self.b, bus, source, target, n)
            while self.b.room.us >= (self.b.room.ms + 1) * 1000:
                board_step(self.b)
        return list(back)

    def step(self, int ms=1):
        """Let `ms` milliseconds pass."""
        cdef int k
        with nogil:
            for k in range(ms):
                board_step(self.b)

    def clocks(self, int pclk, int fsync=8000):
        """PCM clocks in Hz; 0 stops them."""
        board_clocks(self.b, pclk, fsync if pclk else 0)
        board_edges(self.b)

    @property
    def clocks_running(self):
        return bool(self.b.room.clocks)

    def pin(self, int bus, bint low):
        """The RESET line of a chain."""
        board_pin(self.b, bus, low)

    def int_low(self, int bus):
        """True while a chain's interrupt line is low."""
        board_edges(self.b)
        return bool(self.b.edges[bus].low)

    def edges(self, int bus):
        """Edges of a chain's interrupt line since the last call: (microseconds, fell)."""
        cdef int_edges *e = &self.b.edges[bus]
        board_edges(self.b)
        if e.written - e.taken > EDGES:
            e.taken = e.written - EDGES
        found = []
        while e.taken != e.written:
            found.append((e.us[e.taken % EDGES], bool(e.fell[e.taken % EDGES])))
            e.taken += 1
        return found

    def feed(self, str kind, int port, fact, double ring_ma=0.0):
        """Put `(dc_dv, current, ac_dv, ring_dc)` on a jack until changed; None gives it back to its loop model."""
        cdef line_fact *target
        self.check(kind, port)
        if kind == "fxo":
            self.b.fed_fxo[port] = fact is not None
            target = &self.b.fxo_fact[port]
        else:
            self.b.fed_fxs[port] = fact is not None
            target = &self.b.fxs_fact[port]
            self.b.fxs_ring_ma[port] = ring_ma
        if fact is not None:
            target.dc_dv, target.current, target.ac_dv, target.ring_dc = fact

    def fact(self, str kind, int port):
        """What is on a jack now."""
        self.check(kind, port)
        f = self.b.fxo_fact[port] if kind == "fxo" else self.b.fxs_fact[port]
        return f.dc_dv, f.current, f.ac_dv, f.ring_dc

    cdef double *place(self, str kind, int port, str name) except NULL:
        if kind == "bus":
            if name not in BUS_PARAMETERS or port not in (BUS_FXO, BUS_FXS):
                raise KeyError(f"bus {port} has no {name!r}")
            return &self.b.bus[port].p[<int>BUS_PARAMETERS.index(name)]
        self.check(kind, port)
        if kind == "fxo":
            if name in FXO_PARAMETERS:
                return &self.b.fxo[port].p[<int>FXO_PARAMETERS.index(name)]
            if name in TRUNK_PARAMETERS:
                return &self.b.trunk[port].p[<int>TRUNK_PARAMETERS.index(name)]
        else:
            if name in FXS_PARAMETERS:
                return &self.b.fxs[port].p[<int>FXS_PARAMETERS.index(name)]
            if name in PHONE_PARAMETERS:
                return &self.b.phone[port].p[<int>PHONE_PARAMETERS.index(name)]
        raise KeyError(f"an {kind} port has no {name!r}")

    def set(self, str kind, int port, str name, double value):
        """Set a parameter or fault of "fxo", "fxs" or "bus"."""
        self.place(kind, port, name)[0] = value
        board_edges(self.b)

    def get(self, str kind, int port, str name):
        """A parameter or fault."""
        return self.place(kind, port, name)[0]

    def state(self, str kind, int port):
        """What the chip does to the copper, and what it holds."""
        cdef fxo_chip *x
        cdef fxs_chip *s
        self.check(kind, port)
        if kind == "fxo":
            x = &self.b.fxo[port]
            return {"closed": bool(x.closed), "audio": bool(x.audio), "link": bool(x.link), "dropped": bool(x.dropped),
                    "milliamps": x.milliamps, "volts": x.volts, "drive": board_drive(self.b, port)}
        s = &self.b.fxs[port]
        return {"lfs": s.lfs, "vbat": s.vbat, "powered": bool(fxs_powered(s)), "lcr": bool(s.lcr), "rtp": bool(s.rtp),
                "open_volts": fxs_open_volts(s), "limit_ma": fxs_limit_ma(s), "ring_volts": s.ring_volts,
                "ring_peak": fxs_ring_peak(s), "ring_hz": fxs_ring_hz(s), "calibrated": bool(s.calibrated), "chain": bool(s.chain),
                "drive": board_drive(self.b, self.b.fxo_count + port)}

    def peek(self, str kind, int port, int reg):
        """A register as the chip would answer, without the bus and without its side effects on checks."""
        cdef bint unchecked
        self.check(kind, port)
        if kind == "fxo":
            return fxo_read(&self.b.fxo[port], reg & 127)
        unchecked = self.b.fxs[port].dcdc_unchecked
        value = self.b.fxs[port].reg[reg & 127] if reg in (28, 29) else fxs_read(&self.b.fxs[port], reg & 127)
        self.b.fxs[port].dcdc_unchecked = unchecked
        return value

    def peek_indirect(self, int port, int address):
        """An indirect word by the family's own address; -1 where there is none."""
        cdef int place
        self.check("fxs", port)
        place = fxs_indirect(&self.b.fxs[port], address)
        return self.b.fxs[port].ind[place] if place >= 0 else -1

    def self_reset(self, str kind, int port):
        """The chip resets itself."""
        self.check(kind, port)
        if kind == "fxo":
            fxo_self_reset(&self.b.fxo[port])
        else:
            fxs_self_reset(&self.b.fxs[port])
        board_edges(self.b)

    def illegal(self, unsigned long long since=0):
        """Illegal accesses from number `since` on: (microseconds, chip, kind, register, value)."""
        return notes(&self.b.room.illegal, ILLEGAL, since)

    def illegal_counts(self):
        """How many of each kind there were."""
        return {name: self.b.room.illegal.counts[k] for k, name in enumerate(ILLEGAL) if self.b.room.illegal.counts[k]}

    def history(self, unsigned long long since=0):
        """What happened on the copper from number `since` on: (microseconds, chip, kind, state, measure)."""
        return notes(&self.b.room.history, HISTORY, since)

    def totals(self):
        """How many notes both logs have seen: (illegal, history)."""
        return self.b.room.illegal.total, self.b.room.history.total

    def audio(self, play, lines):
        """One block: `play` for the highway and `lines` (what each line says; FXO first), both channel after channel in 16 bits.

        Returns (what the highway brings back, what each chip put on its line). The lines' words are taken at the same time as given.
        """
        cdef bytes source = bytes(play), spoken = bytes(lines)
        cdef int channels = self.b.highway.bits // 16, ports = self.b.fxo_count + self.b.fxs_count
        cdef int n = <int>(len(source) // (2 * channels))
        cdef bytearray back = bytearray(len(source)), outward = bytearray(2 * n * ports)
        if len(source) != 2 * n * channels or len(spoken) != 2 * n * ports or n > PCM_BLOCK or ports > PCM_CHIPS:
            raise ValueError(f"a block has {channels} channels and {ports} lines of at most {PCM_BLOCK} samples")
        if n:
            pcm_playback(&self.b.highway, self.b.fxo, self.b.fxo_count, self.b.fxs, self.b.fxs_count,
                         <const int16_t *><const char *>source, <int16_t *><char *>outward, n)
            pcm_capture(&self.b.highway, self.b.fxo, self.b.fxo_count, self.b.fxs, self.b.fxs_count,
                        <const int16_t *><const char *>spoken, <int16_t *><char *>back, n)
        return bytes(back), bytes(outward)

    cdef int check(self, str kind, int port) except -1:
        if kind not in ("fxo", "fxs"):
            raise KeyError(f"a port is fxo or fxs, not {kind!r}")
        if not 0 <= port < (self.b.fxo_count if kind == "fxo" else self.b.fxs_count):
            raise IndexError(f"there is no {kind} {port}")
        return 0
