# One frame of the DTMF detector explained as two sinusoids: its tables, fit and pick; part of dtmf.pyx.
cdef double[8] FREQ = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0]
cdef const char* KEYS = "123A456B789C*0#D"

cdef float wave[16][20]                                 # cosines, then sines, from the middle of a frame on
cdef float turn[16]                                     # cosine, then sine, of what each frequency turns in one frame
cdef float inverse[16][6]                               # of the matrices of each pair: cosines 00 01 11, sines 00 01 11
cdef float low_leak[8]                                  # of a tone's power into the measure of what is below 400 Hz


cdef void _fill_tables() noexcept nogil:
    cdef int f, g, i, part, pair
    cdef double c, s, w, a, b, d, det
    cdef float x[40]
    for f in range(8):
        w = 2.0 * PI * FREQ[f] / 8000.0
        dtmf_cos_sin(w * FRAME, &c, &s)
        turn[f] = <float>c
        turn[8 + f] = <float>s
        for i in range(HALF):
            dtmf_cos_sin(w * (i + 0.5), &c, &s)
            wave[f][i] = <float>c
            wave[8 + f][i] = <float>s
        for i in range(FRAME):
            dtmf_cos_sin(w * i, &c, &s)
            x[i] = <float>c
        d = dtmf_low_energy(x)
        for i in range(FRAME):
            dtmf_cos_sin(w * i, &c, &s)
            x[i] = <float>s
        low_leak[f] = <float>((d + dtmf_low_energy(x)) / FRAME)
    for pair in range(16):
        for part in range(2):
            f = 8 * part + (pair >> 2)
            g = 8 * part + 4 + (pair & 3)
            a = b = d = 0.0
            for i in range(HALF):
                a += 2.0 * wave[f][i] * wave[f][i]
                b += 2.0 * wave[f][i] * wave[g][i]
                d += 2.0 * wave[g][i] * wave[g][i]
            det = a * d - b * b
            inverse[pair][3 * part] = <float>(d / det)
            inverse[pair][3 * part + 1] = <float>(-b / det)
            inverse[pair][3 * part + 2] = <float>(a / det)


_fill_tables()


cdef struct Fit:
    float purity
    float tone[2]
    float re[2]
    float im[2]


cdef void _fit(DtmfFrame* frame, int pair, Fit* fit) noexcept nogil:
    """Explains one frame as the two tones of `pair`."""
    cdef float* z = frame.z
    cdef float* m = inverse[pair]
    cdef int f = pair >> 2, g = 4 + (pair & 3)
    fit.re[0] = m[0] * z[f] + m[1] * z[g]
    fit.re[1] = m[1] * z[f] + m[2] * z[g]
    fit.im[0] = m[3] * z[8 + f] + m[4] * z[8 + g]
    fit.im[1] = m[4] * z[8 + f] + m[5] * z[8 + g]
    fit.tone[0] = <float>0.5 * (fit.re[0] * fit.re[0] + fit.im[0] * fit.im[0])
    fit.tone[1] = <float>0.5 * (fit.re[1] * fit.re[1] + fit.im[1] * fit.im[1])
    fit.purity = (fit.re[0] * z[f] + fit.re[1] * z[g] + fit.im[0] * z[8 + f] + fit.im[1] * z[8 + g]) / (frame.power * FRAME)


cdef bint _is_good(const DtmfDet* det, const Fit* fit) noexcept nogil:
    return fit.purity >= det.purity - FRAME_LESS and fit.tone[0] < FRAME_TWIST * fit.tone[1] and fit.tone[1] < FRAME_TWIST * fit.tone[0]


cdef int _pick(DtmfFrame* before, DtmfFrame* now) noexcept nogil:
    """The strongest low and high frequency over two frames joined."""
    cdef float strength[8]
    cdef int f, low = 0, high = 4
    dtmf_join(before.z, now.z, turn, strength)
    for f in range(1, 4):
        if strength[f] > strength[low]:
            low = f
        if strength[4 + f] > strength[high]:
            high = 4 + f
    return low * 4 + high - 4
