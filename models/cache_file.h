/* Files in which processes of one host share what they read: where they lie, what they must say to
 * be current, and how they come to be. What is in them is up to those who write them
 * (rows_cache.h, images_cache.c).
 *
 * A cache belongs to its sources, a list of files, and to the parameters that they are read with. A
 * cache that is missing, older than its sources, damaged or of another version is no error: it is
 * built anew. */
#ifndef HM_MODELS_CACHE_FILE_H
#define HM_MODELS_CACHE_FILE_H

#include "sparse/progress.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum { HM_CACHE_PLACES = 2, HM_CACHE_PATH_MAX = 4096, HM_CACHE_SOURCES_MAX = 65 };

struct hm_cache {
    char place[HM_CACHE_PLACES]
              [HM_CACHE_PATH_MAX]; /* beside the source; in the user's cache folder; or empty */
    uint64_t fingerprint[2];
    int lock_fd; /* -1: not locked */
    char lock_path[HM_CACHE_PATH_MAX + 8];
};

/* What is cached. */
struct hm_cache_key {
    const char *file[HM_CACHE_SOURCES_MAX]; /* the first gives the cache its name */
    unsigned n_files;
    int plain;              /* that name says it all: one file, read in the plain way */
    const void *parameters; /* [n_parameters] bytes on which the content depends besides */
    size_t n_parameters;
};

/* Finds out where the cache belongs and what it must say: size and modification time of every file
 * go into the fingerprint. Without a place when the files are not regular ones. Errors: a file that
 * does not exist. */
enum hm_status hm_cache_find(struct hm_cache *cache, const struct hm_cache_key *key,
                             struct hm_err *err);

/* No place: neither read nor written. */
void hm_cache_forbid(struct hm_cache *cache);

/* Takes the right to build, waiting for another process that builds the same; *place is where to
 * build, NULL when nothing can be written (then nothing is locked). The other one may have built
 * the cache meanwhile: try to load it again. The lock is advisory and dies with its process.
 * Errors: HM_ESTOPPED. */
enum hm_status hm_cache_lock(struct hm_cache *cache, const struct hm_progress *progress,
                             const char **place, struct hm_err *err);
void hm_cache_unlock(struct hm_cache *cache); /* without a lock it does nothing */

/* Has `write` write the cache to a file descriptor and puts it to its place: complete under its
 * name, or not at all. */
enum hm_status hm_cache_publish(const char *place,
                                enum hm_status (*write)(void *context, int fd, struct hm_err *err),
                                void *context, struct hm_err *err);

#endif
