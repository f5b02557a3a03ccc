/* The one layout of rows, in memory and in the cache file: five arrays, each at a page boundary.
 *
 * A writer takes the arrays in pieces and puts them into memory or into a file at their places; of
 * what goes to a file it takes the XXH3 checksums on the way. */
#ifndef HM_MODELS_ROWS_IMAGE_H
#define HM_MODELS_ROWS_IMAGE_H

#include "models/rows.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum hm_section {
    HM_SECTION_ORDER,
    HM_SECTION_LABEL,
    HM_SECTION_START,
    HM_SECTION_ID,
    HM_SECTION_VALUE,
    HM_SECTIONS
};

enum { HM_IMAGE_ALIGN = 4096 };

struct hm_image {
    uint64_t n_rows, n_nonzero;
    uint32_t n_features, id_bytes; /* 2 or 4 */
    uint64_t
        at[HM_SECTIONS]; /* from the start of the image; the first page is left to the header */
    uint64_t bytes[HM_SECTIONS];
    uint64_t total;
};

/* The layout of a dataset of that shape. The counts must be within the limits of rows.h. */
struct hm_image hm_image_layout(uint64_t n_rows, uint64_t n_nonzero, uint32_t n_features);

/* Points the arrays and counts of rows into the image at base; labels are not counted, order is not
 * hashed. */
void hm_image_view(struct hm_rows *rows, const struct hm_image *image, void *base);

struct hm_image_writer {
    struct hm_image image;
    uint8_t *base; /* the image in memory; NULL: it goes to fd */
    int fd;
    struct hm_image_part {
        uint8_t *buffer; /* of a file's section: [flush + the largest piece] */
        size_t held;
        uint64_t written;
        void *hash; /* XXH3_state_t */
    } part[HM_SECTIONS];
    uint64_t checksum[HM_SECTIONS]; /* of a file's sections, after hm_image_finish */
};

/* Prepares a writer to memory: one private mapping of image->total bytes, which hm_image_finish
 * hands over. */
enum hm_status hm_image_to_memory(struct hm_image_writer *writer, const struct hm_image *image,
                                  struct hm_err *err);

/* Prepares a writer to the file fd, which stays the caller's. */
enum hm_status hm_image_to_file(struct hm_image_writer *writer, const struct hm_image *image,
                                int fd, struct hm_err *err);

/* Where the next `bytes` (up to 4 * HM_ROW_NONZEROS_MAX) of the section go; hm_image_advance says
 * how many were written there. NULL with err filled: the file cannot be written. */
void *hm_image_room(struct hm_image_writer *writer, enum hm_section section, size_t bytes,
                    struct hm_err *err);
static inline void hm_image_advance(struct hm_image_writer *writer, enum hm_section section,
                                    size_t bytes)
{
    if (writer->base)
        writer->part[section].written += bytes;
    else
        writer->part[section].held += bytes;
}

/* Writes what is held and asserts that every section is complete. After a writer to memory, *rows
 * owns the mapping. */
enum hm_status hm_image_finish(struct hm_image_writer *writer, struct hm_rows *rows,
                               struct hm_err *err);

/* Frees what the writer still owns, after success and after failure. */
void hm_image_fini(struct hm_image_writer *writer);

#endif
