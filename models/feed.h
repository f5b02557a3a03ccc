/* Examples that come from feeders instead of files: what a workload does at either end.
 *
 * A feeder opens a model with the data, and cuts its training set into blocks of examples that lie
 * next to each other; each pass sends all blocks, in an order of its own. Trainers open a model
 * with `fed` in their options: what feeders tell takes the place of files. What they train on comes
 * in messages, each of which becomes a shard of its own (hm_shard.fed).
 *
 * At both ends the bytes of examples are those of feed_codec.h.
 */
#ifndef HM_MODELS_FEED_H
#define HM_MODELS_FEED_H

#include "models/model.h"

struct hm_fed_piece {
    uint8_t *bytes;
    size_t n;
};

struct hm_fed_set {
    struct hm_fed_piece *piece; /* [n] messages of examples */
    unsigned n;
};

/* What a trainer knows of the data. Nothing in it has been checked but lengths. */
struct hm_fed {
    struct hm_fields facts;
    struct hm_fed_piece bulk;
    struct hm_fed_set sample, test; /* sample: to estimate on what only data can tell */
    uint64_t examples;              /* of one pass, of all feeders */
    double epochs;                  /* passes that they are going to make */
    uint32_t batch;                 /* most examples of a message */
    uint32_t longest;               /* most numbers of one, where these differ */
    size_t bytes_max;               /* of a message */
};

struct hm_feed_ops {
    double epochs;  /* passes by default */
    uint32_t batch; /* examples of a message by default */
    uint32_t batch_min;

    /* ---- at the feeder, after open ---- */

    /* Facts of the data that trainers and their mesh have to agree with, by name. */
    void (*facts)(const struct hm_model *model, struct hm_fields *facts);

    /* What goes with them: *bytes belongs to the caller; NULL when there is nothing. */
    enum hm_status (*bulk)(struct hm_model *model, struct hm_fed_piece *bulk, struct hm_err *err);

    /* Most numbers of an example, where these differ; NULL: they do not. */
    uint32_t (*longest)(const struct hm_model *model);

    /* The i-th run of examples of what trainers are told of a set; 0: there are no more. */
    int (*told)(const struct hm_model *model, enum hm_set set, unsigned i, uint64_t *from,
                uint64_t *n);

    /* Where block `block` of `blocks` begins; n_train for the last + 1. No block has more than
     * `batch` examples, blocks being hm_feed_blocks. */
    uint64_t (*begins)(const struct hm_model *model, uint64_t block, uint64_t blocks,
                       uint32_t batch);

    /* Examples from .. from + n of a set, as far as they fit into out [room]: bytes, and *taken
     * examples, 0 when the first does not fit. key: of the order of examples, where it is not that
     * of the data. */
    size_t (*encode)(const struct hm_model *model, enum hm_set set, uint64_t key, uint64_t from,
                     uint64_t n, uint8_t *out, size_t room, uint64_t *taken);

    /* ---- at a trainer, after adopt ---- */

    /* Memory for the examples of a message, a multiple of 64. */
    size_t (*slot_bytes)(const struct hm_model *model);

    /* The examples of a message, into slot [slot_bytes], which is 64-byte aligned: fills the shard
     * (begin 0) and its `fed`, which points into the slot. -1: the bytes are no such message. Any
     * thread. */
    int (*decode)(const struct hm_model *model, const uint8_t *bytes, size_t n, void *slot,
                  struct hm_shard *shard);
};

/* Blocks of a pass over n examples. */
static inline uint64_t hm_feed_blocks(uint64_t n, uint32_t batch)
{
    const uint32_t least = batch - batch / 8; /* the rest is for reaching the end of a line */
    return (n + least - 1) / least;
}

/* HM_EUSAGE when options name data that feeders bring, too. */
enum hm_status hm_feed_check(const char *workload, const struct hm_train_options *options,
                             struct hm_err *err);

extern const struct hm_feed_ops hm_word2vec_feed, hm_svm_feed, hm_lenet5_feed;

#endif
