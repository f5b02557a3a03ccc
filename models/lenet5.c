/* LeNet5 (LeCun and others, Gradient-based learning applied to document recognition, 1998), as the
 * papers on asynchronous training use it: ReLU, maximum pooling, cross-entropy. The network is in
 * lenet5_net.h, its steps in lenet5_step.c. */
#include "models/lenet5.h"

#include "models/feed.h"
#include "models/import.h"
#include "models/plan.h"
#include "models/shuffle.h"
#include "sparse/layout_field.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char NAME[] = "lenet5";

enum { BATCH_DEFAULT = 32, GRID_EXP = -13 };

static const double EPOCHS_DEFAULT = 10, WARMUP = .2, WARMUP_ENDLESS = 120000;

/* What serves a mesh whose nodes have random parts of the data, and one node alone. */
static const struct hm_optimiser USUAL = {
    .lr = .02, .schedule = HM_SCHEDULE_STEP, .momentum = .9f, .nesterov = 1, .clip = 1};

/* Where nodes see different labels. Their gradients are large and balance each other: clipped as
 * closely as above the network hardly learns (Fashion-MNIST, ten nodes: 78 % clipped to norm 1, 85
 * to 2, 89 to 6), not clipped at all it may die young, and so it does without a small rate at
 * first (with a rise over a tenth of the budget, at 0.005, with one seed in fifteen). */
static const struct hm_optimiser USUAL_APART = {
    .lr = .007, .schedule = HM_SCHEDULE_COSINE, .momentum = .9f, .nesterov = 1, .clip = 6};

static struct hm_lenet5_model *mutable_of(struct hm_model *model)
{
    return (struct hm_lenet5_model *)(void *)model;
}

/* ---- data ---- */

/* Files that were named, and then those of the folder. */
static enum hm_status open_set(struct hm_images *images, const char *const *named, unsigned n_named,
                               char *const *found, unsigned n_found, int no_cache,
                               const struct hm_progress *progress, struct hm_err *err)
{
    const char *file[2 * HM_IMAGES_FILES_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < n_named; i++)
        file[n++] = named[i];
    for (unsigned i = 0; i < n_found; i++)
        file[n++] = found[i];
    return n ? hm_images_open(images, file, n, no_cache, progress, err) : HM_OK;
}

static enum hm_status check_shape(const struct hm_images *images, const char *set,
                                  struct hm_err *err)
{
    unsigned c = images->channels, h = images->height, w = images->width;
    if (!images->n || (c == 1 && h == 28 && w == 28) || (c == 3 && h == 32 && w == 32))
        return HM_OK;
    return hm_fail(err, HM_EINPUT,
                   "lenet5: the images to %s are %u x %u x %u (channels, height, width); 1 x 28 x "
                   "28 or 3 x 32 x 32 is expected",
                   set, c, h, w);
}

static enum hm_status open_data(struct hm_lenet5_model *lenet5, const struct hm_progress *progress,
                                struct hm_err *err)
{
    const struct hm_train_options *o = &lenet5->options;
    struct hm_images_folder folder = {0};
    enum hm_status status = o->data ? hm_images_find(&folder, o->data, err) : HM_OK;
    if (!status)
        status = open_set(&lenet5->train, o->train, o->n_train, folder.train, folder.n_train,
                          o->no_cache, progress, err);
    if (!status)
        status = open_set(&lenet5->test, o->test, o->n_test, folder.test, folder.n_test,
                          o->no_cache, progress, err);
    hm_images_folder_fini(&folder);
    if (!status)
        status = check_shape(&lenet5->train, "train on", err);
    if (!status)
        status = check_shape(&lenet5->test, "test", err);
    if (!status && lenet5->train.n && lenet5->test.n &&
        lenet5->train.channels != lenet5->test.channels)
        status = hm_fail(err, HM_EINPUT,
                         "lenet5: images of %u channels to train on, of %u to test; one kind is "
                         "expected",
                         lenet5->train.channels, lenet5->test.channels);
    return status;
}

static enum hm_status open_model(struct hm_model **model, const struct hm_train_options *options,
                                 const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_lenet5_model *lenet5 = calloc(1, sizeof *lenet5);
    if (!lenet5)
        return hm_fail(err, HM_ENOMEM, "lenet5: no memory");
    lenet5->base.ops = &hm_lenet5;
    lenet5->base.batch = options->batch ? options->batch : BATCH_DEFAULT;
    lenet5->options = *options;
    enum hm_status status = hm_import_name(&lenet5->options, err);
    if (!status && !hm_lenet5_kernels_find(options->isa, 1))
        status = hm_fail(err, HM_EUSAGE, "--isa %s: this processor does not have it; use auto",
                         options->isa);
    if (!status && options->fed)
        status = hm_lenet5_open_fed(lenet5, err);
    if (!status)
        status = open_data(lenet5, progress, err);
    if (status) {
        hm_lenet5.close(&lenet5->base);
        return status;
    }
    lenet5->base.n_train = options->fed ? options->fed->examples : lenet5->train.n;
    lenet5->base.n_test = lenet5->test.n;
    *model = &lenet5->base;
    return HM_OK;
}

static void close_model(struct hm_model *model)
{
    struct hm_lenet5_model *lenet5 = mutable_of(model);
    hm_images_close(&lenet5->train);
    hm_images_close(&lenet5->test);
    free(lenet5->by_label);
    free(lenet5);
}

/* ---- configuration ---- */

static void insist(const struct hm_model *model, struct hm_fields *fields)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    const struct hm_train_options *o = &lenet5->options;
    hm_plan_insist(NAME, o, fields);
    hm_optimiser_insist(o, fields);
    if (lenet5->train.n)
        hm_fields_set(fields, "channels", "%u", lenet5->train.channels);
    if (o->dropout > 0)
        hm_fields_set(fields, "dropout", "%.9g", o->dropout);
}

static enum hm_status found(struct hm_model *model, struct hm_fields *config, struct hm_err *err)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    const struct hm_train_options *o = &lenet5->options;
    if (!lenet5->train.n)
        return hm_fail(err, HM_EUSAGE,
                       "lenet5: no training data; give --data DIR, as from "
                       "tools/get-data fashion-mnist");
    struct hm_train_options chosen = *o;
    if (!o->combine_given)
        chosen.combine.rule =
            o->partition == HM_PARTITION_LABELS ? HM_RULE_LOOKAHEAD : HM_RULE_HOLD;
    int alike = chosen.combine.rule != HM_RULE_LOOKAHEAD;
    uint64_t budget =
        hm_plan_found(NAME, &chosen, lenet5->base.n_train, o->fed ? o->fed->epochs : EPOCHS_DEFAULT,
                      lenet5->base.batch, config);
    hm_fields_set(config, "channels", "%u", lenet5->train.channels);
    hm_fields_set(config, "dropout", "%.9g", o->dropout);
    struct hm_layout layout;
    enum hm_status status =
        hm_lenet5_layout(&layout, lenet5->train.channels, GRID_EXP + (int)o->coarser, err);
    if (status)
        return status;
    hm_fields_set_layout(config, &layout);
    struct hm_optimiser usual = alike ? USUAL : USUAL_APART;
    if (!alike) /* momentum has to build up before looking ahead means anything */
        usual.warmup = budget ? WARMUP * (double)budget : WARMUP_ENDLESS;
    return hm_optimiser_found(o, &usual, budget, config, err);
}

static enum hm_status extend(const struct hm_model *model, struct hm_fields *config,
                             struct hm_err *err)
{
    return hm_plan_extend(&hm_lenet5_of(model)->options, config, err);
}

static const uint8_t *bulk(const struct hm_model *model, size_t *n)
{
    (void)model;
    *n = 0;
    return NULL;
}

/* ---- adopting a configuration ---- */

/* The data that this node has must be of the mesh's kind. */
static enum hm_status adopt_channels(struct hm_lenet5_model *lenet5, const struct hm_fields *config,
                                     struct hm_err *err)
{
    const struct hm_images *own = lenet5->train.n ? &lenet5->train : &lenet5->test;
    double channels;
    enum hm_status status = hm_fields_number(config, "channels", 1, 3, &channels, err);
    if (status)
        return status;
    if (channels != 1 && channels != 3)
        return hm_fail(err, HM_EINPUT, "field 'channels' is %g; 1 or 3 is expected", channels);
    if (own->n && own->channels != (unsigned)channels)
        return hm_fail(err, HM_EREFUSED,
                       "field 'channels': images of %g channels are expected, this node's have %u",
                       channels, own->channels);
    lenet5->channels = (unsigned)channels;
    return HM_OK;
}

/* The founder chooses the grids; all else is the network's. */
static enum hm_status adopt_layout(struct hm_lenet5_model *lenet5, const struct hm_fields *config,
                                   struct hm_err *err)
{
    struct hm_layout ours, *theirs = &lenet5->layout;
    enum hm_status status = hm_fields_layout(config, theirs, err);
    if (!status)
        status = hm_lenet5_layout(&ours, lenet5->channels, GRID_EXP, err);
    int same = !status && theirs->n_tensors == ours.n_tensors;
    for (uint32_t t = 0; same && t < ours.n_tensors; t++) {
        ours.tensor[t].grid_exp = theirs->tensor[t].grid_exp;
        same = memcmp(&ours.tensor[t], &theirs->tensor[t], sizeof ours.tensor[t]) == 0;
    }
    if (!status && !same)
        status = hm_fail(err, HM_EINPUT, "field 'tensors' is '%.60s', which no lenet5 has",
                         hm_fields_get(config, "tensors"));
    return status;
}

static enum hm_status adopt(struct hm_model *model, const struct hm_fields *config,
                            const uint8_t *bulk_bytes, size_t n_bulk, struct hm_layout *layout,
                            struct hm_err *err)
{
    struct hm_lenet5_model *lenet5 = mutable_of(model);
    const char *own[HM_OPTIMISER_FIELDS + 3] = {"channels", "dropout", "tensors"};
    double dropout;
    enum hm_status status;
    (void)bulk_bytes;
    (void)n_bulk;
    memcpy(own + 3, hm_optimiser_fields, HM_OPTIMISER_FIELDS * sizeof *own);
    if ((status = hm_plan_adopt(NAME, config, own, HM_OPTIMISER_FIELDS + 3, HM_LENET5_BATCH_MAX,
                                &lenet5->base, &lenet5->seed, err)) ||
        (status = adopt_channels(lenet5, config, err)) ||
        (status = hm_fields_number(config, "dropout", 0, .99, &dropout, err)) ||
        (status = hm_optimiser_adopt(&lenet5->optimiser, config, err)) ||
        (status = adopt_layout(lenet5, config, err)))
        return status;
    lenet5->dropout = (float)dropout;
    lenet5->base.momentum = lenet5->optimiser.momentum;
    lenet5->n = hm_layout_n(&lenet5->layout);
    lenet5->kernels = hm_lenet5_kernels_find(lenet5->options.isa, lenet5->channels);
    lenet5->dense = hm_dense_find(lenet5->options.isa);
    lenet5->base.chunk = lenet5->base.batch;
    hm_lenet5_sizes(lenet5);
    *layout = lenet5->layout;
    return HM_OK;
}

/* Uniform within +-sqrt(6 / fan-in) before a ReLU (He and others, Delving deep into rectifiers,
 * 2015), +-sqrt(6 / (fan-in + fan-out)) at the end (Glorot and Bengio, 2010); biases are zero. */
static void init(const struct hm_model *model, struct hm_weights *weights)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    struct hm_rng rng = hm_rng_seed(lenet5->seed, 0x4C654E65743521u);
    memset(weights->b, 0, weights->n * sizeof weights->b[0]);
    for (unsigned t = 0; t < HM_LENET5_TENSORS; t += 2) {
        struct hm_lenet5_tensor tensor = hm_lenet5_tensor(lenet5->channels, t);
        double fan = t + 2 < HM_LENET5_TENSORS ? tensor.fan_in : tensor.fan_in + tensor.dim[0];
        double limit = sqrt(6 / fan) / ldexp(1, lenet5->layout.tensor[t].grid_exp);
        for (uint32_t i = 0; i < tensor.n; i++)
            weights->b[hm_lenet5_place(lenet5->channels, t, i)] =
                (uint32_t)(int32_t)rint((2 * hm_rng_unit(&rng) - 1) * limit);
    }
}

static double rate(const struct hm_model *model, double t)
{
    return hm_optimiser_rate(&hm_lenet5_of(model)->optimiser, t);
}

/* ---- shards ---- */

/* Examples of one label after the other, each label's shuffled, in equal parts: with ten nodes each
 * sees one class. One list serves all nodes that share the model. */
static enum hm_status sort_by_label(struct hm_lenet5_model *lenet5, struct hm_err *err)
{
    uint32_t n = lenet5->train.n, at = 0;
    if (lenet5->by_label)
        return HM_OK;
    lenet5->by_label = malloc(n * sizeof *lenet5->by_label);
    if (!lenet5->by_label)
        return hm_fail(err, HM_ENOMEM, "lenet5: no memory for a partition of %u images", n);
    for (unsigned label = 0; label < HM_CLASSES; label++)
        for (uint32_t i = 0; i < n; i++) {
            uint32_t example = hm_shuffle(i, n, lenet5->seed);
            if (lenet5->train.label[example] == label)
                lenet5->by_label[at++] = example;
        }
    return HM_OK;
}

static enum hm_status shard(struct hm_model *model, enum hm_partition partition, unsigned rank,
                            unsigned n, struct hm_shard *out, struct hm_err *err)
{
    struct hm_lenet5_model *lenet5 = mutable_of(model);
    uint64_t all = lenet5->train.n, from = all * rank / n, to = all * (rank + 1) / n;
    const uint64_t key = hm_mix(lenet5->seed + rank + 1);
    assert(rank < n);
    if (all < n && partition != HM_PARTITION_NONE)
        return hm_fail(err, HM_EUSAGE, "lenet5: %llu images cannot be split among %u nodes",
                       (unsigned long long)all, n);
    if (partition == HM_PARTITION_NONE) {
        *out = (struct hm_shard){.n = all, .key = key};
        return HM_OK;
    }
    *out = (struct hm_shard){.begin = from, .n = to - from, .key = key};
    if (partition == HM_PARTITION_SPLIT)
        return HM_OK;
    enum hm_status status = sort_by_label(lenet5, err);
    out->index = status ? NULL : lenet5->by_label + from;
    return status;
}

const struct hm_model_ops hm_lenet5 = {
    .name = NAME,
    .help = "convolutional network on small images (MNIST, Fashion-MNIST, CIFAR-10)",
    .combine_default = HM_DEFAULT_AMPLIFY,
    .speed = 50e3,
    .open = open_model,
    .insist = insist,
    .found = found,
    .extend = extend,
    .bulk = bulk,
    .adopt = adopt,
    .init = init,
    .shard = shard,
    .step = hm_lenet5_step,
    .rate = rate,
    .grad = hm_lenet5_grad,
    .apply = hm_lenet5_apply,
    .score = hm_lenet5_score,
    .confusion = hm_lenet5_confusion,
    .parts = hm_lenet5_parts,
    .weights = hm_lenet5_weights,
    .unweights = hm_lenet5_unweights,
    .save = hm_lenet5_save,
    .close = close_model,
    .feed = &hm_lenet5_feed,
};
