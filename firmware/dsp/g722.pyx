# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""ITU-T G.722 wide-band audio at 64 kbit/s (mode 1), bit exact (L2).

Theory of operation. A quadrature mirror filter (clause 3.1, 24 taps) splits 16 kHz sound at 4 kHz into two bands of 8 kHz.
Each band is sub-band ADPCM (clauses 3.2 to 3.6): the difference to a prediction is quantised with an adaptive step, 60 levels
(6 bits) in the low band, 4 levels (2 bits) in the high one. The predictor has two poles and six zeros that follow the signs
of what was decoded; in the low band it sees only the four most significant bits, so that a receiver of 48 kbit/s (auxiliary
data in the two others) predicts alike. Step sizes move on a logarithmic scale with a leak of 127/128.
The leaks of the recommendation, x * 32640 / 32768 and x * 32512 / 32768 rounded down, are written x + (-x >> 8) and x + (-x >> 7).
All arithmetic is on integers in the recommendation's own word lengths (16-bit words, products shifted down), hence the same on
every machine. Block names of the recommendation are given beside the code.
RTP (RFC 3551 section 4.5.2): one byte is two samples, yet the clock of the timestamps is 8000 Hz.
Invariants: no allocation; every sequence of bytes and samples is legal; |s|, |sz|, |r|, |p| stay within 16 bits.
"""
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

cdef enum:
    PAIRS = 80                  # samples of a band handled at once
    HISTORY = 11

cdef int[12] QMF = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11]
cdef int[32] Q6 = [0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339, 1458,
                   1612, 1765, 1980, 2195, 2557, 2919, 0x40000, 0x40000]
cdef int[32] ILB = [2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025, 3091, 3158,
                    3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008]
# By the code's four upper bits: logarithmic step change of the low band, and the quantised difference.
cdef int[16] WL4 = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60]
cdef int[16] QM4 = [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0]
cdef int[4] QM2 = [-7408, -1616, 7408, 1616]
cdef int[4] WH2 = [798, -214, 798, -214]
cdef int[64] QM6 = [-136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
                    -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
                    24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
                    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136]


cdef inline int _sat(int v) noexcept nogil:
    return 32767 if v > 32767 else (-32768 if v < -32768 else v)


cdef inline int _sat15(int v) noexcept nogil:
    return 16383 if v > 16383 else (-16384 if v < -16384 else v)


cdef void _band_init(G722Band* b, int det) noexcept nogil:
    memset(b, 0, sizeof(G722Band))
    b.det = det


cdef void g722_enc_init(G722Enc* g) noexcept nogil:
    memset(g, 0, sizeof(G722Enc))
    _band_init(&g.low, 32)
    _band_init(&g.high, 8)


cdef void g722_dec_init(G722Dec* g) noexcept nogil:
    memset(g, 0, sizeof(G722Dec))
    _band_init(&g.low, 32)
    _band_init(&g.high, 8)


cdef inline void _step(G722Band* b, int change, int most, int shift) noexcept nogil:
    """LOGSCL and SCALEL, LOGSCH and SCALEH: the next step size."""
    cdef int nb = ((b.nb * 127) >> 7) + change
    nb = 0 if nb < 0 else (most if nb > most else nb)
    b.nb = nb
    shift -= nb >> 11
    b.det = (ILB[(nb >> 6) & 31] << -shift if shift < 0 else ILB[(nb >> 6) & 31] >> shift) << 2


cdef inline void _predict(G722Band* b, int d) noexcept nogil:
    """Take the quantised difference d of this sample; adapt the predictor and predict the next one (clause 3.6)."""
    cdef int r = _sat(b.s + d)                                  # RECONS
    cdef int p = _sat(b.sz + d)                                 # PARREC
    cdef int i, sign, w, limit, a1, a2, sz = 0, sp
    cdef int other = (p ^ b.p1) >> 31                           # -1: the signs differ
    w = _sat(b.a1 * 4)                                          # UPPOL2
    w = w if other else _sat(-w)
    a2 = (128 if (p ^ b.p2) >= 0 else -128) + (w >> 7) + b.a2 + (-b.a2 >> 7)
    a2 = 12288 if a2 > 12288 else (-12288 if a2 < -12288 else a2)
    a1 = _sat((-192 if other else 192) + b.a1 + (-b.a1 >> 8))   # UPPOL1
    limit = 15360 - a2
    a1 = limit if a1 > limit else (-limit if a1 < -limit else a1)
    b.a1 = a1
    b.a2 = a2
    b.p2 = b.p1
    b.p1 = p
    w = 128 if d else 0                                         # UPZERO: within 16 bits without saturation
    for i in range(8):
        sign = (b.d[i] ^ d) >> 31
        b.b[i] += (-b.b[i] >> 8) + ((w ^ sign) - sign)
    b.b[6] = b.b[7] = 0
    for i in range(5, 0, -1):                                   # DELAYA
        b.d[i] = b.d[i - 1]
    b.d[0] = _sat(d + d)
    for i in range(6):                                          # FILTEZ
        sz += (b.b[i] * b.d[i]) >> 15
    b.sz = _sat(sz)
    sp = ((a1 * _sat(r + r)) >> 15) + ((a2 * _sat(b.r1 + b.r1)) >> 15)  # FILTEP
    b.r1 = r
    b.s = _sat(_sat(sp) + b.sz)                                 # PREDIC


cdef inline int _quantise(int size, int det) noexcept nogil:
    """QUANTL: number of the level of a difference of this size, 1 to 30."""
    cdef int low = 1, high = 30, middle
    while low < high:
        middle = (low + high) >> 1
        if size < (Q6[middle] * det) >> 12:
            high = middle
        else:
            low = middle + 1
    return low


cdef inline int _encode_low(G722Band* b, int x) noexcept nogil:
    cdef int e = _sat(x - b.s)                                  # SUBTRA
    cdef int level = _quantise(e if e >= 0 else ~e, b.det)
    cdef int code
    if e >= 0:
        code = 62 - level
    else:
        code = 64 - level if level <= 2 else 34 - level
    x = (QM4[code >> 2] * b.det) >> 15                          # INVQAL
    _step(b, WL4[code >> 2], 18432, 8)
    _predict(b, x)
    return code


cdef inline int _encode_high(G722Band* b, int x) noexcept nogil:
    cdef int e = _sat(x - b.s)                                  # SUBTRA
    cdef int outer = (e if e >= 0 else ~e) >= (564 * b.det) >> 12   # QUANTH
    cdef int code
    if e >= 0:
        code = 2 if outer else 3
    else:
        code = 0 if outer else 1
    x = (QM2[code] * b.det) >> 15                               # INVQAH
    _step(b, WH2[code], 22528, 10)
    _predict(b, x)
    return code


cdef void g722_encode(G722Enc* g, const short* samples, int n, uint8_t* out) noexcept nogil:
    """Code n samples (even) at 16 kHz to n/2 bytes."""
    cdef short first[HISTORY + PAIRS]
    cdef short second[HISTORY + PAIRS]
    cdef int i, k, pairs, odd, even, low
    cdef int left = n // 2
    while left > 0:
        pairs = left if left < PAIRS else PAIRS
        memcpy(first, g.first, sizeof(g.first))
        memcpy(second, g.second, sizeof(g.second))
        for i in range(pairs):
            first[HISTORY + i] = samples[2 * i]
            second[HISTORY + i] = samples[2 * i + 1]
        for i in range(pairs):
            odd = even = 0
            for k in range(12):
                odd += first[i + k] * QMF[k]
                even += second[i + k] * QMF[11 - k]
            low = _encode_low(&g.low, _sat15((even + odd) >> 14))
            out[i] = <uint8_t>((_encode_high(&g.high, _sat15((even - odd) >> 14)) << 6) | low)
        memcpy(g.first, &first[pairs], sizeof(g.first))
        memcpy(g.second, &second[pairs], sizeof(g.second))
        samples += 2 * pairs
        out += pairs
        left -= pairs


cdef void g722_decode(G722Dec* g, const uint8_t* data, int n, short* out) noexcept nogil:
    """Decode n bytes to 2n samples at 16 kHz."""
    cdef int sum[HISTORY + PAIRS]
    cdef int difference[HISTORY + PAIRS]
    cdef int i, k, count, code, high, d, low, x, y
    while n > 0:
        count = n if n < PAIRS else PAIRS
        memcpy(sum, g.sum, sizeof(g.sum))
        memcpy(difference, g.difference, sizeof(g.difference))
        for i in range(count):
            code = data[i] & 63
            low = _sat15(g.low.s + ((QM6[code] * g.low.det) >> 15))         # INVQBL, RECONS, LIMIT
            code >>= 2
            d = (QM4[code] * g.low.det) >> 15                               # INVQAL
            _step(&g.low, WL4[code], 18432, 8)
            _predict(&g.low, d)
            code = data[i] >> 6
            d = (QM2[code] * g.high.det) >> 15                              # INVQAH
            high = _sat15(g.high.s + d)
            _step(&g.high, WH2[code], 22528, 10)
            _predict(&g.high, d)
            sum[HISTORY + i] = low + high                                   # RECA
            difference[HISTORY + i] = low - high                            # RECB
            x = y = 0
            for k in range(12):
                x += difference[i + k] * QMF[11 - k]
                y += sum[i + k] * QMF[k]
            out[2 * i] = <short>_sat(x >> 11)
            out[2 * i + 1] = <short>_sat(y >> 11)
        memcpy(g.sum, &sum[count], sizeof(g.sum))
        memcpy(g.difference, &difference[count], sizeof(g.difference))
        data += count
        out += 2 * count
        n -= count
