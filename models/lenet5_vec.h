/* Vectors of VL floats, by the extensions of gcc and clang: the language of the LeNet5 kernels.
 *
 * VL is a constant of the build: 16 (AVX-512), 8 (AVX2) or 4 (SSE2, NEON, anything). Accumulators
 * are arrays of vectors, which stay in registers only where every loop over them is unrolled in
 * full: UNROLL says so, and is measured (2.6 times slower where it was missing). */
#ifndef HM_MODELS_LENET5_VEC_H
#define HM_MODELS_LENET5_VEC_H

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

/* Registers decide how much is computed at once: 32 with AVX-512 and NEON, 16 otherwise. */
#if VL == 16 || defined(__aarch64__)
#define MANY_REGISTERS 1
#else
#define MANY_REGISTERS 0
#endif

#endif
