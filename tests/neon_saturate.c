/* The saturating sum's kernels against the reference, as a program that needs no library:
 * tests/test_neon.py builds it for aarch64 and runs it under an emulator. One line a number of
 * columns; exit code 1 when one is off. */
#include "models/saturate.h"
#include "sparse/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STRIDE_MAX = 304, ROWS = 40 };

static const float GRID = 0x1p-14f;

static float y[ROWS * STRIDE_MAX], u[HM_DIRECTIONS * STRIDE_MAX], z[2][HM_DIRECTIONS * STRIDE_MAX];

struct row {
    hm_cell w[STRIDE_MAX];
    uint32_t b[STRIDE_MAX];
    int32_t q[STRIDE_MAX];
    float out[STRIDE_MAX];
};

static void fill(struct row *row, size_t cols, struct hm_rng *rng)
{
    memset(row, 0, sizeof *row);
    for (size_t k = 0; k < cols; k++) {
        row->b[k] = hm_rng_below(rng, 20000) - 10000;
        row->q[k] = (int32_t)hm_rng_below(rng, 401) - 200;
        hm_cell_set(&row->w[k],
                    ((float)(int32_t)row->b[k] + 400 * (float)hm_rng_unit(rng) - 200) * GRID);
    }
}

/* Of a row and of the moment, in parts of the largest number. */
static double error_of(const struct hm_saturate_kernels *kernels, size_t cols)
{
    const struct hm_saturate_kernels *each[2] = {kernels, &hm_saturate_ref};
    const size_t stride = (cols + 15) / 16 * 16;
    struct hm_rng rng = hm_rng_seed(cols, 1);
    struct hm_directions directions = {.u = u};
    struct hm_saturation table = {0};
    struct hm_projection m, inverse;
    struct row row[2];
    double worst = 0;
    memset(y, 0, sizeof y);
    memset(u, 0, sizeof u);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t k = 0; k < cols; k++)
            y[r * stride + k] = (float)hm_rng_unit(&rng) - .2f;
    hm_directions_turn(&directions, kernels, y, ROWS, cols, stride, 8, z[0]);
    hm_saturation_fill(&table, 12);
    if (!hm_saturation_of_row(&table, &directions, .1f, &m, &inverse))
        return INFINITY;
    fill(&row[0], cols, &rng);
    row[1] = row[0];
    memset(z, 0, sizeof z);
    for (int i = 0; i < 2; i++) {
        if (!each[i]->walk(row[i].w, row[i].b, stride, GRID, GRID, &m, row[i].out))
            return INFINITY;
        each[i]->back(row[i].q, stride, GRID, &inverse, row[i].w);
        each[i]->moment(y, ROWS, u, stride, z[i]);
    }
    for (size_t k = 0; k < stride; k++) {
        worst = fmax(worst, fabs((double)(row[0].out[k] - row[1].out[k])));
        worst = fmax(worst, fabs((double)(hm_cell_get(&row[0].w[k]) - hm_cell_get(&row[1].w[k]))));
    }
    for (size_t k = 0; k < HM_DIRECTIONS * stride; k++)
        worst = fmax(worst, fabs((double)(z[0][k] - z[1][k])) / (1 + fabs((double)z[1][k])));
    return worst;
}

int main(void)
{
    static const size_t cols[] = {2, 16, 17, 100, 300};
    int failed = 0;
    for (size_t c = 0; c < sizeof cols / sizeof cols[0]; c++) {
        const struct hm_saturate_kernels *kernels = hm_saturate_kernels_find("auto");
        double error = error_of(kernels, cols[c]);
        printf("%s: %zu columns are off by %.2g\n", kernels->name, cols[c], error);
        failed |= !(error <= 2e-5);
    }
    return failed;
}
