# What the learner of disconnect tones keeps and works with, and the search for frequencies.
cdef extern from "fft.h" nogil:
    ctypedef struct Fft:
        pass

cdef enum:
    LEARN_FRAMES = 2400         # 10 ms each: 24 s
    LEARN_BURSTS = 256
    LEARN_VOTE_HZ = 5           # width of a vote's slot
    LEARN_CUT = 2000            # samples of one burst that are looked at for its frequencies
    # why nothing was learnt
    LEARN_DONE = 0
    LEARN_SHORT = 1             # less than 1.5 s was heard
    LEARN_SILENCE = 2
    LEARN_SPEECH = 3
    LEARN_MUSIC = 4             # pure notes without one frequency or one rhythm
    LEARN_CONTINUOUS = 5        # dial tone, howler, answer tone
    LEARN_RINGBACK = 6          # a cadence with pauses that no disconnect tone has
    LEARN_KEYS = 7              # DTMF
    LEARN_FEW = 8               # a tone, too few equal cycles of it

cdef struct LearnFrame:
    float power                 # mean square of 10 ms, high-passed at 200 Hz
    float scale
    signed char sample[80]

cdef struct LearnRing:          # 230 kB, no pointers
    long long frames            # ever kept
    LearnFrame frame[2400]

cdef struct LearntTone:
    int reason                  # LEARN_*
    int nfreq
    int nphases
    int repetitions             # whole cycles seen
    int start_ms_ago            # of the first matched burst, from the last frame kept
    float confidence            # 0..1
    float level_dbm0            # of each frequency in the loudest phase
    float purity
    float jitter                # greatest relative departure of a phase from its mean
    double freqs[4]
    int cadence_ms[8]
    float level_db[8]           # of each phase against level_dbm0

cdef struct LearnBurst:
    double start                # ms since the oldest frame kept
    double end
    float dbm0
    float purity
    int broken                  # something else was heard since the burst before

cdef struct LearnWork:          # room for the analysis, 120 kB
    Fft fft
    float pitch[2400]           # strongest frequency of each frame, 0 = no tone
    float share[2400]           # purity, then power of the frame
    float votes[512]
    int first[2400]
    float even[10][80]
    float odd[10][80]
    int dims
    LearnBurst burst[256]
    int bursts
    float cut[2000]
    float rest[2000]
    float taper[2000]
    int tonal                   # frames that are tones, are anything else, are quiet
    int other
    int quiet

cdef const LearnFrame* learn_frame(const LearnRing* ring, int count, int i) noexcept nogil
cdef void learn_sound(const LearnRing* ring, int count, int first, int n, float* out) noexcept nogil
cdef void learn_spectra(const LearnRing* ring, LearnWork* w, int count) noexcept nogil
cdef void learn_vote(LearnWork* w, int count) noexcept nogil
cdef int learn_frequencies(const LearnRing* ring, LearnWork* w, int count, double near, LearntTone* out) noexcept nogil
