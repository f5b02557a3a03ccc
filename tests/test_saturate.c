/* The saturating sum's arithmetic: the divisor and its table, directions of a table, and what is
 * done to rows, by every instruction set as by the plain reference. */
#include "sparse_scene.h"

#include "models/saturate.h"

#include <math.h>

enum { STRIDE_MAX = 1008, ROWS = 300 };

static void *room(size_t floats)
{
    void *memory = aligned_alloc(64, floats * sizeof(float));
    assert_non_null(memory);
    return memset(memory, 0, floats * sizeof(float));
}

static float normal(struct hm_rng *rng)
{
    float sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (float)hm_rng_unit(rng);
    return sum - 6;
}

/* ---- F ---- */

static void test_divisor_goes_from_sum_to_mean(void **state)
{
    (void)state;
    for (double n = 1; n < 200; n *= 1.7) {
        assert_true(hm_saturation(0, n) == 1);
        assert_true(fabs(hm_saturation(1e-9, n) - 1) < 1e-6);
        assert_true(fabs(hm_saturation(1e3, n) - n) < 1e-9 * n);
        assert_true(hm_saturation(INFINITY, n) == n && hm_saturation(NAN, n) == n);
        double before = 1;
        for (double x = 1e-6; x < 100; x *= 1.3) {
            double f = hm_saturation(x, n);
            assert_true(f >= before - 1e-12 && f <= n + 1e-9);
            before = f;
        }
    }
    for (double x = 0; x < 10; x += .1)
        assert_true(hm_saturation(x, 1) == 1);
}

/* N walks in a bowl, seen together, close as much of the gap as one of N times the length. */
static void test_walks_in_a_bowl_close_what_one_would(void **state)
{
    (void)state;
    for (int n = 1; n <= 64; n *= 2)
        for (double x = 1e-5; x < 20; x *= 1.9) {
            double together = n * (1 - exp(-x)) / hm_saturation(x, n);
            assert_true(fabs(together - (1 - exp(-n * x))) < 1e-9);
        }
}

static void test_table_is_close_to_the_divisor(void **state)
{
    (void)state;
    for (double n = 1; n < 300; n *= 1.9) {
        struct hm_saturation table = {0};
        hm_saturation_fill(&table, n);
        for (float x = 1e-7f; x < 1e4f; x *= 1.01f) {
            double f = hm_saturation((double)x, n), got = (double)hm_saturation_at(&table, x);
            assert_true(fabs(got - f) < .01 * f);
            assert_true(got >= 1 - 1e-6 && got <= n * (1 + 1e-6));
        }
        assert_true(hm_saturation_at(&table, 0) == 1);
        assert_true(hm_saturation_at(&table, INFINITY) == (float)n);
        assert_true(hm_saturation_at(&table, -1) == 1);
    }
}

/* ---- directions ---- */

/* Rows with a large mean and a few strong directions among weak ones. */
static void make_rows(float *y, size_t n, size_t cols, size_t stride, uint64_t seed)
{
    struct hm_rng rng = hm_rng_seed(seed, 9);
    memset(y, 0, n * stride * sizeof *y);
    for (size_t r = 0; r < n; r++)
        for (size_t k = 0; k < cols; k++) {
            float strength = k < 4 ? 2 / (1 + (float)k) : .2f;
            y[r * stride + k] = strength * normal(&rng) + (k == 1 ? 3.f : 0);
        }
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

struct bed {
    size_t cols, stride;
    float *y, *z;
    struct hm_directions directions;
};

static struct bed open_bed(size_t cols, size_t n, uint64_t seed)
{
    struct bed bed = {.cols = cols, .stride = (cols + 15) / 16 * 16};
    bed.y = room(ROWS * bed.stride);
    bed.z = room(HM_DIRECTIONS * bed.stride);
    bed.directions.u = room(HM_DIRECTIONS * bed.stride);
    make_rows(bed.y, n, cols, bed.stride, seed);
    hm_directions_turn(&bed.directions, &hm_saturate_ref, bed.y, n, cols, bed.stride, 30, bed.z);
    return bed;
}

static void close_bed(struct bed *bed)
{
    free(bed->y);
    free(bed->z);
    free(bed->directions.u);
}

static void test_directions_are_eigenvectors(void **state)
{
    (void)state;
    static const size_t cols[] = {2, 7, 8, 9, 16, 50, 100, 300};
    for (size_t c = 0; c < N_OF(cols); c++) {
        struct bed bed = open_bed(cols[c], ROWS, c);
        const struct hm_directions *d = &bed.directions;
        double trace = 0, seen = (double)d->rest * (cols[c] > 8 ? (double)cols[c] - 8 : 0);
        memset(bed.z, 0, HM_DIRECTIONS * bed.stride * sizeof *bed.z);
        hm_saturate_ref.moment(bed.y, ROWS, d->u, bed.stride, bed.z);
        for (unsigned j = 0; j < HM_DIRECTIONS; j++) {
            const float *u = d->u + j * bed.stride;
            double norm = dot(u, u, bed.stride), off = 0;
            assert_true(fabs(norm - 1) < 1e-4 || norm == 0);
            assert_true((norm > 0) == (j < cols[c]));
            assert_true(j == 0 || d->lambda[j] <= d->lambda[j - 1] * 1.0001f);
            for (unsigned i = 0; i < j; i++)
                assert_true(fabs(dot(u, d->u + i * bed.stride, bed.stride)) < 1e-4);
            for (size_t k = 0; k < bed.stride; k++)
                off += fabs((double)bed.z[j * bed.stride + k] / ROWS -
                            (double)d->lambda[j] * (double)u[k]);
            assert_true(j > 2 || off < .02 * (double)d->lambda[0]);
            seen += (double)d->lambda[j];
        }
        for (size_t r = 0; r < ROWS; r++)
            trace += dot(bed.y + r * bed.stride, bed.y + r * bed.stride, bed.stride) / ROWS;
        assert_true(fabs(seen - trace) < 1e-3 * trace);
        close_bed(&bed);
    }
}

/* Warm, one round follows a table that has moved a little. */
static void test_directions_follow(void **state)
{
    (void)state;
    struct bed bed = open_bed(100, ROWS, 1);
    float before = bed.directions.lambda[0];
    make_rows(bed.y, ROWS, 100, bed.stride, 2);
    hm_directions_turn(&bed.directions, &hm_saturate_ref, bed.y, ROWS, 100, bed.stride, 1, bed.z);
    assert_true(fabsf(bed.directions.lambda[0] - before) < .1f * before);
    assert_true(bed.directions.lambda[0] > 9);
    close_bed(&bed);
}

static void test_tables_without_directions(void **state)
{
    (void)state;
    struct hm_saturation table = {0};
    struct hm_projection m, inverse;
    hm_saturation_fill(&table, 16);
    struct bed bed = open_bed(100, 0, 1); /* no rows at all */
    assert_true(bed.directions.lambda[0] == 0 && bed.directions.rest == 0);
    assert_false(hm_saturation_of_row(&table, &bed.directions, 1e6f, &m, &inverse));
    memset(bed.y, 0, ROWS * bed.stride * sizeof *bed.y); /* rows of zeros, as at the start */
    hm_directions_turn(&bed.directions, &hm_saturate_ref, bed.y, ROWS, 100, bed.stride, 2, bed.z);
    assert_false(hm_saturation_of_row(&table, &bed.directions, 1e6f, &m, &inverse));
    for (size_t r = 0; r < ROWS; r++) /* one row, again and again */
        for (size_t k = 0; k < 100; k++)
            bed.y[r * bed.stride + k] = (float)k / 100;
    hm_directions_turn(&bed.directions, &hm_saturate_ref, bed.y, ROWS, 100, bed.stride, 2, bed.z);
    assert_true(bed.directions.lambda[0] > 30 && bed.directions.lambda[1] < 1e-3f);
    for (size_t k = 0; k < HM_DIRECTIONS * bed.stride; k++)
        assert_true(isfinite(bed.directions.u[k]));
    close_bed(&bed);
}

/* ---- rows ---- */

struct row {
    hm_cell w[STRIDE_MAX];
    uint32_t b[STRIDE_MAX];
    float out[STRIDE_MAX];
} __attribute__((aligned(64)));

static const float GRID = 0x1p-14f;

static void make_row(struct row *row, size_t cols, struct hm_rng *rng)
{
    memset(row, 0, sizeof *row);
    for (size_t k = 0; k < cols; k++) {
        row->b[k] = (uint32_t)((int32_t)hm_rng_below(rng, 20000) - 10000);
        hm_cell_set(&row->w[k], (float)(int32_t)row->b[k] * GRID + 200 * GRID * normal(rng));
    }
}

/* A row of one node is what it is; M^-1 undoes M. */
static void test_inverse_undoes(void **state)
{
    (void)state;
    static const size_t cols[] = {2, 8, 33, 100, 1000};
    struct hm_rng rng = hm_rng_seed(5, 5);
    for (size_t c = 0; c < N_OF(cols); c++) {
        struct bed bed = open_bed(cols[c], ROWS, c);
        struct hm_saturation alone = {0}, many = {0};
        struct hm_projection m, inverse;
        struct row row, back;
        hm_saturation_fill(&alone, 1);
        hm_saturation_fill(&many, 16);
        assert_false(hm_saturation_of_row(&alone, &bed.directions, 3, &m, &inverse));
        assert_true(hm_saturation_of_row(&many, &bed.directions, .1f, &m, &inverse));
        make_row(&row, cols[c], &rng);
        assert_true(hm_saturate_ref.walk(row.w, row.b, bed.stride, GRID, GRID, &m, row.out));
        memcpy(back.b, row.b, sizeof back.b);
        double changed = 0;
        for (size_t k = 0; k < bed.stride; k++) {
            hm_cell_set(&back.w[k], row.out[k]);
            changed += fabs((double)(row.out[k] - hm_cell_get(&row.w[k])));
        }
        assert_true(changed > 10 * (double)GRID);
        assert_true(
            hm_saturate_ref.walk(back.w, back.b, bed.stride, GRID, GRID, &inverse, back.out));
        for (size_t k = 0; k < bed.stride; k++)
            assert_true(fabsf(back.out[k] - hm_cell_get(&row.w[k])) < .02f * GRID);
        close_bed(&bed);
    }
}

/* q of W - B: what W keeps is M^-1 of what M left to be published. */
static void test_remainder_counts_in_full(void **state)
{
    (void)state;
    struct bed bed = open_bed(100, ROWS, 4);
    struct hm_rng rng = hm_rng_seed(6, 6);
    struct hm_saturation table = {0};
    struct hm_projection m, inverse;
    struct row row, again;
    int32_t q[STRIDE_MAX];
    hm_saturation_fill(&table, 8);
    assert_true(hm_saturation_of_row(&table, &bed.directions, .2f, &m, &inverse));
    make_row(&row, 100, &rng);
    assert_true(hm_saturate_ref.walk(row.w, row.b, bed.stride, GRID, GRID, &m, row.out));
    again = row;
    for (size_t k = 0; k < bed.stride; k++) {
        q[k] = (int32_t)rintf(row.out[k] / GRID - (float)(int32_t)row.b[k]);
        again.b[k] += (uint32_t)q[k];
    }
    hm_saturate_ref.back(q, bed.stride, GRID, &inverse, again.w);
    assert_true(hm_saturate_ref.walk(again.w, again.b, bed.stride, GRID, 0, &m, again.out));
    for (size_t k = 0; k < bed.stride; k++) {
        assert_true(fabsf(again.out[k] - row.out[k]) < .05f * GRID);
        assert_true(fabsf(again.out[k] - (float)(int32_t)again.b[k] * GRID) < .55f * GRID);
    }
    close_bed(&bed);
}

static void test_rows_with_nothing_to_publish_or_no_numbers(void **state)
{
    (void)state;
    struct bed bed = open_bed(100, ROWS, 4);
    struct hm_rng rng = hm_rng_seed(7, 7);
    struct hm_saturation table = {0};
    struct hm_projection m, inverse;
    struct row row;
    hm_saturation_fill(&table, 8);
    assert_true(hm_saturation_of_row(&table, &bed.directions, .2f, &m, &inverse));
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    for_each_table(known)
    {
        const struct hm_saturate_kernels *kernels = hm_saturate_kernels_find(known->name);
        for (size_t k = 0; k < 100; k += 9) {
            make_row(&row, 100, &rng);
            hm_cell_set(&row.w[k], odd[k % 3]);
            assert_false(kernels->walk(row.w, row.b, bed.stride, GRID, GRID, &m, row.out));
            for (size_t i = 0; i < bed.stride; i++)
                assert_true(i == k || row.out[i] == hm_cell_get(&row.w[i]));
            assert_false(isfinite(row.out[k]));
        }
        make_row(&row, 100, &rng);
        assert_false(kernels->walk(row.w, row.b, bed.stride, GRID, 1, &m, row.out));
        assert_false(kernels->walk(row.w, row.b, bed.stride, GRID, GRID, NULL, row.out));
        for (size_t i = 0; i < bed.stride; i++)
            assert_true(row.out[i] == hm_cell_get(&row.w[i]));
    }
    close_bed(&bed);
}

static void check_table(const struct hm_saturate_kernels *kernels, size_t cols, uint64_t seed)
{
    struct bed bed = open_bed(cols, ROWS, seed);
    struct hm_rng rng = hm_rng_seed(seed, 8);
    struct hm_saturation table = {0};
    struct hm_projection m, inverse;
    struct row row, plain;
    int32_t q[STRIDE_MAX] = {0};
    float *z = room(HM_DIRECTIONS * bed.stride);
    hm_saturation_fill(&table, 12);
    assert_true(hm_saturation_of_row(&table, &bed.directions, .1f, &m, &inverse));
    make_row(&row, cols, &rng);
    plain = row;
    assert_true(kernels->walk(row.w, row.b, bed.stride, GRID, GRID, &m, row.out));
    hm_saturate_ref.walk(plain.w, plain.b, bed.stride, GRID, GRID, &m, plain.out);
    for (size_t k = 0; k < cols; k++)
        q[k] = (int32_t)hm_rng_below(&rng, 401) - 200;
    kernels->back(q, bed.stride, GRID, &inverse, row.w);
    hm_saturate_ref.back(q, bed.stride, GRID, &inverse, plain.w);
    for (size_t k = 0; k < bed.stride; k++) {
        assert_true(fabsf(row.out[k] - plain.out[k]) < .02f * GRID);
        assert_true(fabsf(hm_cell_get(&row.w[k]) - hm_cell_get(&plain.w[k])) < .1f * GRID);
    }
    memset(bed.z, 0, HM_DIRECTIONS * bed.stride * sizeof *bed.z);
    kernels->moment(bed.y, ROWS, bed.directions.u, bed.stride, bed.z);
    hm_saturate_ref.moment(bed.y, ROWS, bed.directions.u, bed.stride, z);
    for (size_t k = 0; k < HM_DIRECTIONS * bed.stride; k++)
        assert_true(fabsf(bed.z[k] - z[k]) < 1e-3f * (1 + bed.directions.lambda[0] * ROWS));
    free(z);
    close_bed(&bed);
}

static void test_every_table_does_as_the_reference(void **state)
{
    (void)state;
    static const size_t cols[] = {2, 16, 17, 31, 48, 100, 128, 300, 1000};
    for_each_table(known) for (size_t c = 0; c < N_OF(cols); c++)
        check_table(hm_saturate_kernels_find(known->name), cols[c], c);
    assert_ptr_equal(hm_saturate_kernels_find("ref"), &hm_saturate_ref);
    assert_null(hm_saturate_kernels_find("no such"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_divisor_goes_from_sum_to_mean),
        cmocka_unit_test(test_walks_in_a_bowl_close_what_one_would),
        cmocka_unit_test(test_table_is_close_to_the_divisor),
        cmocka_unit_test(test_directions_are_eigenvectors),
        cmocka_unit_test(test_directions_follow),
        cmocka_unit_test(test_tables_without_directions),
        cmocka_unit_test(test_inverse_undoes),
        cmocka_unit_test(test_remainder_counts_in_full),
        cmocka_unit_test(test_rows_with_nothing_to_publish_or_no_numbers),
        cmocka_unit_test(test_every_table_does_as_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
