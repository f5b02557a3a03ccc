/* What the tests of sparse/ share: all kernel tables that run here, random deltas, and decoding
 * from memory that ends where the message ends, so that the sanitizers see a read past it.
 */
#ifndef HM_TESTS_SPARSE_SCENE_H
#define HM_TESTS_SPARSE_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sparse/kernels.h"
#include "sparse/rng.h"

#include <stdlib.h>
#include <string.h>

#define N_OF(array) (sizeof(array) / sizeof *(array))

/* The fast tables first, the reference last. */
#define for_each_table(kernels)                                                                    \
    for (const struct hm_kernels *kernels = hm_kernels_at(0); kernels;                             \
         kernels = table_after(kernels))

static inline const struct hm_kernels *table_after(const struct hm_kernels *kernels)
{
    unsigned n = 0;
    while (hm_kernels_at(n) != kernels)
        n++;
    return hm_kernels_at(n + 1);
}

static inline uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static inline struct hm_delta open_delta(uint32_t capacity)
{
    struct hm_delta delta;
    assert_int_equal(hm_delta_init(&delta, capacity, NULL), HM_OK);
    return delta;
}

static inline void clear_delta(struct hm_delta *delta)
{
    delta->n_blocks = delta->n_nonzero = 0;
}

static inline void assert_same_delta(const struct hm_delta *a, const struct hm_delta *b)
{
    assert_int_equal(a->n_blocks, b->n_blocks);
    assert_int_equal(a->n_nonzero, b->n_nonzero);
    assert_memory_equal(a->block, b->block, a->n_blocks * sizeof a->block[0]);
    assert_memory_equal(a->q, b->q, a->n_blocks * sizeof a->q[0]);
}

/* A number whose size, not only its value, is random: 1 to 2^bits in magnitude. */
static inline int32_t random_q(struct hm_rng *rng, unsigned bits)
{
    uint32_t below = hm_rng_below(rng, 4) ? 1u << hm_rng_below(rng, bits + 1) : 1u << bits;
    int32_t q = 1 + (int32_t)hm_rng_below(rng, below);
    return hm_rng_below(rng, 2) ? q : -q;
}

/* Lists `block` with n random coordinates, each up to 2^bits in magnitude. */
static inline void list_random(struct hm_delta *delta, struct hm_rng *rng, uint32_t block,
                               unsigned n, unsigned bits)
{
    int32_t *q = delta->q[delta->n_blocks];
    memset(q, 0, sizeof delta->q[0]);
    for (unsigned left = n; left;) {
        unsigned lane = hm_rng_below(rng, HM_BLOCK);
        if (q[lane])
            continue;
        q[lane] = random_q(rng, bits);
        left--;
    }
    delta->block[delta->n_blocks++] = block;
    delta->n_nonzero += n;
}

/* One of `one_of` blocks of [from, to) is listed, with about n coordinates. */
static inline void list_range(struct hm_delta *delta, struct hm_rng *rng, uint32_t from,
                              uint32_t to, unsigned one_of, unsigned n, unsigned bits)
{
    clear_delta(delta);
    for (uint32_t block = from; block < to; block++)
        if (!hm_rng_below(rng, one_of))
            list_random(delta, rng, block, 1 + hm_rng_below(rng, n), bits);
}

static inline int decode_exactly(const struct hm_kernels *kernels, const uint8_t *bytes, size_t n,
                                 uint32_t from, uint32_t to, struct hm_delta *out)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    int refused = kernels->decode(n ? copy : NULL, n, from, to, out);
    free(copy);
    if (refused) {
        assert_int_equal(refused, -1);
        assert_int_equal(out->n_blocks, 0);
        assert_int_equal(out->n_nonzero, 0);
    }
    return refused;
}

#endif
