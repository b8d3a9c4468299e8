/* The front of the FSK receiver: eight samples in, the strength of mark and space at each of them out.
 *
 * Theory of operation. A 400 Hz high-pass takes away offset, hum and what ringing leaves behind. Four tables turn mark and space to
 * zero frequency; 160 samples (20 ms) hold a whole number of turns of 1200, 1250, 1300, 2100, 2150 and 2200 Hz, so that a table
 * has no seam. Sums over one bit, 6 2/3 samples (five whole ones and two of 5/6), are the matched filters of the two tones.
 * Arrays run along time, so that four samples are worked on at once; history comes first in each array. */
#ifndef BRANCHPBX_FSK_FRONT_H
#define BRANCHPBX_FSK_FRONT_H
#include "kernels.h"

enum { FSK_FRAME = 8, FSK_TURN = 160 };

typedef struct {
    float hp[2];              /* high-pass, transposed direct form */
    float y[16];              /* the last eight samples behind the high-pass, then the frame's */
    float mixed[4][16];       /* mark re, mark im, space re, space im */
    float energy;             /* of one bit at the frame's end: for a tone of amplitude a, a^2/2 * bit */
    int turn;                 /* place in the tables */
} FskFront;

static inline vec4 fsk_root(vec4 v)
{
    vec4 r = {sqrtf(v[0]), sqrtf(v[1]), sqrtf(v[2]), sqrtf(v[3])};
    return r;
}

static inline vec4 fsk_bit_sum(const float *p)
{
    const vec4 edge = vec_set((float)(5.0 / 6.0));
    vec4 ends = vec_load(p) + vec_load(p + 6);
    vec4 whole = vec_load(p + 1) + vec_load(p + 2) + vec_load(p + 3) + vec_load(p + 4) + vec_load(p + 5);
    return whole + edge * ends;
}

/* `wave` holds four tables of FSK_TURN. mark[i] and space[i] are the amplitudes of the two tones over the bit that ends at sample i:
 * a * bit / 2 for a tone of amplitude a; filter[0..3][i] are their parts: mark re, mark im, space re, space im. */
static inline void fsk_front(FskFront *f, const float *wave, const float *x, float *mark, float *space, float *const filter[4])
{
    float h0 = f->hp[0], h1 = f->hp[1];
    vec_store(f->y, vec_load(f->y + 8));
    vec_store(f->y + 4, vec_load(f->y + 12));
    for (int i = 0; i < FSK_FRAME; i++) {     /* Butterworth, second order, 400 Hz at 8 kHz */
        float y = 0.80059240f * x[i] + h0;
        h0 = -1.6011848f * x[i] + 1.5610181f * y + h1;
        h1 = 0.80059240f * x[i] - 0.64135154f * y;
        f->y[8 + i] = y;
    }
    f->hp[0] = h0;
    f->hp[1] = h1;
    for (int k = 0; k < 4; k++) {
        float *m = f->mixed[k];
        const float *w = wave + k * FSK_TURN + f->turn;
        vec_store(m, vec_load(m + 8));
        vec_store(m + 4, vec_load(m + 12));
        vec_store(m + 8, vec_load(w) * vec_load(f->y + 8));
        vec_store(m + 12, vec_load(w + 4) * vec_load(f->y + 12));
    }
    f->turn = f->turn + FSK_FRAME < FSK_TURN ? f->turn + FSK_FRAME : 0;
    for (int i = 0; i < FSK_FRAME; i += 4) {
        vec4 a = fsk_bit_sum(f->mixed[0] + 2 + i), b = fsk_bit_sum(f->mixed[1] + 2 + i);
        vec4 c = fsk_bit_sum(f->mixed[2] + 2 + i), d = fsk_bit_sum(f->mixed[3] + 2 + i);
        vec_store(mark + i, fsk_root(a * a + b * b));
        vec_store(space + i, fsk_root(c * c + d * d));
        vec_store(filter[0] + i, a);
        vec_store(filter[1] + i, b);
        vec_store(filter[2] + i, c);
        vec_store(filter[3] + i, d);
    }
    vec4 u = vec_load(f->y + 9), v = vec_load(f->y + 12);      /* samples 9 to 15; the 12th once, the outer two less */
    u[0] *= 0.91287093f;                                       /* root of 5/6 */
    u[3] = 0.0f;
    v[3] *= 0.91287093f;
    f->energy = vec_sum(u * u + v * v);
}

/* What speaks for mark: above 0 mark, below space. Each filter counts with the amplitude its tone is known to have, less half of
 * that tone's energy, as for any two known signals; so a line that favours one tone moves neither the threshold nor the edges.
 * Returns 1 when a value is not above 0. */
static inline int fsk_weigh(float *out, const float *mark, const float *space, float mark_level, float space_level)
{
    const vec4 a = vec_set(mark_level), b = vec_set(space_level);
    const vec4 middle = vec_set(0.5f * (mark_level * mark_level - space_level * space_level));
    int low = 0;
    for (int i = 0; i < FSK_FRAME; i += 4) {
        vec4 v = a * vec_load(mark + i) - b * vec_load(space + i) - middle;
        vec_store(out + i, v);
        low |= !(v[0] > 0.0f) | !(v[1] > 0.0f) | !(v[2] > 0.0f) | !(v[3] > 0.0f);
    }
    return low;
}

enum { FSK_RING = 128 };

/* Value `t` samples after `base` of a ring, between two samples; t >= 0. */
static inline float fsk_at(const float *ring, unsigned int base, float t)
{
    int i = (int)t;
    float a = ring[(base + i) & (FSK_RING - 1)], b = ring[(base + i + 1) & (FSK_RING - 1)];
    return a + (b - a) * (t - i);
}
#endif
