/* The seam between core and media: one shared-memory segment with two rings, the clock words and the heartbeats.
 *
 * Theory of operation. Commands: core is the only producer, the engine's tick the only consumer; each command is 256
 * bytes with its sequence number (its position in the ring since creation, so it goes on over restarts of core). Events:
 * the tick is the only producer, core the only consumer; other engine threads hand theirs to the tick through small
 * queues of their own. The consumer moves `event_tail` only after it has handled what it read, therefore a core that
 * dies between leaves its events to its successor, and `event_tail == event_head` means "handled", not just "seen".
 * Level and statistic events are dropped (and counted) once RING_EVENTS - RING_EVENT_RESERVE slots are in use; lifecycle
 * events may use all. Indices only grow; a slot is index % size. Stores release, loads acquire. Both sides compare magic,
 * version and size before anything else. Fields of different writers sit on different cache lines.
 * The structs hold explicit-width fields in natural alignment, so 32 and 64 bit processes agree on them. */
#ifndef BRANCHPBX_RING_SEGMENT_H
#define BRANCHPBX_RING_SEGMENT_H
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gauges.h"
#include "net_address.h"

#define RING_MAGIC 0x52505842u        /* "BXPR" */
#define RING_VERSION 9u
#define RING_COMMANDS 1024u
#define RING_EVENTS 4096u
#define RING_EVENT_RESERVE 3072u      /* slots that only lifecycle events may use */
#define RING_PROCESSES 8u
#define RING_BODY 240
#define RING_PAYLOAD 280
#define RING_NAME 24
#define RING_TAG 48
#define RING_CLIPS 104
#define RING_STAGE 200
#define RING_DIGITS 64

typedef struct {
    uint64_t seq;
    uint16_t type, port, size, pad;
    uint8_t body[RING_BODY];
} ring_command;

typedef struct {
    uint64_t tick, mono_ns;
    int64_t at, wall_ms;              /* engine ms and Unix ms of the fact itself, not of its posting */
    uint16_t type, port, size, flags;
    uint8_t payload[RING_PAYLOAD];
} ring_event;

enum {
    CMD_OPEN_RTP = 1, CMD_UPDATE_RTP, CMD_OPEN_LINE, CMD_CLOSE, CMD_JOIN, CMD_LEAVE, CMD_RELAY, CMD_UNRELAY, CMD_PLAY, CMD_TONE,
    CMD_STOP, CMD_DTMF, CMD_STAGE, CMD_FSK, CMD_DETECT, CMD_DETECT_TONE, CMD_MUTE_DIGITS, CMD_RECORD, CMD_STOP_RECORD, CMD_DRIVE,
    CMD_WATCH, CMD_SNAPSHOT, CMD_MEASURE, CMD_AGC, CMD_CLEAR_CHANNEL, CMD_LEARN, CMD_PULSE, CMD_MASK
};
enum {
    EVT_DONE = 1, EVT_FAILED, EVT_EPOCH, EVT_PORT, EVT_DIGIT, EVT_PLAYED, EVT_DTMF_SENT, EVT_FSK_SENT, EVT_FSK_MESSAGE, EVT_TONE_HEARD,
    EVT_TONE_STOPPED, EVT_VOICE, EVT_RTP_STARTED, EVT_RTP_SILENT, EVT_RECORDED, EVT_RING_BURST, EVT_BATTERY, EVT_POLARITY,
    EVT_LOOP_CURRENT, EVT_LOOP, EVT_RING_TRIP, EVT_ACTIVITY, EVT_ECHO_FILTER, EVT_FAX_TONE, EVT_LEARNED_TONE, EVT_ALERT_TONE, EVT_PULSE_SENT,
    EVT_PORT_HEALTH
};
enum { MEASURE_LEVELS = 1, MEASURE_ACTIVITY = 2 };
enum { ECHO_FILTER_NONE = 0, ECHO_FILTER_TAKEN, ECHO_FILTER_ALIGNMENT, ECHO_FILTER_BAD };
enum { FAIL_PORT = 1, FAIL_RANGE, FAIL_STATE, FAIL_TYPE, FAIL_CLIP, FAIL_LOST, FAIL_ROOM };

/* Bodies of commands */
typedef struct {
    net_address remote;               /* port 0 = not known yet */
    net_address rtcp;                 /* RFC 3605; port 0 = the port above that of RTP */
    int16_t codec, payload_type, dtmf_type;   /* codec: CODEC_* of codec.pxd; dtmf_type -1 = none */
    uint16_t ptime_ms;
    uint8_t send, receive;
    uint8_t dtmf_khz;                 /* clock of the durations of keys: 8 or 48 */
    uint8_t comfort_noise;            /* the peer understands payload type 13 */
    uint8_t suite;                    /* of SRTP, see srtp.pyx; 0 = in clear, SECURE_LATER = DTLS brings the keys */
    uint8_t mux;                      /* RTCP comes and goes on the port of RTP (RFC 5761) */
    char tag[RING_TAG];
    uint8_t send_key[48], receive_key[48];    /* master key and salt; wiped once the command was carried out */
} body_rtp;
typedef struct { uint64_t line; float rx_gain, tx_gain; uint16_t echo_tail_ms; char tag[RING_TAG]; } body_line;   /* line: identity, 0 = none */
typedef struct { uint16_t bridge; uint8_t hear, speak; int16_t whisper; } body_join;    /* whisper: port that alone hears this one, -1 = none */
typedef struct { uint8_t levels, activity; } body_measure;
typedef struct { float target_dbm0, most_db; uint8_t on; } body_agc;
typedef struct { uint16_t peer; } body_relay;
typedef struct { int64_t token; float gain; uint8_t loop, stop_on_digit; uint16_t count; uint16_t clips[RING_CLIPS]; } body_play;
typedef struct {
    float freqs[4], level_dbm0;
    int32_t cadence_ms[8];
    float level_db[8];                    /* of each phase against level_dbm0 */
    uint8_t mask[8];                      /* frequencies that sound in each phase, bit k = freqs[k]; 0 = pause */
    uint16_t nfreq, nphases, cycles, pad;
    char name[RING_NAME];
} body_spec;
typedef struct { int64_t token; int32_t duration_ms, pad; body_spec spec; } body_tone;
typedef struct { int64_t token; float level_dbm0; uint16_t on_ms, off_ms, count; char digits[RING_DIGITS]; } body_dtmf;
typedef struct { uint16_t offset, count; uint8_t data[RING_STAGE]; } body_stage;
typedef struct { int64_t token; float level_dbm0; uint16_t standard, count; } body_fsk;
typedef struct { uint8_t digits, fsk, voice, tones, fax, learn; } body_detect;          /* fsk: 0 none, 1 Bell 202, 2 V.23, 3 both and alerting tones */
typedef struct { uint32_t index, pad; body_spec spec; } body_detect_tone;
typedef struct { uint8_t on; } body_flag;
typedef struct { int64_t token; uint32_t file; } body_record;
typedef struct { uint32_t code; } body_word;                                 /* kind of watched line: 0 none, 1 FXO, 2 FXS */
typedef struct { uint32_t code, hold_ms, then; } body_drive;                 /* hold_ms 0: `code` stands; else `then` after exactly that time */
typedef struct { int64_t token; uint16_t break_ms, make_ms, between_ms, count; char digits[RING_DIGITS]; } body_pulse;

/* Payloads of events */
typedef struct { uint64_t seq; int32_t code; } pay_answer;
typedef struct { uint32_t epoch; } pay_epoch;
typedef struct { float level_dbm0; int32_t duration_ms; char digit; uint8_t rfc4733; } pay_digit;
typedef struct { int64_t token; uint8_t finished; char digit; } pay_played;
typedef struct { uint16_t standard, count; uint8_t data[260]; } pay_fsk;
typedef struct { int64_t start_at; int32_t cycles; float confidence, level_dbm0; char name[RING_NAME]; } pay_tone;
typedef struct { int64_t token, samples, lost; } pay_recorded;
typedef struct { int64_t start_at; float level_dbm0, confidence; int32_t duration_ms, kind; } pay_fax;      /* kind: ANSWER_* */
typedef struct {
    int64_t start_at;
    float freqs[4], level_db[8], level_dbm0, confidence, purity, jitter;
    int32_t cadence_ms[8], repetitions;
    uint16_t nfreq, nphases, reason;  /* reason: LEARN_*, 0 = learned */
} pay_learned;
typedef struct { int64_t start_at; float level_dbm0; int32_t overlap_ms; uint8_t talking; } pay_activity;
typedef struct {
    int32_t reg, read, attempt;       /* -1 = none */
    uint8_t raised, final;
    char kind[20], state[14], step[40], text[188];
} pay_health;                         /* see PortHealth of media/events.py */
typedef struct { float value; int32_t on; } pay_line;                        /* on, and volts or milliamps; RTP silence: on = ms */
typedef struct {
    int64_t recording_token, player_token;
    net_address remote;
    uint32_t recording_file;
    uint32_t rx_packets, tx_packets, lost, late, foreign, malformed, forged, repeated;
    uint32_t drive;
    float volts;
    int16_t bridge, relay, codec, payload_type, dtmf_type, whisper;
    uint16_t local_port, ptime_ms;
    uint8_t rtp, hear, speak, relaying, send, receive, watched, recording;
    uint8_t battery, reversed, flowing, closed, ringing, open, playing, clear;   /* battery: 0 lost, 1 present, 2 not known yet */
    uint8_t suite;                    /* of SRTP, 0 = in clear */
    char tag[RING_TAG];
} pay_port;

typedef struct {
    uint32_t magic, version, size, commands, events;
    uint8_t pad0[108];
    /* written by core */
    uint64_t command_head;
    uint64_t event_tail;
    int64_t horizon;                  /* tick at which core wants to be woken */
    uint32_t core_progress;           /* futex: raised with event_tail and horizon */
    uint32_t core_present;            /* written by the parent */
    uint8_t pad1[96];
    /* written by media */
    uint64_t command_tail;
    uint64_t event_head;
    uint64_t tick;                    /* blocks of 10 ms completed */
    int64_t wall_base_ms;             /* Unix ms of tick 0 */
    uint64_t dropped_events;          /* level and statistic events without room */
    uint64_t lost_events;             /* lifecycle events without room: the ring is too small or core is gone for too long */
    uint32_t epoch;                   /* raised at each start of a media process */
    uint32_t media_waiting;           /* 1 while the tick waits for core_progress */
    uint64_t worst_late_us, worst_busy_us, busy_us;   /* tick statistics: lateness, longest and summed processing time */
    uint8_t pad2[48];
    uint64_t heartbeat_ns[RING_PROCESSES];
    ring_command command[RING_COMMANDS];
    ring_event event[RING_EVENTS];
    gauges gauges;
} ring_segment;

_Static_assert(sizeof(ring_command) == 256 && sizeof(ring_event) == 320, "ring slots have fixed sizes");
_Static_assert(sizeof(body_rtp) <= RING_BODY && sizeof(body_play) <= RING_BODY && sizeof(body_tone) <= RING_BODY && sizeof(body_stage) <= RING_BODY, "command bodies fit");
_Static_assert(sizeof(pay_port) <= RING_PAYLOAD && sizeof(pay_fsk) <= RING_PAYLOAD && sizeof(pay_health) <= RING_PAYLOAD, "event payloads fit");

/* A queue from one engine thread to the tick. */
#define LANE_EVENTS 256u
typedef struct { uint64_t head, tail, lost; ring_event event[LANE_EVENTS]; } event_lane;

static inline uint64_t load64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline int64_t loadi64(const int64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void storei64(int64_t *p, int64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline int32_t loadi32(const int32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void storei32(int32_t *p, int32_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t add32(uint32_t *p, uint32_t v) { return __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t swap32(uint32_t *p, uint32_t v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }

static inline uint64_t mono_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline int64_t wall_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
/* Wait until *p differs from seen, at most wait_ns; shared between processes. Spurious returns are possible. */
static inline void futex_wait32(uint32_t *p, uint32_t seen, int64_t wait_ns) {
    struct timespec t;
    if (wait_ns <= 0) return;
    t.tv_sec = (time_t)(wait_ns / 1000000000);
    t.tv_nsec = (long)(wait_ns % 1000000000);
    syscall(SYS_futex, p, FUTEX_WAIT, seen, &t, NULL, 0);
}
static inline void futex_wake32(uint32_t *p) { syscall(SYS_futex, p, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }
static inline void sleep_until_ns(uint64_t at) {
    struct timespec t;
    t.tv_sec = (time_t)(at / 1000000000u);
    t.tv_nsec = (long)(at % 1000000000u);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* Have the pages of a piece of memory there before somebody needs them who must not wait; what they hold stays, whoever writes to it. */
static inline void touch_pages(void *p, size_t n) {
    for (size_t at = 0; at < n; at += 4096)
        __atomic_fetch_add((uint32_t *)(((uintptr_t)p + at) & ~(uintptr_t)3), 0, __ATOMIC_RELAXED);
}

static inline int ring_post(ring_segment *s, const ring_event *e, int droppable) {
    uint64_t head = s->event_head;
    uint64_t used = head - load64(&s->event_tail);
    if (used >= RING_EVENTS || (droppable && used >= RING_EVENTS - RING_EVENT_RESERVE)) {
        if (droppable) s->dropped_events++; else s->lost_events++;
        return 0;
    }
    s->event[head % RING_EVENTS] = *e;
    store64(&s->event_head, head + 1);
    return 1;
}
static inline int lane_push(event_lane *q, const ring_event *e) {
    uint64_t head = q->head;
    if (head - load64(&q->tail) >= LANE_EVENTS) { q->lost++; return 0; }
    q->event[head % LANE_EVENTS] = *e;
    store64(&q->head, head + 1);
    return 1;
}
static inline ring_event *lane_peek(event_lane *q) {
    uint64_t tail = q->tail;
    return tail == load64(&q->head) ? NULL : &q->event[tail % LANE_EVENTS];
}
static inline void lane_pop(event_lane *q) { store64(&q->tail, q->tail + 1); }
#endif
