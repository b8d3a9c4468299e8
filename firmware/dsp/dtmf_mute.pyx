# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Muting of DTMF towards the far side, behind the detector.

Theory of operation. `dtmf_mute_process` works on the block that the detector has just seen, so it adds no delay. It closes as late as
the limit allows: when the tone would otherwise be 15 ms old at the start of the next block. By then three to five frames are
there to be judged, with wider limits than at the end, which is why speech is cut so rarely. With blocks of whole frames up to 30 ms
less than 20 ms of a tone pass, ramp of 2.5 ms included; of a key that is recognised late, because a voice broke off where it
began, 70 ms. Opening and closing follow a smooth ramp: no click.
Invariants: no allocation, no pointers in the struct.
"""

from libc.string cimport memset

from firmware.dsp.dtmf cimport DtmfDet, DtmfHit, dtmf_det_feed, dtmf_det_init, dtmf_det_plausible

cdef extern from "kernels.h" nogil:
    short kernel_round(float x)


cdef int dtmf_mute_init(DtmfMute* mute, int rate) noexcept nogil:
    memset(mute, 0, sizeof(DtmfMute))
    if rate != 8000 and rate != 16000:
        return -1
    mute.ramp = rate // 400                             # 2.5 ms
    mute.patience = rate * 15 // 1000                   # 20 ms less the ramp and 2.5 ms that the onset may be misjudged by
    return 0


cdef void dtmf_mute_process(DtmfMute* mute, DtmfDet* det, short* samples, int n) noexcept nogil:
    cdef int i
    cdef float gain
    cdef bint close = det.tentative or det.digit
    if close and not mute.closing:
        # Else the next block will do.
        close = det.digit != 0 or det.age > mute.patience and dtmf_det_plausible(det)
        if close:
            mute.cuts += 1
    if not close and mute.digit:
        close = True                                    # the tone's last part may be in this block
    mute.digit = det.digit
    mute.closing = close
    if not close and mute.at == 0:
        return
    for i in range(n):
        if close and mute.at < mute.ramp:
            mute.at += 1
        elif not close and mute.at > 0:
            mute.at -= 1
        gain = <float>(mute.ramp - mute.at) / mute.ramp
        samples[i] = kernel_round(samples[i] * (gain * gain * (<float>3.0 - <float>2.0 * gain)))


cdef class DtmfMuter:
    """Silences DTMF in what goes to the far side: at most 20 ms of a digit pass, given blocks of 5 to 30 ms."""

    cdef DtmfDet det
    cdef DtmfMute mute

    def __init__(self, sample_rate=8000):
        if dtmf_det_init(&self.det, sample_rate) < 0 or dtmf_mute_init(&self.mute, sample_rate) < 0:
            raise ValueError(f"sample rate {sample_rate} is not supported: use 8000 or 16000")

    def process(self, samples, int block=80) -> bytes:
        """Listen to one block after the other and return them with digits silenced. Raises ValueError for odd bytes."""
        cdef bytearray out = bytearray(samples)
        cdef int n = <int>(len(out) // 2), at = 0, step
        cdef DtmfHit hits[4]
        cdef short[::1] view
        if len(out) & 1:
            raise ValueError(f"samples are 16-bit, but {len(out)} bytes were given: pass an even number of bytes")
        if block < 1:
            raise ValueError(f"a block of {block} samples is not possible: give 1 or more")
        if n:
            view = memoryview(out).cast("h")
            with nogil:
                while at < n:
                    step = block if n - at > block else n - at
                    dtmf_det_feed(&self.det, &view[at], step, hits, 4)
                    dtmf_mute_process(&self.mute, &self.det, &view[at], step)
                    at += step
        return bytes(out)

    @property
    def cuts(self) -> int:
        """How many times it began to silence the sound."""
        return self.mute.cuts
