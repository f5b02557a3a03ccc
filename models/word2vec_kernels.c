/* Word2Vec's blocks, compiled once for each instruction set, at its own width of vectors (those
 * that are wider than registers are many times slower): HM_VL, HM_TABLE, HM_TABLE_NAME come from
 * the build.
 *
 * Everything that a block reads is copied first, into rows of one `pitch` that fit the caches. Then
 * products of matrices of few rows and long columns follow. Dot products run over columns: a tile
 * of 2 x TILE pairs has its sums in registers, and lanes are added up for all of them together
 * (sum_all). Sums of rows keep some columns of two sums in registers, a panel, and run over the
 * rows. The width of a panel is a constant of the code, so there is a copy of it for each width. */
#include "models/word2vec_kernels.h"
#include "models/simd.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    S = HM_W2V_INPUTS,
    N = HM_W2V_SHARED,
    U = HM_W2V_UPDATED,
    TILE = VL == 16 ? 8 : 4,            /* columns of a tile of two rows */
    PANEL_MAX = MANY_REGISTERS ? 8 : 5, /* vectors of two rows in registers */
    DOT_MAX = MANY_REGISTERS ? 8 : 7,   /* of one row */
    LINE = 16,                          /* floats of a cache line */
};

_Static_assert(N % TILE == 0 && U % 2 == 0 && S % 2 == 0, "whole tiles");

/* One load is to serve two products: compilers would rather fold it into both. */
#if VL == 16
#define KEEP(v) __asm__("" : "+v"(v))
#elif defined(__x86_64__)
#define KEEP(v) __asm__("" : "+x"(v))
#elif defined(__aarch64__)
#define KEEP(v) __asm__("" : "+w"(v))
#else
#define KEEP(v) (void)(v)
#endif

/* f(P, k, ...) for panels of P <= most vectors, from vector k on, as equal as can be. P and most
 * are constants where f is compiled. */
#define CASE(P, most, f, k, ...)                                                                   \
    case P:                                                                                        \
        if (P <= (most))                                                                           \
            f(P, (k)*VL, __VA_ARGS__);                                                             \
        break;
#define PANELS(nv, most, f, ...)                                                                   \
    for (long k_ = 0, p_; k_ < (nv); k_ += p_) {                                                   \
        p_ = width_of((nv)-k_, most);                                                              \
        switch (p_) {                                                                              \
            CASE(1, most, f, k_, __VA_ARGS__)                                                      \
            CASE(2, most, f, k_, __VA_ARGS__)                                                      \
            CASE(3, most, f, k_, __VA_ARGS__)                                                      \
            CASE(4, most, f, k_, __VA_ARGS__)                                                      \
            CASE(5, most, f, k_, __VA_ARGS__)                                                      \
            CASE(6, most, f, k_, __VA_ARGS__)                                                      \
            CASE(7, most, f, k_, __VA_ARGS__)                                                      \
            CASE(8, most, f, k_, __VA_ARGS__)                                                      \
        }                                                                                          \
    }

INLINE long width_of(long nv, long most)
{
    long panels = (nv + most - 1) / most;
    return (nv + panels - 1) / panels;
}

/* Where things are in the scratch. */
struct room {
    const struct hm_w2v_block *b;
    long nv;      /* vectors of a row */
    size_t pitch; /* floats from row to row: an odd number of cache lines, so that rows do not fall
                     into the same sets */
    unsigned pairs; /* of an input */
    unsigned cols;  /* of g_y: the negatives of an input; centred: and its word */
    float *x;       /* inputs: rows, or means; centred: rows of the band */
    float *y;       /* [S or band] output rows of words */
    float *noise;   /* those of negatives; centred: behind that of each word, y, those of its own */
    float *c;       /* CBOW: [band] input rows */
    float *d;       /* CBOW: [S] what goes to each mean; centred: [band] to input rows */
    float *
        g_noise; /* [S][cols], centred: [pairs][cols]: logits, and then what they are turned into */
    float *g_word; /* [S][pairs] the same of positives */
    float *sums;   /* [S * pairs][VL] dot products as yet spread over lanes */
    float *part;   /* CBOW: [S][2 window] the mask */
};

/* Floats, in whole lines. */
static float *take(float **at, size_t rows, size_t each)
{
    float *from = *at;
    *at += (rows * each + LINE - 1) / LINE * LINE;
    return from;
}

static struct room room_of(const struct hm_w2v_block *b, float *at)
{
    struct room r = {.b = b,
                     .nv = (b->dim + VL - 1) / VL,
                     .pitch = b->padded / LINE % 2 ? b->padded : b->padded + LINE,
                     .pairs = b->cbow ? 1 : 2 * b->window,
                     .cols = b->centred ? (b->negative + VL) / VL * VL : N};
    const size_t band = S + 2 * b->window;
    r.g_noise = take(&at, b->centred ? r.pairs : S, r.cols);
    r.g_word = take(&at, S, r.pairs);
    r.sums = take(&at, S * r.pairs, VL);
    r.x = take(&at, b->centred ? band : S, r.pitch);
    r.y = take(&at, b->centred || b->cbow ? S : band, r.pitch);
    r.noise = take(&at, b->centred ? r.cols : N, r.pitch);
    r.c = b->cbow ? take(&at, band, r.pitch) : NULL;
    r.part = b->cbow ? take(&at, S, 2 * b->window) : NULL;
    r.d = b->centred || b->cbow ? take(&at, band, r.pitch) : NULL;
    return r;
}

/* ---- reading ---- */

INLINE void read_row(const hm_cell *w, float *to, long nv)
{
    for (long k = 0; w && k < nv; k++)
        store(to + k * VL, load_cells(w + k * VL));
    for (long k = 0; !w && k < nv; k++)
        store(to + k * VL, (vec){0});
}

static void read_rows(const struct room *r, const hm_cell *const *row, unsigned n, float *to)
{
    for (unsigned i = 0; i < n; i++)
        read_row(row[i], to + i * r->pitch, r->nv);
    /* From here on what was read is used: reading again would see other threads' adds. */
    __asm__ volatile("" : : "r"(to) : "memory");
}

INLINE void fetch(const hm_cell *row, long nv)
{
    for (long k = 0; row && k < nv * VL; k += LINE)
        __builtin_prefetch((const void *)(row + k), 1, 3);
}

/* ---- dot products ---- */

/* Rows x0 and x1 against C rows from y on, C <= TILE: TILE numbers each, those beyond C zero. */
INLINE void dot_tile(const int C, const struct room *r, const float *x0, const float *x1,
                     const float *y, float *out0, float *out1)
{
    vec sum[2 * TILE];
    UNROLL for (int n = 0; n < 2 * TILE; n++) sum[n] = (vec){0};
    for (long k = 0; k < r->nv * VL; k += VL) {
        const vec a = load(x0 + k), b = load(x1 + k);
        UNROLL for (int n = 0; n < C; n++)
        {
            vec v = load(y + n * r->pitch + k);
            KEEP(v);
            sum[n] += a * v;
            sum[TILE + n] += b * v;
        }
    }
    float out[2 * TILE];
    UNROLL for (int p = 0; p < 2 * TILE; p += VL) store(out + p, sum_all(sum + p));
    memcpy(out0, out, sizeof out / 2);
    memcpy(out1, out + TILE, sizeof out / 2);
}

/* Logits of the inputs and the shared negatives; the next block's input rows are fetched. */
static void dot_noise(const struct room *r)
{
    const struct hm_w2v_block *next = r->b->next;
    const hm_cell *const *in = next ? next->in + next->window * (r->b->cbow ? 2 : 1) : NULL;
    for (unsigned i = 0; i < S; i += 2) {
        if (next)
            fetch(in[i], r->nv);
        if (next)
            fetch(in[i + 1], r->nv);
        const float *x = r->x + i * r->pitch;
        float *g = r->g_noise + i * N;
        for (unsigned n = 0; n < N; n += TILE)
            dot_tile(TILE, r, x, x + r->pitch, r->noise + n * r->pitch, g + n, g + N + n);
    }
}

/* P vectors of x against those of n rows, from m = gap on one further down: sums over lanes are not
 * made yet. */
INLINE void dot_panel(const int P, long k, const float *x, const float *y, size_t pitch, unsigned n,
                      unsigned gap, float *sum)
{
    vec a[DOT_MAX];
    UNROLL for (int c = 0; c < P; c++) a[c] = load(x + k + c * VL);
    for (unsigned m = 0; m < n; m++) {
        const float *row = y + (m + (m >= gap)) * pitch + k;
        vec s = a[0] * load(row);
        UNROLL for (int c = 1; c < P; c++) s += a[c] * load(row + c * VL);
        if (k)
            s += load(sum + m * VL);
        store(sum + m * VL, s);
    }
}

/* Logits of the inputs and their positives: words of the window or, with CBOW, the word of the same
 * place. What the next block has of output rows beyond this one's is fetched. */
static void dot_words(const struct room *r)
{
    const struct hm_w2v_block *next = r->b->next;
    const unsigned gap = r->b->cbow ? 1 : r->b->window, n = S * r->pairs;
    for (unsigned i = 0; i < S; i++) {
        if (next)
            fetch(next->out[next->window + i + (r->b->cbow ? 0 : next->window)], r->nv);
        float *sum = r->sums + (size_t)i * r->pairs * VL;
        PANELS(r->nv, DOT_MAX, dot_panel, r->x + i * r->pitch, r->y + i * r->pitch, r->pitch,
               r->pairs, gap, sum)
    }
    for (unsigned p = 0; p < n; p += VL) {
        vec sum[VL];
        UNROLL for (int q = 0; q < VL; q++) sum[q] = load(r->sums + (p + q) * VL);
        store(r->g_word + p, sum_all(sum));
    }
}

/* ---- the sigmoid ---- */

/* 1 / (1 + e^-x), to a relative 1e-5 up to |x| = 16, and not beyond what it is there: 2^y by a
 * polynomial. */
INLINE vec sigmoid(vec x)
{
    const vec zero = {0}, shift = zero + 12582912.f; /* 1.5 * 2^23: adding it rounds */
    vec y = x * -1.44269504f;
    y = select(y < -24, zero - 24, y);
    y = select(y > 24, zero + 24, y);
    vec whole = y + shift, f = y - (whole - shift);
    vec p = (f * 1.3333558e-3f + 9.6181291e-3f) * f + 5.5504109e-2f;
    p = ((p * f + 2.4022651e-1f) * f + 6.9314718e-1f) * f + 1;
    return 1 / (1 + (vec)((ivec)p + ((ivec)whole << 23)));
}

static void grade(float *g, unsigned n, float most, float scale)
{
    for (unsigned p = 0; p < n; p += VL)
        store(g + p, (most - sigmoid(load(g + p))) * scale);
}

/* -log s(x) */
static double log_loss(float x)
{
    return x > 0 ? log1p(exp((double)-x)) : log1p(exp((double)x)) - (double)x;
}

/* Of the logits of a block with shared negatives. */
static double loss_of(const struct room *r)
{
    const struct hm_w2v_block *b = r->b;
    double sum = 0;
    for (unsigned p = 0; p < S * r->pairs; p++)
        if (b->count[p / r->pairs] > 0 && (b->cbow || !b->mask || b->mask[p] > 0))
            sum += log_loss(r->g_word[p]);
    for (unsigned i = 0; i < S; i++)
        for (unsigned n = 0; n < N; n++) {
            double weight = (double)b->count[i] * b->negative / N;
            for (uint32_t k = 0; k < b->n_fixes; k++)
                if (b->fix[k].input == i && b->fix[k].negative == n)
                    weight *= (double)b->fix[k].factor;
            sum += weight > 0 ? weight * log_loss(-r->g_noise[i * N + n]) : 0;
        }
    return sum;
}

/* Logits become what rows are added up with. */
static void grade_shared(const struct room *r)
{
    const struct hm_w2v_block *b = r->b;
    const float share = b->factor * (float)b->negative / N;
    if (b->loss)
        *b->loss += loss_of(r);
    for (unsigned i = 0; i < S; i++)
        grade(r->g_noise + i * N, N, 0, share * b->count[i]);
    for (uint32_t k = 0; k < b->n_fixes; k++)
        r->g_noise[b->fix[k].input * N + b->fix[k].negative] *= b->fix[k].factor;
    grade(r->g_word, S * r->pairs, 1, b->factor);
    const float *mask = b->cbow ? b->count : b->mask;
    for (unsigned p = 0; mask && p < S * r->pairs; p++)
        r->g_word[p] *= mask[p];
}

/* ---- sums of rows ---- */

/* n rows, those that are summed, and what with: one every `step` floats. */
struct rows {
    const float *row;
    size_t pitch;
    unsigned n;
    const float *g, *h;
    size_t step;
};

/* u += sum of g row; v += sum of h row, of the same rows. */
INLINE void sum_two(const int P, long k, const struct rows s, vec *u, vec *v)
{
    const float *row = s.row + k;
    for (unsigned m = 0; m < s.n; m++, row += s.pitch) {
        const float g = s.g[m * s.step], h = s.h[m * s.step];
        UNROLL for (int c = 0; c < P; c++)
        {
            vec a = load(row + c * VL);
            KEEP(a);
            u[c] += a * g;
            v[c] += a * h;
        }
    }
}

INLINE void sum_one(const int P, long k, const struct rows s, vec *u)
{
    const float *row = s.row + k;
    for (unsigned m = 0; m < s.n; m++, row += s.pitch)
        UNROLL for (int c = 0; c < P; c++) u[c] += load(row + c * VL) * s.g[m * s.step];
}

INLINE void zero(const int P, vec *u)
{
    UNROLL for (int c = 0; c < P; c++) u[c] = (vec){0};
}

INLINE void add_to(const int P, long k, hm_cell *to, const vec *u, float scale)
{
    if (to)
        UNROLL for (int c = 0; c < P; c++) add_cells(to + k + c * VL, u[c] * scale);
}

/* Of inputs i and i + 1: over negatives and positives. */
INLINE void inputs_panel(const int P, long k, const struct room *r, unsigned i)
{
    const struct hm_w2v_block *b = r->b;
    const unsigned left = b->cbow ? 1 : b->window, right = r->pairs - left;
    const float *g = r->g_noise + i * N, *word = r->g_word + i * r->pairs;
    vec u[PANEL_MAX], v[PANEL_MAX];
    zero(P, u);
    zero(P, v);
    sum_two(P, k, (struct rows){r->noise, r->pitch, N, g, g + N, 1}, u, v);
    struct rows s = {r->y + i * r->pitch, r->pitch, left, word, NULL, 1};
    sum_one(P, k, s, u);
    s.row += r->pitch;
    s.g += r->pairs;
    sum_one(P, k, s, v);
    s = (struct rows){r->y + (i + left + 1) * r->pitch, r->pitch, right, word + left, NULL, 1};
    sum_one(P, k, s, u);
    s.row += r->pitch;
    s.g += r->pairs;
    sum_one(P, k, s, v);
    if (b->cbow) {
        UNROLL for (int c = 0; c < P; c++) store(r->d + i * r->pitch + k + c * VL, u[c]);
        UNROLL for (int c = 0; c < P; c++) store(r->d + (i + 1) * r->pitch + k + c * VL, v[c]);
    } else {
        add_to(P, k, b->to_in[b->window + i], u, 1);
        add_to(P, k, b->to_in[b->window + i + 1], v, 1);
    }
}

static void add_inputs(const struct room *r)
{
    const struct hm_w2v_block *next = r->b->next;
    for (unsigned i = 0; i < S; i += 2) {
        for (unsigned q = 0; next && q < 2 * N / S; q++)
            fetch(next->noise[i * (N / S) + q], r->nv);
        PANELS(r->nv, PANEL_MAX, inputs_panel, r, i)
    }
}

/* Of negatives n and n + 1: over the inputs. */
INLINE void noise_panel(const int P, long k, const struct room *r, unsigned n)
{
    vec u[PANEL_MAX], v[PANEL_MAX];
    zero(P, u);
    zero(P, v);
    const float *g = r->g_noise + n;
    sum_two(P, k, (struct rows){r->x, r->pitch, S, g, g + 1, N}, u, v);
    add_to(P, k, r->b->to_noise[n], u, (float)N / U);
    add_to(P, k, r->b->to_noise[n + 1], v, (float)N / U);
}

/* Of the word at place j: over the inputs (rows x) on either side that have it in their window. The
 * number of pair (i, j) is i * 2 window + j - i + window, and one less where i < j. */
INLINE void word_panel(const int P, long k, const struct room *r, int j, const float *x,
                       const float *g, hm_cell *to_row)
{
    const int w = (int)r->b->window, n = 2 * w;
    const int from = j - w < 0 ? 0 : j - w,
              mid = j < 0   ? 0
                    : j > S ? S
                            : j,
              after = j + 1 < 0 ? 0 : j + 1, to = j + w + 1 > S ? S : j + w + 1;
    vec u[PANEL_MAX];
    zero(P, u);
    if (mid > from)
        sum_one(P, k,
                (struct rows){x + from * r->pitch, r->pitch, (unsigned)(mid - from),
                              g + from * n + (j - from + w - 1), NULL, (size_t)n - 1},
                u);
    if (to > after)
        sum_one(P, k,
                (struct rows){x + after * r->pitch, r->pitch, (unsigned)(to - after),
                              g + after * n + (j - after + w), NULL, (size_t)n - 1},
                u);
    add_to(P, k, to_row, u, 1);
}

/* What goes to the rows of all words that inputs have in their windows. */
static void add_words(const struct room *r, const float *x, const float *g, hm_cell *const *to)
{
    const int w = (int)r->b->window;
    for (int j = -w; j < S + w; j++)
        PANELS(r->nv, PANEL_MAX, word_panel, r, j, x, g, to[w + j])
}

/* With CBOW: of the word at place i, over its own input. */
INLINE void same_panel(const int P, long k, const struct room *r, unsigned i)
{
    vec u[PANEL_MAX];
    zero(P, u);
    sum_one(P, k, (struct rows){r->x + i * r->pitch, r->pitch, 1, r->g_word + i, NULL, 1}, u);
    add_to(P, k, r->b->to_out[r->b->window + i], u, 1);
}

static void add_noise(const struct room *r)
{
    for (unsigned n = 0; n < U; n += 2)
        PANELS(r->nv, PANEL_MAX, noise_panel, r, n)
}

/* ---- blocks with shared negatives ---- */

static void skip_gram(const struct room *r)
{
    const struct hm_w2v_block *b = r->b;
    read_rows(r, b->in + b->window, S, r->x);
    read_rows(r, b->noise, N, r->noise);
    read_rows(r, b->out, S + 2 * b->window, r->y);
    dot_noise(r);
    dot_words(r);
    grade_shared(r);
    add_inputs(r);
    add_noise(r);
    add_words(r, r->x, r->g_word, b->to_out);
}

/* P columns of the mean of input i's window. */
INLINE void mean_panel(const int P, long k, const struct room *r, unsigned i)
{
    const unsigned w = r->b->window;
    const float *part = r->part + i * 2 * w, *c = r->c + i * r->pitch;
    float n = 0;
    for (unsigned m = 0; m < 2 * w; m++)
        n += part[m];
    vec u[PANEL_MAX];
    zero(P, u);
    sum_one(P, k, (struct rows){c, r->pitch, w, part, NULL, 1}, u);
    sum_one(P, k, (struct rows){c + (w + 1) * r->pitch, r->pitch, w, part + w, NULL, 1}, u);
    UNROLL for (int q = 0; q < P; q++)
        store(r->x + i * r->pitch + k + q * VL, u[q] * (n > 0 ? 1 / n : 0));
}

static void cbow(const struct room *r)
{
    const struct hm_w2v_block *b = r->b;
    read_rows(r, b->in, S + 2 * b->window, r->c);
    read_rows(r, b->noise, N, r->noise);
    read_rows(r, b->out + b->window, S, r->y);
    for (unsigned p = 0; p < S * 2 * b->window; p++)
        r->part[p] = b->mask ? b->mask[p] : 1;
    for (unsigned i = 0; i < S; i++)
        PANELS(r->nv, PANEL_MAX, mean_panel, r, i)
    dot_noise(r);
    dot_words(r);
    grade_shared(r);
    add_inputs(r);
    add_words(r, r->d, r->part, b->to_in);
    add_noise(r);
    for (unsigned i = 0; i < S; i++)
        PANELS(r->nv, PANEL_MAX, same_panel, r, i)
}

/* ---- centred blocks ---- */

#define TILE_CASE(C)                                                                               \
    case C:                                                                                        \
        if (C <= TILE)                                                                             \
            dot_tile(C, r, x0, x1, r->noise + t * r->pitch, g + t, g + r->cols + t);               \
        break;

/* Logits of rows x0 and x1 with the word and its negatives. */
static void dot_pair(const struct room *r, const float *x0, const float *x1, float *g)
{
    const unsigned n = r->b->negative + 1;
    for (unsigned t = 0; t < n; t += TILE)
        switch (n - t < TILE ? n - t : TILE) {
            TILE_CASE(1)
            TILE_CASE(2)
            TILE_CASE(3)
            TILE_CASE(4)
            TILE_CASE(5)
            TILE_CASE(6)
            TILE_CASE(7)
            TILE_CASE(8)
        }
}

static float *window_row(const struct room *r, unsigned i, unsigned m)
{
    return r->x + (i + m + (m >= r->b->window)) * r->pitch;
}

/* Logits of word i's pairs with it and its negatives become what rows are added up with. */
static void grade_word(const struct room *r, unsigned i)
{
    const struct hm_w2v_block *b = r->b;
    for (unsigned m = 0; m < r->pairs; m++) {
        float *g = r->g_noise + m * r->cols;
        const float on = b->mask ? b->mask[i * r->pairs + m] : 1;
        for (unsigned c = 0; b->loss && on > 0 && c <= b->negative; c++)
            if (!c || b->noise[i * b->negative + c - 1])
                *b->loss += log_loss(c ? -g[c] : g[c]);
        grade(g, r->cols, 0, on * b->factor);
        g[0] += on * b->factor;
        for (unsigned c = 0; c < b->negative; c++)
            if (!b->noise[i * b->negative + c])
                g[c + 1] = 0;
    }
}

INLINE void window_panel(const int P, long k, const struct room *r, float *d0, float *d1,
                         const float *g)
{
    vec u[PANEL_MAX], v[PANEL_MAX];
    UNROLL for (int c = 0; c < P; c++) u[c] = load(d0 + k + c * VL);
    UNROLL for (int c = 0; c < P; c++) v[c] = load(d1 + k + c * VL);
    sum_two(P, k, (struct rows){r->noise, r->pitch, r->b->negative + 1, g, g + r->cols, 1}, u, v);
    UNROLL for (int c = 0; c < P; c++) store(d0 + k + c * VL, u[c]);
    UNROLL for (int c = 0; c < P; c++) store(d1 + k + c * VL, v[c]);
}

/* Of columns c and c + 1 of word i: over its window. */
INLINE void column_panel(const int P, long k, const struct room *r, unsigned i, unsigned c,
                         hm_cell *to_c, hm_cell *to_next)
{
    const unsigned w = r->b->window;
    const float *g = r->g_noise + c, *x = r->x + i * r->pitch;
    vec u[PANEL_MAX], v[PANEL_MAX];
    zero(P, u);
    zero(P, v);
    sum_two(P, k, (struct rows){x, r->pitch, w, g, g + 1, r->cols}, u, v);
    x += (w + 1) * r->pitch;
    g += w * r->cols;
    sum_two(P, k, (struct rows){x, r->pitch, w, g, g + 1, r->cols}, u, v);
    add_to(P, k, to_c, u, 1);
    add_to(P, k, to_next, v, 1);
}

/* What follows word i is fetched: the next one's outputs, and one of the next block's inputs. */
static void fetch_centred(const struct room *r, unsigned i)
{
    const struct hm_w2v_block *b = r->b, *next = i + 1 < S ? b : b->next;
    const unsigned then = (i + 1) % S;
    if (next)
        fetch(next->out[next->window + then], r->nv);
    for (unsigned c = 0; next && c < b->negative; c++)
        fetch(next->noise[then * b->negative + c], r->nv);
    if (b->next)
        fetch(b->next->in[2 * b->next->window + i], r->nv);
}

static void centred_word(const struct room *r, unsigned i)
{
    const struct hm_w2v_block *b = r->b;
    const unsigned K = b->negative;
    read_rows(r, b->out + b->window + i, 1, r->noise);
    read_rows(r, b->noise + i * K, K, r->noise + r->pitch);
    fetch_centred(r, i);
    for (unsigned m = 0; m < r->pairs; m += 2)
        dot_pair(r, window_row(r, i, m), window_row(r, i, m + 1), r->g_noise + m * r->cols);
    grade_word(r, i);
    for (unsigned m = 0; m < r->pairs; m += 2) {
        float *d0 = window_row(r, i, m) + (r->d - r->x),
              *d1 = window_row(r, i, m + 1) + (r->d - r->x), *g = r->g_noise + m * r->cols;
        PANELS(r->nv, PANEL_MAX, window_panel, r, d0, d1, g)
    }
    for (unsigned c = 0; c <= K; c += 2) {
        hm_cell *to_c = c ? b->to_noise[i * K + c - 1] : b->to_out[b->window + i],
                *to_next = c < K ? b->to_noise[i * K + c] : NULL;
        PANELS(r->nv, PANEL_MAX, column_panel, r, i, c, to_c, to_next)
    }
}

static void centred(const struct room *r)
{
    const struct hm_w2v_block *b = r->b;
    const unsigned band = S + 2 * b->window;
    read_rows(r, b->in, band, r->x);
    memset(r->d, 0, band * r->pitch * sizeof *r->d);
    for (unsigned i = 0; i < S; i++)
        if (b->count[i] > 0)
            centred_word(r, i);
    for (unsigned j = 0; j < band; j++)
        for (long k = 0; b->to_in[j] && k < r->nv * VL; k += VL)
            add_cells(b->to_in[j] + k, load(r->d + j * r->pitch + k));
}

static void block(const struct hm_w2v_block *b, void *scratch)
{
    const struct room r = room_of(b, scratch);
    assert(b->window && b->window <= HM_W2V_WINDOW_MAX && b->padded % LINE == 0);
    if (b->centred)
        centred(&r);
    else if (b->cbow)
        cbow(&r);
    else
        skip_gram(&r);
}

extern const struct hm_w2v_kernels HM_TABLE;
const struct hm_w2v_kernels HM_TABLE = {.name = HM_TABLE_NAME, .block = block};
