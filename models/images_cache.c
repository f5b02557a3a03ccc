#include "models/images_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { VERSION = 1, PAGE = 4096 };
_Static_assert((int)HM_IMAGES_FILES_MAX <= (int)HM_CACHE_SOURCES_MAX, "every file is a source");
#define MAGIC           "hmimgs\r\n" /* the line end notices a transfer in text mode */
#define BYTE_ORDER_MARK 0x01020304u

/* Page 0, in the byte order of the machine; nothing lies between the fields. */
struct header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t fingerprint[2];
    uint32_t n, channels, height, width;
    uint64_t pixel_checksum, label_checksum; /* XXH3 */
    uint64_t self;                           /* XXH3 of the fields above */
};
_Static_assert(sizeof(struct header) == 72, "the header has no padding");

enum hm_status hm_images_cache_find(struct hm_cache *cache, const char *const *file,
                                    unsigned n_files, struct hm_err *err)
{
    uint32_t numbers[2] = {VERSION, n_files};
    struct hm_cache_key key = {
        .n_files = n_files, .parameters = numbers, .n_parameters = sizeof numbers};
    for (unsigned i = 0; i < n_files; i++)
        key.file[i] = file[i];
    return hm_cache_find(cache, &key, err);
}

/* ---- reading ---- */

static uint64_t header_hash(const struct header *h)
{
    return XXH3_64bits(h, offsetof(struct header, self));
}

static int is_current(const struct hm_cache *cache, const struct header *h)
{
    return memcmp(h->magic, MAGIC, 8) == 0 && h->version == VERSION &&
           h->byte_order == BYTE_ORDER_MARK && h->self == header_hash(h) &&
           memcmp(h->fingerprint, cache->fingerprint, sizeof h->fingerprint) == 0;
}

/* Where the labels lie. */
static uint64_t labels_at(const struct hm_images *images)
{
    uint64_t end = PAGE + images->n * (uint64_t)hm_image_bytes(images);
    return (end + PAGE - 1) / PAGE * PAGE;
}

static int shape_ok(const struct header *h)
{
    return h->n && h->n <= INT32_MAX && h->channels && h->channels <= 4 && h->height &&
           h->height <= HM_IMAGES_SIDE_MAX && h->width && h->width <= HM_IMAGES_SIDE_MAX;
}

static int is_sound(const struct header *h, const struct hm_images *images)
{
    if (XXH3_64bits(images->pixel, images->n * hm_image_bytes(images)) != h->pixel_checksum ||
        XXH3_64bits(images->label, images->n) != h->label_checksum)
        return 0;
    for (uint32_t i = 0; i < images->n; i++)
        if (images->label[i] >= HM_CLASSES)
            return 0;
    return 1;
}

static int map_images(int fd, const struct header *h, struct hm_images *images)
{
    struct stat st;
    *images = (struct hm_images){
        .n = h->n, .channels = h->channels, .height = h->height, .width = h->width};
    if (!shape_ok(h) || fstat(fd, &st) != 0 || (uint64_t)st.st_size != labels_at(images) + h->n)
        return -1;
    const uint8_t *base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -1;
    images->map = (void *)(uintptr_t)base;
    images->map_bytes = (size_t)st.st_size;
    images->pixel = base + PAGE;
    images->label = base + labels_at(images);
    return is_sound(h, images) ? 0 : -1;
}

static int load(const struct hm_cache *cache, const char *place, struct hm_images *images)
{
    struct header h;
    int fd = open(place, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int bad = pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h || !is_current(cache, &h) ||
              map_images(fd, &h, images) != 0;
    close(fd);
    if (bad)
        hm_images_close(images);
    return bad ? -1 : 0;
}

const char *hm_images_cache_load(const struct hm_cache *cache, struct hm_images *images)
{
    for (int i = 0; i < HM_CACHE_PLACES; i++)
        if (cache->place[i][0] && load(cache, cache->place[i], images) == 0)
            return cache->place[i];
    return NULL;
}

/* ---- writing ---- */

/* What is written. */
struct job {
    const struct hm_cache *cache;
    const struct hm_images *images;
};

static enum hm_status put(int fd, const void *bytes, uint64_t n, uint64_t at, struct hm_err *err)
{
    for (const uint8_t *from = bytes; n;) {
        ssize_t done = pwrite(fd, from, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return hm_fail(err, HM_EIO, "%s", done ? strerror(errno) : "nothing could be written");
        from += done;
        at += (uint64_t)done;
        n -= (uint64_t)done;
    }
    return HM_OK;
}

static enum hm_status write_images(void *context, int fd, struct hm_err *err)
{
    const struct job *job = context;
    const struct hm_images *images = job->images;
    uint64_t pixel_bytes = images->n * (uint64_t)hm_image_bytes(images);
    struct header h = {
        .magic = MAGIC,
        .version = VERSION,
        .byte_order = BYTE_ORDER_MARK,
        .n = images->n,
        .channels = images->channels,
        .height = images->height,
        .width = images->width,
        .pixel_checksum = XXH3_64bits(images->pixel, pixel_bytes),
        .label_checksum = XXH3_64bits(images->label, images->n),
    };
    memcpy(h.fingerprint, job->cache->fingerprint, sizeof h.fingerprint);
    h.self = header_hash(&h);
    enum hm_status status = put(fd, images->pixel, pixel_bytes, PAGE, err);
    if (!status)
        status = put(fd, images->label, images->n, labels_at(images), err);
    return status ? status : put(fd, &h, sizeof h, 0, err);
}

enum hm_status hm_images_cache_write(const struct hm_cache *cache, const char *place,
                                     const struct hm_images *images, struct hm_err *err)
{
    struct job job = {cache, images};
    return hm_cache_publish(place, write_images, &job, err);
}
