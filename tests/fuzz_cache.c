/* The binary cache of a dataset. Where the input says so, the fields that make a cache current and
 * its checksums are set right, so that what they guard is reached. */
#include "models/rows_cache.h"
#include "models/rows_image.h"
#include "tests/fuzzing.h"

#include <stdlib.h>
#include <xxhash.h>

enum { FILE_BYTES_MAX = 1 << 18, HEADER_BYTES = 120, COUNTS_AT = 32, FEATURES_AT = 64 };
enum { CHECKSUMS_AT = 72, SELF_AT = 112 };
_Static_assert(CHECKSUMS_AT + 8 * HM_SECTIONS == SELF_AT, "as models/rows_cache.c has it");

static uint64_t number_at(const uint8_t *bytes, size_t n_bytes)
{
    uint64_t x = 0;
    memcpy(&x, bytes, n_bytes);
    return x;
}

static struct hm_image image_of(const uint8_t *bytes)
{
    return hm_image_layout(number_at(bytes + COUNTS_AT, 8), number_at(bytes + COUNTS_AT + 8, 8),
                           (uint32_t)number_at(bytes + FEATURES_AT, 4));
}

static void set_checksum(uint8_t *bytes, const struct hm_image *image, int s)
{
    if (image->at[s] > FILE_BYTES_MAX || image->bytes[s] > FILE_BYTES_MAX - image->at[s])
        return;
    uint64_t sum = XXH3_64bits(bytes + image->at[s], image->bytes[s]);
    memcpy(bytes + CHECKSUMS_AT + 8 * s, &sum, sizeof sum);
}

/* The size of the file that the header asks for, if that can be had. */
static size_t make_sound(uint8_t *bytes, size_t n, uint8_t flags)
{
    static const uint32_t lead[] = {1, 0x01020304, 1, 0, 2, 0}; /* version, order, fingerprint */
    memcpy(bytes, "hmrows\r\n", 8);
    memcpy(bytes + 8, lead, sizeof lead);
    struct hm_image image = image_of(bytes);
    if (flags & 2) {
        for (int s = 0; s < HM_SECTIONS; s++)
            set_checksum(bytes, &image, s);
        memcpy(bytes + FEATURES_AT + 4, &image.id_bytes, 4);
    }
    uint64_t self = XXH3_64bits(bytes, SELF_AT);
    memcpy(bytes + SELF_AT, &self, sizeof self);
    return flags & 4 && image.total <= FILE_BYTES_MAX ? (size_t)image.total : n;
}

/* Every byte that the arrays claim is there to be read. */
static uint64_t touch(const struct hm_rows *rows)
{
    uint64_t sum = rows->start[rows->n_rows];
    for (uint64_t i = 0; i < rows->n_rows; i++)
        sum += rows->start[i] + (uint64_t)rows->label[i];
    for (uint64_t k = 0; k < rows->n_nonzero; k++)
        sum += (rows->id16 ? rows->id16[k] : rows->id32[k]) + (uint64_t)(rows->value[k] > 0);
    for (uint32_t f = 0; f < rows->n_features; f++)
        sum += rows->order[f];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t flags = fuzz_u8(&fuzz), *bytes = calloc(1, FILE_BYTES_MAX);
    const uint8_t *from = size ? fuzz.at : (const uint8_t *)"";
    size_t n = fuzz_left(&fuzz) < FILE_BYTES_MAX ? fuzz_left(&fuzz) : FILE_BYTES_MAX;
    assert(bytes);
    /* The first page holds the header alone; in the input the sections follow it at once. */
    size_t head = n < HEADER_BYTES ? n : HEADER_BYTES;
    memcpy(bytes, from, head);
    n = n - head < FILE_BYTES_MAX - HM_IMAGE_ALIGN ? n : FILE_BYTES_MAX - HM_IMAGE_ALIGN + head;
    memcpy(bytes + HM_IMAGE_ALIGN, from + head, n - head);
    n = n > head ? n - head + HM_IMAGE_ALIGN : head;
    if (flags & 1)
        n = make_sound(bytes, n, flags);
    struct hm_cache cache = {.fingerprint = {1, 2}, .lock_fd = -1};
    struct hm_rows rows = {0};
    strcpy(cache.place[0], fuzz_file(0, bytes, n));
    free(bytes);
    if (hm_rows_cache_load(&cache, &rows))
        touch(&rows);
    else
        assert(!rows.map);
    hm_rows_close(&rows);
    return 0;
}
