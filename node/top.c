#include "node/top.h"

#include "sparse/rule.h"

#include <math.h>
#include <string.h>

enum {
    BIN_SHIFT = 19,
    BINS = 1 << (31 - BIN_SHIFT)
}; /* a float's exponent and 4 bits of fraction */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void count_tensor(const struct hm_weights *weights, const struct hm_tensor *tensor,
                         const struct rule *rule, uint64_t bin[BINS])
{
    size_t at = hm_tensor_at(tensor), end = at + (size_t)tensor->n_blocks * HM_BLOCK;
    for (; at < end; at++) {
        float d = fabsf(hm_cell_get(&weights->w[at]) - (float)(int32_t)weights->b[at] * rule->grid);
        if (d >= rule->least && isfinite(d))
            bin[bits_of(d) >> BIN_SHIFT]++;
    }
}

struct hm_publish hm_top(const struct hm_weights *weights, const struct hm_publish *publish,
                         uint64_t most)
{
    struct hm_publish top = *publish;
    uint64_t bin[BINS] = {0}, n = 0;
    if (!most)
        return top;
    for (uint32_t t = 0; t < weights->layout.n_tensors; t++) {
        const struct hm_tensor *tensor = &weights->layout.tensor[t];
        const struct rule rule = rule_of(tensor->grid_exp, publish);
        count_tensor(weights, tensor, &rule, bin);
    }
    for (uint32_t i = BINS; i-- > 0;) {
        if (n && n + bin[i] > most) {
            top.least = float_of((i + 1) << BIN_SHIFT);
            break;
        }
        n += bin[i];
    }
    return top;
}

uint64_t hm_top_of(const struct hm_layout *layout, double part)
{
    double n = 0;
    for (uint32_t t = 0; t < layout->n_tensors; t++)
        n += (double)layout->tensor[t].rows * layout->tensor[t].cols;
    return (uint64_t)ceil(part * n);
}
