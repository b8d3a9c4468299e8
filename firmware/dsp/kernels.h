/* Float kernels of the signal blocks.
 *
 * Theory of operation. Four lanes are written out with GCC vector types, so that the same source gives SSE and NEON code and
 * the same order of additions on both: lane sums first, then (0+2)+(1+3). Loads need only the alignment of a float.
 * Lengths are multiples of four unless a comment says otherwise. */
#ifndef BRANCHPBX_KERNELS_H
#define BRANCHPBX_KERNELS_H
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float vec4 __attribute__((vector_size(16), aligned(4), may_alias));

static inline vec4 vec_load(const float *p) { return *(const vec4 *)p; }
static inline void vec_store(float *p, vec4 v) { *(vec4 *)p = v; }
static inline vec4 vec_set(float x) { vec4 v = {x, x, x, x}; return v; }
static inline float vec_sum(vec4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }

static inline float kernel_dot(const float *a, const float *b, int n)
{
    vec4 s = vec_set(0.0f);
    for (int i = 0; i < n; i += 4)
        s += vec_load(a + i) * vec_load(b + i);
    return vec_sum(s);
}

static inline float kernel_energy(const float *a, int n) { return kernel_dot(a, a, n); }

/* One sample of 16-bit sound from a float: rounded to nearest, clipped. */
static inline int16_t kernel_round(float x)
{
    if (x >= 32767.0f)
        return 32767;
    if (x <= -32768.0f)
        return -32768;
    return (int16_t)(x >= 0.0f ? (int)(x + 0.5f) : -(int)(0.5f - x));
}

/* Half-band filter, 16 kHz to 8 kHz: flat within 0.1 dB to 3 kHz, 60 dB from 5.25 kHz on. */
typedef struct {
    float line[24];
    int phase;
} Decimator;

static inline void decimator_reset(Decimator *d) { memset(d, 0, sizeof *d); }

/* Takes one sample at 16 kHz; returns 1 and a sample at 8 kHz for every second one. */
static inline int decimator_push(Decimator *d, float x, float *out)
{
    static const float h[6] = {0.31307197f, -0.09069945f, 0.04063929f, -0.01810291f, 0.00687182f, -0.00178072f};
    memmove(d->line, d->line + 1, 22 * sizeof(float));
    d->line[22] = x;
    d->phase ^= 1;
    if (d->phase)
        return 0;
    float y = 0.5f * d->line[11];
    for (int k = 0; k < 6; k++)
        y += h[k] * (d->line[10 - 2 * k] + d->line[12 + 2 * k]);
    *out = y;
    return 1;
}

/* Position of the highest set bit; x > 0. */
static inline int kernel_log2(unsigned x) { return 31 - __builtin_clz(x); }
#endif
