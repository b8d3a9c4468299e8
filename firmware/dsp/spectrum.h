/* Loops over spectra (split real and imaginary arrays) for the echo canceller; n is a multiple of four. */
#ifndef BRANCHPBX_SPECTRUM_H
#define BRANCHPBX_SPECTRUM_H
#include "fft.h"

/* y += x * w */
static inline void spectrum_filter(float *yr, float *yi, const float *xr, const float *xi, const float *wr, const float *wi, int n)
{
    for (int k = 0; k < n; k += 4) {
        vec4 a = vec_load(xr + k), b = vec_load(xi + k), c = vec_load(wr + k), d = vec_load(wi + k);
        vec_store(yr + k, vec_load(yr + k) + a * c - b * d);
        vec_store(yi + k, vec_load(yi + k) + a * d + b * c);
    }
}

/* power = |x|^2 */
static inline void spectrum_power(float *power, const float *xr, const float *xi, int n)
{
    for (int k = 0; k < n; k += 4) {
        vec4 a = vec_load(xr + k), b = vec_load(xi + k);
        vec_store(power + k, a * a + b * b);
    }
}

/* sum += p * q */
static inline void spectrum_weigh(float *sum, const float *p, const float *q, int n)
{
    for (int k = 0; k < n; k += 4)
        vec_store(sum + k, vec_load(sum + k) + vec_load(p + k) * vec_load(q + k));
}

/* step = size * gain * conj(x) * e with gain = p * inverse; p shrinks by what this observation taught. */
static inline void spectrum_learn(float *step_re, float *step_im, float *p, const float *power, const float *inverse, const float *xr,
                                  const float *xi, const float *er, const float *ei, float size, float shrink, int n)
{
    const vec4 part = vec_set(shrink), stretch = vec_set(size);
    for (int k = 0; k < n; k += 4) {
        vec4 a = vec_load(xr + k), b = vec_load(xi + k), c = vec_load(er + k), d = vec_load(ei + k);
        vec4 var = vec_load(p + k), gain = var * vec_load(inverse + k);
        vec_store(step_re + k, stretch * gain * (a * c + b * d));
        vec_store(step_im + k, stretch * gain * (a * d - b * c));
        vec_store(p + k, var - part * gain * vec_load(power + k) * var);
    }
}

/* w += step; p = decay * p + drift * |w|^2 + least: the path may have moved a little. */
static inline void spectrum_drift(float *wr, float *wi, float *p, const float *sr, const float *si, float decay, float drift, float least,
                                  int n)
{
    const vec4 keep = vec_set(decay), move = vec_set(drift), floor = vec_set(least);
    for (int k = 0; k < n; k += 4) {
        vec4 a = vec_load(wr + k) + vec_load(sr + k), b = vec_load(wi + k) + vec_load(si + k);
        vec_store(wr + k, a);
        vec_store(wi + k, b);
        vec_store(p + k, keep * vec_load(p + k) + move * (a * a + b * b) + floor);
    }
}
/* most = the higher of most and power. */
static inline void spectrum_highest(float *most, const float *power, int n)
{
    for (int k = 0; k < n; k++)
        most[k] = power[k] > most[k] ? power[k] : most[k];
}
#endif
