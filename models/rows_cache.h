/* The binary cache of a dataset: its image in a file that every process of the host maps.
 *
 *   page 0   struct with magic, version, fingerprint of the sources, counts, checksums
 * (rows_cache.c) then     the sections of rows_image.h, each at a multiple of 4096
 *
 * A cache that is missing, older than its sources, damaged or of another version is no error: it is
 * built anew.
 */
#ifndef HM_MODELS_ROWS_CACHE_H
#define HM_MODELS_ROWS_CACHE_H

#include "models/rows.h"
#include "models/rows_build.h"

enum { HM_CACHE_PLACES = 2, HM_CACHE_PATH_MAX = 4096 };

struct hm_cache {
    char place[HM_CACHE_PLACES]
              [HM_CACHE_PATH_MAX]; /* beside the source; in the user's cache folder; or empty */
    uint64_t fingerprint[2];
    int lock_fd; /* -1: not locked */
    char lock_path[HM_CACHE_PATH_MAX + 8];
};

/* Finds out where the cache of source belongs and what it must say. Without a place when the
 * sources are not regular files. Errors: a source that does not exist. */
enum hm_status hm_cache_find(struct hm_cache *cache, const struct hm_rows_source *source,
                             struct hm_err *err);

/* Maps a current cache; returns its place or NULL. */
const char *hm_cache_load(const struct hm_cache *cache, struct hm_rows *rows);

/* Takes the right to build, waiting for another process that builds the same; *place is where to
 * build, NULL when nothing can be written (then nothing is locked). The other one may have built
 * the cache meanwhile: try hm_cache_load again. The lock is advisory and dies with its process.
 * Errors: HM_ESTOPPED. */
enum hm_status hm_cache_lock(struct hm_cache *cache, const struct hm_progress *progress,
                             const char **place, struct hm_err *err);
void hm_cache_unlock(struct hm_cache *cache); /* without a lock it does nothing */

/* Writes the rows to the place: complete under its name, or not at all. */
enum hm_status hm_cache_write(const struct hm_cache *cache, const char *place,
                              const struct hm_rows_builder *builder,
                              const struct hm_builder_plan *plan,
                              const struct hm_progress *progress, struct hm_err *err);

#endif
