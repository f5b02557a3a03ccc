/* LeNet5's forward and backward pass, built once for each instruction set (HM_VL lanes) and number
 * of channels (HM_CHANNELS), as the table HM_TABLE.
 *
 * Direct convolutions on single images; the fully connected layers on up to 32 at once. Half of all
 * pooled windows are dead behind the ReLU, and of a live one only the largest element matters
 * backward: the gradients of both convolutions visit nothing else. That is exact, and why this is
 * faster than the dense operations of others at the peak of the processor.
 */
#include "models/lenet5_conv1.h"
#include "models/lenet5_conv2.h"
#include "models/lenet5_gemm.h"
#include "models/lenet5_net.h"
#include "models/lenet5_scratch.h"
#include "sparse/rng.h"

#include <math.h>
#include <string.h>

/* A parameter's place behind conv1's weights. */
#define AT(tensor) (C1_FLOATS + HM_LENET5_##tensor)

/* The convolutions' weights in the orders that the kernels want. */
static void spread_weights(struct scratch *s, const float *w)
{
    for (int m = 0; m < 6; m++)
        for (int i = 0; i < CHANNELS * 25; i++)
            s->w1[i * 6 + m] = w[m * C1_STRIDE + i];
    for (int m = 0; m < 16; m++)
        for (int y = 0; y < 5; y++) {
            const float *row = w + AT(C2_W) + (m * 5 + y) * 32;
            for (int j = 0; j < 30; j++)
                s->w2[(y * 30 + j) * 16 + m] = row[j];
            memcpy(s->w2_wide + m * W2_MAP + (y + 1) * W2_ROW + 6, row, 30 * sizeof *row);
        }
}

/* ---- fully connected ---- */

/* Leaves out a part of the outputs and scales up the rest; which ones depends on the seed and the
 * image's number in the batch alone. */
static void drop_out(float *a, int stride, int n, int outputs, const struct hm_lenet5_batch *batch,
                     uint64_t first, uint64_t layer)
{
    const uint32_t least = (uint32_t)(batch->dropout * 0x1p32);
    const float scale = 1 / (1 - batch->dropout);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < outputs; k += 2) {
            uint64_t bits =
                hm_mix(batch->mask_seed + (first + (uint64_t)i) * 256 + layer * 128 + (uint64_t)k);
            float *two = a + i * stride + k;
            two[0] = (uint32_t)bits < least ? 0 : two[0] * scale;
            two[1] = (uint32_t)(bits >> 32) < least ? 0 : two[1] * scale;
        }
}

/* Outputs of fc1 to fc3 for n images in h2. */
static void dense_forward(struct scratch *s, const float *w, int n,
                          const struct hm_lenet5_batch *batch, uint64_t first)
{
    dot_product(n, 120, F1_IN, s->h2, F1_IN, w + AT(F1_W), F1_IN, s->a1, F2_IN, w + AT(F1_B), 1);
    if (batch && batch->dropout > 0)
        drop_out(s->a1, F2_IN, n, 120, batch, first, 0);
    dot_product(n, 84, F2_IN, s->a1, F2_IN, w + AT(F2_W), F2_IN, s->a2, F3_IN, w + AT(F2_B), 1);
    if (batch && batch->dropout > 0)
        drop_out(s->a2, F3_IN, n, 84, batch, first, 1);
    /* Twelve outputs, because they come by four; the last two mean nothing. */
    dot_product(n, 12, F3_IN, s->a2, F3_IN, w + AT(F3_W), F3_IN, s->logits, HM_LENET5_LOGITS,
                w + AT(F3_B), 0);
}

/* Logits become the gradient of the batch's mean loss by them; returns the loss. */
static double softmax(float *z, unsigned label, float per_image, float *g_bias)
{
    float most = z[0], e[HM_LENET5_CLASSES], others = 0;
    for (int i = 1; i < HM_LENET5_CLASSES; i++)
        most = z[i] > most ? z[i] : most;
    for (int i = 0; i < HM_LENET5_CLASSES; i++) {
        e[i] = expf(z[i] - most);
        others += i == (int)label ? 0 : e[i];
    }
    float sum = others + e[label];
    double loss = (double)logf(sum) - (double)(z[label] - most);
    for (int i = 0; i < HM_LENET5_CLASSES; i++)
        z[i] = e[i] / sum * per_image;
    z[label] = -others / sum * per_image; /* p - 1 would cancel where p is nearly 1 */
    for (int i = 0; i < HM_LENET5_CLASSES; i++)
        g_bias[i] += z[i];
    return loss;
}

/* d passes where the output a is above zero, scaled as dropout scaled a; biases add it up. */
static void pass_relu(const float *a, float *d, int stride, int n, float scale, float *g_bias)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < stride; k += VL) {
            vec g = load(d + i * stride + k) * scale;
            g = (vec)((ivec)(load(a + i * stride + k) > 0) & (ivec)g);
            store(d + i * stride + k, g);
            store(g_bias + k, load(g_bias + k) + g);
        }
}

/* Loss of n images and the gradient down to d_h2; weights' gradients are added to, or written. */
static double dense_backward(struct scratch *s, const float *w, float *g, int n,
                             const struct hm_lenet5_batch *batch, unsigned first)
{
    const int add = first > 0;
    const float per_image = 1.f / (float)batch->n, scale = 1 / (1 - batch->dropout);
    double loss = 0;
    for (int i = 0; i < n; i++)
        loss += softmax(s->logits + i * HM_LENET5_LOGITS, batch->label[first + (unsigned)i],
                        per_image, g + AT(F3_B));
    sum_product(10, F3_IN, n, s->logits, 1, HM_LENET5_LOGITS, s->a2, F3_IN, g + AT(F3_W), F3_IN,
                add);
    sum_product(n, F3_IN, 10, s->logits, HM_LENET5_LOGITS, 1, w + AT(F3_W), F3_IN, s->d2, F3_IN, 0);
    pass_relu(s->a2, s->d2, F3_IN, n, scale, g + AT(F2_B));
    sum_product(84, F2_IN, n, s->d2, 1, F3_IN, s->a1, F2_IN, g + AT(F2_W), F2_IN, add);
    sum_product(n, F2_IN, 84, s->d2, F3_IN, 1, w + AT(F2_W), F2_IN, s->d1, F2_IN, 0);
    pass_relu(s->a1, s->d1, F2_IN, n, scale, g + AT(F1_B));
    sum_product(120, F1_IN, n, s->d1, 1, F2_IN, s->h2, F1_IN, g + AT(F1_W), F1_IN, add);
    sum_product(n, F1_IN, 120, s->d1, F2_IN, 1, w + AT(F1_W), F1_IN, s->d_h2, F1_IN, 0);
    return loss;
}

/* ---- whole network ---- */

static void convolve(struct scratch *s, const float *w, const uint8_t *const *image, int n)
{
    for (int i = 0; i < n; i++) {
        load_image(s, i, image[i]);
        conv1_forward(s, i, w + AT(C1_B));
        conv2_forward(s, i, w + AT(C2_B));
    }
}

/* Gradients of both convolutions, for the n images that have d_h2. */
static void convolve_back(struct scratch *s, float *g, int n)
{
    for (int first = 0; first < n; first += LIST_IMAGES) {
        int end = first + LIST_IMAGES < n ? first + LIST_IMAGES : n;
        for (int i = first; i < end; i++) {
            conv2_backward(s, i, i - first);
            conv1_grad(s, i, g + AT(C1_B));
        }
        conv2_grad(s, first, g + AT(C2_W), g + AT(C2_B));
    }
}

/* What is added to, where the first images do not write. */
static void clear(struct scratch *s, float *g)
{
    memset(s->g1, 0, sizeof s->g1);
    memset(g, 0, (size_t)AT(F1_W) * sizeof *g);
    memset(g + AT(F1_B), 0, (HM_LENET5_F2_W - HM_LENET5_F1_B) * sizeof *g);
    memset(g + AT(F2_B), 0, (HM_LENET5_F3_W - HM_LENET5_F2_B) * sizeof *g);
    memset(g + AT(F3_B), 0, (HM_LENET5_END - HM_LENET5_F3_B) * sizeof *g);
}

static void finish(const struct scratch *s, float *g)
{
    for (int m = 0; m < 6; m++)
        for (int r = 0; r < CHANNELS * 5; r++)
            memcpy(g + m * C1_STRIDE + r * 5, s->g1[m][r], 5 * sizeof *g);
    for (int row = 0; row < 80; row++) /* the gradient rows are wider than the kernel's */
        g[AT(C2_W) + row * 32 + 30] = g[AT(C2_W) + row * 32 + 31] = 0;
}

static double grad(void *scratch, const float *w, const struct hm_lenet5_batch *batch, float *g)
{
    struct scratch *s = scratch;
    double loss = 0;
    clear(s, g);
    spread_weights(s, w);
    for (unsigned first = 0; first < batch->n; first += IMAGES) {
        int n = (int)(batch->n - first < IMAGES ? batch->n - first : IMAGES);
        convolve(s, w, batch->image + first, n);
        dense_forward(s, w, n, batch, first);
        loss += dense_backward(s, w, g, n, batch, first);
        convolve_back(s, g, n);
    }
    finish(s, g);
    return loss;
}

static void logits(void *scratch, const float *w, const uint8_t *const *image, unsigned n,
                   float *out)
{
    struct scratch *s = scratch;
    spread_weights(s, w);
    for (unsigned first = 0; first < n; first += IMAGES) {
        unsigned some = n - first < IMAGES ? n - first : IMAGES;
        convolve(s, w, image + first, (int)some);
        dense_forward(s, w, (int)some, NULL, 0);
        memcpy(out + (size_t)first * HM_LENET5_LOGITS, s->logits,
               some * HM_LENET5_LOGITS * sizeof *out);
    }
}

extern const struct hm_lenet5_kernels HM_TABLE;
const struct hm_lenet5_kernels HM_TABLE = {
    .name = HM_TABLE_NAME,
    .channels = CHANNELS,
    .scratch_bytes = sizeof(struct scratch),
    .grad = grad,
    .logits = logits,
};
