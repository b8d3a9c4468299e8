from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    SUITE_PLAIN = 0             # RTP as it is
    SUITES = 5                  # 1 to 4: see srtp.pyx
    SECURE_LATER = 5            # keys come from DTLS: until then nothing goes or comes
    SECURE_KEY = 48             # bytes kept for a master key and its salt
    SECURE_ROOM = 16            # bytes a sealed packet can be longer
    SECURE_FORGED = -1          # wrong key, altered, too short, or of one stream too many
    SECURE_REPEATED = -2        # seen before, or too old to know

cdef struct Secure              # one direction of one stream pair

cdef int secure_key_size(int suite) noexcept nogil
cdef Secure* secure_new(int suite, const uint8_t* key, int inbound) noexcept nogil
cdef void secure_free(Secure* s) noexcept nogil
cdef int secure_seal(Secure* s, uint8_t* packet, int n, int rtcp) noexcept nogil
cdef int secure_open(Secure* s, uint8_t* packet, int n, int rtcp) noexcept nogil
