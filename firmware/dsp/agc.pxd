# Automatic gain control at C level, by frames of 10 ms; nothing here allocates.
from firmware.dsp.activity cimport Talk

cdef struct Agc:
    int rate
    int size
    float target                # power of the speech level wanted
    float most                  # greatest gain, factor
    float gain                  # gain in force, before the limiter
    float ended                 # gain at the end of the last frame, with the limiter
    float level                 # speech power measured, 0 = not known yet
    float noise                 # background, quick to fall and slow to rise
    int heard                   # speech frames that `level` rests on
    Talk talk

cdef int agc_init(Agc* a, int rate, float target_dbm0, float most_db) noexcept nogil        # 0; -1: a value out of range
cdef int agc_run(Agc* a, const short* samples, short* out, int n, float echo) noexcept nogil  # 0; -1: n is no multiple of 10 ms
cdef float agc_gain_db(const Agc* a) noexcept nogil
