/* Products of a sparse row with a dense vector, and sums into it. */
#ifndef HM_MODELS_SVM_STEP_H
#define HM_MODELS_SVM_STEP_H

#include "models/rows.h"

/* The feature of a non-zero. */
static inline uint32_t hm_row_id(const struct hm_rows *rows, uint64_t k)
{
    return rows->id16 ? rows->id16[k] : rows->id32[k];
}

/* x . w with w [n_features] private floats, and x the values of row r's features: its own ones, or
 * what is made of them. Four partial sums, so that additions overlap. */
static inline float hm_row_dot_of(const struct hm_rows *rows, uint64_t r, const float *x,
                                  const float *w)
{
    const uint64_t from = rows->start[r], n = rows->start[r + 1] - from;
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

static inline float hm_row_dot(const struct hm_rows *rows, uint64_t r, const float *w)
{
    return hm_row_dot_of(rows, r, rows->value + rows->start[r], w);
}

/* w += u x, with x as above. */
static inline void hm_row_add_of(const struct hm_rows *rows, uint64_t r, const float *x, float u,
                                 float *w)
{
    for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++)
        w[hm_row_id(rows, k)] += u * *x++;
}

static inline void hm_row_add(const struct hm_rows *rows, uint64_t r, float u, float *w)
{
    hm_row_add_of(rows, r, rows->value + rows->start[r], u, w);
}

#endif
