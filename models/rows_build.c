#include "models/rows_build.h"

#include "sparse/rng.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The order of rows is part of what a dataset is: every node shuffles alike. */
#define SHUFFLE_SEED 0x686F676D657368u

void hm_builder_init(struct hm_rows_builder *builder)
{
    *builder = (struct hm_rows_builder){0};
}

void hm_builder_fini(struct hm_rows_builder *builder)
{
    hm_grow_free(&builder->start);
    hm_grow_free(&builder->id);
    hm_grow_free(&builder->value);
    hm_grow_free(&builder->label);
    hm_grow_free(&builder->frequency);
}

void hm_builder_see(struct hm_rows_builder *builder, double label)
{
    for (unsigned i = 0; i < builder->n_seen; i++)
        if (builder->seen[i] == label)
            return;
    if (builder->n_seen <= HM_LABELS_SEEN_MAX)
        builder->seen[builder->n_seen++] = label;
}

const char *hm_builder_seen(const struct hm_rows_builder *builder, char text[static 256])
{
    size_t at = 0;
    text[0] = 0;
    for (unsigned i = 0; i < builder->n_seen && i < HM_LABELS_SEEN_MAX; i++)
        at += (size_t)snprintf(text + at, 256 - at, "%s%.9g", i ? ", " : "", builder->seen[i]);
    if (builder->n_seen > HM_LABELS_SEEN_MAX)
        snprintf(text + at, 256 - at, ", ...");
    return text;
}

/* From 16-bit features to 32-bit ones, from the end on, in place. */
static int widen(struct hm_rows_builder *builder)
{
    if (hm_grow_reserve(&builder->id, 4 * builder->n_nonzero) != 0)
        return -1;
    for (uint64_t k = builder->n_nonzero; k-- > 0;) {
        uint16_t narrow;
        memcpy(&narrow, builder->id.base + 2 * k, 2);
        uint32_t wide = narrow;
        memcpy(builder->id.base + 4 * k, &wide, 4);
    }
    builder->id.used = 4 * builder->n_nonzero;
    builder->wide = 1;
    return 0;
}

static int reserve(struct hm_rows_builder *builder, size_t n)
{
    if (hm_grow_reserve(&builder->start, builder->start.used + 16) != 0)
        return -1;
    if (hm_grow_reserve(&builder->label, builder->label.used + 1) != 0)
        return -1;
    if (hm_grow_reserve(&builder->value, builder->value.used + 4 * n + 4) != 0)
        return -1;
    return hm_grow_reserve(&builder->id, builder->id.used + (builder->wide ? 4 : 2) * n + 4);
}

static void append_ids(struct hm_rows_builder *builder, const uint32_t *id, size_t n)
{
    void *to = builder->id.base + builder->id.used;
    if (builder->wide)
        memcpy(to, id, 4 * n);
    else
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)to)[i] = (uint16_t)id[i];
    builder->id.used += (builder->wide ? 4 : 2) * n;
    uint32_t *frequency = (uint32_t *)(void *)builder->frequency.base;
    for (size_t i = 0; i < n; i++)
        frequency[id[i]]++;
}

static void append_start(struct hm_rows_builder *builder)
{
    memcpy(builder->start.base + builder->start.used, &builder->n_nonzero, 8);
    builder->start.used += 8;
}

enum hm_status hm_builder_add(struct hm_rows_builder *builder, const struct hm_row_scratch *row,
                              int8_t label, struct hm_err *err)
{
    uint32_t largest = row->n ? row->id[row->n - 1] + 1 : 0;
    if (builder->n_rows == UINT32_MAX)
        return hm_fail(err, HM_ENOMEM, "more than %u rows", UINT32_MAX);
    if ((largest > 65536 && !builder->wide && widen(builder) != 0) ||
        reserve(builder, row->n) != 0 ||
        hm_grow_reserve(&builder->frequency, 4 * (size_t)largest + 4) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory for more than %llu rows",
                       (unsigned long long)builder->n_rows);
    if (builder->n_rows == 0)
        append_start(builder);
    append_ids(builder, row->id, row->n);
    memcpy(builder->value.base + builder->value.used, row->value, 4 * row->n);
    builder->value.used += 4 * row->n;
    builder->label.base[builder->label.used++] = (uint8_t)label;
    builder->n_rows++;
    builder->n_nonzero += row->n;
    builder->n_positive += label > 0;
    builder->n_features = largest > builder->n_features ? largest : builder->n_features;
    append_start(builder);
    return HM_OK;
}

static void shuffle(uint32_t *row, uint32_t n)
{
    struct hm_rng rng = hm_rng_seed(SHUFFLE_SEED, 0);
    for (uint32_t i = 0; i < n; i++)
        row[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = hm_rng_below(&rng, i), t = row[i - 1];
        row[i - 1] = row[j];
        row[j] = t;
    }
}

/* Counting sort of the features by 16 bits of their frequency, highest first; stable, so ties stay
 * by number. None of the 16 bits are above `most`. */
static void sort_pass(const uint32_t *frequency, unsigned shift, uint32_t most,
                      const uint32_t *from, uint32_t *to, uint32_t n, uint32_t *at /* [65536] */)
{
    memset(at, 0, (most + 1) * sizeof *at);
    for (uint32_t i = 0; i < n; i++)
        at[most - ((frequency[i] >> shift) & 0xFFFF)]++;
    uint32_t sum = 0;
    for (uint32_t b = 0; b <= most; b++) {
        uint32_t count = at[b];
        at[b] = sum;
        sum += count;
    }
    for (uint32_t i = 0; i < n; i++)
        to[at[most - ((frequency[from[i]] >> shift) & 0xFFFF)]++] = from[i];
}

/* A feature is met at most once in a row. */
static void rank_features(const uint32_t *frequency, uint64_t n_rows, struct hm_builder_plan *plan,
                          uint32_t *at)
{
    uint32_t n = plan->image.n_features, most = n_rows < 0xFFFF ? (uint32_t)n_rows : 0xFFFF;
    uint32_t *in_order = n_rows > 0xFFFF ? plan->order : plan->rank_of;
    for (uint32_t i = 0; i < n; i++) {
        assert(frequency[i] <= n_rows);
        in_order[i] = i;
    }
    if (n_rows > 0xFFFF)
        sort_pass(frequency, 0, most, plan->order, plan->rank_of, n, at);
    sort_pass(frequency, n_rows > 0xFFFF ? 16 : 0, most, plan->rank_of, plan->order, n, at);
    for (uint32_t rank = 0; rank < n; rank++)
        plan->rank_of[plan->order[rank]] = rank;
}

enum hm_status hm_builder_plan(struct hm_rows_builder *builder, uint32_t n_features,
                               struct hm_builder_plan *plan, struct hm_err *err)
{
    *plan = (struct hm_builder_plan){0};
    n_features = n_features ? n_features : builder->n_features;
    assert(n_features >= builder->n_features);
    assert(builder->n_rows > 0);
    plan->image = hm_image_layout(builder->n_rows, builder->n_nonzero, n_features);
    plan->row = malloc(builder->n_rows * sizeof *plan->row);
    plan->order = malloc((n_features + 1) * sizeof *plan->order);
    plan->rank_of = malloc((n_features + 1) * sizeof *plan->rank_of);
    uint32_t *at = malloc(65536 * sizeof *at);
    /* Features never met have a frequency too: the array's new bytes are zero. */
    int bad = !plan->row || !plan->order || !plan->rank_of || !at ||
              hm_grow_reserve(&builder->frequency, 4 * (size_t)n_features) != 0;
    if (!bad) {
        shuffle(plan->row, (uint32_t)builder->n_rows);
        rank_features((const uint32_t *)(const void *)builder->frequency.base, builder->n_rows,
                      plan, at);
    }
    free(at);
    return bad ? hm_fail(err, HM_ENOMEM, "no memory to arrange the rows") : HM_OK;
}

void hm_builder_plan_fini(struct hm_builder_plan *plan)
{
    free(plan->row);
    free(plan->order);
    free(plan->rank_of);
    *plan = (struct hm_builder_plan){0};
}

enum hm_status hm_builder_write(const struct hm_rows_builder *builder,
                                const struct hm_builder_plan *plan, struct hm_image_writer *writer,
                                const struct hm_progress *progress, struct hm_err *err)
{
    const void *id = builder->id.base;
    struct hm_rows from = {
        .n_rows = builder->n_rows,
        .n_nonzero = builder->n_nonzero,
        .n_features = plan->image.n_features,
        .start = (const void *)builder->start.base,
        .id16 = builder->wide ? NULL : id,
        .id32 = builder->wide ? id : NULL,
        .value = (const void *)builder->value.base,
        .label = (const void *)builder->label.base,
    };
    struct hm_arrange arrange = {
        .from = &from, .row = plan->row, .rank_of = plan->rank_of, .order = plan->order};
    return hm_arrange_write(&arrange, writer, progress, err);
}
