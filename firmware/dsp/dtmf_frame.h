/* One frame of the DTMF detector explained as two sinusoids: its tables, fit and pick.
 *
 * Theory of operation. The correlations of a frame with the cosines and sines of the eight frequencies (ITU-T Q.23), taken from its
 * middle, are solved for one low and one high tone by the inverse of their 2 x 2 matrices, which are tabled once: cosines and
 * sines do not mix. Purity is the share of the frame's power that the two tones explain. */
#ifndef BRANCHPBX_DTMF_FRAME_H
#define BRANCHPBX_DTMF_FRAME_H
#include <math.h>
#include "dtmf_kernels.h"

static const double DTMF_HZ[8] = {697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0};

typedef struct {
    float wave[16][DTMF_HALF];  /* cosines, then sines, from the middle of a frame on */
    float turn[16];             /* cosine, then sine, of what each frequency turns in one frame */
    float inverse[16][6];       /* of the matrices of each pair: cosines 00 01 11, sines 00 01 11 */
    float low_leak[8];          /* of a tone's power into the measure of what is below 400 Hz */
} DtmfTables;

typedef struct {
    float purity;
    float tone[2];              /* mean squares of the low and the high tone */
    float re[2];                /* their phasors: re - j im */
    float im[2];
} DtmfPair;

static inline double dtmf_radians(int tone) { return 2.0 * 3.141592653589793 * DTMF_HZ[tone] / 8000.0; }

static inline void dtmf_fill_tables(DtmfTables *t)
{
    double c, s;
    float x[DTMF_FRAME];
    for (int f = 0; f < 8; f++) {
        const double w = dtmf_radians(f);
        dtmf_cos_sin(w * DTMF_FRAME, &c, &s);
        t->turn[f] = (float)c;
        t->turn[8 + f] = (float)s;
        for (int i = 0; i < DTMF_HALF; i++) {
            dtmf_cos_sin(w * (i + 0.5), &c, &s);
            t->wave[f][i] = (float)c;
            t->wave[8 + f][i] = (float)s;
        }
        for (int i = 0; i < DTMF_FRAME; i++) {
            dtmf_cos_sin(w * i, &c, &s);
            x[i] = (float)c;
        }
        double leak = dtmf_low_energy(x);
        for (int i = 0; i < DTMF_FRAME; i++) {
            dtmf_cos_sin(w * i, &c, &s);
            x[i] = (float)s;
        }
        t->low_leak[f] = (float)((leak + dtmf_low_energy(x)) / DTMF_FRAME);
    }
    for (int pair = 0; pair < 16; pair++)
        for (int part = 0; part < 2; part++) {
            const float *low = t->wave[8 * part + (pair >> 2)], *high = t->wave[8 * part + 4 + (pair & 3)];
            double a = 0.0, b = 0.0, d = 0.0;
            for (int i = 0; i < DTMF_HALF; i++) {
                a += 2.0 * low[i] * low[i];
                b += 2.0 * low[i] * high[i];
                d += 2.0 * high[i] * high[i];
            }
            const double det = a * d - b * b;
            t->inverse[pair][3 * part] = (float)(d / det);
            t->inverse[pair][3 * part + 1] = (float)(-b / det);
            t->inverse[pair][3 * part + 2] = (float)(a / det);
        }
}

/* Explains a frame of mean square `power` with the correlations z as the two tones of `pair` (low * 4 + high). */
static inline void dtmf_fit_pair(const DtmfTables *t, const float *z, float power, int pair, DtmfPair *fit)
{
    const float *m = t->inverse[pair];
    const int f = pair >> 2, g = 4 + (pair & 3);
    fit->re[0] = m[0] * z[f] + m[1] * z[g];
    fit->re[1] = m[1] * z[f] + m[2] * z[g];
    fit->im[0] = m[3] * z[8 + f] + m[4] * z[8 + g];
    fit->im[1] = m[4] * z[8 + f] + m[5] * z[8 + g];
    fit->tone[0] = 0.5f * (fit->re[0] * fit->re[0] + fit->im[0] * fit->im[0]);
    fit->tone[1] = 0.5f * (fit->re[1] * fit->re[1] + fit->im[1] * fit->im[1]);
    fit->purity = (fit->re[0] * z[f] + fit->re[1] * z[g] + fit->im[0] * z[8 + f] + fit->im[1] * z[8 + g]) / (power * DTMF_FRAME);
}

/* The pair of the strongest low and high frequency over two frames joined. */
static inline int dtmf_pick(const DtmfTables *t, const float *before, const float *now)
{
    float strength[8];
    int low = 0, high = 4;
    dtmf_join(before, now, t->turn, strength);
    for (int f = 1; f < 4; f++) {
        if (strength[f] > strength[low])
            low = f;
        if (strength[4 + f] > strength[high])
            high = 4 + f;
    }
    return low * 4 + high - 4;
}

#define DTMF_BEND 0.003         /* of the frequency, from one end of a run to the other */
#define DTMF_OVERTONE 0.015     /* of a tone's power at twice or thrice its frequency; Q.23 allows 0.01 for all distortion */

/* A frequency moves over the n samples of a fit at w, by more than its residual explains if that is white. */
static inline int dtmf_is_bent(const DtmfFit *fit, int n, const double *w, double sigmas)
{
    for (int i = 0; i < 2; i++) {
        const double doubt = 2.0 / w[i] * sqrt(180.0 * fit->residual / n / fit->power[i] / ((double)n * n * n));
        if (fabs(fit->bend[i]) > DTMF_BEND + sigmas * doubt)
            return 1;
    }
    return 0;
}

/* A tone has a second or third harmonic, by more than white noise has there by chance. */
static inline int dtmf_has_overtone(const DtmfFit *fit, int n)
{
    const double chance = 9.0 * 2.0 / n * fit->residual / n;
    for (int i = 0; i < 3; i++)
        if (fit->overtone[i] > DTMF_OVERTONE * fit->power[i & 1] + chance)
            return 1;
    return 0;
}
#endif
