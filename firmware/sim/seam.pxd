# The shared memory between world and media (`dsp/world_segment.h`), and waiting on its words.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from firmware.sim.chip_base cimport line_fact

cdef extern from "../dsp/world_segment.h":
    enum:
        WORLD_MAGIC, WORLD_VERSION, WORLD_PORTS, WORLD_BLOCKS, WORLD_SAMPLES, WORLD_FACTS, WORLD_CHAINS, WORLD_PROGRAMS, WORLD_PROGRAM_BYTES
        WORLD_MAILS, WORLD_MAIL_BYTES
        FEED_OPEN, FEED_ACTIVE, FEED_ON_HOOK_TX, FEED_RINGING, FEED_REVERSED, FEED_REVERSED_TX
        LINE_ON_HOOK, LINE_OFF_HOOK
        MAIL_TRANSFER, MAIL_RESET, MAIL_RELAY, MAIL_SENSE, MAIL_CLOCKS, MAIL_STEP, MAIL_INT, MAIL_NOW
    ctypedef struct world_access:
        uint8_t ms, chain, split, bytes
    ctypedef struct world_program:
        uint64_t block
        uint32_t size
        uint8_t *data
    ctypedef struct world_mail:
        uint32_t asked, answered, op, chain, split, size
        int32_t value, error
        int64_t now_us
        uint8_t *data
    ctypedef struct world_segment:
        uint32_t magic, version, ports, playback_depth, speed, align_epoch
        int64_t wall_base_ms
        uint32_t world_pid, media_pid, chains
        uint8_t *pad0
        uint64_t delivered, ticked, scanned, silent_ticks, posted, ran
        uint32_t drive[16]
        int16_t capture[16][16][80]
        int16_t playback[16][16][80]
        line_fact facts[16][16][10]
        uint32_t bell
        world_mail *mail
        world_program *program
    uint64_t load64 "world_load"(uint64_t *p) nogil
    void store64 "world_store"(uint64_t *p, uint64_t v) nogil
    uint32_t load32 "world_load"(uint32_t *p) nogil
    void store32 "world_store"(uint32_t *p, uint32_t v) nogil

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <limits.h>
    #include <linux/futex.h>
    #include <stdint.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    static inline void world_wake(void *word) { syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE, INT_MAX, 0, 0, 0); }
    static inline void world_wait(void *word, uint32_t seen, int64_t ns) {
        struct timespec limit = { ns / 1000000000, ns % 1000000000 };
        syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT, seen, &limit, 0, 0);
    }
    """
    void world_wake(void *word)
    void world_wait(void *word, uint32_t seen, int64_t ns)
