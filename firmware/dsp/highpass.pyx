# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""DC removal and high-pass against mains hum for what a line captures (L2).

Theory of operation. A Chebyshev filter of the second kind and third order: stop band 28 dB from 61.5 Hz down, one zero at DC, a pair on
the unit circle at 53 Hz between both mains frequencies. It takes 38 dB of 50 Hz, 30 dB of 60 Hz and 29 dB or more of everything
below, and leaves 0.16 dB at 200 Hz (the telephone band begins at 300 Hz, ITU-T G.712). The coefficients come from the bilinear transform with
the edge pre-warped; they are constants, so that every machine filters alike.
The filter is linear and the same for every slot, so an echo canceller whose reference passes through a second one of these still
sees the line's own echo path: both filters commute with it and nothing is added to its tail.
Invariants: silence in is silence out once the states have died away (they are cleared below 1e-15, so no denormals); the cost is one
recursion of three states per sample; blocks of any size give the same samples.
"""
from libc.math cimport fabsf

cdef extern from "kernels.h" nogil:
    short kernel_round(float x)


cdef int highpass_init(HighPass* h, int rate) noexcept nogil:
    if rate == 8000:
        h.pole, h.first = <float>0.9207019107, <float>0.9603509553
        h.b1, h.a1, h.a2, h.second = <float>-1.9982502736, <float>-1.9126527157, <float>0.9208647095, <float>0.9587987652
    elif rate == 16000:
        h.pole, h.first = <float>0.9595548140, <float>0.9797774070
        h.b1, h.a1, h.a2, h.second = <float>-1.9995625525, <float>-1.9574788944, <float>0.9595760187, <float>0.9793708341
    else:
        return -1
    highpass_reset(h)
    return 0


cdef void highpass_reset(HighPass* h) noexcept nogil:
    h.z0 = h.z1 = h.z2 = 0.0


cdef inline float _settled(float z) noexcept nogil:
    return z if fabsf(z) > <float>1e-15 else <float>0.0


cdef void highpass_run(HighPass* h, const short* samples, short* out, int n) noexcept nogil:
    cdef float pole = h.pole, first = h.first, b1 = h.b1, a1 = h.a1, a2 = h.a2, second = h.second
    cdef float z0 = h.z0, z1 = h.z1, z2 = h.z2
    cdef float x, v, y
    cdef int i
    for i in range(n):
        x = first * samples[i]
        v = x + z0
        z0 = pole * v - x
        v = second * v
        y = v + z1
        z1 = b1 * v - a1 * y + z2
        z2 = v - a2 * y
        out[i] = kernel_round(y)
    h.z0, h.z1, h.z2 = _settled(z0), _settled(z1), _settled(z2)


cdef class HighPassFilter:
    """Takes DC and mains hum (below 61.5 Hz: 28 dB) out of 16-bit little-endian samples at 8000 or 16000 Hz.

    Raises ValueError for another rate.
    """

    cdef HighPass state

    def __init__(self, sample_rate=8000):
        if sample_rate not in (8000, 16000) or highpass_init(&self.state, sample_rate):
            raise ValueError(f"no high-pass for {sample_rate} Hz: use 8000 or 16000 Hz")

    def process(self, samples) -> bytes:
        """The filtered samples, as many as came in; raises ValueError for half a sample."""
        cdef bytes data = bytes(samples)
        if len(data) % 2:
            raise ValueError(f"{len(data)} bytes are no whole number of 16-bit samples")
        cdef bytearray result = bytearray(data)
        cdef char* to = result
        cdef int n = <int>(len(data) // 2)
        with nogil:
            highpass_run(&self.state, <short*>to, <short*>to, n)
        return bytes(result)

    def reset(self) -> None:
        """Forget the past."""
        highpass_reset(&self.state)
