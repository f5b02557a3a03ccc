/* Files that are written whole or not at all and checked when read: models and checkpoints.
 *
 *     "hogmesh KIND VERSION\n", the contents, BLAKE2b-256 of everything before
 *
 * A file is written under another name in the same folder, brought to the disk and renamed, so at
 * every instant its name stands for a whole file or for none. Any thread; one per writer.
 */
#ifndef HM_NODE_KEPT_FILE_H
#define HM_NODE_KEPT_FILE_H

#include "protocol/config.h"
#include "protocol/sink.h"
#include "sparse/hash.h"
#include "sparse/progress.h"
#include "sparse/status.h"

#include <stdio.h>

enum { HM_KEPT_VERSION = 1, HM_KEPT_PATH_MAX = 4095 };

struct hm_kept_writer {
    FILE *file; /* NULL: nothing could be opened, or no memory */
    struct hm_hash hash;
    char path[HM_KEPT_PATH_MAX + 1], temporary[HM_KEPT_PATH_MAX + 32];
    uint64_t n; /* bytes put */
    int error;  /* errno of the first failure; 0: none */
};

/* Opens the temporary file. What fails here or in hm_kept_put shows in hm_kept_commit, which has to
 * be called in any case. */
void hm_kept_begin(struct hm_kept_writer *writer, const char *path, const char *kind);

/* A sink's put; context is the writer. */
void hm_kept_put(void *writer, const void *bytes, size_t n);

/* Ends the file and gives it its name, unless `status` says that its contents could not be made:
 * then it is given up, and `err` is about that already. What had the name is then called `previous`
 * (NULL: it is gone). There is a whole file at every instant: the older one gets its second name
 * before it loses the first; where a file cannot have two names it has only the second for an
 * instant. On failure the temporary file is removed, the name stands for what it did, and the error
 * names path and reason. */
enum hm_status hm_kept_commit(struct hm_kept_writer *writer, enum hm_status status,
                              const char *previous, struct hm_err *err);

/* Removes temporary files that killed writers have left for `path`. */
void hm_kept_clean(const char *path);

/* All bytes of a file, to be freed. `progress` may be NULL. Errors do not name the path. */
enum hm_status hm_kept_read(const char *path, const struct hm_progress *progress, uint8_t **bytes,
                            size_t *n, struct hm_err *err);

/* Whether the bytes begin as a file of that kind does, whatever its version. */
int hm_kept_is(const uint8_t *bytes, size_t n, const char *kind);

/* Checks kind, version and hash; *contents is then what lies between. `expected` says where such a
 * file comes from ("the output of ..."). */
enum hm_status hm_kept_open(const uint8_t *bytes, size_t n, const char *kind, const char *expected,
                            struct hm_reader *contents, struct hm_err *err);

/* ---- what models and checkpoints have in common ---- */

/* The configuration and the bulk data, as in HELLO_OK, with a varint length before. HM_ENOMEM when
 * there is no memory for them; nothing is put then. */
enum hm_status hm_kept_put_config(const struct hm_sink *sink, const struct hm_fields *config,
                                  const uint8_t *bulk, size_t bulk_n, struct hm_err *err);

/* The same, and the layout that the configuration names. *bulk is to be freed, also after a
 * failure. */
enum hm_status hm_kept_get_config(struct hm_reader *r, struct hm_fields *config,
                                  struct hm_layout *layout, uint8_t **bulk, size_t *bulk_n,
                                  struct hm_err *err);

/* The number of coordinates (u64) and B (u32 each, little-endian). */
void hm_kept_put_b(const struct hm_sink *sink, const uint32_t *b, size_t n);

/* *b [hm_layout_n(layout)] is to be freed, also after a failure. Padding has to be zero. */
enum hm_status hm_kept_get_b(struct hm_reader *r, const struct hm_layout *layout, uint32_t **b,
                             struct hm_err *err);

#endif
