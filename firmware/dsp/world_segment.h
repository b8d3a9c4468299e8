/* The seam between the media process and the simulated world: one shared-memory segment.
 *
 * Theory of operation. Time is cut in blocks of 10 ms. The world delivers block n: 80 capture samples and 10 line
 * facts (one per ms) for each port, then stores delivered = n + 1 and wakes. The media process runs tick n on it, writes
 * 80 playback samples for each port, then stores ticked = n + 1 and wakes. Playback of tick n reaches the wire in block
 * n + playback_depth. Line drives are plain words that hold until changed. Indices are n % WORLD_BLOCKS.
 * The world paces: at `speed` 100 it delivers on absolute deadlines of CLOCK_MONOTONIC; at other speeds (percent of
 * real time, 0 = as fast as the product answers) it delivers block n + 1 only after ticked = n + 1, and media stores
 * ticked only after core has handled every event and timer due by then, so all processes see one virtual clock.
 * Media never depends on the world: without a block in time (real time: 15 ms, virtual: 2 s) it ticks on silence.
 * Chips take the place of this seam on hardware; nothing above the seam knows the difference. */
#ifndef BRANCHPBX_WORLD_SEGMENT_H
#define BRANCHPBX_WORLD_SEGMENT_H
#include <stdint.h>

#define WORLD_MAGIC 0x42505857u      /* "WXPB" */
#define WORLD_VERSION 1u
#define WORLD_PORTS 16
#define WORLD_BLOCKS 16
#define WORLD_SAMPLES 80
#define WORLD_FACTS 10

/* What a line chip would measure, once per ms. FXO: the line from the exchange. FXS: the loop to the phone. */
typedef struct {
    int16_t dc_dv;    /* tip-ring DC voltage, 0.1 V, sign is polarity (FXO; FXS: fed voltage) */
    int16_t current;  /* loop current, 0.1 mA, always >= 0 */
    int16_t ac_dv;    /* instantaneous ringing voltage on an FXO line, 0.1 V */
    int16_t ring_dc;  /* FXS while ringing: DC part of the loop current, 0.1 mA (ring trip) */
} line_fact;

/* Linefeed codes of an FXS port (register 64 of the Si321x); an FXO port uses LINE_ON_HOOK / LINE_OFF_HOOK. */
enum { FEED_OPEN = 0, FEED_ACTIVE = 1, FEED_ON_HOOK_TX = 2, FEED_RINGING = 4, FEED_REVERSED = 5, FEED_REVERSED_TX = 6 };
enum { LINE_ON_HOOK = 0, LINE_OFF_HOOK = 1 };

typedef struct {
    uint32_t magic, version, ports, playback_depth; /* playback_depth in blocks, >= 1 */
    uint32_t speed;                                 /* percent of real time; 100 = real time; 0 = unbounded */
    uint32_t align_epoch;                           /* raised by the world at each xrun that moved the alignment */
    int64_t wall_base_ms;                           /* Unix time of block 0 in ms (start date can be set) */
    uint32_t world_pid, media_pid;
    uint8_t pad0[128 - 48];
    uint64_t delivered;                             /* written by the world only; futex on the low 32 bits */
    uint8_t pad1[120];
    uint64_t ticked;                                /* written by media only; futex on the low 32 bits */
    uint64_t scanned;                               /* line facts scanned up to this block (media's scanner thread) */
    uint64_t silent_ticks;                          /* ticks that ran without a delivered block */
    uint8_t pad2[104];
    uint32_t drive[WORLD_PORTS];                    /* written by media only: feed or hook code */
    int16_t capture[WORLD_BLOCKS][WORLD_PORTS][WORLD_SAMPLES];
    int16_t playback[WORLD_BLOCKS][WORLD_PORTS][WORLD_SAMPLES];
    line_fact facts[WORLD_BLOCKS][WORLD_PORTS][WORLD_FACTS];
} world_segment;

#define world_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define world_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#endif
