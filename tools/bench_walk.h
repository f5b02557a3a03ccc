/* What the measurements of hogmesh-bench share: a clock, memory or the end, lists in JSON, and a
 * training walk without a mesh. */
#ifndef HM_TOOLS_BENCH_WALK_H
#define HM_TOOLS_BENCH_WALK_H

#include "models/model.h"

#include <jansson.h>

double now(void); /* seconds */

/* Aligned to cache lines; ends the program without memory. */
void *room(size_t n);
void must(enum hm_status status, const struct hm_err *err);

/* Appends x to the list of that name. */
void add(json_t *json, const char *name, double x);

struct walk {
    struct hm_model *model;
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_shard shard;
    struct hm_step step;
    uint64_t at;
};

/* The SVM on TRAIN, one epoch, a chunk at a time. */
struct walk walk_open(const char *train);
void walk_restart(struct walk *walk);
void walk_on(struct walk *walk, uint64_t n); /* so many examples */
void walk_close(struct walk *walk);

/* bench_ledger.c */
json_t *ledger(const char *train, uint64_t k);

/* bench_lenet5.c: says "ready" when the network has learnt a little; then, for each size of batches
 * read from stdin, samples a second of training. */
void lenet5(const char *data);

/* bench_word2vec.c: says "ready"; then, for each line "ISA DIM skipgram|cbow|hogbatch THREADS" of
 * stdin, words, processor seconds, seconds and loss of an epoch. */
void word2vec(const char *file, unsigned min_count);

/* bench_saturate.c: the saturating sum's part of a flush of all rows of so many columns, n times.
 */
json_t *saturate(unsigned dim, uint64_t n);

/* bench_wire.c: between two processes, messages of so many bytes; NULL when they cannot be had. */
json_t *wire(const char *key, uint64_t bytes);

#endif
