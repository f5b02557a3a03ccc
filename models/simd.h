/* Vectors of VL floats, by the extensions of gcc and clang: the language of the models' kernels.
 *
 * VL is a constant of the build: 16 (AVX-512), 8 (AVX2) or 4 (SSE2, NEON, anything). Accumulators
 * are arrays of vectors, which stay in registers only where every loop over them is unrolled in
 * full: UNROLL says so, and is measured (2.6 times slower where it was missing). */
#ifndef HM_MODELS_SIMD_H
#define HM_MODELS_SIMD_H

#include "sparse/cell.h"

#include <stdint.h>

#define VL HM_VL

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

typedef float vec __attribute__((vector_size(VL * 4), may_alias));
typedef float vec_at __attribute__((vector_size(VL * 4), aligned(4), may_alias)); /* anywhere */
typedef int32_t ivec __attribute__((vector_size(VL * 4), may_alias));
typedef int32_t ivec_at __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef float vec4 __attribute__((vector_size(16), may_alias));
typedef float vec4_at __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t ivec4 __attribute__((vector_size(16), may_alias));

INLINE vec load(const float *p)
{
    return *(const vec_at *)p;
}

INLINE void store(float *p, vec v)
{
    *(vec_at *)p = v;
}

/* mask ? a : b, lane by lane; lanes of a mask are 0 or -1. */
INLINE vec select(ivec mask, vec a, vec b)
{
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

INLINE ivec iselect(ivec mask, ivec a, ivec b)
{
    return (mask & a) | (~mask & b);
}

/* max(v, 0) */
INLINE vec relu(vec v)
{
    return (vec)((ivec)(v > 0) & (ivec)v);
}

/* The lanes added up to four. */
INLINE vec4 to_four(vec v)
{
#if VL == 16
    typedef float vec8 __attribute__((vector_size(32)));
    vec8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
             __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
#elif VL == 8
    return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
    return v;
#endif
}

/* Lane i is the sum of the i-th argument's lanes. */
INLINE vec4 sum_each(vec4 a, vec4 b, vec4 c, vec4 d)
{
    vec4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
    vec4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
    return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) +
           __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

/* Lane i is the sum of a[i]'s lanes, i < VL: halves are added until lanes are left, and every
 * shuffle is one that x86 has an instruction for. */
INLINE vec sum_all(const vec *a)
{
    vec c[4], d[2];
#if VL == 16
    UNROLL for (int j = 0; j < 4; j++)
    {
        vec b[2];
        UNROLL for (int h = 0; h < 2; h++)
        {
            vec x = a[j + 8 * h], y = a[j + 8 * h + 4];
            b[h] = __builtin_shufflevector(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22,
                                           23) +
                   __builtin_shufflevector(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28,
                                           29, 30, 31);
        }
        c[j] = __builtin_shufflevector(b[0], b[1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25,
                                       26, 27) +
               __builtin_shufflevector(b[0], b[1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28,
                                       29, 30, 31);
    }
    UNROLL for (int h = 0; h < 2; h++) d[h] =
        __builtin_shufflevector(c[2 * h], c[2 * h + 1], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25,
                                12, 13, 28, 29) +
        __builtin_shufflevector(c[2 * h], c[2 * h + 1], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27,
                                14, 15, 30, 31);
    return __builtin_shufflevector(d[0], d[1], 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14,
                                   28, 30) +
           __builtin_shufflevector(d[0], d[1], 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15,
                                   29, 31);
#elif VL == 8
    UNROLL for (int j = 0; j < 4; j++) c[j] =
        __builtin_shufflevector(a[j], a[j + 4], 0, 1, 2, 3, 8, 9, 10, 11) +
        __builtin_shufflevector(a[j], a[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    UNROLL for (int h = 0; h < 2; h++) d[h] =
        __builtin_shufflevector(c[2 * h], c[2 * h + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
        __builtin_shufflevector(c[2 * h], c[2 * h + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    return __builtin_shufflevector(d[0], d[1], 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(d[0], d[1], 1, 3, 9, 11, 5, 7, 13, 15);
#else
    UNROLL for (int j = 0; j < 4; j++) c[j] = a[j];
    UNROLL for (int h = 0; h < 2; h++) d[h] =
        __builtin_shufflevector(c[2 * h], c[2 * h + 1], 0, 1, 4, 5) +
        __builtin_shufflevector(c[2 * h], c[2 * h + 1], 2, 3, 6, 7);
    return __builtin_shufflevector(d[0], d[1], 0, 2, 4, 6) +
           __builtin_shufflevector(d[0], d[1], 1, 3, 5, 7);
#endif
}

/* Shared weights, VL of them: read, and added to in place (sparse/cell.h). */
INLINE vec load_cells(const hm_cell *w)
{
#ifdef HM_TSAN
    vec v;
    for (int i = 0; i < VL; i++)
        v[i] = hm_cell_get(w + i);
    return v;
#else
    return *(const vec_at *)(const void *)w;
#endif
}

INLINE void add_cells(hm_cell *w, vec u)
{
#ifdef HM_TSAN
    for (int i = 0; i < VL; i++)
        hm_cell_add(w + i, u[i]);
#else
    *(vec_at *)(void *)w += u;
#endif
}

/* Registers decide how much is computed at once: 32 with AVX-512 and NEON, 16 otherwise. */
#if VL == 16 || defined(__aarch64__)
#define MANY_REGISTERS 1
#else
#define MANY_REGISTERS 0
#endif

#endif
