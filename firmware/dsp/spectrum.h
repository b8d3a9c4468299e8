/* Loops over spectra (split real and imaginary arrays) for the echo canceller; n is a multiple of four, arrays begin at multiples
 * of 16 bytes. */
#ifndef BRANCHPBX_SPECTRUM_H
#define BRANCHPBX_SPECTRUM_H
#include "fft.h"

typedef int32_t mask4 __attribute__((vector_size(16), may_alias));

/* Lanes of a where the mask is set, of b elsewhere. */
static inline vec4 vec_pick(mask4 m, vec4 a, vec4 b)
{
    return (vec4)((m & (mask4)a) | (~m & (mask4)b));
}

/* Echo spectra of both filters and the power the background may still explain: sums over partitions, partition p
 * seeing the reference spectrum that begins at at[p]. */
static inline void spectrum_predict(float *front_re, float *front_im, float *back_re, float *back_im, float *known, const float *xr,
                                    const float *xi, const float *xp, const int *at, const float *fr, const float *fi, const float *br,
                                    const float *bi, const float *var, int parts, int n)
{
    for (int k = 0; k < n; k += 4) {
        vec4 a = vec_set(0.0f), b = a, c = a, d = a, e = a;
        for (int p = 0; p < parts; p++) {
            const int x = at[p] + k, w = p * n + k;
            const vec4 re = fft_at(xr + x), im = fft_at(xi + x);
            vec4 wr = fft_at(fr + w), wi = fft_at(fi + w);
            a += re * wr - im * wi;
            b += re * wi + im * wr;
            wr = fft_at(br + w);
            wi = fft_at(bi + w);
            c += re * wr - im * wi;
            d += re * wi + im * wr;
            e += fft_at(xp + x) * fft_at(var + w);
        }
        fft_to(front_re + k, a);
        fft_to(front_im + k, b);
        fft_to(back_re + k, c);
        fft_to(back_im + k, d);
        fft_to(known + k, e);
    }
}

/* Echo spectrum of one filter. */
static inline void spectrum_estimate(float *re, float *im, const float *xr, const float *xi, const int *at, const float *wr,
                                     const float *wi, int parts, int n)
{
    for (int k = 0; k < n; k += 4) {
        vec4 a = vec_set(0.0f), b = a;
        for (int p = 0; p < parts; p++) {
            const vec4 c = fft_at(xr + at[p] + k), d = fft_at(xi + at[p] + k), e = fft_at(wr + p * n + k), f = fft_at(wi + p * n + k);
            a += c * e - d * f;
            b += c * f + d * e;
        }
        fft_to(re + k, a);
        fft_to(im + k, b);
    }
}

/* power = |x|^2 */
static inline void spectrum_power(float *power, const float *xr, const float *xi, int n)
{
    for (int k = 0; k < n; k += 4) {
        vec4 a = fft_at(xr + k), b = fft_at(xi + k);
        fft_to(power + k, a * a + b * b);
    }
}

/* most = the higher of most and power. */
static inline void spectrum_highest(float *most, const float *power, int n)
{
    for (int k = 0; k < n; k += 4) {
        vec4 a = fft_at(most + k), b = fft_at(power + k);
        fft_to(most + k, vec_pick(a > b, a, b));
    }
}

/* Highest of n values and how many are above `share` of it; values are not negative. */
static inline int spectrum_width(const float *power, float share, float *highest, int n)
{
    vec4 top = vec_set(0.0f), least;
    mask4 count = {0, 0, 0, 0};
    float most;
    for (int k = 0; k < n; k += 4) {
        vec4 a = fft_at(power + k);
        top = vec_pick(top > a, top, a);
    }
    most = top[0];
    for (int k = 1; k < 4; k++)
        most = top[k] > most ? top[k] : most;
    *highest = most;
    least = vec_set(share * most);
    for (int k = 0; k < n; k += 4)
        count -= (mask4)(fft_at(power + k) > least);
    return count[0] + count[1] + count[2] + count[3];
}

/* What the learning of one block needs of each bin. */
typedef struct {
    float share;                /* of the block that is error */
    float up, down;             /* rates of the noise's track upwards and downwards */
    float deep, plunge;         /* where the power is below `deep` of the track, the rate is `plunge` */
    float spread;               /* of the noise: how often a sample of error is seen */
    float reach;                /* of the reference's power, above: near speech */
    float line;                 /* reference power below which nothing is learned */
    float least;                /* added to the divisor */
} SpectrumRule;

/* inverse = 1 / (power the background's uncertainty explains + power of what is not echo), 0 where nothing may be learned.
 * known: the former; noise: the latter, tracked here from the error averaged over three bins; most: highest reference power. */
static inline void spectrum_gains(float *inverse, float *noise, const float *known, const float *er, const float *ei, const float *most,
                                  const SpectrumRule *rule, int n)
{
    const vec4 share = vec_set(rule->share), per = vec_set(1.0f / rule->share), up = vec_set(rule->up), down = vec_set(rule->down);
    const vec4 deep = vec_set(rule->deep), plunge = vec_set(rule->plunge), third = vec_set(1.0f / 3.0f), one = vec_set(1.0f);
    const vec4 reach = vec_set(rule->reach * rule->share), line = vec_set(rule->line), least = vec_set(rule->least);
    const vec4 spread = vec_set(rule->spread / rule->share), zero = vec_set(0.0f), tiny = vec_set(1e-3f);
    for (int k = 0; k < n; k += 4) {
        const vec4 a = fft_at(er + k), b = fft_at(ei + k), s = fft_at(known + k), m = fft_at(most + k), part = share * s;
        vec4 total = a * a + b * b, v = fft_at(noise + k), after, left, move;
        if (k >= 4 && k + 4 < n) {
            const vec4 c = vec_load(er + k - 1), d = vec_load(ei + k - 1), e = vec_load(er + k + 1), g = vec_load(ei + k + 1);
            total = third * (total + (c * c + d * d) + (e * e + g * g));
        }
        after = one - part / (s + v * per + tiny);
        left = after * after * total + part * after;
        move = left - v;
        v += vec_pick(move > zero, up, vec_pick(left < deep * v, plunge, down)) * move;
        fft_to(noise + k, v);
        fft_to(inverse + k, vec_pick((total > reach * m) | (m < line), zero, one / (s + v * spread + least)));
    }
}

/* One partition learns: w += size * var * inverse * conj(x) * e; the variance shrinks by what this taught, and grows by what the
 * path may have moved. */
static inline void spectrum_learn(float *wr, float *wi, float *var, const float *xr, const float *xi, const float *xp,
                                  const float *inverse, const float *er, const float *ei, float size, float shrink, float decay,
                                  float drift, float least, int n)
{
    const vec4 part = vec_set(shrink), stretch = vec_set(size), keep = vec_set(decay), move = vec_set(drift), floor = vec_set(least);
    for (int k = 0; k < n; k += 4) {
        const vec4 a = fft_at(xr + k), b = fft_at(xi + k), c = fft_at(er + k), d = fft_at(ei + k);
        const vec4 p = fft_at(var + k), gain = p * fft_at(inverse + k), g = stretch * gain;
        const vec4 u = fft_at(wr + k) + g * (a * c + b * d), v = fft_at(wi + k) + g * (a * d - b * c);
        fft_to(wr + k, u);
        fft_to(wi + k, v);
        fft_to(var + k, keep * (p - part * gain * fft_at(xp + k) * p) + move * (u * u + v * v) + floor);
    }
}

/* Each value moves by `share` towards the mean of its two neighbours. */
static inline void spectrum_blend(float *x, float share, int n)
{
    typedef __attribute__((vector_size(16))) int lanes;
    const vec4 keep = vec_set(1.0f - share), half = vec_set(0.5f * share);
    vec4 now = fft_at(x), last = __builtin_shuffle(now, (lanes){1, 1, 1, 1});
    for (int k = 0; k < n; k += 4) {
        const vec4 next = k + 4 < n ? fft_at(x + k + 4) : __builtin_shuffle(now, (lanes){3, 3, 3, 3});
        const vec4 left = __builtin_shuffle(last, now, (lanes){3, 4, 5, 6}), right = __builtin_shuffle(now, next, (lanes){1, 2, 3, 4});
        fft_to(x + k, keep * now + half * (left + right));
        last = now;
        now = next;
    }
}

/* Sounds of one hop, as floats. */
static inline void sound_load(float *to, const int16_t *x, int n)
{
    for (int k = 0; k < n; k++)
        to[k] = x[k];
}

/* Rounded to nearest and clipped, as kernel_round does it. */
static inline void sound_store(int16_t *to, const float *x, int n)
{
    const vec4 high = vec_set(32767.0f), low = vec_set(-32768.0f), half = vec_set(0.5f), minus = vec_set(-0.5f), zero = vec_set(0.0f);
    for (int k = 0; k < n; k += 4) {
        vec4 v = fft_at(x + k);
        v = vec_pick(v < high, v, high);
        v = vec_pick(v > low, v, low);
        v += vec_pick(v < zero, minus, half);
        for (int q = 0; q < 4; q++)
            to[k + q] = (int16_t)(int)v[q];
    }
}

/* Mean powers of one hop. */
typedef struct {
    float near;                 /* captured */
    float echo, other;          /* echo as the heard and as the background filter see it */
    float left, tried;          /* errors of both */
    float between;              /* difference of both estimates */
} SoundPowers;

static inline void sound_compare(SoundPowers *to, const float *near, const float *front, const float *back, int n)
{
    vec4 a = vec_set(0.0f), b = a, c = a, d = a, e = a, f = a;
    const float scale = 1.0f / (float)n;
    for (int k = 0; k < n; k += 4) {
        const vec4 x = fft_at(near + k), y = vec_load(front + k), z = vec_load(back + k), u = x - y, v = x - z, w = z - y;
        a += x * x;
        b += y * y;
        c += z * z;
        d += u * u;
        e += v * v;
        f += w * w;
    }
    to->near = vec_sum(a) * scale;
    to->echo = vec_sum(b) * scale;
    to->other = vec_sum(c) * scale;
    to->left = vec_sum(d) * scale;
    to->tried = vec_sum(e) * scale;
    to->between = vec_sum(f) * scale;
}

/* to = x - y */
static inline void sound_subtract(float *to, const float *x, const float *y, int n)
{
    for (int k = 0; k < n; k += 4)
        vec_store(to + k, vec_load(x + k) - vec_load(y + k));
}
#endif
