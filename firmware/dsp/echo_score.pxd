# How much echo a person would hear, at C level, by frames of 10 ms; nothing here allocates.
cdef enum:
    SCORE_HISTORY = 512         # frames remembered
    SCORE_LAGS = 64             # most frames of delay
    SCORE_WAITING = 16          # words whose echo is not over

cdef struct ScoreWord:
    long long start             # frames
    long long end
    float level                 # of the reference, power
    float residual_db           # above the background
    int delay                   # frames, -1 = none found
    int masked                  # the other side spoke: no judgement

cdef struct EchoScorer:
    int lags
    long long frames
    float far[512]              # amplitudes (root mean square)
    float near[512]
    float smooth                # returned power, smoothed
    float low
    float lows[4]
    int age
    int known
    float least                 # minimum statistics of the returned power
    float background            # mean power of the frames near that
    int in_word
    long long start
    long long last
    ScoreWord waiting[16]
    int first
    int count
    float seen[64]              # evidence for each delay
    float weight                # words behind it
    int delay                   # -1 = not known
    # figures
    ScoreWord word              # judged last
    int words
    int masked
    int audible
    float worst_db
    float sum_db

cdef void score_init(EchoScorer* s, int lags) noexcept nogil                                # lags: 1..SCORE_LAGS frames of delay
cdef int score_frame(EchoScorer* s, float far, float near) noexcept nogil                   # 1 when `word` is a new one
