#include "sparse/dirty.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { EIGHT = 8 }; /* marks that are looked at together */

static size_t whole_eights(uint32_t n)
{
    return ((size_t)n + EIGHT - 1) / EIGHT * EIGHT;
}

enum hm_status hm_dirty_init(struct hm_dirty *dirty, uint32_t n_blocks, struct hm_err *err)
{
    *dirty = (struct hm_dirty){.n_blocks = n_blocks};
    dirty->mark = aligned_alloc(EIGHT, whole_eights(n_blocks));
    if (!dirty->mark)
        return hm_fail(err, HM_ENOMEM, "no memory for the marks of %u blocks", n_blocks);
    memset((void *)dirty->mark, 0, whole_eights(n_blocks));
    hm_dirty_mark_all(dirty);
    return HM_OK;
}

void hm_dirty_fini(struct hm_dirty *dirty)
{
    free((void *)dirty->mark);
    *dirty = (struct hm_dirty){0};
}

static void mark_blocks(struct hm_dirty *dirty, uint32_t from, uint32_t to)
{
    for (uint32_t b = from; b < to; b++)
        atomic_store_explicit(&dirty->mark[b], 1, memory_order_relaxed); /* by their reader */
}

void hm_dirty_mark_all(struct hm_dirty *dirty)
{
    mark_blocks(dirty, 0, dirty->n_blocks);
}

static int is_marked(const struct hm_dirty *dirty, uint32_t block)
{
    /* Acquire: what was added before the mark is seen. */
    return atomic_load_explicit(&dirty->mark[block], memory_order_acquire) != 0;
}

/* The first marked block from one on. */
static uint32_t next_marked(const struct hm_dirty *dirty, uint32_t block)
{
    while (block < dirty->n_blocks && !is_marked(dirty, block)) {
        block++;
#ifndef HM_TSAN
        /* Eight at once; whoever marks meanwhile will be seen by the next flush. */
        for (uint64_t eight; block % EIGHT == 0 && block < dirty->n_blocks; block += EIGHT) {
            memcpy(&eight, (const void *)(dirty->mark + block), sizeof eight);
            if (eight)
                break;
        }
#endif
    }
    return block < dirty->n_blocks ? block : dirty->n_blocks;
}

uint32_t hm_dirty_extract(struct hm_dirty *dirty, const struct hm_kernels *kernels,
                          struct hm_weights *weights, const struct hm_publish *publish,
                          struct hm_delta *out, struct hm_extract_stats *stats)
{
    const uint32_t n = dirty->n_blocks, turn = dirty->turn++ % HM_DIRTY_TURNS;
    uint32_t seen = 0;
    assert(weights->layout.n_blocks == n);
    mark_blocks(dirty, (uint32_t)((uint64_t)n * turn / HM_DIRTY_TURNS),
                (uint32_t)((uint64_t)n * (turn + 1) / HM_DIRTY_TURNS));
    for (uint32_t from = next_marked(dirty, 0), to; from < n; from = next_marked(dirty, to)) {
        const uint64_t clipped = stats->n_clipped;
        for (to = from; to < n && is_marked(dirty, to); to++)
            atomic_store_explicit(&dirty->mark[to], 0, memory_order_relaxed);
        /* The marks are gone before W is read: an add that is not seen comes after, with its mark.
         */
        atomic_thread_fence(memory_order_seq_cst);
        kernels->extract(weights, from, to, publish, out, stats);
        if (stats->n_clipped != clipped)
            mark_blocks(dirty, from, to);
        seen += to - from;
    }
    return seen;
}
