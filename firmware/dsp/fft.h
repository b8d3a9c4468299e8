/* Real FFT of 256, 384, 512, 768 or 1024 points on split arrays, for the echo canceller.
 *
 * Theory of operation. The n real samples are taken as h = n / 2 complex ones. A Stockham transform (self-sorting, so no bit
 * reversal) runs radix-4 stages on separate real and imaginary arrays; a last stage of radix 2, 3 or 4 needs no factors. In the
 * first stage four lanes are four neighbouring butterflies and the results are transposed, later they are four neighbouring
 * columns. Pairs of even and odd samples are taken apart while the first stage loads them and put together while the last stores
 * them. The spectrum of the real samples then comes from bins k and h - k of the complex one. The inverse mirrors this, includes
 * the factor 1 / n, and exchanges real and imaginary arrays instead of conjugating. Spectra hold h + 1 bins and three of padding,
 * which are zero. */
#ifndef BRANCHPBX_FFT_H
#define BRANCHPBX_FFT_H
#include "kernels.h"

#define FFT_MAX 1024
#define FFT_HALF (FFT_MAX / 2)
#define FFT_STAGES 6

typedef int32_t lanes4 __attribute__((vector_size(16)));
typedef float vec4a __attribute__((vector_size(16), may_alias));       /* at an address that is a multiple of 16 */
#define FFT_GAP (FFT_HALF + 8)  /* from the real to the imaginary part of a working array */

static inline vec4 fft_at(const float *p) { return *(const vec4a *)p; }
static inline void fft_to(float *p, vec4 v) { *(vec4a *)p = v; }

typedef struct {
    int n;                      /* real points */
    int stages;                 /* after the first */
    int radix[FFT_STAGES];
    int factor[FFT_STAGES];     /* where the factors of a stage begin */
    float first[6 * FFT_HALF / 4] __attribute__((aligned(16)));   /* of the first stage: w, w^2, w^3 as runs of four re, four im */
    float later[6 * 4 * FFT_HALF / 8] __attribute__((aligned(16)));  /* of the others, each four times */
    float split_re[FFT_HALF / 2 + 4] __attribute__((aligned(16)));  /* exp(-2 pi i k / n), k = 1.. */
    float split_im[FFT_HALF / 2 + 4] __attribute__((aligned(16)));
} Fft;

static inline void fft_init(Fft *f, int n)
{
    const double turn = -2.0 * 3.14159265358979323846;
    const int h = n / 2;
    int len = h / 4, at = 0;
    memset(f, 0, sizeof *f);
    f->n = n;
    for (int p = 0; p < len; p++)
        for (int j = 1; j < 4; j++) {
            f->first[6 * (p & ~3) + 8 * (j - 1) + (p & 3)] = (float)cos(turn * j * p / h);
            f->first[6 * (p & ~3) + 8 * (j - 1) + 4 + (p & 3)] = (float)sin(turn * j * p / h);
        }
    while (len > 1) {
        const int r = len % 4 == 0 ? 4 : len % 2 == 0 ? 2 : 3, m = len / r;
        f->radix[f->stages] = r;
        f->factor[f->stages++] = at;
        for (int p = 0; m > 1 && p < m; p++)
            for (int j = 1; j < r; j++, at += 8)
                for (int q = 0; q < 4; q++) {
                    f->later[at + q] = (float)cos(turn * j * p / len);
                    f->later[at + 4 + q] = (float)sin(turn * j * p / len);
                }
        len = m;
    }
    for (int k = 1; k <= h / 2; k++) {
        f->split_re[k - 1] = (float)cos(turn * k / n);
        f->split_im[k - 1] = (float)sin(turn * k / n);
    }
}

/* Rows to columns. */
static inline void fft_transpose(float *to, vec4 a, vec4 b, vec4 c, vec4 d)
{
    const vec4 e = __builtin_shuffle(a, c, (lanes4){0, 4, 1, 5}), f = __builtin_shuffle(a, c, (lanes4){2, 6, 3, 7});
    const vec4 g = __builtin_shuffle(b, d, (lanes4){0, 4, 1, 5}), h = __builtin_shuffle(b, d, (lanes4){2, 6, 3, 7});
    fft_to(to, __builtin_shuffle(e, g, (lanes4){0, 4, 1, 5}));
    fft_to(to + 4, __builtin_shuffle(e, g, (lanes4){2, 6, 3, 7}));
    fft_to(to + 8, __builtin_shuffle(f, h, (lanes4){0, 4, 1, 5}));
    fft_to(to + 12, __builtin_shuffle(f, h, (lanes4){2, 6, 3, 7}));
}

static inline vec4 fft_reverse(vec4 a) { return __builtin_shuffle(a, (lanes4){3, 2, 1, 0}); }

/* The first stage: radix 4 over h points. `joined`: x holds pairs re, im; else it is a working array. */
static inline __attribute__((always_inline)) void fft_first(const Fft *f, const float *x, float *y, const int joined)
{
    const int m = f->n / 8, step = joined ? 2 * m : m;
    const float *w = f->first, *end = y + 4 * m;
    const float *x1 = x + step, *x2 = x1 + step, *x3 = x2 + step;
    for (; y < end; y += 16, w += 24) {
        const float *at[4] = {x, x1, x2, x3};
        vec4 re[4], im[4];
        for (int j = 0; j < 4; j++) {
            if (joined) {
                const vec4 u = vec_load(at[j]), v = vec_load(at[j] + 4);
                re[j] = __builtin_shuffle(u, v, (lanes4){0, 2, 4, 6});
                im[j] = __builtin_shuffle(u, v, (lanes4){1, 3, 5, 7});
            } else {
                re[j] = fft_at(at[j]);
                im[j] = fft_at(at[j] + FFT_GAP);
            }
        }
        {
            const vec4 ar = re[0] + re[2], ai = im[0] + im[2], br = re[0] - re[2], bi = im[0] - im[2];
            const vec4 cr = re[1] + re[3], ci = im[1] + im[3], dr = re[1] - re[3], di = im[1] - im[3];
            const vec4 sr = br + di, si = bi - dr, tr = ar - cr, ti = ai - ci, ur = br - di, ui = bi + dr;
            fft_transpose(y, ar + cr, sr * fft_at(w) - si * fft_at(w + 4), tr * fft_at(w + 8) - ti * fft_at(w + 12),
                          ur * fft_at(w + 16) - ui * fft_at(w + 20));
            fft_transpose(y + FFT_GAP, ai + ci, sr * fft_at(w + 4) + si * fft_at(w), tr * fft_at(w + 12) + ti * fft_at(w + 8),
                          ur * fft_at(w + 20) + ui * fft_at(w + 16));
        }
        x += joined ? 8 : 4;
        x1 += joined ? 8 : 4;
        x2 += joined ? 8 : 4;
        x3 += joined ? 8 : 4;
    }
}

/* A radix-4 stage: `s` columns, `m` butterflies each. */
static inline __attribute__((always_inline)) void fft_four(const float *w, const float *x, float *y, int s, int m)
{
    const int step = s * m;
    const float *x1 = x + step, *x2 = x1 + step, *x3 = x2 + step;
    float *y1 = y + s, *y2 = y1 + s, *y3 = y2 + s;
    for (int q = 0; q < s; q += 4) {
        const vec4 ar = fft_at(x + q) + fft_at(x2 + q), ai = fft_at(x + q + FFT_GAP) + fft_at(x2 + q + FFT_GAP);
        const vec4 br = fft_at(x + q) - fft_at(x2 + q), bi = fft_at(x + q + FFT_GAP) - fft_at(x2 + q + FFT_GAP);
        const vec4 cr = fft_at(x1 + q) + fft_at(x3 + q), ci = fft_at(x1 + q + FFT_GAP) + fft_at(x3 + q + FFT_GAP);
        const vec4 dr = fft_at(x1 + q) - fft_at(x3 + q), di = fft_at(x1 + q + FFT_GAP) - fft_at(x3 + q + FFT_GAP);
        fft_to(y + q, ar + cr);
        fft_to(y + q + FFT_GAP, ai + ci);
        fft_to(y1 + q, br + di);
        fft_to(y1 + q + FFT_GAP, bi - dr);
        fft_to(y2 + q, ar - cr);
        fft_to(y2 + q + FFT_GAP, ai - ci);
        fft_to(y3 + q, br - di);
        fft_to(y3 + q + FFT_GAP, bi + dr);
    }
    for (int p = 1; p < m; p++) {
        x += s;
        x1 += s;
        x2 += s;
        x3 += s;
        y += 4 * s;
        y1 += 4 * s;
        y2 += 4 * s;
        y3 += 4 * s;
        w += 24;
        for (int q = 0; q < s; q += 4) {
            const vec4 ar = fft_at(x + q) + fft_at(x2 + q), ai = fft_at(x + q + FFT_GAP) + fft_at(x2 + q + FFT_GAP);
            const vec4 br = fft_at(x + q) - fft_at(x2 + q), bi = fft_at(x + q + FFT_GAP) - fft_at(x2 + q + FFT_GAP);
            const vec4 cr = fft_at(x1 + q) + fft_at(x3 + q), ci = fft_at(x1 + q + FFT_GAP) + fft_at(x3 + q + FFT_GAP);
            const vec4 dr = fft_at(x1 + q) - fft_at(x3 + q), di = fft_at(x1 + q + FFT_GAP) - fft_at(x3 + q + FFT_GAP);
            const vec4 sr = br + di, si = bi - dr, tr = ar - cr, ti = ai - ci, ur = br - di, ui = bi + dr;
            fft_to(y + q, ar + cr);
            fft_to(y + q + FFT_GAP, ai + ci);
            fft_to(y1 + q, sr * fft_at(w) - si * fft_at(w + 4));
            fft_to(y1 + q + FFT_GAP, sr * fft_at(w + 4) + si * fft_at(w));
            fft_to(y2 + q, tr * fft_at(w + 8) - ti * fft_at(w + 12));
            fft_to(y2 + q + FFT_GAP, tr * fft_at(w + 12) + ti * fft_at(w + 8));
            fft_to(y3 + q, ur * fft_at(w + 16) - ui * fft_at(w + 20));
            fft_to(y3 + q + FFT_GAP, ur * fft_at(w + 20) + ui * fft_at(w + 16));
        }
    }
}

/* A radix-2 stage with factors. */
static inline void fft_two(const float *w, const float *x, float *y, int s, int m)
{
    for (int p = 0; p < m; p++, w += 8)
        for (int q = 0; q < s; q += 4) {
            const float *u = x + s * p + q, *v = u + s * m;
            float *o = y + 2 * s * p + q;
            const vec4 ar = fft_at(u), ai = fft_at(u + FFT_GAP), br = fft_at(v), bi = fft_at(v + FFT_GAP), dr = ar - br, di = ai - bi;
            fft_to(o, ar + br);
            fft_to(o + FFT_GAP, ai + bi);
            fft_to(o + s, dr * fft_at(w) - di * fft_at(w + 4));
            fft_to(o + s + FFT_GAP, dr * fft_at(w + 4) + di * fft_at(w));
        }
}

static inline __attribute__((always_inline)) void fft_put(float *y, int at, vec4 re, vec4 im, const int joined)
{
    if (joined) {
        vec_store(y + 2 * at, __builtin_shuffle(re, im, (lanes4){0, 4, 1, 5}));
        vec_store(y + 2 * at + 4, __builtin_shuffle(re, im, (lanes4){2, 6, 3, 7}));
    } else {
        fft_to(y + at, re);
        fft_to(y + at + FFT_GAP, im);
    }
}

/* The last stage, without factors, over `s` columns. `joined`: y gets pairs im, re. */
static inline __attribute__((always_inline)) void fft_last(int radix, const float *x, float *y, int s, const int joined)
{
    if (radix == 2)
        for (int q = 0; q < s; q += 4) {
            const vec4 ar = fft_at(x + q), ai = fft_at(x + q + FFT_GAP), br = fft_at(x + s + q), bi = fft_at(x + s + q + FFT_GAP);
            fft_put(y, q, joined ? ai + bi : ar + br, joined ? ar + br : ai + bi, joined);
            fft_put(y, s + q, joined ? ai - bi : ar - br, joined ? ar - br : ai - bi, joined);
        }
    else if (radix == 3)
        for (int q = 0; q < s; q += 4) {
            const vec4 ar = fft_at(x + q), ai = fft_at(x + q + FFT_GAP), br = fft_at(x + s + q), bi = fft_at(x + s + q + FFT_GAP);
            const vec4 cr = fft_at(x + 2 * s + q), ci = fft_at(x + 2 * s + q + FFT_GAP), sine = vec_set(0.86602540378f);
            const vec4 sr = br + cr, si = bi + ci, dr = (br - cr) * sine, di = (bi - ci) * sine;
            const vec4 er = ar - vec_set(0.5f) * sr, ei = ai - vec_set(0.5f) * si;
            fft_put(y, q, joined ? ai + si : ar + sr, joined ? ar + sr : ai + si, joined);
            fft_put(y, s + q, joined ? ei - dr : er + di, joined ? er + di : ei - dr, joined);
            fft_put(y, 2 * s + q, joined ? ei + dr : er - di, joined ? er - di : ei + dr, joined);
        }
    else
        for (int q = 0; q < s; q += 4) {
            const vec4 ar = fft_at(x + q), ai = fft_at(x + q + FFT_GAP), br = fft_at(x + s + q), bi = fft_at(x + s + q + FFT_GAP);
            const vec4 cr = fft_at(x + 2 * s + q), ci = fft_at(x + 2 * s + q + FFT_GAP), dr = fft_at(x + 3 * s + q);
            const vec4 di = fft_at(x + 3 * s + q + FFT_GAP), er = ar + cr, ei = ai + ci, fr = ar - cr, fi = ai - ci;
            const vec4 gr = br + dr, gi = bi + di, hr = br - dr, hi = bi - di;
            fft_put(y, q, joined ? ei + gi : er + gr, joined ? er + gr : ei + gi, joined);
            fft_put(y, s + q, joined ? fi - hr : fr + hi, joined ? fr + hi : fi - hr, joined);
            fft_put(y, 2 * s + q, joined ? ei - gi : er - gr, joined ? er - gr : ei - gi, joined);
            fft_put(y, 3 * s + q, joined ? fi + hr : fr - hi, joined ? fr - hi : fi + hr, joined);
        }
}

/* The stages between the first and the last, between the working arrays a and b; returns where the result is. */
static inline float *fft_middle(const Fft *f, float *a, float *b, int *columns)
{
    int s = 4, m = f->n / 8;
    for (int i = 0; i < f->stages - 1; i++) {
        const float *w = f->later + f->factor[i];
        float *t = a;
        m /= f->radix[i];
        if (f->radix[i] == 2)
            fft_two(w, a, b, s, m);
        else if (s == 4)
            fft_four(w, a, b, 4, m);
        else
            fft_four(w, a, b, s, m);
        s *= f->radix[i];
        a = b;
        b = t;
    }
    *columns = s;
    return a;
}

/* x[n] -> bins 0..n/2 in re, im. */
static inline void fft_forward(const Fft *f, const float *x, float *re, float *im)
{
    float a[2 * FFT_GAP] __attribute__((aligned(16))), b[2 * FFT_GAP] __attribute__((aligned(16)));
    const int h = f->n / 2;
    const vec4 half = vec_set(0.5f);
    float *from, *zr, *zi;
    int s;
    fft_first(f, x, a, 1);
    from = fft_middle(f, a, b, &s);
    zr = from == a ? b : a;
    zi = zr + FFT_GAP;
    fft_last(f->radix[f->stages - 1], from, zr, s, 0);
    for (int k = 1; k < h / 2; k += 4) {
        const int o = h - k - 3;
        const vec4 pr = vec_load(zr + k), pi = vec_load(zi + k), qr = fft_reverse(vec_load(zr + o)), qi = fft_reverse(vec_load(zi + o));
        const vec4 wr = fft_at(f->split_re + k - 1), wi = fft_at(f->split_im + k - 1);
        const vec4 er = half * (pr + qr), ei = half * (pi - qi), odd_r = half * (pi + qi), odd_i = half * (qr - pr);
        const vec4 tr = odd_r * wr - odd_i * wi, ti = odd_r * wi + odd_i * wr;
        vec_store(re + k, er + tr);
        vec_store(im + k, ei + ti);
        vec_store(re + o, fft_reverse(er - tr));
        vec_store(im + o, fft_reverse(ti - ei));
    }
    re[0] = zr[0] + zi[0];
    re[h] = zr[0] - zi[0];
    im[0] = im[h] = 0.0f;
    for (int k = h + 1; k < h + 4; k++)
        re[k] = im[k] = 0.0f;
}

/* bins 0..n/2 -> x[n]. */
static inline void fft_inverse(const Fft *f, const float *re, const float *im, float *x)
{
    float a[2 * FFT_GAP] __attribute__((aligned(16))), b[2 * FFT_GAP] __attribute__((aligned(16)));
    float *br = b + FFT_GAP, *bi = b;
    const int h = f->n / 2;
    const vec4 scale = vec_set(1.0f / (float)f->n);
    int s;
    for (int k = 1; k < h / 2; k += 4) {
        const int o = h - k - 3;
        const vec4 pr = vec_load(re + k), pi = vec_load(im + k), qr = fft_reverse(vec_load(re + o)), qi = fft_reverse(vec_load(im + o));
        const vec4 wr = fft_at(f->split_re + k - 1), wi = fft_at(f->split_im + k - 1);
        const vec4 er = scale * (pr + qr), ei = scale * (pi - qi), dr = scale * (pr - qr), di = scale * (pi + qi);
        const vec4 tr = dr * wr + di * wi, ti = di * wr - dr * wi;
        vec_store(br + k, er - ti);
        vec_store(bi + k, ei + tr);
        vec_store(br + o, fft_reverse(er + ti));
        vec_store(bi + o, fft_reverse(tr - ei));
    }
    br[0] = (re[0] + re[h]) * scale[0];
    bi[0] = (re[0] - re[h]) * scale[0];
    fft_first(f, b, a, 0);
    const float *from = fft_middle(f, a, b, &s);
    fft_last(f->radix[f->stages - 1], from, x, s, 1);
}
#endif
