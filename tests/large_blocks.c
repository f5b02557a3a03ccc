/* For fuzz targets, linked with --wrap=malloc, calloc and free: large blocks are kept when they are
 * freed and handed out again for the same size. A mesh takes 9 MB when it opens, a reader of rows
 * 24; to map, poison and fault in such blocks for every input is most of the time that an input
 * takes. Red zones stay where they are; that a large block is used after it was freed goes
 * unnoticed here, and is noticed by the replay. */
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>

enum { LARGE = 1 << 17, KEPT = 32 };

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *block);

static struct {
    void *block;
    size_t n;
} kept[KEPT];

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

void __wrap_free(void *block)
{
    size_t n = block ? malloc_usable_size(block) : 0;
    for (int i = 0; n >= LARGE && n <= (size_t)1 << 25 && i < KEPT; i++)
        if (!kept[i].block) {
            kept[i].block = block;
            kept[i].n = n;
            return;
        }
    __real_free(block);
}
