/* Word2Vec's training on its own, without a node or a mesh, beside another program that takes
 * turns: an epoch for each line of stdin, which says with which kernels, dimension, blocks and
 * threads. */
#include "tools/bench_walk.h"

#include "models/word2vec.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS_MAX = 64 };

struct training {
    struct hm_model *model;
    struct hm_layout layout;
    struct hm_weights weights;
    struct hm_shard shard;
    _Atomic uint64_t next;
};

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void open_training(struct training *t, const char *file, unsigned min_count, const char *isa,
                          unsigned dim, const char *blocks)
{
    struct hm_fields config = {0};
    struct hm_err err;
    struct hm_train_options options = {.train = {file},
                                       .n_train = 1,
                                       .isa = isa,
                                       .min_count = min_count,
                                       .dim = dim,
                                       .cbow = strcmp(blocks, "cbow") == 0,
                                       .hogbatch = strcmp(blocks, "hogbatch") == 0,
                                       .epochs = 1,
                                       .seed = 1,
                                       .threads = 1,
                                       .nodes = 1};
    must(hm_word2vec.open(&t->model, &options, NULL, &err), &err);
    must(hm_word2vec.found(t->model, &config, &err), &err);
    must(hm_word2vec.adopt(t->model, &config, NULL, 0, &t->layout, &err), &err);
    must(hm_weights_init(&t->weights, &t->layout, &err), &err);
    must(hm_word2vec.shard(t->model, HM_PARTITION_NONE, 0, 1, &t->shard, &err), &err);
    hm_word2vec.init(t->model, &t->weights);
    hm_weights_settle(&t->weights);
    atomic_store(&t->next, 0);
}

static void *work(void *argument)
{
    struct training *t = argument;
    const uint64_t all = t->model->n_train;
    struct hm_step step = {.w = t->weights.w, .scale = 1, .t_per_step = 1};
    step.scratch = room(t->model->scratch_bytes);
    memset(step.scratch, 0, t->model->scratch_bytes);
    while ((step.from = atomic_fetch_add(&t->next, t->model->chunk)) < all) {
        step.n = all - step.from < t->model->chunk ? all - step.from : t->model->chunk;
        step.t = (double)step.from;
        hm_word2vec.step(t->model, &t->shard, &step);
    }
    free(step.scratch);
    return NULL;
}

/* One epoch; prints words, processor seconds of all threads, seconds, the loss afterwards. */
static void train(const char *file, unsigned min_count, const char *isa, unsigned dim,
                  const char *blocks, unsigned threads)
{
    struct training t;
    pthread_t thread[THREADS_MAX];
    struct hm_publish publish = {1, 0, 0};
    struct hm_extract_stats stats = {0};
    struct hm_delta delta;
    struct hm_score score;
    struct hm_err err;
    open_training(&t, file, min_count, isa, dim, blocks);
    double used = seconds_of(CLOCK_PROCESS_CPUTIME_ID), began = seconds_of(CLOCK_MONOTONIC);
    for (unsigned i = 1; i < threads; i++)
        pthread_create(&thread[i], NULL, work, &t);
    work(&t);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(thread[i], NULL);
    used = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - used;
    began = seconds_of(CLOCK_MONOTONIC) - began;
    must(hm_delta_init(&delta, t.layout.n_blocks, &err), &err);
    hm_kernels_find("auto")->extract(&t.weights, 0, t.layout.n_blocks, &publish, &delta, &stats);
    hm_delta_fini(&delta);
    must(hm_word2vec.score(t.model, t.weights.b, 0, HM_TRAIN_SET, 1, &score, &err), &err);
    printf("%llu %.6f %.6f %.6f\n", (unsigned long long)t.model->n_train, used, began, score.loss);
    hm_weights_fini(&t.weights);
    hm_word2vec.close(t.model);
}

void word2vec(const char *file, unsigned min_count)
{
    char isa[16], blocks[16];
    unsigned dim, threads;
    puts("ready");
    fflush(stdout);
    while (scanf("%15s %u %15s %u", isa, &dim, blocks, &threads) == 4 && dim && threads &&
           threads <= THREADS_MAX) {
        train(file, min_count, isa, dim, blocks, threads);
        fflush(stdout);
    }
}
