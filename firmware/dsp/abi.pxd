# The ring segment at C level (ring_segment.h) for the modules of the engine.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from firmware.dsp.address cimport net_address


cdef extern from "ring_segment.h" nogil:
    enum:
        RING_MAGIC, RING_VERSION, RING_COMMANDS, RING_EVENTS, RING_EVENT_RESERVE, RING_PROCESSES, RING_BODY, RING_PAYLOAD, RING_NAME
        GAUGE_PORTS, GAUGE_LINES, GAUGE_TAPS, RING_TAG, RING_CLIPS, RING_STAGE, RING_DIGITS, LANE_EVENTS
        CMD_OPEN_RTP, CMD_UPDATE_RTP, CMD_OPEN_LINE, CMD_CLOSE, CMD_JOIN, CMD_LEAVE, CMD_RELAY, CMD_UNRELAY, CMD_PLAY, CMD_TONE
        CMD_STOP, CMD_DTMF, CMD_STAGE, CMD_FSK, CMD_DETECT, CMD_DETECT_TONE, CMD_MUTE_DIGITS, CMD_RECORD, CMD_STOP_RECORD, CMD_DRIVE
        CMD_WATCH, CMD_SNAPSHOT, CMD_MEASURE, CMD_AGC, CMD_CLEAR_CHANNEL, CMD_LEARN, CMD_PULSE, CMD_MASK
        MEASURE_LEVELS, MEASURE_ACTIVITY, ECHO_FILTER_NONE, ECHO_FILTER_TAKEN, ECHO_FILTER_ALIGNMENT, ECHO_FILTER_BAD
        EVT_DONE, EVT_FAILED, EVT_EPOCH, EVT_PORT, EVT_DIGIT, EVT_PLAYED, EVT_DTMF_SENT, EVT_FSK_SENT, EVT_FSK_MESSAGE, EVT_TONE_HEARD
        EVT_TONE_STOPPED, EVT_VOICE, EVT_RTP_STARTED, EVT_RTP_SILENT, EVT_RECORDED, EVT_RING_BURST, EVT_BATTERY, EVT_POLARITY
        EVT_LOOP_CURRENT, EVT_LOOP, EVT_RING_TRIP, EVT_ACTIVITY, EVT_ECHO_FILTER, EVT_FAX_TONE, EVT_LEARNED_TONE, EVT_ALERT_TONE
        EVT_PULSE_SENT, EVT_PORT_HEALTH
        FAIL_PORT, FAIL_RANGE, FAIL_STATE, FAIL_TYPE, FAIL_CLIP, FAIL_LOST, FAIL_ROOM

    ctypedef struct ring_command:
        uint64_t seq
        uint16_t type, port, size
        uint8_t body[240]

    ctypedef struct ring_event:
        uint64_t tick, mono_ns
        int64_t at, wall_ms
        uint16_t type, port, size, flags
        uint8_t payload[280]

    ctypedef struct body_rtp:
        net_address remote, rtcp
        int16_t codec, payload_type, dtmf_type
        uint16_t ptime_ms
        uint8_t send, receive, dtmf_khz, comfort_noise, suite, mux
        char tag[48]
        uint8_t send_key[48]
        uint8_t receive_key[48]

    ctypedef struct body_line:
        uint64_t line
        float rx_gain, tx_gain
        uint16_t echo_tail_ms
        char tag[48]

    ctypedef struct body_join:
        uint16_t bridge
        uint8_t hear, speak
        int16_t whisper

    ctypedef struct body_measure:
        uint8_t levels, activity

    ctypedef struct body_agc:
        float target_dbm0, most_db
        uint8_t on

    ctypedef struct body_relay:
        uint16_t peer

    ctypedef struct body_play:
        int64_t token
        float gain
        uint8_t loop, stop_on_digit
        uint16_t count
        uint16_t clips[104]

    ctypedef struct body_spec:
        float freqs[4]
        float level_dbm0
        int32_t cadence_ms[8]
        float level_db[8]
        uint8_t mask[8]
        uint16_t nfreq, nphases, cycles
        char name[24]

    ctypedef struct body_tone:
        int64_t token
        int32_t duration_ms
        body_spec spec

    ctypedef struct body_dtmf:
        int64_t token
        float level_dbm0
        uint16_t on_ms, off_ms, count
        char digits[64]

    ctypedef struct body_stage:
        uint16_t offset, count
        uint8_t data[200]

    ctypedef struct body_fsk:
        int64_t token
        float level_dbm0
        uint16_t standard, count

    ctypedef struct body_detect:
        uint8_t digits, fsk, voice, tones, fax, learn

    ctypedef struct body_detect_tone:
        uint32_t index
        body_spec spec

    ctypedef struct body_flag:
        uint8_t on

    ctypedef struct body_record:
        int64_t token
        uint32_t file

    ctypedef struct body_word:
        uint32_t code

    ctypedef struct body_drive:
        uint32_t code, hold_ms, then

    ctypedef struct body_pulse:
        int64_t token
        uint16_t break_ms, make_ms, between_ms, count
        char digits[64]

    ctypedef struct pay_answer:
        uint64_t seq
        int32_t code

    ctypedef struct pay_epoch:
        uint32_t epoch

    ctypedef struct pay_digit:
        float level_dbm0
        int32_t duration_ms
        char digit
        uint8_t rfc4733

    ctypedef struct pay_played:
        int64_t token
        uint8_t finished
        char digit

    ctypedef struct pay_fsk:
        uint16_t standard, count
        uint8_t data[260]

    ctypedef struct pay_tone:
        int64_t start_at
        int32_t cycles
        float confidence, level_dbm0
        char name[24]

    ctypedef struct pay_recorded:
        int64_t token, samples, lost

    ctypedef struct pay_fax:
        int64_t start_at
        float level_dbm0, confidence
        int32_t duration_ms, kind

    ctypedef struct pay_learned:
        int64_t start_at
        float freqs[4]
        float level_db[8]
        float level_dbm0, confidence, purity, jitter
        int32_t cadence_ms[8]
        int32_t repetitions
        uint16_t nfreq, nphases, reason

    ctypedef struct pay_activity:
        int64_t start_at
        float level_dbm0
        int32_t overlap_ms
        uint8_t talking

    ctypedef struct pay_health:
        int32_t reg, read, attempt
        uint8_t raised, final
        char kind[20]
        char state[14]
        char step[40]
        char text[188]

    ctypedef struct pay_line:
        float value
        int32_t on

    ctypedef struct pay_port:
        int64_t recording_token, player_token
        net_address remote
        uint32_t recording_file, rx_packets, tx_packets, lost, late, foreign, malformed, forged, repeated, drive
        float volts
        int16_t bridge, relay, codec, payload_type, dtmf_type, whisper
        uint16_t local_port, ptime_ms
        uint8_t rtp, hear, speak, relaying, send, receive, watched, recording, battery, reversed, flowing, closed, ringing, open, playing, clear, suite
        char tag[48]

    ctypedef struct port_gauge:
        uint32_t turn, measured
        uint64_t tick
        float in_dbm0, in_peak_dbm0, out_dbm0, out_peak_dbm0
        uint32_t in_clipped, out_clipped
        float agc_db, erl_db, erle_db, noise_dbm0
        int32_t delay_ms
        uint8_t canceller, converged, disabled, mode, clear, talking, far_talking
        float echo_db, echo_worst_db
        uint32_t words, words_audible, words_masked
        int64_t talk_ms, far_ms, overlap_ms

    ctypedef struct rtp_gauge:
        uint32_t turn, generation
        uint64_t tick
        uint32_t received, expected, received_bytes, sent, sent_bytes
        int32_t lost
        float jitter_ms, worst_jitter_ms
        uint32_t reports_sent, reports_received, reports_refused, far_reports
        int32_t far_lost
        uint32_t far_expected
        float far_loss, far_jitter_ms, round_trip_ms, worst_round_trip_ms
        uint32_t far_bye

    ctypedef struct echo_memory:
        uint32_t turn, taps, rate, depth
        uint64_t line, tick
        float erl_db, erle_db
        float tap[1280]

    ctypedef struct gauge_records "gauges":
        port_gauge port[272]
        rtp_gauge rtp[272]
        echo_memory learned[16]
        echo_memory offered[16]

    ctypedef struct ring_segment:
        uint32_t magic, version, size, commands, events
        uint64_t command_head, event_tail
        int64_t horizon
        uint32_t core_progress, core_present
        uint64_t command_tail, event_head, tick
        int64_t wall_base_ms
        uint64_t dropped_events, lost_events
        uint32_t epoch, media_waiting
        uint64_t worst_late_us, worst_busy_us, busy_us
        uint64_t heartbeat_ns[8]
        ring_command command[1024]
        ring_event event[4096]
        gauge_records gauges

    ctypedef struct event_lane:
        uint64_t head, tail, lost
        ring_event event[256]

    uint64_t load64(const uint64_t* p)
    void store64(uint64_t* p, uint64_t v)
    int64_t loadi64(const int64_t* p)
    void storei64(int64_t* p, int64_t v)
    uint32_t load32(const uint32_t* p)
    void store32(uint32_t* p, uint32_t v)
    int32_t loadi32(const int32_t* p)
    void storei32(int32_t* p, int32_t v)
    uint32_t add32(uint32_t* p, uint32_t v)
    uint32_t swap32(uint32_t* p, uint32_t v)
    uint64_t mono_ns()
    int64_t wall_now_ms()
    void futex_wait32(uint32_t* p, uint32_t seen, int64_t wait_ns)
    void futex_wake32(uint32_t* p)
    void sleep_until_ns(uint64_t at)
    void touch_pages(void* p, size_t n)
    void turn_begin(uint32_t* turn)
    void turn_end(uint32_t* turn)
    int turn_copy(void* to, const void* from_, size_t size)
    int ring_post(ring_segment* s, const ring_event* e, int droppable)
    int lane_push(event_lane* q, const ring_event* e)
    ring_event* lane_peek(event_lane* q)
    void lane_pop(event_lane* q)

cdef void health_fill(pay_health* h, str kind, bint raised, bint final, str step, str text, int reg, int read, int attempt, str state)
cdef object unpack(const ring_event* e)
cdef int address_fill(net_address* to, object remote) except -1
cdef object address_text(const net_address* a)
