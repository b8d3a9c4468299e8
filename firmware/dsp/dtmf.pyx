# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""DTMF: a detector by joint least squares and frequency tracking, and muting of what it hears.

Theory of operation. ITU-T Q.23 (frequencies), Q.24 (receiver limits), Bellcore talk-off practice.
Input (halved to 8 kHz when it comes at 16) passes a high-pass that stops dial tone and hum (36 dB below 440 Hz, flat from
655 Hz) and is cut into frames of 5 ms. Each is correlated with the eight frequencies; two frames joined coherently pick the low
and the high tone, and least squares explain the frame as these two sinusoids. A frame is *good* when they hold 0.75 of it.
Good frames of one pair in a row are a *run*: 36 ms of tone always make one of six, 23 ms never do.

A run is judged as a whole, from its sixth to its twelfth frame (a run that is no digit by then never becomes one):

* The turn of each tone's phase from frame to frame gives its frequency within 1 Hz. At most 2.05 % off (a little more in noise).
* Least squares at those exact frequencies leave a residual: at most 0.14 of the power (white noise at 9 dB leaves 0.11), and
  not more than 2 % plus the sound there was before the tone. What noise leaves is white; harmonics of a voice or a third note of
  a chord are not, as the correlation with itself one to three samples later shows.
* Twist, low minus high group: -9.8 to +11 dB (Q.24 asks -4 to +8; an echo of 5 ms at -6 dB alone makes -9.6).
* The amplitude of each tone is steady within 8 %: plucked strings and voices are not.
* Their frequencies stand: neither moves by more than 0.3 % and what noise feigns. Whistles glide, bows and flutes waver. Neither has
  overtones, for a key's distortion is 20 dB down.
* Both tones begin at once and quickly: two or three frames before the run there was less than 5 % of each, and its second frame has
  35 %. This refuses most of music, where a harmonic of the last note goes on below the new one, and nearly all vowels.
* Nothing begins with them below 400 Hz: voices and chords bring a fundamental, drums a thump; dial tone and hum were there before.
The last three are not asked of a digit that follows another without a pause, nor, from 70 ms on, of two tones within 0.5 % of their
frequencies that hold still within 1.5 % over 50 ms and did not swell before: a key pressed while somebody speaks, or where a voice
breaks off. In noise (no more than what was there before) the limits of onset and steadiness widen by its share.

A digit is reported when its run is approved, and again when it ends: after 25 ms without it or when another pair has taken over for
two frames, so breaks of 10 ms are bridged and pauses of 40 ms separate digits. A run of three good frames whose onset,
low sound and frequencies look like one is `tentative`.

Invariants: no allocation, no pointers in the structs, buffer sizes do not matter; decisions hang on sums in fixed order, not on libm.
"""

from typing import NamedTuple

from libc.math cimport log10, sqrt
from libc.string cimport memcpy, memset

from firmware.dsp.dtmf_send import DtmfGenerator, DtmfPlan

cdef extern from "dtmf_frame.h" nogil:
    ctypedef struct DtmfTables:
        float wave[16][20]
        float turn[16]
        float low_leak[8]
    ctypedef struct DtmfPair:
        float purity
        float tone[2]
        float re[2]
        float im[2]
    ctypedef struct DtmfFit:
        double energy
        double residual
        double power[2]
        double slope[2]
        double bend[2]
        double overtone[3]
        double colour[3]
    short kernel_round(float x)
    float kernel_dot(const float* a, const float* b, int n)
    float kernel_energy(const float* a, int n)
    void dtmf_cos_sin(double x, double* c, double* s)
    double dtmf_angle(double im, double re)
    void dtmf_halve(float* line, float* out)
    void dtmf_high_pass(const float* src, float* out, float* state)
    double dtmf_high_pass_gain(double w)
    float dtmf_low_energy(const float* x)
    void dtmf_correlate(const float* x, const float (*wave)[20], float* z)
    double dtmf_radians(int tone)
    void dtmf_fill_tables(DtmfTables* t)
    void dtmf_fit_pair(const DtmfTables* t, const float* z, float power, int pair, DtmfPair* fit)
    int dtmf_pick(const DtmfTables* t, const float* before, const float* now)
    void dtmf_fit_two(const float* x, int n, const double* w, DtmfFit* fit)
    bint dtmf_is_bent(const DtmfFit* fit, int n, const double* w, double sigmas)
    bint dtmf_has_overtone(const DtmfFit* fit, int n)

cdef enum:
    FRAME = 40
    HALF = 20
    HISTORY = 24
    LAST = DTMF_FRAMES - 1
    TENTATIVE_FRAMES = 3
    CONFIRM_FRAMES = 6
    JUDGED_FRAMES = 10
    LAST_CHANCE = 12
    END_FRAMES = 5
    LATE_FIRST = 14
    LATE_LAST = 22

cdef double POWER_0DBM0 = 22750.0 * 22750.0 / 2.0
cdef float FLOOR = <float>(22750.0 * 22750.0 / 2.0 * 2.0e-5)    # -47 dBm0, both tones
cdef double LOUD = 22750.0 * 22750.0 / 2.0 * 0.3        # -5 dBm0, both tones: codecs clip
cdef float PURITY = 0.86
cdef float FRAME_LESS = 0.11                            # a frame may be that much less pure than the whole
cdef float FRAME_TWIST = 60.0                           # 18 dB: a frame may be worse than the whole
cdef double NORMAL_TWIST = 12.6                         # +11 dB as a power ratio
cdef double REVERSE_TWIST = 0.105                       # -9.8 dB
cdef double LATE_OFF = 0.005                            # of the frequency
cdef double LATE_RESIDUAL = 0.08                        # of the power: babble 12 dB below leaves 0.06
cdef double LATE_SLOPE = 0.015
cdef double LATE_EARLY = 0.7
cdef double LATE_TWIST = 4.0                            # 6 dB as a power ratio
cdef double EARLY = 0.35                                # of its power has a tone in its second frame: an echo that adds leaves 0.44
cdef double THUMP = 0.16                                # of the power: the edge of a tone with an echo makes 0.11
cdef float FULL = 0.7                                   # a first frame weaker than this was not filled by the tone

cdef const char* KEYS = "123A456B789C*0#D"
cdef DtmfTables tables

dtmf_fill_tables(&tables)


cdef bint _is_good(const DtmfDet* det, const DtmfPair* fit) noexcept nogil:
    return fit.purity >= det.purity - FRAME_LESS and fit.tone[0] < FRAME_TWIST * fit.tone[1] and fit.tone[1] < FRAME_TWIST * fit.tone[0]


cdef int dtmf_det_init(DtmfDet* det, int rate) noexcept nogil:
    cdef int f
    memset(det, 0, sizeof(DtmfDet))
    if rate != 8000 and rate != 16000:
        return -1
    det.decimate = rate // 8000
    det.pair = -1
    det.purity = PURITY
    for f in range(8):
        det.gain[f] = <float>dtmf_high_pass_gain(dtmf_radians(f))
    return 0


cdef void _clear_run(DtmfDet* det) noexcept nogil:
    det.pair = -1
    det.run = 0
    det.follows = 0
    det.known = 0
    det.joined = 0
    det.lead = 0
    det.bad = 0
    det.tentative = 0
    det.rival_frames = 0
    det.doubts = 0
    det.digit = 0


cdef void _add(DtmfDet* det, DtmfFrame* frame, const DtmfPair* fit) noexcept nogil:
    """One more good frame of the run."""
    cdef int i
    for i in range(2):
        frame.tone[i] = fit.tone[i]
        frame.re[i] = fit.re[i]
        frame.im[i] = fit.im[i]
    if det.run == 0:
        det.early[0] = det.early[1] = 0.0
    elif det.run < 5:
        for i in range(2):
            det.early[i] += fit.tone[i]
    det.run += 1
    det.bad = 0
    if det.digit:
        det.good += 1
        for i in range(2):
            det.power[i] += fit.tone[i]


cdef float _share(float part, float whole) noexcept nogil:
    return <float>1.0 if part >= whole else part / whole


cdef void _begin_run(DtmfDet* det, int pair, unsigned int at, const DtmfPair* fit) noexcept nogil:
    """A run starts with the frame `at`. If it goes on after a break of 10 ms or a click, what was known of its beginning stays."""
    cdef DtmfFrame* frame = &det.frame[at & LAST]
    cdef bint known = det.known and det.pair == pair
    cdef int joined = 0, lead = 0
    cdef float edge = _share(det.frame[(at - 1) & LAST].power, frame.power)
    if known:
        joined = det.joined + (det.run if det.tentative and det.run >= TENTATIVE_FRAMES else 0)
        lead = det.lead + det.run + det.bad
        edge = det.edge_before
    _clear_run(det)
    det.known = known
    det.joined = joined
    det.lead = lead
    det.tentative = joined > 0
    det.pair = pair
    _add(det, frame, fit)
    det.edge_before = edge


cdef void _look_back(DtmfDet* det) noexcept nogil:
    """What there was before the run, apart from the frame that its onset may share: its tones, sound of any kind, low sound."""
    cdef unsigned int first = det.at - det.run + 1
    cdef int i, k
    cdef DtmfFrame* frame
    cdef DtmfPair fit
    det.known = 1
    det.background = det.low_before = det.colour = 0.0
    for k in range(2, 10):
        frame = &det.frame[(first - k) & LAST]
        if frame.low > det.low_before:
            det.low_before = frame.low
        if k < 6:
            det.background += <float>0.25 * frame.power
            det.colour += <float>0.25 * kernel_dot(frame.x, frame.x + 1, FRAME - 4) / (FRAME - 4)
        if k < 4:
            dtmf_fit_pair(&tables, frame.z, frame.power, det.pair, &fit)  # zero if the frame was below the floor
            for i in range(2):
                if k == 2 or fit.tone[i] < det.onset[i]:
                    det.onset[i] = fit.tone[i]


cdef void _track(const DtmfDet* det, unsigned int first, int n, double* w) noexcept nogil:
    """Frequencies of both tones, radians per sample, from how far they turn over n frames."""
    cdef int i, k, f
    cdef double re, im
    cdef const DtmfFrame* a
    cdef const DtmfFrame* b
    for i in range(2):
        f = 4 + (det.pair & 3) if i else det.pair >> 2
        re = im = 0.0
        for k in range(1, n):
            a = &det.frame[(first + k - 1) & LAST]
            b = &det.frame[(first + k) & LAST]
            re += b.re[i] * a.re[i] + b.im[i] * a.im[i]
            im += b.re[i] * a.im[i] - b.im[i] * a.re[i]
        w[i] = dtmf_radians(f) + dtmf_angle(im * tables.turn[f] - re * tables.turn[8 + f], re * tables.turn[f] + im * tables.turn[8 + f]) / FRAME


cdef bint _is_promising(DtmfDet* det) noexcept nogil:
    """Could the run become a digit? Cheaper than `_judge`: without a fit."""
    cdef int i, k, n = det.run if det.run < CONFIRM_FRAMES else CONFIRM_FRAMES
    cdef unsigned int first = det.at - n + 1
    cdef float low = 0.0, power = 0.0
    cdef float tone[2]
    cdef double w[2]
    cdef DtmfFrame* frame
    tone[0] = tone[1] = 0.0
    for k in range(n):
        frame = &det.frame[(first + k) & LAST]
        low += frame.low / n
        power += frame.power / n
        for i in range(2):
            tone[i] += frame.tone[i] / n
    if not det.follows:
        for i in range(2):
            if det.onset[i] > 0.2 * tone[i]:
                return False
        if low > 0.15 * power + 1.1 * det.low_before:
            return False
    _track(det, first, n, w)
    for i in range(2):
        k = 4 + (det.pair & 3) if i else det.pair >> 2
        if w[i] > 1.026 * dtmf_radians(k) or w[i] < 0.974 * dtmf_radians(k):
            return False
    return True


cdef bint _begins_well(const DtmfDet* det, const DtmfFit* fit) noexcept nogil:
    """The tones were there by the second frame of the run, and nothing low began with them."""
    cdef unsigned int i, k, first = det.at - det.run + 1
    for i in range(2 if det.run >= TENTATIVE_FRAMES else 0):
        if det.frame[(first + 1) & LAST].tone[i] < EARLY * fit.power[i]:
            return False
    for k in range(3 if det.run >= TENTATIVE_FRAMES else 0):
        if det.frame[(first + k) & LAST].low > THUMP * (fit.power[0] + fit.power[1]) + 1.3 * det.low_before:
            return False
    return True


cdef bint _judge(const DtmfDet* det, bint final) noexcept nogil:
    """Is the run a digit (`final`), or could it become one?"""
    cdef int n = det.run if det.run < CONFIRM_FRAMES else CONFIRM_FRAMES
    cdef int i, k
    cdef unsigned int first
    cdef float x[400]
    cdef double w[2]
    cdef double low = 0.0, power, residual, known, share, off, loudest
    cdef DtmfFit fit
    if det.run >= CONFIRM_FRAMES + 2:
        n = det.run - 2                                 # without the frames that an echo of the onset disturbs
    if n > JUDGED_FRAMES:
        n = JUDGED_FRAMES
    first = det.at - n + 1
    _track(det, first, n, w)
    for i in range(2):
        k = 4 + (det.pair & 3) if i else det.pair >> 2
        off = w[i] / dtmf_radians(k) - 1.0
        if off > 0.03 or off < -0.03:
            return False
    for k in range(n):
        memcpy(x + FRAME * k, det.frame[(first + k) & LAST].x, FRAME * sizeof(float))
        low += det.frame[(first + k) & LAST].low / n
    dtmf_fit_two(x + HALF, n * FRAME - HALF, w, &fit)   # the first half frame may still ring
    power = fit.energy / (n * FRAME - HALF)
    residual = fit.residual / fit.energy
    # What noise there was before may be in the tone too; of a voice or an instrument that should not be much.
    known = (1.45 if det.colour < 0.25 * det.background else 0.35) * det.background / power
    if det.background > 2.5 * fit.residual / fit.energy * power:
        known = 0.0                                     # noise does not stop when a key is pressed: that was something else
    loudest = fit.power[0] / det.gain[det.pair >> 2] + fit.power[1] / det.gain[4 + (det.pair & 3)]
    if residual > 1.0 - det.purity or residual > 0.05 and fit.colour[0] > (0.25 if final else 0.4) or final and fit.colour[0] > 0.5:
        return False
    # Not noise, but a third tone; noise in the band of a trunk has -0.4 and 0.
    if (final or residual > 0.03) and (fit.colour[1] < -0.58 or fit.colour[2] > 0.3):
        return False
    if fit.power[0] > NORMAL_TWIST * fit.power[1] or fit.power[0] < REVERSE_TWIST * fit.power[1]:
        return False
    for i in range(2):
        k = 4 + (det.pair & 3) if i else det.pair >> 2
        off = w[i] / dtmf_radians(k) - 1.0
        if off < 0.0:
            off = -off
        if off > (0.0205 + 0.008 * residual if final else 0.022 + 0.027 * residual):
            return False
        low -= tables.low_leak[k] * fit.power[i] / det.gain[k]
    if not det.follows:
        if residual > (0.02 if not final else 0.012 if det.run < CONFIRM_FRAMES + 2 else 0.03) + (0.02 if loudest > LOUD else 0.0) + known:
            return False
        if low > 0.06 * power + 1.1 * det.low_before or low > 25.0 * power:
            return False
        for i in range(2):
            if det.onset[i] > 0.05 * fit.power[i] + 0.2 * (residual if residual < known else known) * power:
                return False
    if final:
        if dtmf_is_bent(&fit, n * FRAME - HALF, w, 4.5) or dtmf_has_overtone(&fit, n * FRAME - HALF):
            return False
        if not det.follows and not _begins_well(det, &fit):
            return False
        share = (residual if det.follows or residual < known else known) * power * (1.0 / fit.power[0] + 1.0 / fit.power[1])
        off = 0.5 * (fit.slope[0] + fit.slope[1])       # noise moves the two apart as often as alike
        if off > 0.04 + 0.35 * sqrt(share) or off < -0.04 - 0.35 * sqrt(share):
            return False
    for i in range(2):
        share = (residual if det.follows or residual < known else known) * power / fit.power[i]
        off = fit.slope[i] if fit.slope[i] >= 0.0 else -fit.slope[i]
        if off > (0.06 + 0.7 * sqrt(share) if final else 0.4 + 0.9 * sqrt(share)):
            return False
    return True


cdef bint _is_long_and_pure(DtmfDet* det) noexcept nogil:
    """A run of 70 ms that nobody could hold but a key, whatever there was before it and sounds with it."""
    cdef int i, k, f
    cdef float x[400]
    cdef double w[2]
    cdef double off
    cdef unsigned int first = det.at - JUDGED_FRAMES + 1
    cdef DtmfFit fit
    _track(det, first, JUDGED_FRAMES, w)
    for i in range(2):
        f = 4 + (det.pair & 3) if i else det.pair >> 2
        off = w[i] / dtmf_radians(f) - 1.0
        if off > LATE_OFF or off < -LATE_OFF:
            return False
    for k in range(JUDGED_FRAMES):
        memcpy(x + FRAME * k, det.frame[(first + k) & LAST].x, FRAME * sizeof(float))
    dtmf_fit_two(x, JUDGED_FRAMES * FRAME, w, &fit)
    if dtmf_is_bent(&fit, JUDGED_FRAMES * FRAME, w, 3.0) or dtmf_has_overtone(&fit, JUDGED_FRAMES * FRAME):
        return False
    for i in range(2):                                  # it did not swell: 20 ms from its second frame on were as strong as it is now
        if det.early[i] < 4.0 * LATE_EARLY * fit.power[i]:
            return False
    if fit.residual > LATE_RESIDUAL * fit.energy or fit.power[0] > LATE_TWIST * fit.power[1] or fit.power[1] > LATE_TWIST * fit.power[0]:
        return False
    for i in range(2):
        if det.known and det.onset[i] > 0.6 * fit.power[i]:
            return False                                # it was there before: a melody
        if fit.slope[i] > LATE_SLOPE or fit.slope[i] < -LATE_SLOPE:
            return False
    return True


cdef void _hit(DtmfDet* det, int kind, int offset, int since, DtmfHit* hit) noexcept nogil:
    """`since`: frames since the last good one."""
    cdef double low = det.power[0] / det.good / det.gain[det.pair >> 2], high = det.power[1] / det.good / det.gain[4 + (det.pair & 3)]
    cdef double edges = det.edge_before + (det.edge_after if kind == DTMF_END else 0.0)
    hit.digit = <char>det.digit
    hit.duration_ms = <int>(5.0 * (det.length + edges) + 0.5)
    hit.level_dbm0 = <float>(10.0 * log10((low + high) / POWER_0DBM0))
    hit.twist_db = <float>(10.0 * log10(low / high))
    hit.kind = kind
    hit.offset = offset
    hit.onset_ms = <int>(5.0 * (det.length + since + det.edge_before) + 0.5)


cdef void _declare(DtmfDet* det) noexcept nogil:
    """The run is a digit."""
    cdef int i, k, n = det.run if det.run < JUDGED_FRAMES else JUDGED_FRAMES
    det.digit = KEYS[det.pair]
    det.length = det.lead + det.run
    det.good = n
    det.power[0] = det.power[1] = 0.0
    for k in range(n):
        for i in range(2):
            det.power[i] += det.frame[(det.at - k) & LAST].tone[i]


cdef int _go_on(DtmfDet* det, DtmfFrame* now, const DtmfFrame* before, const DtmfPair* fit) noexcept nogil:
    """A good frame of the pair there is already; returns whether it is one of the run."""
    cdef float both = fit.tone[0] + fit.tone[1], last = before.tone[0] + before.tone[1]
    det.rival_frames = 0
    if det.digit:
        if both < 0.1 * (det.power[0] + det.power[1]) / det.good:
            return 0                                    # the tail of the tone in a frame that it does not fill
        det.length += det.bad + 1
        _add(det, now, fit)
    elif det.bad > 0 or det.run == 1 and last < FULL * both:
        _begin_run(det, det.pair, det.at, fit)          # what came before was the tone's first few samples, or something else
    elif both < <float>0.3 * last:
        return 0
    else:
        _add(det, now, fit)
    return 1


cdef int _take_over(DtmfDet* det, int pair, const DtmfPair* fit, int offset, DtmfHit* hit, int room) noexcept nogil:
    """A good frame of another pair begins a run and ends what there was; returns hits written."""
    cdef DtmfFrame* before = &det.frame[(det.at - 1) & LAST]
    cdef DtmfPair earlier
    cdef int hits = 0
    cdef bint follows = det.digit != 0 and det.bad < 3
    if det.digit and room > 0:
        det.edge_after = 0.0
        _hit(det, DTMF_END, offset, det.bad + 1, hit)
        hits = 1
    _begin_run(det, pair, det.at, fit)
    if before.power > FLOOR:                            # the first frame of a tone cannot pick its pair alone: look again
        dtmf_fit_pair(&tables, before.z, before.power, pair, &earlier)
        if _is_good(det, &earlier) and earlier.tone[0] + earlier.tone[1] > FULL * (fit.tone[0] + fit.tone[1]):
            _begin_run(det, pair, det.at - 1, &earlier)
            _add(det, &det.frame[det.at & LAST], fit)
    det.follows = follows
    return hits


cdef int _frame(DtmfDet* det, DtmfHit* out, int room, int offset) noexcept nogil:
    """Judges the frame just complete; returns hits written."""
    cdef DtmfFrame* now = &det.frame[det.at & LAST]
    cdef DtmfFrame* before = &det.frame[(det.at - 1) & LAST]
    cdef DtmfPair fit, other
    cdef int hits = 0, pair
    cdef bint good = False
    if now.power > FLOOR:
        pair = dtmf_pick(&tables, before.z, now.z)
        dtmf_fit_pair(&tables, now.z, now.power, pair, &fit)
        if det.pair >= 0 and pair != det.pair:
            dtmf_fit_pair(&tables, now.z, now.power, det.pair, &other)
            if other.purity >= fit.purity:              # a pick between neighbours can err, the better fit does not
                pair = det.pair
                fit = other
        good = _is_good(det, &fit)
        if good and pair == det.pair:
            good = _go_on(det, now, before, &fit)
        elif good:
            det.rival_frames = det.rival_frames + 1 if det.rival == pair else 1
            det.rival = pair
            if det.digit and det.rival_frames < 2:
                good = False
            else:
                hits = _take_over(det, pair, &fit, offset, out, room)
    if det.pair < 0:
        return hits
    if not good:
        det.bad += 1
        if det.bad == 1:
            det.edge_after = _share(now.power, before.tone[0] + before.tone[1])
        if det.bad == (END_FRAMES if det.digit else 4 if det.tentative else 2):
            if det.digit and hits < room:
                _hit(det, DTMF_END, offset, det.bad, out + hits)
                hits += 1
            _clear_run(det)
    elif not det.digit and det.run >= TENTATIVE_FRAMES:
        if not det.known:
            _look_back(det)
        if det.run > LAST_CHANCE:
            det.tentative = 0
            if LATE_FIRST <= det.run <= LATE_LAST and _is_long_and_pure(det):
                det.tentative = 1
                _declare(det)
                if hits < room:
                    _hit(det, DTMF_START, offset, 0, out + hits)
                    hits += 1
        elif det.joined + det.run >= CONFIRM_FRAMES and _judge(det, True):
            det.tentative = 1
            _declare(det)
            if hits < room:
                _hit(det, DTMF_START, offset, 0, out + hits)
                hits += 1
        elif det.tentative and det.run < CONFIRM_FRAMES or _is_promising(det):
            det.tentative = 1
            det.doubts = 0
        else:
            det.doubts += 1                             # the last frame of a tone, half filled, is no reason to give up yet
            if det.doubts > 1:
                det.tentative = 0
    return hits


cdef int dtmf_det_feed(DtmfDet* det, const short* samples, int n, DtmfHit* out, int max_hits) noexcept nogil:
    cdef int i, take, at = 0, hits = 0, whole = FRAME * det.decimate
    cdef float raw[40]
    cdef float* target = det.input + HISTORY
    cdef DtmfFrame* frame
    while at < n:
        take = whole - det.filled
        if take > n - at:
            take = n - at
        for i in range(take):
            target[det.filled + i] = samples[at + i]
        det.filled += take
        at += take
        if det.filled < whole:
            break
        det.filled = 0
        det.at += 1
        frame = &det.frame[det.at & LAST]
        if det.decimate == 2:
            dtmf_halve(det.input, raw)
        else:
            memcpy(raw, target, FRAME * sizeof(float))
        dtmf_high_pass(raw, frame.x, det.hp)
        frame.power = kernel_energy(frame.x, FRAME) / FRAME
        frame.low = dtmf_low_energy(raw) / FRAME
        if frame.power > FLOOR:
            dtmf_correlate(frame.x, tables.wave, frame.z)
        else:
            memset(frame.z, 0, sizeof(frame.z))
        hits += _frame(det, out + hits, max_hits - hits, at)
    det.age = <int>((det.lead + det.run + det.bad + det.edge_before) * whole) + det.filled if det.tentative else 0
    return hits


cdef bint dtmf_det_plausible(const DtmfDet* det) noexcept nogil:
    return det.bad == 0 and det.run >= TENTATIVE_FRAMES and _judge(det, False)


class DtmfEvent(NamedTuple):
    """One key press, reported when 30 to 40 ms of its tone have passed.

    `start_ms` counts from the first sample fed; `duration_ms` is the length of the tone when it was reported, `level_dbm0` the
    level of both tones together, `twist_db` low group minus high group.
    """

    digit: str
    start_ms: int
    duration_ms: int
    level_dbm0: float
    twist_db: float


cdef class DtmfDetector:
    """Hears DTMF digits in 16-bit little-endian samples at 8000 or 16000 Hz.

    `purity` is the share of all power that the two tones must hold: for measurements, the product keeps the default.
    """

    cdef DtmfDet det
    cdef long long fed
    cdef int rate

    def __init__(self, sample_rate=8000, *, purity=PURITY):
        if dtmf_det_init(&self.det, sample_rate) < 0:
            raise ValueError(f"sample rate {sample_rate} is not supported: use 8000 or 16000")
        self.det.purity = purity
        self.rate = sample_rate

    def _feed(self, samples, bint ends):
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), at = 0, block, count, i
        cdef DtmfHit hits[16]
        cdef long long now
        if raw.shape[0] & 1:
            raise ValueError(f"samples are 16-bit, but {raw.shape[0]} bytes were given: pass an even number of bytes")
        cdef bytes aligned = bytes(raw)
        cdef const short* data = <const short*><const char*>aligned
        found = []
        while at < n:
            block = min(n - at, 320)
            with nogil:
                count = dtmf_det_feed(&self.det, data + at, block, hits, 16)
            for i in range(count):
                if hits[i].kind == DTMF_START or ends:
                    now = (self.fed + hits[i].offset) * 1000 // self.rate
                    event = DtmfEvent(chr(hits[i].digit), max(0, now - hits[i].onset_ms), hits[i].duration_ms,
                                      hits[i].level_dbm0, hits[i].twist_db)
                    found.append((hits[i].kind == DTMF_END, event) if ends else event)
            self.fed += block
            at += block
        return found

    def feed(self, samples) -> list:
        """Take samples of any number; returns a `DtmfEvent` for each digit confirmed in them. Raises ValueError for odd bytes."""
        return self._feed(samples, False)

    def feed_edges(self, samples) -> list:
        """Like `feed`, but returns (ended, event) for the start and again for the end of each digit, then with its whole length."""
        return self._feed(samples, True)

    @property
    def tentative(self) -> bool:
        """True while a possible digit is present: from 15 to 20 ms after its start, and while it is reported."""
        return self.det.tentative != 0
