# Level meter of one direction at C level; nothing here allocates.
cdef struct Meter:
    int rate
    int size                    # samples in 10 ms
    int fill
    float sum                   # of squares in the running frame
    int top                     # greatest magnitude in the running frame
    float power                 # mean square, time constant 125 ms
    float peak                  # held 1 s, then falling 20 dB/s
    int hold                    # frames the peak still stands
    unsigned int clipped        # samples at full scale since the reset

cdef void meter_init(Meter* m, int rate) noexcept nogil
cdef void meter_feed(Meter* m, const short* samples, int n) noexcept nogil
cdef float meter_level(const Meter* m) noexcept nogil       # dBm0, -99 = silence
cdef float meter_peak(const Meter* m) noexcept nogil        # dBm0 of a sine of that peak, -99 = silence
cdef float power_dbm0(float mean_square) noexcept nogil     # -99 at the least
