/* models/word_kernels.h, built once for each instruction set as HM_TABLE, with vectors of HM_VL
 * floats. */
#include "models/word_kernels.h"

#include <string.h>

typedef float vec __attribute__((vector_size(4 * HM_VL)));

enum { COLUMNS = HM_WORD_COLUMNS, ROWS = HM_WORD_ROWS, ABREAST = 2 };
_Static_assert(COLUMNS % (ABREAST * HM_VL) == 0, "whole vectors");

static inline vec load(const float *from)
{
    vec v;
    memcpy(&v, from, sizeof v);
    return v;
}

/* Rows u[0 .. ROWS), columns [0, ABREAST * HM_VL): sums stay in registers. */
static inline void dots_block(const float *u, size_t dim, const float *v, float *s)
{
    vec sum[ROWS][ABREAST] = {{{0}}};
    for (size_t k = 0; k < dim; k++)
        for (int a = 0; a < ABREAST; a++) {
            vec x = load(v + k * COLUMNS + a * HM_VL);
            for (int r = 0; r < ROWS; r++)
                sum[r][a] += x * u[(size_t)r * dim + k];
        }
    for (int r = 0; r < ROWS; r++)
        for (int a = 0; a < ABREAST; a++)
            memcpy(s + r * COLUMNS + a * HM_VL, &sum[r][a], sizeof sum[r][a]);
}

static void dots(const float *u, size_t n, size_t dim, const float *v, float *s)
{
    for (size_t i = 0; i < n; i += ROWS)
        for (size_t j = 0; j < COLUMNS; j += ABREAST * HM_VL)
            dots_block(u + i * dim, dim, v + j, s + i * COLUMNS + j);
}

static unsigned above(const float *restrict a, const float *restrict b, const float *restrict c,
                      float limit, float *restrict x)
{
    unsigned n = 0;
    for (int j = 0; j < COLUMNS; j++) {
        x[j] = b[j] + c[j] - a[j];
        n += x[j] > limit;
    }
    return n;
}

extern const struct hm_word_kernels HM_TABLE;
const struct hm_word_kernels HM_TABLE = {HM_TABLE_NAME, dots, above};
