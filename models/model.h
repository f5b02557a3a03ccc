/* What a workload is: one row of a table of functions, and a model made by it.
 *
 * A model knows data, arithmetic and schedule; it knows nothing of peers. The node calls it in this
 * order:
 *
 *     open       read the data, as the user's options say
 *     insist     what this node cannot give way on (explicit flags, facts of its data)
 *     found      [first node]  choose the configuration   |  [joiner] the configuration comes from
 * a peer adopt      take the configuration: fixes schedule and layout init       B0 shard which
 * examples this node takes step       from worker threads, until the run is over score      of B,
 * at any time, from one thread beside the workers export     the final model, in the formats that
 * the field's tools load close
 */
#ifndef HM_MODELS_MODEL_H
#define HM_MODELS_MODEL_H

#include "models/parts.h"
#include "sparse/cell.h"
#include "sparse/combine.h"
#include "sparse/dirty.h"
#include "sparse/fields.h"
#include "sparse/kernels.h"
#include "sparse/progress.h"
#include "sparse/rng.h"

enum { HM_FILES_MAX = 64, HM_CLASSES_MAX = 10 };

enum hm_partition {
    HM_PARTITION_NONE,   /* every node sees all examples, each beginning elsewhere */
    HM_PARTITION_SPLIT,  /* each node has its own part */
    HM_PARTITION_LABELS, /* each node has its own labels */
};

/* What the user asked for. A number that is 0 or a pointer that is NULL was not given, unless said
 * otherwise. */
struct hm_train_options {
    const char *train[HM_FILES_MAX];
    unsigned n_train;
    const char *test[HM_FILES_MAX];
    unsigned n_test;
    const char *data; /* folder of images */
    const char *isa;  /* of the kernels; NULL or "auto": the best there is */
    const char *topics, *topic;
    uint32_t n_features;
    uint64_t min_count; /* of words; 0: not given */
    uint32_t vocab_max;
    int lowercase;
    const char *vocab; /* file of the vocabulary */
    int no_cache;
    double lambda, lr;
    const char *schedule;              /* constant, linear, step, cosine, inverse */
    double momentum, clip, compensate; /* each may be given as 0: */
    int momentum_given, clip_given, compensate_given;
    uint64_t warmup; /* examples, mesh-wide; may be given as 0: */
    int warmup_given;
    int nesterov, adaptive, staleness_aware;
    double dropout;
    unsigned dim, window, negative; /* of word vectors */
    double sample;                  /* may be given as 0: */
    int sample_given;
    int cbow, hogbatch;
    double test_fraction; /* of the training text, to test on */
    double epochs;        /* mesh-wide */
    uint64_t steps;       /* mesh-wide */
    double seconds;
    unsigned batch; /* examples whose gradient is taken at the same weights */
    uint64_t seed;
    struct hm_combine combine;
    int combine_given;
    double
        staleness_bound; /* batches of which a node may get ahead of the slowest; 0: synchronous */
    int staleness_bound_given;
    unsigned coarser; /* published weights are multiples of 2^coarser of the usual units */
    enum hm_partition partition; /* which examples a node trains on */
    const struct hm_fed *fed;    /* examples come from feeders (feed.h); NULL: from files */
    const char *init;         /* file of the first weights (import.h); NULL: the workload's own */
    char init_hash[17];       /* of it; by the workload's open */
    struct hm_custom *custom; /* parameters of a program's own (custom.h), borrowed; NULL: none */
    unsigned nodes;           /* expected at the start */
    unsigned threads;         /* of this node */
};

/* Examples that one node trains on: [begin, begin + n) of the training set, around its end, or
 * those listed. */
struct hm_shard {
    uint64_t begin, n;
    const uint32_t *index; /* [n] or NULL; owned by the model */
    uint64_t key;          /* of the order of its examples, where the model draws one */
    const void *fed; /* NULL, or examples that a feeder sent, in the place of the training set: as
                        the model's hm_feed_ops.decode leaves them */
};

/* One worker thread's place to work in. */
struct hm_step {
    hm_cell *w;       /* shared weights, by the layout */
    uint64_t from, n; /* positions: examples from .. from + n, n <= model's chunk. They go on
                         through pass after pass: shard.n is the first one of the second */
    double t;         /* mesh-wide steps before this chunk, as estimated here */
    float scale;      /* factor on a local step (the combination rule's) */
    float t_per_step; /* mesh-wide steps that pass for each own one */
    void *scratch;    /* [scratch_bytes] of this thread, zeroed at the start, 64-byte aligned */
    float *state;     /* [state_floats] of whoever steps: velocities; zeroed or as a checkpoint has
                         them, aligned the same */
    const hm_cell *ahead; /* a gradient is taken at w + reach * ahead; NULL: at w */
    float reach;
    float *read;      /* [read_floats] what a gradient was taken at, between grad and apply */
    double staleness; /* apply: updates that reached W since then */
    uint64_t held;    /* out: examples whose steps are in the scratch, not in w, as yet */
    hm_mark *dirty;   /* of w's blocks: whoever adds marks them; NULL, unless the model marks */
    uint64_t n_sampled,
        n_wiped; /* out, added to: sampled adds, and those that wiped out another's (race_loss) */
};

struct hm_score {
    uint64_t n;      /* examples scored */
    double loss;     /* mean over examples, without regularisation */
    double cost;     /* the objective: loss + regularisation */
    double accuracy; /* fraction */
};

/* Coordinates at .. at + n of the layout, and the step that plain SGD takes there: w -= rate * g. A
 * schedule depends on the time at which the gradient was taken, so the gradient brings it along. */
struct hm_span {
    uint32_t at, n;
    float rate;
};

/* A gradient. Whoever wants it brings the arrays, with the room that the model states; `grad`
 * appends. Spans may meet the same coordinate again: the gradient there is the sum. */
struct hm_grad {
    struct hm_span *span; /* [grad_max] */
    float *value;         /* [grad_max] of all spans, one after the other */
    uint32_t n_spans, n_values;
    double loss; /* sum over the examples, without regularisation; added to */
};

/* Plain SGD with a gradient: adds -scale * rate * g to W, in place. */
static inline void hm_grad_add(const struct hm_grad *grad, float scale, hm_cell *w)
{
    const float *g = grad->value;
    for (uint32_t i = 0; i < grad->n_spans; i++) {
        const struct hm_span *span = &grad->span[i];
        for (uint32_t k = 0; k < span->n; k++)
            hm_cell_add(w + span->at + k, -scale * span->rate * *g++);
    }
}

enum hm_set { HM_TRAIN_SET, HM_TEST_SET };

struct hm_model;

struct hm_model_ops {
    const char *name; /* "svm" */
    const char *help; /* one line */
    enum hm_combine_default { HM_DEFAULT_AMPLIFY, HM_DEFAULT_SUM } combine_default;
    int probes;   /* scores are estimates from a fixed part of a set, and cheap */
    double speed; /* examples/s of a thread, about: of virtual nodes that are given none */

    enum hm_status (*open)(struct hm_model **model, const struct hm_train_options *options,
                           const struct hm_progress *progress, struct hm_err *err);
    void (*insist)(const struct hm_model *model, struct hm_fields *fields);
    enum hm_status (*found)(struct hm_model *model, struct hm_fields *config, struct hm_err *err);

    /* [first node, resumed]  When explicit flags say when training ends (epochs, steps, seconds),
     * these replace what a configuration of before says of it; nothing else changes. */
    enum hm_status (*extend)(const struct hm_model *model, struct hm_fields *config,
                             struct hm_err *err);

    /* Bulk data that joiners need beside the configuration (borrowed; may be NULL). */
    const uint8_t *(*bulk)(const struct hm_model *model, size_t *n);

    /* Fixes schedule and layout. bulk is what bulk() of the first node gave, or NULL for that node
     * itself. */
    enum hm_status (*adopt)(struct hm_model *model, const struct hm_fields *config,
                            const uint8_t *bulk, size_t n_bulk, struct hm_layout *layout,
                            struct hm_err *err);
    void (*init)(const struct hm_model *model,
                 struct hm_weights *weights); /* writes B0 into weights->b */

    enum hm_status (*shard)(struct hm_model *model, enum hm_partition partition, unsigned rank,
                            unsigned n, struct hm_shard *shard, struct hm_err *err);
    void (*step)(const struct hm_model *model, const struct hm_shard *shard, struct hm_step *step);

    /* The learning rate at t mesh-wide steps, for reports. */
    double (*rate)(const struct hm_model *model, double t);

    /* The gradient of the loss of examples from .. from + n, at most `batch` of them, all at the
     * weights as they are: reads w, from, n and t of the step, uses its scratch, writes nothing but
     * *grad and, unless it is NULL, step->read. Any thread. For batches, `step` is this and
     * `apply`. */
    void (*grad)(const struct hm_model *model, const struct hm_shard *shard,
                 const struct hm_step *step, struct hm_grad *grad);

    /* The step that such a gradient leads to: adds it to W times the step's scale, in place; uses
     * state, read and staleness of the step. NULL: plain SGD. Call hm_model_apply. */
    void (*apply)(const struct hm_model *model, struct hm_step *step, const struct hm_grad *grad);

    /* The two that the saturating sum (models/saturate.h) goes by, of a model of two tensors whose
     * rows meet each other in pairs; NULL: it cannot have that rule. meetings: pairs that each row
     * of a tensor meets per example, to out [rows]. met: a row of the other tensor, as often as
     * those of `tensor` meet it. Driver. */
    void (*meetings)(const struct hm_model *model, unsigned tensor, float *out);
    uint32_t (*met)(const struct hm_model *model, unsigned tensor, struct hm_rng *rng);

    /* Before a final extract, and at least every few milliseconds: adds what the thread's scratch
     * still holds back to W. Called by the worker itself. NULL: nothing is held back. */
    void (*settle)(const struct hm_model *model, struct hm_step *step);

    /* Scores B (grid units, by the layout) with the S mesh-wide steps that belong to it, by
     * `threads` threads. n = 0 in the result when the model has no such set. */
    enum hm_status (*score)(struct hm_model *model, const uint32_t *b, uint64_t steps,
                            enum hm_set set, unsigned threads, struct hm_score *score,
                            struct hm_err *err);

    /* How often an example of each class (row) was taken for each (column): adds to
     * table [HM_CLASSES_MAX][HM_CLASSES_MAX] for a set, by one thread; returns the number of
     * classes. NULL: not a workload of classes. */
    unsigned (*confusion)(struct hm_model *model, const uint32_t *b, enum hm_set set,
                          uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX]);

    /* The parts of the weights, in the order in which save writes them where its format has one.
     * After adopt. */
    void (*parts)(const struct hm_model *model, struct hm_parts *parts);

    /* The weights that B stands for with the S mesh-wide steps that belong to it, part after part:
     * out [hm_parts_numbers]. Any thread. */
    void (*weights)(const struct hm_model *model, const uint32_t *b, uint64_t steps, float *out);

    /* The inverse: w [hm_parts_numbers], finite, to b [hm_layout_n * HM_BLOCK], rounded to the
     * grid. HM_EINPUT where one is beyond the range. Any thread. */
    enum hm_status (*unweights)(const struct hm_model *model, const float *w, uint64_t steps,
                                uint32_t *b, struct hm_err *err);

    /* Weights from a file in the format of the field's own tools, into w [hm_parts_numbers], which
     * has those that the file need not have. HM_EINPUT for what it is not, or does not fit. NULL:
     * only those of import.h. After adopt. */
    enum hm_status (*import)(const struct hm_model *model, const char *path, float *w,
                             void (*say)(void *context, const char *text), void *context,
                             struct hm_err *err);

    /* Writes the model to `path`, in the format that its extension names. */
    enum hm_status (*save)(struct hm_model *model, const uint32_t *b, uint64_t steps,
                           const char *path, struct hm_err *err);
    void (*close)(struct hm_model *model);

    /* What people call coordinate `at`: "tensor 'fc.bias', number 3", at most `room` bytes. NULL:
     * by tensor, row and column of the layout. After adopt; any thread. */
    void (*place)(const struct hm_model *model, size_t at, char *text, size_t room);

    const struct hm_feed_ops *feed; /* feed.h; NULL: its examples cannot be fed */

    /* Says, in a line each, what whoever gave the data to open should know of them. NULL: nothing
     * is ever said. */
    void (*remark)(const struct hm_model *model, void (*say)(void *context, const char *text),
                   void *context);
};

/* What every model begins with. Written by open and adopt. */
struct hm_model {
    const struct hm_model_ops *ops;
    uint64_t n_train, n_test;  /* examples */
    uint64_t budget_steps;     /* mesh-wide; 0: none */
    double seconds;            /* training time; 0: no limit */
    unsigned batch;            /* examples of one gradient, >= 1 */
    unsigned chunk;            /* most examples of one step call */
    size_t scratch_bytes;      /* of each worker */
    size_t state_floats;       /* of each worker, or of a server */
    size_t read_floats;        /* of each gradient; 0: apply does not look at them */
    size_t grad_max;           /* spans and values that the gradient of a batch may have */
    struct hm_combine combine; /* the mesh's rule, by adopt */
    int marks;                 /* its steps mark what they add to: few blocks of many */
    int64_t staleness_bound;   /* batches; below 0: none; 0: synchronous rounds. By adopt */
    float momentum;            /* of its steps; 0: none */
    char initial[17]; /* by adopt: hash of the file that has the first weights; empty: none does */
    int by_caller; /* threads of the program around it step on W, and say so; the node has none */
};

static inline void hm_model_apply(const struct hm_model *model, struct hm_step *step,
                                  const struct hm_grad *grad)
{
    if (model->ops->apply)
        model->ops->apply(model, step, grad);
    else
        hm_grad_add(grad, step->scale, step->w);
    for (uint32_t i = 0; step->dirty && i < grad->n_spans; i++)
        hm_dirty_mark(step->dirty, grad->span[i].at, grad->span[i].n);
}

extern const struct hm_model_ops hm_svm, hm_lenet5, hm_word2vec, hm_custom;

/* The workload of that name, or NULL; the n-th one that can be run as it is (hm_custom is for
 * programs), or NULL past the end. */
const struct hm_model_ops *hm_workload_find(const char *name);
const struct hm_model_ops *hm_workload_at(unsigned n);

#endif
