# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The copper of the simulated world: a wire for each jack of the box.

Theory of operation. A `Wire` is a pair between a jack of the box and whatever is plugged in at its far end. It has a mouth (what the far
end says), an ear (what the far end hears), a hybrid (what the box says comes back through an FIR with a delay) and noise.
`TrunkWire` adds the exchange side of a PSTN line: feed, loop current, polarity, ringing voltage in its cadence. `PhoneWire` adds an analog
phone: hook contacts driven by a program with a resolution of 1 ms (dial pulses, flash), bell, loop current, ring trip.
Each millisecond has two parts. `*_advance` lets time pass at the far end (cadence, hook program); `*_settle` answers what is on
the copper, given what the near end does (`wire_jack`): it may be asked again without time passing. `carry` moves a block of audio.
Electrical numbers are those of a model line: 48 V behind the loop resistance, a phone of 300 ohm behind 200 ohm of loop.
Invariant: the C functions need no interpreter; Python is told of a wire only when its `flags` are raised.
"""

from libc.math cimport M_PI, fabs, pow, sin, sqrt
from libc.string cimport memset

from firmware.sim.seam cimport (
    FEED_ACTIVE,
    FEED_ON_HOOK_TX,
    FEED_OPEN,
    FEED_REVERSED,
    FEED_REVERSED_TX,
    FEED_RINGING,
    LINE_OFF_HOOK,
)

import random

from firmware.sim.signal import NoiseSource as Noise

# What Python is told of a wire after a block.
HOOK, RING_EDGE, FEED, HEARD, PROGRAM_END, CALLER_ID = 1, 2, 4, 8, 16, 32
cdef enum:
    _HOOK = 1
    _RING_EDGE = 2
    _FEED = 4
    _HEARD = 8
    _PROGRAM_END = 16
    _CALLER_ID = 32
FEEDS = {FEED_OPEN: "open", FEED_ACTIVE: "active", FEED_ON_HOOK_TX: "on-hook-tx", FEED_RINGING: "ringing", FEED_REVERSED: "reversed",
         FEED_REVERSED_TX: "reversed-tx"}
cdef double SQRT2 = 1.4142135623730951


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

    cdef int carry(self, const int16_t *said, int16_t *back, bint outward, bint inward, long long block) except -1:
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
                if said[i] != 0:
                    self.trace_quiet = 0
                    break
        if self.trace_quiet < TRACE:
            for i in range(BLOCK):
                at = (self.trace_at + i) % TRACE
                self.trace[at] = said[i] if outward else <float>0.0
                echo = 0.0
                for k in range(self.tap_count):
                    echo += self.taps[k] * self.trace[(at - self.delay - k + TRACE) % TRACE]
                out[i] += echo
            self.trace_at = (self.trace_at + BLOCK) % TRACE
            self.trace_quiet += BLOCK
            busy = True
        if busy:
            for i in range(BLOCK):
                back[i] = clip(out[i])
        else:
            memset(back, 0, BLOCK * sizeof(int16_t))
        if self.ear.listening:
            if outward:
                self.ear.hear(said, block)
            else:
                memset(silence, 0, sizeof(silence))
                self.ear.hear(silence, block)
            if self.ear.news:
                self.ear.news = False
                self.flags |= _HEARD
        return 0


cdef class TrunkWire(Wire):
    """The exchange side of a PSTN line on an FXO jack."""

    def __cinit__(self, int slot):
        self.feed_volts = 48.0
        self.resistance = 900.0
        self.ring_volts = 90.0
        self.ring_hz = 25.0

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

    def take_hooks(self):
        """What the near end's hook did since the last call: (ms of the world, off hook)."""
        cdef int i
        taken = [(self.edge_at[i], bool(self.edge_off[i])) for i in range(self.edges)]
        self.edges = 0
        return taken


cdef inline int16_t tenths(double value) noexcept nogil:
    return <int16_t>(10.0 * value + (0.5 if value >= 0.0 else -0.5))


cdef void trunk_advance(TrunkWire w) noexcept nogil:
    """One millisecond of the exchange's cadence, hum and stray pulses."""
    cdef bint dead = w.cut or w.opened
    w.now += 1
    w.ac = 0.0
    if w.ringing:
        if w.ring_burst and not dead:
            w.ac = w.ring_volts * SQRT2 * sin(w.ring_angle)
            w.ring_angle += 2.0 * M_PI * w.ring_hz / 1000.0
        w.cadence_left -= 1
        while w.cadence_left <= 0:
            w.cadence_at += 1
            if w.cadence_at == w.cadence_size:
                w.cadence_at = 0
            w.cadence_left = w.cadence[w.cadence_at]
            w.ring_burst = w.cadence_at % 2 == 0
            if w.ring_burst:
                w.bursts += 1
                w.ring_angle = 0.0
            w.flags |= _RING_EDGE
    if w.off_hook:
        w.ac *= 0.1
    if w.hum_volts > 0.0 and not dead:
        w.ac += w.hum_volts * SQRT2 * sin(w.hum_angle)
        w.hum_angle += 2.0 * M_PI * 50.0 / 1000.0
    if w.stray_ms > 0 and not dead:
        w.ac += 70.0
        w.stray_ms -= 1


cdef void trunk_settle(TrunkWire w, const wire_jack *jack, line_fact *fact) noexcept nogil:
    """What is on the line now that the near end does `jack`."""
    cdef bint off_hook = jack.drive == LINE_OFF_HOOK and not w.stuck
    cdef double volts, current = 0.0
    if off_hook != w.off_hook:
        w.off_hook = off_hook
        w.flags |= _HOOK
        if w.edges < EDGES:
            w.edge_at[w.edges] = w.now
            w.edge_off[w.edges] = off_hook
            w.edges += 1
    if w.cut or w.opened:
        volts = 0.0
    elif off_hook:
        current = (w.feed_volts - jack.volts) / (w.resistance + jack.ohms)
        if current < 0.0:
            current = 0.0
        if current > jack.amps:
            current = jack.amps
        volts = jack.volts + jack.ohms * current
        if w.parallel:
            current *= 0.6
    else:
        volts = 8.0 if w.parallel else w.feed_volts
    w.milliamps = current * 1000.0
    w.volts = -volts if w.reversed else volts
    fact.dc_dv = tenths(w.volts)
    fact.current = <int16_t>(current * 10000.0 + 0.5 if current < 3.0 else 30000.0)
    fact.ac_dv = tenths(w.ac)
    fact.ring_dc = 0


cdef class PhoneWire(Wire):
    """An analog phone on an FXS jack."""

    def __cinit__(self, int slot):
        self.resistance = 500.0
        self.ren = 1.0
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

    cdef int hear(self, const int16_t *said, int16_t *back, long long block) except -1:
        """One block of audio: handset or, on hook, display."""
        cdef bint fed = self.feed != FEED_OPEN and self.feed != FEED_RINGING and not self.cut
        cdef bint talks = self.lifted and fed
        if not talks and fed:
            self.show(said, block)
        return self.carry(said, back, talks, talks, block)

    cdef int listen(self, const int16_t *said, bint talks, long long block) except -1:
        """One block off the exchange line itself; what the phone says was taken already."""
        if talks:
            if self.ear.listening:
                self.ear.hear(said, block)
                if self.ear.news:
                    self.ear.news = False
                    self.flags |= _HEARD
        elif self.feed != FEED_RINGING:
            self.show(said, block)
        return 0

    cdef int show(self, const int16_t *said, long long block) except -1:
        """The display listens while the phone is on hook."""
        if self.caller_id_ear is not None:
            self.caller_id_ear.hear(said, block)
            if self.caller_id_ear.news:
                self.caller_id_ear.news = False
                self.flags |= _CALLER_ID
        return 0


cdef void phone_advance(PhoneWire w) noexcept nogil:
    """One millisecond of the hook program."""
    if w.program_size == 0:
        return
    w.lifted = w.program_lifted[w.program_at]
    w.program_left -= 1
    if w.program_left <= 0:
        w.program_at += 1
        if w.program_at == w.program_size:
            w.program_size = 0
            w.flags |= _PROGRAM_END
        else:
            w.program_left = w.program_ms[w.program_at]


cdef bint phone_closed(PhoneWire w) noexcept nogil:
    """True while the phone's contacts close the pair."""
    return (w.lifted or w.stuck) and not w.cut


cdef inline void fed(PhoneWire w, int feed) noexcept nogil:
    if feed != w.feed:
        w.feed = feed
        w.flags |= _FEED


cdef inline int turned(int feed) noexcept nogil:
    """A feed as it comes out of crossed wires."""
    if feed == FEED_ACTIVE or feed == FEED_ON_HOOK_TX:
        return feed + 4
    return feed - 4 if feed == FEED_REVERSED or feed == FEED_REVERSED_TX else feed


cdef double phone_settle(PhoneWire w, const wire_jack *jack, line_fact *fact) noexcept nogil:
    """What is on the loop now that the near end does `jack`. Returns the instantaneous ringing current in mA."""
    cdef double ohms = w.resistance if phone_closed(w) else 1e9, volts = 0.0, amps = 0.0, ring = 0.0, z
    fed(w, turned(jack.drive) if w.reversed else jack.drive)
    if w.leak_ohms > 0.0:
        ohms = ohms * w.leak_ohms / (ohms + w.leak_ohms)
    if w.shorted:
        ohms = 5.0
    memset(fact, 0, sizeof(line_fact))
    if jack.drive == FEED_RINGING:
        volts = jack.ring_dc
        if w.ren > 0.0 and jack.ring_hz > 0.0 and not w.cut:
            z = 1.0 / (2.0 * M_PI * jack.ring_hz * 8e-6 * w.ren)
            ring = jack.ring_volts / sqrt((7000.0 / w.ren) * (7000.0 / w.ren) + z * z)
        if ohms < 20000.0:
            ring += jack.ring_volts / (ohms + 300.0)
            fact.ring_dc = <int16_t>(10000.0 * jack.ring_dc / (ohms + 300.0) + 0.5)
        if w.earthed:
            fact.ring_dc = 900
    elif jack.drive != FEED_OPEN:
        volts = fabs(jack.volts)
        amps = volts / (jack.ohms + ohms)
        if amps > jack.amps:
            amps = jack.amps
            volts = amps * ohms
        else:
            volts -= amps * jack.ohms
        if w.earthed:
            amps = 0.200                            # no longer a current between the wires: the limit does not hold
            volts = 2.0
        if jack.volts < 0.0:
            volts = -volts
    w.milliamps = amps * 1000.0
    w.volts = -volts if w.reversed else volts
    fact.dc_dv = tenths(volts)
    fact.current = <int16_t>(amps * 10000.0 + 0.5)
    return 1000.0 * ring


cdef void phone_joined(PhoneWire w, TrunkWire line) noexcept nogil:
    """The phone hangs on the exchange line itself (lifeline)."""
    if line.cut or line.opened:
        fed(w, FEED_OPEN)
    elif line.ringing and line.ring_burst and not phone_closed(w):
        fed(w, FEED_RINGING)
    else:
        fed(w, FEED_REVERSED if line.reversed else FEED_ACTIVE)
    w.milliamps = line.milliamps
    w.volts = line.volts
