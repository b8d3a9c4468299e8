# Comfort noise at C level (RFC 3389): structs without pointers, owned by whoever makes or measures the noise.
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    COMFORT_ORDER = 10          # reflection coefficients we make and use
    COMFORT_BYTES = 11          # of the longest payload we send

cdef struct Comfort:            # makes noise
    float k[10]                 # reflection coefficients in use and wanted
    float goal_k[10]
    float a[11]
    float rms                   # of the noise, in use and wanted, 16-bit units
    float goal_rms
    float gain                  # of the white noise into the filter
    float memory[10]
    uint32_t seed
    int set                     # a level is known
    int left                    # samples until the next step towards the goal

cdef struct ComfortMeter:       # measures background
    float frame[160]            # the newest two frames
    float r[11]                 # average autocorrelation, for one sample
    int have                    # samples of the second frame
    int frames                  # averaged so far

cdef void comfort_init(Comfort* c, uint32_t seed) noexcept nogil
cdef int comfort_set(Comfort* c, const uint8_t* payload, int n) noexcept nogil       # 0, -1: no payload of RFC 3389
cdef void comfort_aim(Comfort* c, const float* r) noexcept nogil                    # like an average autocorrelation r[0..10]
cdef void comfort_make(Comfort* c, float* out, int n) noexcept nogil
cdef void comfort_meter_init(ComfortMeter* m) noexcept nogil
cdef void comfort_learn(ComfortMeter* m, const short* samples, int n) noexcept nogil
cdef int comfort_encode(const ComfortMeter* m, int order, uint8_t* out) noexcept nogil   # bytes written, 0: nothing learned
