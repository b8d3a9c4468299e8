# Who talks when, at C level, by frames of 10 ms; nothing here allocates.
cdef enum:
    TALK_SUBS = 4
    TALK_KEPT = 16
    TALK_BEGAN = 1
    TALK_ENDED = 2

cdef struct Talk:               # one direction
    long long frame             # frames heard
    float smooth                # smoothed power
    float low                   # its least in the running half second
    float lows[4]               # and in the last ones
    int age
    int known                   # half seconds in `lows`
    float floor                 # background noise power
    int loud                    # the last frame stood out of the background
    int talking
    int run                     # loud frames since `onset`
    long long onset
    long long start             # of the running or last talk, frame
    long long last              # frame after its last loud one
    double energy               # of its loud frames
    int louds
    long long from_frame[16]    # talks that ended, newest at (ended - 1) % TALK_KEPT
    long long to_frame[16]
    int ended

cdef struct TalkNews:
    int kind                    # TALK_*
    int direction               # 0 near, 1 far
    long long start_ms          # since the reset
    long long end_ms            # of an ended talk
    float level_dbm0            # of its loud frames
    int overlap_ms              # of an ended talk: how long the other side talked meanwhile

cdef struct Activity:
    Talk near
    Talk far
    int report_far

cdef void talk_init(Talk* t) noexcept nogil
cdef int talk_frame(Talk* t, float power, float echo) noexcept nogil            # TALK_* when something changed, else 0
cdef void activity_init(Activity* a) noexcept nogil
cdef int activity_frame(Activity* a, float near, float far, float echo, TalkNews* news) noexcept nogil   # entries written, at most 2
cdef float frame_power(const short* samples, int n) noexcept nogil              # mean square; n a multiple of four
