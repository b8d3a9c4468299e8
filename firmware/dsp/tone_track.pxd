# Tone front end and tracker at C level. Structs are fixed-size and hold no pointers: a port embeds them and may copy them.
cdef extern from "kernels.h" nogil:
    ctypedef struct Decimator:
        pass

cdef enum:
    TONE_MAX_FREQS = 4
    TONE_MAX_PHASES = 8
    TONE_HEARD = 1
    TONE_STOPPED = 2
    TONE_WINDOW = 160           # detector window at 8 kHz: 20 ms, moved by 10 ms
    TONE_HALF = 80
    TONE_DIMS = 10              # basis functions per parity

cdef struct ToneShape:          # what a tone is, for generator and detector alike
    int nfreq
    int nphases                 # 0 = continuous, all frequencies
    int cycles                  # equal cycles that make a detection; continuous: units of 100 ms
    float level_dbm0            # of each frequency
    double freqs[4]             # Hz
    int cadence_ms[8]
    unsigned char mask[8]       # frequencies that sound in each phase, bit k = freqs[k]; 0 = pause
    float level_db[8]           # of each phase against level_dbm0

cdef struct ToneLook:           # the window seen through one basis
    long long frame             # when; 0 = never
    int wide
    float sought[4]             # frequencies, ordered, 0 = none: whose basis
    float energy[4]             # of each group
    float re[4]                 # phase of each group, against its first function
    float im[4]

cdef struct ToneFront:          # shared by all detectors of one signal
    Decimator decim
    int decimate                # 2 at 16 kHz
    int filled                  # samples of the current 10 ms frame
    long long frame             # 10 ms frames since init
    float hp[2]                 # high-pass memory
    float window[160]
    float even[80]              # the window folded about its centre
    float odd[80]
    float total                 # energy of the window
    ToneLook look[2]            # what the last trackers saw: tones of one country often have one frequency
    int look_next

cdef struct ToneTrack:          # one tone looked for
    # results
    int cycles                  # equal cycles matched so far (continuous tone: units of 100 ms)
    int heard                   # 1 between TONE_HEARD and TONE_STOPPED
    double start_ms             # start of the first matched cycle, ms since the front's init
    float level_dbm0            # level of the last burst, all frequencies together
    float confidence            # 0..1, of the pattern so far
    float purity                # mean share of the tone in the power of its bursts
    float deviation             # greatest relative departure of a phase from its nominal length
    float freq_hz               # measured frequency of the last burst; 0 where two lie too close to be told apart
    # specification
    int nphases
    int want_cycles
    int cadence_ms[8]
    unsigned char symbol[8]     # groups that sound in each phase, 0 = pause
    float level_db[8]
    unsigned char slanted[8]    # level changes within the phase
    int wide                    # frequencies change from phase to phase: wider limits
    float trace                 # power of the softest phase's pauses against the loudest burst
    float floor                 # least power of a burst
    int groups                  # sets of neighbouring frequencies
    int dims                    # basis functions per parity
    int group_end[4]            # last basis function + 1 of each group
    float centre_hz[4]          # of a group of one frequency, else 0
    float sought[4]             # frequencies, ordered, 0 = none
    float even[10][80]          # orthonormal basis of the accepted bands, even part about the window centre
    float odd[10][80]
    # burst state
    int state                   # 0 quiet, 1 burst, 2 something else
    int now_symbol              # groups of the running burst
    int doubt                   # consecutive frames that are neither tone nor quiet
    int tone_frames
    int overlong                # this burst already outlasted its phase
    double edge_ms              # the burst followed another one at this instant; negative = it followed a pause
    double first_ms             # centre of its first frame
    double last_ms              # centre of its last sounding frame
    double before               # power of the frame before a burst is recognised
    double last_power
    double sum_power            # of all frames of the burst, edges included
    double sum_moment
    double sum_sure             # sum_power up to the last sounding frame
    double steady_power         # of the inner frames only
    double steady_moment
    int steady_frames
    float turn_re[4]            # how far the phase of each group went in 10 ms, summed
    float turn_im[4]
    float last_re[4]
    float last_im[4]
    float sum_purity
    double reference_power      # steady power of the last burst
    # cadence state
    double last_end_ms          # end of the last burst; negative = none
    int pos                     # phase expected next
    int closed                  # the pause that ends a cycle is already counted
    float loud_dbm0             # level of the pattern's first burst
    float spread_db             # greatest departure from it
    float purity_sum
    int purity_count
    double measured[8]          # durations of the first matched cycle, 0 = not yet known
    float pitch[8]              # frequencies of the first matched cycle

cdef int tone_front_init(ToneFront* front, int rate) noexcept nogil
cdef int tone_front_feed(ToneFront* front, const short* samples, int n, int* used) noexcept nogil
cdef int tone_track_init(ToneTrack* track, const ToneShape* shape) noexcept nogil
cdef int tone_track_frame(ToneTrack* track, ToneFront* front) noexcept nogil
cdef int tone_age_ms(const ToneTrack* track, const ToneFront* front) noexcept nogil
cdef int tone_basis_add(float (*even)[80], float (*odd)[80], int dims, double freq) noexcept nogil
