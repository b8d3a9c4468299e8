# Caller-id FSK (1200 bit/s, Bell 202 or V.23) at C level. Structs are fixed-size and hold no pointers.
cdef extern from "kernels.h" nogil:
    ctypedef struct Decimator:
        pass

cdef enum:
    FSK_BELL202 = 0
    FSK_V23 = 1
    FSK_MAX_MESSAGE = 257       # type, length, 255 bytes of parameters
    FSK_BAD = -1                # fsk_rx_feed: a message ended with a wrong checksum or was cut short

cdef struct FskRx:
    unsigned char message[260]  # the completed message: type, length, parameters
    int length
    int carrier                 # 1 while FSK energy is present
    # signal state
    int decimate
    Decimator decim
    float hp[2]                 # high-pass biquad, transposed direct form
    double cos_w[2]             # rotation per sample of mark and space
    double sin_w[2]
    double re[2]
    double im[2]
    float mix_re[2][8]          # the last 8 samples turned to zero frequency
    float mix_im[2][8]
    float square[8]             # and their powers
    int slot
    float level[2]              # tracked amplitude of mark and space
    float last                  # discriminator one sample ago
    # bits and bytes
    int state                   # 0 looking for marks, 1 waiting for a start bit, 2 inside a byte
    float loud                  # smoothed power
    double timer                # samples until the next bit centre
    int marks                   # samples of unbroken mark
    int weak                    # samples without carrier
    int bits                    # bits of the byte taken so far
    unsigned int shift
    int count                   # bytes of the message taken so far
    int sum
    int faults                  # bytes with a missing stop bit

cdef struct FskTx:
    unsigned char data[260]     # payload and checksum
    int n
    int bits                    # whole transmission in bits
    int bit                     # bit being sent
    double left                 # samples left in this bit
    double per_bit
    double step[2]              # phase per sample, in turns, of mark and space
    double phase                # turns
    float amplitude
    int at                      # samples sent
    int total                   # samples of the whole transmission

cdef int fsk_rx_init(FskRx* rx, int standard, int rate) noexcept nogil
cdef int fsk_rx_feed(FskRx* rx, const short* samples, int n) noexcept nogil
cdef int fsk_tx_init(FskTx* tx, const unsigned char* payload, int n, int standard, double level_dbm0, int rate) noexcept nogil
cdef int fsk_tx_fill(FskTx* tx, short* out, int n) noexcept nogil
