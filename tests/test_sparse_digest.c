/* The linear digest (sparse/digest.h): every kernel table against the definition. */
#include "tests/sparse_scene.h"

#include "sparse/digest.h"
#include "sparse/digest_table.h"

enum { BLOCKS = 21, N = BLOCKS * HM_BLOCK };

/* H by the definition, coordinate by coordinate. */
static uint64_t naive(const uint32_t *x, uint32_t n_blocks)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < (size_t)n_blocks * HM_BLOCK; i++)
        sum += (uint64_t)(int64_t)(int32_t)x[i] * hm_digest_block_factor((uint32_t)(i / HM_BLOCK)) *
               hm_digest_lane_factor(i % HM_BLOCK);
    return sum;
}

static void test_table_literals(void **state)
{
    (void)state;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        uint64_t low = (uint64_t)(int64_t)digest_low[j], high = (uint64_t)digest_high[j] << 32;
        assert_true(low + high == hm_digest_lane_factor(j));
    }
}

static void test_golden(void **state)
{
    (void)state;
    struct hm_delta delta = open_delta(1);
    delta.n_blocks = delta.n_nonzero = 1;
    delta.block[0] = 1;
    memset(delta.q[0], 0, sizeof delta.q[0]);
    delta.q[0][3] = -1;
    for_each_table(kernels)
    {
        assert_true(kernels->digest(&delta) == 0x788e9087717ff051);
        delta.n_blocks = 0;
        assert_true(kernels->digest(&delta) == 0);
        assert_true(kernels->digest_dense(NULL, 0) == 0);
        delta.n_blocks = 1;
    }
    hm_delta_fini(&delta);
}

static void fill(struct hm_rng *rng, uint32_t *x, unsigned kind)
{
    static const uint32_t extreme[] = {0x80000000, 0x7fffffff, 0xffffffff, 0};
    for (size_t i = 0; i < N; i++)
        x[i] = kind < 4    ? extreme[kind]
               : kind == 4 ? (uint32_t)hm_rng_next(rng)
                           : (uint32_t)random_q(rng, 22);
}

/* All of int32, though bases stay within a thousandth of it: sums must wrap, not overflow. */
static void test_dense(void **state)
{
    (void)state;
    _Alignas(64) static uint32_t x[N];
    struct hm_rng rng = hm_rng_seed(1, 0);
    for (unsigned kind = 0; kind < 6; kind++) {
        fill(&rng, x, kind);
        for (uint32_t n_blocks = 0; n_blocks <= BLOCKS; n_blocks++)
            for_each_table(kernels)
                assert_true(kernels->digest_dense(x, n_blocks) == naive(x, n_blocks));
    }
}

static void scatter(const struct hm_delta *delta, uint32_t *x)
{
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++)
            x[(size_t)delta->block[i] * HM_BLOCK + j] += (uint32_t)delta->q[i][j];
}

/* H(B) = H(B0) + the digests of what was applied; a delta's digest is that of its dense form. */
static void test_linearity(void **state)
{
    (void)state;
    _Alignas(64) static uint32_t b[N], x[N];
    struct hm_rng rng = hm_rng_seed(2, 0);
    struct hm_delta delta = open_delta(BLOCKS);
    fill(&rng, b, 5);
    uint64_t sum = naive(b, BLOCKS);
    for (int times = 0; times < 200; times++) {
        list_range(&delta, &rng, 0, BLOCKS, 1 + times % 5, 64, times % 24);
        memset(x, 0, sizeof x);
        scatter(&delta, x);
        scatter(&delta, b);
        sum += naive(x, BLOCKS);
        for_each_table(kernels)
        {
            assert_true(kernels->digest(&delta) == naive(x, BLOCKS));
            assert_true(kernels->digest_dense(b, BLOCKS) == sum);
        }
    }
    hm_delta_fini(&delta);
}

static void test_any_flipped_bit_shows(void **state)
{
    (void)state;
    _Alignas(64) static uint32_t x[N];
    struct hm_rng rng = hm_rng_seed(3, 0);
    fill(&rng, x, 5);
    for_each_table(kernels)
    {
        uint64_t right = kernels->digest_dense(x, BLOCKS);
        for (size_t bit = 0; bit < (size_t)N * 32; bit += 1 + hm_rng_below(&rng, 9)) {
            x[bit / 32] ^= 1u << bit % 32;
            assert_true(kernels->digest_dense(x, BLOCKS) != right);
            x[bit / 32] ^= 1u << bit % 32;
        }
        for (int times = 0; times < 1000; times++) { /* two values that changed places */
            size_t i = hm_rng_below(&rng, N), j = hm_rng_below(&rng, N);
            uint32_t a = x[i], b = x[j];
            x[i] = b;
            x[j] = a;
            assert_int_equal(kernels->digest_dense(x, BLOCKS) != right, a != b);
            x[i] = a;
            x[j] = b;
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_literals),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_linearity),
        cmocka_unit_test(test_any_flipped_bit_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
