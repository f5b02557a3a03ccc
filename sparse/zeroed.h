/* Zeroed memory that begins at a cache line and is whole lines. */
#ifndef HM_SPARSE_ZEROED_H
#define HM_SPARSE_ZEROED_H

#include <stdlib.h>
#include <string.h>

enum { HM_LINE_BYTES = 64 };

/* To be freed; NULL: there is no memory. */
static inline void *hm_zeroed(size_t bytes)
{
    size_t whole = (bytes + HM_LINE_BYTES - 1) / HM_LINE_BYTES * HM_LINE_BYTES;
    void *memory = aligned_alloc(HM_LINE_BYTES, whole);
    return memory ? memset(memory, 0, bytes) : NULL;
}

#endif
