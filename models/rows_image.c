#include "models/rows_image.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

/* Small enough to be hashed and written while it is in the second-level cache. */
enum { FLUSH_BYTES = 1 << 18, PIECE_BYTES_MAX = 4 * HM_ROW_NONZEROS_MAX };

static uint64_t aligned(uint64_t n)
{
    return (n + HM_IMAGE_ALIGN - 1) / HM_IMAGE_ALIGN * HM_IMAGE_ALIGN;
}

struct hm_image hm_image_layout(uint64_t n_rows, uint64_t n_nonzero, uint32_t n_features)
{
    struct hm_image image = {.n_rows = n_rows, .n_nonzero = n_nonzero, .n_features = n_features};
    image.id_bytes = n_features <= 65536 ? 2 : 4;
    image.bytes[HM_SECTION_ORDER] = 4 * (uint64_t)n_features;
    image.bytes[HM_SECTION_LABEL] = n_rows;
    image.bytes[HM_SECTION_START] = 8 * (n_rows + 1);
    image.bytes[HM_SECTION_ID] = image.id_bytes * n_nonzero;
    image.bytes[HM_SECTION_VALUE] = 4 * n_nonzero;
    image.total = HM_IMAGE_ALIGN;
    for (int s = 0; s < HM_SECTIONS; s++) {
        image.at[s] = image.total;
        image.total += aligned(image.bytes[s]);
    }
    return image;
}

void hm_image_view(struct hm_rows *rows, const struct hm_image *image, void *base)
{
    const uint8_t *b = base;
    const void *id = b + image->at[HM_SECTION_ID];
    *rows = (struct hm_rows){
        .n_rows = image->n_rows,
        .n_nonzero = image->n_nonzero,
        .n_features = image->n_features,
        .order = (const void *)(b + image->at[HM_SECTION_ORDER]),
        .label = (const void *)(b + image->at[HM_SECTION_LABEL]),
        .start = (const void *)(b + image->at[HM_SECTION_START]),
        .id16 = image->id_bytes == 2 ? id : NULL,
        .id32 = image->id_bytes == 4 ? id : NULL,
        .value = (const void *)(b + image->at[HM_SECTION_VALUE]),
        .map = base,
        .map_bytes = image->total,
    };
}

enum hm_status hm_image_to_memory(struct hm_image_writer *writer, const struct hm_image *image,
                                  struct hm_err *err)
{
    *writer = (struct hm_image_writer){.image = *image, .fd = -1};
    void *base =
        mmap(NULL, image->total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return hm_fail(err, HM_ENOMEM, "no memory for %llu MB of rows",
                       (unsigned long long)image->total >> 20);
    madvise(base, image->total, MADV_HUGEPAGE);
    writer->base = base;
    return HM_OK;
}

enum hm_status hm_image_to_file(struct hm_image_writer *writer, const struct hm_image *image,
                                int fd, struct hm_err *err)
{
    *writer = (struct hm_image_writer){.image = *image, .fd = fd};
    for (int s = 0; s < HM_SECTIONS; s++) {
        struct hm_image_part *part = &writer->part[s];
        part->buffer = malloc(FLUSH_BYTES + PIECE_BYTES_MAX);
        part->hash = XXH3_createState();
        if (!part->buffer || !part->hash || XXH3_64bits_reset(part->hash) != XXH_OK) {
            hm_image_fini(writer);
            return hm_fail(err, HM_ENOMEM, "out of memory");
        }
    }
    return HM_OK;
}

static enum hm_status write_all(int fd, const uint8_t *from, size_t n, uint64_t at,
                                struct hm_err *err)
{
    while (n) {
        ssize_t done = pwrite(fd, from, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return hm_fail(err, HM_EIO, "%s", done ? strerror(errno) : "nothing could be written");
        from += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return HM_OK;
}

static enum hm_status flush(struct hm_image_writer *writer, int section, struct hm_err *err)
{
    struct hm_image_part *part = &writer->part[section];
    assert(part->written + part->held <= writer->image.bytes[section]);
    XXH3_64bits_update(part->hash, part->buffer, part->held);
    uint64_t at = writer->image.at[section] + part->written;
    part->written += part->held;
    size_t n = part->held;
    part->held = 0;
    return write_all(writer->fd, part->buffer, n, at, err);
}

void *hm_image_room(struct hm_image_writer *writer, enum hm_section section, size_t bytes,
                    struct hm_err *err)
{
    struct hm_image_part *part = &writer->part[section];
    assert(bytes <= PIECE_BYTES_MAX);
    if (writer->base) {
        assert(part->written + bytes <= writer->image.bytes[section]);
        return writer->base + writer->image.at[section] + part->written;
    }
    if (part->held >= FLUSH_BYTES && flush(writer, section, err) != HM_OK)
        return NULL;
    return part->buffer + part->held;
}

/* A file must be as long as its layout says, also where the last page is not full. */
static enum hm_status finish_file(struct hm_image_writer *writer, struct hm_err *err)
{
    for (int s = 0; s < HM_SECTIONS; s++) {
        enum hm_status status = flush(writer, s, err);
        if (status != HM_OK)
            return status;
        writer->checksum[s] = XXH3_64bits_digest(writer->part[s].hash);
    }
    if (ftruncate(writer->fd, (off_t)writer->image.total) != 0)
        return hm_fail(err, HM_EIO, "%s", strerror(errno));
    return HM_OK;
}

enum hm_status hm_image_finish(struct hm_image_writer *writer, struct hm_rows *rows,
                               struct hm_err *err)
{
    if (!writer->base) {
        enum hm_status status = finish_file(writer, err);
        if (status != HM_OK)
            return status;
    }
    for (int s = 0; s < HM_SECTIONS; s++)
        assert(writer->part[s].written == writer->image.bytes[s]);
    if (writer->base)
        hm_image_view(rows, &writer->image, writer->base);
    writer->base = NULL; /* it is the rows' now */
    return HM_OK;
}

void hm_image_fini(struct hm_image_writer *writer)
{
    if (writer->base)
        munmap(writer->base, writer->image.total);
    for (int s = 0; s < HM_SECTIONS; s++) {
        free(writer->part[s].buffer);
        XXH3_freeState(writer->part[s].hash);
    }
    *writer = (struct hm_image_writer){.fd = -1};
}
