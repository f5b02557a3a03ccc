#include "sparse/install.h"

#include <string.h>

enum { BLOCKS = 16 }; /* in one go, on the stack */

/* Lists the block when base differs from B there. */
static void list_block(struct hm_delta *delta, const struct hm_weights *weights,
                       const uint32_t *base, uint32_t block)
{
    size_t at = (size_t)block * HM_BLOCK;
    uint32_t n = 0;
    if (memcmp(base + at, weights->b + at, HM_BLOCK * sizeof *base) == 0)
        return;
    for (unsigned j = 0; j < HM_BLOCK; j++) {
        delta->q[delta->n_blocks][j] = (int32_t)(base[at + j] - weights->b[at + j]);
        n += delta->q[delta->n_blocks][j] != 0;
    }
    delta->block[delta->n_blocks++] = block;
    delta->n_nonzero += n;
}

/* The difference is a delta like any other. */
void hm_weights_install(const struct hm_kernels *kernels, struct hm_weights *weights,
                        const uint32_t *base, uint64_t *n_sampled, uint64_t *n_wiped)
{
    _Alignas(64) int32_t q[BLOCKS][HM_BLOCK];
    uint32_t block[BLOCKS], n_blocks = weights->layout.n_blocks;
    for (uint32_t from = 0; from < n_blocks; from += BLOCKS) {
        struct hm_delta delta = {.capacity = BLOCKS, .block = block, .q = q};
        uint32_t to = n_blocks - from < BLOCKS ? n_blocks : from + BLOCKS;
        for (uint32_t i = from; i < to; i++)
            list_block(&delta, weights, base, i);
        if (delta.n_blocks)
            kernels->apply(&delta, weights, n_sampled, n_wiped);
    }
}
