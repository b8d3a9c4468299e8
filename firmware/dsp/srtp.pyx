# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714) by libsrtp2; the one module that is linked to it (L2).

Theory of operation
-------------------
A `Secure` is one direction under one master key: what we send, or what a peer sends. Suites by number (as in commands of core):
1 AES_CM_128_HMAC_SHA1_80, 2 AES_CM_128_HMAC_SHA1_32 (RFC 4568 section 6.2), 3 AES_256_CM_HMAC_SHA1_80 (RFC 6188), 4 AEAD_AES_128_GCM
(RFC 7714). A key is master key and master salt in one, as SDES and DTLS-SRTP deliver them. Suite 2 shortens only the tags of RTP;
RTCP keeps 80 bits (RFC 3711 section 5.2, RFC 4568 section 6.2.2).
Packets are sealed and opened in place: sealing needs SECURE_ROOM bytes behind the packet. Both want a buffer aligned to 4 bytes.
Replay protection (RFC 3711 section 3.3.2) is the library's, with a window of 128 packets for each SSRC.
The library clones a stream for every new SSRC: inbound only after its first packet was proven genuine, yet a peer with the key could
still fill our memory so. Therefore an inbound direction knows at most STREAMS SSRCs until it gets another key, whatever else it
receives counts as forged; an outbound one forgets its oldest.
Making and freeing allocates. Debian's library reaches AES through NSS, which also allocates for each packet; Buildroot's has its own AES
or OpenSSL. So nothing here may be called in a real-time tick: the RTP thread owns every `Secure` of the engine (see rtp.pyx).
Invariants: one thread at a time uses a `Secure`; a packet that is not genuine leaves no trace in it but the time it took.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from firmware.dsp.abi cimport load32, mono_ns, sleep_until_ns, store32, swap32

cdef extern from "<srtp2/srtp.h>" nogil:
    ctypedef struct srtp_ctx_t:
        pass
    ctypedef srtp_ctx_t* srtp_t
    ctypedef struct srtp_crypto_policy_t:
        pass
    ctypedef enum srtp_ssrc_type_t:
        ssrc_any_inbound
        ssrc_any_outbound
    ctypedef struct srtp_ssrc_t:
        srtp_ssrc_type_t type
    ctypedef struct srtp_policy_t:
        srtp_ssrc_t ssrc
        srtp_crypto_policy_t rtp, rtcp
        unsigned char* key
        unsigned long window_size
        int allow_repeat_tx
    int srtp_err_status_ok, srtp_err_status_replay_fail, srtp_err_status_replay_old
    int srtp_init()
    int srtp_create(srtp_t* session, const srtp_policy_t* policy)
    int srtp_dealloc(srtp_t s)
    int srtp_remove_stream(srtp_t session, unsigned int ssrc)
    int srtp_protect(srtp_t ctx, void* packet, int* n)
    int srtp_unprotect(srtp_t ctx, void* packet, int* n)
    int srtp_protect_rtcp(srtp_t ctx, void* packet, int* n)
    int srtp_unprotect_rtcp(srtp_t ctx, void* packet, int* n)
    void srtp_crypto_policy_set_rtp_default(srtp_crypto_policy_t* p)        # AES_CM_128_HMAC_SHA1_80
    void srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(srtp_crypto_policy_t* p)
    void srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(srtp_crypto_policy_t* p)
    void srtp_crypto_policy_set_aes_gcm_128_16_auth(srtp_crypto_policy_t* p)

cdef extern from "<arpa/inet.h>" nogil:
    uint32_t htonl(uint32_t)

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* s, size_t n)

cdef enum:
    STREAMS = 64                # SSRCs of one direction under one key
    WINDOW = 128                # packets
    RTP_LEAST = 12
    RTCP_LEAST = 8
    UNTRIED = 0
    STARTING = 1
    READY = 2
    BROKEN = 3

cdef struct Secure:
    srtp_t session
    int inbound
    int known                   # entries of ssrc
    int last                    # the one used last
    int next                    # outbound: the one forgotten next
    uint32_t ssrc[64]

cdef uint32_t _library          # UNTRIED, STARTING, READY or BROKEN


cdef int _start() noexcept nogil:
    """Initialise the library at the first key, not before: an appliance without SRTP does not pay for it. True when it can be used."""
    cdef uint32_t state = load32(&_library)
    if state == READY or state == BROKEN:
        return state == READY
    if swap32(&_library, STARTING) == UNTRIED:
        store32(&_library, READY if srtp_init() == srtp_err_status_ok else BROKEN)
    while load32(&_library) == STARTING:
        sleep_until_ns(mono_ns() + 100000)
    return load32(&_library) == READY


cdef int secure_key_size(int suite) noexcept nogil:
    """Bytes of master key and salt; 0 for no suite of ours."""
    if suite == 1 or suite == 2:
        return 16 + 14
    if suite == 3:
        return 32 + 14
    return 16 + 12 if suite == 4 else 0


cdef Secure* secure_new(int suite, const uint8_t* key, int inbound) noexcept nogil:
    """One direction under the key (secure_key_size bytes, not kept); NULL without memory, suite or library."""
    cdef srtp_policy_t policy
    cdef uint8_t copy[SECURE_KEY]
    cdef Secure* s
    cdef int size = secure_key_size(suite), code
    if size == 0 or not _start():
        return NULL
    s = <Secure*>calloc(1, sizeof(Secure))
    if s == NULL:
        return NULL
    memset(&policy, 0, sizeof(policy))
    if suite == 4:
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp)
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtcp)
    elif suite == 3:
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&policy.rtp)
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&policy.rtcp)
    else:
        if suite == 2:
            srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(&policy.rtp)
        else:
            srtp_crypto_policy_set_rtp_default(&policy.rtp)
        srtp_crypto_policy_set_rtp_default(&policy.rtcp)
    memset(copy, 0, sizeof(copy))
    memcpy(copy, key, size)
    policy.ssrc.type = ssrc_any_inbound if inbound else ssrc_any_outbound
    policy.key = copy
    policy.window_size = WINDOW
    code = srtp_create(&s.session, &policy)
    explicit_bzero(copy, sizeof(copy))
    if code != srtp_err_status_ok:
        free(s)
        return NULL
    s.inbound = inbound
    return s


cdef void secure_free(Secure* s) noexcept nogil:
    """Session keys are wiped by the library."""
    if s != NULL:
        srtp_dealloc(s.session)
        free(s)


cdef int _known(Secure* s, uint32_t ssrc) noexcept nogil:
    """Whether a stream of this SSRC exists."""
    cdef int i
    if s.known and s.ssrc[s.last] == ssrc:
        return 1
    for i in range(s.known):
        if s.ssrc[i] == ssrc:
            s.last = i
            return 1
    return 0


cdef void _remember(Secure* s, uint32_t ssrc) noexcept nogil:
    if s.known < STREAMS:
        s.last = s.known
        s.known += 1
    else:
        srtp_remove_stream(s.session, htonl(s.ssrc[s.next]))    # outbound only
        s.last = s.next
        s.next = (s.next + 1) % STREAMS
    s.ssrc[s.last] = ssrc


cdef uint32_t _ssrc(const uint8_t* packet, int rtcp) noexcept nogil:
    cdef const uint8_t* at = packet + (4 if rtcp else 8)
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef int secure_seal(Secure* s, uint8_t* packet, int n, int rtcp) noexcept nogil:
    """Encrypt and sign a packet of n bytes in place (SECURE_ROOM + 4 bytes behind it are ours); its new length, or SECURE_FORGED."""
    cdef uint32_t ssrc
    cdef int code
    if n < (RTCP_LEAST if rtcp else RTP_LEAST):
        return SECURE_FORGED
    ssrc = _ssrc(packet, rtcp)
    if not _known(s, ssrc):
        _remember(s, ssrc)
    code = srtp_protect_rtcp(s.session, packet, &n) if rtcp else srtp_protect(s.session, packet, &n)
    return n if code == srtp_err_status_ok else SECURE_FORGED


cdef int secure_open(Secure* s, uint8_t* packet, int n, int rtcp) noexcept nogil:
    """Check and decrypt a packet of n bytes in place; its new length, SECURE_FORGED or SECURE_REPEATED (the buffer is then void)."""
    cdef uint32_t ssrc
    cdef int code, known
    if n < (RTCP_LEAST if rtcp else RTP_LEAST) or (packet[0] >> 6) != 2:
        return SECURE_FORGED
    ssrc = _ssrc(packet, rtcp)
    known = _known(s, ssrc)
    if not known and s.known >= STREAMS:
        return SECURE_FORGED
    code = srtp_unprotect_rtcp(s.session, packet, &n) if rtcp else srtp_unprotect(s.session, packet, &n)
    if code == srtp_err_status_ok:
        if not known:
            _remember(s, ssrc)
        return n
    return SECURE_REPEATED if code == srtp_err_status_replay_fail or code == srtp_err_status_replay_old else SECURE_FORGED


SUITE_NAMES = ("", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AES_256_CM_HMAC_SHA1_80", "AEAD_AES_128_GCM")


cdef class Srtp:
    """One direction of SRTP and SRTCP under one key, for tests and tools; the engine uses the functions above."""

    cdef Secure* s

    def __cinit__(self):
        self.s = NULL

    def __init__(self, str suite, bytes key, bint inbound):
        """`suite`: a name of SUITE_NAMES; `key`: master key and salt. Raises ValueError for another suite or length."""
        if not suite or suite not in SUITE_NAMES:
            raise ValueError(f"suite is {suite!r}, must be one of {', '.join(SUITE_NAMES[1:])}")
        number = SUITE_NAMES.index(suite)
        if len(key) != secure_key_size(number):
            raise ValueError(f"{suite} needs {secure_key_size(number)} bytes of key and salt, not {len(key)}")
        secure_free(self.s)
        self.s = secure_new(number, key, inbound)
        if self.s == NULL:
            raise MemoryError(f"libsrtp refuses a context for {suite}: check that the library has it")

    def __dealloc__(self):
        secure_free(self.s)

    def protect(self, bytes packet, bint rtcp=False):
        """The sealed packet. Raises ValueError when it is none, or its number was used before."""
        cdef uint32_t words[520]
        cdef uint8_t* data = <uint8_t*>words
        cdef int n = <int>len(packet)
        if n > 2048:
            raise ValueError(f"packet has {n} bytes, must be at most 2048")
        memcpy(data, <const char*>packet, n)
        n = secure_seal(self.s, data, n, rtcp)
        if n < 0:
            raise ValueError("packet cannot be sealed")
        return (<char*>data)[:n]

    def unprotect(self, bytes packet, bint rtcp=False):
        """The opened packet, or "forged" or "repeated"."""
        cdef uint32_t words[520]
        cdef uint8_t* data = <uint8_t*>words
        cdef int n = <int>len(packet)
        if n > 2048:
            return "forged"
        memcpy(data, <const char*>packet, n)
        n = secure_open(self.s, data, n, rtcp)
        if n < 0:
            return "repeated" if n == SECURE_REPEATED else "forged"
        return (<char*>data)[:n]
