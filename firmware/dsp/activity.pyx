# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Activity: talk and silence of both directions of a port, with level and overlap (L2).

Theory of operation. Powers of frames of 10 ms come in; `near` is what the port says after echo cancellation, `far` what it is sent.
* Background: the least smoothed power (time constant 20 ms) of the last 1.5 to 2 s, times 1.5 for the bias of a minimum; at most -36 dBm0, so
  that a voice without pauses does not become its own background, and -60 dBm0 before anything is known.
* A frame is *loud* 8 dB above the background and above -45 dBm0 and, for the near direction, 6 dB above the echo that may be left in it
  (`echo`, told by who knows the canceller; 0 = none).
* A talk begins with the first of 6 loud frames that lie within 100 ms, and ends after the last loud frame that 200 ms of nothing follow:
  shorter pauses belong to the talk (ITU-T P.59 takes 200 ms). Both instants are told as they were, not as they were noticed.
* Level: mean power of the loud frames of a talk, which is near the active speech level of ITU-T P.56.
* Overlap: how many ms of a talk lie within talks of the other direction.
Invariants: talks of a direction neither touch nor overlap; a talk lasts 60 ms at least; same frames, same talks.
"""
from typing import NamedTuple

from libc.string cimport memset

from firmware.dsp.meter cimport power_dbm0

cdef extern from * nogil:
    """
    #include "kernels.h"
    static float power_of(const short *x, int n) {
        vec4 s = {0, 0, 0, 0};
        for (int i = 0; i < n; i += 4) {
            vec4 v = {x[i], x[i + 1], x[i + 2], x[i + 3]};
            s += v * v;
        }
        return vec_sum(s) / (float)n;
    }
    """
    float power_of(const short* x, int n)

cdef float LEAST = <float>8183.0              # -45 dBm0
cdef float MOST_FLOOR = <float>65000.0        # -36 dBm0
cdef float FIRST_FLOOR = <float>258.8         # -60 dBm0
cdef float STAND_OUT = <float>6.31            # 8 dB
cdef float OVER_ECHO = <float>4.0             # 6 dB
cdef enum:
    SUB = 50                    # frames of a half second
    ONSET = 10
    ONSET_LOUD = 6
    PAUSE = 20


cdef float frame_power(const short* samples, int n) noexcept nogil:
    return power_of(samples, n)


cdef void talk_init(Talk* t) noexcept nogil:
    memset(t, 0, sizeof(Talk))
    t.floor = FIRST_FLOOR
    t.low = <float>-1.0
    t.smooth = <float>-1.0


cdef void _background(Talk* t, float power) noexcept nogil:
    cdef int i
    cdef float least
    if power < <float>1.0:      # digital silence is no background: packets that have not come, a line that is not open
        power = 1.0
    if t.smooth < 0.0:
        t.smooth = power
    t.smooth += <float>0.4 * (power - t.smooth)
    if t.low < 0.0 or t.smooth < t.low:
        t.low = t.smooth
    t.age += 1
    if t.age >= SUB:
        for i in range(TALK_SUBS - 1, 0, -1):
            t.lows[i] = t.lows[i - 1]
        t.lows[0] = t.low
        if t.known < TALK_SUBS:
            t.known += 1
        t.low = t.smooth
        t.age = 0
    least = t.low
    if t.known:
        for i in range(t.known):
            if t.lows[i] < least:
                least = t.lows[i]
        t.floor = <float>1.5 * least
    elif <float>1.5 * least < t.floor:
        t.floor = <float>1.5 * least
    if t.floor > MOST_FLOOR:
        t.floor = MOST_FLOOR


cdef int talk_frame(Talk* t, float power, float echo) noexcept nogil:
    cdef int k
    cdef int news = 0
    _background(t, power)
    t.loud = power > LEAST and power > STAND_OUT * t.floor and power > OVER_ECHO * echo
    if t.talking:
        if t.loud:
            t.last = t.frame + 1
            t.energy += power
            t.louds += 1
        elif t.frame + 1 - t.last >= PAUSE:
            t.talking = 0
            t.run = 0
            k = t.ended % TALK_KEPT
            t.from_frame[k] = t.start
            t.to_frame[k] = t.last
            t.ended += 1
            news = TALK_ENDED
    elif t.loud:
        if t.run and t.frame - t.onset >= ONSET:
            t.run = 0
        if not t.run:
            t.onset = t.frame
            t.energy = 0.0
        t.run += 1
        t.energy += power
        if t.run >= ONSET_LOUD:
            t.talking = 1
            t.start = t.onset
            t.last = t.frame + 1
            t.louds = t.run
            news = TALK_BEGAN
    t.frame += 1
    return news


cdef long long _shared(const Talk* other, long long start, long long end) noexcept nogil:
    """Frames of [start, end) within talks of the other direction."""
    cdef int i
    cdef long long a, b, sum = 0
    for i in range(TALK_KEPT + 1):
        if i < TALK_KEPT:
            if i >= other.ended:
                continue
            a, b = other.from_frame[i], other.to_frame[i]
        else:
            if not other.talking:
                continue
            a, b = other.start, other.last
        a = a if a > start else start
        b = b if b < end else end
        if b > a:
            sum += b - a
    return sum


cdef void _tell(const Talk* t, const Talk* other, int kind, int direction, TalkNews* news) noexcept nogil:
    news.kind = kind
    news.direction = direction
    news.start_ms = t.start * 10
    news.end_ms = t.last * 10
    news.level_dbm0 = power_dbm0(<float>(t.energy / t.louds))
    news.overlap_ms = <int>(_shared(other, t.start, t.last) * 10) if kind == TALK_ENDED else 0


cdef void activity_init(Activity* a) noexcept nogil:
    talk_init(&a.near)
    talk_init(&a.far)
    a.report_far = 0


cdef int activity_frame(Activity* a, float near, float far, float echo, TalkNews* news) noexcept nogil:
    cdef int n = 0
    cdef int far_news = talk_frame(&a.far, far, 0.0)
    cdef int near_news = talk_frame(&a.near, near, echo)
    if near_news:
        _tell(&a.near, &a.far, near_news, 0, &news[n])
        n += 1
    if far_news and a.report_far:
        _tell(&a.far, &a.near, far_news, 1, &news[n])
        n += 1
    return n


class TalkSegment(NamedTuple):
    """A talk that ended. `direction`: "near" or "far"; ms since the first sample; level of its loud frames."""

    direction: str
    start_ms: int
    end_ms: int
    level_dbm0: float
    overlap_ms: int


cdef class ActivityMeter:
    """Finds the talks of both directions in 16-bit little-endian samples at 8000 or 16000 Hz; raises ValueError for another rate."""

    cdef Activity state
    cdef int size
    cdef bytearray near
    cdef bytearray far

    def __init__(self, sample_rate=8000):
        if sample_rate not in (8000, 16000):
            raise ValueError(f"no activity meter for {sample_rate} Hz: use 8000 or 16000 Hz")
        activity_init(&self.state)
        self.state.report_far = 1
        self.size = sample_rate // 100
        self.near = bytearray()
        self.far = bytearray()

    def feed(self, near, far) -> list:
        """Hear both directions, equally long; returns the talks that ended. Raises ValueError for unequal lengths."""
        cdef TalkNews news[2]
        cdef const short* x
        cdef const short* y
        cdef char* p
        cdef char* q
        cdef int i, k, n, at = 0
        cdef list found = []
        self.near += bytes(near)
        self.far += bytes(far)
        if len(self.near) != len(self.far) or len(self.near) % 2:
            del self.near[:], self.far[:]
            raise ValueError("both directions must have the same whole number of 16-bit samples; what was kept is dropped")
        p = self.near
        q = self.far
        x = <const short*>p
        y = <const short*>q
        n = <int>(len(self.near) // 2)
        while at + self.size <= n:
            k = activity_frame(&self.state, power_of(x + at, self.size), power_of(y + at, self.size), 0.0, news)
            for i in range(k):
                if news[i].kind == TALK_ENDED:
                    found.append(TalkSegment("far" if news[i].direction else "near", news[i].start_ms, news[i].end_ms,
                                             news[i].level_dbm0, news[i].overlap_ms))
            at += self.size
        del self.near[:2 * at], self.far[:2 * at]
        return found

    @property
    def talking(self):
        """Whether near and far talk now."""
        return bool(self.state.near.talking), bool(self.state.far.talking)
