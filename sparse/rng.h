/* Seeded random numbers, from integers only, so that the same seed gives the same numbers on every
 * machine.
 *
 * hm_mix is the finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
 * generators, OOPSLA 2014); the generator is splitmix64 itself. Streams are made independent by
 * mixing a stream number into the seed.
 */
#ifndef HM_SPARSE_RNG_H
#define HM_SPARSE_RNG_H

#include <stdint.h>

struct hm_rng {
    uint64_t state;
};

static inline uint64_t hm_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline struct hm_rng hm_rng_seed(uint64_t seed, uint64_t stream)
{
    return (struct hm_rng){hm_mix(seed + 0x9E3779B97F4A7C15u) ^
                           hm_mix(stream * 0xD1342543DE82EF95u + 1)};
}

static inline uint64_t hm_rng_next(struct hm_rng *rng)
{
    rng->state += 0x9E3779B97F4A7C15u;
    return hm_mix(rng->state);
}

/* Uniform in [0, n), n >= 1, by the high half of a 32 x 32 product: bias below n / 2^32. */
static inline uint32_t hm_rng_below(struct hm_rng *rng, uint32_t n)
{
    return (uint32_t)(((hm_rng_next(rng) >> 32) * n) >> 32);
}

/* Uniform in [0, 1) with 53 bits. */
static inline double hm_rng_unit(struct hm_rng *rng)
{
    return (double)(hm_rng_next(rng) >> 11) * 0x1p-53;
}

#endif
