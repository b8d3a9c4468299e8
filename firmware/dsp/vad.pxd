# Voice activity at C level: a struct without pointers, one per direction that wants it.
cdef enum:
    VAD_BANDS = 12

cdef struct Vad:
    int rate                    # Hz: 8000 or 16000
    int active                  # the decision, hangover included
    int have                    # samples of the frame being gathered
    int frames
    int speech                  # frames of speech in a row
    int hang                    # frames the decision still holds
    int steady                  # frames active, but neither periodic nor changing
    float sound[560]            # the newest samples
    float window[256]
    float smooth[12]            # band powers, smoothed
    float floor[12]             # of the background
    float excess                # log2 of power over floor beyond its scatter, mean over bands
    float slow                  # the same, smoothed
    float match                 # periodicity, -1..1, of frames in doubt
    int edge[13]                # first bins of the bands

cdef void vad_init(Vad* v, int rate) noexcept nogil
cdef int vad_feed(Vad* v, const short* samples, int n) noexcept nogil    # the decision at the end of these samples
