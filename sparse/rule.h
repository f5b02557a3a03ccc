/* The arithmetic that all kernel tables share, so that they agree to the last bit. Internal to
 * sparse/.
 *
 * Publishing one coordinate, all in float: d = W - B * grid; q = 0 if |d| < least, else d *
 * per_unit rounded to nearest-even, at least 1 in magnitude, with d's sign; then clipped; W -= back
 * * q.
 */
#ifndef HM_SPARSE_RULE_H
#define HM_SPARSE_RULE_H

#include "sparse/kernels.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* A tensor's constants for one flush. */
struct rule {
    float grid;
    float least;    /* smallest |d| that is published */
    float per_unit; /* 1 / (L * grid) */
    float back;     /* (L - 1) * grid */
};

/* More than this is published without a dead zone: half a unit. W within +-HM_RANGE units of the
 * grid is a multiple of 1/4 of it at the worst, and rounding what is taken back to that can turn a
 * remainder above L/2 into one below -L/2, back and forth for ever. It cannot where L/2 is a
 * multiple of 1/4 itself; for other L the quarter stays in W. */
static inline float rule_keep(float divisor, float grid)
{
    float slack = rintf(2 * divisor) == 2 * divisor ? 0 : grid / 4;
    return divisor * grid / 2 + slack;
}

static inline struct rule rule_of(int grid_exp, const struct hm_publish *publish)
{
    assert(publish->divisor >= 1);
    float grid = hm_exp2i(grid_exp), unit = publish->divisor * grid;
    float least =
        publish->dead_zone ? unit : nextafterf(rule_keep(publish->divisor, grid), INFINITY);
    return (struct rule){
        .grid = grid,
        .least = fmaxf(least, publish->least),
        .per_unit = 1 / unit,
        .back = (publish->divisor - 1) * grid,
    };
}

/* More than a publisher may move B in one flush; floats beyond are cut to it before they become
 * integers. */
#define RULE_Q_CUT ((float)(2 * HM_RANGE + 1))

/* q before it is clipped. */
static inline int32_t rule_wanted(float d, const struct rule *rule)
{
    if (fabsf(d) < rule->least)
        return 0;
    float x = fminf(fmaxf(d * rule->per_unit, -RULE_Q_CUT), RULE_Q_CUT);
    int32_t q = (int32_t)rintf(x);
    return q ? q : d > 0 ? 1 : -1;
}

/* q clipped so that it neither takes B out of +-HM_RANGE nor exceeds 2 * HM_RANGE. Where other
 * nodes' deltas have already taken B out, q may only bring it back: forcing it would make every
 * node do so at once. */
static inline int32_t rule_clip(int32_t q, int32_t b)
{
    const int32_t far = 4 * HM_RANGE; /* keeps the sums below in range */
    b = b > far ? far : b;
    b = b < -far ? -far : b;
    int32_t low = -HM_RANGE - b, high = HM_RANGE - b;
    low = low > 0 ? 0 : low;
    low = low < -2 * HM_RANGE ? -2 * HM_RANGE : low;
    high = high < 0 ? 0 : high;
    high = high > 2 * HM_RANGE ? 2 * HM_RANGE : high;
    q = q < low ? low : q;
    return q > high ? high : q;
}

static inline void rule_note_nonfinite(struct hm_extract_stats *stats, size_t at, float w,
                                       int32_t b)
{
    if (!stats->n_nonfinite++)
        stats->first_nonfinite = (struct hm_offender){at, w, b};
}

/* Of a coordinate that was clipped: B as it was before. */
static inline void rule_note_leap(struct hm_extract_stats *stats, int32_t wanted, size_t at,
                                  float w, int32_t b)
{
    if (abs(wanted) > HM_LEAP && !stats->n_leaps++)
        stats->first_leap = (struct hm_offender){at, w, b};
}

/* What W gains from q: q * grid, and -0.0f for q = 0, which leaves any W as it is. */
static inline float rule_gain(int32_t q, float grid)
{
    return -((float)-q * grid);
}

/* Is the i-th listed block added by the metered add? Every 16th is; where that begins changes from
 * delta to delta, lest the first block, often the busiest, is always in the sample. */
static inline int rule_metered(const struct hm_delta *delta, uint32_t i)
{
    return (i + delta->n_nonzero) % 16 == 0;
}

/* Where the part of `tensor` that lies below block `to` ends. */
static inline uint32_t rule_part_end(const struct hm_tensor *tensor, uint32_t to)
{
    uint32_t end = tensor->block + tensor->n_blocks;
    return end < to ? end : to;
}

/* The metered add of one block. */
static inline void rule_add_metered(hm_cell *w, const int32_t *q, float grid, uint64_t *n_sampled,
                                    uint64_t *n_wiped)
{
    for (unsigned j = 0; j < HM_BLOCK; j++)
        if (q[j]) {
            *n_sampled += 1;
            *n_wiped += hm_cell_add_metered(&w[j], rule_gain(q[j], grid));
        }
}

#endif
