/* The linear digest of integer arrays: H(x) = sum over i of m(i) * x[i] modulo 2^64.
 *
 * x[i] is sign-extended from 32 bits. For coordinate i = 64 b + j the multiplier is m(i) = M(b) *
 * T(j), both odd and pseudo-random: M(b) = hm_mix(b + 1) | 1 and T(j) = hm_mix((j + 1) *
 * 0x9E3779B97F4A7C15) | 1. Being linear, H(B) = H(B0) + the sum of the digests of all applied
 * deltas, as long as no coordinate wraps; so a delta, a snapshot or a replica checks itself. It
 * guards against bugs and corruption, not against a forger.
 */
#ifndef HM_SPARSE_DIGEST_H
#define HM_SPARSE_DIGEST_H

#include "sparse/rng.h"

static inline uint64_t hm_digest_block_factor(uint32_t block)
{
    return hm_mix((uint64_t)block + 1) | 1;
}

static inline uint64_t hm_digest_lane_factor(unsigned lane)
{
    return hm_mix((uint64_t)(lane + 1) * 0x9E3779B97F4A7C15u) | 1;
}

#endif
