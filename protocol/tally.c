#include "protocol/tally.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM_LEAST = 8 }; /* buckets are added at least so many at a time */

static unsigned bucket_of(uint64_t x)
{
    if (x < 128)
        return (unsigned)x;
    unsigned log2 = 63u - (unsigned)__builtin_clzll(x); /* >= 7 */
    unsigned bucket =
        128 + (log2 - 7) * HM_TALLY_STEPS + (unsigned)((x >> (log2 - 6)) & (HM_TALLY_STEPS - 1));
    return bucket < HM_TALLY_BUCKETS ? bucket : HM_TALLY_BUCKETS - 1;
}

uint64_t hm_tally_floor(uint32_t bucket)
{
    if (bucket < 128)
        return bucket;
    unsigned log2 = 7 + (bucket - 128) / HM_TALLY_STEPS;
    return (uint64_t)(HM_TALLY_STEPS + (bucket - 128) % HM_TALLY_STEPS) << (log2 - 6);
}

/* Widens the range kept to [from, to). */
static int widen(struct hm_tally *tally, uint32_t from, uint32_t to)
{
    uint32_t *bucket = calloc(to - from, sizeof *bucket);
    if (!bucket)
        return -1;
    if (tally->n_buckets)
        memcpy(bucket + (tally->first - from), tally->bucket, tally->n_buckets * sizeof *bucket);
    free(tally->bucket);
    tally->bucket = bucket;
    tally->first = from;
    tally->n_buckets = to - from;
    return 0;
}

/* Makes room for one more bucket, and some beside it on the side where the range has just grown. */
static int reach(struct hm_tally *tally, uint32_t i)
{
    uint32_t from = tally->first, to = from + tally->n_buckets,
             more = tally->n_buckets / 2 > ROOM_LEAST ? tally->n_buckets / 2 : ROOM_LEAST;
    if (!tally->n_buckets)
        from = to = i;
    if (i < from)
        from = i > more ? i - more : 0;
    if (i >= to)
        to = i + more < HM_TALLY_BUCKETS ? i + more : HM_TALLY_BUCKETS;
    return widen(tally, from, to);
}

void hm_tally_fill(struct hm_tally *tally, uint32_t i, uint32_t count)
{
    if (i >= HM_TALLY_BUCKETS)
        return;
    if ((i < tally->first || i - tally->first >= tally->n_buckets) && reach(tally, i))
        return;
    tally->bucket[i - tally->first] += count;
}

void hm_tally_add(struct hm_tally *tally, uint64_t x)
{
    tally->n++;
    tally->sum += (double)x;
    if (x > tally->max)
        tally->max = x;
    hm_tally_fill(tally, bucket_of(x), 1);
}

void hm_tally_merge(struct hm_tally *tally, const struct hm_tally *other)
{
    tally->n += other->n;
    tally->sum += other->sum;
    if (other->max > tally->max)
        tally->max = other->max;
    for (uint32_t i = 0; i < other->n_buckets; i++)
        if (other->bucket[i])
            hm_tally_fill(tally, other->first + i, other->bucket[i]);
}

void hm_tally_fini(struct hm_tally *tally)
{
    free(tally->bucket);
    *tally = (struct hm_tally){0};
}

uint64_t hm_tally_quantile(const struct hm_tally *tally, double p)
{
    uint64_t want = (uint64_t)(p * (double)tally->n + 0.999999), seen = 0;
    if (want > tally->n)
        want = tally->n;
    for (uint32_t i = 0; i < tally->n_buckets; i++) {
        seen += tally->bucket[i];
        if (seen && seen >= want)
            return hm_tally_floor(tally->first + i);
    }
    return 0;
}

void hm_tally_below(const struct hm_tally *tally, const uint64_t *bound, uint64_t *count, size_t n)
{
    uint32_t i = 0;
    uint64_t seen = 0;
    for (size_t k = 0; k < n; k++) {
        for (; i < tally->n_buckets && hm_tally_floor(tally->first + i) <= bound[k]; i++)
            seen += tally->bucket[i];
        count[k] = seen;
    }
}
