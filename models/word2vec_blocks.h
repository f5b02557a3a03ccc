/* Blocks for Word2Vec's kernels (word2vec_kernels.h) made of a run of words (word2vec_text.h). */
#ifndef HM_MODELS_WORD2VEC_BLOCKS_H
#define HM_MODELS_WORD2VEC_BLOCKS_H

#include "models/word2vec_kernels.h"
#include "models/word2vec_text.h"

/* What blocks of a model have in common. */
struct hm_w2v_shape {
    unsigned dim, padded, window, negative;
    int cbow, centred;
};

/* The two tables of weights. */
struct hm_w2v_tables {
    hm_cell *in, *out; /* [words][padded] */
};

/* Where adds go that are not made in place: rows of zeros, one after the other, and which rows of
 * the tables they are for. */
struct hm_w2v_slots {
    float *value;  /* [rows max][padded] */
    uint32_t *row; /* [rows max] words; those of the output table have HM_W2V_OUT added */
    unsigned n;
};

#define HM_W2V_OUT 0x80000000u

/* A block with the arrays that belong to it. */
struct hm_w2v_place {
    struct hm_w2v_block block;
    float mask[HM_W2V_PAIRS_MAX];
    struct hm_w2v_fix fix[HM_W2V_FIXES_MAX];
};

/* Draws that one block needs beside its words. */
struct hm_w2v_draws {
    unsigned window;       /* 1 .. shape's */
    const uint32_t *noise; /* [HM_W2V_SHARED], or [HM_W2V_INPUTS * negative] when centred */
};

/* Negatives that a block draws. */
unsigned hm_w2v_noise_of(const struct hm_w2v_shape *shape);

/* Rows that a block may add to. */
unsigned hm_w2v_rows_of(const struct hm_w2v_shape *shape);

/* The block of inputs first .. first + HM_W2V_INPUTS of the run, as far as they go. Adds go to the
 * tables, times rate; or, unless slots is NULL, gradients go to slots, which are appended to. The
 * block's `next` and `loss` are NULL. */
void hm_w2v_prepare(struct hm_w2v_place *place, const struct hm_w2v_shape *shape,
                    const struct hm_w2v_tables *tables, const struct hm_w2v_run *run,
                    unsigned first, const struct hm_w2v_draws *draws, float rate,
                    struct hm_w2v_slots *slots);

#endif
