/* The saturating sum: how nodes' walks add up where a few directions of every row relax within a
 * flush and all others hardly move.
 *
 * In a quadratic bowl a walk of k examples closes 1 - e^-x of the gap in a direction of relaxation
 * x, one of N k examples 1 - e^-Nx. N walks that do not see each other close as much together when
 * each is divided by
 *
 *     F(x) = N (1 - e^-x) / (1 - e^-Nx),
 *
 * which goes from 1, their sum, to N, their mean. With word vectors the directions that relax are
 * few and common to all rows of a table: those in which the rows of the opposite table lie. So a
 * row of the delta D = W - B is published as
 *
 *     M D = D / F_b + sum over j < 8 of (1/F_j - 1/F_b) u_j (u_j . D),
 *
 * with u_j, lambda_j the first eigenvectors and eigenvalues of the opposite table's second moment,
 * lambda_b the mean of the others, and x_j = rate x curvature x pairs a row meets in k examples x
 * lambda_j. What is published moves W by q - M^-1 q: rounding stays in W - B times M^-1, so that it
 * counts in full the next time.
 *
 * The nodes need not agree on any of this: q is what counts.
 */
#ifndef HM_MODELS_SATURATE_H
#define HM_MODELS_SATURATE_H

#include "sparse/cell.h"

#include <stddef.h>
#include <stdint.h>

enum { HM_DIRECTIONS = 8, HM_SATURATION_ENTRIES = 17 * 4 + 1 };

/* F(x) for n >= 1 walks; exact, in double. */
double hm_saturation(double x, double n);

/* F for one n, over log x. */
struct hm_saturation {
    double n; /* 0: not filled */
    float f[HM_SATURATION_ENTRIES];
};

/* Fills the table, unless it is for that n already. */
void hm_saturation_fill(struct hm_saturation *table, double n);

/* F(x) within 1 %; x that is no number counts as infinite. */
float hm_saturation_at(const struct hm_saturation *table, float x);

/* The strongest directions of a table's second moment, orthonormal, by falling eigenvalue. */
struct hm_directions {
    float *u; /* [HM_DIRECTIONS][stride], 64-byte aligned; zeros where there are no more */
    float lambda[HM_DIRECTIONS], rest; /* rest: mean eigenvalue of the others */
};

/* What is done to a row: y = base x + sum of c_j u_j (u_j . x). */
struct hm_projection {
    const float *u;
    float base, c[HM_DIRECTIONS];
};

/* M and M^-1 of rows that have relaxed by x lambda_j. Returns 0 where they are as good as the
 * identity, and then neither is written. */
int hm_saturation_of_row(const struct hm_saturation *table, const struct hm_directions *directions,
                         float x, struct hm_projection *m, struct hm_projection *inverse);

/* The arithmetic, one table for each instruction set. stride: a multiple of 16. */
struct hm_saturate_kernels {
    const char *name;

    /* out [stride] = B grid + M (W - B grid) for a row; M NULL: the identity. Rows with something
     * that is not finite in W, and those where M changes nothing that could be published (all of
     * |W - B grid| below `least`), come as W is. Returns 1 when M was applied. */
    int (*walk)(const hm_cell *w, const uint32_t *b, size_t stride, float grid, float least,
                const struct hm_projection *m, float *out);

    /* W += grid (q - M^-1 q) for a row, in place. */
    void (*back)(const int32_t *q, size_t stride, float grid, const struct hm_projection *inverse,
                 hm_cell *w);

    /* z[j] += sum over the n rows y of y (u_j . y), j < HM_DIRECTIONS: u, z
     * [HM_DIRECTIONS][stride], y [n][stride], 64-byte aligned. */
    void (*moment)(const float *y, size_t n, const float *u, size_t stride, float *z);
};

extern const struct hm_saturate_kernels hm_saturate_ref;

/* The table for `isa` as hm_kernels_find takes it; "ref" is the plain one. */
const struct hm_saturate_kernels *hm_saturate_kernels_find(const char *isa);

/* Brings the directions closer to those of the n rows y [n][stride] by `rounds` of subspace
 * iteration from where they are; those that are still zero begin at random. z
 * [HM_DIRECTIONS][stride] is room. Rows that are not finite are to be left out by the caller. */
void hm_directions_turn(struct hm_directions *directions, const struct hm_saturate_kernels *kernels,
                        const float *y, size_t n, size_t cols, size_t stride, unsigned rounds,
                        float *z);

#endif
