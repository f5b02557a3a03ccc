/* The SVM's step on shared weights.
 *
 * One thread works on W itself. Several threads of one node would pass the cache lines of the
 * hottest features back and forth at every row (T = 2 measured 0.15 to 0.8 times T = 1), so each
 * has a private copy of W, and every few thousand rows adds what it has changed into W, in place,
 * and takes over what W has become: the head of the features, which nearly every row touches, more
 * often than the tail. A thread that finds another one merging does not wait but works on. Wide
 * sets, where a merge would cost more than sharing does, are worked on directly.
 */
#include "models/svm.h"

#include "sparse/cell.h"

#include <assert.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    AHEAD = 600, /* elements, about 8 rows, fetched ahead of their use: +9 % over none, farther
                    brings nothing */
    METER_EVERY = 256, /* one of so many violators is added by the metered add, twenty times as dear
                          as a plain one */
    METER_MERGES = 127, /* likewise of merges; odd, so that those of the head and of all are met */
    HEAD = 4096,        /* features that are merged often */
    HEAD_EVERY = 2048,  /* rows of a thread between merges of the head, and of everything */
    FULL_EVERY = 8192,
    PRIVATE_MAX = 65536, /* coordinates of a model that threads copy */
};

/* What a worker thread keeps between steps. */
struct local {
    hm_cell *mine,
        *base; /* own copy, and its value at the last merge: mine - base is not in W yet */
    uint32_t since_head, since_full, merges;
};

static const struct hm_svm_model *of(const struct hm_model *model)
{
    return (const struct hm_svm_model *)(const void *)model;
}

static int works_privately(const struct hm_svm_model *svm)
{
    return svm->options.threads > 1 && hm_layout_n(&svm->layout) <= PRIVATE_MAX;
}

size_t hm_svm_scratch_bytes(const struct hm_svm_model *svm)
{
    size_t copies = works_privately(svm) ? 2 * hm_layout_n(&svm->layout) * sizeof(hm_cell) : 0;
    return copies + 2 * 64 + sizeof(struct local);
}

/* A call a row, which gcc makes of these when left alone, costs a tenth. */
#define HOT static inline __attribute__((always_inline))

/* ---- one row ---- */

typedef float vec4 __attribute__((vector_size(16)));

static inline vec4 load4(const float *x)
{
    vec4 v;
    memcpy(&v, x, sizeof v);
    return v;
}

static inline vec4 gather4(const uint16_t *id, const hm_cell *w)
{
    return (vec4){hm_cell_get(w + id[0]), hm_cell_get(w + id[1]), hm_cell_get(w + id[2]),
                  hm_cell_get(w + id[3])};
}

/* Two vectors of four, the weights inserted one by one: 7 % over four scalar sums, 19 % over
 * AVX-512's gather. */
HOT float dot16(const float *restrict x, const uint16_t *restrict id, uint32_t n, const hm_cell *w)
{
    vec4 a = {0}, b = {0};
    float rest = 0;
    uint32_t k = 0;
    for (; k + 8 <= n; k += 8) {
        a += load4(x + k) * gather4(id + k, w);
        b += load4(x + k + 4) * gather4(id + k + 4, w);
    }
    for (; k < n; k++)
        rest += x[k] * hm_cell_get(w + id[k]);
    a += b;
    return (a[0] + a[1]) + (a[2] + a[3]) + rest;
}

static float dot32(const float *restrict x, const uint32_t *restrict id, uint32_t n,
                   const hm_cell *w)
{
    float a = 0, b = 0;
    uint32_t k = 0;
    for (; k + 2 <= n; k += 2) {
        a += x[k] * hm_cell_get(w + id[k]);
        b += x[k + 1] * hm_cell_get(w + id[k + 1]);
    }
    if (k < n)
        a += x[k] * hm_cell_get(w + id[k]);
    return a + b;
}

HOT void add16(float u, const float *restrict x, const uint16_t *restrict id, uint32_t n,
               hm_cell *w)
{
    uint32_t k = 0;
    for (; k + 4 <= n; k += 4) {
        hm_cell_add(w + id[k], u * x[k]);
        hm_cell_add(w + id[k + 1], u * x[k + 1]);
        hm_cell_add(w + id[k + 2], u * x[k + 2]);
        hm_cell_add(w + id[k + 3], u * x[k + 3]);
    }
    for (; k < n; k++)
        hm_cell_add(w + id[k], u * x[k]);
}

static void add32(float u, const float *restrict x, const uint32_t *restrict id, uint32_t n,
                  hm_cell *w)
{
    for (uint32_t k = 0; k < n; k++)
        hm_cell_add(w + id[k], u * x[k]);
}

HOT float row_dot(const struct hm_rows *rows, uint64_t from, uint32_t n, const hm_cell *w)
{
    return rows->id16 ? dot16(rows->value + from, rows->id16 + from, n, w)
                      : dot32(rows->value + from, rows->id32 + from, n, w);
}

float hm_svm_row_dot(const struct hm_rows *rows, uint64_t r, const hm_cell *v)
{
    return row_dot(rows, rows->start[r], (uint32_t)(rows->start[r + 1] - rows->start[r]), v);
}

HOT void row_add(const struct hm_rows *rows, uint64_t from, uint32_t n, float u, hm_cell *w)
{
    if (rows->id16)
        add16(u, rows->value + from, rows->id16 + from, n, w);
    else
        add32(u, rows->value + from, rows->id32 + from, n, w);
}

static __attribute__((noinline)) void row_add_metered(const struct hm_rows *rows, uint64_t from,
                                                      uint32_t n, float u, hm_cell *w,
                                                      struct hm_step *step)
{
    for (uint64_t k = from; k < from + n; k++)
        step->n_wiped += hm_cell_add_metered(w + (rows->id16 ? rows->id16[k] : rows->id32[k]),
                                             u * rows->value[k]);
    step->n_sampled += n;
}

/* A fixed number of lines, not one for each line of the row: a loop would be one more wrong guess a
 * row. Addresses past the end are harmless to a prefetch. Rows are used once an epoch, hence not to
 * be kept. */
HOT void prefetch_rows(const struct hm_rows *rows, uint64_t from)
{
    const char *x = (const char *)rows->value + (from + AHEAD) * sizeof *rows->value;
    for (int k = 0; k < 5; k++)
        __builtin_prefetch(x + 64 * k, 0, 0);
    size_t width = rows->id16 ? sizeof *rows->id16 : sizeof *rows->id32;
    const char *id =
        (rows->id16 ? (const char *)rows->id16 : (const char *)rows->id32) + (from + AHEAD) * width;
    for (int k = 0; k < 3; k++)
        __builtin_prefetch(id + 64 * k, 0, 0);
}

/* ---- many rows ---- */

/* Where a step reads and adds: W, or the thread's copy of it. */
struct place {
    hm_cell *v, *bias;
    int shared;
};

/* A violator that is to be metered: chosen by its number, a counter would need a cell of its own.
 */
static inline int is_metered(uint64_t row)
{
    return row * 0x9E3779B97F4A7C15u >> 56 == 0;
}

HOT void update(const struct hm_rows *rows, uint64_t r, uint64_t from, uint32_t n, float c,
                const struct place *place, struct hm_step *step)
{
    const float u = step->scale * (float)rows->label[r];
    if (__builtin_expect(place->shared && is_metered(r), 0))
        row_add_metered(rows, from, n, u, place->v, step);
    else
        row_add(rows, from, n, u, place->v);
    hm_cell_add(place->bias, (float)HM_SVM_BIAS_RATE * u / c);
}

/* One example after the other: each sees the steps of those before it. Returns c after the last. */
HOT float step_row(const struct hm_rows *rows, uint64_t r, float c, const struct place *place,
                   struct hm_step *step)
{
    const uint64_t from = rows->start[r];
    const uint32_t n = (uint32_t)(rows->start[r + 1] - from);
    prefetch_rows(rows, from);
    const float z = row_dot(rows, from, n, place->v) + hm_cell_get(place->bias) * c;
    if ((float)rows->label[r] * z < c)
        update(rows, r, from, n, c, place, step);
    return c;
}

static float step_run(const struct hm_rows all, uint64_t from, uint64_t to, float c, float dc,
                      struct place place, struct hm_step *step)
{
    /* Both by value: nothing that others may write is read inside the loop. */
    for (uint64_t r = from; r < to; r++)
        c = step_row(&all, r, c, &place, step) + dc;
    return c;
}

static void step_singly(const struct hm_svm_model *svm, const struct hm_shard *shard,
                        struct hm_step *step, const struct place *place)
{
    const struct hm_rows *rows = hm_svm_rows_of(svm, shard);
    float c = (float)(svm->lambda * (svm->t0 + step->t)),
          dc = (float)(svm->lambda * (double)step->t_per_step);
    if (!shard->index) {
        uint64_t from = (shard->begin + step->from) % rows->n_rows, to = from + step->n;
        c = step_run(*rows, from, to < rows->n_rows ? to : rows->n_rows, c, dc, *place, step);
        if (to > rows->n_rows)
            step_run(*rows, 0, to - rows->n_rows, c, dc, *place, step);
        return;
    }
    for (uint64_t i = 0; i < step->n; i++)
        c = step_row(rows, shard->index[step->from + i], c, place, step) + dc;
}

/* A mini-batch: all its gradients are taken at the same weights, then added. */
static void step_batch(const struct hm_svm_model *svm, const struct hm_shard *shard,
                       struct hm_step *step, const struct place *place)
{
    const struct hm_rows *rows = hm_svm_rows_of(svm, shard);
    uint8_t violator[HM_SVM_BATCH_MAX];
    float c = (float)(svm->lambda * (svm->t0 + step->t));
    for (uint64_t i = 0; i < step->n; i++) {
        uint64_t r = hm_svm_row_at(svm, shard, step->from + i), from = rows->start[r];
        float z = row_dot(rows, from, (uint32_t)(rows->start[r + 1] - from), place->v) +
                  hm_cell_get(place->bias) * c;
        violator[i] = (float)rows->label[r] * z < c;
    }
    for (uint64_t i = 0; i < step->n; i++) {
        uint64_t r = hm_svm_row_at(svm, shard, step->from + i), from = rows->start[r];
        if (violator[i])
            update(rows, r, from, (uint32_t)(rows->start[r + 1] - from), c, place, step);
    }
}

/* ---- private copies and their merges ---- */

static struct local *local_of(const struct hm_svm_model *svm, struct hm_step *step)
{
    struct local *local = step->scratch;
    if (local->mine)
        return local;
    size_t n = hm_layout_n(&svm->layout);
    uintptr_t at = ((uintptr_t)(local + 1) + 63) & ~(uintptr_t)63;
    local->mine = (hm_cell *)at;
    local->base = local->mine + n;
    for (size_t i = 0; i < n; i++) {
        float x = hm_cell_get(step->w + i);
        hm_cell_set(local->mine + i, x);
        hm_cell_set(local->base + i, x);
    }
    return local;
}

/* w += mine - base, and both copies become what w is. What was
 * not finite in w when it was copied is no step of this thread: it has been set back since.
 * Straight on: leaving out what was not touched is slower. */
static void merge_range(hm_cell *restrict w, hm_cell *restrict mine, hm_cell *restrict base,
                        size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        float was = hm_cell_get(base + i);
        float x = hm_cell_get(w + i) + (was - was == 0 ? hm_cell_get(mine + i) - was : 0);
        hm_cell_set(w + i, x);
        hm_cell_set(mine + i, x);
        hm_cell_set(base + i, x);
    }
}

static void merge_range_metered(struct local *local, struct hm_step *step, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        float was = hm_cell_get(local->base + i), d = hm_cell_get(local->mine + i) - was;
        if (d != 0 && was - was == 0) {
            step->n_wiped += hm_cell_add_metered(step->w + i, d);
            step->n_sampled++;
        }
        float x = hm_cell_get(step->w + i);
        hm_cell_set(local->mine + i, x);
        hm_cell_set(local->base + i, x);
    }
}

static void merge(struct local *local, struct hm_step *step, size_t from, size_t to)
{
    if (local->merges % METER_MERGES == 0)
        merge_range_metered(local, step, from, to);
    else
        merge_range(step->w, local->mine, local->base, from, to);
}

static void merge_all(const struct hm_svm_model *svm, struct local *local, struct hm_step *step)
{
    merge(local, step, 0, hm_layout_n(&svm->layout));
    local->since_head = local->since_full = 0;
    local->merges++;
}

static void merge_head(const struct hm_svm_model *svm, struct local *local, struct hm_step *step)
{
    size_t bias = hm_tensor_at(&svm->layout.tensor[1]), head = HEAD < bias ? HEAD : bias;
    merge(local, step, 0, head);
    merge(local, step, bias, bias + 1);
    local->since_head = 0;
    local->merges++;
}

/* Two merges at once would lose much of each other; acquire and release order one after the other.
 */
static int try_token(const struct hm_svm_model *svm)
{
    return !atomic_load_explicit(svm->merging, memory_order_relaxed) &&
           !atomic_exchange_explicit(svm->merging, 1, memory_order_acquire);
}

static void return_token(const struct hm_svm_model *svm)
{
    atomic_store_explicit(svm->merging, 0, memory_order_release);
}

/* Threads that walk apart do harm in proportion to the relative change of c meanwhile, so merges
 * are frequent at first and rarer as t grows. */
static uint32_t head_every(const struct hm_svm_model *svm, double t)
{
    double grown = (svm->t0 + t) / (32. * svm->options.threads);
    return grown < HEAD_EVERY ? (uint32_t)grown : HEAD_EVERY;
}

static void merge_when_due(const struct hm_svm_model *svm, struct local *local,
                           struct hm_step *step)
{
    if (local->since_head < head_every(svm, step->t) || !try_token(svm))
        return;
    if (local->since_full >= FULL_EVERY)
        merge_all(svm, local, step);
    else
        merge_head(svm, local, step);
    return_token(svm);
}

void hm_svm_settle(const struct hm_model *model, struct hm_step *step)
{
    const struct hm_svm_model *svm = of(model);
    if (!works_privately(svm))
        return;
    struct local *local = local_of(svm, step);
    while (!try_token(svm))
        sched_yield();
    merge_all(svm, local, step);
    return_token(svm);
    step->held = 0;
}

/* The part of a step that lies within one pass over the shard, and the part that begins the next.
 */
static void step_passes(const struct hm_svm_model *svm, const struct hm_shard *shard,
                        struct hm_step *step, const struct place *place)
{
    struct hm_step part = *step;
    part.from = step->from % shard->n;
    for (uint64_t left = step->n; left; left -= part.n, part.from = 0) {
        part.n = left < shard->n - part.from ? left : shard->n - part.from;
        if (svm->base.batch > 1)
            step_batch(svm, shard, &part, place);
        else
            step_singly(svm, shard, &part, place);
        part.t += (double)part.n * (double)part.t_per_step;
    }
    step->n_sampled = part.n_sampled;
    step->n_wiped = part.n_wiped;
}

void hm_svm_step(const struct hm_model *model, const struct hm_shard *shard, struct hm_step *step)
{
    const struct hm_svm_model *svm = of(model);
    struct local *local = works_privately(svm) ? local_of(svm, step) : NULL;
    hm_cell *w = local ? local->mine : step->w;
    struct place place = {w + hm_tensor_at(&svm->layout.tensor[0]),
                          w + hm_tensor_at(&svm->layout.tensor[1]), !local};
    step_passes(svm, shard, step, &place);
    if (!local)
        return;
    local->since_head += (uint32_t)step->n;
    local->since_full += (uint32_t)step->n;
    merge_when_due(svm, local, step);
    step->held = local->since_full;
}
