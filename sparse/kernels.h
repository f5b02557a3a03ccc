/* The inner loops of a flush and a receive, one table per instruction set.
 *
 * All tables compute the same: integers exactly, floats with the same operations in the same order
 * (built with contraction off), so replicas on unlike machines agree bit for bit. hm_kernels_ref is
 * the plain-C version that the tests hold the others against.
 */
#ifndef HM_SPARSE_KERNELS_H
#define HM_SPARSE_KERNELS_H

#include "sparse/delta.h"
#include "sparse/weights.h"

/* How a flush makes q of W - B * grid (the combination rule chooses; protocol thread only). */
struct hm_publish {
    float divisor; /* L >= 1: q = round((W - B * grid) / (L * grid)) */
    int dead_zone; /* 1: leave |W - B * grid| < L * grid for later; 0: publish all above L / 2 *
                    * grid (where 2 L is not whole, above (L / 2 + 1/4) * grid): repeated, such
                    * flushes come to an end */
    float least;   /* |W - B * grid| below this waits, whatever the above say; 0: no such bound */
};

/* More units than one flush moves a weight by and out of its range in training that goes well: with
 * B shared by all, a weight that grows too large comes near the end of the range first. */
enum { HM_LEAP = HM_RANGE / 2 };

/* A coordinate as a flush found it. */
struct hm_offender {
    size_t at; /* in the layout */
    float w;
    int32_t b;
};

/* What a flush met besides its delta. Counts of coordinates; each `first` is written when its count
 * leaves 0. */
struct hm_extract_stats {
    uint64_t n_nonfinite; /* W was NaN or infinite and was set back to B * grid */
    uint64_t n_clipped;   /* B + q would have left +-HM_RANGE; clipped, the rest stays in W */
    uint64_t n_leaps;     /* of those clipped: more than HM_LEAP units were owed */
    /* Not by extract, but where rows have turns: */
    uint64_t oldest; /* flushes for which some row has had none */
    int more;        /* a final flush that a cap has cut short goes on */
    struct hm_offender first_nonfinite, first_leap;
};

struct hm_kernels {
    const char *name; /* "ref", "portable", "sse2", "avx2", "avx512", "neon" */

    /* Scans blocks [from, to) of the layout. For each coordinate q as struct hm_publish says,
     * clipped so that |B + q| <= HM_RANGE and |q| <= 2 * HM_RANGE (where B is out already, q only
     * leads back); B += q; W -= (divisor - 1) * q * grid in place. Appends non-empty blocks to
     * `out`, which must have room for to - from more blocks. Adds to `stats`. Workers may add to W
     * meanwhile. */
    void (*extract)(struct hm_weights *weights, uint32_t from, uint32_t to,
                    const struct hm_publish *publish, struct hm_delta *out,
                    struct hm_extract_stats *stats);

    /* B += q and W += q * grid for every listed block. Block numbers must be within the layout.
     * Wraps modulo 2^32. Workers may add to W meanwhile. Every 16th block is added by the metered
     * add; adds to the two counters the adds so sampled (coordinates with q != 0) and how many of
     * them wiped out another's add. */
    void (*apply)(const struct hm_delta *delta, struct hm_weights *weights, uint64_t *n_sampled,
                  uint64_t *n_wiped);

    /* Packs the listed blocks, all of them within [from, to), for that range of blocks. Returns the
     * bytes written to `out`, which has room for hm_encode_bound(blocks listed in delta, to -
     * from). */
    size_t (*encode)(const struct hm_delta *delta, uint32_t from, uint32_t to, uint8_t *out);

    /* Unpacks bytes from a peer into `out` (emptied first; capacity >= to - from). Every byte is
     * checked: block numbers within [from, to), tokens, widths, lengths, no trailing bytes, no
     * empty listed block, canonical form not required, |q| <= 2 * HM_RANGE. Returns 0, or -1 with
     * `out` emptied. Reads in[0..len) only. */
    int (*decode)(const uint8_t *in, size_t len, uint32_t from, uint32_t to, struct hm_delta *out);

    /* H of the delta: sum over its coordinates of m(i) * q[i] modulo 2^64 (sparse/digest.h). */
    uint64_t (*digest)(const struct hm_delta *delta);

    /* H of a dense array x [n_blocks * 64], read as int32, that starts at block 0. */
    uint64_t (*digest_dense)(const uint32_t *x, uint32_t n_blocks);
};

/* Bytes that encode may need for `listed` blocks in a range of `range` blocks (runs of empty blocks
 * cost at most 7 bytes for each listed one): the longest block is dense with k = 23, 26 bits a
 * coordinate. The writer touches up to 8 bytes beyond what it returns. */
static inline size_t hm_encode_bound(size_t listed, size_t range)
{
    (void)range;
    return listed * (26 * HM_BLOCK / 8 + 1 + 7) + 32;
}

extern const struct hm_kernels hm_kernels_ref;

/* The table for `name` ("auto": the best this processor has; "sse2", "avx2", "avx512", "neon",
 * "portable", "ref"). NULL when this build or this processor has no such table. Thread-safe. */
const struct hm_kernels *hm_kernels_find(const char *name);

/* The n-th table that this processor can run, best first, the reference last; NULL past the end. */
const struct hm_kernels *hm_kernels_at(unsigned n);

#endif
