/* What a gauge says of a gradient, against a model whose gradient is known: that of |w|^2 / 2. */
#include "node/currencies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

enum { N = HM_BLOCK, BATCH = 4 };

static const float RATE = .5F, SCALE = 2;
static uint32_t from, until; /* the coordinates that the gradient touches, in two spans */
static unsigned takes;

/* Coordinates from .. until; the first one in two halves, which add up. */
static void take(const struct hm_model *model, const struct hm_shard *shard,
                 const struct hm_step *step, struct hm_grad *grad)
{
    (void)model;
    (void)shard;
    takes++;
    assert_non_null(step->scratch);
    assert_null(step->ahead);
    grad->span[grad->n_spans++] = (struct hm_span){from, 1, RATE};
    grad->value[grad->n_values++] = hm_cell_get(&step->w[from]) / 2;
    grad->span[grad->n_spans++] = (struct hm_span){from, until - from, RATE};
    for (uint32_t i = from; i < until; i++)
        grad->value[grad->n_values++] = hm_cell_get(&step->w[i]) / (i == from ? 2 : 1);
}

static const struct hm_model_ops ops = {.name = "bowl", .grad = take};
static const struct hm_model model = {
    .ops = &ops, .batch = BATCH, .scratch_bytes = 64, .grad_max = N + 1};

struct scene {
    struct hm_gauge *gauge;
    hm_cell w[N];
    struct hm_step step;
    struct hm_span span[2];
    float value[N + 1];
    struct hm_grad grad; /* as it was read */
};

static void begin(struct scene *s, uint64_t every)
{
    struct hm_err err;
    *s = (struct scene){0};
    s->step = (struct hm_step){.w = s->w, .n = BATCH, .scale = SCALE, .ahead = s->w, .reach = 9};
    s->grad = (struct hm_grad){.span = s->span, .value = s->value};
    assert_int_equal(hm_gauge_open(&s->gauge, &model, N, every, &err), HM_OK);
}

static void read_one(struct scene *s, uint64_t others)
{
    struct hm_step plain = s->step;
    plain.ahead = NULL;
    plain.scratch = s;
    hm_gauge_read(s->gauge, s->w, others);
    s->grad.n_spans = s->grad.n_values = 0;
    take(&model, NULL, &plain, &s->grad);
}

static void add_one(struct scene *s, uint64_t others)
{
    takes = 0;
    hm_gauge_add(s->gauge, &model, NULL, &s->step, &s->grad, others);
}

static double mean(const struct scene *s, enum hm_currency currency)
{
    return hm_currency_unit[currency] *
           hm_tally_mean(&hm_gauge_currencies(s->gauge)->tally[currency]);
}

static void near(double is, double expected)
{
    if (!(fabs(is - expected) <= 2e-6 * fmax(1, expected)))
        fail_msg("%.9f where %.9f is expected", is, expected);
}

static void test_nothing_has_moved(void **state)
{
    struct scene s;
    (void)state;
    begin(&s, 1);
    from = 0, until = N;
    for (unsigned i = 0; i < N; i++)
        hm_cell_set(&s.w[i], (float)i * .37F);
    for (unsigned k = 0; k < 3; k++) {
        read_one(&s, 17);
        add_one(&s, 17);
    }
    assert_int_equal(hm_gauge_currencies(s.gauge)->n, 3);
    for (unsigned i = 0; i < HM_CURRENCIES; i++) {
        const struct hm_tally *tally = &hm_gauge_currencies(s.gauge)->tally[i];
        assert_true(tally->n == 3 && tally->sum == 0 && tally->max == 0); /* exactly */
    }
    hm_gauge_close(s.gauge);
}

/* W is (3, 4, 0 ...) at the reading and (3, 0, 12, 5) at the add; only the first two coordinates
 * are the gradient's. */
static void test_planted_distances(void **state)
{
    struct scene s;
    (void)state;
    begin(&s, 1);
    from = 0, until = 2;
    hm_cell_set(&s.w[0], 3);
    hm_cell_set(&s.w[1], 4);
    read_one(&s, 100);
    hm_cell_set(&s.w[1], 0);
    hm_cell_set(&s.w[2], 12);
    hm_cell_set(&s.w[3], 5);
    add_one(&s, 110);
    const double moved = sqrt(4 * 4 + 12 * 12 + 5 * 5);
    near(mean(&s, HM_CURRENCY_UPDATES), 10. / BATCH);
    near(mean(&s, HM_CURRENCY_DISTANCE), moved);
    near(mean(&s, HM_CURRENCY_RELATIVE), moved / sqrt(9 + 144 + 25));
    near(mean(&s, HM_CURRENCY_TOUCHED), 4. / 3);
    near(mean(&s, HM_CURRENCY_IN_STEPS), moved / (5 * (double)RATE * (double)SCALE));
    near(mean(&s, HM_CURRENCY_TURN), 1 - 3. / 5); /* (3, 4) and (3, 0) */
    struct hm_currency_sums sums = {0};
    hm_gauge_take(s.gauge, &sums);
    assert_true(sums.n == 1 && sums.n_turn == 1);
    near(sums.turn, 1 - 3. / 5);
    near(sums.updates, 2.5);
    near(sums.relative, moved / sqrt(9 + 144 + 25));
    sums = (struct hm_currency_sums){0};
    hm_gauge_take(s.gauge, &sums);
    assert_int_equal(sums.n, 0);
    hm_gauge_close(s.gauge);
}

static void test_opposite_and_vanishing_gradients(void **state)
{
    struct scene s;
    (void)state;
    begin(&s, 1);
    from = 5, until = 8;
    hm_cell_set(&s.w[6], -1);
    read_one(&s, 0);
    hm_cell_set(&s.w[6], 1);
    add_one(&s, 0);
    near(mean(&s, HM_CURRENCY_TURN), 2);
    read_one(&s, 0);
    hm_cell_set(&s.w[6], 0); /* it vanishes: half a turn */
    add_one(&s, 0);
    near(mean(&s, HM_CURRENCY_TURN), 1.5);
    read_one(&s, 0);
    hm_cell_set(&s.w[40], 7); /* zero, and still: there is nothing to compare */
    add_one(&s, 0);
    const struct hm_currencies *c = hm_gauge_currencies(s.gauge);
    assert_true(c->n == 3 && c->n_zero == 1);
    assert_true(c->tally[HM_CURRENCY_TURN].n == 2 && c->tally[HM_CURRENCY_DISTANCE].n == 3);
    hm_gauge_close(s.gauge);
}

static void test_one_of_so_many(void **state)
{
    struct scene s;
    unsigned fresh = 0;
    (void)state;
    begin(&s, 3);
    from = 0, until = 4;
    hm_cell_set(&s.w[0], 1);
    for (unsigned k = 0; k < 10; k++) {
        read_one(&s, 0);
        add_one(&s, 0);
        fresh += takes;
    }
    assert_int_equal(hm_gauge_currencies(s.gauge)->n, 3); /* the second, and every third */
    assert_int_equal(fresh, 3);
    hm_gauge_close(s.gauge);
}

static void test_what_diverges_has_no_measure(void **state)
{
    struct scene s;
    (void)state;
    begin(&s, 1);
    from = 0, until = 4;
    read_one(&s, 0);
    hm_cell_set(&s.w[2], INFINITY);
    add_one(&s, 8);
    hm_cell_set(&s.w[2], 1);
    read_one(&s, 8);
    add_one(&s, 8);
    assert_int_equal(hm_gauge_currencies(s.gauge)->n, 1); /* and nothing is left of the first */
    assert_true(hm_gauge_currencies(s.gauge)->tally[HM_CURRENCY_TURN].sum == 0);
    hm_gauge_close(s.gauge);
}

static void test_those_of_several_nodes(void **state)
{
    struct hm_currencies all = {0};
    struct scene s[2];
    (void)state;
    from = 0, until = 4;
    for (unsigned i = 0; i < 2; i++) {
        begin(&s[i], 1);
        hm_cell_set(&s[i].w[0], 1);
        read_one(&s[i], 0);
        hm_cell_set(&s[i].w[1], i ? 2 : 0);
        add_one(&s[i], 12 * (i + 1));
        hm_currencies_merge(&all, hm_gauge_currencies(s[i].gauge));
        hm_gauge_close(s[i].gauge);
    }
    assert_int_equal(all.n, 2);
    near(hm_currency_unit[HM_CURRENCY_DISTANCE] * hm_tally_mean(&all.tally[HM_CURRENCY_DISTANCE]),
         1);
    near(hm_currency_unit[HM_CURRENCY_UPDATES] * hm_tally_mean(&all.tally[HM_CURRENCY_UPDATES]),
         4.5);
    hm_currencies_fini(&all);
    hm_gauge_read(NULL, NULL, 0); /* who does not measure */
    hm_gauge_add(NULL, &model, NULL, NULL, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_has_moved),
        cmocka_unit_test(test_planted_distances),
        cmocka_unit_test(test_opposite_and_vanishing_gradients),
        cmocka_unit_test(test_one_of_so_many),
        cmocka_unit_test(test_what_diverges_has_no_measure),
        cmocka_unit_test(test_those_of_several_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
