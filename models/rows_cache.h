/* The binary cache of a dataset: its image in a file that every process of the host maps.
 *
 *   page 0   struct with magic, version, fingerprint of the sources, counts, checksums
 * (rows_cache.c) then     the sections of rows_image.h, each at a multiple of 4096
 */
#ifndef HM_MODELS_ROWS_CACHE_H
#define HM_MODELS_ROWS_CACHE_H

#include "models/cache_file.h"
#include "models/rows.h"
#include "models/rows_build.h"

/* The cache of such a source. Errors: a file that does not exist. */
enum hm_status hm_rows_cache_find(struct hm_cache *cache, const struct hm_rows_source *source,
                                  struct hm_err *err);

/* Maps a current cache; returns its place or NULL. */
const char *hm_rows_cache_load(const struct hm_cache *cache, struct hm_rows *rows);

/* Writes the rows to the place: complete under its name, or not at all. */
enum hm_status hm_rows_cache_write(const struct hm_cache *cache, const char *place,
                                   const struct hm_rows_builder *builder,
                                   const struct hm_builder_plan *plan,
                                   const struct hm_progress *progress, struct hm_err *err);

#endif
