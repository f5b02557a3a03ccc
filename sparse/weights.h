/* The two copies of a model that every node holds: W, live and shared, and B, published and exact.
 *
 * W    float32, hm_cell: worker threads and the protocol thread add to it in place, lock-free.
 * B    fixed point in grid units, uint32 read as two's complement: only the protocol thread touches
 * it. Integer addition commutes, so B depends on the set of applied deltas, not on their order.
 *
 * W - B * grid is what this node still owes the mesh. Both arrays are 64-byte aligned,
 * [hm_layout_n].
 */
#ifndef HM_SPARSE_WEIGHTS_H
#define HM_SPARSE_WEIGHTS_H

#include "sparse/cell.h"
#include "sparse/layout.h"

struct hm_weights {
    struct hm_layout layout;
    size_t n;    /* hm_layout_n(&layout) */
    hm_cell *w;  /* [n] */
    uint32_t *b; /* [n] */
};

/* Allocates W and B for a copy of the layout and sets both to zero. On failure nothing is owned.
 * Memory: 8 n bytes. */
enum hm_status hm_weights_init(struct hm_weights *weights, const struct hm_layout *layout,
                               struct hm_err *err);

void hm_weights_fini(struct hm_weights *weights);

/* W := B * grid, exactly. Not while workers run. */
void hm_weights_settle(struct hm_weights *weights);

/* 2^exp as a float; exp within the normal range. */
float hm_exp2i(int exp);

#endif
