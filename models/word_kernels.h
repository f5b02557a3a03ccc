/* The arithmetic of asking many questions of many vectors, one table for each instruction set. */
#ifndef HM_MODELS_WORD_KERNELS_H
#define HM_MODELS_WORD_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { HM_WORD_COLUMNS = 128, HM_WORD_ROWS = 4 };

struct hm_word_kernels {
    const char *name; /* of the instruction set */

    /* s[i][j] = sum over k of u[i][k] v[k][j]: u [n][dim], v [dim][HM_WORD_COLUMNS], s
     * [n][HM_WORD_COLUMNS], n a multiple of HM_WORD_ROWS; v and s aligned to 64 bytes. */
    void (*dots)(const float *u, size_t n, size_t dim, const float *v, float *s);

    /* x = b + c - a, each [HM_WORD_COLUMNS] and aligned to 64 bytes; returns how many are above the
     * limit. */
    unsigned (*above)(const float *a, const float *b, const float *c, float limit, float *x);
};

/* The table for `isa` as hm_kernels_find takes it; NULL when this processor or build has none. */
const struct hm_word_kernels *hm_word_kernels_find(const char *isa);

#endif
