from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    VAULT_HEADER = 96           # bytes before the first piece of a file (store/vault.py)
    VAULT_HEAD = 12             # bytes before the sealed samples of a piece
    VAULT_TAG = 16
    VAULT_FINAL = 0x80000000
    VAULT_CODED = 0x40000000    # the samples are coded by A-law
    VAULT_MU_LAW = 0x20000000   # with VAULT_CODED: by mu-law
    VAULT_BYTES = 0x1FFFFFFF    # how many they are

cdef int vault_seal(const uint8_t* key, const uint8_t* ident, uint64_t index, uint32_t word, const uint8_t* plain, uint8_t* out) noexcept nogil
