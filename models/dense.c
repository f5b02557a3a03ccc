#include "models/dense.h"

#include "sparse/kernels.h"

#include <string.h>

extern const struct hm_dense hm_dense_plain;
#if defined(__x86_64__)
extern const struct hm_dense hm_dense_avx2, hm_dense_avx512;
#endif

/* Everything that has no table of its own is served by what the least processor can do. */
const struct hm_dense *hm_dense_find(const char *isa)
{
    const struct hm_kernels *known = hm_kernels_find(isa ? isa : "auto");
    if (!known)
        return NULL;
#if defined(__x86_64__)
    if (strcmp(known->name, "avx512") == 0)
        return &hm_dense_avx512;
    if (strcmp(known->name, "avx2") == 0)
        return &hm_dense_avx2;
#endif
    return &hm_dense_plain;
}
