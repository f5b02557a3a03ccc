/* Scoring B: hinge loss, objective and accuracy, by several threads over fixed blocks of rows. */
#include "models/parallel.h"
#include "models/svm.h"
#include "models/svm_step.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCK_ROWS = 4096 };

struct block {
    double loss;
    uint64_t correct;
};

struct job {
    const struct hm_rows *rows;
    const float *w;
    double bias;
    struct block *block;
};

static void score_block(const void *context, uint64_t which)
{
    const struct job *job = context;
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

double hm_svm_unit(const struct hm_svm_model *svm, uint64_t steps)
{
    double grid = ldexp(1, svm->layout.tensor[0].grid_exp);
    return svm->in_w ? grid : grid / (svm->lambda * (svm->t0 + (double)steps));
}

/* Returns |w|^2. */
static double weights_of(const struct hm_svm_model *svm, const uint32_t *b, uint64_t steps,
                         float *w)
{
    const struct hm_tensor *v = &svm->layout.tensor[0];
    double unit = hm_svm_unit(svm, steps), norm = 0;
    for (uint32_t i = 0; i < svm->n_features; i++) {
        w[i] = (float)((int32_t)b[hm_tensor_at(v) + i] * unit);
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
    uint64_t n_blocks = (score->n + BLOCK_ROWS - 1) / BLOCK_ROWS;
    job.block = calloc(n_blocks, sizeof *job.block);
    float *w = malloc(svm->n_features * sizeof *w);
    if (!job.block || !w) {
        free(job.block);
        free(w);
        return hm_fail(err, HM_ENOMEM, "svm: no memory to score");
    }
    double norm = weights_of(svm, b, steps, w);
    job.w = w;
    job.bias = bias_of(svm, b);
    hm_parallel(threads, n_blocks, score_block, &job);
    uint64_t correct = 0;
    for (uint64_t i = 0; i < n_blocks; i++) {
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
