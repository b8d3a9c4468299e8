# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""DTLS handshakes that give SRTP its keys (RFC 5764), by OpenSSL over memory; the one module that is linked to it (L2).

Theory of operation
-------------------
A `DtlsSession` does no I/O: `receive` takes one datagram, `output` gives those to be sent. OpenSSL writes records one after the other
into a memory BIO; records name their lengths, so they are packed into datagrams here, several to one as long as they fit
DATAGRAM. Lost flights are repeated by OpenSSL's own timer: `wait` says in how many seconds `expire` is due, after 50 ms at first (the
media path was set up a moment ago and is short), then doubling up to 2 s; a far end that says nothing for some 15 s has failed.
The far certificate has no issuer to trust: it is the one the signalling named, by its SHA-256 digest, or the handshake fails
with an alert (RFC 5763 section 5). Sessions are not resumed and not renegotiated, so each handshake has that check.
`DtlsCertificate` is our side, ECDSA on P-256 and self-signed, made in memory at start and gone with the process.
Invariants: keys are given only when the handshake is complete, the certificate is proven and a suite is agreed; what a stranger sends
costs a bounded time and bounded memory, and a datagram that OpenSSL cannot use changes nothing. One thread at a time uses a session.
Nothing here may be called in a real-time tick: OpenSSL allocates.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcmp, memcpy, memset

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* s, size_t n)

cdef extern from "<sys/time.h>" nogil:
    struct timeval:
        long tv_sec
        long tv_usec

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_MD:
        pass
    const EVP_MD* EVP_sha256()
    EVP_PKEY* EVP_EC_gen(const char* curve)
    void EVP_PKEY_free(EVP_PKEY* key)

cdef extern from "<openssl/rand.h>" nogil:
    int RAND_bytes(unsigned char* data, int n)

cdef extern from "<openssl/err.h>" nogil:
    void ERR_clear_error()
    unsigned long ERR_get_error()
    const char* ERR_reason_error_string(unsigned long code)

cdef extern from "<openssl/x509.h>" nogil:
    ctypedef struct X509:
        pass
    ctypedef struct X509_NAME:
        pass
    ctypedef struct ASN1_INTEGER:
        pass
    ctypedef struct ASN1_TIME:
        pass
    ctypedef struct X509_STORE_CTX:
        pass
    X509* X509_new()
    void X509_free(X509* x)
    int X509_set_version(X509* x, long version)
    ASN1_INTEGER* X509_get_serialNumber(X509* x)
    int ASN1_INTEGER_set_uint64(ASN1_INTEGER* a, unsigned long long value)
    ASN1_TIME* X509_getm_notBefore(X509* x)
    ASN1_TIME* X509_getm_notAfter(X509* x)
    ASN1_TIME* X509_gmtime_adj(ASN1_TIME* at, long seconds)
    X509_NAME* X509_get_subject_name(X509* x)
    int X509_NAME_add_entry_by_txt(X509_NAME* name, const char* field, int kind, const unsigned char* text, int n, int loc, int set)
    int X509_set_issuer_name(X509* x, const X509_NAME* name)
    int X509_set_pubkey(X509* x, EVP_PKEY* key)
    int X509_sign(X509* x, EVP_PKEY* key, const EVP_MD* md)
    int X509_digest(const X509* x, const EVP_MD* md, unsigned char* out, unsigned int* n)
    X509* X509_STORE_CTX_get0_cert(const X509_STORE_CTX* store)
    void* X509_STORE_CTX_get_ex_data(const X509_STORE_CTX* store, int index)
    void X509_STORE_CTX_set_error(X509_STORE_CTX* store, int code)
    int MBSTRING_ASC
    int X509_V_ERR_CERT_UNTRUSTED

cdef extern from "<openssl/bio.h>" nogil:
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    const BIO_METHOD* BIO_s_mem()
    BIO* BIO_new(const BIO_METHOD* method)
    int BIO_read(BIO* b, void* data, int n)
    int BIO_write(BIO* b, const void* data, int n)
    long BIO_reset(BIO* b)
    size_t BIO_ctrl_pending(BIO* b)
    long BIO_set_mem_eof_return(BIO* b, int value)
    void BIO_free(BIO* b)

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SRTP_PROTECTION_PROFILE:
        const char* name
        unsigned long id
    ctypedef unsigned int (*DTLS_timer_cb)(SSL* s, unsigned int timer_us) noexcept nogil
    const SSL_METHOD* DTLS_method()
    SSL_CTX* SSL_CTX_new(const SSL_METHOD* method)
    void SSL_CTX_free(SSL_CTX* ctx)
    int SSL_CTX_up_ref(SSL_CTX* ctx)
    int SSL_CTX_set_min_proto_version(SSL_CTX* ctx, int version)
    int SSL_CTX_use_certificate(SSL_CTX* ctx, X509* x)
    int SSL_CTX_use_PrivateKey(SSL_CTX* ctx, EVP_PKEY* key)
    int SSL_CTX_set_cipher_list(SSL_CTX* ctx, const char* ciphers)
    unsigned long long SSL_CTX_set_options(SSL_CTX* ctx, unsigned long long options)
    long SSL_CTX_set_session_cache_mode(SSL_CTX* ctx, long mode)
    long SSL_CTX_set_max_cert_list(SSL_CTX* ctx, long n)
    void SSL_CTX_set_verify(SSL_CTX* ctx, int mode, void* callback)
    void SSL_CTX_set_cert_verify_callback(SSL_CTX* ctx, int (*fn)(X509_STORE_CTX*, void*) noexcept nogil, void* argument)
    int SSL_CTX_set_tlsext_use_srtp(SSL_CTX* ctx, const char* profiles)
    int SSL_get_ex_data_X509_STORE_CTX_idx()
    SSL* SSL_new(SSL_CTX* ctx)
    void SSL_free(SSL* s)
    int SSL_set_app_data(SSL* s, void* data)
    void* SSL_get_app_data(const SSL* s)
    void SSL_set_bio(SSL* s, BIO* read, BIO* write)
    void SSL_set_accept_state(SSL* s)
    void SSL_set_connect_state(SSL* s)
    long SSL_set_mtu(SSL* s, long mtu)
    int SSL_do_handshake(SSL* s)
    int SSL_is_init_finished(const SSL* s)
    int SSL_read(SSL* s, void* data, int n)
    int SSL_shutdown(SSL* s)
    int SSL_get_error(const SSL* s, int code)
    long DTLSv1_get_timeout(SSL* s, timeval* left)
    long DTLSv1_handle_timeout(SSL* s)
    void DTLS_set_timer_cb(SSL* s, DTLS_timer_cb fn)
    SRTP_PROTECTION_PROFILE* SSL_get_selected_srtp_profile(SSL* s)
    int SSL_export_keying_material(SSL* s, unsigned char* out, size_t n, const char* label, size_t label_n, const unsigned char* context,
                                   size_t context_n, int use_context)
    int DTLS1_2_VERSION, SSL_VERIFY_PEER, SSL_VERIFY_FAIL_IF_NO_PEER_CERT, SSL_SESS_CACHE_OFF
    int SSL_ERROR_NONE, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN
    unsigned long long SSL_OP_NO_QUERY_MTU, SSL_OP_NO_TICKET, SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_COMPRESSION

cdef enum:
    DIGEST = 32                 # bytes of SHA-256
    DATAGRAM = 1200             # bytes of UDP payload that every path carries
    LONGEST = 2048              # of a datagram that we look at
    MOST_OUT = 16384            # bytes waiting in the memory BIO
    HEAD = 13                   # of a record: type, version, epoch and number, length
    FIRST_US = 50000
    MOST_US = 2000000
    CERTIFICATES = 8192         # bytes of a far end's certificates
    RECORDS = 32                # looked at in one datagram
    MOST_KEYS = 2 * (32 + 14)

# Profiles of RFC 5764 section 4.1.2 and RFC 7714 section 14.2, by our preference: id, suite, bytes of master key and salt.
PROFILES = {1: ("AES_CM_128_HMAC_SHA1_80", 16, 14), 7: ("AEAD_AES_128_GCM", 16, 12), 2: ("AES_CM_128_HMAC_SHA1_32", 16, 14)}
cdef const char* WANTED = b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_32"
cdef const char* CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
cdef const char* LABEL = b"EXTRACTOR-dtls_srtp"

cdef struct Proof:
    unsigned char wanted[DIGEST]
    int proven


cdef int _prove(X509_STORE_CTX* store, void* unused) noexcept nogil:
    """In place of a chain of issuers: the far certificate is the one that the signalling named."""
    cdef const SSL* s = <const SSL*>X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    cdef X509* shown = X509_STORE_CTX_get0_cert(store)
    cdef unsigned char digest[DIGEST]
    cdef unsigned int n = 0
    cdef Proof* proof
    if s != NULL and shown != NULL:
        proof = <Proof*>SSL_get_app_data(s)
        if proof != NULL and X509_digest(shown, EVP_sha256(), digest, &n) and n == DIGEST and memcmp(digest, proof.wanted, DIGEST) == 0:
            proof.proven = 1
            return 1
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED)
    return 0


cdef unsigned int _patience(SSL* s, unsigned int before_us) noexcept nogil:
    """How long OpenSSL waits before it repeats a flight, in microseconds."""
    if before_us == 0:
        return FIRST_US
    return 2 * before_us if 2 * before_us < MOST_US else MOST_US


cdef str _reason():
    cdef unsigned long code = ERR_get_error()
    cdef const char* text = ERR_reason_error_string(code) if code else NULL
    ERR_clear_error()
    return text.decode("ascii", "replace") if text != NULL else "broken off"


cdef class DtlsCertificate:
    """Our certificate of this start; raises MemoryError where OpenSSL cannot make one."""

    cdef SSL_CTX* ctx
    cdef readonly bytes digest  # SHA-256

    def __cinit__(self):
        cdef EVP_PKEY* key = EVP_EC_gen(b"P-256")
        cdef X509* x = X509_new()
        cdef unsigned long long serial = 0
        cdef unsigned char digest[DIGEST]
        cdef unsigned int n = 0
        cdef int fine = key != NULL and x != NULL
        self.ctx = SSL_CTX_new(DTLS_method())
        if fine:
            fine = self.ctx != NULL and RAND_bytes(<unsigned char*>&serial, sizeof(serial)) == 1
        if fine:
            X509_set_version(x, 2)
            ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), (serial >> 1) | 1)
            # a box without a clock yet begins in 1970: nobody looks at the dates of a certificate that is known by its digest
            X509_gmtime_adj(X509_getm_notBefore(x), -86400)
            X509_gmtime_adj(X509_getm_notAfter(x), 3650 * 86400)
            X509_NAME_add_entry_by_txt(X509_get_subject_name(x), b"CN", MBSTRING_ASC, b"branchpbx", -1, -1, 0)
            X509_set_issuer_name(x, X509_get_subject_name(x))
            fine = X509_set_pubkey(x, key) and X509_sign(x, key, EVP_sha256()) > 0 and X509_digest(x, EVP_sha256(), digest, &n)
        if fine:
            fine = (
                SSL_CTX_set_min_proto_version(self.ctx, DTLS1_2_VERSION) == 1
                and SSL_CTX_use_certificate(self.ctx, x) == 1
                and SSL_CTX_use_PrivateKey(self.ctx, key) == 1
                and SSL_CTX_set_cipher_list(self.ctx, CIPHERS) == 1
                and SSL_CTX_set_tlsext_use_srtp(self.ctx, WANTED) == 0          # 0 is success here
            )
        if fine:
            SSL_CTX_set_options(self.ctx, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION)
            SSL_CTX_set_session_cache_mode(self.ctx, SSL_SESS_CACHE_OFF)
            SSL_CTX_set_max_cert_list(self.ctx, CERTIFICATES)
            SSL_CTX_set_verify(self.ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL)
            SSL_CTX_set_cert_verify_callback(self.ctx, _prove, NULL)
        X509_free(x)
        EVP_PKEY_free(key)
        if not fine:
            raise MemoryError(f"no certificate for DTLS can be made: {_reason()}")
        self.digest = PyBytes_FromStringAndSize(<char*>digest, DIGEST)

    def __dealloc__(self):
        SSL_CTX_free(self.ctx)


cdef class DtlsSession:
    """One handshake. `role`: "active" speaks first (RFC 5763 section 5); `fingerprint`: SHA-256 digest of the far certificate."""

    cdef SSL* ssl
    cdef BIO* incoming          # both owned by ssl
    cdef BIO* outgoing
    cdef Proof proof
    cdef readonly str role
    cdef readonly str state     # "handshake", "connected", "failed" or "closed"
    cdef readonly str reason    # why it failed
    cdef list _out

    def __cinit__(self, str role, DtlsCertificate certificate, bytes fingerprint):
        cdef BIO* read
        cdef BIO* write
        if role not in ("active", "passive"):
            raise ValueError(f"DTLS role is {role!r}, must be active or passive")
        if len(fingerprint) != DIGEST:
            raise ValueError(f"fingerprint has {len(fingerprint)} bytes, SHA-256 has {DIGEST}")
        memset(&self.proof, 0, sizeof(self.proof))
        memcpy(self.proof.wanted, <const unsigned char*>fingerprint, DIGEST)
        self.role, self.state, self.reason, self._out = role, "handshake", "", []
        self.ssl = SSL_new(certificate.ctx)
        read, write = BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem())
        if self.ssl == NULL or read == NULL or write == NULL:
            BIO_free(read)
            BIO_free(write)
            raise MemoryError("no DTLS session")
        BIO_set_mem_eof_return(read, -1)
        BIO_set_mem_eof_return(write, -1)
        SSL_set_bio(self.ssl, read, write)
        self.incoming, self.outgoing = read, write
        SSL_set_app_data(self.ssl, &self.proof)
        SSL_set_mtu(self.ssl, DATAGRAM)
        DTLS_set_timer_cb(self.ssl, _patience)
        if role == "active":
            SSL_set_connect_state(self.ssl)
            self._go()
        else:
            SSL_set_accept_state(self.ssl)

    def __dealloc__(self):
        SSL_free(self.ssl)

    def receive(self, bytes datagram) -> None:
        """Take one datagram of the far end, record by record: OpenSSL drops what follows a repeated one."""
        cdef const unsigned char* data = datagram
        cdef int n = <int>len(datagram), at = 0, size, record
        if not HEAD <= n <= LONGEST:
            return
        for record in range(RECORDS):
            if n - at < HEAD or self.state in ("failed", "closed"):
                return
            size = HEAD + (data[at + 11] << 8 | data[at + 12])
            if at + size > n:
                return
            BIO_reset(self.incoming)             # what was left of an earlier one is of no use
            BIO_write(self.incoming, data + at, size)
            self._go()
            at += size

    def wait(self) -> float | None:
        """Seconds until `expire` is due, None for never."""
        cdef timeval left
        if self.state in ("failed", "closed") or DTLSv1_get_timeout(self.ssl, &left) != 1:
            return None
        return left.tv_sec + left.tv_usec / 1e6

    def expire(self) -> None:
        """Repeat what was not answered, when that is due."""
        cdef long code
        if self.state not in ("handshake", "connected"):
            return
        ERR_clear_error()
        with nogil:
            code = DTLSv1_handle_timeout(self.ssl)
        if code < 0 and self.state == "handshake":
            self._fail("no answer")
        self._collect()

    def output(self) -> list:
        """Datagrams to be sent, in order."""
        out, self._out = self._out, []
        return out

    def close(self) -> None:
        """Tell the far end that we are done."""
        if self.state == "connected":
            ERR_clear_error()
            SSL_shutdown(self.ssl)
            self._collect()
        if self.state != "failed":
            self.state = "closed"

    def keys(self) -> tuple | None:
        """(suite, what we send under, what the far end does), each master key and salt; None before the handshake is complete."""
        cdef unsigned char raw[MOST_KEYS]
        cdef SRTP_PROTECTION_PROFILE* profile
        cdef int size
        if self.state != "connected" or not self.proof.proven:
            return None
        profile = SSL_get_selected_srtp_profile(self.ssl)
        if profile == NULL or profile.id not in PROFILES:
            return None
        suite, key, salt = PROFILES[profile.id]
        size = 2 * (key + salt)
        if SSL_export_keying_material(self.ssl, raw, size, LABEL, len(LABEL), NULL, 0, 0) != 1:
            return None
        # RFC 5764 section 4.2: client key, server key, client salt, server salt; the client is who was active
        material = PyBytes_FromStringAndSize(<char*>raw, size)
        explicit_bzero(raw, sizeof(raw))
        client = material[:key] + material[2 * key : 2 * key + salt]
        server = material[key : 2 * key] + material[2 * key + salt :]
        return (suite, client, server) if self.role == "active" else (suite, server, client)

    cdef void _go(self):
        """Let OpenSSL do what can be done with what has arrived."""
        cdef char scratch[256]
        cdef int code, error
        ERR_clear_error()
        if self.state == "handshake":
            with nogil:
                code = SSL_do_handshake(self.ssl)
            error = SSL_get_error(self.ssl, code)
            if code == 1:
                if SSL_get_selected_srtp_profile(self.ssl) == NULL or not self.proof.proven:
                    self._fail("no suite of SRTP is agreed")
                else:
                    self.state = "connected"
            elif error != SSL_ERROR_WANT_READ and error != SSL_ERROR_WANT_WRITE:
                self._fail(_reason())
        if self.state == "connected":            # alerts, repeated flights; data of applications are read and dropped
            while True:
                with nogil:
                    code = SSL_read(self.ssl, scratch, sizeof(scratch))
                if code <= 0:
                    break
            error = SSL_get_error(self.ssl, code)
            if error == SSL_ERROR_ZERO_RETURN:
                self.state = "closed"
            elif error != SSL_ERROR_WANT_READ and error != SSL_ERROR_WANT_WRITE:
                self._fail(_reason())
        self._collect()

    cdef void _fail(self, str reason):
        self.state, self.reason = "failed", reason

    cdef void _collect(self):
        """Pack the records that OpenSSL wrote into datagrams."""
        cdef int n
        waiting = bytearray(min(BIO_ctrl_pending(self.outgoing), <size_t>MOST_OUT))
        if not waiting:
            return
        n = BIO_read(self.outgoing, <char*>waiting, <int>len(waiting))
        BIO_reset(self.outgoing)
        at, begin = 0, 0
        while at + HEAD <= n:
            end = at + HEAD + (waiting[at + 11] << 8 | waiting[at + 12])
            if end - begin > DATAGRAM and at > begin:
                self._out.append(bytes(waiting[begin:at]))
                begin = at
            at = end
        if begin < n:
            self._out.append(bytes(waiting[begin:n]))
