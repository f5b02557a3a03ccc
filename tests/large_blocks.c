/* For fuzz targets: large blocks are kept when they are freed and handed out again for the same
 * size, to libraries too. A mesh takes a megabyte when it opens, a reader of rows 24, one of xz 8;
 * to map, poison and fault in such blocks for every input is most of the time that an input takes.
 * Red zones stay where they are; that a large block is used after it was freed goes unnoticed here,
 * and is noticed by the replay.
 *
 * These definitions come before those of AddressSanitizer, which are weak, and of the C library. */
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>

enum { LARGE = 1 << 15, LARGEST = 1 << 28, ZEROED = 1 << 25, KEPT = 64 };

#if __has_feature(address_sanitizer)
#define REAL(name) __interceptor_##name
enum { SLACK = 0 };
#else
#define REAL(name) __libc_##name
enum { SLACK = 1 << 12 }; /* sizes are rounded up */
#endif
void *REAL(malloc)(size_t n);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *block, size_t n);
void REAL(free)(void *block);

static struct {
    void *block;
    size_t n;
} kept[KEPT];
static unsigned oldest;
static int ready; /* as is what stands behind */

/* Nor are huge pages worth their zeroing for inputs of a kilobyte. */
static void __attribute__((constructor)) begin(void)
{
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    ready = 1;
}

static size_t size_of(void *block)
{
    return ready && block ? malloc_usable_size(block) : 0;
}

static void *take(size_t n)
{
    for (int i = 0; n >= LARGE && i < KEPT; i++)
        if (kept[i].block && kept[i].n >= n && kept[i].n - n <= SLACK) {
            void *block = kept[i].block;
            kept[i].block = NULL;
            return block;
        }
    return NULL;
}

/* What nobody asks for again makes way in its turn. */
static void keep(void *block, size_t n)
{
    unsigned i = 0;
    while (i < KEPT && kept[i].block)
        i++;
    if (i == KEPT) {
        i = oldest++ % KEPT;
        REAL(free)(kept[i].block);
    }
    kept[i].block = block;
    kept[i].n = n;
}

void *malloc(size_t n)
{
    void *block = take(n);
    return block ? block : REAL(malloc)(n);
}

void *calloc(size_t n, size_t size)
{
    void *block = size && n <= ZEROED / size ? take(n * size) : NULL;
    return block ? memset(block, 0, n * size) : REAL(calloc)(n, size);
}

void free(void *block)
{
    size_t n = size_of(block);
    if (n >= LARGE && n <= LARGEST)
        keep(block, n);
    else
        REAL(free)(block);
}

void *realloc(void *block, size_t n)
{
    size_t old = size_of(block);
    if (!ready || (old < LARGE && n < LARGE))
        return REAL(realloc)(block, n);
    void *other = malloc(n);
    if (!other)
        return NULL;
    if (block)
        memcpy(other, block, old < n ? old : n);
    free(block);
    return other;
}
