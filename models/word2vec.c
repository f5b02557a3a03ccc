/* Word2Vec: skip-gram or CBOW with negative sampling (Mikolov and others, 2013), with the meanings
 * that word2vec.c gave its options. An example is a word of the text that is in the vocabulary,
 * whether subsampling leaves it out or not. Two tables of rows: "in", the vectors that are wanted,
 * and "out". */
#include "models/word2vec.h"

#include "models/feed.h"
#include "models/import.h"
#include "models/plan.h"
#include "sparse/layout_field.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char NAME[] = "word2vec", LINEAR[] = "linear", CONSTANT[] = "constant";

enum { DIM = 100, WINDOW = 5, NEGATIVE = 5, GRID_EXP_MOST = -8, GRID_EXP_FINE = -18 };

static const double LR = .025, LR_CBOW = .05, SAMPLE = 1e-4, EPOCHS = 5, RATE_LEAST = 1e-4;

static struct hm_w2v_model *mutable_of(struct hm_model *model)
{
    return (struct hm_w2v_model *)(void *)model;
}

/* ---- data ---- */

static struct hm_corpus_options corpus_options(const struct hm_train_options *o)
{
    return (struct hm_corpus_options){.min_count = o->min_count,
                                      .vocab_max = o->vocab_max,
                                      .lowercase = o->lowercase,
                                      .vocab_file = o->vocab,
                                      .no_cache = o->no_cache,
                                      .threads = o->threads};
}

/* A vocabulary without a text serves to score and to export. */
static enum hm_status open_vocab(struct hm_w2v_model *w2v, const struct hm_progress *progress,
                                 struct hm_err *err)
{
    const struct hm_train_options *o = &w2v->options;
    const char *file[1] = {o->vocab};
    enum hm_status status =
        hm_vocab_read(&w2v->own_vocab, file, 1, o->min_count, o->vocab_max, progress, err);
    if (!status)
        w2v->vocab = &w2v->own_vocab;
    return status;
}

static enum hm_status open_train(struct hm_w2v_model *w2v, const struct hm_progress *progress,
                                 struct hm_err *err)
{
    const struct hm_train_options *o = &w2v->options;
    struct hm_corpus_options options = corpus_options(o);
    if (!o->n_train)
        return o->vocab ? open_vocab(w2v, progress, err) : HM_OK;
    enum hm_status status =
        hm_corpus_open(&w2v->train, o->train, o->n_train, &options, progress, err);
    if (!status)
        w2v->vocab = &w2v->train.vocab;
    return status;
}

/* The last part of the text may be held out. */
static enum hm_status divide(struct hm_w2v_model *w2v, struct hm_err *err)
{
    const struct hm_corpus *train = &w2v->train;
    const uint64_t n = train->n_ids;
    uint64_t cut = n;
    if (w2v->options.test_fraction > 0)
        cut = hm_corpus_cut(train, (uint64_t)((double)n * (1 - w2v->options.test_fraction)));
    if (!train->n_ids)
        return HM_OK;
    enum hm_status status = hm_w2v_text_open(&w2v->text, train->id, cut, train->vocab.n, err);
    if (!status && cut < n)
        status = hm_w2v_text_open(&w2v->held_out, train->id + cut, n - cut, train->vocab.n, err);
    if (!status && !w2v->text.n_words)
        status = hm_fail(err, HM_EINPUT, "word2vec: --test-fraction %g leaves nothing to train on",
                         w2v->options.test_fraction);
    return status;
}

static enum hm_status open_test(struct hm_w2v_model *w2v, const struct hm_progress *progress,
                                struct hm_err *err)
{
    const struct hm_train_options *o = &w2v->options;
    struct hm_corpus_options options = corpus_options(o);
    if (!o->n_test || !w2v->vocab)
        return HM_OK; /* without a vocabulary: when the configuration brings one */
    options.vocab_file = NULL;
    options.vocab = w2v->vocab;
    options.min_count = 0;
    enum hm_status status = hm_corpus_open(&w2v->test, o->test, o->n_test, &options, progress, err);
    return status ? status
                  : hm_w2v_text_open(&w2v->held_out, w2v->test.id, w2v->test.n_ids, w2v->vocab->n,
                                     err);
}

/* What the tables and kernels have room for, in terms of the flags. */
static enum hm_status check_options(const struct hm_train_options *o, struct hm_err *err)
{
    if (o->data)
        return hm_fail(err, HM_EUSAGE, "word2vec: --data is for images; give --train FILE");
    if (o->topics)
        return hm_fail(err, HM_EUSAGE, "word2vec: --topics is for svm");
    if (o->momentum_given || o->nesterov || o->clip_given || o->compensate_given ||
        o->staleness_aware || o->dropout > 0 || o->lambda > 0 || o->warmup_given)
        return hm_fail(err, HM_EUSAGE,
                       "word2vec: --momentum, --nesterov, --clip, --compensate, --staleness-aware, "
                       "--dropout, --lambda and --warmup are for svm and lenet5");
    if (o->schedule && strcmp(o->schedule, LINEAR) != 0 && strcmp(o->schedule, CONSTANT) != 0)
        return hm_fail(err, HM_EUSAGE, "word2vec: --schedule %s: linear or constant is expected",
                       o->schedule);
    if (o->dim > HM_W2V_DIM_MAX)
        return hm_fail(err, HM_EUSAGE, "word2vec: --dim %u: 1 to %d is expected", o->dim,
                       HM_W2V_DIM_MAX);
    if (o->window > HM_W2V_WINDOW_MAX)
        return hm_fail(err, HM_EUSAGE, "word2vec: --window %u: 1 to %d is expected", o->window,
                       HM_W2V_WINDOW_MAX);
    if (o->negative > HM_W2V_NEGATIVE_MAX)
        return hm_fail(err, HM_EUSAGE, "word2vec: --negative %u: 1 to %d is expected", o->negative,
                       HM_W2V_NEGATIVE_MAX);
    if (o->cbow && o->hogbatch)
        return hm_fail(err, HM_EUSAGE, "word2vec: --cbow has no --hogbatch; leave one away");
    if (o->n_test && o->test_fraction > 0)
        return hm_fail(err, HM_EUSAGE,
                       "word2vec: --test and --test-fraction: which of them? leave one away");
    return HM_OK;
}

static enum hm_status open_model(struct hm_model **model, const struct hm_train_options *options,
                                 const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_w2v_model *w2v = calloc(1, sizeof *w2v);
    if (!w2v)
        return hm_fail(err, HM_ENOMEM, "word2vec: no memory");
    w2v->base.ops = &hm_word2vec;
    w2v->base.batch = options->batch ? options->batch : 1;
    w2v->base.marks = 1;
    w2v->options = *options;
    w2v->kernels = hm_w2v_kernels_find(options->isa);
    enum hm_status status = check_options(options, err);
    if (!status)
        status = hm_import_name(&w2v->options, err);
    if (!status && !w2v->kernels)
        status = hm_fail(err, HM_EUSAGE, "--isa %s: this processor does not have it; use auto",
                         options->isa);
    if (!status && options->fed)
        status = hm_w2v_open_fed(w2v, err);
    else if (!status)
        status = open_train(w2v, progress, err);
    if (!status && !options->fed)
        status = divide(w2v, err);
    if (!status)
        status = open_test(w2v, progress, err);
    if (status) {
        hm_word2vec.close(&w2v->base);
        return status;
    }
    w2v->base.n_train = options->fed ? options->fed->examples : w2v->text.n_words;
    w2v->base.n_test = w2v->held_out.n_words;
    *model = &w2v->base;
    return HM_OK;
}

static void remark(const struct hm_model *model, void (*say)(void *context, const char *text),
                   void *context)
{
    const struct hm_corpus *corpus[2] = {&hm_w2v_of(model)->train, &hm_w2v_of(model)->test};
    for (int i = 0; i < 2; i++) {
        hm_corpus_remark(corpus[i]->n_invalid, corpus[i]->n_too_long, say, context);
        if (corpus[i]->cache_was_damaged)
            say(context, "the cache of the text was damaged; it was made anew");
    }
}

static void close_model(struct hm_model *model)
{
    struct hm_w2v_model *w2v = mutable_of(model);
    for (int set = 0; set < 2; set++)
        hm_w2v_probe_close(&w2v->probe[set]);
    hm_w2v_text_close(&w2v->text);
    hm_w2v_text_close(&w2v->held_out);
    hm_w2v_sampler_close(&w2v->sampler);
    hm_corpus_close(&w2v->train);
    hm_corpus_close(&w2v->test);
    hm_vocab_close(&w2v->own_vocab);
    free(w2v->accept);
    free(w2v->packed);
    free(w2v->fed[HM_TRAIN_SET]);
    free(w2v->fed[HM_TEST_SET]);
    free(w2v);
}

/* ---- configuration ---- */

static void set_vocabulary(const struct hm_vocab *vocab, struct hm_fields *fields)
{
    hm_fields_set(fields, "vocabulary", "%016llx", (unsigned long long)vocab->fingerprint);
}

static void insist(const struct hm_model *model, struct hm_fields *fields)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    const struct hm_train_options *o = &w2v->options;
    hm_plan_insist(NAME, o, fields);
    if (w2v->vocab)
        set_vocabulary(w2v->vocab, fields);
    if (o->dim)
        hm_fields_set(fields, "dim", "%u", o->dim);
    if (o->window)
        hm_fields_set(fields, "window", "%u", o->window);
    if (o->negative)
        hm_fields_set(fields, "negative", "%u", o->negative);
    if (o->sample_given)
        hm_fields_set(fields, "sample", "%.17g", o->sample);
    if (o->lr > 0)
        hm_fields_set(fields, "lr", "%.17g", o->lr);
    if (o->schedule)
        hm_fields_set(fields, "schedule", "%s", o->schedule);
    if (o->cbow)
        hm_fields_set(fields, "cbow", "1");
    if (o->hogbatch)
        hm_fields_set(fields, "hogbatch", "1");
}

static enum hm_status layout_of(struct hm_layout *layout, uint32_t words, uint32_t dim, int grid_in,
                                int grid_out, struct hm_err *err)
{
    const uint32_t cols = dim > 1 ? dim : 2; /* rows of one column would not be padded */
    *layout = (struct hm_layout){0};
    enum hm_status status = hm_layout_add(layout, "in", words, cols, grid_in, err);
    if (!status)
        status = hm_layout_add(layout, "out", words, cols, grid_out, err);
    return status != HM_ENOMEM ? status
                               : hm_fail(err, HM_EUSAGE,
                                         "word2vec: %u words of dimension %u have more than 2^31 "
                                         "weights; lower --dim or --vocab-max, or raise "
                                         "--min-count",
                                         words, dim);
}

/* Where flushes gather many steps the grid is as coarse as may be, with a unit at least for the
 * largest of the first weights: what is rounded stays in W, and ten bits fewer of each number cost
 * the vectors nothing. Single batches would be smaller than that. */
static int grid_of(const struct hm_w2v_model *w2v, enum hm_rule rule, uint32_t dim)
{
    int exp = GRID_EXP_MOST;
    if (rule != HM_RULE_SATURATE || w2v->base.batch > 1)
        return GRID_EXP_FINE;
    while (ldexp(2. * dim, exp) > 1)
        exp--;
    return exp;
}

static enum hm_status found(struct hm_model *model, struct hm_fields *config, struct hm_err *err)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    struct hm_train_options o = w2v->options;
    if (!w2v->text.n_words)
        return hm_fail(err, HM_EUSAGE,
                       "word2vec: no training data; give --train FILE, as from "
                       "tools/get-data text8");
    if (!o.combine_given)
        o.combine.rule = HM_RULE_SATURATE;
    if (o.combine.rule == HM_RULE_LOOKAHEAD)
        return hm_fail(err, HM_EUSAGE,
                       "word2vec: --combine lookahead looks where momentum leads, and there is "
                       "none; saturate, sum, amplify, mean or hold is expected");
    hm_plan_found(NAME, &o, w2v->base.n_train, o.fed ? o.fed->epochs : EPOCHS, w2v->base.batch,
                  config);
    uint32_t dim = o.dim ? o.dim : DIM;
    hm_fields_set(config, "dim", "%u", dim);
    hm_fields_set(config, "window", "%u", o.window ? o.window : WINDOW);
    hm_fields_set(config, "negative", "%u", o.negative ? o.negative : NEGATIVE);
    hm_fields_set(config, "sample", "%.17g", o.sample_given ? o.sample : SAMPLE);
    hm_fields_set(config, "lr", "%.17g", o.lr > 0 ? o.lr : o.cbow ? LR_CBOW : LR);
    hm_fields_set(config, "schedule", "%s", o.schedule ? o.schedule : LINEAR);
    hm_fields_set(config, "cbow", "%d", o.cbow != 0);
    hm_fields_set(config, "hogbatch", "%d", o.hogbatch != 0);
    set_vocabulary(w2v->vocab, config);
    struct hm_layout layout;
    const int grid = grid_of(w2v, o.combine.rule, dim) + (int)o.coarser;
    enum hm_status status = layout_of(&layout, w2v->vocab->n, dim, grid, grid, err);
    if (!status)
        hm_fields_set_layout(config, &layout);
    return status;
}

static enum hm_status extend(const struct hm_model *model, struct hm_fields *config,
                             struct hm_err *err)
{
    return hm_plan_extend(&hm_w2v_of(model)->options, config, err);
}

static const uint8_t *bulk(const struct hm_model *model, size_t *n)
{
    *n = hm_w2v_of(model)->n_packed;
    return hm_w2v_of(model)->packed;
}

/* ---- adopting a configuration ---- */

static enum hm_status adopt_shape(struct hm_w2v_model *w2v, const struct hm_fields *config,
                                  struct hm_err *err)
{
    double dim, window, negative, cbow, hogbatch;
    enum hm_status status;
    if ((status = hm_fields_number(config, "dim", 1, HM_W2V_DIM_MAX, &dim, err)) ||
        (status = hm_fields_number(config, "window", 1, HM_W2V_WINDOW_MAX, &window, err)) ||
        (status = hm_fields_number(config, "negative", 1, HM_W2V_NEGATIVE_MAX, &negative, err)) ||
        (status = hm_fields_number(config, "sample", 0, 1, &w2v->sample, err)) ||
        (status = hm_fields_number(config, "lr", 1e-9, 10, &w2v->lr, err)) ||
        (status = hm_fields_number(config, "cbow", 0, 1, &cbow, err)) ||
        (status = hm_fields_number(config, "hogbatch", 0, 1, &hogbatch, err)))
        return status;
    w2v->shape = (struct hm_w2v_shape){.dim = (unsigned)dim,
                                       .padded = ((unsigned)dim + 15) / 16 * 16,
                                       .window = (unsigned)window,
                                       .negative = (unsigned)negative,
                                       .cbow = cbow != 0,
                                       .centred = hogbatch != 0};
    const char *schedule = hm_fields_get(config, "schedule");
    w2v->falls = schedule && strcmp(schedule, LINEAR) == 0;
    if (!w2v->falls && (!schedule || strcmp(schedule, CONSTANT) != 0))
        return hm_fail(err, HM_EINPUT,
                       "field 'schedule' is '%.40s'; linear or constant is expected",
                       schedule ? schedule : "");
    if (cbow != 0 && hogbatch != 0)
        return hm_fail(err, HM_EINPUT,
                       "fields 'cbow' and 'hogbatch' are both 1; one at most is "
                       "expected");
    return HM_OK;
}

/* The words that a mesh or a file brings, where this node has none of its own. */
static enum hm_status unpack(struct hm_w2v_model *w2v, const uint8_t *bytes, size_t n,
                             struct hm_err *err)
{
    if (w2v->vocab || !n)
        return HM_OK;
    enum hm_status status = hm_vocab_unpack(&w2v->own_vocab, bytes, n, err);
    if (status)
        return hm_context(err, status, "field 'vocabulary'");
    w2v->vocab = &w2v->own_vocab;
    status = open_test(w2v, NULL, err);
    w2v->base.n_test = w2v->held_out.n_words;
    return status;
}

static enum hm_status pack(struct hm_w2v_model *w2v, struct hm_err *err)
{
    if (w2v->packed || !w2v->vocab)
        return HM_OK;
    w2v->n_packed = hm_vocab_packed_bytes(w2v->vocab);
    w2v->packed = malloc(w2v->n_packed);
    if (!w2v->packed)
        return hm_fail(err, HM_ENOMEM, "word2vec: no memory for a vocabulary of %u words",
                       w2v->vocab->n);
    hm_vocab_pack(w2v->vocab, w2v->packed);
    return HM_OK;
}

static enum hm_status adopt_vocabulary(struct hm_w2v_model *w2v, const struct hm_fields *config,
                                       const uint8_t *bytes, size_t n, struct hm_err *err)
{
    const char *theirs = hm_fields_get(config, "vocabulary");
    struct hm_fields ours = {0};
    enum hm_status status = unpack(w2v, bytes, n, err);
    if (status || !w2v->vocab)
        return status;
    set_vocabulary(w2v->vocab, &ours);
    const char *own = hm_fields_get(&ours, "vocabulary");
    if (!theirs || strcmp(theirs, own) != 0)
        return hm_fail(err, HM_EREFUSED,
                       "field 'vocabulary': the mesh has another one (%.20s) than this node (%s, "
                       "%u words); nodes with different texts share one by --vocab FILE (hogmesh "
                       "vocab)",
                       theirs ? theirs : "none", own, w2v->vocab->n);
    if (w2v->layout.tensor[0].rows != w2v->vocab->n)
        return hm_fail(err, HM_EINPUT, "field 'tensors' has %u rows for a vocabulary of %u words",
                       w2v->layout.tensor[0].rows, w2v->vocab->n);
    return pack(w2v, err);
}

/* The founder chooses the grids; all else follows. */
static enum hm_status adopt_layout(struct hm_w2v_model *w2v, const struct hm_fields *config,
                                   struct hm_err *err)
{
    struct hm_layout ours, *theirs = &w2v->layout;
    enum hm_status status = hm_fields_layout(config, theirs, err);
    if (!status && theirs->n_tensors == 2 && theirs->tensor[0].rows < HM_W2V_OUT)
        status = layout_of(&ours, theirs->tensor[0].rows, w2v->shape.dim,
                           theirs->tensor[0].grid_exp, theirs->tensor[1].grid_exp, err);
    else if (!status)
        ours = (struct hm_layout){0};
    if (status)
        return status;
    int same = ours.n_tensors == 2;
    for (unsigned t = 0; same && t < 2; t++)
        same = memcmp(&ours.tensor[t], &theirs->tensor[t], sizeof ours.tensor[t]) == 0;
    if (!same)
        return hm_fail(err, HM_EINPUT, "field 'tensors' is '%.60s', which no word2vec has",
                       hm_fields_get(config, "tensors"));
    return HM_OK;
}

static enum hm_status open_draws(struct hm_w2v_model *w2v, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    if (!w2v->vocab)
        return HM_OK;
    hm_w2v_sampler_close(&w2v->sampler); /* of an earlier configuration */
    for (int set = 0; set < 2; set++)
        hm_w2v_probe_close(&w2v->probe[set]);
    status = hm_w2v_sampler_open(&w2v->sampler, w2v->vocab->count, w2v->vocab->n, w2v->sample, err);
    if (!status)
        status = hm_w2v_meetings_open(w2v, err);
    if (!status)
        status = hm_w2v_probe_open(&w2v->probe[HM_TRAIN_SET], w2v, &w2v->text, err);
    if (!status)
        status = hm_w2v_probe_open(&w2v->probe[HM_TEST_SET], w2v, &w2v->held_out, err);
    return status;
}

static enum hm_status adopt(struct hm_model *model, const struct hm_fields *config,
                            const uint8_t *bulk_bytes, size_t n_bulk, struct hm_layout *layout,
                            struct hm_err *err)
{
    static const char *const own[] = {"cbow",     "dim",    "hogbatch", "lr",         "negative",
                                      "schedule", "sample", "tensors",  "vocabulary", "window"};
    struct hm_w2v_model *w2v = mutable_of(model);
    enum hm_status status;
    if ((status = hm_plan_adopt(NAME, config, own, sizeof own / sizeof own[0], HM_W2V_BATCH_MAX,
                                &w2v->base, &w2v->seed, err)) ||
        (status = adopt_shape(w2v, config, err)) || (status = adopt_layout(w2v, config, err)) ||
        (status = adopt_vocabulary(w2v, config, bulk_bytes, n_bulk, err)) ||
        (status = open_draws(w2v, err)))
        return status;
    if (w2v->base.combine.rule == HM_RULE_LOOKAHEAD)
        return hm_fail(err, HM_EINPUT,
                       "field 'combine' is 'lookahead', and word2vec has no momentum to look ahead "
                       "with; saturate, sum, amplify, mean or hold is expected");
    hm_w2v_sizes(w2v);
    *layout = w2v->layout;
    return HM_OK;
}

/* As word2vec.c: input vectors uniform within +-1/2 / dim, output vectors zero. */
static void init(const struct hm_model *model, struct hm_weights *weights)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    const struct hm_tensor *in = &w2v->layout.tensor[0];
    const double units = 1 / (w2v->shape.dim * ldexp(1, in->grid_exp));
    struct hm_rng rng = hm_rng_seed(w2v->seed, 0x776F7264327665u);
    memset(weights->b, 0, weights->n * sizeof weights->b[0]);
    for (uint32_t r = 0; r < in->rows; r++)
        for (uint32_t c = 0; c < w2v->shape.dim; c++)
            weights->b[hm_tensor_at(in) + (size_t)r * in->stride + c] =
                (uint32_t)(int32_t)rint((hm_rng_unit(&rng) - .5) * units);
}

double hm_w2v_rate(const struct hm_model *model, double t)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    double left = w2v->falls && model->budget_steps ? 1 - t / (double)model->budget_steps : 1;
    return w2v->lr * fmax(left, RATE_LEAST);
}

/* ---- shards ---- */

/* Word number at which part `rank` of n begins: where a line does, if one is near. */
static uint64_t part_begins(const struct hm_w2v_model *w2v, unsigned rank, unsigned n)
{
    uint64_t cut = hm_corpus_cut(&w2v->train, w2v->text.n_ids * rank / n);
    return hm_w2v_text_number(&w2v->text, cut < w2v->text.n_ids ? cut : w2v->text.n_ids);
}

static enum hm_status shard(struct hm_model *model, enum hm_partition partition, unsigned rank,
                            unsigned n, struct hm_shard *out, struct hm_err *err)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    const uint64_t all = w2v->text.n_words;
    assert(rank < n);
    if (partition == HM_PARTITION_LABELS)
        return hm_fail(err, HM_EUSAGE, "word2vec: words have no labels; --partition none or split");
    uint64_t begin = part_begins(w2v, rank, n), end = part_begins(w2v, rank + 1, n);
    *out = (struct hm_shard){.begin = all ? begin % all : 0,
                             .n = partition == HM_PARTITION_SPLIT ? end - begin : all,
                             .key = hm_mix(w2v->seed + rank + 1)};
    if (!out->n || out->n < model->batch)
        return hm_fail(err, HM_EUSAGE,
                       "word2vec: part %u of %u of the text has %llu words; at least a batch (%u) "
                       "is needed",
                       rank + 1, n, (unsigned long long)out->n, model->batch);
    return HM_OK;
}

const struct hm_model_ops hm_word2vec = {
    .name = NAME,
    .help = "word vectors of a text: skip-gram or CBOW with negative sampling",
    .combine_default = HM_DEFAULT_SUM,
    .speed = 4e6,
    .open = open_model,
    .insist = insist,
    .found = found,
    .extend = extend,
    .bulk = bulk,
    .adopt = adopt,
    .init = init,
    .shard = shard,
    .step = hm_w2v_step,
    .probes = 1,
    .rate = hm_w2v_rate,
    .grad = hm_w2v_grad,
    .meetings = hm_w2v_meetings,
    .met = hm_w2v_met,
    .score = hm_w2v_score,
    .parts = hm_w2v_parts,
    .weights = hm_w2v_weights,
    .unweights = hm_w2v_unweights,
    .import = hm_w2v_import,
    .save = hm_w2v_save,
    .close = close_model,
    .feed = &hm_word2vec_feed,
    .remark = remark,
};
