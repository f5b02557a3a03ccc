/* Random blocks for Word2Vec's kernels without any library, and how far what a table adds is from
 * what the reference adds. For the unit test and for programs that run under an emulator. */
#ifndef HM_TESTS_WORD2VEC_CHECK_H
#define HM_TESTS_WORD2VEC_CHECK_H

#include "models/word2vec_kernels.h"
#include "sparse/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { W2V_ROWS = 70 };

static const double W2V_TOLERANCE = 5e-6; /* of the largest number that a table's row gains */

struct w2v_kind {
    const char *name;
    int cbow, centred;
};

static const struct w2v_kind w2v_kind[] = {
    {"skip-gram", 0, 0}, {"CBOW", 1, 0}, {"skip-gram, centred", 0, 1}};
enum { W2V_KINDS = 3 };

/* Two tables of rows, a block on them, and what it adds: in place, or in tables of zeros. */
struct w2v_scene {
    struct hm_w2v_block block;
    unsigned stride;
    hm_cell *w, *sum; /* [2][W2V_ROWS][stride], aligned */
    uint32_t word[HM_W2V_BAND_MAX], noise[HM_W2V_CENTRED_MAX];
    float mask[HM_W2V_PAIRS_MAX];
    struct hm_w2v_fix fix[8];
    double loss;
};

static inline void *w2v_zeroed(size_t bytes)
{
    size_t n = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, n);
    if (!memory)
        abort();
    return memset(memory, 0, n);
}

static inline size_t w2v_cells(const struct w2v_scene *s)
{
    return (size_t)2 * W2V_ROWS * s->stride;
}

/* Where row r of the input table (0) or the output table (1) begins. */
static inline hm_cell *w2v_row(const struct w2v_scene *s, hm_cell *table, int out, uint32_t r)
{
    return table + ((size_t)out * W2V_ROWS + r) * s->stride;
}

/* Adds go to the weights themselves, or to s->sum. */
static inline void w2v_aim(struct w2v_scene *s, hm_cell *to)
{
    struct hm_w2v_block *b = &s->block;
    for (unsigned j = 0; j < HM_W2V_INPUTS + 2 * b->window; j++) {
        b->in[j] = b->out[j] = NULL;
        b->to_in[j] = b->to_out[j] = NULL;
        if (s->word[j] == W2V_ROWS)
            continue;
        b->in[j] = w2v_row(s, s->w, 0, s->word[j]);
        b->out[j] = w2v_row(s, s->w, 1, s->word[j]);
        b->to_in[j] = w2v_row(s, to, 0, s->word[j]);
        b->to_out[j] = w2v_row(s, to, 1, s->word[j]);
    }
    unsigned n = b->centred ? HM_W2V_INPUTS * b->negative : HM_W2V_SHARED;
    for (unsigned i = 0; i < n; i++) {
        b->noise[i] = w2v_row(s, s->w, 1, s->noise[i]);
        b->to_noise[i] = w2v_row(s, to, 1, s->noise[i]);
    }
    for (unsigned i = 0; b->centred && i < n; i += 7) /* some are the word itself */
        b->noise[i] = b->to_noise[i] = NULL;
}

/* Words as they come; with holes: no word at the ends, some pairs and inputs masked. */
static inline void w2v_draw_words(struct w2v_scene *s, struct hm_rng *rng, int holes)
{
    struct hm_w2v_block *b = &s->block;
    unsigned pairs = 2 * b->window, band = HM_W2V_INPUTS + pairs;
    for (unsigned j = 0; j < band; j++)
        s->word[j] = hm_rng_below(rng, W2V_ROWS);
    for (unsigned i = 0; i < HM_W2V_CENTRED_MAX; i++)
        s->noise[i] = hm_rng_below(rng, W2V_ROWS);
    for (unsigned p = 0; p < HM_W2V_INPUTS * pairs; p++)
        s->mask[p] = !holes || hm_rng_below(rng, 4) > 0;
    b->mask = holes ? s->mask : NULL;
    if (holes)
        s->word[0] = s->word[band - 1] = s->word[b->window + HM_W2V_INPUTS - 1] = W2V_ROWS;
    for (unsigned i = 0; i < HM_W2V_INPUTS; i++) {
        b->count[i] = 0;
        for (unsigned m = 0; m < pairs; m++) {
            float *on = &s->mask[i * pairs + m];
            unsigned j = i + m + (m >= b->window);
            if (s->word[j] == W2V_ROWS || s->word[b->window + i] == W2V_ROWS)
                *on = 0;
            b->count[i] += *on;
        }
        if (b->cbow)
            b->count[i] = b->count[i] > 0;
    }
}

/* A block of the kind with rows of dim; to be closed. */
static inline struct w2v_scene w2v_scene(const struct w2v_kind *kind, unsigned dim, unsigned window,
                                         unsigned negative, int holes, uint64_t seed)
{
    struct w2v_scene s = {.stride = (dim + 15) / 16 * 16};
    struct hm_rng rng = hm_rng_seed(seed, dim);
    s.block = (struct hm_w2v_block){.dim = dim,
                                    .padded = s.stride,
                                    .window = window,
                                    .negative = negative,
                                    .cbow = kind->cbow,
                                    .centred = kind->centred,
                                    .factor = -1};
    s.w = w2v_zeroed(w2v_cells(&s) * sizeof *s.w);
    s.sum = w2v_zeroed(w2v_cells(&s) * sizeof *s.sum);
    for (size_t r = 0; r < 2 * W2V_ROWS; r++)
        for (unsigned k = 0; k < dim; k++)
            hm_cell_set(s.w + r * s.stride + k,
                        (float)((2 * hm_rng_unit(&rng) - 1) * 3 / sqrt(dim)));
    w2v_draw_words(&s, &rng, holes);
    for (unsigned f = 0; f < 8; f++)
        s.fix[f] = (struct hm_w2v_fix){(uint16_t)f, (uint16_t)(3 * f + 1), f % 2 ? 0 : .75f};
    s.block.n_fixes = kind->centred ? 0 : 8;
    return s;
}

static inline void w2v_close(struct w2v_scene *s)
{
    free(s->w);
    free(s->sum);
}

/* What the table adds, into s->sum; the loss into s->loss. */
static inline void w2v_run(struct w2v_scene *s, const struct hm_w2v_kernels *kernels)
{
    struct hm_w2v_block *b = &s->block;
    void *scratch = w2v_zeroed(hm_w2v_scratch_bytes(b->padded, b->window, b->negative, b->centred));
    memset((void *)s->sum, 0, w2v_cells(s) * sizeof *s->sum);
    s->loss = 0;
    b->loss = &s->loss;
    b->fix = s->fix;
    b->mask = b->mask ? s->mask : NULL;
    w2v_aim(s, s->sum);
    kernels->block(b, scratch);
    free(scratch);
}

/* By the largest number that any row gains; a loss that is off counts as 1. */
static inline double w2v_error(struct w2v_scene *s, const struct hm_w2v_kernels *kernels)
{
    size_t n = w2v_cells(s);
    float *truth = w2v_zeroed(n * sizeof *truth);
    double largest = 0, far = 0, loss;
    w2v_run(s, hm_w2v_kernels_find("ref"));
    memcpy(truth, (void *)s->sum, n * sizeof *truth);
    loss = s->loss;
    w2v_run(s, kernels);
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)truth[i]));
        far = fmax(far, fabs((double)hm_cell_get(s->sum + i) - (double)truth[i]));
    }
    free(truth);
    if (!(largest > 0) || !(fabs(loss - s->loss) <= 1e-5 * loss) || !(far < 1e9))
        return 1;
    return far / largest;
}

/* The largest error over kinds, shapes and seeds; *worst tells where. */
static inline double w2v_error_of(const struct hm_w2v_kernels *kernels, char worst[160])
{
    static const unsigned dim[] = {1, 3, 4, 8, 15, 16, 17, 50, 100, 112, 128, 129, 200, 300, 1000};
    static const unsigned negative[] = {5, 1, 2, 3, 7, 8, 15, HM_W2V_NEGATIVE_MAX};
    double most = 0;
    strcpy(worst, "nothing");
    for (unsigned k = 0; k < W2V_KINDS; k++)
        for (unsigned d = 0; d < sizeof dim / sizeof dim[0]; d++)
            for (unsigned turn = 0; turn < 8; turn++) {
                unsigned window = turn == 7 && d % 4 == 0 ? HM_W2V_WINDOW_MAX : 1 + (turn + d) % 5;
                struct w2v_scene s =
                    w2v_scene(&w2v_kind[k], dim[d], window, negative[turn], turn % 2, turn + 8 * d);
                double error = w2v_error(&s, kernels);
                if (!(error <= most)) {
                    most = error;
                    snprintf(worst, 160, "%s, dim %u, window %u, %u negatives, %s",
                             w2v_kind[k].name, dim[d], window, negative[turn],
                             turn % 2 ? "holes" : "whole");
                }
                w2v_close(&s);
            }
    return most;
}

#endif
