# Between 8 and 16 kHz by a polyphase half-band filter: see resample.pyx.
cdef enum:
    RESAMPLE_TAPS = 28          # of the branch that is no plain delay
    RESAMPLE_BLOCK = 160        # samples at 16 kHz handled at once
    RESAMPLE_DELAY = 27         # samples at 16 kHz, each way: 1.69 ms

cdef struct Up2:
    float past[28]              # 8 kHz samples

cdef struct Down2:
    float even[28]              # 16 kHz samples of even and odd index
    float odd[28]

cdef void up2_init(Up2* r) noexcept nogil
cdef void down2_init(Down2* r) noexcept nogil
cdef void up2(Up2* r, const short* samples, int n, short* out) noexcept nogil        # n at 8 kHz, 2n at 16 kHz
cdef void down2(Down2* r, const short* samples, int n, short* out) noexcept nogil    # n (even) at 16 kHz, n/2 at 8 kHz
