/* A small set of images of ten classes out of nothing, for machines without data.
 *
 * A class is two smooth patterns of light; an image of it is one of them, shifted, dimmed, with
 * another class shining through and noise on top, so that LeNet5 has something to learn: it ends
 * above 99 % after some epochs. Image i depends on (seed, i) alone, in integers: the
 * same bytes on every machine.
 */
#ifndef HM_MODELS_SYNTH_IMAGES_H
#define HM_MODELS_SYNTH_IMAGES_H

#include "sparse/progress.h"
#include "sparse/status.h"

#include <stdint.h>

enum { HM_SYNTH_IMAGES_TRAIN = 20000, HM_SYNTH_IMAGES_TEST = 4000, HM_SYNTH_IMAGES_SIDE = 28 };

struct hm_synth_images {
    uint64_t seed;
    uint32_t n_train, n_test; /* at least 1 */
};

/* Writes train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
 * t10k-labels-idx1-ubyte to dir, making it when it is missing; each is complete under its name or
 * not there. */
enum hm_status hm_synth_images_write(const struct hm_synth_images *synth, const char *dir,
                                     const struct hm_progress *progress, struct hm_err *err);

#endif
