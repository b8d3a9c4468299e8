# cython: language_level=3
"""The scanner of spidev without engine, threads and clock: scan after scan, for counting what one costs (L2).

Theory of operation. The same functions that the scanner thread runs each millisecond (take what was asked, build, carry, decode) on a state
that belongs to nobody else. Each scan is one ms of a clock that is set, so that the detectors of the lines see the same time in every run.
Events go to a lane that nobody empties.
"""
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from firmware.dsp.abi cimport *
from firmware.dsp.scan_plan cimport scan_compile, scan_figures
from firmware.dsp.scan_spi cimport spi_bind, spi_scan
from firmware.dsp.scan_state cimport *
from firmware.dsp.state cimport *

cdef enum:
    MS_NS = 1000000
    SPEED_HZ = 2000000


cdef class ScanDrill:
    """Chips on spidev descriptors (the caller's) and a scanner that runs when told."""

    cdef EngineState* e

    def __cinit__(self):
        cdef int i
        self.e = <EngineState*>calloc(1, sizeof(EngineState))
        if self.e == NULL:
            raise MemoryError("no memory for a scanner")
        self.e.ring = <ring_segment*>calloc(1, sizeof(ring_segment))
        self.e.scan = <Scan*>calloc(1, sizeof(Scan))
        if self.e.ring == NULL or self.e.scan == NULL:
            raise MemoryError("no memory for a scanner")
        for i in range(SCAN_CHAINS):
            self.e.scan.spi[i] = -1
        for i in range(SCAN_SLOTS):
            self.e.line[i].battery = self.e.line[i].battery_raw = self.e.line[i].polarity_raw = 2

    def __dealloc__(self):
        if self.e != NULL:
            free(self.e.ring)
            free(self.e.scan)
        free(self.e)

    def add(self, int slot, str kind, plan, *, int chain, str framing, int position, base, int fd):
        """As `Engine.scan` and `Engine.spidev`: a chip, watched; the drive that stands."""
        found = scan_compile(self.e.scan, slot, kind, plan, chain, framing, position, base)
        spi_bind(self.e.scan, chain, fd, SPEED_HZ)
        self.e.line[slot].kind = self.e.scan.chip[slot].kind
        if found >= 0:
            self.e.drive[slot] = found
        return found

    def run(self, int scans):
        """So many milliseconds."""
        cdef int i
        with nogil:
            for i in range(scans):
                self.e.origin_ns = mono_ns() - <uint64_t>self.e.scan.ms * MS_NS
                spi_scan(self.e, 0)

    @property
    def figures(self):
        """Counters, those of the scanner and the garbage of all chips."""
        found = scan_figures(self.e.scan)
        found["garbage"] = sum(found["garbage"].values())
        return found
