/* hogmesh inspect: the cache of a dataset (models/rows_cache.h). The sections are read piece by
 * piece, never mapped: a file that shrinks meanwhile is damaged, not a signal. */
#include "tools/inspect.h"

#include "models/rows_cache.h"
#include "models/rows_image.h"
#include "protocol/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum {
    HEADER_BYTES = 120,
    SELF_AT = HEADER_BYTES - 8,
    PIECE = 1 << 18,
    VERSION = 1,
    BYTE_ORDER_MARK = 0x01020304
};

struct head {
    uint32_t n_features, id_bytes;
    uint64_t fingerprint[2], n_rows, n_nonzero, n_positive, order_hash, checksum[HM_SECTIONS];
};

static uint32_t get_u32(struct hm_reader *r)
{
    uint32_t x = 0;
    for (int i = 0; i < 4; i++)
        x |= (uint32_t)hm_get_u8(r) << (8 * i);
    return x;
}

static struct head head_of(const uint8_t bytes[HEADER_BYTES])
{
    struct head h;
    struct hm_reader r = hm_reader_of(bytes + 16, HEADER_BYTES - 16);
    h.fingerprint[0] = hm_get_u64(&r);
    h.fingerprint[1] = hm_get_u64(&r);
    h.n_rows = hm_get_u64(&r);
    h.n_nonzero = hm_get_u64(&r);
    h.n_positive = hm_get_u64(&r);
    h.order_hash = hm_get_u64(&r);
    h.n_features = get_u32(&r);
    h.id_bytes = get_u32(&r);
    for (int s = 0; s < HM_SECTIONS; s++)
        h.checksum[s] = hm_get_u64(&r);
    return h;
}

/* Counts that the sections of a file of that size can have; the layout is computed from them only
 * then. */
static int fits(const struct head *h, uint64_t size, struct hm_image *image)
{
    if (h->n_rows > size || h->n_nonzero > size || h->n_features > HM_FEATURES_MAX)
        return 0;
    *image = hm_image_layout(h->n_rows, h->n_nonzero, h->n_features);
    return image->total == size && image->id_bytes == h->id_bytes;
}

enum hm_status inspect_cache_head(const uint8_t *bytes, size_t self_at, unsigned version,
                                  struct hm_err *err)
{
    struct hm_reader r = hm_reader_of(bytes + 8, 8), end = hm_reader_of(bytes + self_at, 8);
    uint32_t is = get_u32(&r);
    if (get_u32(&r) != BYTE_ORDER_MARK)
        return hm_fail(err, HM_EINPUT, "a cache of a machine with another byte order");
    if (is != version)
        return hm_fail(err, HM_EINPUT, "a cache of version %u; version %u is expected", is,
                       version);
    if (hm_get_u64(&end) != XXH3_64bits(bytes, self_at))
        return hm_fail(err, HM_ECORRUPT, "the first page of the cache fails its checksum");
    return HM_OK;
}

static enum hm_status check_head(const struct head *h, const uint8_t *bytes, uint64_t size,
                                 struct hm_image *image, struct hm_err *err)
{
    enum hm_status status = inspect_cache_head(bytes, SELF_AT, VERSION, err);
    if (status)
        return status;
    if (!fits(h, size, image))
        return hm_fail(err, HM_ECORRUPT,
                       "a cache of %llu rows and %llu non-zeros is not %llu bytes long: it was "
                       "truncated or altered",
                       (unsigned long long)h->n_rows, (unsigned long long)h->n_nonzero,
                       (unsigned long long)size);
    return HM_OK;
}

/* 1 when the section hashes to what the header says; -1 without memory. */
static int section_holds(FILE *file, uint64_t at, uint64_t n, uint64_t checksum)
{
    XXH3_state_t *hash = XXH3_createState();
    uint8_t *piece = malloc(PIECE);
    int holds = hash && piece ? fseeko(file, (off_t)at, SEEK_SET) == 0 : -1;
    if (hash)
        XXH3_64bits_reset(hash);
    while (holds > 0 && n) {
        size_t want = n < PIECE ? (size_t)n : PIECE;
        holds = fread(piece, 1, want, file) == want;
        XXH3_64bits_update(hash, piece, want);
        n -= want;
    }
    if (holds > 0)
        holds = XXH3_64bits_digest(hash) == checksum;
    free(piece);
    XXH3_freeState(hash);
    return holds;
}

/* FILE of FILE.hmcache, and whether the cache is newer than it: only where the name says it all. */
static void put_source(json_t *json, const char *path, const struct head *h)
{
    char source_path[4096];
    struct hm_cache cache;
    struct stat st;
    size_t n = strlen(path), n_end = strlen(".hmcache");
    json_object_set_new(json, "source", json_null());
    json_object_set_new(json, "current", json_null());
    if (n <= n_end || n >= sizeof source_path || strcmp(path + n - n_end, ".hmcache") != 0)
        return;
    memcpy(source_path, path, n - n_end);
    source_path[n - n_end] = 0;
    struct hm_rows_source source = {.file = {source_path}, .n_files = 1};
    if (stat(source_path, &st) != 0 || hm_rows_cache_find(&cache, &source, NULL))
        return;
    json_t *name = json_string(source_path); /* NULL when it is not UTF-8 */
    json_object_set_new(json, "source", name ? name : json_null());
    json_object_set_new(
        json, "current",
        json_boolean(memcmp(cache.fingerprint, h->fingerprint, sizeof h->fingerprint) == 0));
}

static json_t *head_json(const struct head *h)
{
    json_t *json =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "kind", "cache", "rows", (json_int_t)h->n_rows,
                  "nonzeros", (json_int_t)h->n_nonzero, "features", (json_int_t)h->n_features,
                  "positives", (json_int_t)h->n_positive, "id_bytes", (json_int_t)h->id_bytes);
    json_t *fingerprint = json_array();
    for (int i = 0; i < 2; i++)
        json_array_append_new(fingerprint, inspect_hex64(h->fingerprint[i]));
    json_object_set_new(json, "order_hash", inspect_hex64(h->order_hash));
    json_object_set_new(json, "sources_fingerprint", fingerprint);
    return json;
}

enum hm_status inspect_sections(json_t *json, FILE *file, const struct inspect_section *section,
                                unsigned n, struct hm_err *err)
{
    enum hm_status status = HM_OK;
    json_t *sections = json_object();
    for (unsigned s = 0; s < n; s++) {
        int holds = section_holds(file, section[s].at, section[s].bytes, section[s].checksum);
        json_object_set_new(sections, section[s].name,
                            json_pack("{s:I, s:b}", "bytes", (json_int_t)section[s].bytes,
                                      "checksum_holds", holds > 0));
        if (holds < 0)
            status = hm_fail(err, HM_ENOMEM, "no memory to check the cache");
        else if (!holds && !status)
            status = hm_fail(err, HM_ECORRUPT,
                             "section '%s' of the cache fails its checksum; delete the file, it is "
                             "made anew from its source",
                             section[s].name);
    }
    json_object_set_new(json, "sections", sections);
    json_object_set_new(json, "checksums_hold", json_boolean(!status));
    return status;
}

static enum hm_status put_sections(json_t *json, FILE *file, const struct head *h,
                                   const struct hm_image *image, struct hm_err *err)
{
    static const char *const name[HM_SECTIONS] = {"order", "label", "start", "id", "value"};
    struct inspect_section section[HM_SECTIONS];
    for (int s = 0; s < HM_SECTIONS; s++)
        section[s] =
            (struct inspect_section){name[s], image->at[s], image->bytes[s], h->checksum[s]};
    return inspect_sections(json, file, section, HM_SECTIONS, err);
}

static enum hm_status inspect(FILE *file, const char *path, json_t **json, struct hm_err *err)
{
    uint8_t bytes[HEADER_BYTES];
    struct stat st;
    struct hm_image image;
    if (fstat(fileno(file), &st) != 0 || fread(bytes, 1, sizeof bytes, file) != sizeof bytes)
        return hm_fail(err, HM_ECORRUPT, "the cache is truncated within its first page");
    struct head head = head_of(bytes);
    enum hm_status status = check_head(&head, bytes, (uint64_t)st.st_size, &image, err);
    if (status)
        return status;
    *json = head_json(&head);
    put_source(*json, path, &head);
    return put_sections(*json, file, &head, &image, err);
}

enum hm_status inspect_cache(const char *path, json_t **json, struct hm_err *err)
{
    *json = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return hm_fail(err, HM_EIO, "cannot read: %s", strerror(errno));
    enum hm_status status = inspect(file, path, json, err);
    fclose(file);
    return status;
}
