/* Word2Vec's arithmetic: blocks of input words that share their negatives, and the table of kernels
 * for them, one for each instruction set.
 *
 * Skip-gram with negative sampling (Mikolov and others, Distributed representations of words and
 * phrases and their compositionality, 2013) makes, for an input word with vector x, a word of its
 * window with output vector z and K negatives with output vectors y, the loss
 *
 *     -log s(x.z) - sum over the K negatives of log s(-x.y),      s(a) = 1 / (1 + e^-a)
 *
 * A block is HM_W2V_INPUTS consecutive words that see each other's neighbours: so a row that is
 * read once serves many products, and the products become small dense ones. There are two kinds:
 *
 * - shared: HM_W2V_SHARED negatives serve the whole block, each with weight K / HM_W2V_SHARED per
 *   positive pair, which is the same gradient on average. Of their rows the first HM_W2V_UPDATED
 *   move, by HM_W2V_SHARED / HM_W2V_UPDATED times their gradient: the same on average again, in a
 *   quarter of the adds.
 * - centred (HogBatch; Ji and others, Parallelizing Word2Vec in shared and distributed memory,
 *   2016): each word has K negatives of its own, which the words of its window, here the inputs,
 *   share.
 *
 * With CBOW the input is not a word's vector but the mean of its window's, and there is one
 * positive for each input, the word itself. The window's vectors each move by the whole gradient of
 * the mean, not by their share of it, as word2vec.c has them.
 *
 * A block reads rows first and adds afterwards (a centred one: output rows word by word), in place
 * (sparse/cell.h), or to rows of zeros where somebody wants the gradient.
 */
#ifndef HM_MODELS_WORD2VEC_KERNELS_H
#define HM_MODELS_WORD2VEC_KERNELS_H

#include "sparse/cell.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HM_W2V_INPUTS = 16,
    HM_W2V_SHARED = 32,
    HM_W2V_UPDATED = 8,
    HM_W2V_WINDOW_MAX = 32,
    HM_W2V_DIM_MAX = 1000,
    HM_W2V_NEGATIVE_MAX = 32,                                 /* K */
    HM_W2V_BAND_MAX = HM_W2V_INPUTS + 2 * HM_W2V_WINDOW_MAX,  /* words that a block looks at */
    HM_W2V_PAIRS_MAX = HM_W2V_INPUTS * 2 * HM_W2V_WINDOW_MAX, /* positive ones of a block */
    HM_W2V_CENTRED_MAX = HM_W2V_INPUTS * HM_W2V_NEGATIVE_MAX, /* negatives of a centred block */
    HM_W2V_FIXES_MAX = HM_W2V_INPUTS * HM_W2V_SHARED,
    HM_W2V_LANES_MAX = 16, /* of vectors */
};

/* A word that is positive for an input is no negative for it: what that pair of an input and a
 * negative counts less than others. */
struct hm_w2v_fix {
    uint16_t input, negative;
    float factor;
};

/* One block. Rows are `padded` floats, dim of them used and the rest zero; NULL stands for zeros to
 * read and for nothing to add to. Words of the band are counted from -window to HM_W2V_INPUTS +
 * window; word j stands at [window + j]. Inputs are words 0 .. HM_W2V_INPUTS. */
struct hm_w2v_block {
    unsigned dim, padded; /* padded: a multiple of 16 */
    unsigned window;      /* of this block, 1 .. HM_W2V_WINDOW_MAX */
    unsigned negative;    /* K */
    int cbow, centred;    /* not both */
    float factor; /* of what is added: a rate; or -1, and the gradient of the loss is added */

    /* Input rows: of the inputs; with CBOW and centred of the band. Output rows: of the band; with
     * CBOW and centred of the inputs. The rest is not looked at. */
    const hm_cell *in[HM_W2V_BAND_MAX], *out[HM_W2V_BAND_MAX];
    hm_cell *to_in[HM_W2V_BAND_MAX], *to_out[HM_W2V_BAND_MAX]; /* where adds to them go */

    /* Output rows of the negatives. Centred: K for each input; NULL where one is the input. Of the
     * shared ones only HM_W2V_UPDATED have where to add to. */
    const hm_cell *noise[HM_W2V_CENTRED_MAX];
    hm_cell *to_noise[HM_W2V_CENTRED_MAX];

    /* 1, or 0 where an input has no such word in its window: pair m of input i, at i * 2 window +
     * m, is with word i - window + m, from m = window on with the one after that. NULL: all 1. */
    const float *mask;
    float count[HM_W2V_INPUTS]; /* positive pairs of each input: 0: it does nothing. CBOW: 0 or 1 */
    uint32_t n_fixes;           /* shared only */
    const struct hm_w2v_fix *fix;

    double *loss;                    /* unless NULL: the block's loss, as weighted, is added */
    const struct hm_w2v_block *next; /* the one that follows, to be fetched meanwhile, or NULL */
};

struct hm_w2v_kernels {
    const char *name; /* "ref", "sse2", "avx2", "avx512", "neon" */

    /* scratch: hm_w2v_scratch_bytes, 64-byte aligned, of this thread. */
    void (*block)(const struct hm_w2v_block *block, void *scratch);
};

/* For blocks of rows of `padded` floats with windows and negatives up to so many. */
size_t hm_w2v_scratch_bytes(unsigned padded, unsigned window, unsigned negative, int centred);

/* The table for `isa` as hm_kernels_find takes it; NULL when this processor or build has none. */
const struct hm_w2v_kernels *hm_w2v_kernels_find(const char *isa);

/* The n-th table that this processor can run, best first, the reference last; NULL past the end. */
const struct hm_w2v_kernels *hm_w2v_kernels_at(unsigned n);

#endif
