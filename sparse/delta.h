/* A delta: what one flush adds to B, in grid units, as the list of its non-zero blocks.
 *
 * One form for sparse and dense models alike: blocks of 64 coordinates, empty ones left out.
 * Extract makes it of W - B, encode turns it into bytes, decode turns hostile bytes into it or
 * refuses them, apply adds it.
 */
#ifndef HM_SPARSE_DELTA_H
#define HM_SPARSE_DELTA_H

#include "sparse/layout.h"

struct hm_delta {
    uint32_t n_blocks;      /* listed blocks; each has at least one non-zero coordinate */
    uint32_t n_nonzero;     /* coordinates that are not zero */
    uint32_t capacity;      /* blocks that fit */
    uint32_t *block;        /* [capacity] block numbers in the layout, ascending */
    int32_t (*q)[HM_BLOCK]; /* [capacity][64] grid units, 64-byte aligned */
};

/* Room for `capacity` blocks; about 260 bytes each, address space until used. On failure nothing is
 * owned. */
enum hm_status hm_delta_init(struct hm_delta *delta, uint32_t capacity, struct hm_err *err);

void hm_delta_fini(struct hm_delta *delta);

/* B -= q for every listed block, in b [all blocks of the layout * 64]: undoes what an extract did
 * to B. */
void hm_delta_retract(const struct hm_delta *delta, uint32_t *b);

/* A view of listed blocks [from, to) of `delta`; owns nothing, valid as long as delta is. n_nonzero
 * is counted. */
struct hm_delta hm_delta_slice(const struct hm_delta *delta, uint32_t from, uint32_t to);

#endif
