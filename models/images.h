/* Labelled images in memory: what LeNet5 trains on.
 *
 * Read from IDX files (MNIST, Fashion-MNIST: a file of images and one of labels) and from
 * CIFAR-10's binary batches (records of a label and three planes), plain or compressed, in the
 * order of the files. All processes of a host share one copy, a cache beside the first file.
 */
#ifndef HM_MODELS_IMAGES_H
#define HM_MODELS_IMAGES_H

#include "sparse/progress.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HM_CLASSES = 10,
    HM_IMAGES_FILES_MAX = 64,
    HM_IMAGES_SIDE_MAX = 4096, /* pixels */
};

struct hm_images {
    uint32_t n, channels, height, width;
    const uint8_t *pixel; /* [n][channels][height][width] */
    const uint8_t *label; /* [n] below HM_CLASSES */
    void *map;            /* private: the mapped cache file, or the memory behind the arrays */
    size_t map_bytes;
};

static inline size_t hm_image_bytes(const struct hm_images *images)
{
    return (size_t)images->channels * images->height * images->width;
}

/* Reads the files as one set: the k-th file of IDX images goes with the k-th of IDX labels;
 * CIFAR-10 batches follow one another. What a file is its first bytes say. Errors name file, field
 * and what was expected: not one of these formats, another element type or number of dimensions, a
 * side or count of 0 or too large, an end too early or too late, a label above 9, images without
 * labels or another number of them, images of several shapes, a file that changed while it was
 * read. The cache
 * ("FILE.HASH.hmcache", see cache_file.h) is used when it is current, and written where that is
 * possible, unless no_cache. On failure *images owns nothing. Threads: any. */
enum hm_status hm_images_open(struct hm_images *images, const char *const *file, unsigned n_files,
                              int no_cache, const struct hm_progress *progress, struct hm_err *err);

void hm_images_close(struct hm_images *images);

/* The files of a folder that hold images. */
struct hm_images_folder {
    char *train[HM_IMAGES_FILES_MAX], *test[HM_IMAGES_FILES_MAX]; /* owned */
    unsigned n_train, n_test;
};

/* Looks at every file of the folder, in the order of names. Format is told by content; a name with
 * "test" or "t10k" in it means the test set. What is something else is left alone, and so is a
 * compressed file that lies there unpacked, too. Errors: no folder, no images in it, too many
 * files.
 */
enum hm_status hm_images_find(struct hm_images_folder *folder, const char *dir, struct hm_err *err);
void hm_images_folder_fini(struct hm_images_folder *folder);

#endif
