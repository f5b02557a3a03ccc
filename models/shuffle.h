/* The order of examples without a list of them: permutations of 0 .. n - 1 that are computed where
 * they are asked for, so that any thread of any node knows what comes at any position. */
#ifndef HM_MODELS_SHUFFLE_H
#define HM_MODELS_SHUFFLE_H

#include "sparse/rng.h"

#include <stdint.h>

/* Where a permutation of n <= 2^32 - 1 things, one for each key, takes i < n. A bijection of the
 * numbers with as many bits as n - 1 has, repeated until it hits one below n: twice at the most, on
 * average. */
static inline uint32_t hm_shuffle(uint32_t i, uint32_t n, uint64_t key)
{
    unsigned bits = n > 2 ? 32 - (unsigned)__builtin_clz(n - 1) : 1, shift = bits / 2 + 1;
    uint32_t mask = bits == 32 ? UINT32_MAX : (1u << bits) - 1, x = i;
    uint64_t a = hm_mix(key + 0x9E3779B97F4A7C15u), b = hm_mix(a + 0x9E3779B97F4A7C15u);
    do {
        /* Odd factors and shifted sums can be undone; each round moves high bits to the low ones.
         */
        for (int round = 0; round < 4; round++) {
            x = (x + (uint32_t)(a >> 16 * (round & 1))) * ((uint32_t)(b >> 15 * (round & 3)) | 1);
            x &= mask;
            x ^= x >> shift;
            x ^= x >> (shift > 1 ? shift - 1 : 1);
        }
    } while (x >= n);
    return x;
}

#endif
