/* An array that grows without copying: anonymous pages moved by mremap. Room that is not used costs
 * no memory, and new bytes are zero. */
#ifndef HM_MODELS_GROW_H
#define HM_MODELS_GROW_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#ifdef HM_SMALL_BUFFERS /* for fuzzing, where an input is a kilobyte */
enum { HM_GROW_FIRST = 1 << 16 };
#else
enum { HM_GROW_FIRST = 1 << 21 };
#endif

struct hm_grow {
    uint8_t *base;     /* NULL as long as room is 0 */
    size_t used, room; /* bytes */
};

/* Makes room for `bytes` in all (used stays); returns 0, or -1 when there is no memory and nothing
 * changed. */
static inline int hm_grow_reserve(struct hm_grow *g, size_t bytes)
{
    if (bytes <= g->room)
        return 0;
    size_t room = g->room ? g->room : HM_GROW_FIRST;
    while (room < bytes)
        room *= 2;
    void *base = g->base ? mremap(g->base, g->room, room, MREMAP_MAYMOVE)
                         : mmap(NULL, room, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return -1;
    madvise(base, room,
            MADV_HUGEPAGE); /* a wish: an eighth of the page faults and of the TLB misses */
    g->base = base;
    g->room = room;
    return 0;
}

static inline void hm_grow_free(struct hm_grow *g)
{
    if (g->base)
        munmap(g->base, g->room);
    *g = (struct hm_grow){0};
}

#endif
