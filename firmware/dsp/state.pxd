# The engine's memory: ports, bridges, recorders, seam. Everything is allocated once at start.
#
# Ownership: fields belong to the tick thread unless a comment names another thread; fields that two threads touch are
# 32 or 64 bit words accessed with the atomics of ring_segment.h.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from firmware.dsp.abi cimport echo_memory, event_lane, pay_port, ring_event, ring_segment
from firmware.dsp.activity cimport Activity
from firmware.dsp.agc cimport Agc
from firmware.dsp.codec cimport Codec
from firmware.dsp.answer_tone cimport AnswerTones
from firmware.dsp.cid cimport CidReceivers
from firmware.dsp.dtmf cimport DtmfDet, DtmfGen
from firmware.dsp.dtmf_mute cimport DtmfMute
from firmware.dsp.echo cimport EchoState
from firmware.dsp.echo_score cimport EchoScorer
from firmware.dsp.fsk cimport FskTx
from firmware.dsp.jitter cimport Jitter
from firmware.dsp.highpass cimport HighPass
from firmware.dsp.learner_pitch cimport LearnRing, LearnWork
from firmware.dsp.meter cimport Meter
from firmware.dsp.tone cimport ToneFront, ToneGen, ToneTrack

cdef enum:
    BLOCK = 80                  # samples of a 10 ms tick
    TDM_PORTS = 16
    PORTS = 128
    BRIDGES = 64
    RECORDERS = 64
    RECORD_FRAMES = 16384       # stereo frames a recorder can hold back: 2 s
    PACKET_RING = 32
    PACKET_BYTES = 480
    NOISE_TYPE = 13             # static payload type of comfort noise (RFC 3389)
    TAILS = 4                   # echo tails of 16, 32, 64, 128 ms
    PLAYER_IDLE = 0
    PLAYER_CLIPS = 1
    PLAYER_TONE = 2
    PLAYER_DTMF = 3
    PLAYER_FSK = 4
    PLAYER_EVENTS = 5           # RFC 4733 digits
    SCAN_OFF = 0
    SCAN_FXO = 1
    SCAN_FXS = 2

cdef extern from "world_segment.h" nogil:
    enum:
        WORLD_MAGIC, WORLD_VERSION, WORLD_PORTS, WORLD_BLOCKS, WORLD_SAMPLES, WORLD_FACTS
        FEED_OPEN, FEED_ACTIVE, FEED_ON_HOOK_TX, FEED_RINGING, FEED_REVERSED, FEED_REVERSED_TX, LINE_ON_HOOK, LINE_OFF_HOOK

    ctypedef struct line_fact:
        int16_t dc_dv, current, ac_dv, ring_dc

    ctypedef struct world_segment:
        uint32_t magic, version, ports, playback_depth, speed, align_epoch
        int64_t wall_base_ms
        uint32_t world_pid, media_pid
        uint64_t delivered, ticked, scanned, silent_ticks
        uint32_t drive[16]
        int16_t capture[16][16][80]
        int16_t playback[16][16][80]
        line_fact facts[16][16][10]

cdef struct EngineState              # defined below

# The PCM and line seam: what a line card (or the world, or nothing) offers to the tick and to the scanner.
cdef struct Seam:
    int (*wait_block)(EngineState* e) noexcept nogil                                 # 1 block there, 0 tick on silence, -1 stop
    void (*capture)(EngineState* e, int slot, short* out) noexcept nogil             # 80 samples of the running tick
    void (*playback)(EngineState* e, int slot, const short* samples) noexcept nogil
    void (*finish)(EngineState* e) noexcept nogil                                    # the tick's playback is complete
    int (*facts)(EngineState* e, uint64_t block, int slot, line_fact* out) noexcept nogil    # facts copied, 0 = none
    void (*drive)(EngineState* e, int slot, uint32_t code) noexcept nogil
    uint64_t (*delivered)(EngineState* e) noexcept nogil                             # blocks whose facts exist

cdef struct Clip:
    short* samples
    int n

cdef struct Packet:
    uint32_t ssrc
    uint32_t ts
    uint16_t seq
    uint16_t n
    int32_t kind                # CODEC_* or JITTER_NOISE
    int32_t marker
    uint8_t data[480]

cdef struct PacketRing:         # RTP thread -> tick
    uint64_t head
    uint64_t tail
    Packet slot[32]

cdef struct RtpReceive:         # RTP thread only
    uint32_t generation         # of the configuration this state was built under
    uint32_t source_ip
    uint16_t source_port
    int locked
    int foreign_first           # packets taken from a source other than the one in the SDP
    uint32_t ssrc
    int have_ssrc
    uint32_t relay_seen
    uint32_t key_ts
    int key_seen                # key_ts is meaningful
    int key_active
    char key
    uint16_t key_duration
    uint64_t key_ns
    uint32_t relay_ssrc
    int relay_fresh
    uint32_t relay_offset

cdef struct RtpPort:
    int fd                      # UDP socket, the same for the engine's life
    uint16_t local_port
    # configuration: written by the tick, read by the RTP thread; `generation` is stored last
    uint32_t generation
    uint32_t remote_ip
    uint32_t remote_port
    int32_t codec               # CODEC_*
    int32_t payload_type
    int32_t dtmf_type
    int32_t send
    int32_t receive
    int32_t report_keys         # post Digit events
    int32_t dtmf_khz            # clock of the durations of keys
    int32_t comfort_noise       # the peer understands NOISE_TYPE
    uint32_t ts_block           # RTP clock ticks in a block: 80, Opus 480
    int32_t ptime               # samples at 8 kHz
    int32_t relay_peer          # port id packets are forwarded to, -1 = none
    uint32_t relay_start        # raised when a relay begins: new timestamp offset
    # written by the RTP thread
    uint64_t learned            # ip << 16 | port of the source we answer to, 0 = none yet
    uint32_t rx_packets
    uint32_t foreign
    uint32_t malformed
    uint32_t key_now            # digit being keyed, 0 = none
    uint32_t key_count          # keys begun
    RtpReceive rx
    PacketRing packets
    # sending: the tick, or the RTP thread while this port is relayed to
    uint32_t tx_ssrc
    uint32_t tx_seq
    uint32_t tx_ts              # timestamp of the tick's next sample
    uint32_t tx_last_ts         # end of the last packet forwarded to this port
    uint32_t tx_packets
    int tx_marker
    int hold                    # tick: wait until the RTP thread has left the sending state
    uint32_t hold_mark
    int renew                   # tick: the RTP clock changed, begin another stream (RFC 7160)
    int fill                    # samples waiting in pcm
    short pcm[480]
    uint8_t frame[480]
    Codec coder                 # tick: both directions
    void* coder_memory
    # tick
    uint32_t seen_packets
    uint64_t heard_tick
    int heard
    uint32_t seen_keys
    char inject
    int inject_left             # ms the injected key must go on
    DtmfGen inject_gen
    Jitter jitter

cdef struct Player:
    int kind
    int64_t token
    float gain
    int loop
    int stop_on_digit
    int count
    int index
    int at
    uint16_t clips[104]
    int64_t left                # samples of a timed tone, -1 = endless
    ToneGen tone
    DtmfGen dtmf
    FskTx fsk
    char digits[64]             # RFC 4733
    int on
    int off
    int phase_ms
    int ending                  # end packets still to send
    uint32_t event_ts
    uint32_t event_length

cdef struct Voice:
    int on
    float level                 # smoothed power
    float floor
    int run
    int quiet
    int active

cdef struct Line:               # scanner only, but for the words read by snapshots
    int32_t kind                # SCAN_*, written by the tick
    # FXO ring
    int sign
    int64_t turn                # instant of the last alternation
    int64_t ring_from
    int turns
    int32_t ringing
    # battery, polarity
    int32_t battery             # 2 = not known
    int64_t battery_since
    int battery_raw
    int32_t reversed
    int polarity_known
    int polarity_raw
    int64_t polarity_since
    float volts
    int level_dv
    int64_t level_since
    int told_dv
    int level_told
    # loop
    int32_t flowing
    int flow_raw
    int64_t flow_since
    int32_t closed
    int loop_raw
    int64_t loop_since
    int64_t trip_since

cdef struct Port:
    int open
    int id
    char tag[48]
    int bridge                  # -1 = none
    int hear
    int speak
    int whisper                 # port that alone hears this one, -1 = none
    int relay                   # wanted relay peer, -1 = none
    int relaying
    # audio of this tick
    short heard[80]             # from the telephone: after canceller and gain
    short say[80]               # what the bridge gets
    short out[80]               # towards the telephone
    int32_t aside[80]           # what is whispered to this port
    int whispered
    int clear                   # clear channel: nothing touches the samples
    int agc_on
    Agc agc
    # measuring
    int measure                 # MEASURE_*
    int64_t measured_from       # engine ms
    Meter in_meter
    Meter out_meter
    Activity activity
    int64_t talk_ms
    int64_t far_ms
    int64_t overlap_ms
    # TDM
    EchoState* echoes[4]
    EchoState* echo
    short sent[16][80]          # played blocks, for the echo reference
    float sent_power[16]        # their mean squares
    HighPass captured_high      # the same filter before both inputs of the canceller
    HighPass reference_high
    uint64_t line               # identity of the line, 0 = none
    float echo_left             # how much of our own power may come back at most
    float rx_gain
    float tx_gain
    # detectors
    int digits
    int mute_digits
    int dtmf_heard              # the detector ran over this block
    DtmfMute mute
    DtmfDet dtmf
    int tones
    ToneFront tone_front
    ToneTrack tone[8]
    char tone_name[8][24]
    int fax
    AnswerTones answer
    int learn
    int fsk                     # 0 none, 1 Bell 202, 2 V.23, 3 both and alerting tones
    CidReceivers cid
    Voice voice
    Player player
    unsigned char stage[512]
    int recorder                # index, -1 = none
    RtpPort* rtp

cdef struct Recorder:           # state: 0 free, 1 running, 2 stopped by the tick (the file thread frees it)
    uint32_t state
    uint32_t file
    int32_t port
    int64_t token
    uint64_t head               # frames, written by the tick
    uint64_t tail               # frames, written by the file thread
    uint64_t lost               # frames without room (tick)
    uint64_t failed             # frames the disk refused (file thread)
    uint64_t written            # frames in the file
    uint64_t synced
    int64_t stop_at
    uint64_t stopped_ns
    uint64_t retry_ns
    int32_t fd                  # file thread, -1 = descriptor not here yet
    short* ring                 # RECORD_FRAMES stereo frames

cdef struct FileSlot:           # descriptors handed over, looked up by the file thread
    uint32_t file
    int32_t fd                  # -1 = empty

cdef struct EngineState:
    ring_segment* ring
    int event_fd
    int epoll_fd
    Seam seam
    world_segment* world        # NULL: no line card
    int block_there             # capture of this tick is real
    int silent_run
    uint64_t last_delivered
    uint64_t tick
    uint64_t due_ns             # nominal time of the tick, real time
    int block_late
    int core_slow
    uint32_t align_epoch
    uint32_t depth
    uint32_t drive[16]
    uint32_t stop
    uint32_t posted             # events posted in this tick
    uint64_t core_gone_tick
    int dead
    int jitter_least
    int jitter_most
    int nclips
    Clip* clips
    int nrtp
    RtpPort* rtp
    char* coder_memory          # codec_size() for each RTP port
    Port port[128]
    Line line[16]
    int32_t sums[64][80]
    int members[64]
    uint32_t scan_busy
    uint32_t rtp_busy
    uint32_t relay_turn         # odd while the RTP thread forwards
    uint32_t random
    event_lane scan_lane
    event_lane rtp_lane
    event_lane file_lane
    LearnRing* kept[16]         # late sound of the line ports, for the learner; NULL: no line card
    uint32_t learning[16]       # 1: the file thread analyses it, the tick leaves it alone
    LearnWork* learn_work       # file thread
    EchoScorer score[16]        # of the line ports
    echo_memory memory          # scratch
    Recorder recorder[64]
    FileSlot file[64]
    uint64_t silent
    int realtime
    uint32_t started
