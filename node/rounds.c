#include "node/rounds.h"

#include <stdlib.h>
#include <string.h>

enum { CACHE_LINE = 64 };

static void *zeroed(size_t bytes)
{
    void *memory = aligned_alloc(CACHE_LINE, (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    return memory ? memset(memory, 0, bytes) : NULL;
}

enum hm_status hm_rounds_init(struct hm_rounds *rounds, const struct hm_weights *weights,
                              struct hm_err *err)
{
    *rounds = (struct hm_rounds){.weights = weights};
    rounds->w = zeroed(weights->n * sizeof *rounds->w);
    rounds->early = zeroed(weights->n * sizeof *rounds->early);
    return rounds->w && rounds->early ? HM_OK
                                      : hm_fail(err, HM_ENOMEM, "no memory for synchronous rounds");
}

void hm_rounds_fini(struct hm_rounds *rounds)
{
    free(rounds->w);
    free(rounds->early);
    *rounds = (struct hm_rounds){0};
}

void hm_rounds_keep(struct hm_rounds *rounds, const struct hm_delta *delta, uint64_t steps)
{
    if (!rounds->weights)
        return;
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++)
            rounds->early[(size_t)delta->block[i] * HM_BLOCK + j] += delta->q[i][j];
    rounds->early_steps += steps;
    rounds->any_early = true;
}

void hm_rounds_close(struct hm_rounds *rounds)
{
    rounds->open = false;
    rounds->early_steps = 0;
    if (rounds->any_early)
        memset(rounds->early, 0, rounds->weights->n * sizeof *rounds->early);
    rounds->any_early = false;
}

bool hm_rounds_open(struct hm_rounds *rounds)
{
    if (rounds->open)
        return false;
    rounds->open = true;
    for (uint32_t t = 0; t < rounds->weights->layout.n_tensors; t++) {
        const struct hm_tensor *tensor = &rounds->weights->layout.tensor[t];
        const float unit = hm_exp2i(tensor->grid_exp);
        size_t at = hm_tensor_at(tensor), end = at + (size_t)tensor->n_blocks * HM_BLOCK;
        for (; at < end; at++)
            hm_cell_set(&rounds->w[at],
                        (float)(int32_t)(rounds->weights->b[at] - (uint32_t)rounds->early[at]) *
                            unit);
    }
    return true;
}
