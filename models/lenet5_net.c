#include "models/lenet5_net.h"

#include "sparse/kernels.h"

#include <assert.h>
#include <string.h>

/* ---- instruction sets ---- */

extern const struct hm_lenet5_kernels hm_lenet5_ref_1, hm_lenet5_ref_3;
#if defined(__x86_64__)
extern const struct hm_lenet5_kernels hm_lenet5_sse2_1, hm_lenet5_sse2_3, hm_lenet5_avx2_1,
    hm_lenet5_avx2_3, hm_lenet5_avx512_1, hm_lenet5_avx512_3;
#elif defined(__aarch64__)
extern const struct hm_lenet5_kernels hm_lenet5_neon_1, hm_lenet5_neon_3;
#else
extern const struct hm_lenet5_kernels hm_lenet5_portable_1, hm_lenet5_portable_3;
#endif

/* By the tables of sparse/, which know what a processor has. Their portable one is plain C for any
 * processor; here that is what vector extensions make of its least instructions. */
static const struct {
    const char *isa;
    const struct hm_lenet5_kernels *of[2]; /* 1 and 3 channels */
} table[] = {
#if defined(__x86_64__)
    {"avx512", {&hm_lenet5_avx512_1, &hm_lenet5_avx512_3}},
    {"avx2", {&hm_lenet5_avx2_1, &hm_lenet5_avx2_3}},
    {"sse2", {&hm_lenet5_sse2_1, &hm_lenet5_sse2_3}},
    {"portable", {&hm_lenet5_sse2_1, &hm_lenet5_sse2_3}},
#elif defined(__aarch64__)
    {"neon", {&hm_lenet5_neon_1, &hm_lenet5_neon_3}},
#else
    {"portable", {&hm_lenet5_portable_1, &hm_lenet5_portable_3}},
#endif
    {"ref", {&hm_lenet5_ref_1, &hm_lenet5_ref_3}},
};

enum { N_TABLES = sizeof table / sizeof table[0] };

const struct hm_lenet5_kernels *hm_lenet5_kernels_find(const char *isa, unsigned channels)
{
    const struct hm_kernels *known = hm_kernels_find(isa ? isa : "auto");
    assert(channels == 1 || channels == 3);
    for (unsigned i = 0; known && i < N_TABLES; i++)
        if (strcmp(table[i].isa, known->name) == 0)
            return table[i].of[channels == 3];
    return NULL;
}

const struct hm_lenet5_kernels *hm_lenet5_kernels_at(unsigned n, unsigned channels)
{
    const struct hm_kernels *known = hm_kernels_at(n);
    return known ? hm_lenet5_kernels_find(known->name, channels) : NULL;
}

/* ---- where parameters lie ---- */

enum { SQUARE = 25, MAPS1 = 6, MAPS2 = 16, CELLS = 25 }; /* kernels of 5 x 5; 5 x 5 pooled cells */

struct hm_lenet5_tensor hm_lenet5_tensor(unsigned channels, unsigned which)
{
    static const struct hm_lenet5_tensor tensor[HM_LENET5_TENSORS] = {
        {"conv1.weight", 4, {6, 1, 5, 5}, 150, 25},    {"conv1.bias", 1, {6}, 6, 25},
        {"conv2.weight", 4, {16, 6, 5, 5}, 2400, 150}, {"conv2.bias", 1, {16}, 16, 150},
        {"fc1.weight", 2, {120, 400}, 48000, 400},     {"fc1.bias", 1, {120}, 120, 400},
        {"fc2.weight", 2, {84, 120}, 10080, 120},      {"fc2.bias", 1, {84}, 84, 120},
        {"fc3.weight", 2, {10, 84}, 840, 84},          {"fc3.bias", 1, {10}, 10, 84},
    };
    assert(which < HM_LENET5_TENSORS);
    struct hm_lenet5_tensor t = tensor[which];
    if (which < 2)
        t.fan_in *= channels;
    if (which == 0) {
        t.dim[1] = channels;
        t.n *= channels;
    }
    return t;
}

enum hm_status hm_lenet5_layout(struct hm_layout *layout, unsigned channels, int grid_exp,
                                struct hm_err *err)
{
    static const struct {
        const char *name;
        uint32_t rows, cols;
    } tensor[HM_LENET5_TENSORS] = {
        {"conv1.w", 6, SQUARE}, {"conv1.b", 6, 1}, {"conv2.w", 80, 30}, {"conv2.b", 16, 1},
        {"fc1.w", 120, 400},    {"fc1.b", 120, 1}, {"fc2.w", 84, 120},  {"fc2.b", 84, 1},
        {"fc3.w", 10, 84},      {"fc3.b", 10, 1},
    };
    enum hm_status status = HM_OK;
    *layout = (struct hm_layout){0};
    for (unsigned t = 0; t < HM_LENET5_TENSORS && !status; t++)
        status = hm_layout_add(layout, tensor[t].name, tensor[t].rows,
                               tensor[t].cols * (t ? 1 : channels), grid_exp, err);
    if (!status) {
        size_t after = hm_tensor_at(&layout->tensor[1]);
        assert(after == (channels == 1 ? HM_LENET5_C1_FLOATS_1 : HM_LENET5_C1_FLOATS_3));
        assert(hm_tensor_at(&layout->tensor[8]) == after + HM_LENET5_F3_W);
        assert(hm_layout_n(layout) == after + HM_LENET5_END);
    }
    return status;
}

size_t hm_lenet5_place(unsigned channels, unsigned which, uint32_t i)
{
    static const uint32_t at[HM_LENET5_TENSORS] = {
        0,
        HM_LENET5_C1_B,
        HM_LENET5_C2_W,
        HM_LENET5_C2_B,
        HM_LENET5_F1_W,
        HM_LENET5_F1_B,
        HM_LENET5_F2_W,
        HM_LENET5_F2_B,
        HM_LENET5_F3_W,
        HM_LENET5_F3_B,
    };
    size_t c1 = channels == 1 ? HM_LENET5_C1_FLOATS_1 : HM_LENET5_C1_FLOATS_3;
    size_t row = SQUARE * channels,
           stride = channels == 1 ? HM_LENET5_C1_STRIDE_1 : HM_LENET5_C1_STRIDE_3;
    assert(i < hm_lenet5_tensor(channels, which).n);
    switch (which) {
    case 0:
        return i / row * stride + i % row;
    case 2: { /* [16][6][5 y][5 x] to [16][5 y][x, 6] */
        size_t map = i / (MAPS1 * SQUARE), c = i / SQUARE % MAPS1, y = i / 5 % 5, x = i % 5;
        return c1 + at[2] + (map * 5 + y) * 32 + x * MAPS1 + c;
    }
    case 4: /* [120][16][25] to [120][25][16] */
        return c1 + at[4] + i / 400 * 400 + i % CELLS * MAPS2 + i / CELLS % MAPS2;
    case 6:
        return c1 + at[6] + i / 120 * 128 + i % 120;
    case 8:
        return c1 + at[8] + i / 84 * 96 + i % 84;
    default:
        return c1 + at[which] + i;
    }
}
