/* The SVM's insides, shared by models/svm*.c. */
#ifndef HM_MODELS_SVM_H
#define HM_MODELS_SVM_H

#include "models/model.h"
#include "models/optimiser.h"
#include "models/rows.h"

#include <stdatomic.h>
#include <stdio.h>

enum {
    HM_SVM_CHUNK = 2048,     /* examples of one step call: 512 cost two threads 2 % */
    HM_SVM_BATCH_MAX = 1024, /* examples of one gradient */
    HM_SVM_BIAS_GRID = -18,
};

#define HM_SVM_BIAS_RATE .01 /* the bias learns slower, as in svmsgd: it is not regularised */

struct hm_svm_model {
    struct hm_model base;
    struct hm_train_options options;
    struct hm_rows train, test;
    int test_ordered; /* test has the mesh's order of features */
    double lambda, t0;
    int in_w;                      /* the form: W holds w itself, not V = w c */
    struct hm_optimiser optimiser; /* this and what follows: of w form */
    const struct hm_dense *dense;
    float dropout;           /* part of a row's features that is left out */
    size_t seen_max;         /* floats that a row takes then */
    uint64_t seed;           /* turns the order of rows: which one the mesh begins with */
    struct hm_layout layout; /* tensor 0: V or w, 1 x n; tensor 1: bias, 1 x 1 */
    uint32_t n_features;
    uint32_t *order;     /* [n_features] source feature of each rank, as the mesh has it */
    uint32_t *by_label;  /* [n_rows] rows sorted by label, once there are shards by labels */
    atomic_int *merging; /* 1 while a thread merges its private copy into W */
};

struct hm_svm_model *hm_svm_of(struct hm_model *model);

/* svm_step.c */
void hm_svm_step(const struct hm_model *model, const struct hm_shard *shard, struct hm_step *step);
void hm_svm_settle(const struct hm_model *model, struct hm_step *step);
size_t hm_svm_scratch_bytes(const struct hm_svm_model *svm);

/* x_r . v, with the bits that the step computes. */
float hm_svm_row_dot(const struct hm_rows *rows, uint64_t r, const hm_cell *v);

/* What a shard is a part of. */
static inline const struct hm_rows *hm_svm_rows_of(const struct hm_svm_model *svm,
                                                   const struct hm_shard *shard)
{
    return shard->fed ? shard->fed : &svm->train;
}

/* The row at a position of a shard. */
static inline uint64_t hm_svm_row_at(const struct hm_svm_model *svm, const struct hm_shard *shard,
                                     uint64_t position)
{
    if (shard->index)
        return shard->index[position];
    uint64_t r = shard->begin + position, n = hm_svm_rows_of(svm, shard)->n_rows;
    return r < n ? r : r - n;
}

/* svm_feed.c */
enum hm_status hm_svm_open_fed(struct hm_svm_model *svm, struct hm_err *err);

/* svm_grad.c */
void hm_svm_grad(const struct hm_model *model, const struct hm_shard *shard,
                 const struct hm_step *step, struct hm_grad *grad);
size_t hm_svm_grad_max(const struct hm_svm_model *svm);
size_t hm_svm_longest_of(const struct hm_rows *rows);      /* non-zeros */
size_t hm_svm_longest_row(const struct hm_svm_model *svm); /* that steps may meet */

/* svm_w.c */
void hm_svm_w_sizes(struct hm_svm_model *svm); /* of scratch, state and gradient */
void hm_svm_w_step(const struct hm_model *model, const struct hm_shard *shard,
                   struct hm_step *step);
void hm_svm_w_grad(const struct hm_model *model, const struct hm_shard *shard,
                   const struct hm_step *step, struct hm_grad *grad);
void hm_svm_w_apply(const struct hm_model *model, struct hm_step *step, const struct hm_grad *grad);

/* svm_score.c */

/* What a grid unit of B's first tensor is worth in w, B being that of so many mesh-wide steps:
 * never of others. */
double hm_svm_unit(const struct hm_svm_model *svm, uint64_t steps);
enum hm_status hm_svm_score(struct hm_model *model, const uint32_t *b, uint64_t steps,
                            enum hm_set set, unsigned threads, struct hm_score *score,
                            struct hm_err *err);

/* svm_save.c */
void hm_svm_parts(const struct hm_model *model, struct hm_parts *parts);
void hm_svm_weights(const struct hm_model *model, const uint32_t *b, uint64_t steps, float *out);
enum hm_status hm_svm_unweights(const struct hm_model *model, const float *w, uint64_t steps,
                                uint32_t *b, struct hm_err *err);
/* LIBLINEAR's model file. */
enum hm_status hm_svm_import(const struct hm_model *model, const char *path, float *w,
                             void (*say)(void *context, const char *text), void *context,
                             struct hm_err *err);
enum hm_status hm_svm_save(struct hm_model *model, const uint32_t *b, uint64_t steps,
                           const char *path, struct hm_err *err);

#endif
