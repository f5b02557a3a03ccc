/* Scoring B: cross-entropy and accuracy, by several threads over fixed blocks of images. */
#include "models/lenet5.h"
#include "models/parallel.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_IMAGES = 500 };

struct block {
    double loss;
    uint64_t correct;
    uint64_t (*confusion)[HM_CLASSES_MAX]; /* NULL: not wanted */
    int failed;                            /* no memory */
};

struct job {
    const struct hm_lenet5_model *lenet5;
    const struct hm_images *images;
    const float *w;
    struct block *block;
};

static unsigned largest(const float *z)
{
    unsigned best = 0;
    for (unsigned i = 1; i < HM_LENET5_CLASSES; i++)
        best = z[i] > z[best] ? i : best;
    return best;
}

static void count(struct block *sum, const float *z, unsigned label)
{
    unsigned best = largest(z);
    double others = 0;
    for (unsigned i = 0; i < HM_LENET5_CLASSES; i++)
        others += exp((double)(z[i] - z[best]));
    sum->loss += log(others) + (double)(z[best] - z[label]);
    sum->correct += best == label;
}

static void score_images(const struct job *job, uint32_t from, uint32_t n, void *scratch,
                         struct block *sum)
{
    const struct hm_images *images = job->images;
    const uint8_t *image[BLOCK_IMAGES] = {NULL};
    float logits[BLOCK_IMAGES * HM_LENET5_LOGITS];
    for (uint32_t i = 0; i < n; i++)
        image[i] = images->pixel + (from + i) * hm_image_bytes(images);
    job->lenet5->kernels->logits(scratch, job->w, image, n, logits);
    for (uint32_t i = 0; i < n; i++)
        count(sum, logits + i * HM_LENET5_LOGITS, images->label[from + i]);
    for (uint32_t i = 0; sum->confusion && i < n; i++)
        sum->confusion[images->label[from + i]][largest(logits + i * HM_LENET5_LOGITS)]++;
}

static void score_some(const struct job *job, uint64_t which, struct block *sum)
{
    uint32_t from = (uint32_t)which * BLOCK_IMAGES, left = job->images->n - from;
    size_t bytes = (job->lenet5->kernels->scratch_bytes + 63) / 64 * 64;
    void *scratch = aligned_alloc(64, bytes);
    sum->failed |= !scratch;
    if (scratch) {
        memset(scratch, 0, bytes);
        score_images(job, from, left < BLOCK_IMAGES ? left : BLOCK_IMAGES, scratch, sum);
    }
    free(scratch);
}

static void score_block(const void *context, uint64_t which)
{
    const struct job *job = context;
    struct block sum = {0};
    score_some(job, which, &sum);
    job->block[which] = sum;
}

/* The weights that B stands for, with room behind them; returns |w|^2. */
static double weights_of(const struct hm_lenet5_model *lenet5, const uint32_t *b, float *w)
{
    double square = 0;
    for (uint32_t t = 0; t < lenet5->layout.n_tensors; t++) {
        const struct hm_tensor *tensor = &lenet5->layout.tensor[t];
        float grid = hm_exp2i(tensor->grid_exp);
        size_t at = hm_tensor_at(tensor), end = at + (size_t)tensor->n_blocks * HM_BLOCK;
        for (; at < end; at++) {
            w[at] = (float)(int32_t)b[at] * grid;
            square += (double)w[at] * (double)w[at];
        }
    }
    return square;
}

static enum hm_status sum_up(const struct job *job, uint64_t n_blocks, struct hm_score *score,
                             struct hm_err *err)
{
    uint64_t correct = 0;
    for (uint64_t i = 0; i < n_blocks; i++) {
        if (job->block[i].failed)
            return hm_fail(err, HM_ENOMEM, "lenet5: no memory to score");
        score->loss += job->block[i].loss;
        correct += job->block[i].correct;
    }
    score->loss /= (double)score->n;
    score->accuracy = (double)correct / (double)score->n;
    return HM_OK;
}

enum hm_status hm_lenet5_score(struct hm_model *model, const uint32_t *b, uint64_t steps,
                               enum hm_set set, unsigned threads, struct hm_score *score,
                               struct hm_err *err)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    struct job job = {lenet5, set == HM_TRAIN_SET ? &lenet5->train : &lenet5->test, NULL, NULL};
    (void)steps;
    *score = (struct hm_score){.n = job.images->n};
    if (!score->n)
        return HM_OK;
    uint64_t n_blocks = (score->n + BLOCK_IMAGES - 1) / BLOCK_IMAGES;
    float *w = calloc(lenet5->n + HM_LENET5_BEYOND, sizeof *w);
    job.block = calloc(n_blocks, sizeof *job.block);
    enum hm_status status = HM_OK;
    if (w && job.block) {
        double square = weights_of(lenet5, b, w);
        job.w = w;
        hm_parallel(threads, n_blocks, score_block, &job);
        status = sum_up(&job, n_blocks, score, err);
        score->cost = score->loss + .5 * (double)lenet5->optimiser.decay * square;
    } else {
        status = hm_fail(err, HM_ENOMEM, "lenet5: no memory to score");
    }
    free(job.block);
    free(w);
    return status;
}

unsigned hm_lenet5_confusion(struct hm_model *model, const uint32_t *b, enum hm_set set,
                             uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX])
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    const struct hm_images *images = set == HM_TRAIN_SET ? &lenet5->train : &lenet5->test;
    float *w = calloc(lenet5->n + HM_LENET5_BEYOND, sizeof *w);
    struct block sum = {.confusion = table};
    if (!w)
        return 0;
    weights_of(lenet5, b, w);
    struct job job = {lenet5, images, w, NULL};
    for (uint64_t at = 0; at < images->n; at += BLOCK_IMAGES)
        score_some(&job, at / BLOCK_IMAGES, &sum);
    free(w);
    return sum.failed ? 0 : HM_LENET5_CLASSES;
}
