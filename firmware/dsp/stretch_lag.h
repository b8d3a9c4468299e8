/* Search for the lag at which a sound resembles itself: for concealment and time scaling.
 *
 * Theory of operation. The normalised cross-correlation c(lag) = <t, u> / sqrt(<t,t> <u,u>) of a template t of n samples with the samples u
 * `lag` later (direction 1) or earlier (-1). First over all lags on the sound thinned to 4 kHz (means of `thin` samples), then at full rate
 * around the winner. A longer lag wins only if it is clearly better, so that one period is preferred to two. */
#ifndef BRANCHPBX_STRETCH_LAG_H
#define BRANCHPBX_STRETCH_LAG_H
#include "comfort_lpc.h"

#define LAG_SPAN 1024           /* samples of template plus longest lag */

/* direction 1: x[0..n) with x[lag..lag+n); -1: x[0..n) with x[-lag..n-lag). Returns the lag; *match is its c, -1 where there is no sound.
 * least >= 2 thin; most >= least; n + most <= LAG_SPAN. */
static inline int lag_search(const float *x, int direction, int n, int least, int most, int thin, float *match)
{
    float low[LAG_SPAN / 2 + 8];
    const float *from = direction > 0 ? x : x - most / thin * thin;
    const int longest = most / thin, shortest = (least + thin - 1) / thin, length = n / thin, all = length + longest;
    const float *t, scale = 1.0f / (float)thin;
    float best = -1.0f, energy, part, product;
    int lag = shortest;

    for (int i = 0; i < all; i++) {
        float s = 0.0f;
        for (int j = 0; j < thin; j++)
            s += from[i * thin + j];
        low[i] = s * scale;
    }
    t = direction > 0 ? low : low + longest;
    energy = lpc_dot(t, t, length);
    if (!(energy > 1.0f * (float)length)) {
        *match = -1.0f;
        return least;
    }
    for (int l = shortest; l <= longest; l++) {
        const float *u = t + direction * l;
        product = lpc_dot(t, u, length);
        if (product <= 0.0f)
            continue;
        part = product * product / (energy * (lpc_dot(u, u, length) + 1.0f));
        if (part > best * 1.02f) {
            best = part;
            lag = l;
        }
    }
    {
        int low_lag = (lag - 1) * thin, high_lag = (lag + 1) * thin;
        low_lag = low_lag < least ? least : low_lag;
        high_lag = high_lag > most ? most : high_lag;
        best = -1.0f;
        lag = low_lag;
        energy = lpc_dot(x, x, n) + 1.0f;
        for (int l = low_lag; l <= high_lag; l++) {
            const float *u = x + direction * l;
            product = lpc_dot(x, u, n);
            part = product / (lpc_root(energy * (lpc_dot(u, u, n) + 1.0f)) + 1e-9f);
            if (part > best) {
                best = part;
                lag = l;
            }
        }
    }
    *match = best;
    return lag;
}

/* out[i] goes from a to b over n samples (raised linearly, sample by sample). */
static inline float lag_fade(float a, float b, int i, int n)
{
    const float w = ((float)i + 0.5f) / (float)n;
    return a + (b - a) * w;
}
#endif
