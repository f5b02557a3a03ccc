#include "sparse/delta.h"

#include <assert.h>
#include <stdlib.h>

/* At least one element, so that NULL means failure. */
static size_t some(uint32_t capacity)
{
    return capacity ? capacity : 1;
}

enum hm_status hm_delta_init(struct hm_delta *delta, uint32_t capacity, struct hm_err *err)
{
    *delta = (struct hm_delta){.capacity = capacity};
    delta->block = malloc(some(capacity) * sizeof *delta->block);
    delta->q = aligned_alloc(64, some(capacity) * sizeof *delta->q);
    if (delta->block && delta->q)
        return HM_OK;
    hm_delta_fini(delta);
    return hm_fail(err, HM_ENOMEM, "delta: no memory for %u blocks", capacity);
}

void hm_delta_fini(struct hm_delta *delta)
{
    free(delta->block);
    free(delta->q);
    *delta = (struct hm_delta){0};
}

struct hm_delta hm_delta_slice(const struct hm_delta *delta, uint32_t from, uint32_t to)
{
    assert(from <= to);
    assert(to <= delta->n_blocks);
    struct hm_delta slice = {.n_blocks = to - from,
                             .capacity = to - from,
                             .block = delta->block + from,
                             .q = delta->q + from};
    for (uint32_t i = from; i < to; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++)
            slice.n_nonzero += delta->q[i][j] != 0;
    return slice;
}

void hm_delta_retract(const struct hm_delta *delta, uint32_t *b)
{
    for (uint32_t i = 0; i < delta->n_blocks; i++)
        for (unsigned j = 0; j < HM_BLOCK; j++)
            b[(size_t)delta->block[i] * HM_BLOCK + j] -= (uint32_t)delta->q[i][j];
}
