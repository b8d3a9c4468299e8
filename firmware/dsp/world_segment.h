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
 *
 * Line chips. A board with chips (`chains` > 0) has no facts and no drives: the world holds register-level models of the
 * chips, and media moves bytes over their serial chains as it does on hardware. Two ways lead there:
 * - *Programs*, for the native scanner. After each tick media posts one program, the accesses of the next 10 ms: it fills
 *   program[posted % WORLD_PROGRAMS], then stores posted + 1, before it stores `ticked`. The world runs every posted program
 *   in the next block it makes, each access at its millisecond between the steps of copper and chips; it overwrites each byte
 *   sent with the byte that came back, notes the block, stores ran + 1, and only then `delivered`.
 * - *Mail*, for whoever works on a chip by hand (bring-up, recovery, factory, RESET, relay): one request at a time and box,
 *   answered at once by a thread of its own in the world, between two blocks. Box 0 belongs to media, box 1 to the parent.
 * Accesses are atomic: neither way interrupts the other within one. */
#ifndef BRANCHPBX_WORLD_SEGMENT_H
#define BRANCHPBX_WORLD_SEGMENT_H
#include <stdint.h>

#define WORLD_MAGIC 0x42505857u      /* "WXPB" */
#define WORLD_VERSION 2u
#define WORLD_PORTS 16
#define WORLD_BLOCKS 16
#define WORLD_SAMPLES 80
#define WORLD_FACTS 10
#define WORLD_CHAINS 4
#define WORLD_PROGRAMS 16
#define WORLD_PROGRAM_BYTES 6136
#define WORLD_MAILS 2
#define WORLD_MAIL_BYTES 256

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

/* One access within a program: this head, then `bytes` bytes. */
typedef struct {
    uint8_t ms;       /* 0..9, never less than that of the access before */
    uint8_t chain;
    uint8_t split;    /* each byte under a chip select of its own; else one chip select over all */
    uint8_t bytes;
} world_access;

typedef struct {
    uint64_t block;   /* written by the world: the block it ran in */
    uint32_t size;    /* bytes of data in use */
    uint32_t pad;
    uint8_t data[WORLD_PROGRAM_BYTES];
} world_program;

enum {
    MAIL_TRANSFER = 1, /* data[size] over `chain`, `split` as above; the answer in place */
    MAIL_RESET,        /* RESET of `chain`: value 1 = released (high), 0 = held */
    MAIL_RELAY,        /* lifeline relay: value 1 = energised */
    MAIL_SENSE,        /* answer: value = the relay's contacts */
    MAIL_CLOCKS,       /* PCM clocks: value 1 = run, 0 = stop, -1 = ask; answer: value */
    MAIL_STEP,         /* let value ms of chip time pass with the copper as it stands; only while media does not tick */
    MAIL_INT,          /* answer: value = level of the INT line of `chain` */
    MAIL_NOW           /* answer: now_us only */
};

typedef struct {
    uint32_t asked;    /* written by the client, + 1 per request; then `bell` is raised and woken */
    uint32_t answered; /* written by the world: = asked when done; futex */
    uint32_t op, chain, split, size;
    int32_t value;     /* in and out; out of an op that is refused: see error */
    int32_t error;     /* out: 0 or an errno */
    int64_t now_us;    /* out: time of the chips */
    uint8_t data[WORLD_MAIL_BYTES];
} world_mail;

typedef struct {
    uint32_t magic, version, ports, playback_depth; /* playback_depth in blocks, >= 1 */
    uint32_t speed;                                 /* percent of real time; 100 = real time; 0 = unbounded */
    uint32_t align_epoch;                           /* raised by the world at each xrun that moved the alignment */
    int64_t wall_base_ms;                           /* Unix time of block 0 in ms (start date can be set) */
    uint32_t world_pid, media_pid;
    uint32_t chains;                                /* serial chains of the board file, in its order; 0 = facts and drives */
    uint8_t pad0[128 - 52];
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
    uint32_t bell;                                  /* futex: mail was posted */
    uint8_t pad3[124];
    uint64_t posted;                                /* programs, written by media only */
    uint8_t pad4[120];
    uint64_t ran;                                   /* programs, written by the world only */
    uint8_t pad5[120];
    world_mail mail[WORLD_MAILS];
    world_program program[WORLD_PROGRAMS];
} world_segment;

#define world_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define world_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#endif
