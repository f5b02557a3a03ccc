#include "models/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

enum { THREADS_MAX = 64 };

struct job {
    void (*block)(const void *context, uint64_t which);
    const void *context;
    uint64_t n;
    atomic_uint_fast64_t
        next; /* relaxed: blocks are independent, joining the threads publishes results */
};

static void *do_blocks(void *argument)
{
    struct job *job = argument;
    for (;;) {
        uint64_t which = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (which >= job->n)
            return NULL;
        job->block(job->context, which);
    }
}

void hm_parallel(unsigned threads, uint64_t n, void (*block)(const void *context, uint64_t which),
                 const void *context)
{
    struct job job = {.block = block, .context = context, .n = n};
    pthread_t thread[THREADS_MAX];
    unsigned started = 0;
    while (started + 1 < threads && started < THREADS_MAX &&
           pthread_create(&thread[started], NULL, do_blocks, &job) == 0)
        started++;
    do_blocks(&job);
    while (started)
        pthread_join(thread[--started], NULL);
}
