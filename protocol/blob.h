/* Immutable bytes with a count of owners: a payload is in the log, in a socket's queue and, in the
 * simulator, in the logs of many nodes at once, but only once in memory. */
#ifndef HM_PROTOCOL_BLOB_H
#define HM_PROTOCOL_BLOB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct hm_blob {
    atomic_uint n_owners; /* relaxed to take, acquire-release to drop: the last owner frees */
    size_t n;
    uint8_t bytes[];
};

/* A blob of n bytes to be filled in before it is shared, with one owner; NULL without memory. */
struct hm_blob *hm_blob_new(size_t n);

/* Shrinks a blob that is not shared yet. */
struct hm_blob *hm_blob_shrink(struct hm_blob *blob, size_t n);

/* One more owner; NULL in, NULL out. Any thread. */
struct hm_blob *hm_blob_share(struct hm_blob *blob);

/* One owner less; NULL is fine. Any thread. */
void hm_blob_drop(struct hm_blob *blob);

#endif
