# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""DTMF, sent: two sines per key by the levels and times of a country.

Theory of operation. ITU-T Q.23 (frequencies, each exact to the precision of double, where 1.8 % would be allowed). Each sine is a phasor
that turns by one complex product per sample; it starts at phase 0 with every key, so that a key sounds the same each time. Keys
open and close within 2 ms along 3g^2 - 2g^3, which keeps the click 40 dB below the tone outside of its bands.
Levels are those of one tone, in dBm0; countries send the high group louder by 0 to 2 dB, because lines lose more of it.
"""

from typing import NamedTuple

from libc.math cimport pow
from libc.string cimport memset

cdef extern from "dtmf_kernels.h" nogil:
    short kernel_round(float x)
    void dtmf_cos_sin(double x, double* c, double* s)

cdef double[8] FREQ = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0]
cdef const char* KEYS = "123A456B789C*0#D"


cdef int dtmf_gen_init(DtmfGen* gen, const char* digits, int ndigits, int on_ms, int off_ms, double level_dbm0,
                       int rate) noexcept nogil:
    return dtmf_gen_init_levels(gen, digits, ndigits, on_ms, off_ms, level_dbm0, level_dbm0, rate)


cdef int dtmf_gen_init_levels(DtmfGen* gen, const char* digits, int ndigits, int on_ms, int off_ms, double low_dbm0,
                              double high_dbm0, int rate) noexcept nogil:
    cdef int i, k
    memset(gen, 0, sizeof(DtmfGen))
    if ndigits < 1 or ndigits > DTMF_MAX_DIGITS or on_ms < 10 or on_ms > 60000 or off_ms < 0 or off_ms > 60000:
        return -1
    if rate != 8000 and rate != 16000 or not -60.0 <= low_dbm0 <= 3.0 or not -60.0 <= high_dbm0 <= 3.0:
        return -1
    for i in range(ndigits):
        k = 0
        while k < 16 and KEYS[k] != digits[i] and KEYS[k] != digits[i] - 32:
            k += 1
        if k == 16:
            return -1
        gen.digits[i] = <char>k
    gen.on = on_ms * (rate // 1000)
    gen.off = off_ms * (rate // 1000)
    gen.ramp = rate // 500
    gen.amplitude[0] = <float>(22750.0 * pow(10.0, low_dbm0 / 20.0))
    gen.amplitude[1] = <float>(22750.0 * pow(10.0, high_dbm0 / 20.0))
    for i in range(8):
        dtmf_cos_sin(2.0 * 3.141592653589793 * FREQ[i] / rate, &gen.cos_w[i], &gen.sin_w[i])
    gen.n = ndigits
    return 0


cdef int dtmf_gen_fill(DtmfGen* gen, short* out, int n) noexcept nogil:
    cdef int i, k, f
    cdef double re
    cdef float gain, total
    for i in range(n):
        if gen.index >= gen.n:
            out[i] = 0
            continue
        if gen.at == 0:
            for k in range(2):
                gen.re[k] = 1.0
                gen.im[k] = 0.0
        total = 0.0
        if gen.at < gen.on:
            gain = 1.0
            if gen.at < gen.ramp:
                gain = <float>gen.at / gen.ramp
            elif gen.on - gen.at < gen.ramp:
                gain = <float>(gen.on - gen.at) / gen.ramp
            for k in range(2):
                f = 4 + (gen.digits[gen.index] & 3) if k else gen.digits[gen.index] >> 2
                total += gen.amplitude[k] * <float>gen.im[k]
                re = gen.re[k] * gen.cos_w[f] - gen.im[k] * gen.sin_w[f]
                gen.im[k] = gen.re[k] * gen.sin_w[f] + gen.im[k] * gen.cos_w[f]
                gen.re[k] = re
            total *= gain * gain * (<float>3.0 - <float>2.0 * gain)
        out[i] = kernel_round(total)
        gen.at += 1
        if gen.at == gen.on + gen.off:
            gen.at = 0
            gen.index += 1
    return 1 if gen.index < gen.n else 0


class DtmfPlan(NamedTuple):
    """How a country's exchanges want to be dialled: dBm0 of each tone of the low and the high group, ms of tone and pause."""

    low_dbm0: float
    high_dbm0: float
    on_ms: int
    off_ms: int


# Levels: ETSI TR 101 041-2 and ES 201 235-2 for Europe (-11 and -9 at the line), TIA-464 for North America (equal groups); times are
# on the safe side of 65/65 ms (Europe) and 50/50 ms (North America).
DTMF_PLANS = {
    "US": DtmfPlan(-10.0, -10.0, 80, 80),
    "CA": DtmfPlan(-10.0, -10.0, 80, 80),
    "CN": DtmfPlan(-9.0, -7.0, 100, 100),
    "GB": DtmfPlan(-11.0, -9.0, 80, 80),
    "FR": DtmfPlan(-11.0, -9.0, 80, 80),
    "DE": DtmfPlan(-11.0, -9.0, 80, 80),
    "EU": DtmfPlan(-11.0, -9.0, 80, 80),
    "AU": DtmfPlan(-11.0, -9.0, 80, 80),
}


cdef class DtmfGenerator:
    """Sends up to 64 digits; `level_dbm0` is the level of each tone, or of those of the low group if `high_dbm0` is given."""

    cdef DtmfGen gen

    def __init__(self, digits, on_ms=100, off_ms=100, level_dbm0=-9.0, sample_rate=8000, high_dbm0=None):
        cdef bytes raw = digits.encode("ascii", "replace")
        if high_dbm0 is None:
            high_dbm0 = level_dbm0
        if dtmf_gen_init_levels(&self.gen, raw, <int>len(raw), on_ms, off_ms, level_dbm0, high_dbm0, sample_rate) < 0:
            raise ValueError(f"cannot send DTMF {digits!r} with {on_ms}/{off_ms} ms, {level_dbm0}/{high_dbm0} dBm0 at {sample_rate} Hz: give 1 to 64 "
                             "of 0-9 * # A-D, 10 ms to 60 s on, up to 60 s off, -60 to 3 dBm0, and a rate of 8000 or 16000")

    @classmethod
    def for_country(cls, digits, country, sample_rate=8000):
        """With levels and times of a country's plan; raises KeyError for a country without one."""
        plan = DTMF_PLANS[country]
        return cls(digits, plan.on_ms, plan.off_ms, plan.low_dbm0, sample_rate, plan.high_dbm0)

    def generate(self, int samples) -> bytes:
        """The next `samples` samples, 16-bit little-endian; silence after the last digit."""
        cdef bytearray out = bytearray(2 * samples)
        cdef short[::1] view
        if samples > 0:
            view = memoryview(out).cast("h")
            with nogil:
                dtmf_gen_fill(&self.gen, &view[0], samples)
        return bytes(out)

    @property
    def running(self) -> bool:
        """False when the last digit and its pause have been sent."""
        return self.gen.index < self.gen.n
