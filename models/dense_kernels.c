/* models/dense.h, built once for each instruction set as HM_TABLE. Loops over short blocks that
 * stay in the L1 cache; compilers vectorise them. */
#include "models/dense.h"

#include "sparse/cell_vec.h"

#include <math.h>

enum { BLOCK = 64 };

#define INLINE static inline __attribute__((always_inline))

static void read_cells(const hm_cell *w, float *out, size_t n)
{
    hm_cells_get(w, out, n);
}

static void read_ahead(const hm_cell *v, float reach, float *out, size_t n)
{
    for (size_t at = 0; at < n; at += BLOCK) {
        float block[BLOCK];
        hm_cells_get(v + at, block, BLOCK);
        for (size_t i = 0; i < BLOCK; i++)
            out[at + i] += reach * block[i];
    }
}

static double square_sum(const float *g, size_t n)
{
    double total = 0;
    for (size_t at = 0; at < n; at += BLOCK) {
        float sum[16] = {0};
        for (size_t i = 0; i < BLOCK; i += 16)
            for (size_t k = 0; k < 16; k++)
                sum[k] += g[at + i + k] * g[at + i + k];
        float block = 0;
        for (size_t k = 0; k < 16; k++)
            block += sum[k];
        total += (double)block;
    }
    return total;
}

/* What decays ends in zero, not among the subnormal numbers: there it would get stuck, and each
 * operation on it takes some processors a hundred times as long. */
INLINE float decayed(float x)
{
    return fabsf(x) < HM_DENSE_LEAST ? 0 : x;
}

/* g of one block with clipping, decay and compensation. */
INLINE void prepare(const struct hm_dense_step *step, const float *restrict g,
                    const float *restrict read, const hm_cell *w, float *restrict mean_square,
                    const int compensate, float *restrict out)
{
    float now[BLOCK];
    if (step->decay != 0 || compensate)
        hm_cells_get(w, now, BLOCK);
    for (size_t i = 0; i < BLOCK; i++)
        out[i] = g[i] * step->clip;
    if (step->decay != 0)
        for (size_t i = 0; i < BLOCK; i++)
            out[i] += step->decay * now[i];
    if (!compensate)
        return;
    for (size_t i = 0; i < BLOCK; i++) {
        float lambda = step->lambda, square = out[i] * out[i];
        if (step->adaptive) {
            mean_square[i] = decayed(.95f * mean_square[i] + .05f * square);
            lambda /= sqrtf(mean_square[i] + 1e-7f);
        }
        out[i] += lambda * square * (now[i] - read[i]);
    }
}

/* Velocity moves on; out becomes what is added to W. */
INLINE void move(const struct hm_dense_step *step, float *restrict velocity, float *restrict out)
{
    const float rate = step->rate, momentum = step->momentum;
    if (momentum == 0)
        for (size_t i = 0; i < BLOCK; i++)
            out[i] *= -rate;
    else if (step->nesterov)
        for (size_t i = 0; i < BLOCK; i++) {
            velocity[i] = decayed(momentum * velocity[i] + out[i]);
            out[i] = -rate * (out[i] + momentum * velocity[i]);
        }
    else
        for (size_t i = 0; i < BLOCK; i++) {
            velocity[i] = decayed(momentum * velocity[i] + out[i]);
            out[i] = -rate * velocity[i];
        }
}

static void do_step(const struct hm_dense_step *step, const float *g, const float *read, hm_cell *w,
                    float *velocity, float *mean_square, size_t n)
{
    const struct hm_dense_step s = *step;
    for (size_t at = 0; at < n; at += BLOCK) {
        float out[BLOCK];
        if (s.lambda != 0)
            prepare(&s, g + at, read + at, w + at, mean_square ? mean_square + at : NULL, 1, out);
        else
            prepare(&s, g + at, NULL, w + at, NULL, 0, out);
        move(&s, velocity ? velocity + at : NULL, out);
        hm_cells_add(w + at, out, BLOCK);
    }
}

extern const struct hm_dense HM_TABLE;
const struct hm_dense HM_TABLE = {HM_TABLE_NAME, read_cells, read_ahead, square_sum, do_step};
