/* How a node goes through its rows for the saturating sum: which have their turn, what is published
 * of them, and that nothing is lost on the way. */
#include "sparse_scene.h"

#include "node/saturator.h"

#include <math.h>

static const double LAST_STEP = 1e9;

enum { ROWS = 9000, COLS = 20, GRID_EXP = -14 };

/* ---- a model of two tables ---- */

static void meetings(const struct hm_model *model, unsigned tensor, float *out)
{
    (void)model;
    (void)tensor;
    for (uint32_t i = 0; i < ROWS; i++)
        out[i] = 1 / (float)(i + 1);
}

static uint32_t met(const struct hm_model *model, unsigned tensor, struct hm_rng *rng)
{
    (void)model;
    (void)tensor;
    return hm_rng_below(rng, ROWS);
}

static double rate(const struct hm_model *model, double t)
{
    (void)model;
    return t < LAST_STEP ? .025 : 0;
}

static const struct hm_model_ops OPS = {
    .name = "test", .meetings = meetings, .met = met, .rate = rate};
static const struct hm_model MODEL = {.ops = &OPS};

struct scene {
    struct hm_weights weights;
    struct hm_dirty dirty;
    struct hm_saturator saturator;
    struct hm_delta delta;
    struct hm_extract_stats stats;
    struct hm_saturator_turn turn;
    struct hm_rng rng;
};

static struct scene *open_scene(bool marks)
{
    struct scene *s = calloc(1, sizeof *s);
    struct hm_layout layout = {0};
    assert_non_null(s);
    assert_int_equal(hm_layout_add(&layout, "in", ROWS, COLS, GRID_EXP, NULL), HM_OK);
    assert_int_equal(hm_layout_add(&layout, "out", ROWS, COLS, GRID_EXP, NULL), HM_OK);
    assert_int_equal(hm_weights_init(&s->weights, &layout, NULL), HM_OK);
    assert_int_equal(hm_delta_init(&s->delta, layout.n_blocks, NULL), HM_OK);
    if (marks)
        assert_int_equal(hm_dirty_init(&s->dirty, layout.n_blocks, NULL), HM_OK);
    assert_int_equal(hm_saturator_open(&s->saturator, &MODEL, "auto", &s->dirty, &s->weights, NULL),
                     HM_OK);
    s->turn = (struct hm_saturator_turn){
        .pass_steps = 10000, .room_blocks = UINT64_MAX, .n_live = 4, .delay_steps = 500};
    s->rng = hm_rng_seed(3, 3);
    return s;
}

static void close_scene(struct scene *s)
{
    hm_saturator_close(&s->saturator);
    hm_delta_fini(&s->delta);
    if (s->dirty.mark)
        hm_dirty_fini(&s->dirty);
    hm_weights_fini(&s->weights);
    free(s);
}

static const float GRID = 1.0f / (1 << -GRID_EXP);

static void add_row(struct scene *s, unsigned table, uint32_t row, float units)
{
    const struct hm_tensor *t = &s->weights.layout.tensor[table];
    size_t at = hm_tensor_at(t) + (size_t)row * t->stride;
    for (unsigned k = 0; k < COLS; k++)
        hm_cell_add(&s->weights.w[at + k],
                    units * GRID * (1 + (float)hm_rng_unit(&s->rng) - .3f * (float)(k % 3)));
    if (s->dirty.mark)
        hm_dirty_mark(s->dirty.mark, at, COLS);
}

static void add_to_many(struct scene *s, float units)
{
    for (uint32_t row = 0; row < ROWS; row += 1 + hm_rng_below(&s->rng, 5))
        add_row(s, row % 2, row, units);
}

static uint32_t flush(struct scene *s, uint64_t steps, bool final)
{
    struct hm_publish publish = {1, !final, 0};
    s->turn.own_steps += steps;
    s->turn.mesh_steps += steps * s->turn.n_live;
    s->turn.final = final;
    s->delta.n_blocks = s->delta.n_nonzero = 0;
    uint32_t seen = hm_saturator_extract(&s->saturator, hm_kernels_find("auto"), &publish, &s->turn,
                                         &s->delta, &s->stats);
    for (uint32_t i = 1; i < s->delta.n_blocks; i++)
        assert_true(s->delta.block[i] > s->delta.block[i - 1]);
    return seen;
}

/* Of W - B, in units of the grid. */
static double largest_owed(const struct scene *s, size_t from, size_t to)
{
    double most = 0;
    for (size_t i = from; i < to; i++)
        most = fmax(most, fabs((double)hm_cell_get(&s->weights.w[i]) / (double)GRID -
                               (double)(int32_t)s->weights.b[i]));
    return most;
}

static size_t hot_end(const struct scene *s)
{
    return (size_t)HM_HOT_ROWS * s->weights.layout.tensor[0].stride;
}

/* ---- stories ---- */

/* Alone, or with steps that took no time, it is the plain sum. */
static void test_alone_it_is_the_sum(void **state)
{
    (void)state;
    struct scene *s = open_scene(true), *plain = open_scene(true);
    const struct hm_publish publish = {1, 1, 0};
    s->turn.n_live = 1;
    s->turn.pass_steps = 0;
    for (unsigned i = 0; i < 20; i++) {
        add_to_many(s, 10);
        add_to_many(plain, 10);
        flush(s, 1000, false);
        clear_delta(&plain->delta);
        hm_kernels_ref.extract(&plain->weights, 0, plain->weights.layout.n_blocks, &publish,
                               &plain->delta, &plain->stats);
        assert_same_delta(&s->delta, &plain->delta);
    }
    for (size_t i = 0; i < s->weights.n; i++)
        assert_true(hm_cell_get(&s->weights.w[i]) == hm_cell_get(&plain->weights.w[i]));
    close_scene(s);
    close_scene(plain);
}

/* With others, common directions of frequent rows are divided, and B + what W keeps is W. */
static void test_frequent_rows_are_divided(void **state)
{
    (void)state;
    struct scene *s = open_scene(true);
    const struct hm_tensor *t = &s->weights.layout.tensor[0];
    for (uint32_t row = 0; row < ROWS; row++) {
        add_row(s, 0, row, 16000); /* about 1 */
        add_row(s, 1, row, 16000);
    }
    s->turn.n_live = 16;
    s->turn.delay_steps = 0;
    s->turn.pass_steps = 100;
    flush(s, 100, false);
    double first = 0, last = 0, each = 16000. * COLS;
    for (unsigned k = 0; k < COLS; k++) {
        first += (double)(int32_t)s->weights.b[hm_tensor_at(t) + k] / each;
        last +=
            (double)(int32_t)s->weights.b[hm_tensor_at(t) + (size_t)1000 * t->stride + k] / each;
    }
    assert_true(first < .15 && last > 5 * first && last <= 1.3);
    assert_true(largest_owed(s, 0, hot_end(s)) < 17);
    close_scene(s);
}

/* Relaxation goes by the steps since rows of a class were last published, whatever the interval. */
static void test_steps_are_those_of_the_class(void **state)
{
    (void)state;
    struct scene *s = open_scene(true);
    const float each = .025f * .15f;
    flush(s, 10000, false);
    for (unsigned i = 0; i < 10; i++) {
        const unsigned slice = s->saturator.next;
        const uint64_t n = 500 + hm_rng_below(&s->rng, 1000);
        add_to_many(s, 10);
        const uint64_t at = s->saturator.slice[slice].at;
        flush(s, n, false);
        assert_true(fabsf(s->saturator.hot.x - each * (float)n) < 1e-4f);
        assert_int_equal(s->saturator.slice[slice].at, s->turn.own_steps);
        assert_true(fabsf(s->saturator.slice[slice].x - each * (float)(s->turn.own_steps - at)) <
                    1e-4f);
        const double k = (double)n;
        assert_true(fabs(s->saturator.hot.table.n - 4 * (1 + 500 / k)) < 1e-9);
    }
    close_scene(s);
}

/* Where the rate falls to nothing at the end, what is published then was not made at that. */
static void test_the_rate_is_that_of_the_steps(void **state)
{
    (void)state;
    struct scene *s = open_scene(true);
    s->turn.room_blocks = UINT64_MAX;
    flush(s, 10000, false);
    const uint64_t since = s->saturator.slice[7].at;
    add_to_many(s, 1000);
    s->turn.mesh_steps = (uint64_t)LAST_STEP;
    flush(s, 1000, true);
    const double half = .5 * .025 * .15;
    assert_true(fabs(s->saturator.hot.x - half * 1000) < 1e-4);
    assert_true(fabs(s->saturator.slice[7].x - half * (double)(s->turn.own_steps - since)) < 1e-4);
    close_scene(s);
}

/* What is left of a flush is not enough for another at the same time. */
static void test_a_second_flush_finds_nothing(void **state)
{
    (void)state;
    struct scene *s = open_scene(false);
    s->turn.pass_steps = 0;
    for (unsigned i = 0; i < 5; i++) {
        add_to_many(s, 300);
        flush(s, 5000, false);
        assert_true(s->delta.n_nonzero > ROWS);
        flush(s, 0, false);
        assert_true(s->delta.n_nonzero < ROWS / 100);
    }
    close_scene(s);
}

/* Hot rows at every flush, the others once in a pass, whatever the lengths of intervals. */
static void test_hot_rows_first_the_rest_in_rotation(void **state)
{
    (void)state;
    struct scene *s = open_scene(true);
    flush(s, 10000, false);
    for (unsigned pass = 0; pass < 10; pass++) {
        add_to_many(s, 10);
        uint64_t steps = 0;
        while (steps < 10500) {
            uint64_t n = 300 + hm_rng_below(&s->rng, 900);
            flush(s, n, false);
            steps += n;
            assert_true(largest_owed(s, 0, hot_end(s)) < 5);
            assert_true(s->stats.oldest <= 64);
        }
        assert_true(largest_owed(s, 0, s->weights.n) < 5);
        assert_true(flush(s, 100, false) < s->weights.layout.n_blocks / 16); /* marks are gone */
    }
    close_scene(s);
}

/* Without room the rest gets as much as the hot rows do, and every row its turn in HM_SLICES. */
static void test_no_row_starves_under_a_cap(void **state)
{
    (void)state;
    struct scene *s = open_scene(true);
    flush(s, 10000, false);
    s->turn.room_blocks = 0;
    for (unsigned i = 0; i < 3 * HM_SLICES; i++) {
        add_to_many(s, 10);
        flush(s, 1000, false);
        assert_true(s->stats.oldest <= HM_SLICES);
    }
    uint32_t hot = 0;
    for (uint32_t i = 0; i < s->delta.n_blocks; i++)
        hot += s->delta.block[i] % s->weights.layout.tensor[0].n_blocks < hot_end(s) / HM_BLOCK;
    assert_true(s->delta.n_blocks < 3 * hot);
    close_scene(s);
}

/* Rows that are not marked have their turn all the same. */
static void test_unmarked_rows_are_found(void **state)
{
    (void)state;
    struct scene *s = open_scene(true);
    s->turn.pass_steps = 0;
    flush(s, 1000, false);
    for (size_t i = 0; i < s->weights.n; i += HM_BLOCK)
        hm_cell_add(&s->weights.w[i], 5 * GRID);
    for (unsigned i = 0; i < HM_DIRTY_TURNS; i++)
        flush(s, 1, false);
    assert_true(largest_owed(s, 0, s->weights.n) < 5);
    close_scene(s);
}

/* The last flush publishes what is left, and then there is nothing. */
static void check_end(uint64_t room)
{
    struct scene *s = open_scene(true);
    flush(s, 10000, false);
    add_to_many(s, 1000);
    flush(s, 2000, false);
    add_to_many(s, 1000);
    s->turn.room_blocks = room;
    flush(s, 777, true);
    assert_true(s->delta.n_nonzero > 0);
    unsigned n = 0;
    do {
        flush(s, 0, true);
        assert_true(n++ < (room ? 3 : 3 * HM_SLICES));
    } while (s->delta.n_blocks || s->stats.more);
    assert_true(largest_owed(s, 0, s->weights.n) <= .5);
    close_scene(s);
}

static void test_the_end_leaves_nothing(void **state)
{
    (void)state;
    check_end(UINT64_MAX);
    check_end(0);
}

static void test_what_is_no_number_is_set_back(void **state)
{
    (void)state;
    struct scene *s = open_scene(true);
    s->turn.pass_steps = 0;
    flush(s, 10000, false);
    add_to_many(s, 100);
    const size_t at = 777 * 64 + 5;
    hm_cell_set(&s->weights.w[at], NAN);
    hm_dirty_mark(s->dirty.mark, at, 1);
    flush(s, 1000, false);
    assert_int_equal(s->stats.n_nonfinite, 1);
    assert_int_equal(s->stats.first_nonfinite.at, at);
    for (size_t i = 0; i < s->weights.n; i++)
        assert_true(isfinite(hm_cell_get(&s->weights.w[i])));
    assert_true(hm_cell_get(&s->weights.w[at]) == (float)(int32_t)s->weights.b[at] * GRID);
    close_scene(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone_it_is_the_sum),
        cmocka_unit_test(test_frequent_rows_are_divided),
        cmocka_unit_test(test_steps_are_those_of_the_class),
        cmocka_unit_test(test_the_rate_is_that_of_the_steps),
        cmocka_unit_test(test_a_second_flush_finds_nothing),
        cmocka_unit_test(test_hot_rows_first_the_rest_in_rotation),
        cmocka_unit_test(test_no_row_starves_under_a_cap),
        cmocka_unit_test(test_unmarked_rows_are_found),
        cmocka_unit_test(test_the_end_leaves_nothing),
        cmocka_unit_test(test_what_is_no_number_is_set_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
