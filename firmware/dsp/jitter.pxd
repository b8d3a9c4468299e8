# The jitter buffer of a receiving RTP port at C level: packets in, 80 samples at 8 kHz for every tick out.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from firmware.dsp.codec cimport Codec
from firmware.dsp.conceal cimport Conceal

cdef enum:
    JITTER_SLOTS = 80           # packets held
    JITTER_BYTES = 480          # of a payload, CODEC_MOST_BYTES
    JITTER_PCM = 3072           # samples decoded and played
    JITTER_BINS = 64            # of the delay histogram, 10 ms each
    JITTER_NOISE = 13           # kind of a comfort noise packet (RFC 3389); other kinds are CODEC_*

cdef struct JitterSlot:
    int64_t place               # of its first sample on the stream's own time, samples at 8 kHz
    uint16_t seq
    uint16_t n
    uint8_t kind
    uint8_t fresh               # first of another stream
    uint8_t data[480]

cdef struct JitterFigures:      # since jitter_init; intervals in samples at 8 kHz
    uint32_t received           # packets, duplicates not counted
    uint32_t missing            # packets that never came, by sequence number
    uint32_t bursts             # runs of concealed audio
    uint32_t longest            # samples of the longest such run
    uint32_t duplicate
    uint32_t refused            # malformed, of another stream's past, or without room
    uint32_t recovered          # lost packets restored from their successors (Opus FEC)
    uint32_t concealed          # samples made up for lost audio
    uint32_t pause              # samples of background while the sender paused
    uint32_t removed            # samples taken out by time scaling
    uint32_t added              # samples put in by time scaling
    uint32_t restarts           # new time bases: SSRC changes and timestamp jumps
    float jitter                # interarrival jitter of RFC 3550 section 6.4.1, in ticks' resolution
    int32_t delay               # now: of what is played beyond the fastest packet of late
    int32_t target

cdef struct Jitter:
    int started
    int waiting                 # nothing is due: first packet, pause of the sender, comfort noise
    int32_t least               # bounds and current target of the play-out delay, samples
    int32_t most
    int32_t target
    uint32_t lost               # blocks of 10 ms concealed
    uint32_t late               # packets too late to be played
    uint32_t inserted           # blocks of 10 ms by which the play-out was stretched
    uint32_t dropped            # blocks of 10 ms by which it was shortened
    JitterFigures figures
    # the stream's own time
    uint32_t ssrc
    uint32_t old_ssrc           # the stream before: its stragglers are not taken
    int has_old
    int old_run
    int multiple                # RTP clock / 8 kHz
    uint32_t ref_ts             # this timestamp
    int64_t ref_place           # is this place
    int64_t top                 # end of the newest packet
    int64_t play                # place of the next sample to decode
    uint16_t next_seq           # after the packet decoded last
    int seq_known
    uint16_t highest_seq
    int probation               # a packet far away came: the next in its line moves the time base
    uint16_t probation_seq
    uint32_t probation_ts
    int late_run
    # network delay
    int64_t base                # least transit of late: the fixed part
    int64_t window_base[4]
    int window
    int64_t last_transit
    int has_transit
    int played                  # something was played since the start
    int starved                 # waiting because nothing came, not because the sender paused
    float bin[64]               # share of packets by delay beyond base
    int heard                   # packets in the histogram, up to its memory
    int32_t peak                # the highest delay of late, falling slowly
    int peak_hold               # ticks it stands still
    # packets
    int count
    uint8_t order[80]           # slots by place
    uint64_t taken[2]           # bits of slots in use
    JitterSlot slot[80]
    # sound
    Codec* codec                # decodes kinds other than G.711; NULL = there is none
    short pcm[3072]             # played up to head, to be played up to tail
    int head
    int tail
    int made                    # samples made up since the last received one
    int rest                    # ticks until the next time scaling
    Conceal conceal

cdef void jitter_init(Jitter* j, int least_ms, int most_ms) noexcept nogil
cdef void jitter_codec(Jitter* j, Codec* codec) noexcept nogil
cdef void jitter_restart(Jitter* j) noexcept nogil
cdef void jitter_put(Jitter* j, uint64_t tick, uint32_t ssrc, uint16_t seq, uint32_t ts, int marker, int kind, const uint8_t* data,
                     int n) noexcept nogil
cdef int jitter_get(Jitter* j, uint64_t tick, short* out) noexcept nogil
cdef void jitter_figures(const Jitter* j, JitterFigures* out) noexcept nogil
