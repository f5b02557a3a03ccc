/* Distributions of counts against the sorted list of the same numbers. */
#include "protocol/tally.h"
#include "sparse/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

enum { N = 20000 };

static const double WITHIN = 1.0 / 64; /* a bucket's width, in parts of its floor */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The smallest number that at least the part p does not exceed. */
static uint64_t exact_quantile(const uint64_t *sorted, size_t n, double p)
{
    for (size_t i = 0; i < n; i++)
        if ((double)(i + 1) >= p * (double)n)
            return sorted[i];
    return sorted[n - 1];
}

static void check_quantiles(const struct hm_tally *tally, uint64_t *x, size_t n)
{
    static const double P[] = {0, .001, .1, .5, .9, .99, .999, 1};
    qsort(x, n, sizeof *x, by_size);
    for (unsigned i = 0; i < sizeof P / sizeof *P; i++) {
        uint64_t exact = exact_quantile(x, n, P[i]), said = hm_tally_quantile(tally, P[i]);
        assert_true(said <= exact);
        assert_true((double)(exact - said) <= WITHIN * (double)exact);
        assert_true(exact >= 128 || said == exact);
    }
}

static void an_empty_tally_says_zero(void **state)
{
    (void)state;
    struct hm_tally tally = {0};
    assert_int_equal(hm_tally_quantile(&tally, .5), 0);
    assert_true(hm_tally_mean(&tally) == 0);
}

static void small_counts_are_exact(void **state)
{
    (void)state;
    struct hm_tally tally = {0};
    for (uint64_t x = 0; x < 128; x++)
        hm_tally_add(&tally, x);
    assert_true(hm_tally_mean(&tally) == 63.5);
    assert_int_equal(tally.max, 127);
    for (uint64_t k = 1; k <= 128; k++)
        assert_int_equal(hm_tally_quantile(&tally, (double)k / 128), k - 1);
    hm_tally_fini(&tally);
}

static void quantiles_are_within_a_bucket(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(1, 2);
    uint64_t *x = malloc(N * sizeof *x), sum = 0;
    assert_non_null(x);
    for (unsigned bits = 1; bits <= 38; bits++) {
        struct hm_tally tally = {0};
        sum = 0;
        for (size_t i = 0; i < N; i++) {
            x[i] = hm_rng_next(&rng) >> (64 - 1 - hm_rng_below(&rng, bits));
            sum += x[i];
            hm_tally_add(&tally, x[i]);
        }
        check_quantiles(&tally, x, N);
        assert_true(hm_tally_mean(&tally) == (double)sum / N);
        assert_int_equal(tally.max, x[N - 1]);
        hm_tally_fini(&tally);
    }
    free(x);
}

static void powers_of_two_are_exact(void **state)
{
    (void)state;
    for (unsigned e = 0; e < 40; e++) {
        struct hm_tally tally = {0};
        hm_tally_add(&tally, (uint64_t)1 << e);
        assert_int_equal(hm_tally_quantile(&tally, 1), (uint64_t)1 << e);
        hm_tally_fini(&tally);
    }
}

static void what_is_beyond_the_buckets_still_counts(void **state)
{
    (void)state;
    struct hm_tally tally = {0};
    hm_tally_add(&tally, UINT64_MAX);
    hm_tally_add(&tally, (uint64_t)1 << 50);
    assert_int_equal(tally.n, 2);
    assert_true(tally.max == UINT64_MAX);
    assert_true(hm_tally_quantile(&tally, .5) >= (uint64_t)1 << 40);
    hm_tally_fini(&tally);
}

static void merging_is_adding_all(void **state)
{
    (void)state;
    struct hm_rng rng = hm_rng_seed(3, 4);
    struct hm_tally part[2] = {{0}}, all = {0};
    for (size_t i = 0; i < N; i++) {
        uint64_t x = hm_rng_below(&rng, 5000);
        hm_tally_add(&part[i % 2], x);
        hm_tally_add(&all, x);
    }
    hm_tally_merge(&part[0], &part[1]);
    assert_true(part[0].n == all.n && part[0].sum == all.sum && part[0].max == all.max);
    for (unsigned k = 0; k <= 1000; k++)
        assert_int_equal(hm_tally_quantile(&part[0], k / 1000.),
                         hm_tally_quantile(&all, k / 1000.));
    hm_tally_fini(&part[0]);
    hm_tally_fini(&part[1]);
    hm_tally_fini(&all);
}

static void only_the_range_in_use_takes_memory(void **state)
{
    (void)state;
    struct hm_tally tally = {0};
    for (uint64_t x = 1000; x < 1100; x++)
        hm_tally_add(&tally, x);
    assert_true(tally.n_buckets < 64);
    hm_tally_add(&tally, 3);
    assert_int_equal(hm_tally_quantile(&tally, 0.001), 3);
    assert_int_equal(hm_tally_quantile(&tally, .02), 1000);
    hm_tally_fini(&tally);
}

static void a_bucket_that_does_not_exist_is_ignored(void **state)
{
    (void)state;
    struct hm_tally tally = {0};
    hm_tally_fill(&tally, HM_TALLY_BUCKETS, 1);
    assert_int_equal(tally.n_buckets, 0);
    hm_tally_fill(&tally, HM_TALLY_BUCKETS - 1, 1);
    hm_tally_fill(&tally, 0, 1);
    assert_int_equal(tally.n_buckets, HM_TALLY_BUCKETS);
    hm_tally_fini(&tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_tally_says_zero),
        cmocka_unit_test(small_counts_are_exact),
        cmocka_unit_test(quantiles_are_within_a_bucket),
        cmocka_unit_test(powers_of_two_are_exact),
        cmocka_unit_test(what_is_beyond_the_buckets_still_counts),
        cmocka_unit_test(merging_is_adding_all),
        cmocka_unit_test(only_the_range_in_use_takes_memory),
        cmocka_unit_test(a_bucket_that_does_not_exist_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
