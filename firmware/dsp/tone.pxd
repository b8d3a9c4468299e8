# Tone generator, and a detector of one tone on its own, at C level; what several detectors share is in tone_track.
from firmware.dsp.tone_track cimport (TONE_HEARD, TONE_STOPPED, ToneFront, ToneShape, ToneTrack, tone_age_ms, tone_front_feed,
                                      tone_front_init, tone_track_frame, tone_track_init)

cdef struct ToneGen:
    int nphases
    int phase
    int left                    # samples left in this phase; -1 = continuous
    int until_even              # samples to the next correction of the phasors' length
    int cadence[8]              # samples per phase
    float cos_w[4]
    float sin_w[4]
    float re[4]
    float im[4]
    float target[8][4]          # peak of each frequency in each phase
    float come_from[4]          # peaks when the ramp began, and where it goes
    float go_to[4]
    float ramp                  # 0..1
    float ramp_step

cdef struct ToneDet:            # a detector of one tone on its own
    ToneFront front
    ToneTrack track

cdef int tone_shape_plain(ToneShape* shape, int nfreq, const double* freqs, float level_dbm0, int nphases, const int* cadence_ms,
                          int cycles) noexcept nogil
cdef int tone_gen_init(ToneGen* gen, const ToneShape* shape, int rate) noexcept nogil
cdef void tone_gen_fill(ToneGen* gen, short* out, int n) noexcept nogil
cdef int tone_det_init(ToneDet* det, const ToneShape* shape, int rate) noexcept nogil
cdef int tone_det_feed(ToneDet* det, const short* samples, int n) noexcept nogil
cdef int shape_of(ToneShape* shape, freqs_hz, level_dbm0, cadence_ms, cycles, phase_freqs_hz, phase_levels_db) except -1
