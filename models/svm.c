/* A linear SVM: hinge loss with L2 regularisation, by stochastic gradient descent: in V form or,
 * where a founder asks for what optimisers do, in w form (svm_w.c).
 *
 * Minimise (1/n) sum max(0, 1 - y (w.x + b)) + (lambda/2) |w|^2 with step eta_t = 1 / (lambda (T0 +
 * t)) (Bottou, Large-Scale Machine Learning with Stochastic Gradient Descent, COMPSTAT 2010;
 * svmsgd). Write w = V / c with c = lambda (T0 + t): the shrinking of w is then in c alone, and a
 * step is
 *
 *     if y (V.x + b c) < c:  V += y x,  b += 0.01 y / c
 *
 * and nothing else. V is a plain sum of examples, so steps of many nodes add in any order, and the
 * scale is a function of the mesh-wide step count that every replica knows. Field "form" of the
 * configuration is "w" in w form, and missing in V form.
 */
#include "models/svm.h"

#include "models/feed.h"
#include "models/import.h"
#include "models/plan.h"
#include "models/svm_step.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    SAMPLE_ROWS = 1001,         /* rows that choose eta0, as svmsgd does */
    BULK_FEATURES_MAX = 250000, /* an order of so many features fits into one message */
};

static const double LAMBDA_DEFAULT = 1e-4;
static const double EPOCHS_DEFAULT = 5;
static const double W_LAMBDA_MIN = 1e-30, W_LAMBDA_MAX = 1e6; /* floats are to hold it */
static const float MOMENTUM_OF_NESTEROV = .9f;
static const double SECONDS_ROWS =
    2e7; /* rows a second a node may reach, for the range of V under a time budget */

struct hm_svm_model *hm_svm_of(struct hm_model *model)
{
    return (struct hm_svm_model *)(void *)model;
}

static const struct hm_svm_model *of(const struct hm_model *model)
{
    return (const struct hm_svm_model *)(const void *)model;
}

/* ---- data ---- */

static enum hm_status open_set(struct hm_rows *rows, const char *const *file, unsigned n,
                               const struct hm_svm_model *svm, const struct hm_progress *progress,
                               struct hm_err *err)
{
    const struct hm_train_options *o = &svm->options;
    struct hm_rows_source source = {.n_files = n,
                                    .topics = o->topics,
                                    .topic = o->topic,
                                    .n_features = o->n_features,
                                    .no_cache = o->no_cache};
    memcpy(source.file, file, n * sizeof file[0]);
    return hm_rows_open(rows, &source, progress, NULL, err);
}

static enum hm_status open_model(struct hm_model **model, const struct hm_train_options *options,
                                 const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_svm_model *svm = calloc(1, sizeof *svm);
    if (!svm)
        return hm_fail(err, HM_ENOMEM, "svm: no memory");
    svm->merging = calloc(1, sizeof *svm->merging);
    if (!svm->merging) {
        free(svm);
        return hm_fail(err, HM_ENOMEM, "svm: no memory");
    }
    svm->base.ops = &hm_svm;
    svm->base.batch = options->batch ? options->batch : 1;
    svm->options = *options;
    enum hm_status status = hm_import_name(&svm->options, err);
    if (!status && options->data)
        status = hm_fail(err, HM_EUSAGE, "svm: --data is for images; give --train FILE");
    if (!status && options->fed)
        status = hm_svm_open_fed(svm, err);
    if (!status && options->n_train)
        status = open_set(&svm->train, options->train, options->n_train, svm, progress, err);
    if (!status && options->n_test)
        status = open_set(&svm->test, options->test, options->n_test, svm, progress, err);
    if (status) {
        hm_svm.close(&svm->base);
        return status;
    }
    svm->base.n_train = options->fed ? options->fed->examples : svm->train.n_rows;
    svm->base.n_test = svm->test.n_rows;
    *model = &svm->base;
    return HM_OK;
}

static void close_model(struct hm_model *model)
{
    struct hm_svm_model *svm = hm_svm_of(model);
    hm_rows_close(&svm->train);
    hm_rows_close(&svm->test);
    free(svm->by_label);
    free(svm->order);
    free(svm->merging);
    free(svm);
}

/* ---- schedule ---- */

static double sample_cost(const struct hm_rows *rows, uint64_t n, double eta, double lambda,
                          float *w)
{
    memset(w, 0, rows->n_features * sizeof *w);
    double scale = 1, bias = 0, loss = 0, norm = 0;
    for (uint64_t r = 0; r < n; r++) {
        double z = hm_row_dot(rows, r, w) * scale + bias;
        scale *= 1 - eta * lambda;
        if (rows->label[r] * z < 1) {
            hm_row_add(rows, r, (float)(eta * rows->label[r] / scale), w);
            bias += eta * HM_SVM_BIAS_RATE * rows->label[r];
        }
    }
    for (uint64_t r = 0; r < n; r++)
        loss += fmax(0, 1 - rows->label[r] * (hm_row_dot(rows, r, w) * scale + bias));
    for (uint32_t i = 0; i < rows->n_features; i++)
        norm += (double)w[i] * w[i];
    return loss / (double)n + .5 * lambda * scale * scale * norm;
}

/* svmsgd's rule: the power of two that serves best on a sample, as a constant step. */
static enum hm_status choose_eta0(const struct hm_rows *rows, double lambda, double *eta0,
                                  struct hm_err *err)
{
    float *w = malloc(rows->n_features * sizeof *w);
    if (!w)
        return hm_fail(err, HM_ENOMEM, "svm: no memory for %u features", rows->n_features);
    uint64_t n = rows->n_rows < SAMPLE_ROWS ? rows->n_rows : SAMPLE_ROWS;
    double lo = 1, hi = 2;
    double lo_cost = sample_cost(rows, n, lo, lambda, w),
           hi_cost = sample_cost(rows, n, hi, lambda, w);
    while (lo_cost < hi_cost && lo > 1e-12) {
        hi = lo;
        hi_cost = lo_cost;
        lo = hi / 2;
        lo_cost = sample_cost(rows, n, lo, lambda, w);
    }
    while (hi_cost < lo_cost && hi < 1e12) {
        lo = hi;
        lo_cost = hi_cost;
        hi = lo * 2;
        hi_cost = sample_cost(rows, n, hi, lambda, w);
    }
    free(w);
    *eta0 = lo;
    return HM_OK;
}

static double mean_row_norm(const struct hm_rows *rows)
{
    uint64_t n = rows->n_rows < SAMPLE_ROWS ? rows->n_rows : SAMPLE_ROWS;
    double sum = 0;
    for (uint64_t r = 0; r < n; r++) {
        double square = 0;
        for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++)
            square += (double)rows->value[k] * rows->value[k];
        sum += sqrt(square);
    }
    return sum > 0 ? sum / (double)n : 1;
}

/* |w| stays below `usual` / |x| on data worth training on, and below sqrt(2 / lambda) always. */
static double most_w(double usual, double lambda, double row_norm)
{
    return fmin(usual * fmax(1, 1 / row_norm), sqrt(2 / lambda));
}

/* The grid of V: a fine one, 2^-5 for rows of unit norm, unless the largest V that the schedule can
 * reach needs a coarser one to stay within the range. */
static int grid_of_v(double lambda, double t_end, double row_norm)
{
    double w_max = most_w(16, lambda, row_norm);
    int exp = (int)lrint(log2(row_norm)) - 5;
    while (exp < HM_GRID_EXP_MAX && w_max * lambda * t_end > HM_RANGE * ldexp(1, exp))
        exp++;
    return exp < HM_GRID_EXP_MIN ? HM_GRID_EXP_MIN : exp;
}

/* That of w: the finest with room for twice the largest w, which may be overshot on the way. */
static int grid_of_w(double lambda, double row_norm)
{
    int exp = (int)ceil(log2(2 * most_w(256, lambda, row_norm) / HM_RANGE));
    return exp < HM_GRID_EXP_MIN ? HM_GRID_EXP_MIN : exp > HM_GRID_EXP_MAX ? HM_GRID_EXP_MAX : exp;
}

static const char NAME[] = "svm";

/* Whether a founder asks for anything that V form has no room for. */
static int asks_for_optimiser(const struct hm_train_options *o)
{
    return o->momentum_given || o->nesterov || o->schedule || o->clip_given ||
           o->compensate_given || o->staleness_aware || o->dropout > 0 || o->warmup_given;
}

static void set_order(const struct hm_rows *rows, struct hm_fields *fields)
{
    hm_fields_set(fields, "order", "%016llx", (unsigned long long)rows->order_hash);
}

static void insist(const struct hm_model *model, struct hm_fields *fields)
{
    const struct hm_train_options *o = &of(model)->options;
    hm_plan_insist(NAME, o, fields);
    hm_optimiser_insist(o, fields);
    if (o->fed) /* what it sends cannot be renumbered here */
        set_order(&of(model)->train, fields);
    if (o->lambda > 0)
        hm_fields_set(fields, "lambda", "%.17g", o->lambda);
    if (o->dropout > 0)
        hm_fields_set(fields, "dropout", "%.9g", o->dropout);
}

static enum hm_status extend(const struct hm_model *model, struct hm_fields *config,
                             struct hm_err *err)
{
    return hm_plan_extend(&of(model)->options, config, err);
}

static enum hm_status check_founder(const struct hm_svm_model *svm, int in_w, double lambda,
                                    struct hm_err *err)
{
    if (!svm->train.n_rows)
        return hm_fail(err, HM_EUSAGE,
                       "svm: no training data; give --train FILE, as from "
                       "tools/get-data rcv1");
    if (!in_w && svm->options.combine.rule == HM_RULE_LOOKAHEAD)
        return hm_fail(err, HM_EUSAGE,
                       "svm: --combine lookahead looks where momentum leads; add --momentum");
    if (in_w && (lambda < W_LAMBDA_MIN || lambda > W_LAMBDA_MAX))
        return hm_fail(err, HM_EUSAGE, "svm: --lambda %g: %g to %g is expected with an optimiser",
                       lambda, W_LAMBDA_MIN, W_LAMBDA_MAX);
    return HM_OK;
}

/* The fields that w form has beside V form's. Without any option they make the same steps. */
static enum hm_status found_w(const struct hm_svm_model *svm, double lambda, double lr, double t0,
                              uint64_t budget, struct hm_fields *config, struct hm_err *err)
{
    const struct hm_train_options *o = &svm->options;
    const struct hm_optimiser usual = {.lr = lr,
                                       .schedule = HM_SCHEDULE_INVERSE,
                                       .t0 = t0,
                                       .momentum = o->nesterov ? MOMENTUM_OF_NESTEROV : 0,
                                       .decay = (float)lambda};
    enum hm_status status = hm_optimiser_found(o, &usual, budget, config, err);
    hm_fields_set(config, "form", "w");
    hm_fields_set(config, "dropout", "%.9g", o->dropout);
    return status;
}

static enum hm_status found(struct hm_model *model, struct hm_fields *config, struct hm_err *err)
{
    struct hm_svm_model *svm = hm_svm_of(model);
    const struct hm_train_options *o = &svm->options;
    double lambda = o->lambda > 0 ? o->lambda : LAMBDA_DEFAULT, eta0 = o->lr;
    int in_w = asks_for_optimiser(o);
    enum hm_status status = check_founder(svm, in_w, lambda, err);
    if (!status && !(eta0 > 0))
        status = choose_eta0(&svm->train, lambda, &eta0, err);
    if (status)
        return status;
    uint64_t budget =
        hm_plan_found(NAME, o, svm->base.n_train, o->fed ? o->fed->epochs : EPOCHS_DEFAULT,
                      svm->base.batch, config);
    unsigned nodes = o->nodes ? o->nodes : 1;
    double run = budget ? (double)budget : o->seconds * SECONDS_ROWS * nodes;
    double t0 = 1 / (lambda * eta0), m = fmin(fmax(run / (4 * t0), 1), nodes);
    if (o->combine.rule == HM_RULE_SUM || o->combine.rule == HM_RULE_LOOKAHEAD)
        m = 1;
    double row_norm = mean_row_norm(&svm->train);
    int grid = in_w ? grid_of_w(lambda, row_norm) : grid_of_v(lambda, m * t0 + run, row_norm);
    grid += (int)o->coarser;
    if (in_w && (status = found_w(svm, lambda, eta0, m * t0, budget, config, err)) != HM_OK)
        return status;
    hm_fields_set(config, "lambda", "%.17g", lambda);
    hm_fields_set(config, "lr", "%.17g", eta0);
    hm_fields_set(config, "t0", "%.17g", m * t0);
    set_order(&svm->train, config);
    hm_fields_set(config, "tensors", "%s:1x%u:%d,b:1x1:%d", in_w ? "w" : "v", svm->train.n_features,
                  grid, HM_SVM_BIAS_GRID);
    return HM_OK;
}

static const uint8_t *bulk(const struct hm_model *model, size_t *n)
{
    const struct hm_svm_model *svm = of(model);
    *n = svm->n_features <= BULK_FEATURES_MAX ? svm->n_features * sizeof svm->order[0] : 0;
    return (const uint8_t *)svm->order;
}

/* ---- adopting a configuration ---- */

static enum hm_status adopt_order(struct hm_svm_model *svm, const struct hm_fields *config,
                                  const uint8_t *bytes, size_t n_bytes, struct hm_err *err)
{
    uint32_t n = svm->layout.tensor[0].cols;
    const char *hash_text = hm_fields_get(config, "order");
    uint64_t hash = hash_text ? strtoull(hash_text, NULL, 16) : 0;
    svm->n_features = n;
    free(svm->order); /* of an earlier configuration */
    svm->order = malloc(n * sizeof *svm->order);
    if (!svm->order)
        return hm_fail(err, HM_ENOMEM, "svm: no memory for %u features", n);
    if (n_bytes == n * sizeof *svm->order)
        memcpy(svm->order, bytes, n_bytes);
    else if (svm->train.n_features == n && svm->train.order_hash == hash)
        memcpy(svm->order, svm->train.order, n * sizeof *svm->order);
    else
        return hm_fail(err, HM_EREFUSED,
                       "field 'order': the mesh numbers %u features in another order than this "
                       "node's data gives; with more "
                       "than %d features all nodes must load the same training file",
                       n, BULK_FEATURES_MAX);
    for (uint32_t i = 0; i < n; i++)
        if (svm->order[i] >= HM_FEATURES_MAX)
            return hm_fail(err, HM_ECORRUPT, "field 'order': feature %u is out of range",
                           svm->order[i]);
    if (hm_order_hash(svm->order, n) != hash)
        return hm_fail(err, HM_ECORRUPT,
                       "field 'order': the order of features does not have the hash %s", hash_text);
    if (!svm->train.n_rows || svm->train.order_hash == hash)
        return HM_OK;
    if (svm->options.fed)
        return hm_fail(err, HM_EREFUSED,
                       "field 'order': the mesh numbers features in another order (%s) than this "
                       "node's feeder (%016llx); all nodes, or their feeders, must load the same "
                       "training file",
                       hash_text, (unsigned long long)svm->train.order_hash);
    enum hm_status status = hm_rows_reorder(&svm->train, svm->order, n, 0, err);
    return status ? hm_context(err, status, "field 'order'") : HM_OK;
}

/* V form knows no optimiser: fields of one without "form" are of a version that does. */
static enum hm_status adopt_form(struct hm_svm_model *svm, const struct hm_fields *config,
                                 struct hm_err *err)
{
    static const char *const shared[] = {"lambda", "lr", "order", "t0", "tensors"};
    enum { SHARED = sizeof shared / sizeof shared[0] };
    const char *own[SHARED + HM_OPTIMISER_FIELDS + 2] = {0}, *form = hm_fields_get(config, "form");
    memcpy(own, shared, sizeof shared);
    memcpy(own + SHARED, hm_optimiser_fields, HM_OPTIMISER_FIELDS * sizeof *own);
    own[SHARED + HM_OPTIMISER_FIELDS] = "form";
    own[SHARED + HM_OPTIMISER_FIELDS + 1] = "dropout";
    svm->in_w = form != NULL;
    size_t n_own = form ? sizeof own / sizeof own[0] : SHARED;
    enum hm_status status =
        hm_plan_adopt(NAME, config, own, n_own, HM_SVM_BATCH_MAX, &svm->base, &svm->seed, err);
    if (status)
        return status;
    if (form && strcmp(form, "w") != 0)
        return hm_fail(err, HM_EINPUT, "field 'form' is '%.40s'; w, or no such field, is expected",
                       form);
    if (!form && svm->base.combine.rule == HM_RULE_LOOKAHEAD)
        return hm_fail(err, HM_EINPUT,
                       "field 'combine' is 'lookahead', which only an svm with momentum can do");
    return HM_OK;
}

static enum hm_status adopt_layout(struct hm_svm_model *svm, const struct hm_fields *config,
                                   struct hm_layout *layout, struct hm_err *err)
{
    unsigned cols;
    int grid, bias_grid, used = 0;
    char name[2] = "";
    const char *text = hm_fields_get(config, "tensors");
    if (!text ||
        sscanf(text, "%1[vw]:1x%u:%d,b:1x1:%d%n", name, &cols, &grid, &bias_grid, &used) != 4 ||
        strcmp(name, svm->in_w ? "w" : "v") != 0 || text[used] || !cols || cols > HM_FEATURES_MAX)
        return hm_fail(err, HM_EINPUT, "field 'tensors' is '%.60s', which no svm has",
                       text ? text : "");
    svm->layout = (struct hm_layout){0};
    enum hm_status status = hm_layout_add(&svm->layout, name, 1, cols, grid, err);
    if (!status)
        status = hm_layout_add(&svm->layout, "b", 1, 1, bias_grid, err);
    *layout = svm->layout;
    return status ? hm_context(err, HM_EINPUT, "field 'tensors'") : HM_OK;
}

/* Of the layout that has been adopted. */
static enum hm_status adopt_optimiser(struct hm_svm_model *svm, const struct hm_fields *config,
                                      struct hm_err *err)
{
    struct hm_optimiser *o = &svm->optimiser;
    double dropout = 0;
    enum hm_status status = hm_optimiser_adopt(o, config, err);
    if (!status)
        status = hm_fields_number(config, "dropout", 0, .99, &dropout, err);
    if (status)
        return status;
    o->apart.at = hm_tensor_at(&svm->layout.tensor[1]);
    o->apart.rate = (float)HM_SVM_BIAS_RATE;
    svm->dropout = (float)dropout;
    svm->dense = hm_dense_find(svm->options.isa);
    return svm->dense
               ? HM_OK
               : hm_fail(err, HM_EUSAGE, "--isa %s: this processor does not have it; use auto",
                         svm->options.isa);
}

/* What a thread takes at once, and the memory for it. */
static void set_sizes(struct hm_svm_model *svm)
{
    struct hm_model *base = &svm->base;
    if (svm->in_w) {
        base->chunk = base->batch;
        base->momentum = svm->optimiser.momentum;
        hm_svm_w_sizes(svm);
        return;
    }
    base->chunk = base->batch > 1 ? base->batch : HM_SVM_CHUNK;
    base->momentum = 0;
    base->state_floats = base->read_floats = 0;
    base->scratch_bytes = hm_svm_scratch_bytes(svm);
    base->grad_max = hm_svm_grad_max(svm);
}

static enum hm_status adopt(struct hm_model *model, const struct hm_fields *config,
                            const uint8_t *bulk_bytes, size_t n_bulk, struct hm_layout *layout,
                            struct hm_err *err)
{
    struct hm_svm_model *svm = hm_svm_of(model);
    enum hm_status status = adopt_form(svm, config, err);
    double least = svm->in_w ? W_LAMBDA_MIN : 1e-300, most = svm->in_w ? W_LAMBDA_MAX : 1e300;
    if (status || (status = hm_fields_number(config, "lambda", least, most, &svm->lambda, err)) ||
        (status = hm_fields_number(config, "t0", 1e-300, 1e300, &svm->t0, err)) ||
        (status = adopt_layout(svm, config, layout, err)) ||
        (svm->in_w && (status = adopt_optimiser(svm, config, err))) ||
        (status = adopt_order(svm, config, bulk_bytes, n_bulk, err)))
        return status;
    set_sizes(svm);
    if (svm->test.n_rows && !svm->test_ordered) {
        status = hm_rows_reorder(&svm->test, svm->order, svm->n_features, 1, err);
        svm->test_ordered = !status;
    }
    return status;
}

static void init(const struct hm_model *model, struct hm_weights *weights)
{
    (void)model;
    memset(weights->b, 0,
           weights->n *
               sizeof weights->b[0]); /* the objective is convex: nothing is gained by chance */
}

static double rate(const struct hm_model *model, double t)
{
    const struct hm_svm_model *svm = of(model);
    return svm->in_w ? hm_optimiser_rate(&svm->optimiser, t) : 1 / (svm->lambda * (svm->t0 + t));
}

/* ---- the form's own ---- */

static void step(const struct hm_model *model, const struct hm_shard *shard, struct hm_step *step)
{
    (of(model)->in_w ? hm_svm_w_step : hm_svm_step)(model, shard, step);
}

static void grad(const struct hm_model *model, const struct hm_shard *shard,
                 const struct hm_step *step, struct hm_grad *grad)
{
    (of(model)->in_w ? hm_svm_w_grad : hm_svm_grad)(model, shard, step, grad);
}

static void apply(const struct hm_model *model, struct hm_step *step, const struct hm_grad *grad)
{
    if (of(model)->in_w)
        hm_svm_w_apply(model, step, grad);
    else
        hm_grad_add(grad, step->scale, step->w);
}

static void settle(const struct hm_model *model, struct hm_step *step)
{
    if (!of(model)->in_w)
        hm_svm_settle(model, step);
}

/* ---- shards ---- */

/* Rows sorted by label, in equal parts: with two nodes each sees one class only. One list serves
 * all nodes that share the model. */
static enum hm_status sort_by_label(struct hm_svm_model *svm, struct hm_err *err)
{
    uint64_t rows = svm->train.n_rows, at = 0;
    if (svm->by_label)
        return HM_OK;
    svm->by_label = rows <= UINT32_MAX ? malloc(rows * sizeof *svm->by_label) : NULL;
    if (!svm->by_label)
        return hm_fail(err, HM_ENOMEM, "svm: no memory for a partition of %llu rows",
                       (unsigned long long)rows);
    for (int label = 1; label >= -1; label -= 2)
        for (uint64_t r = 0; r < rows; r++)
            if (svm->train.label[r] == label)
                svm->by_label[at++] = (uint32_t)r;
    return HM_OK;
}

static enum hm_status shard(struct hm_model *model, enum hm_partition partition, unsigned rank,
                            unsigned n, struct hm_shard *out, struct hm_err *err)
{
    struct hm_svm_model *svm = hm_svm_of(model);
    uint64_t rows = svm->train.n_rows, from = rows * rank / n, to = rows * (rank + 1) / n;
    const uint64_t key = hm_mix(svm->seed + rank + 1);
    assert(rank < n);
    if (rows < n && partition != HM_PARTITION_NONE)
        return hm_fail(err, HM_EUSAGE, "svm: %llu rows cannot be split among %u nodes",
                       (unsigned long long)rows, n);
    if (partition == HM_PARTITION_LABELS) {
        enum hm_status status = sort_by_label(svm, err);
        *out = (struct hm_shard){
            .n = to - from, .index = status ? NULL : svm->by_label + from, .key = key};
        return status;
    }
    uint64_t turn = svm->seed ? hm_mix(svm->seed) % rows : 0;
    *out = (struct hm_shard){.begin = (from + turn) % rows,
                             .n = partition == HM_PARTITION_SPLIT ? to - from : rows,
                             .key = key};
    return HM_OK;
}

const struct hm_model_ops hm_svm = {
    .name = NAME,
    .help = "linear support vector machine (hinge loss, L2) on sparse rows",
    .combine_default = HM_DEFAULT_AMPLIFY,
    .speed = 20e6,
    .open = open_model,
    .insist = insist,
    .found = found,
    .extend = extend,
    .bulk = bulk,
    .adopt = adopt,
    .init = init,
    .shard = shard,
    .step = step,
    .rate = rate,
    .grad = grad,
    .apply = apply,
    .settle = settle,
    .score = hm_svm_score,
    .parts = hm_svm_parts,
    .weights = hm_svm_weights,
    .unweights = hm_svm_unweights,
    .import = hm_svm_import,
    .save = hm_svm_save,
    .close = close_model,
    .feed = &hm_svm_feed,
};
