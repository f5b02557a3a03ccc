/* For fuzz targets, linked with --wrap=malloc, calloc, realloc and free: large blocks are kept when
 * they are freed and handed out again for the same size. A mesh takes megabytes when it opens, a
 * reader of rows 24; to map, poison and fault in such blocks for every input is most of the time
 * that an input takes. Red zones stay where they are; that a large block is used after it was freed
 * goes unnoticed here, and is noticed by the replay. */
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>

enum { LARGE = 1 << 15, LARGEST = 1 << 25, KEPT = 64 };

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t n);
void __real_free(void *block);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *block, size_t n);
void __wrap_free(void *block);

static struct {
    void *block;
    size_t n;
} kept[KEPT];
static unsigned oldest;

/* Nor are huge pages worth their zeroing for inputs of a kilobyte. */
static void __attribute__((constructor)) no_huge_pages(void)
{
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

static void *take(size_t n)
{
    for (int i = 0; n >= LARGE && i < KEPT; i++)
        if (kept[i].block && kept[i].n == n) {
            void *block = kept[i].block;
            kept[i].block = NULL;
            return block;
        }
    return NULL;
}

void *__wrap_malloc(size_t n)
{
    void *block = take(n);
    return block ? block : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    void *block = size && n <= SIZE_MAX / size ? take(n * size) : NULL;
    return block ? memset(block, 0, n * size) : __real_calloc(n, size);
}

/* What nobody asks for again, for it grew by realloc say, makes way in its turn. */
static void keep(void *block, size_t n)
{
    unsigned i = 0;
    while (i < KEPT && kept[i].block)
        i++;
    if (i == KEPT) {
        i = oldest++ % KEPT;
        __real_free(kept[i].block);
    }
    kept[i].block = block;
    kept[i].n = n;
}

void __wrap_free(void *block)
{
    size_t n = block ? malloc_usable_size(block) : 0;
    if (n >= LARGE && n <= LARGEST)
        keep(block, n);
    else
        __real_free(block);
}

void *__wrap_realloc(void *block, size_t n)
{
    size_t old = block ? malloc_usable_size(block) : 0;
    if (old < LARGE && n < LARGE)
        return __real_realloc(block, n);
    void *other = __wrap_malloc(n);
    if (!other)
        return NULL;
    if (block)
        memcpy(other, block, old < n ? old : n);
    __wrap_free(block);
    return other;
}
