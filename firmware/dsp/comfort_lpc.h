/* Linear prediction of short frames, for comfort noise and concealment.
 *
 * Theory of operation. Autocorrelation r[0..order] of a frame; Levinson and Durbin's recursion gives reflection coefficients k[1..order]
 * and the predictor a[0..order], a[0] = 1, of the error e[n] = x[n] + a[1] x[n-1] + ... . The recursion stops where rounding would make
 * the filter unstable, so |k| < 1 always: a filter built from such k is stable whatever the frame held. */
#ifndef BRANCHPBX_COMFORT_LPC_H
#define BRANCHPBX_COMFORT_LPC_H
#include "kernels.h"

#define LPC_MOST 16

/* Dot product of any length. */
static inline float lpc_dot(const float *a, const float *b, int n)
{
    const int even = n & ~3;
    float s = kernel_dot(a, b, even);
    for (int i = even; i < n; i++)
        s += a[i] * b[i];
    return s;
}

static inline void lpc_autocorrelate(const float *x, int n, float *r, int order)
{
    for (int k = 0; k <= order; k++)
        r[k] = lpc_dot(x + k, x, n - k);
}

/* Half a sine over n samples, computed by a rotation: no libm in the tick, the same on every machine. */
static inline void lpc_window(const float *x, float *y, int n)
{
    const float w = 3.14159265f / (float)n, c2 = 2.0f * (1.0f - w * w * 0.5f + w * w * w * w / 24.0f);
    float s1 = -w * 0.5f * (1.0f - w * w / 24.0f), s = -s1;     /* sin at -1/2 and +1/2 step */
    for (int i = 0; i < n; i++) {
        const float next = c2 * s - s1;
        y[i] = x[i] * s;
        s1 = s;
        s = next;
    }
}

/* Reflection coefficients k[0..order-1] and predictor a[0..order] from r; returns the part of r[0] the predictor leaves (0..1). */
static inline float lpc_levinson(const float *r, int order, float *a, float *k)
{
    float next[LPC_MOST + 1], error = r[0] * 1.0001f + 1e-3f;
    const float whole = error;
    for (int i = 0; i <= order; i++)
        a[i] = 0.0f;
    a[0] = 1.0f;
    for (int i = 0; i < order; i++)
        k[i] = 0.0f;
    for (int m = 1; m <= order; m++) {
        float s = r[m];
        for (int i = 1; i < m; i++)
            s += a[i] * r[m - i];
        const float g = -s / error;
        if (!(g > -0.9995f && g < 0.9995f))
            break;
        for (int i = 1; i < m; i++)
            next[i] = a[i] + g * a[m - i];
        for (int i = 1; i < m; i++)
            a[i] = next[i];
        a[m] = g;
        k[m - 1] = g;
        error *= 1.0f - g * g;
    }
    return error / whole;
}

/* Predictor from reflection coefficients; returns the product of 1 - k^2. */
static inline float lpc_predictor(const float *k, int order, float *a)
{
    float next[LPC_MOST + 1], left = 1.0f;
    a[0] = 1.0f;
    for (int m = 1; m <= order; m++) {
        const float g = k[m - 1];
        for (int i = 1; i < m; i++)
            next[i] = a[i] + g * a[m - i];
        for (int i = 1; i < m; i++)
            a[i] = next[i];
        a[m] = g;
        left *= 1.0f - g * g;
    }
    return left;
}

/* One step of the all-pole filter 1/A; memory holds the newest `order` outputs, newest first. */
static inline float lpc_filter(const float *a, int order, float *memory, float x)
{
    for (int i = 0; i < order; i++)
        x -= a[i + 1] * memory[i];
    if (!(x > -1e6f && x < 1e6f))
        x = 0.0f;
    memmove(memory + 1, memory, (size_t)(order - 1) * sizeof(float));
    memory[0] = x;
    return x;
}

/* White noise of unit power: a linear congruence, its top bits spread evenly over +-sqrt(3). */
static inline float lpc_noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)((int32_t)*seed >> 8) * (1.7320508f / 8388608.0f);
}

static inline float lpc_root(float x) { return x > 0.0f ? __builtin_sqrtf(x) : 0.0f; }
#endif
