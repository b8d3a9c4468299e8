# What a line echo canceller keeps; see echo.pyx. All arrays are part of the one block that echo_new takes.
from firmware.dsp.echo_disabler cimport Disabler

cdef extern from "spectrum.h" nogil:
    ctypedef struct Fft:
        int n
    ctypedef struct SoundPowers:
        float near, echo, other, left, tried, between

cdef struct EchoFilter:
    float* re                   # [parts][bins]
    float* im

cdef struct EchoState:
    int rate
    int hop                     # samples in 10 ms
    int n                       # FFT points
    int bins                    # padded
    int parts                   # partitions of the filter
    int part                    # samples of a partition
    int span                    # hops from one partition to the next
    int seen                    # samples of error the background learns from
    int slots                   # spectra of the reference kept
    int nlp
    int mode                    # of echo_set_mode
    Fft fft
    # reference
    float* frame                # [n] latest reference samples
    float* xr                   # [slots][bins]
    float* xi
    float* xp                   # powers
    int slot                    # of the newest spectrum
    int at[32]                  # where the spectrum of each partition begins
    float* loud                 # [slots] mean reference power of each hop
    float* peak                 # [bins] highest reference power of this turn through the slots
    float* peak_old             # and of the last
    float* peak_both
    int peak_age
    # filters
    EchoFilter back             # adapts
    EchoFilter front            # is heard
    float* var                  # [parts][bins] variance of the background's error
    float* noise                # [bins] power of what is not echo in the background's error
    float* known                # [bins] power the background's variance explains
    float* inverse              # [bins] 1 / (explained + unexplained power)
    int tonal                   # lessons in a row whose reference consisted of tones
    int wheel                   # partition whose taps are trimmed next
    int fresh                   # hops left in which a new path is learned with all effort
    int rest                    # hops since the background learned
    int turn                    # hops between its lessons once the path is known
    float tap[32]               # strongest tap of each partition, squared
    int place[32]               # and where
    # scratch
    float* fr                   # [bins] echo of the front
    float* fi
    float* yr                   # [bins] echo of the background
    float* yi
    float* er                   # [bins] error of the background
    float* ei
    float* wave                 # [n]
    float* near                 # [hop] captured
    float* past                 # [seen] captured
    float* echo_front           # [seen]
    float* echo_back            # [seen]
    # judging
    SoundPowers now             # of this hop
    float error_front           # smoothed powers, of every hop
    float error_heard           # of the hops in which both filters were looked at
    float error_back
    float level_near
    float level_echo
    float level_far
    int better                  # hops in a row the background won
    int quick                   # hops in a row it won by far
    int worse                   # hops in a row it lost
    int stuck                   # hops the heard filter has been poor although the far end talks
    int lost                    # hops in a row the heard filter took nothing away
    int adding                  # hops in a row it added
    int since_copy
    float gained, moved         # by the background: power gained, and that of the difference of both estimates
    float said, taken           # echo as the heard filter sees it, and the power it takes away: alike where it is right
    int converged
    int trial                   # hops of evidence an imported filter has left to prove itself
    float trial_left            # sums over those hops: captured power, its rest, power of the estimate
    float trial_tried
    float trial_said
    # background noise and residual control
    float noise_power
    float noise_track           # smoothed power
    float noise_low             # its minimum in the current window
    int noise_age
    int calm                    # hops in a row with nothing but noise
    int looked                  # hops since the noise's spectrum was looked at
    float gain
    int hang
    float* comfort_psd          # [bins] spectrum of the noise, as seen in the error
    float* comfort_wave         # [n] comfort noise
    float* comfort_tail         # [hop] end of the one before
    float* fade                 # [hop] rising half of a fade of constant power
    int comfort_at              # hop of comfort_wave that comes next
    unsigned int seed
    float leak                  # residual echo power over echo estimate power
    float expected              # decaying peak of the echo estimate's power
    # statistics
    float sum_far               # long-term powers
    float sum_echo
    float sum_before
    float sum_left
    long long hops
    Disabler disabler
