# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Cadence detector of call-progress tones, vetoed by anything that is not the tone.

Theory of operation. Tones and cadences after ITU-T E.180 and its national supplements; 0 dBm0 is a sine of peak 22 750. A `ToneShape`
names up to four frequencies and, for each phase of the cadence, which of them sound (a mask, 0 = pause) and how loud.

Detector, at 8 kHz (16 kHz input is halved first). Front end, once for all tones of a signal: high-pass at 200 Hz, and every 10 ms the
last 20 ms folded about their centre. For each tone the window is projected on an orthonormal basis that spans each wanted frequency
+-25 Hz (time-bandwidth product 1, hence two complex functions for a band of one frequency). Projection energy over
total energy is the *purity*: near 1 for the tone at any phase and any offset in the band, a few percent for noise, and
below the limit for speech, music and keypad tones. The basis is split into parts even and odd about the window centre, which
halves the multiplications. A frame is tone (pure, above -41.5 dBm0, and the frequency groups present are those of some phase), quiet
(10 dB below the burst, or below -46 dBm0), or other; more than three *other* frames in a row throw the pattern away, so nothing is
decided while somebody talks. Burst edges come from energy: duration = sum of frame powers / steady power, placed around the centroid;
this is exact to about 2 ms although frames are 10 ms. Where one frequency follows another, the edge lies between the last
frame of the one and the first of the other.

Cadence: phases must be within +-15 % of nominal and within 10 % of the same phase of the first cycle, levels within 4 dB of those of
the first burst (7 dB where the frequency differs) and frequencies within 1 %; special information tones may be 50 Hz and 21 % off
(E.180). A burst that decays like a struck note is none. The pause that ends a cycle counts when 85 % of it has passed (of its own length,
once that is known: a fast exchange is not waited for). TONE_HEARD is raised once, at the wanted cycle; TONE_STOPPED when the pattern
breaks. Confidence grows with the bursts and falls with impurity and with departures from nominal lengths and equal levels.
Invariants: no allocation, no pointers in the structs, result independent of buffer sizes.
"""

from libc.math cimport atan2, cos, sin, pow, log10, sqrt, fabs, M_PI
from libc.string cimport memset

cdef extern from "kernels.h" nogil:
    int decimator_push(Decimator* d, float x, float* out)

cdef extern from "tone_kernels.h" nogil:
    float tone_fold(const float* w, float* even, float* odd)
    void tone_dot2(const float* a, const float* b, const float* x, float* out_a, float* out_b)

cdef double POWER_0DBM0 = 22750.0 * 22750.0 / 2.0
cdef float PURE = 0.80
cdef float TONE_FLOOR = 22750.0 * 22750.0 / 2.0 * 7.08e-5          # -41.5 dBm0
cdef float QUIET_FLOOR = 22750.0 * 22750.0 / 2.0 * 2.51e-5         # -46 dBm0
cdef float GROUP_SHARE = 0.13                           # weakest group, 9 dB below the sum; half of 350+440 leaks 0.08 into the other
cdef int DOUBT_LIMIT = 3
cdef double JOIN_MS = 45.0                              # most silence between two sounds that follow each other (E.180: 30 ms)
# Butterworth high-pass, 200 Hz at 8 kHz: keeps DC and hum out of the purity test.
cdef float HP_B0 = 0.8948588
cdef float HP_A1 = -1.7786318
cdef float HP_A2 = 0.8008026


cdef int tone_front_init(ToneFront* front, int rate) noexcept nogil:
    memset(front, 0, sizeof(ToneFront))
    if rate != 8000 and rate != 16000:
        return -1
    front.decimate = rate // 8000
    return 0


cdef int tone_front_feed(ToneFront* front, const short* samples, int n, int* used) noexcept nogil:
    """Take samples up to the end of a frame; `used` says how many. Returns 1 when the frame is complete and folded."""
    cdef int i = 0, k, end
    cdef float x, v, z0 = front.hp[0], z1 = front.hp[1]
    cdef float* out = &front.window[TONE_HALF]
    cdef int filled = front.filled
    while i < n and filled < TONE_HALF:
        if front.decimate == 2:
            x = samples[i]
            i += 1
            if not decimator_push(&front.decim, x, &x):
                continue
            v = x - HP_A1 * z0 - HP_A2 * z1
            out[filled] = HP_B0 * (v - <float>2.0 * z0 + z1)
            z1 = z0
            z0 = v
            filled += 1
            continue
        end = i + TONE_HALF - filled
        end = end if end < n else n
        while i < end:
            v = samples[i] - HP_A1 * z0 - HP_A2 * z1
            out[filled] = HP_B0 * (v - <float>2.0 * z0 + z1)
            z1 = z0
            z0 = v
            filled += 1
            i += 1
    used[0] = i
    front.hp[0] = z0
    front.hp[1] = z1
    front.filled = filled
    if filled < TONE_HALF:
        return 0
    if not (fabs(z0) < 1e9):                            # cannot come from 16-bit samples; a broken memory must not last
        front.hp[0] = front.hp[1] = 0.0
    front.filled = 0
    front.frame += 1
    front.total = tone_fold(front.window, front.even, front.odd)
    for k in range(TONE_HALF):
        front.window[k] = front.window[TONE_HALF + k]
    return 1


cdef int tone_age_ms(const ToneTrack* track, const ToneFront* front) noexcept nogil:
    """How long ago the first matched cycle began, counted back from the last sample fed."""
    return <int>(front.frame * 10.0 + front.filled * 0.125 - track.start_ms)


cdef int tone_basis_add(float (*even)[80], float (*odd)[80], int dims, double freq) noexcept nogil:
    """Adds one frequency (Hz, of 8 kHz) to a basis of `dims`, orthonormal to what is there (Gram-Schmidt, twice for accuracy)."""
    cdef double vector[2][80]
    cdef double w = 2.0 * M_PI * freq / 8000.0
    cdef double norm, dot
    cdef int parity, i, k, round_
    cdef float* other
    if dims >= TONE_DIMS:
        return -1
    for i in range(TONE_HALF):
        vector[0][i] = cos(w * (i + 0.5))
        vector[1][i] = sin(w * (i + 0.5))
    for parity in range(2):
        for round_ in range(2):
            for k in range(dims):
                other = &odd[k][0] if parity else &even[k][0]
                dot = 0.0
                for i in range(TONE_HALF):
                    dot += other[i] * vector[parity][i]
                for i in range(TONE_HALF):
                    vector[parity][i] -= 2.0 * dot * other[i]
        norm = 0.0
        for i in range(TONE_HALF):
            norm += 2.0 * vector[parity][i] * vector[parity][i]
        if norm < 1e-3:
            return -1
        norm = 1.0 / sqrt(norm)
        other = &odd[dims][0] if parity else &even[dims][0]
        for i in range(TONE_HALF):
            other[i] = <float>(vector[parity][i] * norm)
    return 0


cdef int _fold_phases(ToneTrack* t, const ToneShape* shape, const int* group) noexcept nogil:
    """Phases as groups of frequencies; neighbours with the same groups become one phase of slanted level."""
    cdef int i, k, symbol, last = -1, n = 0
    cdef float loudest = -200.0, softest = 200.0, level
    for i in range(shape.nphases):
        if shape.cadence_ms[i] < 10 or shape.mask[i] >> shape.nfreq:
            return -1
        symbol = 0
        for k in range(shape.nfreq):
            if shape.mask[i] >> k & 1:
                symbol |= 1 << group[k]
        if symbol == last:
            t.cadence_ms[n - 1] += shape.cadence_ms[i]
            t.slanted[n - 1] |= shape.level_db[i] != t.level_db[n - 1]
            continue
        t.symbol[n] = symbol
        t.cadence_ms[n] = shape.cadence_ms[i]
        t.level_db[n] = shape.level_db[i]
        last = symbol
        n += 1
    if n == 1 and t.symbol[0] == (1 << t.groups) - 1:
        t.slanted[0] = 0                                # all the time the same: a continuous tone
        n = 0
    for i in range(n):
        if t.cadence_ms[i] < 50 or (n > 1 and t.symbol[i] == t.symbol[i + 1 if i + 1 < n else 0]):
            return -1
        if t.symbol[i]:
            level = t.level_db[i]
            loudest = level if level > loudest else loudest
            softest = level if level < softest else softest
    if n and (n < 2 or t.symbol[0] == 0):
        return -1
    t.nphases = n
    t.trace = <float>(0.1 * pow(10.0, (softest - loudest) / 10.0)) if n else <float>0.1
    t.floor = TONE_FLOOR * <float>10.0 * t.trace        # a tone at the floor has its soft bursts below
    return 0


cdef int tone_track_init(ToneTrack* t, const ToneShape* shape) noexcept nogil:
    cdef int order[4]
    cdef int group[4]
    cdef double low, high
    cdef int i, j, k, count, changes = 0
    memset(t, 0, sizeof(ToneTrack))
    if shape.nfreq < 1 or shape.nfreq > TONE_MAX_FREQS or shape.nphases < 0 or shape.nphases > TONE_MAX_PHASES or shape.cycles < 1:
        return -1
    for i in range(shape.nfreq):
        if not (shape.freqs[i] >= 250.0 and shape.freqs[i] <= 3000.0):
            return -1
        j = i
        while j > 0 and shape.freqs[i] < shape.freqs[order[j - 1]]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
    for i in range(1, shape.nphases):
        changes += shape.mask[i] != 0 and shape.mask[i] != shape.mask[0]
    t.wide = changes >= 2                               # special information tones: +-50 Hz and +-21 % of the length (E.180)
    t.want_cycles = shape.cycles
    for i in range(shape.nfreq):
        t.sought[i] = <float>shape.freqs[order[i]]
    i = 0
    while i < shape.nfreq:                              # neighbours closer than 80 Hz share one band
        j = i
        while j + 1 < shape.nfreq and shape.freqs[order[j + 1]] - shape.freqs[order[j]] < 80.0:
            j += 1
        low = shape.freqs[order[i]] - 15.0
        high = shape.freqs[order[j]] + 15.0
        count = 2 + <int>((high - low - 30.0) / 40.0 + 0.5)
        if t.wide and i == j and shape.nfreq <= TONE_DIMS // 3:
            low -= 23.0
            high += 23.0
            count = 3
        for k in range(count):
            if tone_basis_add(t.even, t.odd, t.dims, low + (high - low) * k / (count - 1)) < 0:
                break
            t.dims += 1
        for k in range(i, j + 1):
            group[order[k]] = t.groups
        t.centre_hz[t.groups] = shape.freqs[order[i]] if i == j else 0.0
        t.group_end[t.groups] = t.dims
        t.groups += 1
        i = j + 1
    t.last_end_ms = -1.0
    return _fold_phases(t, shape, group)


cdef void _forget_pattern(ToneTrack* t, int* flags) noexcept nogil:
    if t.heard:
        flags[0] |= TONE_STOPPED
        t.heard = 0
    t.pos = 0
    t.cycles = 0
    t.closed = 0
    t.deviation = 0.0
    t.spread_db = 0.0
    t.purity_sum = 0.0
    t.purity_count = 0
    memset(t.measured, 0, sizeof(t.measured))
    memset(t.pitch, 0, sizeof(t.pitch))


cdef bint _length_fits(ToneTrack* t, int phase, double ms) noexcept nogil:
    cdef double want = t.cadence_ms[phase]
    cdef double first = t.measured[phase]
    cdef float off = <float>(fabs(ms - want) / want)
    if fabs(ms - want) > (0.21 * want + 30.0 if t.wide else 0.15 * want + 6.0):    # half of each gap counts as sound
        return False
    if first > 0.0 and fabs(ms - first) > 0.10 * first + 10.0:
        return False
    if first <= 0.0:
        t.measured[phase] = ms
    if off > t.deviation:
        t.deviation = off
    return True


cdef bint _burst_fits(ToneTrack* t, double ms) noexcept nogil:
    """The burst that just ended is that of phase `pos`: by groups, length, level and frequency."""
    cdef int pos = t.pos
    cdef float off
    if t.symbol[pos] != t.now_symbol or not _length_fits(t, pos, ms):
        return False
    if pos == 0 and t.cycles == 0:
        t.loud_dbm0 = t.level_dbm0 - t.level_db[0]
    off = <float>fabs(t.level_dbm0 - t.level_db[pos] - t.loud_dbm0)
    if off > (4.0 if t.symbol[pos] == t.symbol[0] else 7.0):
        return False
    if off > t.spread_db:
        t.spread_db = off
    if t.freq_hz > 0.0:
        if t.pitch[pos] == 0.0:
            t.pitch[pos] = t.freq_hz
        elif fabs(t.freq_hz - t.pitch[pos]) > 0.01 * t.pitch[pos] + 2.0:
            return False
    return True


cdef void _judge(ToneTrack* t) noexcept nogil:
    """Confidence from what has been seen: half the doubt goes with each burst (0.5 s of a continuous tone)."""
    cdef float doubt = 1.0, quality
    cdef int i, n = t.purity_count if t.nphases else t.cycles // 5
    for i in range(n if n < 12 else 12):
        doubt *= <float>0.5
    t.purity = t.purity_sum / t.purity_count if t.purity_count else <float>0.0
    quality = (t.purity - PURE) * <float>5.0            # 0.8 .. 1 is what may count as a tone
    quality = <float>0.7 + <float>0.3 * (quality if quality > 0 else <float>0.0)
    quality -= t.deviation + t.spread_db * <float>0.03
    t.confidence = (1 - doubt) * (quality if quality > 0 else <float>0.0)
    if t.confidence > <float>0.99:
        t.confidence = 0.99


cdef void _count_cycle(ToneTrack* t, int* flags) noexcept nogil:
    t.cycles += 1
    t.closed = 1
    _judge(t)
    if t.cycles >= t.want_cycles and not t.heard:
        t.heard = 1
        flags[0] |= TONE_HEARD


cdef float _pitch(ToneTrack* t) noexcept nogil:
    """Frequency of the burst's highest group from the advance of its phase per frame; 0 where it cannot be told."""
    cdef int g
    cdef double turn
    for g in range(t.groups - 1, -1, -1):
        if t.now_symbol >> g & 1:
            if t.centre_hz[g] <= 0.0 or (t.turn_re[g] == 0.0 and t.turn_im[g] == 0.0):
                return 0.0
            turn = atan2(t.turn_im[g], t.turn_re[g]) / (2.0 * M_PI) - t.centre_hz[g] * 0.01
            turn -= <int>(turn - 0.5 if turn < 0 else turn + 0.5)
            return <float>(t.centre_hz[g] + 100.0 * turn)
    return 0.0


cdef void _burst_ended(ToneTrack* t, double edge_ms, int* flags) noexcept nogil:
    """Place the burst in the pattern. `edge_ms`: another sound followed at that instant; negative = a pause."""
    cdef double steady, ms, centre, start, end, gap
    if t.steady_frames < 1 or t.nphases == 0:
        _forget_pattern(t, flags)
        t.last_end_ms = -1.0
        return
    steady = t.steady_power / t.steady_frames
    if t.edge_ms < 0.0 and edge_ms < 0.0:
        ms = 10.0 * t.sum_power / steady
        centre = t.sum_moment / t.sum_power
        start = centre - 0.5 * ms
        end = centre + 0.5 * ms
    else:                                               # every frame of the sum stands for the 10 ms about its centre
        start = t.edge_ms if t.edge_ms >= 0.0 else t.last_ms + 5.0 - 10.0 * t.sum_sure / steady
        end = edge_ms if edge_ms >= 0.0 else t.first_ms - 5.0 + 10.0 * t.sum_power / steady
        ms = end - start
    t.reference_power = steady
    t.level_dbm0 = <float>(10.0 * log10(steady / POWER_0DBM0))
    t.freq_hz = _pitch(t)
    # a struck note loses its power from the first half to the second; the exchange's tone does not
    centre = t.steady_moment / t.steady_power - 0.5 * (t.steady_frames - 1)
    if t.steady_frames >= 6 and fabs(centre) > 0.06 * t.steady_frames and not t.slanted[t.pos]:
        _forget_pattern(t, flags)
        t.last_end_ms = -1.0
        return
    if t.pos > 0 or t.cycles > 0:
        gap = start - t.last_end_ms
        if t.symbol[t.pos] == 0:                        # the pause before this burst ends a phase
            if _length_fits(t, t.pos, gap):
                t.pos += 1
                if t.pos == t.nphases:
                    if not t.closed:
                        _count_cycle(t, flags)
                    t.pos = 0
                    t.closed = 0
            else:
                _forget_pattern(t, flags)
        elif gap > JOIN_MS:
            _forget_pattern(t, flags)
    if not _burst_fits(t, ms):
        _forget_pattern(t, flags)
        if not _burst_fits(t, ms):
            _forget_pattern(t, flags)
            t.last_end_ms = -1.0
            return
    if t.pos == 0 and t.cycles == 0:
        t.start_ms = start
    t.purity_sum += t.sum_purity / t.tone_frames
    t.purity_count += 1
    t.last_end_ms = end
    t.pos += 1
    if t.pos == t.nphases:                              # a cycle without a last pause
        _count_cycle(t, flags)
        t.pos = 0
        t.closed = 0
    elif t.wide and t.pos + 1 == t.nphases and t.symbol[t.pos] == 0:
        _count_cycle(t, flags)                          # three frequencies in turn say enough: an announcement may follow at once


cdef void _burst_begins(ToneTrack* t, int symbol, double power, double centre_ms, double edge_ms) noexcept nogil:
    t.state = 1
    t.now_symbol = symbol
    t.doubt = 0
    t.tone_frames = 1
    t.overlong = 0
    t.edge_ms = edge_ms
    t.first_ms = t.last_ms = centre_ms
    t.steady_power = t.steady_moment = 0.0
    t.steady_frames = 0
    t.last_power = power
    t.sum_power = power
    t.sum_moment = power * centre_ms
    if edge_ms < 0.0:
        t.sum_power += t.before
        t.sum_moment += t.before * (centre_ms - 10.0)
    t.sum_sure = t.sum_power
    memset(t.turn_re, 0, sizeof(t.turn_re))
    memset(t.turn_im, 0, sizeof(t.turn_im))


cdef void _turns(ToneTrack* t, const float* re, const float* im) noexcept nogil:
    """Sum up how far each group's phase went since the last frame."""
    cdef int g
    for g in range(t.groups):
        t.turn_re[g] += re[g] * t.last_re[g] + im[g] * t.last_im[g]
        t.turn_im[g] += im[g] * t.last_re[g] - re[g] * t.last_im[g]


cdef const ToneLook* _look(const ToneTrack* t, ToneFront* f) noexcept nogil:
    """The window projected on the tracker's basis, unless another tracker of the same frequencies has just done that."""
    cdef ToneLook* l
    cdef float a, b, c, d
    cdef int g, i, k = 0
    for i in range(2):
        l = &f.look[i]
        if l.frame == f.frame and l.wide == t.wide and l.sought[0] == t.sought[0] and l.sought[1] == t.sought[1] and (
                l.sought[2] == t.sought[2] and l.sought[3] == t.sought[3]):
            return l
    l = &f.look[f.look_next]
    f.look_next ^= 1
    l.frame = f.frame
    l.wide = t.wide
    for i in range(TONE_MAX_FREQS):
        l.sought[i] = t.sought[i]
    for g in range(t.groups):
        l.energy[g] = 0.0
        i = k
        while k < t.group_end[g]:
            if k + 1 < t.group_end[g]:
                tone_dot2(t.even[k], t.even[k + 1], f.even, &a, &b)
                tone_dot2(t.odd[k], t.odd[k + 1], f.odd, &c, &d)
            else:
                tone_dot2(t.even[k], t.odd[k], f.even, &a, &b)
                tone_dot2(t.odd[k], t.even[k], f.odd, &c, &d)
                b = d = 0.0
            l.energy[g] += a * a + b * b + c * c + d * d
            if k == i:
                l.re[g] = a
                l.im[g] = -c
            k += 2
        k = t.group_end[g]
    return l


cdef bint _project(const ToneTrack* t, ToneFront* f, int* symbol, float* purity, float* re, float* im) noexcept nogil:
    """Groups present in the window and their share of its energy; true when both are those of a phase."""
    cdef const ToneLook* l = _look(t, f)
    cdef float projection = 0.0, limit = GROUP_SHARE * f.total
    cdef int g, i
    symbol[0] = 0
    for g in range(t.groups):
        re[g] = l.re[g]
        im[g] = l.im[g]
        if l.energy[g] >= limit:
            symbol[0] |= 1 << g
            projection += l.energy[g]
    purity[0] = projection / f.total
    if purity[0] < PURE or symbol[0] == 0:
        return False
    if t.nphases == 0:
        return symbol[0] == (1 << t.groups) - 1
    for i in range(t.nphases):
        if t.symbol[i] == symbol[0]:
            return True
    return False


cdef int tone_track_frame(ToneTrack* t, ToneFront* f) noexcept nogil:
    """Look at the frame that the front end has completed; returns TONE_HEARD and TONE_STOPPED as bit flags."""
    cdef float re[4]
    cdef float im[4]
    cdef float purity = 0.0
    cdef double power = f.total / TONE_WINDOW, now = f.frame * 10.0, centre = now - 10.0, value, limit
    cdef int symbol = 0, flags = 0
    cdef bint tone = power > t.floor and _project(t, f, &symbol, &purity, re, im), quiet
    if t.state != 1 and t.symbol[t.pos] == 0 and t.nphases and power < t.trace * t.reference_power:
        tone = False                                    # a pause of the pattern with a trace of the tone in it, such as residual echo
    quiet = not tone and (power < QUIET_FLOOR or power < 0.1 * (t.steady_power / t.steady_frames if t.state == 1
                          and t.steady_frames else t.reference_power))
    if t.state == 1 and tone and symbol != t.now_symbol:
        value = 0.5 * (t.last_ms + centre)              # the edge between two sounds
        _burst_ended(t, value, &flags)
        _burst_begins(t, symbol, power, centre, value)
        t.sum_purity = purity
    elif t.state == 1:
        if not quiet:
            t.sum_power += power
            t.sum_moment += power * centre
        if tone:
            t.tone_frames += 1
            t.sum_purity += purity
            t.last_ms = centre
            t.sum_sure = t.sum_power
            if t.doubt == 0 and t.tone_frames > 2:
                t.steady_power += t.last_power
                t.steady_moment += t.last_power * t.steady_frames
                t.steady_frames += 1
                _turns(t, re, im)
            t.last_power = power
            t.doubt = 0
            if t.nphases == 0:
                t.purity_sum += purity
                t.purity_count += 1
                if t.tone_frames % 10 == 0:
                    t.cycles = t.tone_frames // 10
                if t.tone_frames % 10 == 1 and t.cycles >= t.want_cycles:
                    t.level_dbm0 = <float>(10.0 * log10(t.steady_power / t.steady_frames / POWER_0DBM0))
                    t.freq_hz = _pitch(t)
                    _judge(t)
                    if not t.heard:
                        t.start_ms = now - t.tone_frames * 10.0
                        t.heard = 1
                        flags |= TONE_HEARD
            elif not t.overlong and t.tone_frames * 10.0 > t.cadence_ms[_sound_due(t)] * 1.15 + 60.0:
                t.overlong = 1                          # longer than its phase: the pattern is over, wait for the end
                _forget_pattern(t, &flags)
        elif quiet:
            t.state = 0
            t.doubt = 0
            t.sum_power += power
            t.sum_moment += power * centre
            _burst_ended(t, -1.0, &flags)
        else:
            t.doubt += 1
            if t.doubt > DOUBT_LIMIT:
                t.state = 2
                if t.wide:                              # the announcement has begun: was this the last of the frequencies?
                    _burst_ended(t, t.last_ms + 10.0, &flags)
                t.last_end_ms = -1.0
                _forget_pattern(t, &flags)
    elif tone:
        _burst_begins(t, symbol, power, centre, -1.0)
        t.sum_purity = purity
    elif quiet:
        t.state = 0
        t.doubt = 0
    else:
        t.doubt += 1
        if t.doubt > DOUBT_LIMIT and t.state == 0:
            t.state = 2
            t.reference_power = 0.0
            t.last_end_ms = -1.0
            _forget_pattern(t, &flags)
    if tone:
        t.last_re = re
        t.last_im = im
    if t.state != 1 and (t.pos > 0 or t.cycles > 0):    # between two bursts of the pattern
        value = now - t.last_end_ms
        limit = t.cadence_ms[t.pos] if t.symbol[t.pos] == 0 else JOIN_MS
        if t.symbol[t.pos] == 0 and t.pos + 1 == t.nphases and not t.closed and (
                value >= 0.85 * (t.measured[t.pos] if t.measured[t.pos] > 0.0 else limit) + 15.0):
            _count_cycle(t, &flags)
        if value > 1.15 * limit + 40.0:
            t.last_end_ms = -1.0
            _forget_pattern(t, &flags)
    t.before = power if not tone else 0.0
    return flags


cdef int _sound_due(const ToneTrack* t) noexcept nogil:
    """The sounding phase that runs or comes next."""
    if t.symbol[t.pos]:
        return t.pos
    return t.pos + 1 if t.pos + 1 < t.nphases else 0
