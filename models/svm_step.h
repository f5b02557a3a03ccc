/* Products of a sparse row with a dense vector, and sums into it. */
#ifndef HM_MODELS_SVM_STEP_H
#define HM_MODELS_SVM_STEP_H

#include "models/rows.h"

/* x_r . w with w [n_features] private floats; four partial sums, so that additions overlap. */
static inline float hm_row_dot(const struct hm_rows *rows, uint64_t r, const float *w)
{
    const uint64_t from = rows->start[r], n = rows->start[r + 1] - from;
    const float *x = rows->value + from;
    float a[4] = {0};
    if (rows->id16) {
        const uint16_t *id = rows->id16 + from;
        uint64_t k = 0;
        for (; k + 4 <= n; k += 4)
            for (int j = 0; j < 4; j++)
                a[j] += x[k + j] * w[id[k + j]];
        for (; k < n; k++)
            a[0] += x[k] * w[id[k]];
    } else {
        const uint32_t *id = rows->id32 + from;
        for (uint64_t k = 0; k < n; k++)
            a[k & 3] += x[k] * w[id[k]];
    }
    return (a[0] + a[1]) + (a[2] + a[3]);
}

/* w += u x_r. */
static inline void hm_row_add(const struct hm_rows *rows, uint64_t r, float u, float *w)
{
    for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++)
        w[rows->id16 ? rows->id16[k] : rows->id32[k]] += u * rows->value[k];
}

#endif
