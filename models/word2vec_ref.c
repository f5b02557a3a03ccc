/* Word2Vec's blocks as they are defined (word2vec_kernels.h): one pair after the other, in double.
 * What the tests hold the fast ones against. */
#include "models/word2vec_kernels.h"

#include <math.h>
#include <string.h>

enum { S = HM_W2V_INPUTS, N = HM_W2V_SHARED, U = HM_W2V_UPDATED, DIM = HM_W2V_DIM_MAX };

/* In the scratch a block needs no more than copies of its rows, and some of what is added. */
struct copies {
    const struct hm_w2v_block *b;
    float *row; /* as many as were asked for so far, dim each */
};

static float *copy(struct copies *c, const hm_cell *row)
{
    float *to = c->row;
    for (unsigned k = 0; k < c->b->dim; k++)
        to[k] = row ? hm_cell_get(row + k) : 0;
    c->row += c->b->dim;
    return to;
}

static double dot(const float *x, const float *y, unsigned n)
{
    double sum = 0;
    for (unsigned k = 0; k < n; k++)
        sum += (double)x[k] * (double)y[k];
    return sum;
}

/* u += g x */
static void add(double *u, double g, const float *x, unsigned n)
{
    for (unsigned k = 0; k < n; k++)
        u[k] += g * (double)x[k];
}

static void put(hm_cell *to, const double *u, double scale, unsigned n)
{
    for (unsigned k = 0; to && k < n; k++)
        hm_cell_add(to + k, (float)(scale * u[k]));
}

/* -log s(z) */
static double log_loss(double z)
{
    return z > 0 ? log1p(exp(-z)) : log1p(exp(z)) - z;
}

/* What a pair with this label and weight is added up with; its loss is added. */
static double grade(const struct hm_w2v_block *b, double z, int label, double weight)
{
    if (b->loss && weight > 0)
        *b->loss += weight * log_loss(label ? z : -z);
    return (double)b->factor * weight * (label - 1 / (1 + exp(-z)));
}

static double mask_of(const struct hm_w2v_block *b, unsigned i, unsigned m)
{
    return b->mask ? (double)b->mask[i * 2 * b->window + m] : 1;
}

/* The word at pair m of input i, as an index of the band. */
static unsigned place(const struct hm_w2v_block *b, unsigned i, unsigned m)
{
    return i + m + (m >= b->window);
}

/* ---- shared negatives ---- */

static double weight_of(const struct hm_w2v_block *b, unsigned i, unsigned n)
{
    double weight = (double)b->count[i] * b->negative / N;
    for (uint32_t f = 0; f < b->n_fixes; f++)
        if (b->fix[f].input == i && b->fix[f].negative == n)
            weight *= (double)b->fix[f].factor;
    return weight;
}

/* The logits' side of input i: into g of its positives [2 window, CBOW 1] and negatives. */
static void grade_input(const struct hm_w2v_block *b, unsigned i, const float *x, float *const *out,
                        float *const *noise, double *g_word, double *g_noise)
{
    const unsigned w = b->window;
    for (unsigned m = 0; m < (b->cbow ? 1 : 2 * w); m++) {
        const float *y = out[b->cbow ? w + i : place(b, i, m)];
        double on = b->cbow ? (double)b->count[i] : mask_of(b, i, m);
        g_word[m] = grade(b, dot(x, y, b->dim), 1, b->count[i] > 0 ? on : 0);
    }
    for (unsigned n = 0; n < N; n++)
        g_noise[n] = grade(b, dot(x, noise[n], b->dim), 0, weight_of(b, i, n));
}

struct sums {
    double in[HM_W2V_BAND_MAX][DIM], out[HM_W2V_BAND_MAX][DIM], noise[N][DIM];
};

static void add_input(const struct hm_w2v_block *b, unsigned i, const float *x, float *const *out,
                      float *const *noise, struct sums *sum)
{
    const unsigned w = b->window, dim = b->dim;
    double g_word[2 * HM_W2V_WINDOW_MAX], g_noise[N], d[DIM] = {0};
    grade_input(b, i, x, out, noise, g_word, g_noise);
    for (unsigned m = 0; m < (b->cbow ? 1 : 2 * w); m++) {
        unsigned j = b->cbow ? w + i : place(b, i, m);
        add(d, g_word[m], out[j], dim);
        add(sum->out[j], g_word[m], x, dim);
    }
    for (unsigned n = 0; n < N; n++) {
        add(d, g_noise[n], noise[n], dim);
        add(sum->noise[n], g_noise[n], x, dim);
    }
    for (unsigned k = 0; k < dim; k++)
        if (!b->cbow)
            sum->in[w + i][k] += d[k];
        else
            for (unsigned m = 0; m < 2 * w; m++)
                sum->in[place(b, i, m)][k] += mask_of(b, i, m) * d[k];
}

/* With CBOW an input is the mean of its window. */
static void input_of(const struct hm_w2v_block *b, unsigned i, float *const *in, float *x)
{
    double mean[DIM] = {0}, n = 0;
    if (!b->cbow) {
        memcpy(x, in[b->window + i], b->dim * sizeof *x);
        return;
    }
    for (unsigned m = 0; m < 2 * b->window; m++) {
        add(mean, mask_of(b, i, m), in[place(b, i, m)], b->dim);
        n += mask_of(b, i, m);
    }
    for (unsigned k = 0; k < b->dim; k++)
        x[k] = n > 0 ? (float)(mean[k] / n) : 0;
}

static void shared(const struct hm_w2v_block *b, struct copies *c)
{
    static _Thread_local struct sums sum;
    const unsigned band = S + 2 * b->window;
    float *in[HM_W2V_BAND_MAX], *out[HM_W2V_BAND_MAX], *noise[N], x[DIM];
    memset(&sum, 0, sizeof sum);
    for (unsigned j = 0; j < band; j++) {
        int inside = j >= b->window && j < b->window + S;
        in[j] = copy(c, b->cbow || inside ? b->in[j] : NULL);
        out[j] = copy(c, !b->cbow || inside ? b->out[j] : NULL);
    }
    for (unsigned n = 0; n < N; n++)
        noise[n] = copy(c, b->noise[n]);
    for (unsigned i = 0; i < S; i++) {
        input_of(b, i, in, x);
        add_input(b, i, x, out, noise, &sum);
    }
    for (unsigned j = 0; j < band; j++) {
        int inside = j >= b->window && j < b->window + S;
        put(b->cbow || inside ? b->to_in[j] : NULL, sum.in[j], 1, b->dim);
        put(!b->cbow || inside ? b->to_out[j] : NULL, sum.out[j], 1, b->dim);
    }
    for (unsigned n = 0; n < U; n++)
        put(b->to_noise[n], sum.noise[n], (double)N / U, b->dim);
}

/* ---- centred ---- */

/* Column 0 of word i is the word, the others are its negatives. */
static void centred_word(const struct hm_w2v_block *b, unsigned i, float *const *in,
                         struct copies c, double (*d)[DIM])
{
    const unsigned K = b->negative, w = b->window;
    double g[2 * HM_W2V_WINDOW_MAX][HM_W2V_NEGATIVE_MAX + 1], u[DIM];
    float *y[HM_W2V_NEGATIVE_MAX + 1];
    for (unsigned n = 0; n <= K; n++) {
        const hm_cell *row = n ? b->noise[i * K + n - 1] : b->out[w + i];
        y[n] = copy(&c, row);
        for (unsigned m = 0; m < 2 * w; m++) {
            const float *x = in[place(b, i, m)];
            g[m][n] = grade(b, dot(x, y[n], b->dim), !n, row ? mask_of(b, i, m) : 0);
            add(d[place(b, i, m)], g[m][n], y[n], b->dim);
        }
    }
    for (unsigned n = 0; n <= K; n++) {
        memset(u, 0, sizeof u);
        for (unsigned m = 0; m < 2 * w; m++)
            add(u, g[m][n], in[place(b, i, m)], b->dim);
        put(n ? b->to_noise[i * K + n - 1] : b->to_out[w + i], u, 1, b->dim);
    }
}

static void centred(const struct hm_w2v_block *b, struct copies *c)
{
    static _Thread_local double d[HM_W2V_BAND_MAX][DIM];
    const unsigned band = S + 2 * b->window;
    float *in[HM_W2V_BAND_MAX];
    memset(d, 0, sizeof d);
    for (unsigned j = 0; j < band; j++)
        in[j] = copy(c, b->in[j]);
    for (unsigned i = 0; i < S; i++)
        if (b->count[i] > 0)
            centred_word(b, i, in, *c, d);
    for (unsigned j = 0; j < band; j++)
        put(b->to_in[j], d[j], 1, b->dim);
}

static void block(const struct hm_w2v_block *b, void *scratch)
{
    struct copies c = {b, scratch};
    if (b->centred)
        centred(b, &c);
    else
        shared(b, &c);
}

extern const struct hm_w2v_kernels hm_w2v_ref;
const struct hm_w2v_kernels hm_w2v_ref = {.name = "ref", .block = block};
