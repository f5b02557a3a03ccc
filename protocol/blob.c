#include "protocol/blob.h"

#include <assert.h>
#include <stdlib.h>

struct hm_blob *hm_blob_new(size_t n)
{
    struct hm_blob *blob = malloc(sizeof *blob + n);
    if (!blob)
        return NULL;
    atomic_init(&blob->n_owners, 1);
    blob->n = n;
    return blob;
}

struct hm_blob *hm_blob_shrink(struct hm_blob *blob, size_t n)
{
    assert(n <= blob->n);
    struct hm_blob *smaller = realloc(blob, sizeof *blob + n);
    blob = smaller ? smaller : blob;
    blob->n = n;
    return blob;
}

struct hm_blob *hm_blob_share(struct hm_blob *blob)
{
    if (blob)
        atomic_fetch_add_explicit(&blob->n_owners, 1, memory_order_relaxed);
    return blob;
}

void hm_blob_drop(struct hm_blob *blob)
{
    /* Acquire-release: whoever frees must see everything the other owners did with the bytes. */
    if (blob && atomic_fetch_sub_explicit(&blob->n_owners, 1, memory_order_acq_rel) == 1)
        free(blob);
}
