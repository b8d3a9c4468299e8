# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Sealed recordings: pieces of samples under AES-256-GCM (NIST SP 800-38D), by OpenSSL's libcrypto (L2).

Theory of operation. A sealed file is a header of 96 bytes (`store/vault.py`) and then pieces, one after the other:

    word   4 bytes  little endian: bytes of plain content; bit 31: this is the last piece; bit 30: samples are coded (ITU-T G.711), by
                    A-law, with bit 29 by mu-law, else 16 bit
    index  8 bytes  little endian: 0, 1, 2, ...; grows by one with every attempt to write, so no nonce is ever used for two contents
    content         as many bytes as the word says, encrypted
    tag   16 bytes  of the content and, as additional data, of the file's identity (16 bytes), word and index

The nonce is the index behind four zero bytes; each file has a key of its own. What a crash leaves are whole pieces and perhaps a part of one, which a
reader recognises. A piece that was changed, moved, doubled or taken from another file is not opened; one that is missing shows in the
indexes, and a missing end by the missing last piece.
Invariants: `vault_seal` writes 12 + n + 16 bytes or answers 0; no plain content is left in `out`. OpenSSL allocates: never in a tick.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy, memset

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct ENGINE:
        pass
    const EVP_CIPHER* EVP_aes_256_gcm()
    EVP_CIPHER_CTX* EVP_CIPHER_CTX_new()
    void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX* c)
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX* c, const EVP_CIPHER* kind, ENGINE* e, const unsigned char* key, const unsigned char* iv)
    int EVP_EncryptUpdate(EVP_CIPHER_CTX* c, unsigned char* out, int* n, const unsigned char* plain, int size)
    int EVP_EncryptFinal_ex(EVP_CIPHER_CTX* c, unsigned char* out, int* n)
    int EVP_DecryptInit_ex(EVP_CIPHER_CTX* c, const EVP_CIPHER* kind, ENGINE* e, const unsigned char* key, const unsigned char* iv)
    int EVP_DecryptUpdate(EVP_CIPHER_CTX* c, unsigned char* out, int* n, const unsigned char* sealed, int size)
    int EVP_DecryptFinal_ex(EVP_CIPHER_CTX* c, unsigned char* out, int* n)
    int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX* c, int what, int n, void* data)
    int EVP_CTRL_GCM_GET_TAG
    int EVP_CTRL_GCM_SET_TAG

cdef enum:
    KEY = 32
    IDENT = 16
    MOST = 1 << 20              # bytes of one piece

SIZE = KEY
HEADER = VAULT_HEADER
HEAD = VAULT_HEAD
TAG = VAULT_TAG
FINAL = 0x80000000
CODED = VAULT_CODED
MU_LAW = VAULT_MU_LAW
BYTES = VAULT_BYTES


cdef void _head(uint64_t index, uint32_t word, uint8_t* out) noexcept nogil:
    cdef int i
    for i in range(4):
        out[i] = (word >> (8 * i)) & 255
    for i in range(8):
        out[4 + i] = (index >> (8 * i)) & 255


cdef int vault_seal(const uint8_t* key, const uint8_t* ident, uint64_t index, uint32_t word, const uint8_t* plain, uint8_t* out) noexcept nogil:
    """Seal the piece of `word` into `out`; bytes written, 0 when the library refused."""
    cdef int n = <int>(word & <uint32_t>VAULT_BYTES)
    cdef int moved = 0, sound = 0
    cdef uint8_t nonce[12]
    cdef EVP_CIPHER_CTX* c = EVP_CIPHER_CTX_new()
    if c == NULL:
        return 0
    _head(index, word, out)
    memset(nonce, 0, 4)
    memcpy(&nonce[4], &out[4], 8)
    if (EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) == 1 and EVP_EncryptUpdate(c, NULL, &moved, ident, IDENT) == 1
            and EVP_EncryptUpdate(c, NULL, &moved, out, VAULT_HEAD) == 1
            and (n == 0 or EVP_EncryptUpdate(c, &out[VAULT_HEAD], &moved, plain, n) == 1)
            and EVP_EncryptFinal_ex(c, &out[VAULT_HEAD + n], &moved) == 1
            and EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, VAULT_TAG, &out[VAULT_HEAD + n]) == 1):
        sound = 1
    EVP_CIPHER_CTX_free(c)
    return VAULT_HEAD + n + VAULT_TAG if sound else 0


cdef int _open(const uint8_t* key, const uint8_t* ident, const uint8_t* piece, int n, uint8_t* out) noexcept nogil:
    """Open a whole piece with `n` bytes of content; 1 when it is genuine."""
    cdef int moved = 0, sound = 0
    cdef uint8_t nonce[12]
    cdef uint8_t tag[16]
    cdef EVP_CIPHER_CTX* c = EVP_CIPHER_CTX_new()
    if c == NULL:
        return 0
    memset(nonce, 0, 4)
    memcpy(&nonce[4], &piece[4], 8)
    memcpy(tag, &piece[VAULT_HEAD + n], VAULT_TAG)
    if (EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) == 1 and EVP_DecryptUpdate(c, NULL, &moved, ident, IDENT) == 1
            and EVP_DecryptUpdate(c, NULL, &moved, piece, VAULT_HEAD) == 1
            and (n == 0 or EVP_DecryptUpdate(c, out, &moved, &piece[VAULT_HEAD], n) == 1)
            and EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, VAULT_TAG, tag) == 1
            and EVP_DecryptFinal_ex(c, &tag[0], &moved) == 1):
        sound = 1
    EVP_CIPHER_CTX_free(c)
    return sound


def _checked(bytes key, bytes ident):
    if len(key) != KEY or len(ident) != IDENT:
        raise ValueError(f"a key has {KEY} bytes and an identity {IDENT}, not {len(key)} and {len(ident)}")


def seal(bytes key, bytes ident, unsigned long long index, bytes content, bint final=False, unsigned int coding=0):
    """One piece as it stands in a file; `coding`: CODED, MU_LAW or both. Raises ValueError for what cannot be one."""
    cdef bytes out
    cdef uint32_t word = <uint32_t>len(content)
    _checked(key, ident)
    if len(content) > MOST:
        raise ValueError(f"a piece holds at most {MOST} bytes, not {len(content)}")
    word |= coding & <uint32_t>(VAULT_CODED | VAULT_MU_LAW)
    if final:
        word |= <uint32_t>VAULT_FINAL
    out = PyBytes_FromStringAndSize(NULL, VAULT_HEAD + len(content) + VAULT_TAG)
    if not vault_seal(<const uint8_t*>PyBytes_AS_STRING(key), <const uint8_t*>PyBytes_AS_STRING(ident), index, word,
                      <const uint8_t*>PyBytes_AS_STRING(content), <uint8_t*>PyBytes_AS_STRING(out)):
        raise ValueError("libcrypto refused to seal")
    return out


def open_piece(bytes key, bytes ident, bytes piece):
    """Content of one whole piece; None when it is not genuine."""
    cdef int n = len(piece) - VAULT_HEAD - VAULT_TAG
    cdef bytes out
    cdef int sound
    cdef const uint8_t* k
    cdef const uint8_t* i
    cdef const uint8_t* p
    cdef uint8_t* o
    _checked(key, ident)
    if n < 0 or n > MOST:
        return None
    out = PyBytes_FromStringAndSize(NULL, n)
    k, i, p = <const uint8_t*>PyBytes_AS_STRING(key), <const uint8_t*>PyBytes_AS_STRING(ident), <const uint8_t*>PyBytes_AS_STRING(piece)
    o = <uint8_t*>PyBytes_AS_STRING(out)
    with nogil:
        sound = _open(k, i, p, n, o)
    return out if sound else None
