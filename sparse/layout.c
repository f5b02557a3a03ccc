#include "sparse/layout.h"

#include <assert.h>
#include <string.h>

static int name_ok(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= HM_TENSOR_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") == len;
}

static int name_taken(const struct hm_layout *layout, const char *name)
{
    for (uint32_t t = 0; t < layout->n_tensors; t++)
        if (!strcmp(layout->tensor[t].name, name))
            return 1;
    return 0;
}

/* Floats from row to row; 64 bits wide because cols may be close to 2^32. */
static uint64_t stride_of(uint32_t cols)
{
    return cols == 1 ? 1 : ((uint64_t)cols + HM_ROW_ALIGN - 1) / HM_ROW_ALIGN * HM_ROW_ALIGN;
}

enum hm_status hm_layout_add(struct hm_layout *layout, const char *name, uint32_t rows,
                             uint32_t cols, int grid_exp, struct hm_err *err)
{
    if (!name_ok(name))
        return hm_fail(err, HM_EUSAGE, "tensor name \"%.40s\": want 1 to %d of [a-z0-9_.]", name,
                       HM_TENSOR_NAME_MAX);
    if (name_taken(layout, name))
        return hm_fail(err, HM_EUSAGE, "tensor %s: the name is taken", name);
    if (!rows || !cols)
        return hm_fail(err, HM_EUSAGE, "tensor %s: %u x %u has no weights", name, rows, cols);
    if (grid_exp < HM_GRID_EXP_MIN || grid_exp > HM_GRID_EXP_MAX)
        return hm_fail(err, HM_EUSAGE, "tensor %s: grid 2^%d, want 2^%d to 2^%d", name, grid_exp,
                       HM_GRID_EXP_MIN, HM_GRID_EXP_MAX);
    if (layout->n_tensors == HM_TENSORS_MAX)
        return hm_fail(err, HM_ENOMEM, "tensor %s: a model has at most %d tensors", name,
                       HM_TENSORS_MAX);
    uint64_t stride = stride_of(cols);
    uint64_t left = (uint64_t)(HM_BLOCKS_MAX - layout->n_blocks) * HM_BLOCK;
    if (rows > left / stride)
        return hm_fail(err, HM_ENOMEM, "tensor %s: %u x %u does not fit in 2^31 weights", name,
                       rows, cols);
    struct hm_tensor *tensor = &layout->tensor[layout->n_tensors++];
    *tensor = (struct hm_tensor){.rows = rows, .cols = cols, .grid_exp = grid_exp};
    memcpy(tensor->name, name, strlen(name));
    tensor->stride = (uint32_t)stride;
    tensor->block = layout->n_blocks;
    tensor->n_blocks = (uint32_t)((rows * stride + HM_BLOCK - 1) / HM_BLOCK);
    layout->n_blocks += tensor->n_blocks;
    return HM_OK;
}

const struct hm_tensor *hm_layout_tensor_of(const struct hm_layout *layout, uint32_t block)
{
    assert(block < layout->n_blocks);
    const struct hm_tensor *tensor = layout->tensor;
    while (block - tensor->block >= tensor->n_blocks)
        tensor++;
    return tensor;
}

/* The n lowest bits, n <= 64. */
static uint64_t ones(uint64_t n)
{
    return n ? ~(uint64_t)0 >> (64 - n) : 0;
}

uint64_t hm_layout_block_mask(const struct hm_layout *layout, uint32_t block)
{
    const struct hm_tensor *tensor = hm_layout_tensor_of(layout, block);
    uint64_t first = (uint64_t)(block - tensor->block) * HM_BLOCK;
    uint64_t row = first / tensor->stride, col = first % tensor->stride;
    uint64_t mask = 0;
    /* Row by row, not lane by lane: a received delta asks for every block that it has. */
    for (uint64_t lane = 0; lane < HM_BLOCK && row < tensor->rows; row++, col = 0) {
        uint64_t weights = col < tensor->cols ? tensor->cols - col : 0;
        mask |= ones(weights < HM_BLOCK - lane ? weights : HM_BLOCK - lane) << lane;
        lane += tensor->stride - col;
    }
    return mask;
}
