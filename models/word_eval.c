/* Questions and their answers.
 *
 * The cosine of x with B - A + C is, but for a factor that is the same for all x, that with B less
 * that with A plus that with C. Few different words are asked about, so their cosines with all
 * others are reckoned once, a block of columns at a time, and a question is two additions for each
 * word that may be the answer.
 */
#include "models/word_eval.h"

#include "models/parallel.h"
#include "models/questions.h"
#include "models/word_index.h"
#include "models/word_kernels.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = HM_WORD_COLUMNS, BEST = 8 /* gensim's five, and the three that are asked with */ };

static uint32_t limit_of(const struct hm_eval_options *options)
{
    return options->restrict_vocab ? options->restrict_vocab : HM_RESTRICT_VOCAB;
}

/* ---- unit vectors ---- */

static double norm_of(const float *v, uint32_t dim)
{
    double sum = 0;
    for (uint32_t k = 0; k < dim; k++)
        sum += (double)v[k] * (double)v[k];
    return sqrt(sum);
}

/* Vector i times 1 / its norm; zeros stay. */
static void unit_of(const struct hm_vectors *vectors, uint32_t i, float *out)
{
    const float *v = vectors->value + (size_t)i * vectors->dim;
    double norm = norm_of(v, vectors->dim), factor = norm > 0 ? 1 / norm : 0;
    for (uint32_t k = 0; k < vectors->dim; k++)
        out[k] = (float)((double)v[k] * factor);
}

/* ---- the best answers ---- */

/* The nearest first; of equally near ones the first in the file. */
struct best {
    struct hm_near near[BEST];
};

static void put_in(struct best *best, float cosine, uint32_t word)
{
    int i = BEST - 1;
    for (; i > 0 && best->near[i - 1].cosine < cosine; i--)
        best->near[i] = best->near[i - 1];
    best->near[i] = (struct hm_near){cosine, word};
}

static void clear(struct best *best)
{
    for (int i = 0; i < BEST; i++)
        best->near[i] = (struct hm_near){-INFINITY, HM_WORD_NONE};
}

/* ---- asking ---- */

struct asking {
    const struct hm_vectors *vectors;
    const struct hm_word_index *index;
    const struct hm_word_kernels *kernels;
    const struct hm_progress *progress;
    const struct hm_question *question; /* [n] */
    size_t n;
    uint32_t *row_of; /* [index->n] the row of u that a vector asked about is, or HM_WORD_NONE */
    uint32_t n_rows;  /* a multiple of HM_WORD_ROWS */
    float *u;         /* [n_rows][dim] their unit vectors */
    unsigned n_parts;
    struct best *best;             /* [n_parts][n] */
    atomic_uint next;              /* block of columns; relaxed: blocks are independent */
    atomic_uint done;              /* relaxed: for progress alone */
    atomic_int stopped, no_memory; /* relaxed: looked at again when the threads are joined */
};

/* Numbers the words that are asked with. */
static enum hm_status take_rows(struct asking *asking, struct hm_err *err)
{
    const struct hm_word_index *index = asking->index;
    uint32_t dim = asking->vectors->dim, n = 0;
    asking->row_of = malloc((index->n + (size_t)1) * sizeof *asking->row_of);
    if (!asking->row_of)
        return hm_fail(err, HM_ENOMEM, "no memory to ask questions");
    memset(asking->row_of, 0xFF, index->n * sizeof *asking->row_of);
    for (size_t q = 0; q < asking->n; q++)
        for (int i = 0; i < 3; i++) {
            uint32_t at = index->first[asking->question[q].form[i]];
            if (asking->row_of[at] == HM_WORD_NONE)
                asking->row_of[at] = n++;
        }
    asking->n_rows = (n + HM_WORD_ROWS - 1) / HM_WORD_ROWS * HM_WORD_ROWS;
    asking->u = calloc((size_t)asking->n_rows * dim, sizeof *asking->u);
    if (!asking->u)
        return hm_fail(err, HM_ENOMEM, "no memory to ask questions about %u words", n);
    for (uint32_t i = 0; i < index->n; i++)
        if (asking->row_of[i] != HM_WORD_NONE)
            unit_of(asking->vectors, i, asking->u + (size_t)asking->row_of[i] * dim);
    return HM_OK;
}

/* One thread's place to work in. */
struct place {
    float *column; /* [dim][COLUMNS] unit vectors of a block, side by side */
    float *cosine; /* [n_rows][COLUMNS] */
    float *unit;   /* [dim] */
    float x[COLUMNS] __attribute__((aligned(64)));
};

static int place_init(const struct asking *asking, struct place *place)
{
    size_t dim = asking->vectors->dim, row = COLUMNS * sizeof(float);
    place->column = aligned_alloc(64, dim * row);
    place->cosine = aligned_alloc(64, asking->n_rows * row);
    place->unit = malloc(dim * sizeof *place->unit);
    return place->column && place->cosine && place->unit ? 0 : -1;
}

static void place_fini(struct place *place)
{
    free(place->column);
    free(place->cosine);
    free(place->unit);
}

/* Returns how many of the block's columns are words. */
static uint32_t set_columns(const struct asking *asking, uint32_t from, struct place *place)
{
    uint32_t dim = asking->vectors->dim, left = asking->index->n - from;
    uint32_t n = left < COLUMNS ? left : COLUMNS;
    memset(place->column, 0, dim * COLUMNS * sizeof(float));
    for (uint32_t j = 0; j < n; j++) {
        unit_of(asking->vectors, from + j, place->unit);
        for (uint32_t k = 0; k < dim; k++)
            place->column[(size_t)k * COLUMNS + j] = place->unit[k];
    }
    return n;
}

/* Vectors of zeros are near to nothing. */
static int is_zero(const struct asking *asking, uint32_t i)
{
    const float *v = asking->vectors->value + (size_t)i * asking->vectors->dim;
    for (uint32_t k = 0; k < asking->vectors->dim; k++)
        if (v[k] != 0)
            return 0;
    return 1;
}

static void ask_block(const struct asking *asking, uint32_t from, struct place *place,
                      struct best *best)
{
    uint32_t n = set_columns(asking, from, place);
    asking->kernels->dots(asking->u, asking->n_rows, asking->vectors->dim, place->column,
                          place->cosine);
    for (size_t q = 0; q < asking->n; q++) {
        const float *row[3];
        for (int i = 0; i < 3; i++)
            row[i] =
                place->cosine +
                (size_t)asking->row_of[asking->index->first[asking->question[q].form[i]]] * COLUMNS;
        float *limit = &best[q].near[BEST - 1].cosine;
        if (!asking->kernels->above(row[0], row[1], row[2], *limit, place->x))
            continue;
        for (uint32_t j = 0; j < n; j++)
            if (place->x[j] > *limit && !is_zero(asking, from + j))
                put_in(&best[q], place->x[j], from + j);
    }
}

/* One of several threads: takes blocks until none is left. Only the first one, which is the caller
 * or as good as it, reports. */
static void ask_part(const void *context, uint64_t which)
{
    struct asking *asking = *(struct asking *const *)context;
    struct best *best = asking->best + which * asking->n;
    struct place place;
    unsigned n_blocks = (asking->index->n + COLUMNS - 1) / COLUMNS;
    int ready = place_init(asking, &place) == 0;
    if (!ready)
        atomic_store_explicit(&asking->no_memory, 1, memory_order_relaxed);
    for (size_t q = 0; q < asking->n; q++)
        clear(&best[q]);
    while (ready && !atomic_load_explicit(&asking->stopped, memory_order_relaxed)) {
        unsigned block = atomic_fetch_add_explicit(&asking->next, 1, memory_order_relaxed);
        if (block >= n_blocks)
            break;
        ask_block(asking, block * COLUMNS, &place, best);
        unsigned done = atomic_fetch_add_explicit(&asking->done, 1, memory_order_relaxed);
        if (which == 0 && hm_report(asking->progress, "ask", (double)done * COLUMNS,
                                    (double)asking->index->n, "words"))
            atomic_store_explicit(&asking->stopped, 1, memory_order_relaxed);
    }
    place_fini(&place);
}

/* The best of all parts. Blocks come to a part in ascending order, but a part does not have all:
 * equally near words are put in order here. */
static void join_parts(const struct asking *asking, size_t q, struct best *best)
{
    size_t at[64] = {0};
    for (int i = 0; i < BEST; i++) {
        unsigned from = 0;
        for (unsigned p = 1; p < asking->n_parts; p++) {
            const struct hm_near *a = &asking->best[p * asking->n + q].near[at[p]];
            const struct hm_near *b = &asking->best[from * asking->n + q].near[at[from]];
            if (a->cosine > b->cosine || (a->cosine == b->cosine && a->word < b->word))
                from = p;
        }
        best->near[i] = asking->best[from * asking->n + q].near[at[from]++];
    }
}

/* As gensim does it: of the five best that are not the three asked with, the first one that is not
 * spelled as one of them. */
static int is_right(const struct asking *asking, const struct hm_question *question,
                    const struct best *best)
{
    const struct hm_word_index *index = asking->index;
    const uint32_t *form = question->form;
    uint32_t answer = HM_WORD_NONE;
    for (int i = 0, n = 0; i < BEST && n < 5; i++) {
        uint32_t at = best->near[i].word;
        if (at == HM_WORD_NONE)
            break;
        if (at == index->first[form[0]] || at == index->first[form[1]] ||
            at == index->first[form[2]])
            continue;
        n++;
        answer = index->form_of[at];
        if (answer != form[0] && answer != form[1] && answer != form[2])
            break;
    }
    return answer == form[3];
}

static enum hm_status ask(struct asking *asking, unsigned threads, struct hm_section *section,
                          struct hm_err *err)
{
    struct asking *const context = asking;
    asking->n_parts = threads < 1 ? 1 : threads > 64 ? 64 : threads;
    asking->best = malloc(asking->n_parts * asking->n * sizeof *asking->best);
    if (!asking->best)
        return hm_fail(err, HM_ENOMEM, "no memory to ask %zu questions", asking->n);
    hm_parallel(asking->n_parts, asking->n_parts, ask_part, &context);
    if (atomic_load_explicit(&asking->no_memory, memory_order_relaxed))
        return hm_fail(err, HM_ENOMEM, "no memory to ask %zu questions", asking->n);
    if (atomic_load_explicit(&asking->stopped, memory_order_relaxed))
        return hm_fail(err, HM_ESTOPPED, "stopped while asking");
    for (size_t q = 0; q < asking->n; q++) {
        struct best best;
        join_parts(asking, q, &best);
        section[asking->question[q].section].n_right +=
            (uint64_t)is_right(asking, &asking->question[q], &best);
    }
    return HM_OK;
}

static enum hm_status find_kernels(struct asking *asking, const char *isa, struct hm_err *err)
{
    asking->kernels = hm_word_kernels_find(isa);
    return asking->kernels ? HM_OK
                           : hm_fail(err, HM_EUSAGE, "--isa %s: not of this processor", isa);
}

enum hm_status hm_eval_analogies(const struct hm_vectors *vectors, const char *path,
                                 const struct hm_eval_options *options,
                                 struct hm_analogies *analogies, const struct hm_progress *progress,
                                 struct hm_err *err)
{
    struct hm_word_index index;
    struct hm_questions questions = {.n = 0};
    struct asking asking = {.vectors = vectors, .index = &index, .progress = progress};
    *analogies = (struct hm_analogies){.total = {.name = "total"}};
    enum hm_status status =
        hm_word_index_init(&index, vectors, limit_of(options), options->case_sensitive, err);
    if (!status)
        status = hm_questions_read(&questions, path, &index, progress, err);
    if (!status)
        status = find_kernels(&asking, options->isa, err);
    asking.question = (const void *)questions.question.base;
    asking.n = questions.n;
    if (!status && asking.n)
        status = take_rows(&asking, err);
    if (!status && asking.n)
        status = ask(&asking, options->threads, questions.section, err);
    if (!status) {
        analogies->n_sections = questions.n_sections;
        analogies->section = questions.section;
        questions.section = NULL;
    }
    for (unsigned i = 0; i < analogies->n_sections; i++) {
        analogies->total.n += analogies->section[i].n;
        analogies->total.n_right += analogies->section[i].n_right;
        analogies->total.n_unknown += analogies->section[i].n_unknown;
    }
    free(asking.row_of);
    free(asking.u);
    free(asking.best);
    hm_questions_fini(&questions);
    hm_word_index_fini(&index);
    return status;
}

/* ---- pairs ---- */

double hm_pearson(const double *x, const double *y, size_t n)
{
    double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mean_x += x[i] / (double)n;
        mean_y += y[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        double a = x[i] - mean_x, b = y[i] - mean_y;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    if (n < 2 || !(xx > 0) || !(yy > 0))
        return NAN;
    double r = xy / sqrt(xx) / sqrt(yy);
    return r > 1 ? 1 : r < -1 ? -1 : r;
}

struct ranked {
    double value;
    size_t at;
};

static int compare(const void *one, const void *other)
{
    const struct ranked *a = one, *b = other;
    return (a->value > b->value) - (a->value < b->value);
}

/* rank[i] of value[i], from 1; equal values share the mean of theirs. */
static void rank_values(const double *value, size_t n, struct ranked *sorted, double *rank)
{
    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct ranked){value[i], i};
    qsort(sorted, n, sizeof *sorted, compare);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from; to < n && sorted[to].value == sorted[from].value;)
            to++;
        for (size_t i = from; i < to; i++)
            rank[sorted[i].at] = (double)(from + to + 1) / 2;
    }
}

double hm_spearman(const double *x, const double *y, size_t n)
{
    struct ranked *sorted = malloc((n + 1) * sizeof *sorted);
    double *rank = malloc((2 * n + 1) * sizeof *rank), r = NAN;
    if (sorted && rank) {
        rank_values(x, n, sorted, rank);
        rank_values(y, n, sorted, rank + n);
        r = hm_pearson(rank, rank + n, n);
    }
    free(sorted);
    free(rank);
    return r;
}

/* As a float, so that what is equal stays equal. 0 when one of them is zero. */
static float cosine_of(const struct hm_vectors *vectors, uint32_t i, uint32_t j)
{
    const float *a = vectors->value + (size_t)i * vectors->dim,
                *b = vectors->value + (size_t)j * vectors->dim;
    double dot = 0, norms = norm_of(a, vectors->dim) * norm_of(b, vectors->dim);
    for (uint32_t k = 0; k < vectors->dim; k++)
        dot += (double)a[k] * (double)b[k];
    return norms > 0 ? (float)(dot / norms) : 0;
}

static enum hm_status correlate(const struct hm_vectors *vectors, const struct hm_word_index *index,
                                const struct hm_pair_list *list, struct hm_pairs *pairs,
                                struct hm_err *err)
{
    const struct hm_scored_pair *pair = (const void *)list->pair.base;
    double *x = malloc((2 * list->n + 1) * sizeof *x), *y = x + list->n;
    if (!x)
        return hm_fail(err, HM_ENOMEM, "no memory for %zu pairs", list->n);
    for (size_t i = 0; i < list->n; i++) {
        x[i] = pair[i].score;
        y[i] = (double)cosine_of(vectors, index->first[pair[i].form[0]],
                                 index->first[pair[i].form[1]]);
    }
    *pairs = (struct hm_pairs){list->n, list->n_unknown, hm_spearman(x, y, list->n),
                               hm_pearson(x, y, list->n)};
    free(x);
    return HM_OK;
}

enum hm_status hm_eval_pairs(const struct hm_vectors *vectors, const char *path,
                             const struct hm_eval_options *options, struct hm_pairs *pairs,
                             const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_word_index index;
    struct hm_pair_list list = {.n = 0};
    *pairs = (struct hm_pairs){0};
    enum hm_status status =
        hm_word_index_init(&index, vectors, limit_of(options), options->case_sensitive, err);
    if (!status)
        status = hm_pairs_read(&list, path, &index, progress, err);
    if (!status)
        status = correlate(vectors, &index, &list, pairs, err);
    hm_pairs_fini(&list);
    hm_word_index_fini(&index);
    return status;
}

/* ---- neighbours ---- */

static float dot_of(const float *a, const float *b, uint32_t dim)
{
    float sum[8] = {0}, total = 0;
    uint32_t k = 0;
    for (; k + 8 <= dim; k += 8)
        for (uint32_t i = 0; i < 8; i++)
            sum[i] += a[k + i] * b[k + i];
    for (; k < dim; k++)
        total += a[k] * b[k];
    for (int i = 0; i < 8; i++)
        total += sum[i];
    return total;
}

static int is_asked(const uint32_t *word, unsigned n, uint32_t i)
{
    for (unsigned k = 0; k < n; k++)
        if (word[k] == i)
            return 1;
    return 0;
}

/* Puts a word into the list of the n nearest, of at most top; returns how many there are then. */
static unsigned keep(struct hm_near *near, unsigned n, unsigned top, float cosine, uint32_t word)
{
    if (n == top && !(cosine > near[n - 1].cosine))
        return n;
    unsigned i = n < top ? n++ : n - 1;
    for (; i > 0 && near[i - 1].cosine < cosine; i--)
        near[i] = near[i - 1];
    near[i] = (struct hm_near){cosine, word};
    return n;
}

int hm_nearest(const struct hm_vectors *vectors, const uint32_t *word, const float *weight,
               unsigned n_words, uint32_t restrict_vocab, struct hm_near *near, unsigned top)
{
    uint32_t dim = vectors->dim, limit = vectors->n;
    float *query = calloc(2 * (size_t)dim, sizeof *query), *unit = query + dim;
    unsigned n = 0;
    if (!query)
        return -1;
    assert(top > 0);
    for (unsigned i = 0; i < n_words; i++) {
        unit_of(vectors, word[i], unit);
        for (uint32_t k = 0; k < dim; k++)
            query[k] += weight[i] * unit[k];
    }
    double length = norm_of(query, dim);
    limit = restrict_vocab && restrict_vocab < limit ? restrict_vocab : limit;
    for (uint32_t i = 0; i < limit; i++) {
        const float *v = vectors->value + (size_t)i * dim;
        double norm = norm_of(v, dim) * length;
        if (norm > 0 && !is_asked(word, n_words, i))
            n = keep(near, n, top, (float)((double)dot_of(query, v, dim) / norm), i);
    }
    free(query);
    return (int)n;
}
