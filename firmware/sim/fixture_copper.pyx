# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The speech paths of a simulated test fixture: cables between ports, hybrids, noise, and a tone source on each jack.

Theory of operation. Each port puts a block on its two wires; the next block it takes from them is: what the port at the other end of
its cable put there, through loss, a high-pass and a low-pass of first order, a notch and a cubic bend; its own words back through a
hybrid of four taps; crosstalk from all other ports; white noise; the fixture's tone. A crossed cable turns the sign.
Levels are of 16-bit samples, 0 dBm0 is a sine of peak 22750. Dice are a seeded xorshift, so one seed gives one run.
"""

from libc.math cimport M_PI, cos, pow, sin, sqrt
from libc.stdint cimport int16_t, uint64_t
from libc.string cimport memset

cdef enum:
    PORTS = 24
    TAPS = 4

# In the order of NAMES.
cdef enum:
    P_LOSS, P_HIGH_PASS, P_LOW_PASS, P_ERL, P_NOISE, P_BEND, P_NOTCH, P_CROSSTALK, P_COUNT

NAMES = ("loss_db", "high_pass_hz", "low_pass", "erl_db", "noise_dbm0", "bend", "notch_hz", "crosstalk_db")
DEFAULTS = (0.0, 40.0, 0.92, 24.0, -74.0, 0.0, 0.0, 80.0)
assert len(NAMES) == len(DEFAULTS) == P_COUNT
cdef double PEAK = 22750.0
cdef double HYBRID[TAPS]
HYBRID[:] = [0.55, 0.7, -0.4, 0.2]


cdef struct copper_port:
    double p[P_COUNT]
    int peer
    bint crossed
    double high_in, high_out, low            # filters of the path to this port
    double x1, x2, y1, y2
    double sent[TAPS]
    double tone_peak, tone_step, tone_angle


cdef inline double decibels(double db) noexcept nogil:
    return pow(10.0, db / 20.0)


cdef class Copper:
    """Wires of all ports of a board."""
    cdef copper_port port[PORTS]
    cdef int ports
    cdef uint64_t dice

    def __init__(self, int ports, unsigned long long seed=1):
        cdef int k, j
        if not 0 < ports <= PORTS:
            raise ValueError(f"1 to {PORTS} ports, not {ports}")
        memset(&self.port[0], 0, sizeof(self.port))
        self.ports = ports
        self.dice = seed * 2654435761u + 88172645463325252u
        for k in range(ports):
            self.port[k].peer = -1
            for j in range(P_COUNT):
                self.port[k].p[j] = DEFAULTS[j]

    def set(self, int port, str name, double value):
        """A property of the path to a port."""
        if not 0 <= port < self.ports:
            raise IndexError(f"there is no port {port}")
        self.port[port].p[<int>NAMES.index(name)] = value

    def get(self, int port, str name):
        """The same, read."""
        if not 0 <= port < self.ports:
            raise IndexError(f"there is no port {port}")
        return self.port[port].p[<int>NAMES.index(name)]

    def join(self, int one, int other, bint crossed):
        """A cable between two ports."""
        self.port[one].peer, self.port[other].peer = other, one
        self.port[one].crossed = self.port[other].crossed = crossed

    def part(self):
        """Take all cables off, and the sources."""
        cdef int k
        for k in range(self.ports):
            self.port[k].peer = -1
            self.port[k].tone_peak = 0.0

    def source(self, int port, double hertz, double dbm0):
        """A tone on a jack; below -90 dBm0 none."""
        self.port[port].tone_peak = PEAK * decibels(dbm0) if dbm0 > -90.0 else 0.0
        self.port[port].tone_step = 2.0 * M_PI * hertz / 8000.0

    def block(self, outward):
        """What each port puts on its wires, channel after channel; returns what each takes from them."""
        cdef bytes source = bytes(outward)
        cdef int n = <int>(len(source) // (2 * self.ports))
        cdef bytearray target = bytearray(len(source))
        cdef const int16_t *out = <const int16_t *><const char *>source
        cdef int16_t *back = <int16_t *><char *>target
        if len(source) != 2 * n * self.ports:
            raise ValueError("a block has as many samples for each port")
        with nogil:
            self.mix(out, back, n)
        return bytes(target)

    cdef void mix(self, const int16_t *out, int16_t *back, int n) noexcept nogil:
        cdef int k, j, i
        cdef double x, y, value, loss, erl, noise, stray, high, norm, w, r = 0.97
        cdef copper_port *q
        norm = 0.0
        for j in range(TAPS):
            norm += HYBRID[j] * HYBRID[j]
        norm = sqrt(norm)
        for k in range(self.ports):
            q = &self.port[k]
            loss = decibels(-q.p[P_LOSS]) * (-1.0 if q.crossed else 1.0)
            erl = decibels(-q.p[P_ERL]) / norm
            noise = PEAK / sqrt(2.0) * decibels(q.p[P_NOISE])
            stray = decibels(-q.p[P_CROSSTALK])
            high = 1.0 - 2.0 * M_PI * q.p[P_HIGH_PASS] / 8000.0
            w = 2.0 * M_PI * q.p[P_NOTCH] / 8000.0
            for i in range(n):
                value = 0.0
                if q.peer >= 0:
                    x = out[q.peer * n + i]
                    if q.p[P_BEND] != 0.0:
                        x -= q.p[P_BEND] * x * (x / 32768.0) * (x / 32768.0)
                    q.high_out = high * (q.high_out + x - q.high_in)
                    q.high_in = x
                    q.low += q.p[P_LOW_PASS] * (q.high_out - q.low)
                    y = q.low
                    if q.p[P_NOTCH] > 0.0:
                        x = y
                        y = x - 2.0 * cos(w) * q.x1 + q.x2 + 2.0 * r * cos(w) * q.y1 - r * r * q.y2
                        q.x2 = q.x1
                        q.x1 = x
                        q.y2 = q.y1
                        q.y1 = y
                    value = loss * y
                for j in range(TAPS - 1, 0, -1):
                    q.sent[j] = q.sent[j - 1]
                q.sent[0] = out[k * n + i]
                for j in range(TAPS):
                    value += erl * HYBRID[j] * q.sent[j]
                for j in range(self.ports):
                    if j != k and j != q.peer:
                        value += stray * out[j * n + i]
                value += noise * self.gauss()
                if q.tone_peak > 0.0:
                    value += q.tone_peak * sin(q.tone_angle)
                    q.tone_angle += q.tone_step
                    if q.tone_angle > 2.0 * M_PI:
                        q.tone_angle -= 2.0 * M_PI
                value = 32767.0 if value > 32767.0 else -32768.0 if value < -32768.0 else value
                back[k * n + i] = <int16_t>(value + 0.5 if value >= 0.0 else value - 0.5)

    cdef double gauss(self) noexcept nogil:
        """Nearly normal, standard deviation 1: four even dice."""
        cdef double total = 0.0
        cdef int k
        for k in range(4):
            self.dice ^= self.dice << 13
            self.dice ^= self.dice >> 7
            self.dice ^= self.dice << 17
            total += <double>(self.dice >> 11) / 9007199254740992.0 - 0.5
        return total * sqrt(3.0)
