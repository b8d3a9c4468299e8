/* Real FFT of 256 or 512 points on split arrays, for the echo canceller.
 *
 * Theory of operation. The N real samples are taken as N/2 complex ones; a Stockham radix-2 transform (self-sorting, so no bit
 * reversal) runs on separate real and imaginary arrays with four lanes from the third stage on, then the two interleaved spectra are
 * separated. The inverse mirrors this and includes the factor 1/N. Spectra hold N/2 + 1 bins, padded to a multiple of four. */
#ifndef BRANCHPBX_FFT_H
#define BRANCHPBX_FFT_H
#include "kernels.h"

#define FFT_MAX 512
#define FFT_HALF (FFT_MAX / 2)
#define FFT_BINS (FFT_HALF + 4)

typedef struct {
    int n;                      /* real points */
    float tw_re[FFT_HALF];      /* stage twiddles, one run of length/2 for each stage, longest first */
    float tw_im[FFT_HALF];
    float split_re[FFT_BINS];   /* exp(-2 pi i k / N) */
    float split_im[FFT_BINS];
} Fft;

static inline void fft_init(Fft *f, int n)
{
    int at = 0;
    memset(f, 0, sizeof *f);
    f->n = n;
    for (int len = n / 2; len > 1; len /= 2)
        for (int p = 0; p < len / 2; p++, at++) {
            f->tw_re[at] = (float)cos(2.0 * 3.14159265358979323846 * p / len);
            f->tw_im[at] = (float)-sin(2.0 * 3.14159265358979323846 * p / len);
        }
    for (int k = 0; k <= n / 2; k++) {
        f->split_re[k] = (float)cos(2.0 * 3.14159265358979323846 * k / n);
        f->split_im[k] = (float)-sin(2.0 * 3.14159265358979323846 * k / n);
    }
}

/* Complex transform of n/2 points in place (a), with b as scratch; the result ends in a. */
static inline void fft_complex(const Fft *f, float *ar, float *ai, float *br, float *bi)
{
    const int n = f->n / 2;
    int at = 0, swaps = 0;
    float *xr = ar, *xi = ai, *yr = br, *yi = bi;
    for (int len = n, s = 1; len > 1; len /= 2, s *= 2) {
        const int half = len / 2;
        const float *wr = f->tw_re + at, *wi = f->tw_im + at;
        if (s >= 4) {
            for (int p = 0; p < half; p++) {
                const vec4 cr = vec_set(wr[p]), ci = vec_set(wi[p]);
                const float *pr = xr + s * p, *pi = xi + s * p;
                const float *qr = pr + s * half, *qi = pi + s * half;
                float *ur = yr + 2 * s * p, *ui = yi + 2 * s * p;
                for (int q = 0; q < s; q += 4) {
                    vec4 a = vec_load(pr + q), b = vec_load(pi + q), c = vec_load(qr + q), d = vec_load(qi + q);
                    vec4 er = a - c, ei = b - d;
                    vec_store(ur + q, a + c);
                    vec_store(ui + q, b + d);
                    vec_store(ur + s + q, er * cr - ei * ci);
                    vec_store(ui + s + q, er * ci + ei * cr);
                }
            }
        } else {                /* s = 1 or 2: lanes run over p, results are interleaved */
            for (int i = 0; i < half * s; i += 4) {
                vec4 a = vec_load(xr + i), b = vec_load(xi + i), c = vec_load(xr + half * s + i), d = vec_load(xi + half * s + i);
                vec4 cr, ci, er = a - c, ei = b - d, sr = a + c, si = b + d, tr, ti;
                typedef int lanes __attribute__((vector_size(16)));
                if (s == 1) {
                    cr = vec_load(wr + i);
                    ci = vec_load(wi + i);
                } else {
                    vec4 vr = {wr[i / 2], wr[i / 2], wr[i / 2 + 1], wr[i / 2 + 1]};
                    vec4 vi = {wi[i / 2], wi[i / 2], wi[i / 2 + 1], wi[i / 2 + 1]};
                    cr = vr;
                    ci = vi;
                }
                tr = er * cr - ei * ci;
                ti = er * ci + ei * cr;
                if (s == 1) {
                    vec_store(yr + 2 * i, __builtin_shuffle(sr, tr, (lanes){0, 4, 1, 5}));
                    vec_store(yr + 2 * i + 4, __builtin_shuffle(sr, tr, (lanes){2, 6, 3, 7}));
                    vec_store(yi + 2 * i, __builtin_shuffle(si, ti, (lanes){0, 4, 1, 5}));
                    vec_store(yi + 2 * i + 4, __builtin_shuffle(si, ti, (lanes){2, 6, 3, 7}));
                } else {
                    vec_store(yr + 2 * i, __builtin_shuffle(sr, tr, (lanes){0, 1, 4, 5}));
                    vec_store(yr + 2 * i + 4, __builtin_shuffle(sr, tr, (lanes){2, 3, 6, 7}));
                    vec_store(yi + 2 * i, __builtin_shuffle(si, ti, (lanes){0, 1, 4, 5}));
                    vec_store(yi + 2 * i + 4, __builtin_shuffle(si, ti, (lanes){2, 3, 6, 7}));
                }
            }
        }
        at += half;
        float *t = xr; xr = yr; yr = t;
        t = xi; xi = yi; yi = t;
        swaps ^= 1;
    }
    if (swaps) {
        memcpy(ar, br, (size_t)n * sizeof(float));
        memcpy(ai, bi, (size_t)n * sizeof(float));
    }
}

/* x[n] -> bins 0..n/2 in re, im (padding bins are set to 0). */
static inline void fft_forward(const Fft *f, const float *x, float *re, float *im)
{
    float zr[FFT_HALF + 4], zi[FFT_HALF + 4], sr[FFT_HALF], si[FFT_HALF];
    const int n = f->n, h = n / 2;
    for (int k = 0; k < h; k++) {
        zr[k] = x[2 * k];
        zi[k] = x[2 * k + 1];
    }
    fft_complex(f, zr, zi, sr, si);
    zr[h] = zr[0];
    zi[h] = zi[0];
    for (int k = 0; k <= h; k++) {
        const float er = 0.5f * (zr[k] + zr[h - k]), ei = 0.5f * (zi[k] - zi[h - k]);
        const float or_ = 0.5f * (zi[k] + zi[h - k]), oi = -0.5f * (zr[k] - zr[h - k]);
        re[k] = er + or_ * f->split_re[k] - oi * f->split_im[k];
        im[k] = ei + or_ * f->split_im[k] + oi * f->split_re[k];
    }
    for (int k = h + 1; k < h + 4; k++)
        re[k] = im[k] = 0.0f;
    im[0] = im[h] = 0.0f;
}

/* bins 0..n/2 -> x[n]. */
static inline void fft_inverse(const Fft *f, const float *re, const float *im, float *x)
{
    float zr[FFT_HALF], zi[FFT_HALF], sr[FFT_HALF], si[FFT_HALF];
    const int n = f->n, h = n / 2;
    const float scale = 1.0f / (float)n;
    for (int k = 0; k < h; k++) {       /* conjugated, so that the forward transform inverts */
        const float er = re[k] + re[h - k], ei = im[k] - im[h - k];
        const float dr = re[k] - re[h - k], di = im[k] + im[h - k];
        const float or_ = dr * f->split_re[k] + di * f->split_im[k], oi = di * f->split_re[k] - dr * f->split_im[k];
        zr[k] = (er - oi) * scale;
        zi[k] = -(ei + or_) * scale;
    }
    fft_complex(f, zr, zi, sr, si);
    for (int k = 0; k < h; k++) {
        x[2 * k] = zr[k];
        x[2 * k + 1] = -zi[k];
    }
}
#endif
