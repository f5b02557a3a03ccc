/* Reading image files into memory that grows. */
#ifndef HM_MODELS_IMAGES_READ_H
#define HM_MODELS_IMAGES_READ_H

#include "models/grow.h"
#include "models/images.h"

enum hm_image_format { HM_IMAGE_NONE, HM_IMAGE_IDX_PIXELS, HM_IMAGE_IDX_LABELS, HM_IMAGE_CIFAR };

/* What is being put together. */
struct hm_images_builder {
    struct hm_grow pixel, label;
    uint32_t channels, height, width;      /* 0: no images yet */
    uint64_t n_pixels, n_labels;           /* images so far that have them */
    const char *last_pixels, *last_labels; /* files, for messages */
};

void hm_images_builder_fini(struct hm_images_builder *builder);

/* What the file's first bytes say; HM_IMAGE_NONE when it is none of these, or cannot be read and
 * does not look like one by its name either. Errors: a file that should be one but cannot be read.
 */
enum hm_status hm_image_recognise(const char *path, enum hm_image_format *format,
                                  struct hm_err *err);

/* Appends what is in the file. */
enum hm_status hm_image_file_read(struct hm_images_builder *builder, const char *path,
                                  const struct hm_progress *progress, struct hm_err *err);

#endif
