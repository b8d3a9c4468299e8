/* What media measures of each port and what its cancellers have learned: a part of the ring segment that core reads any time.
 *
 * Theory of operation. Each record has one writer and a turn word: odd while it is being written, raised twice by every write. A reader
 * copies the record between two equal even turns, so it never waits and never holds the writer up. `learned` is written by the tick, `offered`
 * by core; as the parent holds the segment, what was learned outlives both. Everything else of the segment: ring_segment.h. */
#ifndef BRANCHPBX_GAUGES_H
#define BRANCHPBX_GAUGES_H
#include <stdint.h>
#include <string.h>

#define GAUGE_PORTS 272
#define GAUGE_LINES 16
#define GAUGE_TAPS 1280               /* 160 ms at 8 kHz: more than the longest tail */

typedef struct {
    uint32_t turn;
    uint32_t measured;                /* bits of body_measure; 0 = nobody asked, the rest is old */
    uint64_t tick;                    /* of the last update */
    float in_dbm0, in_peak_dbm0, out_dbm0, out_peak_dbm0;     /* in = what the telephone says, after canceller and gain */
    uint32_t in_clipped, out_clipped; /* samples at full scale */
    float agc_db;
    float erl_db, erle_db, noise_dbm0;
    int32_t delay_ms;
    uint8_t canceller, converged, disabled, mode, clear, talking, far_talking, pad;
    float echo_db, echo_worst_db;     /* residual of the last word and of the worst one, dB above the background */
    uint32_t words, words_audible, words_masked;
    int64_t talk_ms, far_ms, overlap_ms;      /* since the measurement began */
} port_gauge;

/* Quality of an RTP port's call: what arrives here, and what the far end reports of what we send (RFC 3550 section 6.4). By the RTP thread. */
typedef struct {
    uint32_t turn;
    uint32_t generation;              /* of the port's configuration; 0 = nothing yet */
    uint64_t tick;                    /* of the last update */
    uint32_t received, expected, received_bytes;
    uint32_t sent, sent_bytes;
    int32_t lost;                     /* expected - received; negative with duplicates */
    float jitter_ms, worst_jitter_ms;
    uint32_t reports_sent, reports_received, reports_refused;
    uint32_t far_reports;             /* reception reports about our stream */
    int32_t far_lost;
    uint32_t far_expected;            /* packets of ours that the far end waited for */
    float far_loss;                   /* share of the last interval, 0..1 */
    float far_jitter_ms;
    float round_trip_ms, worst_round_trip_ms;     /* negative: not known */
    uint32_t far_bye;
} rtp_gauge;

typedef struct {
    uint32_t turn;
    uint32_t taps;                    /* 0 = empty */
    uint32_t rate, depth;             /* PCM alignment it was learned under */
    uint64_t line;                    /* identity of the line, 0 = none */
    uint64_t tick;                    /* when it was learned */
    float erl_db, erle_db;
    float tap[GAUGE_TAPS];
} echo_memory;

typedef struct {
    port_gauge port[GAUGE_PORTS];
    rtp_gauge rtp[GAUGE_PORTS];
    echo_memory learned[GAUGE_LINES];
    echo_memory offered[GAUGE_LINES];
} gauges;

static inline void turn_begin(uint32_t *turn)
{
    __atomic_store_n(turn, (*turn + 1) | 1u, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
static inline void turn_end(uint32_t *turn) { __atomic_store_n(turn, *turn + 1, __ATOMIC_RELEASE); }

/* Copies a record; 0 when its writer was at it. `turn` is the record's first word. */
static inline int turn_copy(void *to, const void *from, size_t size)
{
    uint32_t before = __atomic_load_n((const uint32_t *)from, __ATOMIC_ACQUIRE);
    if (before & 1u)
        return 0;
    memcpy(to, from, size);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n((const uint32_t *)from, __ATOMIC_RELAXED) == before;
}
#endif
