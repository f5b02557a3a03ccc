/* LeNet5 as it lies in memory, and the table of its kernels, one for each instruction set.
 *
 *     image     C x 32 x 32 (28 x 28 with a border of 2)
 *     conv1     6 of 5 x 5, max of 2 x 2, ReLU       -> 14 x 14 x 6
 *     conv2     16 of 5 x 5, max of 2 x 2, ReLU      -> 5 x 5 x 16
 *     fc1, fc2  120, 84, ReLU
 *     fc3       10, softmax, cross-entropy
 *
 * 61,706 parameters with C = 1, 62,006 with C = 3. They lie as the layout of their tensors says
 * (sparse/layout.h), the same on every machine, in an order that suits the kernels: activations are
 * kept as (y, x, channel), so conv2's rows run over (x, channel) and fc1's over (y, x, channel).
 * hm_lenet5_place tells where a parameter of the usual order is.
 */
#ifndef HM_MODELS_LENET5_NET_H
#define HM_MODELS_LENET5_NET_H

#include "sparse/layout.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HM_LENET5_CLASSES = 10,
    HM_LENET5_LOGITS = 16, /* floats from one image's logits to the next's */
    HM_LENET5_TENSORS = 10,
    HM_LENET5_IMAGE_MAX = 3 * 32 * 32,
    /* conv1's weights, 6 rows of C x 5 x 5. */
    HM_LENET5_C1_STRIDE_1 = 32,
    HM_LENET5_C1_STRIDE_3 = 80,
    HM_LENET5_C1_FLOATS_1 = 192, /* in whole blocks */
    HM_LENET5_C1_FLOATS_3 = 512,
    /* What follows them, counted from their end. */
    HM_LENET5_C1_B = 0,
    HM_LENET5_C2_W = HM_LENET5_C1_B + 64,        /* [16][5 y][32]: 30 used, (x, channel) */
    HM_LENET5_C2_B = HM_LENET5_C2_W + 80 * 32,   /* [16] */
    HM_LENET5_F1_W = HM_LENET5_C2_B + 64,        /* [120][400]: (y, x, channel) */
    HM_LENET5_F1_B = HM_LENET5_F1_W + 120 * 400, /* [120] */
    HM_LENET5_F2_W = HM_LENET5_F1_B + 128,       /* [84][128]: 120 used */
    HM_LENET5_F2_B = HM_LENET5_F2_W + 84 * 128,  /* [84] */
    HM_LENET5_F3_W = HM_LENET5_F2_B + 128,       /* [10][96]: 84 used */
    HM_LENET5_F3_B = HM_LENET5_F3_W + 10 * 96,   /* [10] */
    HM_LENET5_END = HM_LENET5_F3_B + 64,
    HM_LENET5_FLOATS_MAX = HM_LENET5_C1_FLOATS_3 + HM_LENET5_END,
    HM_LENET5_BEYOND = 192, /* floats that kernels may read behind the last parameter */
};

/* Examples whose gradient is taken at once. */
struct hm_lenet5_batch {
    const uint8_t *const *image; /* [n] -> [C][side][side]; side 28 with C = 1, 32 with C = 3 */
    const uint8_t *label;        /* [n] below 10 */
    unsigned n;
    float dropout;      /* part of fc1's and fc2's outputs that is left out; 0: none */
    uint64_t mask_seed; /* which, for this batch */
};

struct hm_lenet5_kernels {
    const char *name;     /* "ref", "sse2", "avx2", "avx512", "neon" */
    unsigned channels;    /* 1 or 3 */
    size_t scratch_bytes; /* of a thread: zeroed once, 64-byte aligned, kept from call to call */

    /* The gradient of the mean loss, by the layout, into g [the layout's floats, all of them
     * written, padding as zero]; returns the sum of the losses. w has HM_LENET5_BEYOND readable
     * floats behind it, of any finite value. Sums have a fixed order: the same input gives the same
     * bits. */
    double (*grad)(void *scratch, const float *w, const struct hm_lenet5_batch *batch, float *g);

    /* Logits of n images: out [n][HM_LENET5_LOGITS], of which the first 10 count. */
    void (*logits)(void *scratch, const float *w, const uint8_t *const *image, unsigned n,
                   float *out);
};

/* The table for `isa` as hm_kernels_find takes it; NULL when this processor or build has none.
 * channels is 1 or 3. */
const struct hm_lenet5_kernels *hm_lenet5_kernels_find(const char *isa, unsigned channels);

/* The n-th table that this processor can run, best first, the reference last; NULL past the end. */
const struct hm_lenet5_kernels *hm_lenet5_kernels_at(unsigned n, unsigned channels);

/* The tensors in the order of the layout, with grid 2^grid_exp. */
enum hm_status hm_lenet5_layout(struct hm_layout *layout, unsigned channels, int grid_exp,
                                struct hm_err *err);

/* A tensor under its usual name and shape (PyTorch's): conv1.weight [6][C][5][5], conv1.bias [6],
 * conv2.weight [16][6][5][5], conv2.bias, fc1.weight [120][400: channel, y, x], fc1.bias, ... */
struct hm_lenet5_tensor {
    const char *name;
    unsigned n_dims, dim[4];
    uint32_t n;      /* numbers: the product of dim */
    uint32_t fan_in; /* inputs of one output */
};

/* which < HM_LENET5_TENSORS; the tensor of the same place in the layout. */
struct hm_lenet5_tensor hm_lenet5_tensor(unsigned channels, unsigned which);

/* Where number i of that tensor lies in the layout. */
size_t hm_lenet5_place(unsigned channels, unsigned which, uint32_t i);

#endif
