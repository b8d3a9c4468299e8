from firmware.dsp.scan_state cimport Scan


cdef object scan_compile(Scan* s, int slot, str kind, object plan, int chain, str framing, int position, object base)
cdef dict scan_figures(Scan* s)
