/* Work on independent blocks, by several threads. */
#ifndef HM_MODELS_PARALLEL_H
#define HM_MODELS_PARALLEL_H

#include <stdint.h>

/* Calls block(context, which) for every which < n, each once, by up to `threads` threads of which
 * the calling one is one; returns when all are done. What a call writes is visible then. */
void hm_parallel(unsigned threads, uint64_t n, void (*block)(const void *context, uint64_t which),
                 const void *context);

#endif
