#include "protocol/tally.h"

static unsigned bucket_of(uint64_t x)
{
    if (x < 128)
        return (unsigned)x;
    unsigned log2 = 63u - (unsigned)__builtin_clzll(x); /* >= 7 */
    unsigned bucket =
        128 + (log2 - 7) * HM_TALLY_STEPS + (unsigned)((x >> (log2 - 6)) & (HM_TALLY_STEPS - 1));
    return bucket < HM_TALLY_BUCKETS ? bucket : HM_TALLY_BUCKETS - 1;
}

static uint64_t floor_of(unsigned bucket)
{
    if (bucket < 128)
        return bucket;
    unsigned log2 = 7 + (bucket - 128) / HM_TALLY_STEPS;
    return (uint64_t)(HM_TALLY_STEPS + (bucket - 128) % HM_TALLY_STEPS) << (log2 - 6);
}

void hm_tally_add(struct hm_tally *tally, uint64_t x)
{
    tally->n++;
    tally->sum += (double)x;
    if (x > tally->max)
        tally->max = x;
    tally->bucket[bucket_of(x)]++;
}

void hm_tally_merge(struct hm_tally *tally, const struct hm_tally *other)
{
    tally->n += other->n;
    tally->sum += other->sum;
    if (other->max > tally->max)
        tally->max = other->max;
    for (unsigned i = 0; i < HM_TALLY_BUCKETS; i++)
        tally->bucket[i] += other->bucket[i];
}

uint64_t hm_tally_quantile(const struct hm_tally *tally, double p)
{
    uint64_t want = (uint64_t)(p * (double)tally->n + 0.999999), seen = 0;
    if (want > tally->n)
        want = tally->n;
    for (unsigned i = 0; i < HM_TALLY_BUCKETS; i++) {
        seen += tally->bucket[i];
        if (seen && seen >= want)
            return floor_of(i);
    }
    return 0;
}
