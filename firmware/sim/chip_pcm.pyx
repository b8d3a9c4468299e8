# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The PCM highway between the sound device and simulated line chips.

Theory of operation. The sound device's channel k is bits 16k .. 16k+15 of a frame, most significant first, `delay` clocks after FSYNC.
A chip listens and speaks from its start counts on, 8 bits (A or mu) or 16 (linear; two time slots); counts that do not fit are
silent. Nobody speaking reads as 0. Two speakers on one bit, and a speaker with TRI = 0 whose neighbour begins on the next bit, are noted
whenever the slot table changes.
`pcm_playback` takes a block off the highway and gives what each chip puts on its line; `pcm_capture` takes what each line says and
gives the highway's other direction. Between the two the caller runs its hybrids. Gains: FXO 38..41 (1 and 0.1 dB), FULL +3.2 and FULL2
+6 dB of line scale, mutes 15; FXS register 9 and the words 26/27. Loops: FXO PCM loop (33 b7), DDL, IDL; FXS register 8.
Start counts 34/35 and 2/3 belong to the direction to the highway, 36/37 and 4/5 to that from it.
Invariant: without clocks nothing moves: lines and capture are silent.
"""

from libc.math cimport pow
from libc.string cimport memset

from firmware.dsp.g711 cimport alaw_decode, alaw_encode, ulaw_decode, ulaw_encode
from firmware.sim.chip_base cimport FXS_BASE, ILL_SLOT_CLASH, ILL_SLOT_EDGE, ILL_SLOT_OUTSIDE, chip_illegal
from firmware.sim.chip_fxo cimport XP_MONITOR_OFFSET
from firmware.sim.chip_fxs_line cimport fxs_powered


cdef void pcm_init(pcm_highway *h, chip_room *room) noexcept nogil:
    memset(h, 0, sizeof(pcm_highway))
    h.room = room
    h.bits = 128
    h.delay = 1


cdef inline int16_t clipped(double value) noexcept nogil:
    if value > 32767.0:
        return 32767
    if value < -32768.0:
        return -32768
    return <int16_t>(value + 0.5) if value >= 0 else <int16_t>(value - 0.5)


cdef inline int placed(const pcm_highway *h, int start, int width) noexcept nogil:
    start -= h.delay
    return start if 0 <= start and start + width <= h.bits else -1


cdef void read_slots(pcm_highway *h, const fxo_chip *fxo, int fxo_count, const fxs_chip *fxs, int fxs_count) noexcept nogil:
    """The slot table from the registers; judged once per change."""
    cdef int k, j
    cdef uint64_t signature = 1469598103934665603ULL
    cdef pcm_slot *s
    cdef const fxs_chip *t
    for k in range(fxo_count):
        s = &h.slot[k]
        s.on = fxo[k].reg[33] & 0x20 and not fxo[k].reset and not fxo[k].dead and fxo[k].soft_left == 0 and not fxo[k].reg[33] & 2
        s.law = (fxo[k].reg[33] >> 3) & 3
        s.law = 2 if s.law >= 2 else s.law
        s.width = 16 if s.law == 2 else 8
        s.speak = placed(h, fxo[k].reg[34] | fxo[k].reg[35] << 8, s.width)
        s.listen = placed(h, fxo[k].reg[36] | fxo[k].reg[37] << 8, s.width)
        s.early = fxo[k].reg[33] & 1
    for k in range(fxs_count):
        s = &h.slot[fxo_count + k]
        t = &fxs[k]
        s.on = t.reg[1] & 0x20 and not t.reset and not t.reg[1] & 2
        s.law = (t.reg[1] >> 3) & 3
        s.law = 2 if s.law >= 2 else s.law
        s.width = 16 if t.reg[1] & 4 and s.law == 2 else 8
        s.speak = placed(h, t.reg[2] | t.reg[3] << 8, s.width)
        s.listen = placed(h, t.reg[4] | t.reg[5] << 8, s.width)
        s.early = t.reg[1] & 1
    for k in range(fxo_count + fxs_count):
        s = &h.slot[k]
        signature = (signature ^ <uint64_t>((s.on << 30) ^ (s.width << 24) ^ (s.early << 23) ^ ((s.speak + 1) << 11) ^ (s.listen + 1)))
        signature *= 1099511628211ULL
    if signature == h.seen:
        return
    h.seen = signature
    for k in range(fxo_count + fxs_count):
        s = &h.slot[k]
        if not s.on:
            continue
        if s.speak < 0 or s.listen < 0:
            chip_illegal(h.room, chip_number(k, fxo_count), ILL_SLOT_OUTSIDE, -1, k)
        for j in range(fxo_count + fxs_count):
            if j == k or not h.slot[j].on or s.speak < 0 or h.slot[j].speak < 0:
                continue
            if k < j and s.speak < h.slot[j].speak + h.slot[j].width and h.slot[j].speak < s.speak + s.width:
                chip_illegal(h.room, chip_number(k, fxo_count), ILL_SLOT_CLASH, -1, j)
            elif not s.early and s.speak + s.width == h.slot[j].speak:
                chip_illegal(h.room, chip_number(k, fxo_count), ILL_SLOT_EDGE, -1, j)


cdef inline int chip_number(int k, int fxo_count) noexcept nogil:
    return k if k < fxo_count else FXS_BASE + k - fxo_count


cdef inline int16_t taken(const pcm_slot *s, const int16_t *play, int channels, int stride, int i) noexcept nogil:
    """One sample off the highway."""
    cdef int at = s.listen >> 4, shift = s.listen & 15
    cdef unsigned int word = <unsigned int>(<unsigned short>play[at * stride + i]) << 16
    if at + 1 < channels:
        word |= <unsigned short>play[(at + 1) * stride + i]
    word = word << shift >> (32 - s.width)
    if s.law == 2:
        return <int16_t>word if s.width == 16 else <int16_t>(word << 8)
    return alaw_decode(<unsigned char>word) if s.law == 0 else ulaw_decode(<unsigned char>word)


cdef inline void put(const pcm_slot *s, int16_t sample, int16_t *capture, int channels, int stride, int i) noexcept nogil:
    """One sample onto the highway."""
    cdef int at = s.speak >> 4, shift = s.speak & 15
    cdef unsigned int word
    if s.law == 2:
        word = <unsigned short>sample >> (16 - s.width)
    else:
        word = alaw_encode(sample) if s.law == 0 else ulaw_encode(sample)
    word = word << (32 - s.width) >> shift
    capture[at * stride + i] |= <int16_t>(word >> 16)
    if at + 1 < channels:
        capture[(at + 1) * stride + i] |= <int16_t>(word & 0xFFFF)


cdef inline double decibels(double db) noexcept nogil:
    return pow(10.0, db / 20.0)


cdef inline double steps(int coarse, int fine) noexcept nogil:
    """Registers of 1 and 0.1 dB: b4 says attenuate."""
    cdef double db = coarse & 15
    if not coarse & 16 and db > 12:
        db = 12
    db = -db if coarse & 16 else db
    return db + (-0.1 if fine & 16 else 0.1) * (fine & 15)


cdef inline double full_scale(const fxo_chip *c) noexcept nogil:
    return 6.0 if c.reg[30] & 0x10 else 3.2 if c.reg[31] & 0x80 else 0.0


cdef inline double fxs_step_gain(int code, int word) noexcept nogil:
    cdef double gain = word / 16384.0
    if code == 3:
        return 0.0
    return gain * (decibels(-3.5) if code == 1 else decibels(3.5) if code == 2 else 1.0)


cdef inline bint fxs_talks(const fxs_chip *c) noexcept nogil:
    return fxs_powered(c) and (c.lfs & 3 == 1 or c.lfs & 3 == 2)


cdef void pcm_playback(pcm_highway *h, fxo_chip *fxo, int fxo_count, fxs_chip *fxs, int fxs_count, const int16_t *play, int16_t *lines,
                       int n) noexcept nogil:
    """`play[channel][n]` from the sound device; `lines[chip][n]` is what each chip puts on its line."""
    cdef int k, i, channels = h.bits >> 4
    cdef double gain
    cdef const fxs_chip *t
    memset(lines, 0, (fxo_count + fxs_count) * n * sizeof(int16_t))
    memset(h.heard, 0, sizeof(h.heard))
    memset(h.sent, 0, sizeof(h.sent))
    if not h.room.clocks:
        return
    read_slots(h, fxo, fxo_count, fxs, fxs_count)
    for k in range(fxo_count + fxs_count):
        if not h.slot[k].on or h.slot[k].listen < 0:
            continue
        for i in range(n):
            h.heard[k][i] = taken(&h.slot[k], play, channels, n, i)
        if k < fxo_count:
            gain = decibels(steps(fxo[k].reg[38], fxo[k].reg[40]) + full_scale(&fxo[k])) if not fxo[k].reg[15] & 0x80 else 0.0
        else:
            t = &fxs[k - fxo_count]
            gain = fxs_step_gain(t.reg[9] & 3, t.ind[26]) if not t.reg[9] & 0x10 else 0.0
        for i in range(n):
            h.sent[k][i] = clipped(h.heard[k][i] * gain)
        if fxo[k].audio if k < fxo_count else fxs_talks(&fxs[k - fxo_count]):
            for i in range(n):
                lines[k * n + i] = h.sent[k][i]


cdef inline int16_t less_echo(fxo_chip *c, int16_t sample, int16_t sent) noexcept nogil:
    """The digital hybrid: coefficients 45..52 over the newest eight samples."""
    cdef int k
    cdef double value = sample
    c.echo_at = (c.echo_at + 7) & 7
    c.echo[c.echo_at] = sent
    if not c.hybrid_on or not c.reg[2] & 2:
        return sample
    for k in range(8):
        value -= c.hybrid[k] * c.echo[(c.echo_at + k) & 7]
    return clipped(value)


cdef void pcm_capture(pcm_highway *h, fxo_chip *fxo, int fxo_count, fxs_chip *fxs, int fxs_count, const int16_t *lines, int16_t *capture,
                      int n) noexcept nogil:
    """`lines[chip][n]` is what each line says; `capture[channel][n]` goes to the sound device."""
    cdef int k, i, channels = h.bits >> 4
    cdef int16_t sample
    cdef double gain, offset
    cdef bint open_path
    cdef pcm_slot *s
    cdef fxs_chip *t
    memset(capture, 0, channels * n * sizeof(int16_t))
    if not h.room.clocks:
        return
    read_slots(h, fxo, fxo_count, fxs, fxs_count)
    for k in range(fxo_count + fxs_count):
        s = &h.slot[k]
        if not s.on or s.speak < 0:
            continue
        if k < fxo_count:
            gain = decibels(steps(fxo[k].reg[39], fxo[k].reg[41]) - full_scale(&fxo[k]))
            offset = 0.0
            open_path = fxo[k].audio
            if fxo[k].reg[5] & 9 == 8 and fxo[k].link and not fxo[k].closed:
                open_path = True                        # on-hook line monitor: with an offset of the converter
                offset = fxo[k].p[XP_MONITOR_OFFSET] * 32767.0
            if fxo[k].reg[15] & 8 or not fxo[k].reg[2] & 1:
                gain = offset = 0.0
            for i in range(n):
                if fxo[k].reg[33] & 0x80:
                    sample = h.heard[k][i]
                elif fxo[k].reg[10] & 1:
                    sample = h.sent[k][i]
                elif fxo[k].reg[1] & 2:
                    sample = clipped(h.sent[k][i] * gain) if fxo[k].link else 0
                elif open_path:
                    sample = clipped(less_echo(&fxo[k], lines[k * n + i], h.sent[k][i]) * gain + offset)
                else:
                    sample = 0
                put(s, sample, capture, channels, n, i)
        else:
            t = &fxs[k - fxo_count]
            gain = fxs_step_gain(t.reg[9] >> 2 & 3, t.ind[27]) if not t.reg[9] & 0x20 else 0.0
            open_path = fxs_talks(t)
            for i in range(n):
                if t.reg[8] & 2:
                    sample = h.heard[k][i]
                elif t.reg[8] & 5:
                    sample = clipped(h.sent[k][i] * gain)
                elif open_path:
                    sample = clipped(lines[k * n + i] * gain)
                else:
                    sample = 0
                put(s, sample, capture, channels, n, i)
