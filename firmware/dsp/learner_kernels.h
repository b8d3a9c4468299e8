/* Loops of the tone learner: sound kept as bytes under one scale per frame, and the spectrum at one frequency. */
#ifndef BRANCHPBX_LEARNER_KERNELS_H
#define BRANCHPBX_LEARNER_KERNELS_H
#include "kernels.h"

typedef int32_t learn_mask __attribute__((vector_size(16), aligned(4), may_alias));

/* 80 samples as bytes; returns the scale. */
static inline float learn_pack(const float *x, signed char *out)
{
    vec4 low = vec_set(0.0f), high = vec_set(0.0f);
    for (int i = 0; i < 80; i += 4) {
        const vec4 v = vec_load(x + i);
        const learn_mask below = v < low, above = v > high;
        low = (vec4)(((learn_mask)v & below) | ((learn_mask)low & ~below));
        high = (vec4)(((learn_mask)v & above) | ((learn_mask)high & ~above));
    }
    float most = 1.0f;
    for (int k = 0; k < 4; k++) {
        most = high[k] > most ? high[k] : most;
        most = -low[k] > most ? -low[k] : most;
    }
    const float up = 127.0f / most;
    for (int i = 0; i < 80; i++) {
        const float y = x[i] * up;
        out[i] = (signed char)(int)(y >= 0.0f ? y + 0.5f : y - 0.5f);
    }
    return most / 127.0f;
}

static inline void learn_unpack(const signed char *in, float scale, float *x)
{
    for (int i = 0; i < 80; i++)
        x[i] = in[i] * scale;
}

/* Spectrum of n samples at w radians per sample, by a phasor that is brought back to length one every 64 turns. */
static inline void learn_bin(const float *x, int n, double w, double *re, double *im)
{
    const float c = (float)cos(w), s = (float)sin(w);
    float a = 1.0f, b = 0.0f;
    double sum_re = 0.0, sum_im = 0.0;
    for (int i = 0; i < n;) {
        float part_re = 0.0f, part_im = 0.0f;
        const int end = i + 64 < n ? i + 64 : n;
        for (; i < end; i++) {
            part_re += x[i] * a;
            part_im -= x[i] * b;
            const float t = a * c - b * s;
            b = a * s + b * c;
            a = t;
        }
        const float g = 1.5f - 0.5f * (a * a + b * b);
        a *= g;
        b *= g;
        sum_re += part_re;
        sum_im += part_im;
    }
    *re = sum_re;
    *im = sum_im;
}
#endif
