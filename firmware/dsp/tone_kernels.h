/* Loops of the tone blocks: four phasors in four lanes, a window folded about its centre, projections in pairs. */
#ifndef BRANCHPBX_TONE_KERNELS_H
#define BRANCHPBX_TONE_KERNELS_H
#include "kernels.h"

typedef int vec4i __attribute__((vector_size(16)));

/* Turns each phasor by its angle once. */
static inline void tone_turn(float *re, float *im, const float *cos_w, const float *sin_w)
{
    const vec4 a = vec_load(re), b = vec_load(im), c = vec_load(cos_w), s = vec_load(sin_w);
    vec_store(re, a * c - b * s);
    vec_store(im, a * s + b * c);
}

/* Brings phasors back to length one: a first-order step is exact enough for what rounding does in a few hundred turns. */
static inline void tone_even_out(float *re, float *im)
{
    const vec4 a = vec_load(re), b = vec_load(im);
    const vec4 g = vec_set(1.5f) - vec_set(0.5f) * (a * a + b * b);
    vec_store(re, a * g);
    vec_store(im, b * g);
}

/* Sum of the phasors' heights times come + (go - come) * shape. */
static inline float tone_sum(const float *im, const float *come, const float *go, float shape)
{
    const vec4 a = vec_load(come);
    return vec_sum(vec_load(im) * (a + (vec_load(go) - a) * vec_set(shape)));
}

/* even[i] = w[80+i] + w[79-i], odd[i] = w[80+i] - w[79-i]; returns the energy of the window of 160. */
static inline float tone_fold(const float *w, float *even, float *odd)
{
    const vec4i back = {3, 2, 1, 0};
    vec4 sum = vec_set(0.0f);
    for (int i = 0; i < 80; i += 4) {
        const vec4 a = vec_load(w + 80 + i), b = __builtin_shuffle(vec_load(w + 76 - i), back);
        vec_store(even + i, a + b);
        vec_store(odd + i, a - b);
        sum += a * a + b * b;
    }
    return vec_sum(sum);
}

/* Products of two basis functions of 80 with one signal. */
static inline void tone_dot2(const float *a, const float *b, const float *x, float *out_a, float *out_b)
{
    vec4 s = vec_set(0.0f), t = vec_set(0.0f);
    for (int i = 0; i < 80; i += 4) {
        const vec4 v = vec_load(x + i);
        s += vec_load(a + i) * v;
        t += vec_load(b + i) * v;
    }
    *out_a = vec_sum(s);
    *out_b = vec_sum(t);
}
#endif
