/* One shared weight, and the only ways to touch it.
 *
 * Worker threads and the protocol thread add to the same cells without locks (Hogwild!). Everybody
 * adds in place and shortly: load, add, store of one cell, or of one vector of cells. A concurrent
 * add between load and store is lost; that is the accepted, metered price. Copying cells, computing
 * for long and storing back would lose nearly everything others did meanwhile.
 *
 * Relaxed atomics do not vectorise (gcc 12, clang 14), so ordinary builds reach the cells as plain
 * floats: aligned 32-bit loads and stores do not tear on the machines we build for. ThreadSanitizer
 * builds (HM_TSAN) use relaxed atomics, so that the tool sees what we mean and reports everything
 * else.
 */
#ifndef HM_SPARSE_CELL_H
#define HM_SPARSE_CELL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef _Atomic float hm_cell;
typedef float __attribute__((may_alias)) hm_plain;

_Static_assert(sizeof(hm_cell) == sizeof(float), "a cell is one float");

#ifdef HM_TSAN
static inline float hm_cell_get(const hm_cell *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

static inline void hm_cell_set(hm_cell *cell, float value)
{
    atomic_store_explicit(cell, value, memory_order_relaxed);
}
#else
static inline float hm_cell_get(const hm_cell *cell)
{
    return *(const hm_plain *)(const void *)cell;
}

static inline void hm_cell_set(hm_cell *cell, float value)
{
    *(hm_plain *)(void *)cell = value;
}
#endif

/* In-place add; may lose a concurrent one. */
static inline void hm_cell_add(hm_cell *cell, float u)
{
    hm_cell_set(cell, hm_cell_get(cell) + u);
}

/* The same add, done so that a loss shows: returns 1 when the store wiped out somebody's concurrent
 * add (which is then added back), else 0. Used on a sample of all adds: losses / sampled adds is
 * `race_loss`. */
static inline unsigned hm_cell_add_metered(hm_cell *cell, float u)
{
    float read = hm_cell_get(cell);
    float wiped = atomic_exchange_explicit(cell, read + u, memory_order_relaxed);
    if (wiped == read)
        return 0;
    hm_cell_add(cell, wiped - read);
    return 1;
}

#endif
