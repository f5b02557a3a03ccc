/* The SVM's gradient: it is the loss's derivative, and `step` is the gradient and plain SGD. */
#include "tests/temp_folder.h"

#include "models/model.h"
#include "models/synth_svm.h"
#include "sparse/cell.h"

#include <math.h>

enum { BATCH = 32, ROWS = 2000 };

/* Float arithmetic in another order: w of order 1, sums of BATCH terms. */
static const float STEP_TOLERANCE = 2e-6f;
/* Losses of order 1 in float, divided by twice the step that is taken. */
static const double DIFFERENCE = .05, DIFFERENCE_TOLERANCE = 2e-4;

struct scene {
    struct hm_model *model;
    struct hm_fields config;
    struct hm_layout layout;
    struct hm_weights w;
    struct hm_shard shard;
    struct hm_grad grad;
};

static void set(struct scene *s, unsigned batch, enum hm_partition partition)
{
    struct hm_err err = {""};
    struct hm_synth_svm synth = {.seed = 1, .train_rows = ROWS, .test_rows = 10, .threads = 1};
    struct hm_train_options options = {.n_train = 1, .batch = batch, .threads = 1, .nodes = 1};
    options.train[0] = temp_path("train.svm");
    options.no_cache = 1;
    assert_int_equal(hm_synth_svm_write(&synth, temp_path(""), NULL, &err), HM_OK);
    *s = (struct scene){0};
    const struct hm_progress silent = {0};
    if (hm_svm.open(&s->model, &options, &silent, &err) ||
        hm_svm.found(s->model, &s->config, &err) ||
        hm_svm.adopt(s->model, &s->config, NULL, 0, &s->layout, &err) ||
        hm_weights_init(&s->w, &s->layout, &err) ||
        hm_svm.shard(s->model, partition, 0, 2, &s->shard, &err))
        fail_msg("%s", err.text);
    s->grad.span = calloc(s->model->grad_max, sizeof *s->grad.span);
    s->grad.value = calloc(s->model->grad_max, sizeof *s->grad.value);
    struct hm_rng rng = hm_rng_seed(7, 0);
    for (uint32_t i = 0; i < s->layout.tensor[0].cols; i++)
        hm_cell_set(&s->w.w[i], (float)hm_rng_unit(&rng) - .5f);
    hm_cell_set(&s->w.w[hm_tensor_at(&s->layout.tensor[1])], .1f);
}

static void clear(struct scene *s)
{
    hm_svm.close(s->model);
    hm_weights_fini(&s->w);
    free(s->grad.span);
    free(s->grad.value);
}

static void take(struct scene *s, uint64_t from, uint64_t n, double t)
{
    struct hm_step step = {.w = s->w.w, .from = from, .n = n, .t = t};
    s->grad.n_spans = s->grad.n_values = 0;
    s->grad.loss = 0;
    hm_svm.grad(s->model, &s->shard, &step, &s->grad);
    assert_true(s->grad.n_spans <= s->model->grad_max);
    assert_true(s->grad.n_values <= s->model->grad_max);
}

static void check_step(unsigned batch, enum hm_partition partition)
{
    struct scene s;
    set(&s, batch, partition);
    void *scratch = aligned_alloc(64, (s.model->scratch_bytes + 63) / 64 * 64);
    memset(scratch, 0, s.model->scratch_bytes);
    float *before = malloc(s.w.n * sizeof *before), *by_step = malloc(s.w.n * sizeof *by_step);
    for (size_t i = 0; i < s.w.n; i++)
        before[i] = hm_cell_get(&s.w.w[i]);
    unsigned moved = 0;
    for (unsigned k = 0; k < 20; k++) {
        struct hm_step step = {.w = s.w.w,
                               .from = k * batch,
                               .n = batch,
                               .t = 17. * k,
                               .scale = 1 + (float)k / 2,
                               .t_per_step = 1,
                               .scratch = scratch};
        hm_svm.step(s.model, &s.shard, &step);
        for (size_t i = 0; i < s.w.n; i++) {
            by_step[i] = hm_cell_get(&s.w.w[i]);
            hm_cell_set(&s.w.w[i], before[i]);
        }
        take(&s, k * batch, batch, step.t);
        hm_grad_add(&s.grad, step.scale, s.w.w);
        for (size_t i = 0; i < s.w.n; i++) {
            float other = hm_cell_get(&s.w.w[i]), scale = 1 + fabsf(by_step[i]);
            moved += other != before[i];
            if (fabsf(other - by_step[i]) > STEP_TOLERANCE * scale)
                fail_msg("step %u, coordinate %zu: %.9g by step, %.9g by gradient", k, i,
                         (double)by_step[i], (double)other);
            before[i] = other;
        }
    }
    assert_true(moved > 100);
    free(before);
    free(by_step);
    free(scratch);
    clear(&s);
}

static void test_step_is_gradient_and_sgd(void **state)
{
    (void)state;
    check_step(1, HM_PARTITION_NONE);
    check_step(BATCH, HM_PARTITION_NONE);
    check_step(7, HM_PARTITION_LABELS);
}

/* The gradient by coordinate, spans that meet again summed up. */
static double component(const struct hm_grad *grad, uint32_t at)
{
    double sum = 0;
    uint32_t value = 0;
    for (uint32_t i = 0; i < grad->n_spans; i++) {
        const struct hm_span *span = &grad->span[i];
        if (at >= span->at && at < span->at + span->n)
            sum += (double)grad->value[value + at - span->at];
        value += span->n;
    }
    return sum;
}

static double loss_at(struct scene *s, uint32_t at, float w, double t, uint32_t *n)
{
    float before = hm_cell_get(&s->w.w[at]);
    hm_cell_set(&s->w.w[at], w);
    take(s, 0, BATCH, t);
    hm_cell_set(&s->w.w[at], before);
    *n = s->grad.n_values;
    return s->grad.loss;
}

static void test_gradient_is_the_derivative(void **state)
{
    (void)state;
    struct scene s;
    set(&s, BATCH, HM_PARTITION_NONE);
    uint32_t bias = (uint32_t)hm_tensor_at(&s.layout.tensor[1]), checked = 0, met = 0;
    for (uint32_t k = 0; k <= 400; k++) {
        uint32_t at = k == 400 ? bias : k, plus_n, minus_n;
        double t = k % 2 ? 0 : 5000;
        float w = hm_cell_get(&s.w.w[at]), h = (float)DIFFERENCE;
        double plus = loss_at(&s, at, w + h, t, &plus_n),
               minus = loss_at(&s, at, w - h, t, &minus_n);
        take(&s, 0, BATCH, t);
        if (plus_n != minus_n)
            continue; /* the hinge's corner lies between */
        double slope = (plus - minus) / (double)((w + h) - (w - h)), g = component(&s.grad, at);
        if (fabs(slope - g) > DIFFERENCE_TOLERANCE * (1 + fabs(g)))
            fail_msg("coordinate %u, t %g: slope %.7g, gradient %.7g", at, t, slope, g);
        checked++;
        met += g != 0;
    }
    assert_true(checked > 300);
    assert_true(met > 100);
    clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_step_is_gradient_and_sgd, temp_setup, temp_teardown),
        cmocka_unit_test_setup_teardown(test_gradient_is_the_derivative, temp_setup, temp_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
