#include "sparse/weights.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 1 << 21, HUGE_FROM = 2 * HUGE_PAGE };

float hm_exp2i(int exp)
{
    assert(exp >= -126);
    assert(exp <= 127);
    uint32_t bits = (uint32_t)(exp + 127) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Zeroed, 64-byte aligned; NULL when there is no memory. Rows of a large table are everywhere in
 * it, and each would want an entry of the TLB that is gone when it comes again. */
static void *zeroed(size_t bytes)
{
    size_t align = bytes >= HUGE_FROM ? HUGE_PAGE : 64;
    void *memory = aligned_alloc(align, bytes ? (bytes + align - 1) / align * align : align);
    if (memory && align == HUGE_PAGE)
        madvise(memory, bytes, MADV_HUGEPAGE); /* a wish */
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

enum hm_status hm_weights_init(struct hm_weights *weights, const struct hm_layout *layout,
                               struct hm_err *err)
{
    assert(layout->n_blocks <= HM_BLOCKS_MAX);
    size_t n = hm_layout_n(layout);
    *weights = (struct hm_weights){.layout = *layout, .n = n};
    weights->w = zeroed(n * sizeof *weights->w);
    weights->b = zeroed(n * sizeof *weights->b);
    if (weights->w && weights->b)
        return HM_OK;
    hm_weights_fini(weights);
    return hm_fail(err, HM_ENOMEM, "weights: no memory for %zu MiB", n * 8 >> 20);
}

void hm_weights_fini(struct hm_weights *weights)
{
    free(weights->w);
    free(weights->b);
    *weights = (struct hm_weights){0};
}

static void settle_tensor(struct hm_weights *weights, const struct hm_tensor *tensor)
{
    float grid = hm_exp2i(tensor->grid_exp);
    size_t from = hm_tensor_at(tensor), to = from + (size_t)tensor->n_blocks * HM_BLOCK;
    for (size_t i = from; i < to; i++)
        hm_cell_set(&weights->w[i], (float)(int32_t)weights->b[i] * grid);
}

void hm_weights_settle(struct hm_weights *weights)
{
    for (uint32_t t = 0; t < weights->layout.n_tensors; t++)
        settle_tensor(weights, &weights->layout.tensor[t]);
}
