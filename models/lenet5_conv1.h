/* The first convolution with its pooling, forward, and the gradient of its weights.
 *
 * Forward, lanes are 16 pooled columns (14 used). An image lies as two planes, of its even and of
 * its odd columns: the even one gives the left columns of all windows of 2 x 2, the odd one the
 * right ones, so that the maximum is taken between vectors. While the outputs are stored as (y, x,
 * channel), each channel gets a list of its live windows, those above zero: the gradient only
 * passes through the largest of their four. */
#ifndef HM_MODELS_LENET5_CONV1_H
#define HM_MODELS_LENET5_CONV1_H

#include "models/lenet5_scratch.h"
#include "models/simd.h"

#include <string.h>

/* Pixels 0 .. 255 to 0 .. 1, with a border of zeros where the image is 28 x 28. */
static void load_image(struct scratch *s, int at, const uint8_t *image)
{
    float *x = s->x + at * X_STRIDE;
    const int side = CHANNELS == 1 ? 28 : 32, border = (32 - side) / 2;
    for (int c = 0; c < CHANNELS; c++)
        for (int y = 0; y < side; y++) {
            float *row = x + (c * 32 + y + border) * 32 + border;
            for (int k = 0; k < side; k++)
                row[k] = (float)image[(c * side + y) * side + k] * (1 / 255.f);
        }
    for (int i = 0; i < X_FLOATS / 2; i++) {
        s->even[i] = x[2 * i];
        s->odd[i] = x[2 * i + 1];
    }
}

enum { C1_MAPS = MANY_REGISTERS ? 6 : 2 }; /* computed at once */

/* The four outputs under each window of pooled row py, for C1_MAPS maps from `map` on. */
INLINE void conv1_windows(const struct scratch *s, int py, int xv, int map, vec acc[C1_MAPS][4])
{
    UNROLL for (int m = 0; m < C1_MAPS; m++)
    {
        UNROLL for (int t = 0; t < 4; t++) acc[m][t] = (vec){0};
    }
    const float *w = s->w1 + map;
    for (int c = 0; c < CHANNELS; c++)
        for (int ky = 0; ky < 5; ky++) {
            const int row = c * 512 + (2 * py + ky) * 16 + xv;
            const float *e = s->even + row, *o = s->odd + row;
            UNROLL for (int kx = 0; kx < 5; kx++)
            {
                const float *left = (kx & 1 ? o : e) + kx / 2;
                const float *right = (kx & 1 ? e : o) + (kx + 1) / 2;
                vec a0 = load(left), a1 = load(right), a2 = load(left + 16), a3 = load(right + 16);
                UNROLL for (int m = 0; m < C1_MAPS; m++)
                {
                    float k = w[m];
                    acc[m][0] += a0 * k;
                    acc[m][1] += a1 * k;
                    acc[m][2] += a2 * k;
                    acc[m][3] += a3 * k;
                }
                w += 6;
            }
        }
}

/* The largest of four, and first + offset[k] where the k-th was it. */
INLINE vec largest(const vec v[4], ivec first, const int32_t offset[4], ivec *which)
{
    vec m = v[0];
    ivec at = first;
    UNROLL for (int k = 1; k < 4; k++)
    {
        ivec more = v[k] > m;
        m = select(more, v[k], m);
        at = iselect(more, first + offset[k], at);
    }
    *which = at;
    return m;
}

/* Row py of all six maps goes to h1, and its live windows to the lists. */
INLINE void store_row(struct scratch *s, int at, int py, float pooled[6][16], int32_t entry[6][16])
{
    float *out = s->h1 + at * H1_STRIDE + py * H1_ROW;
    UNROLL for (int m = 0; m < 6; m++)
    {
        uint32_t *list = s->live1[at][m];
        int n = s->n_live1[at][m];
        UNROLL for (int px = 0; px < 14; px++)
        {
            float v = pooled[m][px];
            out[px * 6 + m] = v;
            list[n] = (uint32_t)entry[m][px]; /* without a branch: the next one overwrites it */
            n += v > 0;
        }
        s->n_live1[at][m] = n;
    }
}

static void conv1_forward(struct scratch *s, int at, const float *bias)
{
    static const int32_t offset[4] = {0, 1, 32, 33};
    _Alignas(64) float pooled[6][16];
    _Alignas(64) int32_t entry[6][16];
    ivec ramp;
    for (int i = 0; i < VL; i++)
        ramp[i] = 2 * i + ((6 * i) << 16);
    memset(s->n_live1[at], 0, sizeof s->n_live1[at]);
    for (int py = 0; py < 14; py++) {
        for (int xv = 0; xv < 16; xv += VL)
            for (int map = 0; map < 6; map += C1_MAPS) {
                vec acc[C1_MAPS][4];
                conv1_windows(s, py, xv, map, acc);
                UNROLL for (int m = 0; m < C1_MAPS; m++)
                {
                    int32_t at_0 = 2 * xv + 64 * py + ((py * H1_ROW + 6 * xv + map + m) << 16);
                    ivec which;
                    vec v = largest(acc[m], ramp + at_0, offset, &which) + bias[map + m];
                    store(&pooled[map + m][xv], relu(v));
                    *(ivec_at *)&entry[map + m][xv] = which;
                }
            }
        store_row(s, at, py, pooled, entry);
    }
}

/* Rows of five weights as 8 lanes, or as 4 + 4 where vectors are short. */
#if VL >= 8
typedef float row_at __attribute__((vector_size(32), aligned(4), may_alias));
typedef float row_vec __attribute__((vector_size(32), may_alias));
enum { ROW_VECS = 1 };
#else
typedef vec4_at row_at;
typedef vec4 row_vec;
enum { ROW_VECS = 2 };
#endif

INLINE void add_window(row_vec acc[5][ROW_VECS], const float *x, float g)
{
    UNROLL for (int r = 0; r < 5; r++)
    {
        UNROLL for (int v = 0; v < ROW_VECS; v++) acc[r][v] +=
            *(const row_at *)(x + r * 32 + v * 4) * g;
    }
}

/* g of one map's weights on one channel: its live windows, two at a time. Returns the sum of their
 * gradients. */
INLINE float conv1_grad_rows(const uint32_t *list, int n, const float *x, const float *d_h1,
                             float g[5][8])
{
    row_vec acc[2][5][ROW_VECS];
    int i = 0;
    UNROLL for (int r = 0; r < 5; r++)
    {
        UNROLL for (int v = 0; v < ROW_VECS; v++)
        {
            acc[0][r][v] = *(row_at *)&g[r][v * 4];
            acc[1][r][v] = (row_vec){0};
        }
    }
    float sum_0 = 0, sum_1 = 0;
    for (; i + 2 <= n; i += 2) {
        float g_0 = d_h1[list[i] >> 16], g_1 = d_h1[list[i + 1] >> 16];
        sum_0 += g_0;
        sum_1 += g_1;
        add_window(acc[0], x + (list[i] & 0xffff), g_0);
        add_window(acc[1], x + (list[i + 1] & 0xffff), g_1);
    }
    if (i < n) {
        sum_0 += d_h1[list[i] >> 16];
        add_window(acc[0], x + (list[i] & 0xffff), d_h1[list[i] >> 16]);
    }
    UNROLL for (int r = 0; r < 5; r++)
    {
        UNROLL for (int v = 0; v < ROW_VECS; v++) * (row_at *)&g[r][v * 4] =
            acc[0][r][v] + acc[1][r][v];
    }
    return sum_0 + sum_1;
}

/* Adds image `at`'s part to s->g1 and to the bias' gradient. */
static void conv1_grad(struct scratch *s, int at, float *g_bias)
{
    const float *x = s->x + at * X_STRIDE, *d_h1 = s->d_h1;
    for (int m = 0; m < 6; m++) {
        const uint32_t *list = s->live1[at][m];
        int n = s->n_live1[at][m];
        float sum = 0;
        for (int c = 0; c < CHANNELS; c++)
            sum = conv1_grad_rows(list, n, x + c * 1024, d_h1, s->g1[m] + c * 5);
        g_bias[m] += sum;
    }
}

#endif
