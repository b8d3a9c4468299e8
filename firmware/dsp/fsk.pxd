# Caller-id FSK (1200 bit/s, Bell 202 or V.23) at C level. Structs are fixed-size and hold no pointers.
cdef extern from "kernels.h" nogil:
    ctypedef struct Decimator:
        pass

cdef extern from "fsk_front.h" nogil:
    ctypedef struct FskFront:
        float energy

cdef enum:
    FSK_BELL202 = 0
    FSK_V23 = 1
    FSK_AUTO = 2                # receiver only: either of them
    FSK_MAX_MESSAGE = 257       # type, length, 255 bytes of parameters
    FSK_BAD = -1                # fsk_rx_feed: a message ended with a wrong checksum or was cut short
    FSK_RING = 128              # as in fsk_front.h
    FSK_SEIZURE_BITS = 300      # to a telephone on hook: GR-30 2.3.2, ETSI EN 300 659-1
    FSK_MARK_BITS = 180

cdef struct FskRx:
    unsigned char message[260]  # the completed message: type, length, parameters
    int length
    int standard                # FSK_BELL202 or FSK_V23 of the marks heard last; FSK_AUTO: none yet
    int carrier                 # 1 from the marks to the end of the message
    # signal state
    int tones                   # what was asked for at fsk_rx_init
    int decimate
    Decimator decim
    float input[8]              # a frame of samples at 8 kHz
    int filled
    FskFront front
    unsigned int head           # samples of 8 kHz since init, turning over
    float filter[4][FSK_RING]   # matched filters of the last samples: mark re, mark im, space re, space im
    float mark[FSK_RING]        # amplitude of mark, of space, and what speaks for mark
    float space[FSK_RING]
    float weight[FSK_RING]
    float level[2]              # amplitude that mark and space are known to have
    float turn[2]               # how the phase of the marks turns per frame (re, im)
    # bits and bytes
    int state
    int run                     # frames of unbroken mark
    int bad                     # frames of what is no mark after all
    int weak                    # frames without carrier
    unsigned int scan           # next sample to look at for a start bit
    unsigned int start          # sample of the start bit's edge
    float part                  # of a sample after it
    unsigned int next           # where the clock expects the next start bit
    float next_part
    int locked                  # 1 when it does
    float vague                 # variance of that, samples squared
    float drift                 # samples per byte that the sender's clock is slow
    float tonal                 # energy in the two tones since the start bit
    float energy                # and in all
    int count                   # bytes of the message taken so far
    int sum
    int faults                  # bytes with a missing stop bit
    int chained                 # bytes that came where the clock expected them

cdef struct FskTx:
    unsigned char data[260]     # payload and checksum
    int n
    int seizure                 # bits of each part
    int marks
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
cdef void fsk_tx_lead(FskTx* tx, int seizure, int marks) noexcept nogil
cdef int fsk_tx_fill(FskTx* tx, short* out, int n) noexcept nogil
