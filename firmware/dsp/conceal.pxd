# Packet-loss concealment at C level: a struct without pointers, one per receiving stream.
from libc.stdint cimport uint8_t

from firmware.dsp.comfort cimport Comfort

cdef enum:
    CONCEAL_PAST = 1024         # samples of history kept, at least 56 ms at 16 kHz

cdef struct Conceal:
    int rate                    # Hz: 8000 or 16000
    int lost                    # samples made up in a row; 0 = receiving
    int pitch                   # samples
    int cycles                  # pitch periods repeated now
    int at                      # place in them
    int old_at                  # the same before cycles grew
    int old_left                # samples of the fade between the two
    int fading                  # samples of the fade back to received sound still to come
    int fade
    int full                    # samples without attenuation
    float voiced                # 0 noise-like .. 1 periodic
    float past[2048]            # received and made-up sound, the newest at [end - 1]
    int end
    float tail[1024]            # the sound before the loss, newest last
    float ring[80]              # how it would ring on without excitation
    int ringing                 # samples it fades into the repetition
    float a[17]                 # its spectral shape
    float memory[16]
    float hiss                  # gain of white noise into it
    Comfort noise               # background
    int told                    # the sender described it (RFC 3389)
    float floor                 # lowest mean power of late, for finding background
    float r[11]                 # its autocorrelation for one sample
    int have                    # samples of the frame being measured
    int frames

cdef void conceal_init(Conceal* c, int rate) noexcept nogil
cdef void conceal_good(Conceal* c, short* samples, int n) noexcept nogil     # received: changed in place for some ms after a loss
cdef void conceal_lost(Conceal* c, short* out, int n) noexcept nogil         # make n samples up
cdef void conceal_quiet(Conceal* c, short* out, int n) noexcept nogil        # the sender pauses: background only
cdef int conceal_told(Conceal* c, const uint8_t* payload, int n) noexcept nogil  # background as the sender describes it; -1: no payload
