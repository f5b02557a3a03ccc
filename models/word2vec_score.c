/* Losses on fixed pairs. The loss of a pair is that of its positive word and of its K negatives,
 * computed in full: no kernels, no shared negatives; so it is the same for every kind of training.
 * "Accuracy" is the part of pairs whose positive word has a larger product than every negative. */
#include "models/word2vec.h"

#include "models/parallel.h"

#include <math.h>
#include <stdlib.h>

enum {
    PLACES = 128,     /* of the text, as far from each other as can be, at which ... */
    WORDS = 128,      /* so many words are taken each */
    BLOCK_PAIRS = 512 /* scored by a thread at a time */
};

/* ---- which pairs ---- */

static size_t width(const struct hm_w2v_model *w2v)
{
    return 2 + w2v->shape.negative;
}

/* A pair with negatives that are not the positive word. */
static void add_pair(struct hm_w2v_probe *probe, const struct hm_w2v_model *w2v, uint32_t in,
                     uint32_t out, struct hm_rng *rng)
{
    uint32_t *word = probe->word + probe->n++ * width(w2v);
    word[0] = in;
    word[1] = out;
    for (unsigned k = 0; k < w2v->shape.negative; k++) {
        uint32_t noise = hm_w2v_draw(&w2v->sampler, hm_rng_next(rng));
        word[2 + k] = noise == out ? HM_W2V_NO_WORD : noise;
    }
}

/* The pairs that training makes of a run: dynamic windows, after subsampling. */
static void add_run(struct hm_w2v_probe *probe, const struct hm_w2v_model *w2v,
                    const struct hm_w2v_run *run, struct hm_rng *rng)
{
    for (unsigned i = 0; i < run->n; i++) {
        const uint32_t *word = run->word + i, *line = run->line + i;
        const int window = 1 + (int)hm_rng_below(rng, w2v->shape.window);
        for (int off = -window; off <= window; off++)
            if (off && line[off] == line[0])
                add_pair(probe, w2v, word[0], word[off], rng);
    }
}

enum hm_status hm_w2v_probe_open(struct hm_w2v_probe *probe, const struct hm_w2v_model *w2v,
                                 const struct hm_w2v_text *text, struct hm_err *err)
{
    const unsigned reach = w2v->shape.window;
    const uint64_t n = text->n_words, key = hm_mix(w2v->seed + 0x70726F6265u);
    const uint64_t places = n / WORDS < PLACES ? n / WORDS + 1 : PLACES;
    const size_t most = (size_t)places * WORDS * 2 * reach;
    struct hm_rng rng = hm_rng_seed(key, n);
    *probe = (struct hm_w2v_probe){0};
    if (!n)
        return HM_OK;
    uint32_t *room = malloc(hm_w2v_run_room(WORDS, reach) * sizeof *room);
    probe->word = malloc(most * width(w2v) * sizeof *probe->word);
    if (!room || !probe->word) {
        free(room);
        hm_w2v_probe_close(probe);
        return hm_fail(err, HM_ENOMEM, "word2vec: no memory for %zu pairs to score", most);
    }
    for (uint64_t p = 0; p < places; p++) {
        uint64_t from = n * p / places, left = n - from;
        struct hm_w2v_run run =
            hm_w2v_take(text, &w2v->sampler, key, from, (unsigned)(left < WORDS ? left : WORDS), 0,
                        n, WORDS, reach, room);
        add_run(probe, w2v, &run, &rng);
    }
    free(room);
    return HM_OK;
}

void hm_w2v_probe_close(struct hm_w2v_probe *probe)
{
    free(probe->word);
    *probe = (struct hm_w2v_probe){0};
}

/* ---- their loss ---- */

struct sum {
    double loss;
    uint64_t right;
};

struct job {
    const struct hm_w2v_model *w2v;
    const struct hm_w2v_probe *probe;
    const uint32_t *b;
    struct sum *sum; /* of each block */
};

static const uint32_t *row(const struct job *job, unsigned tensor, uint32_t word)
{
    const struct hm_tensor *t = &job->w2v->layout.tensor[tensor];
    return job->b + hm_tensor_at(t) + (size_t)word * t->stride;
}

static double dot(const struct job *job, uint32_t in, uint32_t out)
{
    const uint32_t *x = row(job, 0, in), *y = row(job, 1, out);
    float sum[16] = {0}; /* so that it can be done in vectors */
    double all = 0;
    unsigned k = 0, n = job->w2v->shape.dim;
    for (; k + 16 <= n; k += 16)
        for (unsigned j = 0; j < 16; j++)
            sum[j] += (float)(int32_t)x[k + j] * (float)(int32_t)y[k + j];
    for (unsigned j = 0; k < n; k++, j++)
        sum[j] += (float)(int32_t)x[k] * (float)(int32_t)y[k];
    for (unsigned j = 0; j < 16; j++)
        all += (double)sum[j];
    return ldexp(all, job->w2v->layout.tensor[0].grid_exp + job->w2v->layout.tensor[1].grid_exp);
}

/* -log of the sigmoid */
static double log_loss(double x)
{
    return x > 0 ? log1p(exp(-x)) : log1p(exp(x)) - x;
}

static void score_pair(const struct job *job, const uint32_t *word, struct sum *sum)
{
    const double positive = dot(job, word[0], word[1]);
    uint64_t right = 1;
    sum->loss += log_loss(positive);
    for (unsigned k = 0; k < job->w2v->shape.negative; k++) {
        if (word[2 + k] == HM_W2V_NO_WORD)
            continue;
        double negative = dot(job, word[0], word[2 + k]);
        sum->loss += log_loss(-negative);
        right &= positive > negative;
    }
    sum->right += right;
}

static void score_block(const void *context, uint64_t which)
{
    const struct job *job = context;
    struct sum sum = {0};
    uint64_t end = (which + 1) * BLOCK_PAIRS;
    for (uint64_t i = which * BLOCK_PAIRS; i < end && i < job->probe->n; i++)
        score_pair(job, job->probe->word + i * width(job->w2v), &sum);
    job->sum[which] = sum;
}

enum hm_status hm_w2v_score(struct hm_model *model, const uint32_t *b, uint64_t steps,
                            enum hm_set set, unsigned threads, struct hm_score *score,
                            struct hm_err *err)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    struct job job = {w2v, &w2v->probe[set], b, NULL};
    (void)steps;
    *score = (struct hm_score){.n = job.probe->n};
    if (!score->n)
        return HM_OK;
    uint64_t n_blocks = (score->n + BLOCK_PAIRS - 1) / BLOCK_PAIRS, right = 0;
    job.sum = calloc(n_blocks, sizeof *job.sum);
    if (!job.sum)
        return hm_fail(err, HM_ENOMEM, "word2vec: no memory to score");
    hm_parallel(threads, n_blocks, score_block, &job);
    for (uint64_t i = 0; i < n_blocks; i++) {
        score->loss += job.sum[i].loss;
        right += job.sum[i].right;
    }
    score->loss /= (double)score->n;
    score->cost = score->loss;
    score->accuracy = (double)right / (double)score->n;
    free(job.sum);
    return HM_OK;
}
