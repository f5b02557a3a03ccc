/* A distribution of counts: exact mean and maximum, quantiles exact below 128 and within 1.6 %
 * above.
 *
 * Buckets as in HdrHistogram: 64 linear steps per power of two. Only the range of buckets between
 * the smallest and the largest count is kept: of a mesh of 1,000 nodes there are two million
 * tallies. Zeroed memory is an empty tally; it owns what it has allocated until hm_tally_fini.
 */
#ifndef HM_PROTOCOL_TALLY_H
#define HM_PROTOCOL_TALLY_H

#include <stddef.h>
#include <stdint.h>

enum { HM_TALLY_STEPS = 64, HM_TALLY_BUCKETS = 128 + 34 * HM_TALLY_STEPS };

struct hm_tally {
    uint64_t n;
    double sum;
    uint64_t max;
    uint32_t first, n_buckets; /* the range kept */
    uint32_t *bucket;          /* [n_buckets] counts of buckets first .. first + n_buckets */
};

/* Without memory for its bucket a count is missing in quantiles, in nothing else. */
void hm_tally_add(struct hm_tally *tally, uint64_t x);
void hm_tally_merge(struct hm_tally *tally, const struct hm_tally *other);
void hm_tally_fini(struct hm_tally *tally);

/* Adds `count` to one bucket alone, for a tally that is put together from a file; buckets beyond
 * HM_TALLY_BUCKETS are ignored. */
void hm_tally_fill(struct hm_tally *tally, uint32_t bucket, uint32_t count);

/* The smallest count that belongs to a bucket. */
uint64_t hm_tally_floor(uint32_t bucket);

/* The smallest recorded value (bucket floor) that at least the part p in [0, 1] of all values do
 * not exceed. */
uint64_t hm_tally_quantile(const struct hm_tally *tally, double p);

/* count[i]: how many of the recorded values are at most bound[i] (rising, each below 128, where
 * that is exact); [n] of both. */
void hm_tally_below(const struct hm_tally *tally, const uint64_t *bound, uint64_t *count, size_t n);

static inline double hm_tally_mean(const struct hm_tally *tally)
{
    return tally->n ? tally->sum / (double)tally->n : 0;
}

#endif
