# Muting behind the DTMF detector at C level.
from firmware.dsp.dtmf cimport DtmfDet

cdef struct DtmfMute:
    int ramp                        # samples of a whole ramp
    int patience                    # samples of a tone after which it must close
    int at                          # position in the ramp: 0 open, ramp = silent
    int closing
    int digit                       # there was one at the end of the last block
    int cuts                        # times it began to close

cdef int dtmf_mute_init(DtmfMute* mute, int rate) noexcept nogil                  # 0; -1: unknown rate
# Runs after dtmf_det_feed, on the same samples.
cdef void dtmf_mute_process(DtmfMute* mute, DtmfDet* det, short* samples, int n) noexcept nogil
