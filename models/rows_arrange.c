#include "models/rows_arrange.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* How many rows ahead the source is prefetched: they lie at random, about 450 bytes each. */
enum { AHEAD = 8, REPORT_ROWS = 1 << 15, INSERTION_MAX = 40 };

static void insertion_sort(uint64_t *key, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t k = key[i];
        size_t j = i;
        for (; j > 0 && key[j - 1] > k; j--)
            key[j] = key[j - 1];
        key[j] = k;
    }
}

/* One pass of a least-significant-digit radix sort on 8 bits. */
static void radix_pass(const uint64_t *restrict from, uint64_t *restrict to, size_t n,
                       unsigned shift)
{
    uint32_t at[256] = {0};
    for (size_t i = 0; i < n; i++)
        at[(from[i] >> shift) & 255]++;
    uint32_t sum = 0;
    for (int b = 0; b < 256; b++) {
        uint32_t count = at[b];
        at[b] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++)
        to[at[(from[i] >> shift) & 255]++] = from[i];
}

void hm_arrange_sort(uint64_t *key, uint64_t *scratch, size_t n, unsigned rank_bits)
{
    if (n <= INSERTION_MAX) {
        insertion_sort(key, n);
        return;
    }
    uint64_t *from = key, *to = scratch;
    for (unsigned shift = 32; shift < 32 + rank_bits; shift += 8) {
        radix_pass(from, to, n, shift);
        uint64_t *t = from;
        from = to;
        to = t;
    }
    if (from != key)
        memcpy(key, from, n * sizeof *key);
}

static void prefetch_row(const struct hm_rows *from, uint64_t row)
{
    uint64_t a = from->start[row], b = from->start[row + 1];
    const char *id = from->id16 ? (const char *)(from->id16 + a) : (const char *)(from->id32 + a);
    const char *id_end =
        from->id16 ? (const char *)(from->id16 + b) : (const char *)(from->id32 + b);
    for (; id < id_end; id += 64)
        __builtin_prefetch(id);
    for (const char *v = (const char *)(from->value + a); v < (const char *)(from->value + b);
         v += 64)
        __builtin_prefetch(v);
}

/* Gathers a row under its new numbers; returns how many features it keeps. */
static size_t gather(const struct hm_arrange *arrange, uint64_t row, uint64_t *key)
{
    const struct hm_rows *from = arrange->from;
    size_t n = 0;
    for (uint64_t k = from->start[row]; k < from->start[row + 1]; k++) {
        uint32_t rank = arrange->rank_of[from->id16 ? from->id16[k] : from->id32[k]], bits;
        memcpy(&bits, &from->value[k], 4);
        key[n] = (uint64_t)rank << 32 | bits;
        n += rank != HM_RANK_NONE;
    }
    return n;
}

static enum hm_status put_row(struct hm_image_writer *writer, const uint64_t *key, size_t n,
                              struct hm_err *err)
{
    unsigned id_bytes = writer->image.id_bytes;
    void *id = hm_image_room(writer, HM_SECTION_ID, n * id_bytes, err);
    void *value = id ? hm_image_room(writer, HM_SECTION_VALUE, n * 4, err) : NULL;
    if (!value)
        return HM_EIO;
    uint32_t *bits = value;
    for (size_t i = 0; i < n; i++)
        bits[i] = (uint32_t)key[i];
    if (id_bytes == 2)
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)id)[i] = (uint16_t)(key[i] >> 32);
    else
        for (size_t i = 0; i < n; i++)
            ((uint32_t *)id)[i] = (uint32_t)(key[i] >> 32);
    hm_image_advance(writer, HM_SECTION_ID, n * id_bytes);
    hm_image_advance(writer, HM_SECTION_VALUE, n * 4);
    return HM_OK;
}

static enum hm_status put(struct hm_image_writer *writer, enum hm_section section, const void *from,
                          size_t bytes, struct hm_err *err)
{
    void *to = hm_image_room(writer, section, bytes, err);
    if (!to)
        return HM_EIO;
    memcpy(to, from, bytes);
    hm_image_advance(writer, section, bytes);
    return HM_OK;
}

static enum hm_status put_order(struct hm_image_writer *writer, const uint32_t *order,
                                struct hm_err *err)
{
    enum { PIECE = 1 << 16 };
    enum hm_status status = HM_OK;
    uint32_t n = writer->image.n_features;
    for (uint32_t i = 0; i < n && status == HM_OK; i += PIECE)
        status = put(writer, HM_SECTION_ORDER, order + i,
                     4 * (size_t)(n - i < PIECE ? n - i : PIECE), err);
    return status;
}

static enum hm_status arrange_row(const struct hm_arrange *arrange, uint64_t row, uint64_t *key,
                                  unsigned rank_bits, uint64_t *start,
                                  struct hm_image_writer *writer, struct hm_err *err)
{
    size_t n = gather(arrange, row, key);
    hm_arrange_sort(key, key + HM_ROW_NONZEROS_MAX + 1, n, rank_bits);
    *start += n;
    enum hm_status status = put_row(writer, key, n, err);
    if (status == HM_OK)
        status = put(writer, HM_SECTION_START, start, 8, err);
    if (status == HM_OK)
        status = put(writer, HM_SECTION_LABEL, &arrange->from->label[row], 1, err);
    return status;
}

static unsigned bits_of(uint32_t n_features)
{
    return n_features <= 1 ? 1 : 32 - (unsigned)__builtin_clz(n_features - 1);
}

static enum hm_status arrange_rows(const struct hm_arrange *arrange, uint64_t *key,
                                   struct hm_image_writer *writer,
                                   const struct hm_progress *progress, struct hm_err *err)
{
    const struct hm_rows *from = arrange->from;
    unsigned rank_bits = bits_of(writer->image.n_features);
    uint64_t start = 0;
    enum hm_status status = put(writer, HM_SECTION_START, &start, 8, err);
    for (uint64_t i = 0; i < from->n_rows && status == HM_OK; i++) {
        if (arrange->row && i + AHEAD < from->n_rows)
            prefetch_row(from, arrange->row[i + AHEAD]);
        status = arrange_row(arrange, arrange->row ? arrange->row[i] : i, key, rank_bits, &start,
                             writer, err);
        if (i % REPORT_ROWS == 0 &&
            hm_report(progress, "arrange rows", (double)i, (double)from->n_rows, "rows"))
            return hm_fail(err, HM_ESTOPPED, "stopped while arranging rows");
    }
    return status;
}

enum hm_status hm_arrange_write(const struct hm_arrange *arrange, struct hm_image_writer *writer,
                                const struct hm_progress *progress, struct hm_err *err)
{
    assert(writer->image.n_rows == arrange->from->n_rows);
    /* One more than a row holds: gather writes the feature that it drops behind those it keeps. */
    uint64_t *key = malloc(2 * (HM_ROW_NONZEROS_MAX + 1) * sizeof *key);
    if (!key)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    enum hm_status status = put_order(writer, arrange->order, err);
    if (status == HM_OK)
        status = arrange_rows(arrange, key, writer, progress, err);
    free(key);
    return status;
}
