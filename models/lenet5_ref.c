/* LeNet5 in plain loops over the usual order of its parameters, in double: what the fast kernels
 * are held against. */
#include "models/lenet5_net.h"
#include "sparse/rng.h"

#include <math.h>
#include <string.h>

enum { N_MAX = 62006, CHANNELS_MAX = 3, MAPS1 = 6, MAPS2 = 16, IN1 = 400, OUT1 = 120, OUT2 = 84 };

/* Where each tensor begins in the usual order. */
struct order {
    int c1w, c1b, c2w, c2b, f1w, f1b, f2w, f2b, f3w, f3b;
};

struct scratch {
    int filled;
    int n, channels;
    struct order at;
    uint32_t place[N_MAX]; /* in the layout */
    double w[N_MAX], g[N_MAX];
    double x[CHANNELS_MAX][32][32];
    double h1[MAPS1][14][14], h2[MAPS2][5][5];
    int at1[MAPS1][14][14], at2[MAPS2][5][5]; /* which of 2 x 2 was the largest */
    double a1[OUT1], a2[OUT2], z[HM_LENET5_CLASSES];
    double keep1[OUT1], keep2[OUT2]; /* dropout: 0, or what outputs are scaled by */
};

static void fill(struct scratch *s, unsigned channels)
{
    int *start = &s->at.c1w;
    s->channels = (int)channels;
    for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
        struct hm_lenet5_tensor tensor = hm_lenet5_tensor(channels, t);
        start[t] = s->n;
        for (uint32_t i = 0; i < tensor.n; i++)
            s->place[s->n++] = (uint32_t)hm_lenet5_place(channels, t, i);
    }
    s->filled = 1;
}

/* ---- forward ---- */

static void load_image(struct scratch *s, const uint8_t *image)
{
    int side = s->channels == 1 ? 28 : 32, border = (32 - side) / 2;
    memset(s->x, 0, sizeof s->x);
    for (int c = 0; c < s->channels; c++)
        for (int y = 0; y < side; y++)
            for (int k = 0; k < side; k++)
                s->x[c][y + border][k + border] = image[(c * side + y) * side + k] / 255.;
}

static double conv1_at(const struct scratch *s, int map, int y, int x)
{
    double sum = s->w[s->at.c1b + map];
    for (int c = 0; c < s->channels; c++)
        for (int i = 0; i < 25; i++)
            sum +=
                s->w[s->at.c1w + (map * s->channels + c) * 25 + i] * s->x[c][y + i / 5][x + i % 5];
    return sum;
}

static double conv2_at(const struct scratch *s, int map, int y, int x)
{
    double sum = s->w[s->at.c2b + map];
    for (int c = 0; c < MAPS1; c++)
        for (int i = 0; i < 25; i++)
            sum += s->w[s->at.c2w + (map * MAPS1 + c) * 25 + i] * s->h1[c][y + i / 5][x + i % 5];
    return sum;
}

/* The largest of the 2 x 2 outputs under a window, the first of equal ones; ReLU. */
static double pool(const struct scratch *s, double (*output)(const struct scratch *, int, int, int),
                   int map, int y, int x, int *which)
{
    double most = -INFINITY;
    for (int k = 0; k < 4; k++) {
        double v = output(s, map, 2 * y + k / 2, 2 * x + k % 2);
        if (v > most) {
            most = v;
            *which = k;
        }
    }
    return most > 0 ? most : 0;
}

static void dense(const double *w, const double *bias, int n_out, int n_in, const double *in,
                  const double *keep, double *out)
{
    for (int o = 0; o < n_out; o++) {
        double sum = bias[o];
        for (int i = 0; i < n_in; i++)
            sum += w[o * n_in + i] * in[i];
        out[o] = keep ? (sum > 0 ? sum : 0) * keep[o] : sum;
    }
}

static void draw_dropout(double *keep, int n, const struct hm_lenet5_batch *batch, uint64_t image,
                         uint64_t layer)
{
    uint32_t least = batch ? (uint32_t)(batch->dropout * 0x1p32) : 0;
    double scale = batch ? 1 / (1 - (double)batch->dropout) : 1;
    for (int k = 0; k < n; k++) {
        uint64_t seed = batch ? batch->mask_seed : 0;
        uint64_t bits = hm_mix(seed + image * 256 + layer * 128 + (uint64_t)(k / 2 * 2));
        keep[k] = (uint32_t)(k % 2 ? bits >> 32 : bits) < least ? 0 : scale;
    }
}

static void forward(struct scratch *s, const uint8_t *image, const struct hm_lenet5_batch *batch,
                    unsigned number)
{
    const double *w = s->w;
    load_image(s, image);
    for (int m = 0; m < MAPS1; m++)
        for (int i = 0; i < 196; i++)
            s->h1[m][i / 14][i % 14] =
                pool(s, conv1_at, m, i / 14, i % 14, &s->at1[m][i / 14][i % 14]);
    for (int m = 0; m < MAPS2; m++)
        for (int i = 0; i < 25; i++)
            s->h2[m][i / 5][i % 5] = pool(s, conv2_at, m, i / 5, i % 5, &s->at2[m][i / 5][i % 5]);
    draw_dropout(s->keep1, OUT1, batch, number, 0);
    draw_dropout(s->keep2, OUT2, batch, number, 1);
    dense(w + s->at.f1w, w + s->at.f1b, OUT1, IN1, &s->h2[0][0][0], s->keep1, s->a1);
    dense(w + s->at.f2w, w + s->at.f2b, OUT2, OUT1, s->a1, s->keep2, s->a2);
    dense(w + s->at.f3w, w + s->at.f3b, HM_LENET5_CLASSES, OUT2, s->a2, NULL, s->z);
}

/* ---- backward ---- */

/* d_out goes through a layer without ReLU; d_in may be NULL. */
static void dense_back(const double *w, double *g, double *g_bias, int n_out, int n_in,
                       const double *in, const double *d_out, double *d_in)
{
    for (int o = 0; o < n_out; o++) {
        g_bias[o] += d_out[o];
        for (int i = 0; i < n_in; i++) {
            g[o * n_in + i] += d_out[o] * in[i];
            d_in[i] += d_out[o] * w[o * n_in + i];
        }
    }
}

/* d passes where the output was above zero, scaled as it was. */
static void relu_back(const double *a, const double *keep, double *d, int n)
{
    for (int i = 0; i < n; i++)
        d[i] = a[i] > 0 ? d[i] * keep[i] : 0;
}

static void conv2_back(struct scratch *s, const double *d_h2, double d_h1[MAPS1][14][14])
{
    for (int m = 0; m < MAPS2; m++)
        for (int i = 0; i < 25; i++) {
            double d = d_h2[m * 25 + i];
            int which = s->at2[m][i / 5][i % 5];
            int y = 2 * (i / 5) + which / 2, x = 2 * (i % 5) + which % 2;
            if (!(s->h2[m][i / 5][i % 5] > 0))
                continue;
            s->g[s->at.c2b + m] += d;
            for (int k = 0; k < MAPS1 * 25; k++) {
                int c = k / 25, ky = y + k % 25 / 5, kx = x + k % 5;
                s->g[s->at.c2w + m * MAPS1 * 25 + k] += d * s->h1[c][ky][kx];
                d_h1[c][ky][kx] += d * s->w[s->at.c2w + m * MAPS1 * 25 + k];
            }
        }
}

static void conv1_back(struct scratch *s, double d_h1[MAPS1][14][14])
{
    for (int m = 0; m < MAPS1; m++)
        for (int i = 0; i < 196; i++) {
            double d = d_h1[m][i / 14][i % 14];
            int which = s->at1[m][i / 14][i % 14];
            int y = 2 * (i / 14) + which / 2, x = 2 * (i % 14) + which % 2;
            if (!(s->h1[m][i / 14][i % 14] > 0))
                continue;
            s->g[s->at.c1b + m] += d;
            for (int k = 0; k < s->channels * 25; k++)
                s->g[s->at.c1w + m * s->channels * 25 + k] +=
                    d * s->x[k / 25][y + k % 25 / 5][x + k % 5];
        }
}

static double softmax(const double *z, unsigned label, double *p)
{
    double most = z[0], sum = 0;
    for (int i = 1; i < HM_LENET5_CLASSES; i++)
        most = fmax(most, z[i]);
    for (int i = 0; i < HM_LENET5_CLASSES; i++)
        sum += p[i] = exp(z[i] - most);
    for (int i = 0; i < HM_LENET5_CLASSES; i++)
        p[i] /= sum;
    return log(sum) - (z[label] - most);
}

static double backward(struct scratch *s, unsigned label, double per_image)
{
    double d_z[HM_LENET5_CLASSES], d2[OUT2] = {0}, d1[OUT1] = {0}, d_h2[IN1] = {0};
    double d_h1[MAPS1][14][14] = {{{0}}};
    const double *w = s->w;
    double *g = s->g, loss = softmax(s->z, label, d_z);
    for (int i = 0; i < HM_LENET5_CLASSES; i++)
        d_z[i] = (d_z[i] - (i == (int)label)) * per_image;
    dense_back(w + s->at.f3w, g + s->at.f3w, g + s->at.f3b, HM_LENET5_CLASSES, OUT2, s->a2, d_z,
               d2);
    relu_back(s->a2, s->keep2, d2, OUT2);
    dense_back(w + s->at.f2w, g + s->at.f2w, g + s->at.f2b, OUT2, OUT1, s->a1, d2, d1);
    relu_back(s->a1, s->keep1, d1, OUT1);
    dense_back(w + s->at.f1w, g + s->at.f1w, g + s->at.f1b, OUT1, IN1, &s->h2[0][0][0], d1, d_h2);
    conv2_back(s, d_h2, d_h1);
    conv1_back(s, d_h1);
    return loss;
}

/* ---- the table ---- */

static struct scratch *take_weights(void *scratch, const float *w, unsigned channels)
{
    struct scratch *s = scratch;
    if (!s->filled)
        fill(s, channels);
    for (int i = 0; i < s->n; i++)
        s->w[i] = (double)w[s->place[i]];
    return s;
}

static double grad(void *scratch, unsigned channels, const float *w,
                   const struct hm_lenet5_batch *batch, float *g)
{
    struct scratch *s = take_weights(scratch, w, channels);
    double loss = 0;
    memset(s->g, 0, sizeof s->g);
    for (unsigned i = 0; i < batch->n; i++) {
        forward(s, batch->image[i], batch, i);
        loss += backward(s, batch->label[i], 1. / batch->n);
    }
    size_t floats = HM_LENET5_END + (channels == 1 ? HM_LENET5_C1_FLOATS_1 : HM_LENET5_C1_FLOATS_3);
    memset(g, 0, floats * sizeof *g);
    for (int i = 0; i < s->n; i++)
        g[s->place[i]] = (float)s->g[i];
    return loss;
}

static void logits(void *scratch, unsigned channels, const float *w, const uint8_t *const *image,
                   unsigned n, float *out)
{
    struct scratch *s = take_weights(scratch, w, channels);
    for (unsigned i = 0; i < n; i++) {
        forward(s, image[i], NULL, 0);
        for (int k = 0; k < HM_LENET5_CLASSES; k++)
            out[(size_t)i * HM_LENET5_LOGITS + (size_t)k] = (float)s->z[k];
    }
}

static double grad_1(void *scratch, const float *w, const struct hm_lenet5_batch *batch, float *g)
{
    return grad(scratch, 1, w, batch, g);
}

static double grad_3(void *scratch, const float *w, const struct hm_lenet5_batch *batch, float *g)
{
    return grad(scratch, 3, w, batch, g);
}

static void logits_1(void *scratch, const float *w, const uint8_t *const *image, unsigned n,
                     float *out)
{
    logits(scratch, 1, w, image, n, out);
}

static void logits_3(void *scratch, const float *w, const uint8_t *const *image, unsigned n,
                     float *out)
{
    logits(scratch, 3, w, image, n, out);
}

extern const struct hm_lenet5_kernels hm_lenet5_ref_1, hm_lenet5_ref_3;
const struct hm_lenet5_kernels hm_lenet5_ref_1 = {"ref", 1, sizeof(struct scratch), grad_1,
                                                  logits_1};
const struct hm_lenet5_kernels hm_lenet5_ref_3 = {"ref", 3, sizeof(struct scratch), grad_3,
                                                  logits_3};
