/* The LeNet5 workload's insides, shared by models/lenet5*.c; the network is in lenet5_net.h. */
#ifndef HM_MODELS_LENET5_H
#define HM_MODELS_LENET5_H

#include "models/images.h"
#include "models/lenet5_net.h"
#include "models/model.h"
#include "models/optimiser.h"

enum { HM_LENET5_BATCH_MAX = 1024 };

struct hm_lenet5_model {
    struct hm_model base;
    struct hm_train_options options;
    struct hm_images train, test;
    unsigned channels;
    const struct hm_lenet5_kernels *kernels;
    const struct hm_dense *dense;
    struct hm_optimiser optimiser;
    float dropout;
    struct hm_layout layout;
    size_t n; /* floats of it */
    uint64_t seed;
    uint32_t *by_label; /* [train.n] examples sorted by label, once there are shards by labels */
};

static inline const struct hm_lenet5_model *hm_lenet5_of(const struct hm_model *model)
{
    return (const struct hm_lenet5_model *)(const void *)model;
}

/* What a shard is a part of. */
static inline const struct hm_images *hm_lenet5_images_of(const struct hm_lenet5_model *lenet5,
                                                          const struct hm_shard *shard)
{
    return shard->fed ? shard->fed : &lenet5->train;
}

/* lenet5_feed.c */
enum hm_status hm_lenet5_open_fed(struct hm_lenet5_model *lenet5, struct hm_err *err);

/* lenet5_step.c */
void hm_lenet5_sizes(struct hm_lenet5_model *lenet5); /* of scratch, state and gradient */
void hm_lenet5_step(const struct hm_model *model, const struct hm_shard *shard,
                    struct hm_step *step);
void hm_lenet5_grad(const struct hm_model *model, const struct hm_shard *shard,
                    const struct hm_step *step, struct hm_grad *grad);
void hm_lenet5_apply(const struct hm_model *model, struct hm_step *step,
                     const struct hm_grad *grad);

/* The example at a position. */
uint32_t hm_lenet5_example(const struct hm_lenet5_model *lenet5, const struct hm_shard *shard,
                           uint64_t position);

/* lenet5_score.c */
enum hm_status hm_lenet5_score(struct hm_model *model, const uint32_t *b, uint64_t steps,
                               enum hm_set set, unsigned threads, struct hm_score *score,
                               struct hm_err *err);

unsigned hm_lenet5_confusion(struct hm_model *model, const uint32_t *b, enum hm_set set,
                             uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX]);

/* lenet5_save.c */
void hm_lenet5_parts(const struct hm_model *model, struct hm_parts *parts);
void hm_lenet5_weights(const struct hm_model *model, const uint32_t *b, uint64_t steps, float *out);
enum hm_status hm_lenet5_unweights(const struct hm_model *model, const float *w, uint64_t steps,
                                   uint32_t *b, struct hm_err *err);
enum hm_status hm_lenet5_save(struct hm_model *model, const uint32_t *b, uint64_t steps,
                              const char *path, struct hm_err *err);

#endif
