/* Which blocks of W have been added to since they were last looked at: a flush of a large model
 * that touches few rows need not go through all of it.
 *
 * Whoever adds to W marks the blocks afterwards; the protocol thread takes a mark away before it
 * reads the block. So an add is either seen or still marked. What leaves something behind in W
 * without a mark (a change of L, a remainder within the dead zone that another flush would send)
 * marks all, or waits for its turn: each flush goes through one part of the model whatever its
 * marks.
 */
#ifndef HM_SPARSE_DIRTY_H
#define HM_SPARSE_DIRTY_H

#include "sparse/kernels.h"

#include <stdatomic.h>

enum { HM_DIRTY_TURNS = 64 }; /* flushes in which every block is looked at once, at least */

typedef _Atomic uint8_t hm_mark;

struct hm_dirty {
    uint32_t n_blocks;
    hm_mark *mark; /* [n_blocks, to whole eights] 1: added to */
    uint32_t turn;
};

/* All blocks are marked. On failure nothing is owned. Memory: a byte for each block. */
enum hm_status hm_dirty_init(struct hm_dirty *dirty, uint32_t n_blocks, struct hm_err *err);
void hm_dirty_fini(struct hm_dirty *dirty);

void hm_dirty_mark_all(struct hm_dirty *dirty);

/* Coordinates at .. at + n, n >= 1, have been added to. Any thread. */
static inline void hm_dirty_mark(hm_mark *mark, size_t at, size_t n)
{
    /* Release: whoever takes the mark away reads what was added before it. */
    for (size_t block = at / HM_BLOCK; block <= (at + n - 1) / HM_BLOCK; block++)
        atomic_store_explicit(&mark[block], 1, memory_order_release);
}

/* As hm_kernels.extract, of marked blocks and of those whose turn it is. Blocks of which something
 * was clipped stay marked. Returns the blocks that it went through. */
uint32_t hm_dirty_extract(struct hm_dirty *dirty, const struct hm_kernels *kernels,
                          struct hm_weights *weights, const struct hm_publish *publish,
                          struct hm_delta *out, struct hm_extract_stats *stats);

#endif
