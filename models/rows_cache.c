#include "models/rows_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { VERSION = 1 };
_Static_assert(HM_ROWS_FILES_MAX + 1 <= HM_CACHE_SOURCES_MAX, "and the topics");
#define MAGIC           "hmrows\r\n" /* the line end notices a transfer in text mode */
#define BYTE_ORDER_MARK 0x01020304u

/* Page 0 of the file, in the byte order of the machine; nothing lies between the fields. */
struct header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t fingerprint[2];
    uint64_t n_rows, n_nonzero, n_positive, order_hash;
    uint32_t n_features, id_bytes;
    uint64_t checksum[HM_SECTIONS]; /* XXH3 of every section */
    uint64_t self;                  /* XXH3 of the fields above */
};
_Static_assert(sizeof(struct header) == 120, "the header has no padding");
_Static_assert(sizeof(struct header) <= HM_IMAGE_ALIGN, "the header fits its page");

/* ---- what the cache must say ---- */

enum hm_status hm_rows_cache_find(struct hm_cache *cache, const struct hm_rows_source *source,
                                  struct hm_err *err)
{
    const char *topic = source->topic ? source->topic : "";
    uint32_t numbers[3] = {VERSION, source->n_files, source->n_features};
    size_t n = sizeof numbers + strlen(topic) + 1;
    struct hm_cache_key key = {.n_parameters = n};
    char *parameters = malloc(n);
    if (!parameters)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    memcpy(parameters, numbers, sizeof numbers);
    memcpy(parameters + sizeof numbers, topic, strlen(topic) + 1);
    key.parameters = parameters;
    key.plain = source->n_files == 1 && !source->topics && !source->topic && !source->n_features;
    for (unsigned i = 0; i < source->n_files; i++)
        key.file[key.n_files++] = source->file[i];
    if (source->topics)
        key.file[key.n_files++] = source->topics;
    enum hm_status status = hm_cache_find(cache, &key, err);
    free(parameters);
    return status;
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

/* Everything is checked, so that what is mapped is what was written: no flipped bit can change a
 * result or make an index leave its array. For RCV1's 359 MB in the page cache that takes 31 ms, of
 * which 18 go into mapping the pages, which training would have to pay for anyway. */
static int is_sound(const struct header *h, const struct hm_image *image, const uint8_t *base)
{
    for (int s = 0; s < HM_SECTIONS; s++)
        if (XXH3_64bits(base + image->at[s], image->bytes[s]) != h->checksum[s])
            return 0;
    return 1;
}

/* The image of a file of that size, from counts that nobody has checked: what is more than the file
 * could hold never gets into a sum, which it might make wrap around. */
static int image_of(const struct header *h, uint64_t size, struct hm_image *image)
{
    if (h->n_rows > size || h->n_nonzero > size || h->n_features > HM_FEATURES_MAX)
        return -1;
    *image = hm_image_layout(h->n_rows, h->n_nonzero, h->n_features);
    return image->total == size && image->id_bytes == h->id_bytes ? 0 : -1;
}

static int map_image(int fd, const struct header *h, struct hm_rows *rows)
{
    struct hm_image image;
    struct stat st;
    if (fstat(fd, &st) != 0 || image_of(h, (uint64_t)st.st_size, &image) != 0)
        return -1;
    void *base = mmap(NULL, image.total, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -1;
    if (!is_sound(h, &image, base)) {
        munmap(base, image.total);
        return -1;
    }
    hm_image_view(rows, &image, base);
    rows->n_positive = h->n_positive;
    rows->order_hash = h->order_hash;
    rows->map_is_file = 1;
    return 0;
}

static int load(const struct hm_cache *cache, const char *place, struct hm_rows *rows)
{
    struct header h;
    int fd = open(place, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int bad = pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h || !is_current(cache, &h) ||
              map_image(fd, &h, rows) != 0;
    close(fd);
    return bad ? -1 : 0;
}

const char *hm_rows_cache_load(const struct hm_cache *cache, struct hm_rows *rows)
{
    for (int i = 0; i < HM_CACHE_PLACES; i++)
        if (cache->place[i][0] && load(cache, cache->place[i], rows) == 0)
            return cache->place[i];
    return NULL;
}

/* ---- writing ---- */

/* What is written. */
struct job {
    const struct hm_cache *cache;
    const struct hm_rows_builder *builder;
    const struct hm_builder_plan *plan;
    const struct hm_progress *progress;
};

static enum hm_status write_header(const struct job *job, const struct hm_image_writer *writer,
                                   struct hm_err *err)
{
    const struct hm_builder_plan *plan = job->plan;
    const struct hm_image *image = &plan->image;
    struct header h = {
        .magic = MAGIC,
        .version = VERSION,
        .byte_order = BYTE_ORDER_MARK,
        .n_rows = image->n_rows,
        .n_nonzero = image->n_nonzero,
        .n_positive = job->builder->n_positive,
        .order_hash = hm_order_hash(plan->order, image->n_features),
        .n_features = image->n_features,
        .id_bytes = image->id_bytes,
    };
    memcpy(h.fingerprint, job->cache->fingerprint, sizeof h.fingerprint);
    memcpy(h.checksum, writer->checksum, sizeof h.checksum);
    h.self = header_hash(&h);
    if (pwrite(writer->fd, &h, sizeof h, 0) != (ssize_t)sizeof h)
        return hm_fail(err, HM_EIO, "%s", strerror(errno));
    return HM_OK;
}

static enum hm_status write_rows(void *context, int fd, struct hm_err *err)
{
    const struct job *job = context;
    struct hm_image_writer writer;
    enum hm_status status = hm_image_to_file(&writer, &job->plan->image, fd, err);
    if (status != HM_OK)
        return status;
    status = hm_builder_write(job->builder, job->plan, &writer, job->progress, err);
    if (status == HM_OK)
        status = hm_image_finish(&writer, NULL, err);
    if (status == HM_OK)
        status = write_header(job, &writer, err);
    hm_image_fini(&writer);
    return status;
}

enum hm_status hm_rows_cache_write(const struct hm_cache *cache, const char *place,
                                   const struct hm_rows_builder *builder,
                                   const struct hm_builder_plan *plan,
                                   const struct hm_progress *progress, struct hm_err *err)
{
    struct job job = {cache, builder, plan, progress};
    return hm_cache_publish(place, write_rows, &job, err);
}
