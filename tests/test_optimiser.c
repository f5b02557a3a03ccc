/* Optimisers: each step against the formula in double, one weight after the other, on every
 * instruction set; schedules; what is asked for only where it can be done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/optimiser.h"
#include "sparse/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 64 * 7, STEPS = 6 };

/* What the header says of a step, on one weight. */
struct one {
    double w, velocity, square;
};

static void step_one(struct one *x, const struct hm_optimiser *o, double g, double clip,
                     double read, double rate)
{
    g = clip * g + (double)o->decay * x->w;
    if (o->compensate > 0) {
        double lambda = (double)o->compensate;
        if (o->adaptive) {
            x->square = .95 * x->square + .05 * g * g;
            lambda /= sqrt(x->square + 1e-7);
        }
        g += lambda * g * g * (x->w - read);
    }
    x->velocity = (double)o->momentum * x->velocity + g;
    x->w -= rate *
            (o->momentum > 0 && o->nesterov ? g + (double)o->momentum * x->velocity : x->velocity);
}

/* Some steps of both; what a gradient was taken at lies some way off. */
static void check(const struct hm_optimiser *o, double staleness, const char *isa)
{
    const struct hm_dense *dense = hm_dense_find(isa);
    struct hm_rng rng = hm_rng_seed(3, 1);
    struct one truth[N] = {{0}};
    _Alignas(64) hm_cell w[N];
    float g[N], read[N], *state = calloc(2 * N, sizeof *state);
    assert_non_null(state);
    for (int i = 0; i < N; i++) {
        truth[i].w = (double)(float)(hm_rng_unit(&rng) - .5);
        hm_cell_set(&w[i], (float)truth[i].w);
    }
    for (int step = 0; step < STEPS; step++) {
        double norm = 0, rate = hm_optimiser_rate(o, 100 * step);
        for (int i = 0; i < N; i++) {
            g[i] = (float)(hm_rng_unit(&rng) - .5);
            read[i] = hm_cell_get(&w[i]) + (float)(hm_rng_unit(&rng) - .5);
            norm += (double)g[i] * (double)g[i];
        }
        norm = sqrt(norm);
        double clip = o->clip > 0 && norm > (double)o->clip ? (double)o->clip / norm : 1;
        hm_optimiser_step(o, dense, g, o->compensate > 0 ? read : NULL, rate, 3, staleness, w,
                          state, N);
        rate *= 3 / (o->staleness_aware && staleness > 1 ? staleness : 1);
        for (int i = 0; i < N; i++) {
            step_one(&truth[i], o, (double)g[i], clip, (double)read[i], rate);
            if (!(fabs((double)hm_cell_get(&w[i]) - truth[i].w) < 2e-6 * (1 + fabs(truth[i].w))))
                fail_msg("%s, step %d, weight %d: %.9g, expected %.9g", isa, step, i,
                         (double)hm_cell_get(&w[i]), truth[i].w);
        }
    }
    free(state);
}

static void test_steps(void **state)
{
    (void)state;
    static const struct hm_optimiser one[] = {
        {.lr = .01},
        {.lr = .01, .momentum = .9f},
        {.lr = .01, .momentum = .9f, .nesterov = 1},
        {.lr = .01, .momentum = .5f, .nesterov = 1, .decay = .1f, .clip = .7f},
        {.lr = .01, .compensate = 2},
        {.lr = .01, .compensate = .2f, .adaptive = 1},
        {.lr = .01, .momentum = .9f, .compensate = .2f, .adaptive = 1, .clip = 2, .decay = .01f},
        {.lr = .01, .staleness_aware = 1},
        {.lr = .01, .schedule = HM_SCHEDULE_COSINE, .horizon = 500},
    };
    for (unsigned k = 0; hm_kernels_at(k); k++)
        for (size_t i = 0; i < sizeof one / sizeof one[0]; i++) {
            check(&one[i], .5, hm_kernels_at(k)->name);
            check(&one[i], 4, hm_kernels_at(k)->name);
        }
}

/* One gradient, then none any more: what it leaves behind decays to zero and is never subnormal,
 * where processors are slow and .9 of the number is the number. */
static void decay_after_one_gradient(const struct hm_optimiser *o, const char *isa)
{
    enum { LONG = 3000 };
    _Alignas(64) hm_cell w[64];
    float g[64], read[64] = {0}, *state = calloc(2 * 64, sizeof *state);
    assert_non_null(state);
    for (int i = 0; i < 64; i++) {
        hm_cell_set(&w[i], 0);
        g[i] = i % 2 ? -1e-3f : 1e-3f;
    }
    for (int step = 0; step < LONG; step++) {
        hm_optimiser_step(o, hm_dense_find(isa), g, read, .01, 1, 0, w, state, 64);
        memset(g, 0, sizeof g);
        for (int i = 0; i < 2 * 64; i++)
            if (fpclassify(state[i]) == FP_SUBNORMAL)
                fail_msg("%s, step %d: %g is left", isa, step, (double)state[i]);
    }
    for (int i = 0; i < 2 * 64; i++)
        assert_true(state[i] == 0);
    for (int i = 0; i < 64; i++) /* all of the geometric series */
        assert_true(fabs(fabs((double)hm_cell_get(&w[i])) - 1e-5 / (1 - .9)) < 1e-9);
    free(state);
}

static void test_what_decays_ends_in_zero(void **state)
{
    (void)state;
    static const struct hm_optimiser one[] = {
        {.lr = .01, .momentum = .9f},
        {.lr = .01, .momentum = .9f, .nesterov = 1},
        {.lr = .01, .momentum = .9f, .compensate = 1e-6f, .adaptive = 1},
    };
    for (unsigned k = 0; hm_kernels_at(k); k++)
        for (size_t i = 0; i < sizeof one / sizeof one[0]; i++)
            decay_after_one_gradient(&one[i], hm_kernels_at(k)->name);
}

static void test_schedules(void **state)
{
    (void)state;
    struct hm_optimiser o = {.lr = 2, .horizon = 1000, .schedule = HM_SCHEDULE_STEP};
    assert_true(hm_optimiser_rate(&o, 0) == 2 && hm_optimiser_rate(&o, 499) == 2);
    assert_true(fabs(hm_optimiser_rate(&o, 500) - .8) < 1e-12);
    assert_true(fabs(hm_optimiser_rate(&o, 800) - .2) < 1e-12);
    assert_true(fabs(hm_optimiser_rate(&o, 5000) - .2) < 1e-12);
    o.schedule = HM_SCHEDULE_COSINE;
    for (int t = 0; t <= 1000; t += 10)
        assert_true(fabs(hm_optimiser_rate(&o, t) - (1 + cos(M_PI * t / 1000))) < 1e-12);
    assert_true(hm_optimiser_rate(&o, 1e9) < 1e-12);
    o.schedule = HM_SCHEDULE_CONSTANT;
    assert_true(hm_optimiser_rate(&o, 900) == 2);
}

static void test_warm_up(void **state)
{
    (void)state;
    struct hm_optimiser o = {.lr = 2, .warmup = 400};
    assert_true(fabs(hm_optimiser_rate(&o, 0) - .02) < 1e-12); /* something, or nothing moves */
    assert_true(fabs(hm_optimiser_rate(&o, 100) - .5) < 1e-12);
    assert_true(hm_optimiser_rate(&o, 400) == 2 && hm_optimiser_rate(&o, 1e9) == 2);
}

/* Said or not, and said to be none. */
static void test_warm_up_is_an_option(void **state)
{
    (void)state;
    const struct hm_optimiser usual = {.lr = .1, .schedule = HM_SCHEDULE_STEP, .warmup = 800};
    static const struct {
        struct hm_train_options with;
        double steps;
    } asked[] = {{{.lr = 0}, 800},
                 {{.warmup = 300, .warmup_given = 1}, 300},
                 {{.warmup = 0, .warmup_given = 1}, 0}};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        struct hm_optimiser got;
        struct hm_fields config = {0}, wishes = {0};
        struct hm_err err = {""};
        hm_optimiser_insist(&asked[i].with, &wishes);
        assert_int_equal(wishes.n, asked[i].with.warmup_given);
        assert_int_equal(hm_optimiser_found(&asked[i].with, &usual, 4000, &config, &err), HM_OK);
        assert_int_equal(hm_optimiser_adopt(&got, &config, &err), HM_OK);
        assert_true(got.warmup == asked[i].steps);
    }
}

static void test_schedule_needs_a_budget(void **state)
{
    (void)state;
    struct hm_optimiser usual = {.lr = .1, .schedule = HM_SCHEDULE_STEP}, got;
    struct hm_train_options options = {0};
    struct hm_fields config = {0};
    struct hm_err err = {""};
    assert_int_equal(hm_optimiser_found(&options, &usual, 0, &config, &err), HM_OK);
    assert_int_equal(hm_optimiser_adopt(&got, &config, &err), HM_OK);
    assert_int_equal(got.schedule, HM_SCHEDULE_CONSTANT);
    options.schedule = "cosine";
    assert_int_equal(hm_optimiser_found(&options, &usual, 0, &config, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "--epochs or --steps"));
    assert_int_equal(hm_optimiser_found(&options, &usual, 5000, &config, &err), HM_OK);
    assert_int_equal(hm_optimiser_adopt(&got, &config, &err), HM_OK);
    assert_true(got.schedule == HM_SCHEDULE_COSINE && got.horizon == 5000);
}

static void test_inverse_schedule(void **state)
{
    (void)state;
    struct hm_optimiser usual = {.lr = .5, .schedule = HM_SCHEDULE_INVERSE, .decay = .25f}, got;
    struct hm_train_options options = {0};
    struct hm_fields config = {0};
    struct hm_err err = {""};
    assert_int_equal(hm_optimiser_found(&options, &usual, 0, &config, &err), HM_EUSAGE);
    options.schedule = "inverse"; /* of a workload that has no t0 */
    usual.schedule = HM_SCHEDULE_STEP;
    assert_int_equal(hm_optimiser_found(&options, &usual, 10, &config, &err), HM_EUSAGE);
    assert_non_null(strstr(err.text, "--schedule inverse"));
    usual.t0 = 8;
    assert_int_equal(hm_optimiser_found(&options, &usual, 0, &config, &err), HM_OK);
    assert_int_equal(hm_optimiser_adopt(&got, &config, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "t0"));
    hm_fields_set(&config, "t0", "8");
    assert_int_equal(hm_optimiser_adopt(&got, &config, &err), HM_OK);
    assert_true(hm_optimiser_rate(&got, 0) == .5 && hm_optimiser_rate(&got, 24) == .125);
    hm_fields_set(&config, "lambda", "0");
    assert_int_equal(hm_optimiser_adopt(&got, &config, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "lambda"));
}

/* Whoever asks for what a mesh has by default does not contradict it. */
static void test_defaults_read_as_they_are_written(void **state)
{
    (void)state;
    struct hm_optimiser usual = {.lr = .1, .momentum = .9f, .nesterov = 1, .clip = .3f};
    struct hm_train_options options = {0}, same = {.momentum = .9,
                                                   .momentum_given = 1,
                                                   .nesterov = 1,
                                                   .clip = .3,
                                                   .clip_given = 1,
                                                   .lr = .1};
    struct hm_fields config = {0}, wishes = {0};
    assert_int_equal(hm_optimiser_found(&options, &usual, 5, &config, NULL), HM_OK);
    hm_optimiser_insist(&same, &wishes);
    for (size_t i = 0; i < wishes.n; i++)
        assert_string_equal(hm_fields_get(&config, wishes.field[i].name), wishes.field[i].value);
    struct hm_optimiser odd = {.lr = .1, .momentum = .123456789f}, got;
    assert_int_equal(hm_optimiser_found(&options, &odd, 5, &config, NULL), HM_OK);
    assert_int_equal(hm_optimiser_adopt(&got, &config, NULL), HM_OK);
    assert_true(got.momentum == .123456789f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_what_decays_ends_in_zero),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_warm_up),
        cmocka_unit_test(test_warm_up_is_an_option),
        cmocka_unit_test(test_schedule_needs_a_budget),
        cmocka_unit_test(test_inverse_schedule),
        cmocka_unit_test(test_defaults_read_as_they_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
