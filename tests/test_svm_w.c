/* The SVM in w form: its gradient is the loss's derivative, its steps are those of a naive
 * optimiser in double, without options they are V form's, and its configuration cannot be taken for
 * V form's.
 */
#include "tests/temp_folder.h"

#include "models/svm.h"
#include "models/synth_svm.h"
#include "protocol/config.h"
#include "sparse/cell.h"

#include <math.h>
#include <stdbool.h>

enum { ROWS = 2000, BATCH = 32 };

static struct hm_train_options plain(unsigned batch)
{
    struct hm_train_options o = {
        .n_train = 1, .batch = batch, .threads = 1, .nodes = 1, .seed = 3, .no_cache = 1};
    o.train[0] = temp_path("train.svm");
    return o;
}

/* With an optimiser that does nothing else than V form does. */
static struct hm_train_options options(unsigned batch)
{
    struct hm_train_options o = plain(batch);
    o.momentum_given = 1;
    return o;
}

static int setup(void **state)
{
    struct hm_synth_svm synth = {.seed = 1, .train_rows = ROWS, .test_rows = 10, .threads = 1};
    struct hm_err err;
    return temp_setup(state) || hm_synth_svm_write(&synth, temp_path(""), NULL, &err);
}

struct scene {
    struct hm_model *model;
    const struct hm_svm_model *svm;
    struct hm_fields config;
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_shard shard;
    struct hm_step step;
    struct hm_grad grad;
    size_t n, bias;
};

static void *zeroed(size_t bytes)
{
    size_t n = (bytes + 64) / 64 * 64;
    void *memory = aligned_alloc(64, n);
    assert_non_null(memory);
    return memset(memory, 0, n);
}

static struct scene open_scene(const struct hm_train_options *o)
{
    struct scene s = {0};
    struct hm_err err = {""};
    if (hm_svm.open(&s.model, o, NULL, &err) || hm_svm.found(s.model, &s.config, &err) ||
        hm_svm.adopt(s.model, &s.config, NULL, 0, &s.layout, &err) ||
        hm_weights_init(&s.weights, &s.layout, &err) ||
        hm_svm.shard(s.model, o->partition, 0, 2, &s.shard, &err))
        fail_msg("%s", err.text);
    s.svm = hm_svm_of(s.model);
    s.n = hm_layout_n(&s.layout);
    s.bias = hm_tensor_at(&s.layout.tensor[1]);
    s.step = (struct hm_step){.w = s.weights.w,
                              .scale = 1,
                              .t_per_step = 1,
                              .n = s.model->batch,
                              .scratch = zeroed(s.model->scratch_bytes),
                              .state = zeroed(s.model->state_floats * sizeof(float))};
    s.grad.span = malloc(s.model->grad_max * sizeof *s.grad.span);
    s.grad.value = malloc(s.model->grad_max * sizeof *s.grad.value);
    return s;
}

static void close_scene(struct scene *s)
{
    free(s->step.scratch);
    free(s->step.state);
    free(s->grad.span);
    free(s->grad.value);
    hm_weights_fini(&s->weights);
    hm_svm.close(s->model);
}

/* Weights of which some rows are violators and others not. */
static void draw_weights(struct scene *s)
{
    struct hm_rng rng = hm_rng_seed(7, 0);
    for (uint32_t i = 0; i < s->svm->n_features; i++)
        hm_cell_set(&s->weights.w[i], 4 * ((float)hm_rng_unit(&rng) - .5f));
    hm_cell_set(&s->weights.w[s->bias], .3f);
}

static double *weights_in_double(const struct scene *s)
{
    double *w = malloc(s->n * sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < s->n; i++)
        w[i] = (double)hm_cell_get(&s->weights.w[i]);
    return w;
}

static void take(struct scene *s)
{
    s->grad.n_spans = s->grad.n_values = 0;
    s->grad.loss = 0;
    hm_svm.grad(s->model, &s->shard, &s->step, &s->grad);
    assert_true(s->grad.n_spans <= s->model->grad_max && s->grad.n_values <= s->model->grad_max);
}

/* ---- the gradient ---- */

/* What svm_w.c says, in double, one number after the other. Returns how near to the hinge's corner
 * an example comes, where float and double may be of two minds. */
static double naive_gradient(const struct scene *s, uint64_t from, uint64_t n, const double *w,
                             double *g)
{
    const struct hm_rows *rows = &s->svm->train;
    double nearest = 1;
    memset(g, 0, s->n * sizeof *g);
    for (uint64_t i = from; i < from + n; i++) {
        uint64_t at = i % s->shard.n;
        uint64_t r = s->shard.index ? s->shard.index[at] : (s->shard.begin + at) % rows->n_rows;
        double y = rows->label[r], z = w[s->bias];
        for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++)
            z += (double)rows->value[k] * w[rows->id16 ? rows->id16[k] : rows->id32[k]];
        nearest = fmin(nearest, fabs(1 - y * z));
        if (y * z >= 1)
            continue;
        for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++)
            g[rows->id16 ? rows->id16[k] : rows->id32[k]] -= y * (double)rows->value[k] / (double)n;
        g[s->bias] -= y / (double)n;
    }
    return nearest;
}

static void check_gradient(unsigned batch, enum hm_partition partition)
{
    struct hm_train_options o = options(batch);
    o.partition = partition;
    struct scene s = open_scene(&o);
    draw_weights(&s);
    double *w = weights_in_double(&s), *g = malloc(s.n * sizeof *g);
    unsigned met = 0, checked = 0;
    for (unsigned k = 0; k < 40; k++) {
        s.step.from = (uint64_t)k * 71; /* across the end of the shard, too */
        if (naive_gradient(&s, s.step.from, batch, w, g) < 1e-4)
            continue;
        take(&s);
        for (size_t i = 0; i < s.n; i++) {
            if (!(fabs((double)s.grad.value[i] - g[i]) < 1e-6))
                fail_msg("batch %u at %llu, coordinate %zu: %.9g, expected %.9g", batch,
                         (unsigned long long)s.step.from, i, (double)s.grad.value[i], g[i]);
            met += g[i] != 0;
        }
        checked++;
    }
    assert_true(met > 100 && checked > 20);
    free(w);
    free(g);
    close_scene(&s);
}

static void test_gradient_is_the_naive_one(void **state)
{
    (void)state;
    check_gradient(1, HM_PARTITION_NONE);
    check_gradient(BATCH, HM_PARTITION_NONE);
    check_gradient(7, HM_PARTITION_LABELS);
    check_gradient(300, HM_PARTITION_SPLIT);
}

static double loss_at(struct scene *s, size_t at, float w)
{
    float before = hm_cell_get(&s->weights.w[at]);
    hm_cell_set(&s->weights.w[at], w);
    take(s);
    hm_cell_set(&s->weights.w[at], before);
    return s->grad.loss / (double)s->step.n;
}

/* Losses of order 1 in float, over a step of .02. */
static void check_derivative(double dropout)
{
    struct hm_train_options o = options(BATCH);
    o.dropout = dropout;
    struct scene s = open_scene(&o);
    draw_weights(&s);
    unsigned checked = 0, met = 0;
    for (size_t k = 0; k <= 400; k++) {
        size_t at = k == 400 ? s.bias : k;
        float w = hm_cell_get(&s.weights.w[at]), h = .02f;
        double plus = loss_at(&s, at, w + h), minus = loss_at(&s, at, w - h),
               mid = loss_at(&s, at, w);
        if (plus + minus - 2 * mid > 1e-5)
            continue; /* the hinge's corner lies between */
        double slope = (plus - minus) / (double)((w + h) - (w - h)), g = (double)s.grad.value[at];
        if (!(fabs(slope - g) < 1e-3 * (1 + fabs(g))))
            fail_msg("dropout %g, coordinate %zu: slope %.7g, gradient %.7g", dropout, at, slope,
                     g);
        checked++;
        met += g != 0;
    }
    assert_true(checked > 300);
    assert_true(met > 100);
    close_scene(&s);
}

static void test_gradient_is_the_derivative(void **state)
{
    (void)state;
    check_derivative(0);
    check_derivative(.4);
}

/* Looking ahead, a gradient is that of other weights. */
static void test_gradient_ahead(void **state)
{
    (void)state;
    struct hm_train_options o = options(BATCH);
    struct scene s = open_scene(&o);
    draw_weights(&s);
    float *there = zeroed(s.n * sizeof *there);
    hm_cell *v = zeroed(s.n * sizeof *v);
    for (size_t i = 0; i < s.n; i++)
        hm_cell_set(&v[i], hm_cell_get(&s.weights.w[i]) * .25f);
    s.step.ahead = v;
    s.step.reach = 2;
    take(&s);
    memcpy(there, s.grad.value, s.n * sizeof *there);
    s.step.ahead = NULL;
    take(&s);
    assert_memory_not_equal(there, s.grad.value, s.n * sizeof *there);
    for (size_t i = 0; i < s.n; i++)
        hm_cell_set(&s.weights.w[i], hm_cell_get(&s.weights.w[i]) * 1.5f);
    take(&s);
    assert_memory_equal(there, s.grad.value, s.n * sizeof *there);
    free(there);
    free(v);
    close_scene(&s);
}

/* Where w is 0 every example is a violator and the gradient is the mean of what is seen of the
 * rows: over many passes that of whole rows. */
static void test_dropout(void **state)
{
    (void)state;
    enum { PASSES = 900 };
    struct hm_train_options o = options(BATCH);
    struct scene whole = open_scene(&o);
    o.dropout = .3;
    struct scene s = open_scene(&o);
    double *mean = calloc(s.n, sizeof *mean), size = 0, far = 0;
    uint64_t left_out = 0, all = 0;
    take(&whole);
    for (unsigned pass = 0; pass < PASSES; pass++) {
        s.step.from = pass * s.shard.n;
        take(&s);
        for (size_t i = 0; i < s.n; i++)
            mean[i] += (double)s.grad.value[i] / PASSES;
        s.step.n = 1;
        take(&s);
        s.step.n = BATCH;
        uint64_t r = s.shard.begin;
        for (uint64_t k = s.svm->train.start[r]; k < s.svm->train.start[r + 1]; k++, all++)
            left_out += s.grad.value[s.svm->train.id16[k]] == 0;
    }
    for (size_t i = 0; i < s.n; i++) {
        double g = (double)whole.grad.value[i];
        size += g * g;
        far += (mean[i] - g) * (mean[i] - g);
    }
    if (!(sqrt(far / size) < .05))
        fail_msg("the mean gradient is off by %.3g", sqrt(far / size));
    assert_true(fabs((double)left_out / (double)all - .3) < .01);
    float *once = zeroed(s.n * sizeof *once);
    take(&s);
    memcpy(once, s.grad.value, s.n * sizeof *once);
    take(&s);
    assert_memory_equal(once, s.grad.value, s.n * sizeof *once);
    s.shard.key++; /* another node's */
    take(&s);
    assert_memory_not_equal(once, s.grad.value, s.n * sizeof *once);
    free(once);
    free(mean);
    close_scene(&whole);
    close_scene(&s);
}

/* ---- steps ---- */

static const struct {
    const char *name;
    struct hm_train_options with; /* options beside `options` */
    unsigned delay;               /* steps between a gradient and its update */
} mode[] = {
    {"plain SGD", {.lambda = 1e-3}, 0},
    {"heavy ball", {.momentum = .9, .lambda = 1e-2}, 0},
    {"Nesterov", {.momentum = .9, .nesterov = 1, .schedule = "constant", .lr = .2}, 0},
    {"clipped", {.momentum = .5, .clip = .05, .clip_given = 1, .schedule = "cosine"}, 0},
    {"late", {.schedule = "step"}, 3},
    {"compensated", {.compensate = 4, .compensate_given = 1, .lr = .5, .schedule = "constant"}, 3},
    {"adaptively compensated",
     {.momentum = .5, .compensate = .2, .compensate_given = 1, .adaptive = 1, .lr = .5},
     3},
    {"staleness-aware", {.staleness_aware = 1}, 3},
};
enum { N_MODES = sizeof mode / sizeof mode[0], DELAY_MAX = 3 };

static struct hm_train_options options_of(unsigned m, unsigned batch)
{
    struct hm_train_options o = options(batch), with = mode[m].with;
    with.n_train = o.n_train;
    with.train[0] = o.train[0];
    with.batch = batch;
    with.threads = with.nodes = 1;
    with.seed = o.seed;
    with.no_cache = 1;
    with.momentum_given = 1;
    return with;
}

/* The fused step, and grad followed by apply, end at the same bits. */
static void check_step(const struct hm_train_options *o)
{
    struct scene fused = open_scene(o), apart = open_scene(o);
    if (apart.model->read_floats)
        apart.step.read = malloc(apart.model->read_floats * sizeof(float));
    for (uint64_t i = 0; i < 60; i++) {
        fused.step.from = apart.step.from = i * 41;
        fused.step.t = apart.step.t = 2. * (double)i * o->batch;
        fused.step.t_per_step = apart.step.t_per_step = 2;
        fused.step.scale = apart.step.scale = 1 + (float)(i % 3);
        fused.step.n = apart.step.n = i % 10 == 9 ? (o->batch + 1) / 2 : o->batch;
        hm_svm.step(fused.model, &fused.shard, &fused.step);
        take(&apart);
        hm_model_apply(apart.model, &apart.step, &apart.grad);
    }
    unsigned moved = 0;
    for (size_t i = 0; i < fused.n; i++) {
        float w = hm_cell_get(&fused.weights.w[i]);
        assert_true(w == hm_cell_get(&apart.weights.w[i]));
        uint64_t used = hm_layout_block_mask(&fused.layout, (uint32_t)(i / HM_BLOCK));
        assert_true((used >> i % HM_BLOCK & 1) || w == 0);
        moved += w != 0;
    }
    assert_true(moved > 100);
    assert_true(fused.step.n_sampled > 0 && fused.step.n_sampled == apart.step.n_sampled);
    assert_int_equal(fused.step.n_wiped, 0);
    free(apart.step.read);
    close_scene(&fused);
    close_scene(&apart);
}

static void test_step_is_gradient_and_apply(void **state)
{
    (void)state;
    for (unsigned m = 0; m < N_MODES; m++) {
        struct hm_train_options o = options_of(m, m % 2 ? BATCH : 5);
        check_step(&o);
        o.dropout = .3;
        o.partition = HM_PARTITION_LABELS;
        check_step(&o);
    }
    struct hm_train_options o = options(1);
    check_step(&o);
    o.batch = HM_SVM_BATCH_MAX;
    check_step(&o);
}

/* The optimiser as svm_w.c and dense.h describe it, in double. */
struct naive {
    double *w, *velocity, *square;
    struct {
        double *g, *read, rate;
    } late[DELAY_MAX + 1]; /* gradients on their way, and what they were taken at */
};

static double naive_rate(const struct scene *s, const struct hm_train_options *o, double t)
{
    double lambda = o->lambda > 0 ? o->lambda : 1e-4, lr = s->svm->optimiser.lr;
    double x = t / (double)s->model->budget_steps;
    if (!o->schedule)
        return 1 / (lambda * (s->svm->t0 + t));
    if (strcmp(o->schedule, "cosine") == 0)
        return lr * .5 * (1 + cos(M_PI * x));
    return strcmp(o->schedule, "step") == 0 ? lr * (x < .5 ? 1 : x < .8 ? .4 : .1) : lr;
}

static void naive_add(const struct scene *s, const struct hm_train_options *o, struct naive *naive,
                      const double *g, const double *read, double rate, double scale,
                      double staleness)
{
    double norm = 0, lambda = o->lambda > 0 ? o->lambda : 1e-4;
    for (size_t i = 0; i < s->n; i++)
        norm += g[i] * g[i];
    double clip = o->clip > 0 && sqrt(norm) > o->clip ? o->clip / sqrt(norm) : 1;
    rate *= scale * (1 - o->momentum) / (o->staleness_aware && staleness > 1 ? staleness : 1);
    for (size_t i = 0; i < s->n; i++) {
        bool is_bias = i == s->bias;
        double h = clip * g[i] + (is_bias ? 0 : lambda * naive->w[i]), compensate = o->compensate;
        if (o->adaptive) {
            naive->square[i] = .95 * naive->square[i] + .05 * h * h;
            compensate /= sqrt(naive->square[i] + 1e-7);
        }
        h += compensate * h * h * (naive->w[i] - read[i]);
        naive->velocity[i] = o->momentum * naive->velocity[i] + h;
        h = o->nesterov ? h + o->momentum * naive->velocity[i] : naive->velocity[i];
        naive->w[i] -= (is_bias ? .01 : 1) * rate * h;
    }
}

static void check_against_naive(unsigned m, unsigned batch)
{
    enum { STEPS = 40 };
    struct hm_train_options o = options_of(m, batch);
    o.epochs = (double)STEPS * batch / ROWS; /* all of a schedule */
    struct scene s = open_scene(&o);
    draw_weights(&s);
    unsigned delay = mode[m].delay, ring = delay + 1;
    struct hm_grad late[DELAY_MAX + 1];
    float *read[DELAY_MAX + 1];
    struct naive naive = {.w = weights_in_double(&s),
                          .velocity = calloc(s.n, sizeof(double)),
                          .square = calloc(s.n, sizeof(double))};
    for (unsigned k = 0; k < ring; k++) {
        late[k] = (struct hm_grad){.span = malloc(s.model->grad_max * sizeof(struct hm_span)),
                                   .value = malloc(s.model->grad_max * sizeof(float))};
        read[k] = malloc(s.n * sizeof(float));
        naive.late[k].g = malloc(s.n * sizeof(double));
        naive.late[k].read = malloc(s.n * sizeof(double));
    }
    double off = 0, moved = 0;
    for (unsigned k = 0; k < STEPS + delay; k++) {
        if (k < STEPS) {
            unsigned at = k % ring;
            s.step.from = (uint64_t)k * batch;
            s.step.t = (double)k * batch;
            s.step.read = s.model->read_floats ? read[at] : NULL;
            late[at].n_spans = late[at].n_values = 0;
            hm_svm.grad(s.model, &s.shard, &s.step, &late[at]);
            naive_gradient(&s, s.step.from, batch, naive.w, naive.late[at].g);
            memcpy(naive.late[at].read, naive.w, s.n * sizeof(double));
            naive.late[at].rate = batch * naive_rate(&s, &o, s.step.t + batch);
        }
        if (k < delay)
            continue;
        unsigned at = (k - delay) % ring;
        s.step.from = (uint64_t)(k - delay) * batch;
        s.step.read = s.model->read_floats ? read[at] : NULL;
        s.step.staleness = delay;
        s.step.scale = 1.5f;
        hm_model_apply(s.model, &s.step, &late[at]);
        naive_add(&s, &o, &naive, naive.late[at].g, naive.late[at].read, naive.late[at].rate, 1.5,
                  delay);
        for (size_t i = 0; i < s.n; i++) {
            double w = (double)hm_cell_get(&s.weights.w[i]);
            off = fmax(off, fabs(w - naive.w[i]) / (1 + fabs(naive.w[i])));
            moved = fmax(moved, fabs(w));
        }
    }
    if (!(off < 5e-5))
        fail_msg("%s, batch %u: off by %.3g", mode[m].name, batch, off);
    assert_true(moved > .1 && hm_cell_get(&s.weights.w[s.bias]) != .3f);
    for (unsigned k = 0; k < ring; k++) {
        free(late[k].span);
        free(late[k].value);
        free(read[k]);
        free(naive.late[k].g);
        free(naive.late[k].read);
    }
    free(naive.w);
    free(naive.velocity);
    free(naive.square);
    close_scene(&s);
}

static void test_optimisers_are_the_naive_ones(void **state)
{
    (void)state;
    for (unsigned m = 0; m < N_MODES; m++) {
        check_against_naive(m, 5);
        check_against_naive(m, 64);
    }
}

/* ---- V form ---- */

static struct hm_score score_after(const struct hm_train_options *o, unsigned epochs)
{
    struct scene s = open_scene(o);
    struct hm_score score;
    for (uint64_t from = 0; from < (uint64_t)epochs * ROWS; from += o->batch) {
        s.step.from = from;
        s.step.t = (double)from;
        hm_svm.step(s.model, &s.shard, &s.step);
    }
    for (uint32_t t = 0; t < 2; t++) {
        size_t at = hm_tensor_at(&s.layout.tensor[t]), end = t ? s.n : s.bias;
        float grid = ldexpf(1, s.layout.tensor[t].grid_exp);
        for (size_t i = at; i < end; i++)
            s.weights.b[i] = (uint32_t)(int32_t)lrintf(hm_cell_get(&s.weights.w[i]) / grid);
    }
    uint64_t steps = (uint64_t)epochs * ROWS;
    assert_int_equal(hm_svm.score(s.model, s.weights.b, steps, HM_TRAIN_SET, 2, &score, NULL),
                     HM_OK);
    close_scene(&s);
    return score;
}

/* Without options, w form walks as V form does: batch by batch, at whatever scale of lambda. */
static void check_same_walk(unsigned batch, double lambda, double lr)
{
    struct hm_train_options v = plain(batch), w = options(batch);
    v.lambda = w.lambda = lambda;
    v.lr = w.lr = lr;
    struct hm_score one = score_after(&v, 4), other = score_after(&w, 4);
    if (!(fabs(one.cost - other.cost) < 1e-3 * one.cost) ||
        !(fabs(one.accuracy - other.accuracy) < .0021))
        fail_msg("batch %u: V form %.6f (%.4f), w form %.6f (%.4f)", batch, one.cost, one.accuracy,
                 other.cost, other.accuracy);
    assert_true(one.accuracy > .9);
}

static void test_without_options_it_is_v_form(void **state)
{
    (void)state;
    check_same_walk(1, 0, 0);
    check_same_walk(16, 0, 0);
    check_same_walk(16, 1e-3, .25);
    check_same_walk(250, 1e-3, .25); /* t0 of 4,000: a step forgets a sixteenth */
}

/* Momentum moves as far as none does: what it takes is time. */
static void test_momentum_keeps_the_rate(void **state)
{
    (void)state;
    struct hm_train_options o = options(4);
    double cost = score_after(&o, 6).cost;
    o.momentum = .9;
    double heavy = score_after(&o, 6).cost;
    o.nesterov = 1;
    double nesterov = score_after(&o, 6).cost;
    if (!(fabs(heavy - cost) < .08 * cost && fabs(nesterov - cost) < .08 * cost))
        fail_msg("cost %.5f, heavy ball %.5f, Nesterov %.5f", cost, heavy, nesterov);
}

/* ---- configuration ---- */

static void test_every_option_asks_for_w_form(void **state)
{
    (void)state;
    static const struct hm_train_options with[] = {
        {.momentum_given = 1}, {.nesterov = 1},         {.schedule = "inverse"},
        {.clip_given = 1},     {.compensate_given = 1}, {.staleness_aware = 1},
        {.dropout = .1},       {.warmup_given = 1},
    };
    struct hm_train_options v = plain(1);
    v.lr = .5;
    v.lambda = 1e-3;
    v.combine_given = 1;
    v.combine.rule = HM_RULE_HOLD;
    struct scene in_v = open_scene(&v);
    assert_false(in_v.svm->in_w);
    assert_null(hm_fields_get(&in_v.config, "form"));
    assert_int_equal(in_v.model->state_floats, 0);
    for (size_t i = 0; i < sizeof with / sizeof with[0]; i++) {
        struct hm_train_options o = with[i], base = plain(1);
        o.n_train = 1;
        o.train[0] = base.train[0];
        o.no_cache = 1;
        o.threads = o.nodes = 1;
        struct scene s = open_scene(&o);
        assert_true(s.svm->in_w);
        assert_string_equal(hm_fields_get(&s.config, "form"), "w");
        assert_string_equal(hm_fields_get(&s.config, "schedule"), "inverse");
        assert_true(s.model->momentum == (o.nesterov ? .9f : 0));
        assert_int_equal(s.model->chunk, 1);
        assert_true(hm_config_fingerprint(&s.config) != hm_config_fingerprint(&in_v.config));
        /* another configuration may come after this one */
        assert_int_equal(hm_svm.adopt(s.model, &in_v.config, NULL, 0, &s.layout, NULL), HM_OK);
        assert_true(!s.svm->in_w && s.model->state_floats == 0 && s.model->read_floats == 0 &&
                    s.model->momentum == 0 && s.model->chunk == HM_SVM_CHUNK);
        close_scene(&s);
    }
    close_scene(&in_v);
}

/* Meshes of before understand V form's. */
static void test_v_form_has_the_fields_it_had(void **state)
{
    (void)state;
    static const char *const name[] = {"amplify", "batch", "budget", "combine", "epochs",
                                       "lambda",  "lr",    "order",  "rows",    "seconds",
                                       "seed",    "steps", "t0",     "tensors", "workload"};
    struct hm_train_options o = plain(1);
    struct scene s = open_scene(&o);
    assert_int_equal(s.config.n, sizeof name / sizeof name[0]);
    for (size_t i = 0; i < s.config.n; i++)
        assert_string_equal(s.config.field[i].name, name[i]);
    assert_int_equal(strncmp(hm_fields_get(&s.config, "tensors"), "v:1x", 4), 0);
    close_scene(&s);
}

static void test_configuration_travels(void **state)
{
    (void)state;
    struct hm_train_options o = options(BATCH);
    o.momentum = .7;
    o.nesterov = 1;
    o.lambda = 3e-4; /* no round number in binary */
    o.lr = .3;
    o.schedule = "cosine";
    o.clip = 2;
    o.clip_given = 1;
    o.compensate = .04;
    o.compensate_given = o.adaptive = 1;
    o.staleness_aware = 1;
    o.dropout = .25;
    struct scene s = open_scene(&o);
    struct hm_model *joiner;
    struct hm_layout layout;
    struct hm_train_options theirs = plain(0);
    assert_int_equal(hm_svm.open(&joiner, &theirs, NULL, NULL), HM_OK);
    assert_int_equal(hm_svm.adopt(joiner, &s.config, NULL, 0, &layout, NULL), HM_OK);
    const struct hm_svm_model *adopted = hm_svm_of(joiner);
    assert_true(adopted->in_w && adopted->dropout == .25f && adopted->base.batch == BATCH);
    assert_memory_equal(&adopted->optimiser, &s.svm->optimiser, sizeof adopted->optimiser);
    assert_true(adopted->optimiser.momentum == .7f && adopted->optimiser.clip == 2);
    assert_true(adopted->base.momentum == .7f && adopted->base.read_floats == s.n);
    assert_memory_equal(&layout, &s.layout, sizeof layout);
    hm_svm.close(joiner);
    /* What the founder says itself is no contradiction, nor is part of it. */
    struct hm_fields wishes = {0};
    hm_svm.insist(s.model, &wishes);
    assert_null(hm_config_conflict(&s.config, wishes.field, wishes.n));
    theirs.lambda = 3e-4;
    theirs.lr = .3;
    assert_int_equal(hm_svm.open(&joiner, &theirs, NULL, NULL), HM_OK);
    wishes.n = 0;
    hm_svm.insist(joiner, &wishes);
    assert_null(hm_config_conflict(&s.config, wishes.field, wishes.n));
    hm_svm.close(joiner);
    close_scene(&s);
}

/* Whoever contradicts is told by which field. */
static void test_contradictions_are_named(void **state)
{
    (void)state;
    static const struct {
        struct hm_train_options with;
        const char *field;
    } wish[] = {
        {{.momentum = .5, .momentum_given = 1}, "momentum"},
        {{.nesterov = 1}, "nesterov"},
        {{.schedule = "constant"}, "schedule"},
        {{.clip = 1, .clip_given = 1}, "clip"},
        {{.compensate = 1, .compensate_given = 1}, "compensate"},
        {{.staleness_aware = 1}, "staleness_aware"},
        {{.dropout = .5}, "dropout"},
        {{.warmup = 9, .warmup_given = 1}, "warmup"},
        {{.lambda = 1e-3}, "lambda"},
        {{.lr = 7}, "lr"},
    };
    struct hm_train_options w = options(1), v = plain(1);
    struct scene in_w = open_scene(&w), in_v = open_scene(&v);
    for (size_t i = 0; i < sizeof wish / sizeof wish[0]; i++) {
        struct hm_model *model;
        struct hm_train_options o = wish[i].with;
        struct hm_fields wishes = {0};
        assert_int_equal(hm_svm.open(&model, &o, NULL, NULL), HM_OK);
        hm_svm.insist(model, &wishes);
        const struct hm_field *field = hm_config_conflict(&in_w.config, wishes.field, wishes.n);
        assert_non_null(field);
        assert_string_equal(field->name, wish[i].field);
        assert_non_null(hm_config_conflict(&in_v.config, wishes.field, wishes.n));
        hm_svm.close(model);
    }
    close_scene(&in_w);
    close_scene(&in_v);
}

static void test_refuses_what_it_cannot_do(void **state)
{
    (void)state;
    static const struct {
        int in_v;
        const char *name, *value, *says;
    } bad[] = {
        {0, "form", "v", "field 'form' is 'v'"},
        {0, "schedule", "wavy", "constant, linear, step, cosine or inverse"},
        {0, "momentum", "1", "momentum"},
        {0, "clip", "-1", "clip"},
        {0, "dropout", "1", "dropout"},
        {0, "lambda", "1e-31", "lambda"},
        {0, "lambda", "0", "lambda"},
        {0, "t0", "0", "t0"},
        {0, "batch", "1025", "batch"},
        {0, "tensors", "v:1x100:-13,b:1x1:-18", "which no svm has"},
        {0, "novelty", "1", "does not know it"},
        {1, "tensors", "w:1x100:-13,b:1x1:-18", "which no svm has"},
        {1, "momentum", "0.9", "field 'momentum' (0.9): this program does not know it"},
        {1, "combine", "lookahead", "with momentum"},
    };
    struct hm_train_options w = options(1), v = plain(1);
    struct scene in_w = open_scene(&w), in_v = open_scene(&v);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct scene *s = bad[i].in_v ? &in_v : &in_w;
        struct hm_fields config = s->config;
        struct hm_layout layout;
        struct hm_err err = {""};
        hm_fields_set(&config, bad[i].name, "%s", bad[i].value);
        assert_int_not_equal(hm_svm.adopt(s->model, &config, NULL, 0, &layout, &err), HM_OK);
        if (!strstr(err.text, bad[i].says))
            fail_msg("%s = %s: \"%s\" says nothing of '%s'", bad[i].name, bad[i].value, err.text,
                     bad[i].says);
    }
    close_scene(&in_w);
    close_scene(&in_v);
}

static void test_refuses_to_found_nonsense(void **state)
{
    (void)state;
    static const struct {
        struct hm_train_options with;
        const char *says;
    } bad[] = {
        {{.combine = {.rule = HM_RULE_LOOKAHEAD}, .combine_given = 1}, "add --momentum"},
        {{.schedule = "step", .seconds = 1}, "--epochs or --steps"},
        {{.lambda = 1e-31, .momentum_given = 1}, "--lambda 1e-31"},
        {{.lambda = 1e7, .clip_given = 1}, "--lambda 1e+07"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hm_train_options o = bad[i].with, base = plain(1);
        struct hm_model *model;
        struct hm_fields config = {0};
        struct hm_err err = {""};
        o.n_train = 1;
        o.train[0] = base.train[0];
        o.no_cache = 1;
        assert_int_equal(hm_svm.open(&model, &o, NULL, &err), HM_OK);
        assert_int_equal(hm_svm.found(model, &config, &err), HM_EUSAGE);
        if (!strstr(err.text, bad[i].says))
            fail_msg("\"%s\" says nothing of '%s'", err.text, bad[i].says);
        hm_svm.close(model);
    }
}

/* Whatever the optimum is, B can hold it, and twice that. */
static void test_grid_holds_w(void **state)
{
    (void)state;
    for (double lambda = 1e-12; lambda < 1e3; lambda *= 7) {
        struct hm_train_options o = options(1);
        o.lambda = lambda;
        o.lr = 1;
        struct scene s = open_scene(&o);
        double most = fmin(sqrt(2 / lambda), 256), grid = ldexp(1, s.layout.tensor[0].grid_exp);
        assert_true(2 * most <= HM_RANGE * grid);
        assert_true(4.1 * most > HM_RANGE * grid); /* and no coarser than that */
        close_scene(&s);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, temp_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_gradient_is_the_naive_one),
        CASE(test_gradient_is_the_derivative),
        CASE(test_gradient_ahead),
        CASE(test_dropout),
        CASE(test_step_is_gradient_and_apply),
        CASE(test_optimisers_are_the_naive_ones),
        CASE(test_without_options_it_is_v_form),
        CASE(test_momentum_keeps_the_rate),
        CASE(test_every_option_asks_for_w_form),
        CASE(test_v_form_has_the_fields_it_had),
        CASE(test_configuration_travels),
        CASE(test_contradictions_are_named),
        CASE(test_refuses_what_it_cannot_do),
        CASE(test_refuses_to_found_nonsense),
        CASE(test_grid_holds_w),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
