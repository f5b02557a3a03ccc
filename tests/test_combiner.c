/* What a node keeps for the rules hold and lookahead: the algebra of node/combiner.h, to the bit
 * where steps are multiples of a quarter of the grid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/combiner.h"
#include "sparse/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float L = 4;

struct scene {
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_combiner combiner;
    struct hm_delta delta;
    struct hm_extract_stats stats;
};

static struct scene *open_scene(enum hm_rule rule)
{
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    assert_int_equal(hm_layout_add(&s->layout, "a", 3, 70, -8, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&s->layout, "b", 100, 1, -3, NULL), HM_OK);
    assert_int_equal(hm_weights_init(&s->weights, &s->layout, NULL), HM_OK);
    assert_int_equal(hm_delta_init(&s->delta, s->layout.n_blocks, NULL), HM_OK);
    assert_int_equal(hm_combiner_open(&s->combiner, rule, false, &s->weights, NULL), HM_OK);
    return s;
}

static void close_scene(struct scene *s)
{
    hm_combiner_close(&s->combiner);
    hm_delta_fini(&s->delta);
    hm_weights_fini(&s->weights);
    free(s);
}

static float grid_at(const struct scene *s, size_t i)
{
    return hm_exp2i(hm_layout_tensor_of(&s->layout, (uint32_t)(i / HM_BLOCK))->grid_exp);
}

static bool is_weight(const struct scene *s, size_t i)
{
    return hm_layout_block_mask(&s->layout, (uint32_t)(i / HM_BLOCK)) >> i % HM_BLOCK & 1;
}

/* A local step, L times as long as what will be published of it. */
static void walk(struct scene *s, uint64_t number)
{
    struct hm_rng rng = hm_rng_seed(number, 2);
    for (size_t i = 0; i < s->weights.n; i++) {
        float u = (float)((int)hm_rng_below(&rng, 41) - 20) / 4 * grid_at(s, i);
        if (is_weight(s, i))
            hm_cell_add(&s->weights.w[i], L * u);
    }
}

static void extract(struct scene *s, bool final, uint64_t due_us, uint64_t claimed)
{
    struct hm_publish publish = {L, !final, 0};
    s->delta.n_blocks = s->delta.n_nonzero = 0;
    hm_combiner_extract(&s->combiner, &hm_kernels_ref, &publish, final, due_us, claimed, &s->delta,
                        &s->stats);
}

/* W - B in units of the grid. */
static float owed(const struct scene *s, size_t i)
{
    return hm_cell_get(&s->weights.w[i]) / grid_at(s, i) - (float)(int32_t)s->weights.b[i];
}

static void check_same_delta(const struct hm_delta *a, const struct hm_delta *b)
{
    assert_int_equal(a->n_blocks, b->n_blocks);
    assert_int_equal(a->n_nonzero, b->n_nonzero);
    assert_memory_equal(a->block, b->block, a->n_blocks * sizeof *a->block);
    assert_memory_equal(a->q, b->q, a->n_blocks * sizeof *a->q);
}

/* What is published does not depend on what is on hold, and what is on hold is (L - 1) h. */
static void test_hold_publishes_what_amplify_does(void **state)
{
    (void)state;
    struct scene *hold = open_scene(HM_RULE_HOLD), *plain = open_scene(HM_RULE_AMPLIFY);
    int64_t published = 0;
    for (uint64_t step = 0; step < 60; step++) {
        walk(hold, step);
        walk(plain, step);
        extract(hold, false, 100 * step, 0);
        extract(plain, false, 0, 0);
        check_same_delta(&hold->delta, &plain->delta);
        published += hold->delta.n_nonzero;
        for (size_t i = 0; i < hold->weights.n; i++)
            assert_true(owed(hold, i) ==
                        owed(plain, i) + (L - 1) * (float)hold->combiner.hold.sum[i]);
        if (step % 3 == 2)
            hm_combiner_release(&hold->combiner, 100 * step - 150, 1);
        assert_in_range(hold->combiner.hold.n, 1, 5);
    }
    assert_true(published > 5000);
    walk(hold, 99);
    walk(plain, 99);
    extract(hold, true, 0, 0);
    extract(plain, true, 0, 0);
    check_same_delta(&hold->delta, &plain->delta);
    assert_int_equal(hold->combiner.hold.n, 0);
    for (size_t i = 0; i < hold->weights.n; i++)
        assert_true(owed(hold, i) == owed(plain, i) && fabsf(owed(hold, i)) <= L / 2);
    close_scene(hold);
    close_scene(plain);
}

static void test_a_delta_is_held_until_due_and_until_a_batch_begins(void **state)
{
    (void)state;
    struct scene *s = open_scene(HM_RULE_HOLD);
    assert_true(hm_combiner_due_us(&s->combiner) == UINT64_MAX);
    walk(s, 1);
    extract(s, false, 500, 64);
    assert_int_equal(hm_combiner_due_us(&s->combiner), 500);
    hm_combiner_release(&s->combiner, 499, 1000);
    hm_combiner_release(&s->combiner, 5000, 64);
    assert_int_equal(s->combiner.hold.n, 1);
    hm_combiner_release(&s->combiner, 500, 65);
    assert_int_equal(s->combiner.hold.n, 0);
    for (size_t i = 0; i < s->weights.n; i++)
        assert_true(fabsf(owed(s, i)) < L);
    close_scene(s);
}

static void test_more_than_the_ring_holds(void **state)
{
    (void)state;
    struct scene *hold = open_scene(HM_RULE_HOLD), *plain = open_scene(HM_RULE_AMPLIFY);
    for (uint64_t step = 0; step < 2 * HM_HELD_MAX + 5; step++) {
        walk(hold, step);
        walk(plain, step);
        extract(hold, false, UINT64_MAX, 0);
        extract(plain, false, 0, 0);
        check_same_delta(&hold->delta, &plain->delta);
    }
    assert_int_equal(hold->combiner.hold.n, HM_HELD_MAX);
    hm_combiner_release_all(&hold->combiner);
    for (size_t i = 0; i < hold->weights.n; i++) {
        assert_int_equal(hold->combiner.hold.sum[i], 0);
        assert_true(owed(hold, i) == owed(plain, i));
    }
    close_scene(hold);
    close_scene(plain);
}

static void test_another_divisor_lets_everything_go(void **state)
{
    (void)state;
    struct scene *s = open_scene(HM_RULE_HOLD);
    struct hm_publish other = {L + 1, 1, 0};
    walk(s, 1);
    extract(s, false, UINT64_MAX, 0);
    float left = owed(s, 5) - (L - 1) * (float)s->combiner.hold.sum[5];
    s->delta.n_blocks = s->delta.n_nonzero = 0;
    hm_combiner_extract(&s->combiner, &hm_kernels_ref, &other, false, UINT64_MAX, 0, &s->delta,
                        &s->stats);
    assert_int_equal(s->combiner.hold.n, 1);
    assert_true(fabsf(left) < L && fabsf(owed(s, 5) - left) < 1e-3f);
    close_scene(s);
}

static void test_what_is_no_number_is_set_back(void **state)
{
    (void)state;
    struct scene *s = open_scene(HM_RULE_HOLD);
    walk(s, 1);
    extract(s, false, UINT64_MAX, 0);
    hm_cell_set(&s->weights.w[7], NAN);
    extract(s, false, UINT64_MAX, 0);
    assert_int_equal(s->stats.n_nonfinite, 1);
    assert_int_equal(s->stats.first_nonfinite.at, 7);
    assert_true(isfinite(hm_cell_get(&s->weights.w[7])));
    hm_combiner_forget(&s->combiner);
    hm_weights_settle(&s->weights);
    extract(s, false, UINT64_MAX, 0);
    assert_int_equal(s->delta.n_blocks, 0); /* nothing is owed, and nothing thought to be on hold */
    close_scene(s);
}

static void test_ahead_is_the_last_delta_of_each_peer(void **state)
{
    (void)state;
    struct scene *s = open_scene(HM_RULE_LOOKAHEAD);
    struct hm_rng rng = hm_rng_seed(1, 9);
    float last[3][1024] = {{0}};
    assert_true(s->weights.n <= 1024);
    for (int round = 0; round < 30; round++) {
        unsigned peer = hm_rng_below(&rng, 3);
        memset(last[peer], 0, sizeof last[peer]);
        s->delta.n_blocks = 0;
        for (uint32_t block = hm_rng_below(&rng, 2); block < s->layout.n_blocks; block += 2) {
            s->delta.block[s->delta.n_blocks] = block;
            for (unsigned j = 0; j < HM_BLOCK; j++) {
                size_t i = (size_t)block * HM_BLOCK + j;
                int32_t q = is_weight(s, i) ? (int32_t)hm_rng_below(&rng, 200) - 100 : 0;
                s->delta.q[s->delta.n_blocks][j] = q;
                last[peer][i] = (float)q * grid_at(s, i);
            }
            s->delta.n_blocks++;
        }
        hm_combiner_note(&s->combiner, 1000 + peer, &s->delta);
        for (size_t i = 0; i < s->weights.n; i++)
            assert_true(hm_cell_get(&s->combiner.ahead.v[i]) ==
                        last[0][i] + last[1][i] + last[2][i]);
    }
    close_scene(s);
}

static void test_reach(void **state)
{
    (void)state;
    assert_true(hm_combiner_reach(0, 5, 5) == 0);
    assert_true(fabsf(hm_combiner_reach(.9f, 0, 10) - .9f) < 1e-6f);
    assert_true(fabsf(hm_combiner_reach(.9f, 10, 10) - 1.71f) < 1e-5f); /* .9 + .81 */
    assert_true(fabsf(hm_combiner_reach(.5f, 1e12, 1) - 1) < 1e-6f);
    assert_true(fabsf(hm_combiner_reach(.9f, 10, 0) - .9f) < 1e-6f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hold_publishes_what_amplify_does),
        cmocka_unit_test(test_a_delta_is_held_until_due_and_until_a_batch_begins),
        cmocka_unit_test(test_more_than_the_ring_holds),
        cmocka_unit_test(test_another_divisor_lets_everything_go),
        cmocka_unit_test(test_what_is_no_number_is_set_back),
        cmocka_unit_test(test_ahead_is_the_last_delta_of_each_peer),
        cmocka_unit_test(test_reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
