/* hogmesh inspect: the cache of a set of images (models/images_cache.h), read piece by piece as
 * that of rows is. */
#include "tools/inspect.h"

#include "models/images.h"
#include "protocol/bytes.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADER_BYTES = 72, SELF_AT = HEADER_BYTES - 8, PAGE = 4096, VERSION = 1, PIECE = 4096 };

struct head {
    uint64_t fingerprint[2], n, channels, height, width, pixel_checksum, label_checksum;
};

/* Two fields of 32 bits. */
static void get_pair(struct hm_reader *r, uint64_t *first, uint64_t *second)
{
    uint64_t both = hm_get_u64(r);
    *first = both & UINT32_MAX;
    *second = both >> 32;
}

static struct head head_of(const uint8_t bytes[HEADER_BYTES])
{
    struct head h;
    struct hm_reader r = hm_reader_of(bytes + 16, SELF_AT - 16);
    h.fingerprint[0] = hm_get_u64(&r);
    h.fingerprint[1] = hm_get_u64(&r);
    get_pair(&r, &h.n, &h.channels);
    get_pair(&r, &h.height, &h.width);
    h.pixel_checksum = hm_get_u64(&r);
    h.label_checksum = hm_get_u64(&r);
    return h;
}

static uint64_t pixels_of(const struct head *h)
{
    return h->n * h->channels * h->height * h->width;
}

static uint64_t labels_at(const struct head *h)
{
    return (PAGE + pixels_of(h) + PAGE - 1) / PAGE * PAGE;
}

static enum hm_status check_head(const struct head *h, uint64_t size, struct hm_err *err)
{
    if (!h->n || h->n > INT32_MAX || !h->channels || h->channels > 4 || !h->height ||
        h->height > HM_IMAGES_SIDE_MAX || !h->width || h->width > HM_IMAGES_SIDE_MAX)
        return hm_fail(err, HM_ECORRUPT,
                       "a cache of %llu images of %llu x %llu x %llu (channels, height, width), "
                       "which cannot be: at least one of at most 4 x %d x %d is expected",
                       (unsigned long long)h->n, (unsigned long long)h->channels,
                       (unsigned long long)h->height, (unsigned long long)h->width,
                       HM_IMAGES_SIDE_MAX, HM_IMAGES_SIDE_MAX);
    if (labels_at(h) + h->n != size)
        return hm_fail(err, HM_ECORRUPT,
                       "a cache of %llu images of %llu x %llu x %llu is not %llu bytes long: it "
                       "was truncated or altered",
                       (unsigned long long)h->n, (unsigned long long)h->channels,
                       (unsigned long long)h->height, (unsigned long long)h->width,
                       (unsigned long long)size);
    return HM_OK;
}

/* Counts the labels of each class. */
static enum hm_status count_labels(FILE *file, const struct head *h, json_t *json,
                                   struct hm_err *err)
{
    uint8_t piece[PIECE];
    uint64_t count[HM_CLASSES] = {0}, at = 0;
    if (fseeko(file, (off_t)labels_at(h), SEEK_SET) != 0)
        return hm_fail(err, HM_EIO, "cannot read: %s", strerror(errno));
    for (size_t got; at < h->n && (got = fread(piece, 1, sizeof piece, file)) > 0; at += got)
        for (size_t i = 0; i < got; i++) {
            if (piece[i] >= HM_CLASSES)
                return hm_fail(err, HM_ECORRUPT,
                               "the label of image %llu of the cache is %u; 0 to %d is expected",
                               (unsigned long long)(at + i), piece[i], HM_CLASSES - 1);
            count[piece[i]]++;
        }
    if (at != h->n)
        return hm_fail(err, HM_ECORRUPT, "the labels of the cache are truncated");
    json_t *classes = json_array();
    for (unsigned i = 0; i < HM_CLASSES; i++)
        json_array_append_new(classes, json_integer((json_int_t)count[i]));
    json_object_set_new(json, "classes", classes);
    return HM_OK;
}

static json_t *head_json(const struct head *h)
{
    json_t *fingerprint = json_array();
    for (int i = 0; i < 2; i++)
        json_array_append_new(fingerprint, inspect_hex64(h->fingerprint[i]));
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "kind", "image cache", "images",
                     (json_int_t)h->n, "channels", (json_int_t)h->channels, "height",
                     (json_int_t)h->height, "width", (json_int_t)h->width, "sources_fingerprint",
                     fingerprint);
}

static enum hm_status inspect(FILE *file, json_t **json, struct hm_err *err)
{
    uint8_t bytes[HEADER_BYTES];
    struct stat st;
    if (fstat(fileno(file), &st) != 0 || fread(bytes, 1, sizeof bytes, file) != sizeof bytes)
        return hm_fail(err, HM_ECORRUPT, "the cache is truncated within its first page");
    struct head head = head_of(bytes);
    enum hm_status status = inspect_cache_head(bytes, SELF_AT, VERSION, err);
    if (!status)
        status = check_head(&head, (uint64_t)st.st_size, err);
    if (status)
        return status;
    struct inspect_section section[] = {
        {"pixel", PAGE, pixels_of(&head), head.pixel_checksum},
        {"label", labels_at(&head), head.n, head.label_checksum},
    };
    *json = head_json(&head);
    status = inspect_sections(*json, file, section, 2, err);
    return status ? status : count_labels(file, &head, *json, err);
}

enum hm_status inspect_images(const char *path, json_t **json, struct hm_err *err)
{
    *json = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return hm_fail(err, HM_EIO, "cannot read: %s", strerror(errno));
    enum hm_status status = inspect(file, json, err);
    fclose(file);
    return status;
}
