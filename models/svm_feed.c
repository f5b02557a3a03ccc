/* The SVM at a feeder and at the trainers that it feeds. Rows lie in random order in the data
 * (rows.h), so the first ones are a sample, and blocks in any order are, too. */
#include "models/feed.h"
#include "models/feed_codec.h"
#include "models/rows_image.h"
#include "models/svm.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { EPOCHS = 5, BATCH = 512, SAMPLE = 4096, ID16_FEATURES = 65536 };

/* Bytes of a message that a non-zero takes at least. */
enum { NONZERO_BYTES = 5 };

static const struct hm_svm_model *of(const struct hm_model *model)
{
    return (const struct hm_svm_model *)(const void *)model;
}

/* ---- the feeder ---- */

static const struct hm_rows *rows_of(const struct hm_model *model, enum hm_set set)
{
    return set == HM_TEST_SET ? &of(model)->test : &of(model)->train;
}

static void facts(const struct hm_model *model, struct hm_fields *facts)
{
    const struct hm_rows *rows = &of(model)->train;
    hm_fields_set(facts, "features", "%u", rows->n_features);
    hm_fields_set(facts, "order", "%016llx", (unsigned long long)rows->order_hash);
}

static enum hm_status bulk(struct hm_model *model, struct hm_fed_piece *bulk, struct hm_err *err)
{
    const struct hm_rows *rows = &of(model)->train;
    bulk->n = 4 * (size_t)rows->n_features;
    bulk->bytes = malloc(bulk->n);
    if (!bulk->bytes)
        return hm_fail(err, HM_ENOMEM, "svm: no memory for the order of %u features",
                       rows->n_features);
    for (uint32_t i = 0; i < rows->n_features; i++)
        for (unsigned k = 0; k < 4; k++)
            bulk->bytes[4 * (size_t)i + k] = (uint8_t)(rows->order[i] >> 8 * k);
    /* Test rows go out as training rows are numbered. */
    return of(model)->test.n_rows
               ? hm_rows_reorder(&hm_svm_of(model)->test, rows->order, rows->n_features, 1, err)
               : HM_OK;
}

static uint32_t longest(const struct hm_model *model)
{
    const size_t train = hm_svm_longest_of(&of(model)->train),
                 test = hm_svm_longest_of(&of(model)->test);
    return (uint32_t)(train > test ? train : test);
}

static int told(const struct hm_model *model, enum hm_set set, unsigned i, uint64_t *from,
                uint64_t *n)
{
    const uint64_t all = rows_of(model, set)->n_rows;
    *from = 0;
    *n = set == HM_TRAIN_SET && all > SAMPLE ? SAMPLE : all;
    return !i && all;
}

static uint64_t begins(const struct hm_model *model, uint64_t block, uint64_t blocks,
                       uint32_t batch)
{
    (void)batch;
    return (uint64_t)((unsigned __int128)of(model)->train.n_rows * block / blocks);
}

static size_t encode(const struct hm_model *model, enum hm_set set, uint64_t key, uint64_t from,
                     uint64_t n, uint8_t *out, size_t room, uint64_t *taken)
{
    (void)key;
    return hm_feed_put_rows(rows_of(model, set), from, n, out, room, taken);
}

/* ---- a trainer ---- */

/* Where rows of a message go, and what they are then. */
struct slot {
    struct hm_rows rows;
    struct hm_feed_rows room;
};

static size_t aligned(size_t n)
{
    return (n + 63) / 64 * 64;
}

static struct hm_feed_rows room_of(const struct hm_fed *fed, uint32_t n_features, uint8_t *memory,
                                   size_t *bytes)
{
    struct hm_feed_rows room = {.n_rows_max = fed->batch,
                                .n_nonzero_max = fed->bytes_max / NONZERO_BYTES,
                                .n_features = n_features,
                                .longest = fed->longest};
    const int narrow = n_features <= ID16_FEATURES;
    const size_t start = aligned(sizeof(struct slot)),
                 value = start + aligned((room.n_rows_max + 1) * sizeof *room.start),
                 id = value + aligned(room.n_nonzero_max * sizeof *room.value),
                 label = id + aligned(room.n_nonzero_max * (narrow ? 2 : 4));
    *bytes = aligned(label + room.n_rows_max);
    if (!memory)
        return room;
    room.start = (uint64_t *)(void *)(memory + start);
    room.value = (float *)(void *)(memory + value);
    if (narrow)
        room.id16 = (uint16_t *)(void *)(memory + id);
    else
        room.id32 = (uint32_t *)(void *)(memory + id);
    room.label = (int8_t *)(memory + label);
    return room;
}

static size_t slot_bytes(const struct hm_model *model)
{
    size_t bytes;
    room_of(of(model)->options.fed, of(model)->train.n_features, NULL, &bytes);
    return bytes;
}

/* The rows of a message in a slot's memory. */
static int get(const struct hm_fed *fed, uint32_t n_features, const uint8_t *bytes, size_t n,
               void *memory)
{
    struct slot *slot = memory;
    size_t used;
    slot->room = room_of(fed, n_features, memory, &used);
    const struct hm_feed_rows *room = &slot->room;
    if (hm_feed_get_rows(bytes, n, &slot->room))
        return -1;
    slot->rows = (struct hm_rows){.n_rows = room->n_rows,
                                  .n_nonzero = room->n_nonzero,
                                  .n_features = n_features,
                                  .start = room->start,
                                  .id16 = room->id16,
                                  .id32 = room->id32,
                                  .value = room->value,
                                  .label = room->label};
    return 0;
}

static int decode(const struct hm_model *model, const uint8_t *bytes, size_t n, void *memory,
                  struct hm_shard *shard)
{
    const struct hm_svm_model *svm = of(model);
    struct slot *slot = memory;
    if (get(svm->options.fed, svm->train.n_features, bytes, n, memory))
        return -1;
    *shard = (struct hm_shard){.n = slot->rows.n_rows, .fed = &slot->rows};
    return 0;
}

/* ---- what a trainer is told before it trains ---- */

static enum hm_status write(struct hm_image_writer *writer, enum hm_section section,
                            const void *from, size_t bytes, struct hm_err *err)
{
    void *to = hm_image_room(writer, section, bytes, err);
    if (!to)
        return HM_EIO;
    if (bytes)
        memcpy(to, from, bytes);
    hm_image_advance(writer, section, bytes);
    return HM_OK;
}

/* The rows of a slot, behind those that were written before. */
static enum hm_status append(struct hm_image_writer *writer, struct slot *slot, uint64_t *n_nonzero,
                             struct hm_err *err)
{
    const struct hm_rows *rows = &slot->rows;
    const size_t n = rows->n_nonzero;
    enum hm_status status;
    for (uint64_t r = 0; r <= rows->n_rows; r++)
        slot->room.start[r] += *n_nonzero;
    *n_nonzero += n;
    if ((status = write(writer, HM_SECTION_LABEL, rows->label, rows->n_rows, err)) ||
        (status = write(writer, HM_SECTION_START, rows->start + 1, 8 * rows->n_rows, err)) ||
        (status = write(writer, HM_SECTION_VALUE, rows->value, 4 * n, err)))
        return status;
    return rows->id16 ? write(writer, HM_SECTION_ID, rows->id16, 2 * n, err)
                      : write(writer, HM_SECTION_ID, rows->id32, 4 * n, err);
}

/* Pieces are decoded twice: to count, and to keep. */
static enum hm_status count(const struct hm_fed *fed, const struct hm_fed_set *told,
                            uint32_t n_features, struct slot *slot, struct hm_image *image,
                            struct hm_err *err)
{
    uint64_t n_rows = 0, n_nonzero = 0;
    for (unsigned i = 0; i < told->n; i++) {
        if (get(fed, n_features, told->piece[i].bytes, told->piece[i].n, slot))
            return hm_fail(err, HM_ECORRUPT,
                           "svm: piece %u of the rows that the feeder tells is "
                           "malformed",
                           i);
        n_rows += slot->rows.n_rows;
        n_nonzero += slot->rows.n_nonzero;
    }
    *image = hm_image_layout(n_rows, n_nonzero, n_features);
    return HM_OK;
}

static enum hm_status fill(struct hm_image_writer *writer, const struct hm_fed *fed,
                           const struct hm_fed_set *told, const uint32_t *order,
                           uint32_t n_features, struct slot *slot, struct hm_err *err)
{
    static const uint64_t zero = 0;
    uint64_t n_nonzero = 0;
    enum hm_status status = write(writer, HM_SECTION_START, &zero, sizeof zero, err);
    for (uint32_t i = 0, n; !status && i < n_features; i += n) {
        n = n_features - i < HM_ROW_NONZEROS_MAX ? n_features - i : HM_ROW_NONZEROS_MAX;
        status = write(writer, HM_SECTION_ORDER, order + i, 4 * (size_t)n, err);
    }
    for (unsigned i = 0; !status && i < told->n; i++) {
        get(fed, n_features, told->piece[i].bytes, told->piece[i].n, slot);
        status = append(writer, slot, &n_nonzero, err);
    }
    return status;
}

static enum hm_status open_set(struct hm_rows *rows, const struct hm_fed *fed,
                               const struct hm_fed_set *told, const uint32_t *order,
                               uint32_t n_features, struct hm_err *err)
{
    size_t bytes;
    struct hm_image image;
    struct hm_image_writer writer = {0};
    if (!told->n)
        return HM_OK;
    room_of(fed, n_features, NULL, &bytes);
    struct slot *slot = aligned_alloc(64, bytes);
    if (!slot)
        return hm_fail(err, HM_ENOMEM, "svm: no memory for what the feeder tells");
    enum hm_status status = count(fed, told, n_features, slot, &image, err);
    if (!status) {
        status = hm_image_to_memory(&writer, &image, err);
        if (!status)
            status = fill(&writer, fed, told, order, n_features, slot, err);
        if (!status)
            status = hm_image_finish(&writer, rows, err);
        hm_image_fini(&writer);
    }
    free(slot);
    for (uint64_t r = 0; !status && r < rows->n_rows; r++)
        rows->n_positive += rows->label[r] > 0;
    if (!status)
        rows->order_hash = hm_order_hash(rows->order, n_features);
    return status;
}

static enum hm_status read_order(const struct hm_fed *fed, uint32_t **order, uint32_t *n_features,
                                 struct hm_err *err)
{
    const size_t n = fed->bulk.n / 4;
    double told_n;
    enum hm_status status =
        hm_fields_number(&fed->facts, "features", 1, HM_FEATURES_MAX, &told_n, err);
    if (status)
        return status;
    if (fed->bulk.n % 4 || n != (size_t)told_n)
        return hm_fail(err, HM_ECORRUPT, "%.0f features in an order of %zu bytes", told_n,
                       fed->bulk.n);
    *n_features = (uint32_t)n;
    *order = malloc(n * sizeof **order);
    if (!*order)
        return hm_fail(err, HM_ENOMEM, "svm: no memory for %zu features", n);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *b = fed->bulk.bytes + 4 * i;
        (*order)[i] =
            (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        if ((*order)[i] >= HM_FEATURES_MAX)
            return hm_fail(err, HM_ECORRUPT, "feature %u is out of range", (*order)[i]);
    }
    return HM_OK;
}

enum hm_status hm_svm_open_fed(struct hm_svm_model *svm, struct hm_err *err)
{
    const struct hm_fed *fed = svm->options.fed;
    uint32_t *order = NULL, n_features = 0;
    enum hm_status status = hm_feed_check("svm", &svm->options, err);
    if (status)
        return status;
    status = read_order(fed, &order, &n_features, err);
    if (!status)
        status = open_set(&svm->train, fed, &fed->sample, order, n_features, err);
    if (!status && !svm->train.n_rows)
        status = hm_fail(err, HM_ECORRUPT, "it tells no sample of its rows");
    if (!status && !svm->options.n_test)
        status = open_set(&svm->test, fed, &fed->test, order, n_features, err);
    free(order);
    struct hm_fields ours = {0};
    if (!status)
        facts(&svm->base, &ours);
    const char *own = hm_fields_get(&ours, "order"), *theirs = hm_fields_get(&fed->facts, "order");
    if (!status && (!theirs || strcmp(own, theirs) != 0))
        status = hm_fail(err, HM_ECORRUPT, "its order of features has not the hash that it tells");
    return status ? hm_context(err, status, "the feeder's facts") : HM_OK;
}

const struct hm_feed_ops hm_svm_feed = {
    .epochs = EPOCHS,
    .batch = BATCH,
    .batch_min = 1,
    .facts = facts,
    .bulk = bulk,
    .longest = longest,
    .told = told,
    .begins = begins,
    .encode = encode,
    .slot_bytes = slot_bytes,
    .decode = decode,
};
