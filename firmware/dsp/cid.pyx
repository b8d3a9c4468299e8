# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Everything that can bring a caller id over a line, at once: Bell 202, V.23 and the alerting tones.

Theory of operation. A line whose scheme is not known is listened to in every way. Both FSK standards are one receiver (`fsk.pyx`,
FSK_AUTO), which tells from the marks which of them it hears: nothing is delivered twice and the second costs nothing. DTMF caller id
needs no receiver of its own: keys come from the DTMF detector and are gathered by `firmware/line/callerid.py`.
Invariants: as those of the parts; feeding them one by one gives the same.
"""

from typing import NamedTuple

from firmware.dsp.cas cimport CAS_CALL_WAITING, cas_det_feed, cas_det_init
from firmware.dsp.fsk cimport FSK_AUTO, FSK_V23, fsk_rx_feed, fsk_rx_init


cdef int cid_rx_init(CidReceivers* rx, int rate) noexcept nogil:
    if cas_det_init(&rx.cas, rate) < 0:
        return -1
    return fsk_rx_init(&rx.fsk, FSK_AUTO, rate)


cdef int cid_rx_feed(CidReceivers* rx, const short* samples, int n) noexcept nogil:
    cdef int what = 0, length = fsk_rx_feed(&rx.fsk, samples, n)
    if length > 0:
        what = CID_MESSAGE
    elif length < 0:
        what = CID_DAMAGED
    if cas_det_feed(&rx.cas, samples, n, &rx.alert):
        what |= CID_ALERT
    return what


class LineSignal(NamedTuple):
    """What a line brought. `kind`: "message" (with `payload` and `standard`), "damaged", "call-waiting" or "alert" (alerting tones)."""

    kind: str
    standard: str
    payload: bytes


cdef class CallerIdListener:
    """All receivers at once over 16-bit little-endian samples at 8000 or 16000 Hz."""

    cdef CidReceivers rx

    def __init__(self, int sample_rate=8000):
        if cid_rx_init(&self.rx, sample_rate) < 0:
            raise ValueError(f"sample rate {sample_rate} is not supported: use 8000 or 16000")

    def feed(self, samples) -> list:
        """Take samples of any number; returns a `LineSignal` for everything that ended in them. Raises ValueError for odd bytes."""
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), at = 0, block, what
        if raw.shape[0] & 1:
            raise ValueError(f"samples are 16-bit, but {raw.shape[0]} bytes were given: pass an even number of bytes")
        cdef bytes aligned = bytes(raw)
        cdef const short* data = <const short*><const char*>aligned
        found = []
        while at < n:
            block = min(n - at, 80)
            with nogil:
                what = cid_rx_feed(&self.rx, data + at, block)
            standard = "v23" if self.rx.fsk.standard == FSK_V23 else "bell202"
            if what & CID_ALERT:
                found.append(LineSignal("call-waiting" if self.rx.alert.kind == CAS_CALL_WAITING else "alert", "", b""))
            if what & CID_MESSAGE:
                found.append(LineSignal("message", standard, bytes(self.rx.fsk.message[:self.rx.fsk.length])))
            elif what & CID_DAMAGED:
                found.append(LineSignal("damaged", standard, b""))
            at += block
        return found
