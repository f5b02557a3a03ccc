/* Runs of shared weights, read and added to as vectors: the only way for row kernels to touch W.
 *
 * Ordinary builds use plain loads and stores, which compilers vectorise; an add in place is load,
 * add, store of one vector. ThreadSanitizer builds (HM_TSAN) go cell by cell with relaxed atomics.
 */
#ifndef HM_SPARSE_CELL_VEC_H
#define HM_SPARSE_CELL_VEC_H

#include "sparse/cell.h"

/* out[i] = cells[i], each read once. */
static inline void hm_cells_get(const hm_cell *restrict cells, float *restrict out, size_t n)
{
#ifdef HM_TSAN
    for (size_t i = 0; i < n; i++)
        out[i] = hm_cell_get(&cells[i]);
#else
    const hm_plain *restrict w = (const hm_plain *)(const void *)cells;
    for (size_t i = 0; i < n; i++)
        out[i] = w[i];
    /* From here on the compiler must use what it read: reading again would see other threads' adds.
     */
    __asm__ volatile("" : : "r"(out) : "memory");
#endif
}

/* cells[i] += u[i] in place. u[i] = -0.0f leaves any cell as it is. */
static inline void hm_cells_add(hm_cell *restrict cells, const float *restrict u, size_t n)
{
#ifdef HM_TSAN
    for (size_t i = 0; i < n; i++)
        hm_cell_add(&cells[i], u[i]);
#else
    hm_plain *restrict w = (hm_plain *)(void *)cells;
    for (size_t i = 0; i < n; i++)
        w[i] += u[i];
#endif
}

#endif
