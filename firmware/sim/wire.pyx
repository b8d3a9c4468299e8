# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The copper of the simulated world and the shared-memory segment that joins it to the media process.

Theory of operation. A `Wire` is a pair between a jack of the box and whatever is plugged in. It has a mouth (what the far end
says), an ear (what the far end hears), a hybrid (what the box says comes back through an FIR with a delay) and noise.
`TrunkWire` adds the exchange side of a PSTN line: feed, loop current, polarity, ringing voltage in its cadence. `PhoneWire`
adds an analog phone: hook contacts driven by a program with a resolution of 1 ms (dial pulses, flash), loop current, ring trip.
`Segment` moves a block: `begin` takes drives and playback and runs every wire, `finish` publishes it (`dsp/world_segment.h`).
Electrical numbers are those of a model line: 48 V behind the loop resistance, a line card of 6 V + 50 ohm, a phone of 300 ohm.
Invariant: Python is called once per block, and told of a wire only when its `flags` are raised.
"""

from libc.math cimport M_PI, pow, sin, sqrt
from libc.stdint cimport int16_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from firmware.sim.hearing cimport Ear
from firmware.sim.signal cimport Mouth

import mmap
import os
import random

from firmware.sim.signal import NoiseSource as Noise

cdef extern from "../dsp/world_segment.h":
    enum:
        WORLD_MAGIC, WORLD_VERSION, WORLD_PORTS, WORLD_BLOCKS, WORLD_SAMPLES, WORLD_FACTS
        FEED_OPEN, FEED_ACTIVE, FEED_ON_HOOK_TX, FEED_RINGING, FEED_REVERSED, FEED_REVERSED_TX
        LINE_ON_HOOK, LINE_OFF_HOOK
    ctypedef struct world_segment:
        uint32_t magic, version, ports, playback_depth, speed, align_epoch
        int64_t wall_base_ms
        uint32_t world_pid, media_pid
        uint64_t delivered, ticked, scanned, silent_ticks
        uint32_t drive[16]
        int16_t capture[16][16][80]
        int16_t playback[16][16][80]
        line_fact facts[16][16][10]
    uint64_t world_load(uint64_t *p) nogil
    void world_store(uint64_t *p, uint64_t v) nogil

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <limits.h>
    #include <linux/futex.h>
    #include <stdint.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    static void futex_wake_all(uint64_t *word) { syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE, INT_MAX, 0, 0, 0); }
    static int futex_wait_ns(uint64_t *word, uint32_t seen, int64_t ns) {
        struct timespec limit = { ns / 1000000000, ns % 1000000000 };
        return (int)syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT, seen, &limit, 0, 0);
    }
    """
    void futex_wake_all(uint64_t *word)
    int futex_wait_ns(uint64_t *word, uint32_t seen, int64_t ns)

# What Python is told of a wire after a block.
HOOK, RING_EDGE, FEED, HEARD, PROGRAM_END, CALLER_ID = 1, 2, 4, 8, 16, 32
SEGMENT_BYTES = sizeof(world_segment)
FEEDS = {FEED_OPEN: "open", FEED_ACTIVE: "active", FEED_ON_HOOK_TX: "on-hook-tx", FEED_RINGING: "ringing", FEED_REVERSED: "reversed",
         FEED_REVERSED_TX: "reversed-tx"}
PORTS = WORLD_PORTS


def layout():
    """Byte offsets of the segment's fields, for a stand-in of the media process."""
    cdef world_segment *zero = NULL
    return {"media_pid": <size_t>&zero.media_pid, "delivered": <size_t>&zero.delivered, "ticked": <size_t>&zero.ticked,
            "drive": <size_t>&zero.drive[0], "capture": <size_t>&zero.capture[0][0][0], "playback": <size_t>&zero.playback[0][0][0]}


cdef inline int16_t clip(float value) noexcept nogil:
    if value > 32767.0:
        return 32767
    if value < -32768.0:
        return -32768
    return <int16_t>(value + 0.5) if value >= 0 else <int16_t>(value - 0.5)


cdef class Wire:
    """A pair of copper with a mouth and an ear at its far end."""

    def __cinit__(self, int slot):
        self.slot = slot
        self.mouth = Mouth()
        self.ear = Ear()
        self.noise = Mouth()
        self.trace_quiet = TRACE
        self.hybrid(erl_db=18.0, delay_ms=1.0, seed=slot + 1)
        self.hiss(-68.0, seed=slot + 1)

    def hybrid(self, *, double erl_db=18.0, double delay_ms=1.0, int taps=8, int seed=1, coefficients=None):
        """Set the echo path: energy `-erl_db`, first tap after `delay_ms` (0..64), `taps` decaying taps, or explicit ones."""
        cdef int i
        cdef double energy = 0.0
        if not 0 <= delay_ms <= 64:
            raise ValueError(f"an echo delay of {delay_ms} ms is outside 0..64")
        if coefficients is None:
            rng = random.Random(seed)
            coefficients = [rng.uniform(0.4, 1.0) * (-0.62) ** i for i in range(max(1, min(taps, TAPS)))]
        if not 1 <= len(coefficients) <= TAPS:
            raise ValueError(f"a hybrid has 1..{TAPS} taps, not {len(coefficients)}")
        self.tap_count = len(coefficients)
        for i in range(self.tap_count):
            self.taps[i] = coefficients[i]
            energy += self.taps[i] * self.taps[i]
        for i in range(self.tap_count):
            self.taps[i] = <float>(self.taps[i] * sqrt(pow(10.0, -erl_db / 10.0) / energy)) if energy > 0 else <float>0.0
        self.delay = <int>(delay_ms * 8.0)

    def hiss(self, double level_dbm0, int seed=1):
        """Set the line noise; at or below -90 dBm0 there is none."""
        self.noise.stop()
        if level_dbm0 > -90.0:
            self.noise.play(Noise(level_dbm0, seed))

    cdef int carry(self, const int16_t *playback, int16_t *capture, bint outward, bint inward, long long block) except -1:
        """One block of audio. `outward`: the box reaches the far end (and its hybrid); `inward`: the far end reaches the box."""
        cdef float out[BLOCK]
        cdef int16_t silence[BLOCK]
        cdef int i, k, at
        cdef float echo
        cdef bint busy = False
        for i in range(BLOCK):
            out[i] = 0.0
        if inward and self.mouth.count:
            self.mouth.mix(out)
            busy = True
        elif self.mouth.count:
            self.mouth.mix(out)                    # time passes for a speaker that nobody hears
            for i in range(BLOCK):
                out[i] = 0.0
        if outward:
            if self.noise.count:
                self.noise.mix(out)
                busy = True
            for i in range(BLOCK):
                if playback[i] != 0:
                    self.trace_quiet = 0
                    break
        if self.trace_quiet < TRACE:
            for i in range(BLOCK):
                at = (self.trace_at + i) % TRACE
                self.trace[at] = playback[i] if outward else <float>0.0
                echo = 0.0
                for k in range(self.tap_count):
                    echo += self.taps[k] * self.trace[(at - self.delay - k + TRACE) % TRACE]
                out[i] += echo
            self.trace_at = (self.trace_at + BLOCK) % TRACE
            self.trace_quiet += BLOCK
            busy = True
        if busy:
            for i in range(BLOCK):
                capture[i] = clip(out[i])
        else:
            memset(capture, 0, BLOCK * sizeof(int16_t))
        if self.ear.listening:
            if outward:
                self.ear.hear(playback, block)
            else:
                memset(silence, 0, sizeof(silence))
                self.ear.hear(silence, block)
            if self.ear.news:
                self.ear.news = False
                self.flags |= HEARD
        return 0

    cdef int step(self, uint32_t drive, const int16_t *playback, int16_t *capture, line_fact *facts, long long block) except -1:
        return 0


cdef class TrunkWire(Wire):
    """The exchange side of a PSTN line on an FXO jack."""

    def __cinit__(self, int slot):
        self.feed_volts = 48.0
        self.resistance = 900.0
        self.ring_volts = 90.0
        self.ring_hz = 25.0
        self.daa_volts = 6.0
        self.daa_ohms = 50.0

    def ring(self, cadence_ms):
        """Start ringing: on, off, on, off ... in ms, repeated until `stop_ring`."""
        cdef int i
        if not 2 <= len(cadence_ms) <= CADENCE or len(cadence_ms) % 2:
            raise ValueError(f"a ring cadence has 2..{CADENCE} times, on and off in turn")
        self.cadence_size = len(cadence_ms)
        for i in range(self.cadence_size):
            self.cadence[i] = cadence_ms[i]
        self.cadence_at = 0
        self.cadence_left = self.cadence[0]
        self.bursts = 1
        self.ring_angle = 0.0
        self.ringing = True
        self.ring_burst = True

    def stop_ring(self):
        self.ringing = False
        self.ring_burst = False

    cdef int step(self, uint32_t drive, const int16_t *playback, int16_t *capture, line_fact *facts, long long block) except -1:
        cdef int ms
        cdef double volts, current, ac
        cdef bint off_hook = drive == <uint32_t>LINE_OFF_HOOK and not self.stuck
        cdef bint dead = self.cut or self.opened
        if off_hook != self.off_hook:
            self.off_hook = off_hook
            self.flags |= HOOK
        if dead:
            volts = current = 0.0
        elif off_hook:
            current = (self.feed_volts - self.daa_volts) / (self.resistance + self.daa_ohms)
            if current < 0.0:
                current = 0.0
            if current > 0.060:
                current = 0.060
            volts = self.daa_volts + self.daa_ohms * current
            if self.parallel:
                current *= 0.6
        else:
            current = 0.0
            volts = 8.0 if self.parallel else self.feed_volts
        self.milliamps = current * 1000.0
        self.volts = -volts if self.reversed else volts
        for ms in range(10):
            ac = 0.0
            if self.ringing:
                if self.ring_burst and not dead:
                    ac = self.ring_volts * 1.4142135623730951 * sin(self.ring_angle)
                    if off_hook:
                        ac *= 0.1
                    self.ring_angle += 2.0 * M_PI * self.ring_hz / 1000.0
                self.cadence_left -= 1
                while self.cadence_left <= 0:
                    self.cadence_at += 1
                    if self.cadence_at == self.cadence_size:
                        self.cadence_at = 0
                    self.cadence_left = self.cadence[self.cadence_at]
                    self.ring_burst = self.cadence_at % 2 == 0
                    if self.ring_burst:
                        self.bursts += 1
                        self.ring_angle = 0.0
                    self.flags |= RING_EDGE
            if self.hum_volts > 0.0 and not dead:
                ac += self.hum_volts * 1.4142135623730951 * sin(self.hum_angle)
                self.hum_angle += 2.0 * M_PI * 50.0 / 1000.0
            if self.stray_ms > 0 and not dead:
                ac += 70.0
                self.stray_ms -= 1
            facts[ms].dc_dv = <int16_t>(self.volts * 10.0)
            facts[ms].current = <int16_t>(current * 10000.0 + 0.5)
            facts[ms].ac_dv = <int16_t>(ac * 10.0)
            facts[ms].ring_dc = 0
        return self.carry(playback, capture, off_hook and not dead, not dead, block)


cdef class PhoneWire(Wire):
    """An analog phone on an FXS jack."""

    def __cinit__(self, int slot):
        self.resistance = 500.0
        self.feed_volts = 48.0
        self.feed_limit = 0.023
        self.hybrid(erl_db=16.0, delay_ms=0.5, seed=slot + 1)

    def hook(self, program):
        """Move the hook: `(lifted, ms)` pairs; the last state stays. A time of 0 means "and stay so"."""
        cdef int i
        if not 1 <= len(program) <= PROGRAM:
            raise ValueError(f"a hook program has 1..{PROGRAM} steps, not {len(program)}")
        self.program_size = len(program)
        for i in range(self.program_size):
            self.program_lifted[i] = bool(program[i][0])
            self.program_ms[i] = max(1, int(program[i][1]))
        self.program_at = 0
        self.program_left = self.program_ms[0]

    @property
    def moving(self):
        return self.program_size > 0

    cdef int step(self, uint32_t drive, const int16_t *playback, int16_t *capture, line_fact *facts, long long block) except -1:
        cdef int ms
        cdef double volts, current, trip
        cdef bint fed, through, lifted
        if <int>drive != self.feed:
            self.feed = <int>drive
            self.flags |= FEED
        fed = self.feed != FEED_OPEN and self.feed != FEED_RINGING and not self.cut
        for ms in range(10):
            if self.program_size > 0:
                self.lifted = self.program_lifted[self.program_at]
                self.program_left -= 1
                if self.program_left <= 0:
                    self.program_at += 1
                    if self.program_at == self.program_size:
                        self.program_size = 0
                        self.flags |= PROGRAM_END
                    else:
                        self.program_left = self.program_ms[self.program_at]
            lifted = (self.lifted or self.stuck) and not self.cut
            volts = current = trip = 0.0
            if self.feed == FEED_RINGING:
                volts = self.feed_volts
                if lifted:
                    trip = self.feed_volts / (self.resistance + 300.0)
            elif self.feed != FEED_OPEN:
                volts = self.feed_volts
                if lifted:
                    current = self.feed_volts / (self.resistance + 160.0)
                    if current > self.feed_limit:
                        current = self.feed_limit
                    volts = current * self.resistance
                if self.feed == FEED_REVERSED or self.feed == FEED_REVERSED_TX:
                    volts = -volts
            facts[ms].dc_dv = <int16_t>(volts * 10.0)
            facts[ms].current = <int16_t>(current * 10000.0 + 0.5)
            facts[ms].ac_dv = 0
            facts[ms].ring_dc = <int16_t>(trip * 10000.0 + 0.5)
        self.milliamps = current * 1000.0
        self.volts = volts
        lifted = self.lifted and fed
        if not lifted and fed and self.caller_id_ear is not None:
            self.caller_id_ear.hear(playback, block)
            if self.caller_id_ear.news:
                self.caller_id_ear.news = False
                self.flags |= CALLER_ID
        return self.carry(playback, capture, lifted, lifted, block)


cdef class Segment:
    """The shared memory of the seam, attached by descriptor. Blocks are delivered by `begin()` ... `finish()` pairs."""

    cdef object memory
    cdef world_segment *seam
    cdef list wires
    cdef readonly long long block
    cdef readonly long long underruns

    def __init__(self, int fd, *, int speed=-1, long long wall_base_ms=-1, int playback_depth=0):
        """`speed` and `wall_base_ms` of -1 and a depth of 0 keep what the segment says already (100 %, now, 1 if it is new)."""
        cdef unsigned char[::1] view
        if os.fstat(fd).st_size < sizeof(world_segment):
            os.ftruncate(fd, sizeof(world_segment))
        self.memory = mmap.mmap(fd, sizeof(world_segment))
        view = self.memory
        self.seam = <world_segment *>&view[0]
        self.wires = [None] * WORLD_PORTS
        fresh = self.seam.magic != WORLD_MAGIC
        if not fresh and self.seam.version != WORLD_VERSION:
            raise ValueError(f"world segment has version {self.seam.version}, this world speaks {WORLD_VERSION}: rebuild both")
        if fresh or not self.seam.playback_depth or playback_depth:
            self.seam.playback_depth = playback_depth or 1
        if speed >= 0:
            self.seam.speed = speed
        elif fresh:
            self.seam.speed = 100
        if wall_base_ms >= 0:
            self.seam.wall_base_ms = wall_base_ms
        self.seam.version = WORLD_VERSION
        self.seam.ports = WORLD_PORTS
        self.seam.world_pid = os.getpid()
        self.block = <long long>world_load(&self.seam.delivered)
        self.seam.magic = WORLD_MAGIC
        futex_wake_all(&self.seam.delivered)

    def connect(self, Wire wire not None):
        """Plug a wire into its slot."""
        self.wires[wire.slot] = wire

    @property
    def speed(self):
        return self.seam.speed

    @speed.setter
    def speed(self, int percent):
        if not 0 <= percent <= 100000:
            raise ValueError(f"a speed of {percent} % is outside 0..100000")
        self.seam.speed = percent

    @property
    def ticked(self):
        return world_load(&self.seam.ticked)

    @property
    def media_pid(self):
        return self.seam.media_pid

    @property
    def silent_ticks(self):
        return world_load(&self.seam.silent_ticks)

    @property
    def wall_base_ms(self):
        return self.seam.wall_base_ms

    @property
    def playback_depth(self):
        return self.seam.playback_depth

    def caught_up(self):
        """True when media has run every block that was delivered."""
        return world_load(&self.seam.ticked) >= <uint64_t>self.block

    def wait_ticked(self, long long ns):
        """Sleep until media ticks or `ns` nanoseconds pass; returns `caught_up()`."""
        cdef uint64_t seen = world_load(&self.seam.ticked)
        if seen < <uint64_t>self.block:
            with nogil:
                futex_wait_ns(&self.seam.ticked, <uint32_t>seen, ns)
        return world_load(&self.seam.ticked) >= <uint64_t>self.block

    def tick(self):
        """Stand in for media: take what was delivered as ticked, and wake the world."""
        world_store(&self.seam.ticked, world_load(&self.seam.delivered))
        futex_wake_all(&self.seam.ticked)

    def realign(self):
        """After a pause: go on where media is now, and tell it that playback and capture moved against each other."""
        cdef long long ticked = <long long>world_load(&self.seam.ticked)
        if ticked > self.block:
            self.block = ticked
        self.seam.align_epoch += 1

    def begin(self):
        """Run every wire for the next block. Returns the list of wires with `flags`, or None."""
        cdef long long n = self.block, tick = n - <long long>self.seam.playback_depth
        cdef int16_t silence[BLOCK]
        cdef const int16_t *playback
        cdef Wire wire
        cdef int port, index = <int>(n % WORLD_BLOCKS)
        cdef bint heard = tick >= 0 and world_load(&self.seam.ticked) > <uint64_t>tick
        memset(silence, 0, sizeof(silence))
        if tick >= 0 and not heard and world_load(&self.seam.ticked):
            self.underruns += 1
        told = None
        for port in range(WORLD_PORTS):
            wire = self.wires[port]
            if wire is None:
                continue
            playback = silence
            if heard:
                playback = &self.seam.playback[tick % WORLD_BLOCKS][port][0]
            wire.step(self.seam.drive[port], playback, self.seam.capture[index][port], self.seam.facts[index][port], n)
            if wire.flags:
                if told is None:
                    told = []
                told.append(wire)
        return told

    def finish(self):
        """Publish the block and wake media."""
        self.block += 1
        world_store(&self.seam.delivered, <uint64_t>self.block)
        futex_wake_all(&self.seam.delivered)

    def facts(self, int port):
        """The last delivered facts of a port: ten tuples (dc dV, current 0.1 mA, ac dV, ring dc 0.1 mA)."""
        cdef int index = <int>((self.block - 1) % WORLD_BLOCKS), ms
        cdef line_fact *fact
        result = []
        for ms in range(WORLD_FACTS):
            fact = &self.seam.facts[index][port][ms]
            result.append((fact.dc_dv, fact.current, fact.ac_dv, fact.ring_dc))
        return result
