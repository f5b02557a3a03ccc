/* Publishing what has moved most: that it is the largest, that it is not more than asked for, that
 * the rest comes in time, and that the last flush leaves nothing.
 *
 * HOGMESH_SEED=N repeats a random test. */
#include "tests/sparse_scene.h"

#include "node/combiner.h"
#include "node/top.h"

#include <math.h>

enum { COORDINATES = 3 * 70 + 100 };

struct scene {
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_delta delta;
};

static struct scene *open_scene(void)
{
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    assert_int_equal(hm_layout_add(&s->layout, "a", 3, 70, -8, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&s->layout, "b", 100, 1, -3, NULL), HM_OK);
    assert_int_equal(hm_weights_init(&s->weights, &s->layout, NULL), HM_OK);
    s->delta = open_delta(s->layout.n_blocks);
    return s;
}

static void close_scene(struct scene *s)
{
    hm_delta_fini(&s->delta);
    hm_weights_fini(&s->weights);
    free(s);
}

static void step_at(struct scene *s, uint32_t tensor, size_t row, size_t col, float step)
{
    const struct hm_tensor *t = &s->layout.tensor[tensor];
    hm_cell_add(&s->weights.w[hm_tensor_at(t) + row * t->stride + col], step);
}

/* Steps of all sizes, from below a unit up. */
static void walk(struct scene *s, struct hm_rng *rng)
{
    for (uint32_t t = 0; t < s->layout.n_tensors; t++)
        for (size_t row = 0; row < s->layout.tensor[t].rows; row++)
            for (size_t col = 0; col < s->layout.tensor[t].cols; col++)
                step_at(s, t, row, col,
                        (hm_rng_below(rng, 2) ? 1 : -1) * exp2f(-9 + 12 * (float)hm_rng_unit(rng)));
}

static float owed(const struct scene *s, size_t i)
{
    const struct hm_tensor *tensor = hm_layout_tensor_of(&s->layout, (uint32_t)(i / HM_BLOCK));
    return fabsf(hm_cell_get(&s->weights.w[i]) -
                 (float)(int32_t)s->weights.b[i] * hm_exp2i(tensor->grid_exp));
}

static void flush(struct scene *s, const struct hm_publish *publish)
{
    struct hm_extract_stats stats = {0};
    clear_delta(&s->delta);
    hm_kernels_at(0)->extract(&s->weights, 0, s->layout.n_blocks, publish, &s->delta, &stats);
}

static int falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* A unit, below which nothing goes out anyway, differs from tensor to tensor. */
static size_t what_could_go(const struct scene *s, float *large)
{
    size_t n = 0;
    for (size_t i = 0; i < hm_layout_n(&s->layout); i++) {
        const struct hm_tensor *tensor = hm_layout_tensor_of(&s->layout, (uint32_t)(i / HM_BLOCK));
        if (owed(s, i) >= hm_exp2i(tensor->grid_exp))
            large[n++] = owed(s, i);
    }
    qsort(large, n, sizeof *large, falling);
    return n;
}

static void test_the_largest(void **state)
{
    (void)state;
    const struct hm_publish all = {1, 1, 0};
    uint64_t seed = from_environment("HOGMESH_SEED", 1);
    for (unsigned run = 0; run < 200; run++) {
        struct hm_rng rng = hm_rng_seed(seed + run, 0);
        struct scene *s = open_scene();
        float large[4 * HM_BLOCK + 4 * HM_BLOCK];
        walk(s, &rng);
        size_t n = what_could_go(s, large);
        uint64_t most = 1 + hm_rng_below(&rng, COORDINATES + 10);
        struct hm_publish top = hm_top(&s->weights, &all, most);
        flush(s, &top);
        if (most >= n) {
            assert_int_equal(s->delta.n_nonzero, n);
            assert_true(top.least == 0);
        } else {
            /* As many as asked for, but for those that a bin takes together; and no smaller one. */
            assert_true(s->delta.n_nonzero <= most ||
                        large[s->delta.n_nonzero - 1] * 17 / 16 >= large[0]);
            assert_true(s->delta.n_nonzero >= 1);
            assert_true(large[s->delta.n_nonzero - 1] >= top.least);
            assert_true(large[s->delta.n_nonzero] < top.least);
            assert_true(s->delta.n_nonzero >= most || large[most] * 17 / 16 >= top.least);
        }
        close_scene(s);
    }
}

static void test_what_is_alike_goes_together(void **state)
{
    (void)state;
    struct scene *s = open_scene();
    for (size_t col = 0; col < 70; col++)
        step_at(s, 0, 1, col, col % 2 ? .5f : -.5f);
    struct hm_publish top = hm_top(&s->weights, &(struct hm_publish){1, 1, 0}, 7);
    flush(s, &top);
    assert_int_equal(s->delta.n_nonzero, 70);
    close_scene(s);
}

static void test_monsters_do_not_count(void **state)
{
    (void)state;
    struct scene *s = open_scene();
    step_at(s, 0, 0, 0, NAN);
    step_at(s, 0, 0, 1, INFINITY);
    step_at(s, 0, 0, 2, 1);
    step_at(s, 0, 0, 3, .25f);
    struct hm_publish top = hm_top(&s->weights, &(struct hm_publish){1, 1, 0}, 1);
    assert_true(top.least > .25f && top.least <= 1);
    close_scene(s);
}

/* By each rule: what waits adds up and comes, and the last flush leaves less than a unit. */
static void test_nothing_is_lost(void **state)
{
    (void)state;
    static const enum hm_rule rules[] = {HM_RULE_SUM, HM_RULE_HOLD, HM_RULE_LOOKAHEAD};
    for (unsigned r = 0; r < N_OF(rules); r++) {
        struct hm_rng rng = hm_rng_seed(from_environment("HOGMESH_SEED", 1), r);
        struct scene *s = open_scene();
        struct hm_combiner combiner;
        struct hm_extract_stats stats = {0};
        const struct hm_publish publish = {1, 1, 0}, last = {1, 0, 0};
        assert_int_equal(hm_combiner_open(&combiner, rules[r], false, &s->weights, NULL), HM_OK);
        combiner.most = hm_top_of(&s->layout, .05);
        assert_int_equal(combiner.most, (COORDINATES + 19) / 20);
        walk(s, &rng);
        uint64_t sent = 0;
        unsigned flushes = 0;
        do {
            clear_delta(&s->delta);
            hm_combiner_extract(&combiner, hm_kernels_at(0), &publish, false, 0, 0, &s->delta,
                                &stats);
            assert_in_range(s->delta.n_nonzero, 0, 2 * combiner.most);
            sent += s->delta.n_nonzero;
            flushes += s->delta.n_nonzero > 0;
        } while (s->delta.n_nonzero);
        assert_true(flushes >= 10 && sent >= 100);
        walk(s, &rng);
        clear_delta(&s->delta);
        hm_combiner_extract(&combiner, hm_kernels_at(0), &last, true, 0, 0, &s->delta, &stats);
        assert_true(s->delta.n_nonzero > 4 * combiner.most);
        for (size_t i = 0; i < hm_layout_n(&s->layout); i++)
            assert_true(owed(s, i) <= hm_exp2i(-4));
        hm_combiner_close(&combiner);
        close_scene(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_largest),
        cmocka_unit_test(test_what_is_alike_goes_together),
        cmocka_unit_test(test_monsters_do_not_count),
        cmocka_unit_test(test_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
