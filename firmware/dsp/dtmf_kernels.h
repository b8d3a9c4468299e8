/* Arithmetic of the DTMF detector: filters, correlators, the fit of two sinusoids.
 *
 * Theory of operation. A frame of 40 samples (5 ms at 8 kHz) is folded about its middle; cosines are even there and sines odd,
 * so each correlation needs half the products, and cosine and sine of any two frequencies are orthogonal: the fit of two
 * sinusoids is two systems of two unknowns. Sums run in the lane order of kernels.h. Sine, cosine and arc tangent are series
 * in double precision, not libm's, because decisions must be the same on every machine. */
#ifndef BRANCHPBX_DTMF_KERNELS_H
#define BRANCHPBX_DTMF_KERNELS_H
#include "kernels.h"

#define DTMF_FRAME 40
#define DTMF_HALF 20
#define DTMF_LONGEST 400            /* samples that a fit may span */
#define DTMF_HISTORY 24             /* of the decimator */

/* cosine, sine of any angle, within 1e-13 up to 100 radians */
static inline void dtmf_cos_sin(double x, double *c, double *s)
{
    const double turn = 6.283185307179586;
    x -= turn * (double)(long)(x / turn + (x >= 0.0 ? 0.5 : -0.5));
    x *= 0.125;
    double q = x * x;
    double co = 1.0 - q / 2.0 * (1.0 - q / 12.0 * (1.0 - q / 30.0 * (1.0 - q / 56.0 * (1.0 - q / 90.0 * (1.0 - q / 132.0)))));
    double si = x * (1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0 * (1.0 - q / 110.0 * (1.0 - q / 156.0))))));
    for (int i = 0; i < 3; i++) {
        double d = co * co - si * si;
        si = 2.0 * co * si;
        co = d;
    }
    *c = co;
    *s = si;
}

/* angle of a phasor, -pi to pi */
static inline double dtmf_angle(double im, double re)
{
    double size = sqrt(re * re + im * im);
    if (size <= 0.0)
        return 0.0;
    if (re < 0.0 && im * im < 1e-6 * re * re)
        return im < 0.0 ? -3.141592653589793 : 3.141592653589793;
    double t = im / (size + re), q;             /* tan(angle / 2), then / 4, then / 8 */
    t = t / (1.0 + sqrt(1.0 + t * t));
    t = t / (1.0 + sqrt(1.0 + t * t));
    q = t * t;
    return 8.0 * t * (1.0 - q * (1.0 / 3.0 - q * (1.0 / 5.0 - q * (1.0 / 7.0 - q * (1.0 / 9.0 - q * (1.0 / 11.0 - q / 13.0))))));
}

/* 80 samples at 16 kHz to 40 at 8 kHz; `line` holds DTMF_HISTORY old samples and then the new ones. Half-band filter: flat
 * within 0.1 dB to 3 kHz, 60 dB from 5.25 kHz on. */
static inline void dtmf_halve(float *line, float *out)
{
    static const float h[6] = {0.31307197f, -0.09069945f, 0.04063929f, -0.01810291f, 0.00687182f, -0.00178072f};
    float even[DTMF_FRAME + 12], odd[DTMF_FRAME + 12];
    for (int i = 0; i < DTMF_FRAME + 12; i += 4) {
        vec4 a = vec_load(line + 2 * i), b = vec_load(line + 2 * i + 4);
        vec_store(even + i, __builtin_shuffle(a, b, (__attribute__((vector_size(16))) int){0, 2, 4, 6}));
        vec_store(odd + i, __builtin_shuffle(a, b, (__attribute__((vector_size(16))) int){1, 3, 5, 7}));
    }
    for (int i = 0; i < DTMF_FRAME; i += 4) {
        vec4 y = vec_set(0.5f) * vec_load(odd + i + 6);
        for (int k = 0; k < 6; k++)
            y += vec_set(h[k]) * (vec_load(even + i + 6 - k) + vec_load(even + i + 7 + k));
        vec_store(out + i, y);
    }
    memmove(line, line + 2 * DTMF_FRAME, DTMF_HISTORY * sizeof(float));
}

/* Elliptic high-pass, 4th order: 0.4 dB ripple from 655 Hz, 36 dB below 440 Hz. Both sections work at once, in lanes 2 and 0: the
 * second on what the first gave a sample earlier, so the output is one sample late. Transposed direct form; `state` is three vectors. */
static inline void dtmf_high_pass(const float *in, float *out, float *state)
{
    const vec4 b0 = {1.0f, 0.0f, 0.53032830f, 0.0f}, b1 = {-1.89724154f, 0.0f, -1.04909614f, 0.0f}, b2 = b0;
    const vec4 a1 = {1.65668030f, 0.0f, 1.05044210f, 0.0f}, a2 = {-0.88264795f, 0.0f, -0.38214299f, 0.0f};
    vec4 s1 = vec_load(state), s2 = vec_load(state + 4), y = vec_load(state + 8);
    for (int i = 0; i < DTMF_FRAME; i++) {
        vec4 first = {in[i], 0.0f, 0.0f, 0.0f};
        vec4 x = __builtin_shuffle(y, first, (__attribute__((vector_size(16))) int){2, 2, 4, 4});
        vec4 g = b0 * x;
        y = g + s1;
        s1 = b1 * x + a1 * y + s2;
        s2 = b2 * x + a2 * y;
        out[i] = y[0];
    }
    vec_store(state, s1);
    vec_store(state + 4, s2);
    vec_store(state + 8, y);
}

/* Its power gain at w radians per sample. */
static inline double dtmf_high_pass_gain(double w)
{
    static const double k[2][5] = {{0.53032830, -1.04909614, 0.53032830, -1.05044210, 0.38214299},
                                   {1.0, -1.89724154, 1.0, -1.65668030, 0.88264795}};
    double c1, s1, c2, s2, gain = 1.0;
    dtmf_cos_sin(w, &c1, &s1);
    dtmf_cos_sin(2.0 * w, &c2, &s2);
    for (int i = 0; i < 2; i++) {
        double nr = k[i][0] + k[i][1] * c1 + k[i][2] * c2, ni = k[i][1] * s1 + k[i][2] * s2;
        double dr = 1.0 + k[i][3] * c1 + k[i][4] * c2, di = k[i][3] * s1 + k[i][4] * s2;
        gain *= (nr * nr + ni * ni) / (dr * dr + di * di);
    }
    return gain;
}

/* Energy below about 400 Hz: sums of ten samples, every five, stop 697 to 941 Hz by 17 dB and 1209 to 1633 Hz by 13 dB or more. */
static inline float dtmf_low_energy(const float *x)
{
    float energy = 0.0f, last = 0.0f;
    for (int i = 0; i < DTMF_FRAME; i += 5) {
        float sum = ((x[i] + x[i + 1]) + (x[i + 2] + x[i + 3])) + x[i + 4], ten = last + sum;
        energy += i ? ten * ten : 0.0f;
        last = sum;
    }
    return energy * (40.0f / 700.0f);
}

/* Four sums over lanes, each (0+2)+(1+3). */
static inline vec4 dtmf_sums(vec4 a, vec4 b, vec4 c, vec4 d)
{
    typedef __attribute__((vector_size(16))) int lanes;
    vec4 ab = __builtin_shuffle(a, b, (lanes){0, 4, 1, 5}) + __builtin_shuffle(a, b, (lanes){2, 6, 3, 7});
    vec4 cd = __builtin_shuffle(c, d, (lanes){0, 4, 1, 5}) + __builtin_shuffle(c, d, (lanes){2, 6, 3, 7});
    return __builtin_shuffle(ab, cd, (lanes){0, 1, 4, 5}) + __builtin_shuffle(ab, cd, (lanes){2, 3, 6, 7});
}

static inline void dtmf_correlate_half(const float *x, const float wave[8][DTMF_HALF], float *z)
{
    vec4 s0 = vec_set(0.0f), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    for (int i = 0; i < DTMF_HALF; i += 4) {
        vec4 y = vec_load(x + i);
        s0 += y * vec_load(wave[0] + i);
        s1 += y * vec_load(wave[1] + i);
        s2 += y * vec_load(wave[2] + i);
        s3 += y * vec_load(wave[3] + i);
        s4 += y * vec_load(wave[4] + i);
        s5 += y * vec_load(wave[5] + i);
        s6 += y * vec_load(wave[6] + i);
        s7 += y * vec_load(wave[7] + i);
    }
    vec_store(z, dtmf_sums(s0, s1, s2, s3));
    vec_store(z + 4, dtmf_sums(s4, s5, s6, s7));
}

/* Correlations of a frame with eight cosines and eight sines about its middle; wave[k][i] is at i + 1/2 samples from there. */
static inline void dtmf_correlate(const float *x, const float wave[16][DTMF_HALF], float *z)
{
    float even[DTMF_HALF], odd[DTMF_HALF];
    for (int i = 0; i < DTMF_HALF; i += 4) {
        vec4 right = vec_load(x + DTMF_HALF + i), left = vec_load(x + DTMF_HALF - 4 - i);
        left = __builtin_shuffle(left, (__attribute__((vector_size(16))) int){3, 2, 1, 0});
        vec_store(even + i, right + left);
        vec_store(odd + i, right - left);
    }
    dtmf_correlate_half(even, wave, z);
    dtmf_correlate_half(odd, wave + 8, z + 8);
}

/* Strength of each frequency over two frames joined: `now` seen from the middle of `before`, plus `before`. */
static inline void dtmf_join(const float *before, const float *now, const float *turn, float *strength)
{
    for (int k = 0; k < 8; k += 4) {
        vec4 c = vec_load(turn + k), s = vec_load(turn + 8 + k), nc = vec_load(now + k), ns = vec_load(now + 8 + k);
        vec4 re = vec_load(before + k) + nc * c - ns * s;
        vec4 im = vec_load(before + 8 + k) + ns * c + nc * s;
        vec_store(strength + k, re * re + im * im);
    }
}

typedef struct {
    double energy;                  /* of the samples */
    double residual;                /* what two sinusoids leave of it */
    double power[2];                /* of each */
    double slope[2];                /* change of each tone's amplitude from the first to the last sample, relative */
    double bend[2];                 /* and of its frequency */
    double overtone[3];             /* mean square of the residual at twice its frequency; last: at thrice the low tone's */
    double colour[3];               /* correlation of the residual with itself one to three samples later, -1 to 1; 0 if there is little */
} DtmfFit;

/* sum of cos(w t) over n samples about the middle, from sin(w n / 2) and sin(w / 2) */
static inline double dtmf_dirichlet(double top, double bottom, int n) { return bottom * bottom < 1e-12 ? (double)n : top / bottom; }

#define DTMF_CLEAN 2e-3         /* of the energy: the edge of a tone leaves half of it; overtones or a bend that matters leave more */

/* Of that fit, with amplitudes a: what its residual tells of bent frequencies and of overtones. Too little of it tells of neither. */
static __attribute__((noinline)) void dtmf_fit_more(const float (*basis)[DTMF_LONGEST], const float *rests, const double *a, int n,
                                                    const double *w, DtmfFit *fit)
{
    vec4 c0 = vec_set((float)a[0]), s0 = vec_set((float)a[2]), c1 = vec_set((float)a[1]), s1 = vec_set((float)a[3]);
    vec4 middle = vec_set((float)n * (float)n / 12.0f), bent[2] = {vec_set(0.0f), vec_set(0.0f)}, over[6];
    for (int i = 0; i < 6; i++)
        over[i] = vec_set(0.0f);
    vec4 t = {0.0f, 1.0f, 2.0f, 3.0f};
    t -= vec_set(0.5f * (float)(n - 1));
    for (int i = 0; i < n; i += 4) {
        vec4 low_c = vec_load(basis[0] + i), low_s = vec_load(basis[1] + i);
        vec4 high_c = vec_load(basis[2] + i), high_s = vec_load(basis[3] + i);
        vec4 rest = vec_load(rests + i), parabola = rest * (t * t - middle);
        vec4 twice_c = low_c * low_c - low_s * low_s, twice_s = low_c * low_s + low_c * low_s;
        bent[0] += parabola * (s0 * low_c - c0 * low_s);
        bent[1] += parabola * (s1 * high_c - c1 * high_s);
        over[0] += rest * twice_c;
        over[1] += rest * twice_s;
        over[2] += rest * (high_c * high_c - high_s * high_s);
        over[3] += rest * (high_c * high_s + high_c * high_s);
        over[4] += rest * (twice_c * low_c - twice_s * low_s);
        over[5] += rest * (twice_c * low_s + twice_s * low_c);
        t += vec_set(4.0f);
    }
    for (int i = 0; i < 2; i++)
        fit->bend[i] = 360.0 * vec_sum(bent[i]) / ((double)n * n * n * n * w[i] * fit->power[i] + 1e-9);
    for (int i = 0; i < 3; i++) {
        double re = vec_sum(over[2 * i]), im = vec_sum(over[2 * i + 1]);
        fit->overtone[i] = 2.0 * (re * re + im * im) / ((double)n * n);
    }
}

/* Least squares of n samples (a multiple of four) by sinusoids of w[0] and w[1] radians per sample. */
static inline void dtmf_fit_two(const float *x, int n, const double *w, DtmfFit *fit)
{
    float basis[4][DTMF_LONGEST], rests[DTMF_LONGEST];  /* cosine, sine of the low tone, then of the high one; what is left */
    vec4 total = vec_set(0.0f), left = vec_set(0.0f);
    double v[4], a[4], ch[2], sh[2], ce[2], se[2];      /* cosine and sine of half a sample's and of half the window's turn */
    for (int t = 0; t < 2; t++) {
        double c[4], s[4], c1, s1, c2, s2, c4, s4;
        dtmf_cos_sin(0.5 * w[t], ch + t, sh + t);
        dtmf_cos_sin(0.5 * w[t] * n, ce + t, se + t);
        c1 = ch[t] * ch[t] - sh[t] * sh[t];
        s1 = 2.0 * ch[t] * sh[t];
        c[0] = ce[t] * ch[t] + se[t] * sh[t];           /* the first sample is (n - 1) / 2 before the middle */
        s[0] = ce[t] * sh[t] - se[t] * ch[t];
        for (int i = 1; i < 4; i++) {
            c[i] = c[i - 1] * c1 - s[i - 1] * s1;
            s[i] = s[i - 1] * c1 + c[i - 1] * s1;
        }
        c2 = c1 * c1 - s1 * s1;
        s2 = 2.0 * c1 * s1;
        c4 = c2 * c2 - s2 * s2;
        s4 = 2.0 * c2 * s2;
        vec4 re = {(float)c[0], (float)c[1], (float)c[2], (float)c[3]}, im = {(float)s[0], (float)s[1], (float)s[2], (float)s[3]};
        vec4 tr = vec_set((float)c4), ti = vec_set((float)s4), sum_c = vec_set(0.0f), sum_s = vec_set(0.0f);
        for (int i = 0; i < n; i += 4) {
            vec4 y = vec_load(x + i), next = re * tr - im * ti;
            vec_store(basis[2 * t] + i, re);
            vec_store(basis[2 * t + 1] + i, im);
            sum_c += y * re;
            sum_s += y * im;
            if (t)
                total += y * y;
            im = re * ti + im * tr;
            re = next;
        }
        v[t] = vec_sum(sum_c);
        v[2 + t] = vec_sum(sum_s);
    }
    double apart = dtmf_dirichlet(se[0] * ce[1] - ce[0] * se[1], sh[0] * ch[1] - ch[0] * sh[1], n);
    double joined = dtmf_dirichlet(se[0] * ce[1] + ce[0] * se[1], sh[0] * ch[1] + ch[0] * sh[1], n);
    double twice[2];
    for (int t = 0; t < 2; t++)
        twice[t] = dtmf_dirichlet(2.0 * se[t] * ce[t], 2.0 * sh[t] * ch[t], n);
    for (int part = 0; part < 2; part++) {                      /* cosines, then sines */
        double sign = part ? -1.0 : 1.0;
        double g0 = 0.5 * (n + sign * twice[0]), g1 = 0.5 * (n + sign * twice[1]);
        double cross = 0.5 * (apart + sign * joined), det = g0 * g1 - cross * cross;
        a[2 * part] = (g1 * v[2 * part] - cross * v[2 * part + 1]) / det;
        a[2 * part + 1] = (g0 * v[2 * part + 1] - cross * v[2 * part]) / det;
    }
    fit->power[0] = 0.5 * (a[0] * a[0] + a[2] * a[2]);
    fit->power[1] = 0.5 * (a[1] * a[1] + a[3] * a[3]);
    vec4 c0 = vec_set((float)a[0]), s0 = vec_set((float)a[2]), c1 = vec_set((float)a[1]), s1 = vec_set((float)a[3]);
    vec4 t = {0.0f, 1.0f, 2.0f, 3.0f}, rise[2] = {vec_set(0.0f), vec_set(0.0f)};
    t -= vec_set(0.5f * (float)(n - 1));
    for (int i = 0; i < n; i += 4) {
        vec4 low = c0 * vec_load(basis[0] + i) + s0 * vec_load(basis[1] + i);
        vec4 high = c1 * vec_load(basis[2] + i) + s1 * vec_load(basis[3] + i);
        vec4 rest = vec_load(x + i) - low - high;
        vec_store(rests + i, rest);
        left += rest * rest;
        rest *= t;
        rise[0] += rest * low;
        rise[1] += rest * high;
        t += vec_set(4.0f);
    }
    fit->energy = vec_sum(total);
    fit->residual = vec_sum(left);
    for (int i = 0; i < 3; i++)
        fit->colour[i] = fit->residual > 0.012 * fit->energy ? kernel_dot(rests, rests + 1 + i, n - 4) / fit->residual : 0.0;
    for (int i = 0; i < 2; i++) {
        fit->slope[i] = 12.0 * vec_sum(rise[i]) / ((double)n * n * fit->power[i] + 1e-9);
        fit->bend[i] = fit->overtone[i] = 0.0;
    }
    fit->overtone[2] = 0.0;
    if (fit->residual >= DTMF_CLEAN * fit->energy)
        dtmf_fit_more((const float (*)[DTMF_LONGEST])basis, rests, a, n, w, fit);
}
#endif
