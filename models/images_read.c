/* The formats of image files.
 *
 * IDX (http://yann.lecun.com/exdb/mnist): 00 00, element type, number of dimensions, the dimensions
 * as big-endian 32-bit numbers, the elements. A CIFAR-10 binary batch
 * (https://www.cs.toronto.edu/~kriz/cifar.html) has no header: records of a label and 32 x 32 bytes
 * of red, of green and of blue.
 */
#include "models/images_read.h"

#include "models/input.h"

#include <stdio.h>
#include <string.h>

enum {
    IDX_UBYTE = 8,
    IDX_HEAD_MAX = 16,
    CIFAR_SIDE = 32,
    CIFAR_CHANNELS = 3,
    CIFAR_PIXELS = CIFAR_CHANNELS * CIFAR_SIDE * CIFAR_SIDE,
    CIFAR_RECORD = 1 + CIFAR_PIXELS,
    PIECE_BYTES = 1 << 20,
    REPORT_BYTES = 1 << 22,
};

void hm_images_builder_fini(struct hm_images_builder *builder)
{
    hm_grow_free(&builder->pixel);
    hm_grow_free(&builder->label);
}

/* ---- bytes ---- */

/* Reads n bytes, fewer at the end of the file. */
static enum hm_status take(struct hm_input *input, uint8_t *into, size_t n, size_t *got,
                           struct hm_err *err)
{
    size_t piece;
    enum hm_status status = HM_OK;
    for (*got = 0; *got < n; *got += piece)
        if ((status = hm_input_read(input, into + *got, n - *got, &piece, err)) || !piece)
            break;
    return status;
}

/* A file of images that is being read. */
struct source {
    const char *path;
    struct hm_input *input;
    const struct hm_progress *progress;
    char what[128];
    uint8_t head[IDX_HEAD_MAX];
    size_t n_head;
};

static int report(const struct source *source)
{
    return hm_report(source->progress, source->what, (double)hm_input_position(source->input),
                     (double)hm_input_size(source->input), "bytes");
}

/* Appends up to n bytes to what has grown; memory is only taken for bytes that are there. */
static enum hm_status append(const struct source *source, struct hm_grow *grow, uint64_t n,
                             uint64_t *got, struct hm_err *err)
{
    for (*got = 0; *got < n;) {
        size_t piece = n - *got < PIECE_BYTES ? (size_t)(n - *got) : PIECE_BYTES, read;
        if (hm_grow_reserve(grow, grow->used + piece) != 0)
            return hm_fail(err, HM_ENOMEM, "%s: no memory for its images", source->path);
        enum hm_status status = take(source->input, grow->base + grow->used, piece, &read, err);
        if (status)
            return status;
        grow->used += read;
        *got += read;
        if (read < piece)
            break;
        if (*got % REPORT_BYTES == 0 && report(source))
            return hm_fail(err, HM_ESTOPPED, "%s: stopped while reading it", source->path);
    }
    return HM_OK;
}

static enum hm_status check_end(const struct source *source, uint64_t n, const char *what,
                                struct hm_err *err)
{
    uint8_t byte;
    size_t more;
    enum hm_status status = take(source->input, &byte, 1, &more, err);
    if (!status && more)
        return hm_fail(err, HM_EINPUT,
                       "%s: the file goes on after the %llu %s that its header announces; fetch it "
                       "again",
                       source->path, (unsigned long long)n, what);
    return status;
}

/* ---- shapes and labels ---- */

static enum hm_status set_shape(struct hm_images_builder *builder, const char *path,
                                uint32_t channels, uint32_t height, uint32_t width,
                                struct hm_err *err)
{
    if (builder->channels &&
        (builder->channels != channels || builder->height != height || builder->width != width))
        return hm_fail(err, HM_EINPUT,
                       "%s: its images are %u x %u x %u, those of %s are %u x %u x %u (channels, "
                       "height, width); one set has one shape",
                       path, channels, height, width, builder->last_pixels, builder->channels,
                       builder->height, builder->width);
    builder->channels = channels;
    builder->height = height;
    builder->width = width;
    builder->last_pixels = path;
    return HM_OK;
}

static enum hm_status check_labels(const char *path, const uint8_t *label, uint64_t n,
                                   struct hm_err *err)
{
    for (uint64_t i = 0; i < n; i++)
        if (label[i] >= HM_CLASSES)
            return hm_fail(err, HM_EINPUT, "%s: label %llu is %u; 0 to %d is expected", path,
                           (unsigned long long)i + 1, label[i], HM_CLASSES - 1);
    return HM_OK;
}

/* ---- IDX ---- */

static uint32_t big_endian(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static int is_idx(const uint8_t *head, size_t n)
{
    return n >= 4 && !head[0] && !head[1] && head[2] >= 8 && head[2] <= 14 && head[3] <= 4;
}

static enum hm_status check_idx_head(const struct source *source, struct hm_err *err)
{
    unsigned type = source->head[2], dimensions = source->head[3];
    if (type != IDX_UBYTE)
        return hm_fail(err, HM_EINPUT,
                       "%s: header: element type 0x%02x; 0x08, unsigned bytes, is expected",
                       source->path, type);
    if (dimensions != 1 && dimensions != 3)
        return hm_fail(err, HM_EINPUT,
                       "%s: header: %u dimensions; 3 (images) or 1 (labels) are expected",
                       source->path, dimensions);
    if (source->n_head < 4 + 4 * dimensions)
        return hm_fail(err, HM_EINPUT, "%s: header: cut off after %zu bytes; %u are expected",
                       source->path, source->n_head, 4 + 4 * dimensions);
    return HM_OK;
}

static enum hm_status check_count(const struct source *source, uint32_t n, const char *what,
                                  uint64_t before, struct hm_err *err)
{
    if (!n || before + n > INT32_MAX)
        return hm_fail(err, HM_EINPUT, "%s: header: %u %s; 1 to %d are expected", source->path, n,
                       what, INT32_MAX);
    return HM_OK;
}

static enum hm_status read_idx_pixels(struct hm_images_builder *builder,
                                      const struct source *source, struct hm_err *err)
{
    uint32_t n = big_endian(source->head + 4), height = big_endian(source->head + 8),
             width = big_endian(source->head + 12);
    enum hm_status status = check_count(source, n, "images", builder->n_pixels, err);
    if (status)
        return status;
    if (!height || !width || height > HM_IMAGES_SIDE_MAX || width > HM_IMAGES_SIDE_MAX)
        return hm_fail(err, HM_EINPUT,
                       "%s: header: images of %u x %u; sides of 1 to %d are expected", source->path,
                       height, width, HM_IMAGES_SIDE_MAX);
    uint64_t image = (uint64_t)height * width, got;
    if ((status = set_shape(builder, source->path, 1, height, width, err)) ||
        (status = append(source, &builder->pixel, n * image, &got, err)))
        return status;
    if (got < n * image)
        return hm_fail(err, HM_EINPUT,
                       "%s: ends after %llu of the %u images that its header announces",
                       source->path, (unsigned long long)(got / image), n);
    builder->n_pixels += n;
    return check_end(source, n, "images", err);
}

static enum hm_status read_idx_labels(struct hm_images_builder *builder,
                                      const struct source *source, struct hm_err *err)
{
    uint32_t n = big_endian(source->head + 4);
    uint64_t got;
    size_t from = builder->label.used, held = source->n_head - 8;
    enum hm_status status = check_count(source, n, "labels", builder->n_labels, err);
    if (status)
        return status;
    held = held < n ? held : n; /* the head is as long as that of images */
    if (hm_grow_reserve(&builder->label, from + held + 1) != 0)
        return hm_fail(err, HM_ENOMEM, "%s: no memory for its labels", source->path);
    memcpy(builder->label.base + from, source->head + 8, held);
    builder->label.used += held;
    if ((status = append(source, &builder->label, n - held, &got, err)))
        return status;
    if (got < n - held)
        return hm_fail(err, HM_EINPUT,
                       "%s: ends after %llu of the %u labels that its header announces",
                       source->path, (unsigned long long)(held + got), n);
    if (source->n_head - 8 > n)
        return hm_fail(err, HM_EINPUT,
                       "%s: the file goes on after the %u labels that its header announces; fetch "
                       "it again",
                       source->path, n);
    builder->n_labels += n;
    builder->last_labels = source->path;
    if ((status = check_end(source, n, "labels", err)))
        return status;
    return check_labels(source->path, builder->label.base + from, n, err);
}

/* ---- CIFAR-10 ---- */

static enum hm_status add_record(struct hm_images_builder *builder, const char *path,
                                 const uint8_t *record, struct hm_err *err)
{
    if (hm_grow_reserve(&builder->label, builder->label.used + 1) != 0 ||
        hm_grow_reserve(&builder->pixel, builder->pixel.used + CIFAR_PIXELS) != 0)
        return hm_fail(err, HM_ENOMEM, "%s: no memory for its images", path);
    builder->label.base[builder->label.used++] = record[0];
    memcpy(builder->pixel.base + builder->pixel.used, record + 1, CIFAR_PIXELS);
    builder->pixel.used += CIFAR_PIXELS;
    builder->n_pixels++;
    builder->n_labels++;
    return HM_OK;
}

static enum hm_status read_cifar(struct hm_images_builder *builder, const struct source *source,
                                 struct hm_err *err)
{
    uint8_t record[CIFAR_RECORD];
    size_t got = source->n_head;
    uint64_t n = 0;
    enum hm_status status =
        set_shape(builder, source->path, CIFAR_CHANNELS, CIFAR_SIDE, CIFAR_SIDE, err);
    memcpy(record, source->head, got);
    for (size_t more; !status; n++, got = 0) {
        if ((status = take(source->input, record + got, CIFAR_RECORD - got, &more, err)))
            return status;
        got += more;
        if (!got)
            break;
        if (got < CIFAR_RECORD)
            return hm_fail(err, HM_EINPUT,
                           "%s: record %llu: ends after %zu of %d bytes; a CIFAR-10 batch is "
                           "records of a label and %d pixels",
                           source->path, (unsigned long long)n + 1, got, CIFAR_RECORD,
                           CIFAR_PIXELS);
        if (record[0] >= HM_CLASSES)
            return hm_fail(err, HM_EINPUT,
                           "%s: record %llu: the label is %u; 0 to %d is expected of a CIFAR-10 "
                           "batch",
                           source->path, (unsigned long long)n + 1, record[0], HM_CLASSES - 1);
        if (builder->n_pixels == INT32_MAX)
            return hm_fail(err, HM_EINPUT, "%s: more than %d images", source->path, INT32_MAX);
        status = add_record(builder, source->path, record, err);
        if (!status && n % 1024 == 1023 && report(source))
            status = hm_fail(err, HM_ESTOPPED, "%s: stopped while reading it", source->path);
    }
    builder->last_labels = source->path;
    return status;
}

/* ---- any of them ---- */

static int name_has(const char *path, const char *part)
{
    const char *slash = strrchr(path, '/');
    return strstr(slash ? slash + 1 : path, part) != NULL;
}

/* A batch has no mark; its name has to help: data_batch_1.bin. */
static enum hm_image_format format_of(const char *path, const uint8_t *head, size_t n)
{
    if (is_idx(head, n) && (head[3] == 1 || head[3] == 3))
        return head[3] == 1 ? HM_IMAGE_IDX_LABELS : HM_IMAGE_IDX_PIXELS;
    if (is_idx(head, n) && name_has(path, "idx"))
        return HM_IMAGE_IDX_PIXELS; /* of a kind that will be refused in words */
    if (n && head[0] < HM_CLASSES && name_has(path, ".bin"))
        return HM_IMAGE_CIFAR;
    return HM_IMAGE_NONE;
}

static enum hm_status open_source(struct source *source, const char *path, struct hm_err *err)
{
    *source = (struct source){.path = path};
    enum hm_status status = hm_input_open(&source->input, path, err);
    if (!status)
        status = take(source->input, source->head, sizeof source->head, &source->n_head, err);
    return status;
}

enum hm_status hm_image_recognise(const char *path, enum hm_image_format *format,
                                  struct hm_err *err)
{
    struct source source;
    struct hm_err why = {""};
    *format = HM_IMAGE_NONE;
    enum hm_status status = open_source(&source, path, &why);
    hm_input_close(source.input);
    if (status && (name_has(path, "ubyte") || name_has(path, ".bin")))
        return hm_fail(err, status, "%s", why.text);
    if (!status)
        *format = format_of(path, source.head, source.n_head);
    return HM_OK;
}

static enum hm_status read_source(struct hm_images_builder *builder, struct source *source,
                                  struct hm_err *err)
{
    const uint8_t *head = source->head;
    if (is_idx(head, source->n_head)) {
        enum hm_status status = check_idx_head(source, err);
        if (status)
            return status;
        return head[3] == 3 ? read_idx_pixels(builder, source, err)
                            : read_idx_labels(builder, source, err);
    }
    if (!source->n_head)
        return hm_fail(err, HM_EINPUT, "%s: is empty", source->path);
    if (head[0] < HM_CLASSES)
        return read_cifar(builder, source, err);
    return hm_fail(
        err, HM_EINPUT,
        "%s: begins with 0x%02x; an IDX file (00 00 08 ..) or a CIFAR-10 binary batch is "
        "expected",
        source->path, head[0]);
}

enum hm_status hm_image_file_read(struct hm_images_builder *builder, const char *path,
                                  const struct hm_progress *progress, struct hm_err *err)
{
    struct source source;
    enum hm_status status = open_source(&source, path, err);
    source.progress = progress;
    snprintf(source.what, sizeof source.what, "read %.100s", path);
    if (!status)
        status = read_source(builder, &source, err);
    hm_input_close(source.input);
    return status;
}
