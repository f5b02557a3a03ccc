/* How the tensors of a model lie in one flat array of coordinates.
 *
 * A tensor is rows x cols of float. Each row is padded to `stride`, a multiple of HM_ROW_ALIGN
 * floats (a tensor of one column is not padded by row), each tensor to whole blocks of HM_BLOCK
 * coordinates, so a block belongs to exactly one tensor. The layout depends on shapes alone, never
 * on the instruction set: replicas on different machines share it. Padding coordinates are zero for
 * ever.
 *
 * Each tensor has a grid: the published base B counts units of 2^grid_exp. |B| <= HM_RANGE units,
 * so that float32 weights can hold every published value exactly (24-bit significand) with two bits
 * to spare.
 */
#ifndef HM_SPARSE_LAYOUT_H
#define HM_SPARSE_LAYOUT_H

#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HM_BLOCK = 64,
    HM_ROW_ALIGN = 16,
    HM_TENSORS_MAX = 32,
    HM_TENSOR_NAME_MAX = 31,
    HM_RANGE = 1 << 22,      /* |B| in grid units */
    HM_BLOCKS_MAX = 1 << 25, /* 2^31 coordinates, 8 GiB of floats */
    HM_GRID_EXP_MIN = -60,
    HM_GRID_EXP_MAX = 60,
};

struct hm_tensor {
    char name[HM_TENSOR_NAME_MAX + 1]; /* [a-z0-9_.]+ */
    uint32_t rows, cols;
    uint32_t stride;  /* floats from row to row */
    int32_t grid_exp; /* the grid is 2^grid_exp */
    uint32_t block;   /* first block */
    uint32_t n_blocks;
};

struct hm_layout {
    uint32_t n_tensors;
    uint32_t n_blocks; /* over all tensors */
    struct hm_tensor tensor[HM_TENSORS_MAX];
};

/* Appends a tensor behind those already there; start from a zeroed layout. Errors (name, size, grid
 * out of range, too many tensors) leave the layout unchanged. */
enum hm_status hm_layout_add(struct hm_layout *layout, const char *name, uint32_t rows,
                             uint32_t cols, int grid_exp, struct hm_err *err);

/* Coordinates of the whole layout, padding included. */
static inline size_t hm_layout_n(const struct hm_layout *layout)
{
    return (size_t)layout->n_blocks * HM_BLOCK;
}

/* First coordinate of a tensor. */
static inline size_t hm_tensor_at(const struct hm_tensor *tensor)
{
    return (size_t)tensor->block * HM_BLOCK;
}

/* The tensor that a block belongs to; block < n_blocks. */
const struct hm_tensor *hm_layout_tensor_of(const struct hm_layout *layout, uint32_t block);

/* A bit for each coordinate of the block that is a weight, not padding. */
uint64_t hm_layout_block_mask(const struct hm_layout *layout, uint32_t block);

#endif
