/* Marks of blocks that have been added to: what is marked is extracted, what is not waits for its
 * turn, and no add is lost between the two, whoever adds at the same time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sparse/dirty.h"
#include "sparse/rng.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 3000, COLS = 100, ADDS = 200000, THREADS = 3 };

struct scene {
    struct hm_weights weights;
    struct hm_dirty dirty;
    struct hm_delta delta;
    struct hm_extract_stats stats;
};

static const struct hm_publish PUBLISH = {1, 1, 0};

static struct scene open_scene(void)
{
    struct scene s = {0};
    struct hm_layout layout = {0};
    struct hm_err err;
    assert_int_equal(hm_layout_add(&layout, "in", ROWS, COLS, -10, &err), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "out", 7, 3, -10, &err), HM_OK);
    assert_int_equal(hm_weights_init(&s.weights, &layout, &err), HM_OK);
    assert_int_equal(hm_dirty_init(&s.dirty, layout.n_blocks, &err), HM_OK);
    assert_int_equal(hm_delta_init(&s.delta, layout.n_blocks, &err), HM_OK);
    return s;
}

static void close_scene(struct scene *s)
{
    hm_delta_fini(&s->delta);
    hm_dirty_fini(&s->dirty);
    hm_weights_fini(&s->weights);
}

static uint32_t flush(struct scene *s)
{
    s->delta.n_blocks = s->delta.n_nonzero = 0;
    return hm_dirty_extract(&s->dirty, hm_kernels_find("auto"), &s->weights, &PUBLISH, &s->delta,
                            &s->stats);
}

/* Adds one grid unit to a row and marks it. */
static void add_row(struct scene *s, uint32_t row)
{
    const struct hm_tensor *t = &s->weights.layout.tensor[0];
    size_t at = (size_t)row * t->stride;
    for (unsigned k = 0; k < COLS; k++)
        hm_cell_add(&s->weights.w[at + k], 0x1p-10f);
    hm_dirty_mark(s->dirty.mark, at, COLS);
}

static void test_marked_rows_are_extracted(void **state)
{
    (void)state;
    struct scene s = open_scene();
    struct hm_rng rng = hm_rng_seed(1, 1);
    assert_int_equal(flush(&s), s.weights.layout.n_blocks); /* at first all of it is looked at */
    for (unsigned turn = 0; turn < 200; turn++) {
        uint32_t row[20];
        for (unsigned i = 0; i < 20; i++)
            add_row(&s, row[i] = hm_rng_below(&rng, ROWS));
        uint32_t seen = flush(&s);
        assert_true(seen <= 20 * 3 + s.weights.layout.n_blocks / HM_DIRTY_TURNS + 1);
        for (uint32_t i = 1; i < s.delta.n_blocks; i++)
            assert_true(s.delta.block[i] > s.delta.block[i - 1]);
        for (unsigned i = 0; i < 20; i++)
            for (unsigned k = 0; k < COLS; k++) {
                size_t at = (size_t)row[i] * s.weights.layout.tensor[0].stride + k;
                assert_true(hm_cell_get(&s.weights.w[at]) ==
                            (float)(int32_t)s.weights.b[at] * 0x1p-10f);
            }
    }
    close_scene(&s);
}

/* What nobody marked is found within HM_DIRTY_TURNS flushes, everywhere. */
static void test_every_block_has_its_turn(void **state)
{
    (void)state;
    struct scene s = open_scene();
    flush(&s);
    const size_t n = s.weights.n;
    for (size_t at = 0; at < n; at += HM_BLOCK)
        hm_cell_add(&s.weights.w[at], 0x1p-8f); /* the first coordinate of a block is a weight or
                                                   padding, which nobody reads */
    for (unsigned turn = 0; turn < HM_DIRTY_TURNS; turn++)
        flush(&s);
    for (size_t at = 0; at < n; at += HM_BLOCK)
        assert_true(hm_cell_get(&s.weights.w[at]) == (float)(int32_t)s.weights.b[at] * 0x1p-10f);
    close_scene(&s);
}

static void test_a_block_that_was_clipped_stays_marked(void **state)
{
    (void)state;
    struct scene s = open_scene();
    flush(&s);
    hm_cell_set(&s.weights.w[64 * 500], 2 * HM_RANGE * 0x1p-10f);
    hm_dirty_mark(s.dirty.mark, 64 * 500, 1);
    flush(&s);
    assert_int_equal(s.stats.n_clipped, 1);
    flush(&s);
    assert_int_equal(s.stats.n_clipped, 2);
    close_scene(&s);
}

struct adder {
    struct scene *scene;
    uint64_t seed;
    _Atomic int *left;
};

static void *add_many(void *argument)
{
    struct adder *adder = argument;
    struct hm_rng rng = hm_rng_seed(adder->seed, 2);
    for (unsigned i = 0; i < ADDS / THREADS; i++) /* rows of its own: adds are not lost */
        add_row(adder->scene, hm_rng_below(&rng, ROWS / THREADS) * THREADS + (uint32_t)adder->seed);
    atomic_fetch_sub(adder->left, 1);
    return NULL;
}

/* Threads add while flushes go on: when all is quiet, two flushes leave nothing that was marked. */
static void test_no_add_is_lost_between_flushes(void **state)
{
    (void)state;
    struct scene s = open_scene();
    pthread_t thread[THREADS];
    struct adder adder[THREADS];
    _Atomic int left = THREADS;
    for (unsigned i = 0; i < THREADS; i++) {
        adder[i] = (struct adder){&s, i, &left};
        assert_int_equal(pthread_create(&thread[i], NULL, add_many, &adder[i]), 0);
    }
    while (atomic_load(&left))
        flush(&s);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    flush(&s);
    for (size_t at = 0; at < s.weights.n; at++)
        assert_true(hm_cell_get(&s.weights.w[at]) == (float)(int32_t)s.weights.b[at] * 0x1p-10f);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marked_rows_are_extracted),
        cmocka_unit_test(test_every_block_has_its_turn),
        cmocka_unit_test(test_a_block_that_was_clipped_stays_marked),
        cmocka_unit_test(test_no_add_is_lost_between_flushes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
