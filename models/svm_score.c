/* Scoring B: hinge loss, objective and accuracy, by several threads over fixed blocks of rows. */
#include "models/svm.h"
#include "models/svm_step.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BLOCK_ROWS = 4096, THREADS_MAX = 64 };

struct block {
    double loss;
    uint64_t correct;
};

struct job {
    const struct hm_rows *rows;
    const float *w;
    double bias;
    struct block *block;
    uint64_t n_blocks;
    atomic_uint_fast64_t
        next; /* relaxed: blocks are independent, joining the threads publishes results */
};

static void score_block(const struct job *job, uint64_t which)
{
    const struct hm_rows *rows = job->rows;
    uint64_t from = which * BLOCK_ROWS,
             to = from + BLOCK_ROWS < rows->n_rows ? from + BLOCK_ROWS : rows->n_rows;
    struct block sum = {0};
    for (uint64_t r = from; r < to; r++) {
        double z = rows->label[r] * (hm_row_dot(rows, r, job->w) + job->bias);
        sum.loss += z < 1 ? 1 - z : 0;
        sum.correct += z > 0;
    }
    job->block[which] = sum;
}

static void *score_blocks(void *argument)
{
    struct job *job = argument;
    for (;;) {
        uint64_t which = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (which >= job->n_blocks)
            return NULL;
        score_block(job, which);
    }
}

static void run(struct job *job, unsigned threads)
{
    pthread_t thread[THREADS_MAX];
    unsigned started = 0;
    while (started + 1 < threads && started < THREADS_MAX &&
           pthread_create(&thread[started], NULL, score_blocks, job) == 0)
        started++;
    score_blocks(job);
    while (started)
        pthread_join(thread[--started], NULL);
}

/* w = V / c of the mesh-wide step count that belongs to B: never of a newer one. Returns |w|^2. */
static double weights_of(const struct hm_svm_model *svm, const uint32_t *b, uint64_t steps,
                         float *w)
{
    const struct hm_tensor *v = &svm->layout.tensor[0];
    double scale = ldexp(1, v->grid_exp) / (svm->lambda * (svm->t0 + (double)steps)), norm = 0;
    for (uint32_t i = 0; i < svm->n_features; i++) {
        w[i] = (float)((int32_t)b[hm_tensor_at(v) + i] * scale);
        norm += (double)w[i] * w[i];
    }
    return norm;
}

static double bias_of(const struct hm_svm_model *svm, const uint32_t *b)
{
    const struct hm_tensor *t = &svm->layout.tensor[1];
    return ldexp((int32_t)b[hm_tensor_at(t)], t->grid_exp);
}

enum hm_status hm_svm_score(struct hm_model *model, const uint32_t *b, uint64_t steps,
                            enum hm_set set, unsigned threads, struct hm_score *score,
                            struct hm_err *err)
{
    const struct hm_svm_model *svm = hm_svm_of(model);
    struct job job = {.rows = set == HM_TRAIN_SET ? &svm->train : &svm->test};
    *score = (struct hm_score){.n = job.rows->n_rows};
    if (!score->n)
        return HM_OK;
    job.n_blocks = (score->n + BLOCK_ROWS - 1) / BLOCK_ROWS;
    job.block = calloc(job.n_blocks, sizeof *job.block);
    float *w = malloc(svm->n_features * sizeof *w);
    if (!job.block || !w) {
        free(job.block);
        free(w);
        return hm_fail(err, HM_ENOMEM, "svm: no memory to score");
    }
    double norm = weights_of(svm, b, steps, w);
    job.w = w;
    job.bias = bias_of(svm, b);
    run(&job, threads);
    uint64_t correct = 0;
    for (uint64_t i = 0; i < job.n_blocks; i++) {
        score->loss += job.block[i].loss;
        correct += job.block[i].correct;
    }
    score->loss /= (double)score->n;
    score->cost = score->loss + .5 * svm->lambda * norm;
    score->accuracy = (double)correct / (double)score->n;
    free(job.block);
    free(w);
    return HM_OK;
}
