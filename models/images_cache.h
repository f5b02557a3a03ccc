/* The cache of a set of images (cache_file.h).
 *
 *   page 0   struct with magic, version, fingerprint of the sources, shape, checksums
 *   then     the pixels, then, at the next multiple of 4096, the labels
 */
#ifndef HM_MODELS_IMAGES_CACHE_H
#define HM_MODELS_IMAGES_CACHE_H

#include "models/cache_file.h"
#include "models/images.h"

enum hm_status hm_images_cache_find(struct hm_cache *cache, const char *const *file,
                                    unsigned n_files, struct hm_err *err);

/* Maps a current cache; returns its place or NULL. Everything in it has been checked. */
const char *hm_images_cache_load(const struct hm_cache *cache, struct hm_images *images);

enum hm_status hm_images_cache_write(const struct hm_cache *cache, const char *place,
                                     const struct hm_images *images, struct hm_err *err);

#endif
