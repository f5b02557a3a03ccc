/* A distribution of counts: exact mean and maximum, quantiles exact below 128 and within 1.6 %
 * above.
 *
 * Buckets as in HdrHistogram: 64 linear steps per power of two. Fixed size, no allocation,
 * mergeable.
 */
#ifndef HM_PROTOCOL_TALLY_H
#define HM_PROTOCOL_TALLY_H

#include <stdint.h>

enum { HM_TALLY_STEPS = 64, HM_TALLY_BUCKETS = 128 + 34 * HM_TALLY_STEPS };

struct hm_tally {
    uint64_t n;
    double sum;
    uint64_t max;
    uint32_t bucket[HM_TALLY_BUCKETS];
};

void hm_tally_add(struct hm_tally *tally, uint64_t x);
void hm_tally_merge(struct hm_tally *tally, const struct hm_tally *other);

/* The smallest recorded value (bucket floor) that at least the part p in [0, 1] of all values do
 * not exceed. */
uint64_t hm_tally_quantile(const struct hm_tally *tally, double p);

static inline double hm_tally_mean(const struct hm_tally *tally)
{
    return tally->n ? tally->sum / (double)tally->n : 0;
}

#endif
