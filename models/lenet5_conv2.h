/* The second convolution with its pooling, forward and backward.
 *
 * Forward, lanes are the 16 output channels; with activations as (y, x, channel) a row of the
 * kernel is 30 contiguous floats, broadcast one by one. Backward, only the largest element of a
 * live window carries a gradient, at most a quarter of them: each pooled cell makes lists of its
 * live channels, without branches, and what is done for a list's entry is shifted by where the
 * largest was, by pointer alone. */
#ifndef HM_MODELS_LENET5_CONV2_H
#define HM_MODELS_LENET5_CONV2_H

#include "models/lenet5_conv1.h"
#include "models/lenet5_scratch.h"
#include "models/simd.h"

enum {
    C2_VECS = 16 / VL,          /* of the output channels */
    C2_ROWS = VL == 16 ? 2 : 1, /* outputs computed at once ... */
    C2_COLS = VL == 16                    ? 10
              : VL == 8 || MANY_REGISTERS ? 5
                                          : 2, /* ... down and across */
};

/* C2_ROWS x C2_COLS outputs from row `y`, column `x` on, before bias. */
INLINE void conv2_outputs(const struct scratch *s, const float *h1, int y, int x,
                          float out[2][10][16])
{
    vec acc[C2_ROWS][C2_COLS][C2_VECS];
    UNROLL for (int r = 0; r < C2_ROWS; r++)
    {
        UNROLL for (int c = 0; c < C2_COLS; c++)
        {
            UNROLL for (int v = 0; v < C2_VECS; v++) acc[r][c][v] = (vec){0};
        }
    }
    const float *w = s->w2;
    for (int ky = 0; ky < 5; ky++) {
        const float *in = h1 + (y + ky) * H1_ROW + x * 6;
        for (int j = 0; j < 30; j++, in++, w += 16) {
            vec k[C2_VECS];
            UNROLL for (int v = 0; v < C2_VECS; v++) k[v] = load(w + v * VL);
            UNROLL for (int r = 0; r < C2_ROWS; r++)
            {
                UNROLL for (int c = 0; c < C2_COLS; c++)
                {
                    float a = in[r * H1_ROW + c * 6];
                    UNROLL for (int v = 0; v < C2_VECS; v++) acc[r][c][v] += k[v] * a;
                }
            }
        }
    }
    UNROLL for (int r = 0; r < C2_ROWS; r++)
    {
        UNROLL for (int c = 0; c < C2_COLS; c++)
        {
            UNROLL for (int v = 0; v < C2_VECS; v++)
                store(&out[(y & 1) + r][x + c][v * VL], acc[r][c][v]);
        }
    }
}

static void conv2_forward(struct scratch *s, int at, const float *bias)
{
    static const int32_t number[4] = {0, 1, 2, 3};
    const float *h1 = s->h1 + at * H1_STRIDE;
    _Alignas(64) float out[2][10][16];
    for (int py = 0; py < 5; py++) {
        for (int r = 0; r < 2; r += C2_ROWS)
            for (int x = 0; x < 10; x += C2_COLS)
                conv2_outputs(s, h1, 2 * py + r, x, out);
        for (int px = 0; px < 5; px++)
            for (int v = 0; v < 16; v += VL) {
                int cell = (at * CELLS + py * 5 + px) * 16 + v;
                vec four[4] = {load(&out[0][2 * px][v]), load(&out[0][2 * px + 1][v]),
                               load(&out[1][2 * px][v]), load(&out[1][2 * px + 1][v])};
                ivec which;
                vec m = largest(four, (ivec){0}, number, &which) + load(bias + v);
                store(s->h2 + cell, relu(m));
                *(ivec_at *)(s->which2 + cell) = which;
            }
    }
}

/* The live channels of a pooled cell: for d_h1, where the weights begin so that they meet the tile
 * of 6 x 6 pixels under the window; for the weights' gradient, which pixels of h1 met them. Returns
 * how many. */
INLINE int list_live(struct scratch *s, int at, int slot, int cell, struct entry tile[17])
{
    const int first = (at * CELLS + cell) * 16, py = cell / 5, px = cell % 5;
    const uint32_t corner = (uint32_t)(slot * H1_STRIDE + 2 * py * H1_ROW + 2 * px * 6);
    int n_tile = 0;
    UNROLL for (int m = 0; m < 16; m++)
    {
        float g = s->d_h2[first + m];
        int live = s->h2[first + m] > 0;
        uint32_t which = (uint32_t)s->which2[first + m], dy = which >> 1, dx = which & 1;
        tile[n_tile].at = (uint32_t)(m * W2_MAP + W2_ROW + 6) - dy * W2_ROW - dx * 6;
        tile[n_tile].g = g;
        n_tile += live;
        int n = s->n_live2[m];
        s->live2[m][n].at = corner + dy * H1_ROW + dx * 6;
        s->live2[m][n].g = g;
        s->n_live2[m] = n + live;
    }
    return n_tile;
}

enum {
    TILE_ROWS = VL == 16         ? 6
                : MANY_REGISTERS ? 2
                : VL == 8        ? 2
                                 : 1, /* of 36 floats, at once */
    TILE_VECS = VL == 16  ? 2
                : VL == 8 ? 4
                          : 9,
    TILE_REST = TILE_VECS * VL < 36, /* four lanes more */
};

/* TILE_ROWS rows of a tile gain what the list says. */
INLINE void add_to_tile(float *tile, const float *w, const struct entry *list, int n)
{
    vec acc[TILE_ROWS][TILE_VECS];
    vec4 rest[TILE_ROWS];
    UNROLL for (int r = 0; r < TILE_ROWS; r++)
    {
        UNROLL for (int v = 0; v < TILE_VECS; v++) acc[r][v] = load(tile + r * H1_ROW + v * VL);
        if (TILE_REST)
            rest[r] = *(vec4_at *)(tile + r * H1_ROW + 32);
    }
    for (int i = 0; i < n; i++) {
        const float *k = w + list[i].at;
        float g = list[i].g;
        UNROLL for (int r = 0; r < TILE_ROWS; r++)
        {
            UNROLL for (int v = 0; v < TILE_VECS; v++) acc[r][v] +=
                load(k + r * W2_ROW + v * VL) * g;
            if (TILE_REST)
                rest[r] += *(const vec4_at *)(k + r * W2_ROW + 32) * g;
        }
    }
    UNROLL for (int r = 0; r < TILE_ROWS; r++)
    {
        UNROLL for (int v = 0; v < TILE_VECS; v++) store(tile + r * H1_ROW + v * VL, acc[r][v]);
        if (TILE_REST)
            *(vec4_at *)(tile + r * H1_ROW + 32) = rest[r];
    }
}

/* d_h1 of image `at`, and its live windows onto the lists, as number `slot` of up to LIST_IMAGES.
 */
static void conv2_backward(struct scratch *s, int at, int slot)
{
    struct entry tile[17];
    memset(s->d_h1, 0, H1_STRIDE * sizeof *s->d_h1);
    for (int cell = 0; cell < CELLS; cell++) {
        int n = list_live(s, at, slot, cell, tile);
        float *corner = s->d_h1 + 2 * (cell / 5) * H1_ROW + 2 * (cell % 5) * 6;
        for (int r = 0; r < 6; r += TILE_ROWS)
            add_to_tile(corner + r * H1_ROW, s->w2_wide + r * W2_ROW, tile, n);
    }
}

enum {
    GRAD_ROWS = VL == 16         ? 5
                : VL == 8        ? 3
                : MANY_REGISTERS ? 2
                                 : 1, /* of 32 floats, at once */
    GRAD_VECS = 32 / VL,
};

/* ROWS rows of one map's gradient gain g times what met them. */
INLINE void conv2_grad_rows(const int ROWS, const struct entry *list, int n, const float *h1,
                            float *g)
{
    vec acc[5][GRAD_VECS];
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        UNROLL for (int v = 0; v < GRAD_VECS; v++) acc[r][v] = load(g + r * 32 + v * VL);
    }
    for (int i = 0; i < n; i++) {
        const float *in = h1 + list[i].at;
        UNROLL for (int r = 0; r < ROWS; r++)
        {
            UNROLL for (int v = 0; v < GRAD_VECS; v++) acc[r][v] +=
                load(in + r * H1_ROW + v * VL) * list[i].g;
        }
    }
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        UNROLL for (int v = 0; v < GRAD_VECS; v++) store(g + r * 32 + v * VL, acc[r][v]);
    }
}

/* Adds what the lists say, of images from `first` on, and empties them. */
static void conv2_grad(struct scratch *s, int first, float *g_w, float *g_bias)
{
    const float *h1 = s->h1 + first * H1_STRIDE;
    for (int m = 0; m < 16; m++) {
        const struct entry *list = s->live2[m];
        int n = s->n_live2[m], r = 0;
        float sum = 0, *g = g_w + m * 160;
        for (int i = 0; i < n; i++)
            sum += list[i].g;
        g_bias[m] += sum;
        for (; r + GRAD_ROWS <= 5; r += GRAD_ROWS)
            conv2_grad_rows(GRAD_ROWS, list, n, h1 + r * H1_ROW, g + r * 32);
        if (r < 5)
            conv2_grad_rows(5 % GRAD_ROWS ? 5 % GRAD_ROWS : 1, list, n, h1 + r * H1_ROW,
                            g + r * 32);
        s->n_live2[m] = 0;
    }
}

#endif
