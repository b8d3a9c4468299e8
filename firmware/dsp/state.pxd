# The engine's memory: ports, bridges, recorders, seam. Everything is allocated once at start.
#
# Ownership: fields belong to the tick thread unless a comment names another thread; fields that two threads touch are
# 32 or 64 bit words accessed with the atomics of ring_segment.h.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from firmware.dsp.abi cimport echo_memory, event_lane, pay_port, ring_event, ring_segment, rtp_gauge
from firmware.dsp.activity cimport Activity
from firmware.dsp.address cimport net_address, net_box
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
from firmware.dsp.scan_state cimport Hardware, Scan, ScanFault
from firmware.dsp.srtp cimport Secure
from firmware.dsp.tone cimport ToneFront, ToneGen, ToneTrack

cdef enum:
    BLOCK = 80                  # samples of a 10 ms tick
    TDM_PORTS = 16
    PORTS = 272                 # at most; an engine has 16 and its RTP ports
    BRIDGES = 128
    RECORDERS = 128
    RECORD_FRAMES = 16384       # stereo frames a recorder can hold back: 2 s
    PACKET_RING = 32
    PACKET_BYTES = 480
    SEAL_RING = 256             # packets of the tick that wait to be encrypted
    BELL = 0x10000              # in the epoll set of the RTP thread: not a port but its eventfd,
    RTCP_BIT = 0x20000          # or the RTCP socket of a port
    SIDE_RING = 64              # datagrams that wait for the side: STUN and DTLS
    SIDE_BYTES = 1500
    SIDE_BURST = 64             # such datagrams a port may bring at once,
    SIDE_EVERY = 1              # and one more in so many ticks
    SIDE_ASKS = 32              # what the side wants of the tick
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
        WORLD_CHAINS, WORLD_PROGRAMS, WORLD_PROGRAM_BYTES, WORLD_MAILS, WORLD_MAIL_BYTES
        FEED_OPEN, FEED_ACTIVE, FEED_ON_HOOK_TX, FEED_RINGING, FEED_REVERSED, FEED_REVERSED_TX, LINE_ON_HOOK, LINE_OFF_HOOK

    ctypedef struct line_fact:
        int16_t dc_dv, current, ac_dv, ring_dc

    ctypedef struct world_access:
        uint8_t ms, chain, split, bytes

    ctypedef struct world_program:
        uint64_t block
        uint32_t size
        uint8_t data[6136]

    ctypedef struct world_segment:
        uint32_t magic, version, ports, playback_depth, speed, align_epoch
        int64_t wall_base_ms
        uint32_t world_pid, media_pid, chains
        uint64_t delivered, ticked, scanned, silent_ticks, posted, ran
        uint32_t bell
        world_program program[16]
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
    uint8_t* codes              # A-law: half the memory of samples, and what most telephones are sent anyway
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

cdef struct Candidate:          # a source that is not the one in the SDP
    net_address at
    uint32_t ssrc
    uint16_t seq                # of its last packet
    int run                     # packets in a row
    uint64_t tick               # of its last packet

cdef struct RtpReceive:         # RTP thread only
    uint32_t generation         # of the configuration this state was built under
    net_address source          # whom we believe; port 0: nobody yet
    int locked
    int sdp                     # source is that of the SDP
    uint64_t heard_tick         # of the last packet of source
    Candidate one               # the leading candidate
    Candidate other
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

cdef struct SecureKeys:         # tick -> RTP thread: see rtp_secure.pyx
    uint32_t version            # odd while it is written
    uint32_t taken              # the version the RTP thread has
    uint32_t suite
    uint32_t turn[2]            # raised when what we send under changes, and when what the peer does
    uint64_t word[12]           # the keys: what we send under, then what the peer does: 48 bytes each
    uint64_t mark[2]            # tick: which keys those were
    int full                    # tick: still to be wiped

cdef struct SealSlot:
    uint32_t rtp                # index of the port
    uint32_t version            # of its keys
    net_address to
    int n
    uint8_t data[512]

cdef struct SealRing:           # tick -> RTP thread
    int fd                      # eventfd that wakes the RTP thread
    uint32_t ask                # keys have changed
    uint64_t head
    uint64_t tail
    uint64_t told               # tick: head when it last rang
    SealSlot slot[256]

cdef struct SideSlot:
    int port                    # engine port
    uint32_t opened             # of the port when it came
    int n
    net_address source
    uint8_t data[1500]

cdef struct SideRing:           # RTP thread -> the side (Python, event loop of the media process)
    int fd                      # eventfd that wakes it
    uint32_t lost               # datagrams without room
    uint64_t head
    uint64_t tail
    SideSlot slot[64]

cdef struct SideAsk:            # the side -> tick
    int port
    uint32_t opened             # of the port that is meant
    int suite                   # keys of this suite, or -1: `remote` is to be spoken to (port 0: that of the SDP again)
    net_address remote
    uint8_t send[48]
    uint8_t receive[48]

cdef struct SideAsks:
    uint64_t head
    uint64_t tail
    SideAsk ask[32]

cdef struct Rtcp:               # RTP thread only; see rtcp.pyx
    uint32_t opened             # the port's opening that this is about
    int alive                   # that one is not over for the far end
    uint32_t dice
    # what arrives (RFC 3550 appendix A.1, A.3, A.8)
    int counting
    uint32_t ssrc
    uint16_t top
    uint32_t cycles
    uint32_t base
    uint32_t bad
    uint32_t received
    uint32_t bytes
    uint32_t past_expected      # of streams before this one
    uint32_t past_received
    uint32_t expected_prior
    uint32_t received_prior
    int timed                   # transit is known
    uint32_t transit
    uint32_t jitter             # in clock ticks, times 16
    int32_t clock_khz
    # what is said
    uint64_t due_ns
    uint64_t shown_ns
    uint32_t told_packets       # of ours, in the last report
    int quiet                   # reports since we sent a packet
    uint32_t tx_ssrc
    net_address to              # where the last report went,
    int to_mux                  # and by which socket
    # what is heard
    net_address source          # of the far end's reports; port 0: none yet
    uint32_t sr_ntp             # middle of the far end's last sender report's time
    uint64_t sr_ns              # when it came
    uint32_t far_ssrc           # our stream as the far end counts it
    uint32_t far_top
    int32_t far_lost
    rtp_gauge show

cdef struct RtpCounts:
    # Packets that came since the start of the engine.
    uint32_t rx, foreign, malformed, forged, repeated


cdef struct RtpPort:
    int fd                      # UDP socket, the same for the engine's life
    int rtcp_fd                 # the socket above it, -1 = none
    int family                  # of both
    uint16_t local_port
    # configuration: written by the tick, read by the RTP thread; `generation` is stored last
    uint32_t generation
    uint32_t last_generation    # tick
    uint32_t opened             # raised by every opening and closing
    net_address sdp             # tick: of the SDP, while another is nominated
    int later                   # tick: DTLS brings the keys
    net_box remote              # of the SDP, or nominated
    net_box rtcp_to             # of the SDP; port 0 = the port above that of RTP
    int32_t mux                 # RTCP on the port of RTP
    int32_t pinned              # the remote address was nominated (ICE): it alone is heard
    int32_t clock_khz           # of the RTP clock
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
    int32_t suite               # of SRTP, 0 = in clear
    int32_t relay_peer          # port id packets are forwarded to, -1 = none
    uint32_t relay_start        # raised when a relay begins: new timestamp offset
    # written by the RTP thread
    net_box learned             # the source we answer to; void under another generation
    net_box remote_seen         # copy of `remote`
    uint32_t side_left          # STUN and DTLS datagrams this port may still bring
    uint64_t side_tick
    uint32_t side_refused
    uint32_t rx_packets
    uint32_t foreign
    uint32_t malformed
    uint32_t forged             # not genuine under the keys
    uint32_t unproven           # likewise, before the first genuine one under these keys: may have been on their way
    int proven                  # a genuine packet came under these keys
    uint32_t repeated           # genuine, but seen before
    uint32_t secured            # version of the keys that sealer and opener have
    uint32_t turned[2]          # RTP thread: its contexts follow these turns
    int suite_now
    Secure* sealer
    Secure* opener
    uint32_t key_now            # digit being keyed, 0 = none
    uint32_t key_count          # keys begun
    RtpReceive rx
    Rtcp rtcp
    PacketRing packets
    SecureKeys keys
    RtpCounts before            # the tick's: what the port had counted when it was opened
    # sending: the tick, or the RTP thread while this port is relayed to
    uint32_t tx_ssrc
    uint32_t tx_seq
    uint32_t tx_ts              # timestamp of the tick's next sample
    uint32_t tx_last_ts         # end of the last packet forwarded to this port
    uint32_t tx_packets
    uint32_t tx_bytes           # of payload
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
    net_box learned_seen        # copy of `learned`
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
    int flow_dma                # current that may be settling
    int64_t flow_level_since
    int told_dma
    int32_t closed
    int loop_raw
    int64_t loop_since
    int64_t trip_since
    int trips                   # scans in a row that saw a ring trip

cdef struct Port:
    int open                    # first what an idle port needs: one page of memory
    int id
    int recorder                # index, -1 = none
    RtpPort* rtp
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
    uint32_t masked             # silence instead of what is heard (tick)
    int32_t sealed              # of the file thread, as are the rest: encrypted (dsp/vault.pyx), not a WAV
    uint64_t index              # of the next piece
    uint64_t offset             # bytes in the file
    unsigned char key[32]
    unsigned char ident[16]
    short* ring                 # RECORD_FRAMES stereo frames

cdef struct FileSlot:           # descriptors handed over, looked up by the file thread
    uint32_t file
    int32_t fd                  # -1 = empty
    int32_t sealed
    unsigned char key[32]
    unsigned char ident[16]

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
    uint64_t origin_ns          # CLOCK_MONOTONIC at engine ms 0, by the last tick: instants between ticks
    int block_late
    int core_slow
    uint32_t align_epoch
    uint32_t depth
    uint32_t drive[16]
    int hold_left[16]           # ms of a timed drive on a line without chip
    int hold_then[16]
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
    SealRing seal
    SideRing side
    SideAsks asks
    char cname[48]              # RFC 3550 section 6.5.1
    uint64_t ntp_base           # NTP time at ntp_ns of the clock of telephones
    uint64_t ntp_ns
    char* coder_memory          # codec_size() for each RTP port
    int nports                  # 16 and the RTP ports
    int warm                    # file thread: RTP ports whose memory is there, see threads.pyx
    Port* port
    Line line[16]
    int32_t sums[128][80]
    int members[128]
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
    Recorder recorder[128]
    FileSlot file[128]
    uint64_t silent
    Scan* scan                  # line chips
    Hardware hardware           # who keeps them
    int realtime
    uint32_t started
