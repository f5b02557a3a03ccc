/* What a thread computes LeNet5's gradient in. */
#ifndef HM_MODELS_LENET5_SCRATCH_H
#define HM_MODELS_LENET5_SCRATCH_H

#include "models/lenet5_net.h"

#define CHANNELS HM_CHANNELS /* 1 or 3, a constant of the build */

enum {
    IMAGES = 32,     /* through the whole network at once: activations stay in the L2 cache */
    LIST_IMAGES = 4, /* whose live windows make one list */
    CELLS = 25,      /* pooled, 5 x 5 */
    X_FLOATS = CHANNELS * 32 * 32,
    X_STRIDE = X_FLOATS + 32,
    H1_ROW = 14 * 6,
    H1_STRIDE = 14 * H1_ROW + 24, /* loads reach beyond the last row */
    /* conv2's weights, spread so that a shift by one pixel is a shift of the pointer: a row of
     * zeros before the five, 6 zeros before and 12 behind the 30 of a row. */
    W2_ROW = 48,
    W2_MAP = 6 * W2_ROW,
    C1_STRIDE = CHANNELS == 1 ? HM_LENET5_C1_STRIDE_1 : HM_LENET5_C1_STRIDE_3,
    C1_FLOATS = CHANNELS == 1 ? HM_LENET5_C1_FLOATS_1 : HM_LENET5_C1_FLOATS_3,
    /* Floats from row to row, and inputs with padding. */
    F1_IN = 400,
    F2_IN = 128,
    F3_IN = 96,
};

/* A live window of conv2: where what it meets begins, and its gradient. */
struct entry {
    uint32_t at;
    float g;
};

struct scratch {
    _Alignas(64) float x[IMAGES * X_STRIDE];                   /* images with their borders */
    float even[CHANNELS * 512 + 32], odd[CHANNELS * 512 + 32]; /* columns of the newest */
    float w1[CHANNELS * 25 * 6];                               /* conv1's weights, [c, y, x][map] */
    float w2[5 * 30 * 16];                                     /* conv2's, [y][x, c][map] */
    float w2_wide[16 * W2_MAP + W2_ROW + 16];                  /* conv2's, [map][1 + 5][48] */
    float h1[IMAGES * H1_STRIDE];                              /* [y][x][6] */
    uint32_t live1[IMAGES][6][196];                            /* index in h1 << 16 | in x */
    int n_live1[IMAGES][6];
    float h2[IMAGES * 400];       /* [y][x][16] */
    int32_t which2[IMAGES * 400]; /* the largest of 2 x 2 */
    struct entry live2[16][LIST_IMAGES * CELLS + 1];
    int n_live2[16];
    float a1[IMAGES * F2_IN], a2[IMAGES * F3_IN]; /* outputs of fc1, fc2 */
    float logits[IMAGES * HM_LENET5_LOGITS];      /* and then their gradient */
    float d1[IMAGES * F2_IN], d2[IMAGES * F3_IN], d_h2[IMAGES * 400];
    float d_h1[H1_STRIDE + 32];
    float g1[6][CHANNELS * 5][8]; /* conv1's gradient, rows of 5 */
};

#endif
