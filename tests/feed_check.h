/* What must hold for any bytes whatever that meet the decoders of what feeders send: refusal, or
 * examples within their ranges that encode to the same bytes. Returns 1 when they were accepted. */
#ifndef HM_TESTS_FEED_CHECK_H
#define HM_TESTS_FEED_CHECK_H

#include "models/feed_codec.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline uint8_t *feed_exact_copy(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert(copy);
    if (n)
        memcpy(copy, bytes, n);
    return copy;
}

static inline int feed_check_words(const uint8_t *bytes, size_t n, uint32_t n_vocab, size_t room)
{
    uint32_t *id = malloc((room ? room : 1) * sizeof *id), n_ids = 0, n_words = 0, counted = 0;
    uint8_t *copy = feed_exact_copy(bytes, n);
    assert(id);
    int refused = hm_feed_get_words(copy, n, n_vocab, id, room, &n_ids, &n_words);
    if (!refused) {
        uint8_t *made = malloc(hm_feed_words_bound(n_ids));
        assert(made);
        assert(n_ids <= room);
        for (uint32_t i = 0; i < n_ids; i++) {
            assert(id[i] <= n_vocab);
            assert(id[i] < n_vocab || (i && id[i - 1] < n_vocab));
            counted += id[i] < n_vocab;
        }
        assert(counted == n_words);
        assert(n_words);
        size_t made_n = hm_feed_put_words(id, n_ids, n_vocab, made);
        assert(made_n == n);
        assert(memcmp(made, bytes, n) == 0);
        free(made);
    }
    free(copy);
    free(id);
    return !refused;
}

/* Room for rows, as a trainer has it. */
static inline struct hm_feed_rows feed_rows_room(uint32_t n_features, uint32_t longest,
                                                 uint64_t n_rows, uint64_t n_nonzero)
{
    struct hm_feed_rows room = {.n_rows_max = n_rows,
                                .n_nonzero_max = n_nonzero,
                                .n_features = n_features,
                                .longest = longest,
                                .start = malloc((n_rows + 1) * sizeof *room.start),
                                .value = malloc((n_nonzero + 1) * sizeof *room.value),
                                .label = malloc(n_rows + 1)};
    if (n_features <= 65536)
        room.id16 = malloc((n_nonzero + 1) * sizeof *room.id16);
    else
        room.id32 = malloc((n_nonzero + 1) * sizeof *room.id32);
    assert(room.start && room.value && room.label && (room.id16 || room.id32));
    return room;
}

static inline void feed_rows_free(struct hm_feed_rows *room)
{
    free(room->start);
    free(room->value);
    free(room->label);
    free(room->id16);
    free(room->id32);
}

static inline struct hm_rows feed_rows_view(const struct hm_feed_rows *room)
{
    return (struct hm_rows){.n_rows = room->n_rows,
                            .n_nonzero = room->n_nonzero,
                            .n_features = room->n_features,
                            .start = room->start,
                            .id16 = room->id16,
                            .id32 = room->id32,
                            .value = room->value,
                            .label = room->label};
}

static inline int feed_check_rows(const uint8_t *bytes, size_t n, uint32_t n_features,
                                  uint32_t longest, uint64_t n_rows, uint64_t n_nonzero)
{
    struct hm_feed_rows room = feed_rows_room(n_features, longest, n_rows, n_nonzero);
    uint8_t *copy = feed_exact_copy(bytes, n);
    int refused = hm_feed_get_rows(copy, n, &room);
    if (!refused) {
        struct hm_rows rows = feed_rows_view(&room);
        uint8_t *made = malloc(n + 16);
        uint64_t taken;
        assert(made);
        assert(rows.n_rows && rows.n_rows <= n_rows && rows.n_nonzero <= n_nonzero);
        for (uint64_t r = 0; r < rows.n_rows; r++) {
            assert(rows.label[r] == 1 || rows.label[r] == -1);
            assert(rows.start[r + 1] - rows.start[r] <= longest);
            for (uint64_t k = rows.start[r]; k < rows.start[r + 1]; k++) {
                uint32_t id = rows.id16 ? rows.id16[k] : rows.id32[k];
                assert(id < n_features);
                assert(k == rows.start[r] ||
                       id > (rows.id16 ? rows.id16[k - 1] : rows.id32[k - 1]));
                assert(isfinite(rows.value[k]));
            }
        }
        size_t made_n = hm_feed_put_rows(&rows, 0, rows.n_rows, made, n + 16, &taken);
        assert(taken == rows.n_rows);
        assert(made_n == n);
        assert(memcmp(made, bytes, n) == 0);
        free(made);
    }
    free(copy);
    feed_rows_free(&room);
    return !refused;
}

static inline int feed_check_images(const uint8_t *bytes, size_t n, uint32_t n_max,
                                    size_t image_bytes)
{
    const uint8_t *label, *pixel;
    uint32_t count;
    uint8_t *copy = feed_exact_copy(bytes, n);
    int refused = hm_feed_get_images(copy, n, n_max, image_bytes, &count, &label, &pixel);
    if (!refused) {
        assert(count && count <= n_max);
        assert(hm_feed_images_bytes(count, image_bytes) == n);
        assert(label > copy && pixel == label + count);
        assert(pixel + count * image_bytes == copy + n);
        for (uint32_t i = 0; i < count; i++)
            assert(label[i] < HM_CLASSES);
    }
    free(copy);
    return !refused;
}

#endif
