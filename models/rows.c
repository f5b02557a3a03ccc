#include "models/rows.h"

#include "models/rows_arrange.h"
#include "models/rows_build.h"
#include "models/rows_cache.h"
#include "models/rows_parse.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; older kernels answer EINVAL */
#endif

uint64_t hm_order_hash(const uint32_t *order, uint32_t n_features)
{
    return XXH3_64bits_withSeed(order, 4 * (size_t)n_features, n_features);
}

/* ---- reading the sources ---- */

static enum hm_status check_usage(const struct hm_rows_source *source, struct hm_err *err)
{
    if (source->n_files == 0 || source->n_files > HM_ROWS_FILES_MAX)
        return hm_fail(err, HM_EUSAGE, "a dataset is 1 to %d files, not %u", HM_ROWS_FILES_MAX,
                       source->n_files);
    if (source->topics && (!source->topic || !source->topic[0]))
        return hm_fail(err, HM_EUSAGE, "%s: say with --topic which topic counts as +1",
                       source->topics);
    if (source->n_features > HM_FEATURES_MAX)
        return hm_fail(err, HM_EUSAGE, "%u features: at most %d are possible", source->n_features,
                       HM_FEATURES_MAX);
    return HM_OK;
}

static enum hm_status parse_files(struct hm_rows_builder *builder,
                                  const struct hm_rows_source *source,
                                  const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_topics topics = {0};
    enum hm_status status = HM_OK;
    if (source->topics)
        status = hm_topics_read(&topics, source->topics, source->topic, progress, err);
    for (unsigned i = 0; i < source->n_files && status == HM_OK; i++)
        status = source->topics
                     ? hm_lyrl_read(builder, source->file[i], &topics, source, progress, err)
                     : hm_svmlight_read(builder, source->file[i], source, progress, err);
    hm_topics_fini(&topics);
    return status;
}

/* There is nothing to learn from rows of one class, and a wrong encoding of labels looks just like
 * it. */
static enum hm_status one_class(const struct hm_rows_builder *builder,
                                const struct hm_rows_source *source, struct hm_err *err)
{
    char seen[256];
    const char *name = source->file[0], *all = builder->n_positive ? "all" : "none";
    unsigned long long n = builder->n_rows;
    hm_builder_seen(builder, seen);
    if (source->topics)
        return hm_fail(err, HM_EINPUT,
                       "%s: %s of the %llu documents %s the topic '%s': two classes are needed",
                       name, all, n, builder->n_positive ? "have" : "has", source->topic);
    if (source->topic)
        return hm_fail(
            err, HM_EINPUT,
            "%s: %s of the %llu rows has the label '%s' (labels seen: %s): two classes are needed",
            name, all, n, source->topic, seen);
    return hm_fail(err, HM_EINPUT,
                   "%s: all %llu rows count as %s (labels seen: %s): two classes are needed, "
                   "labels must be +1 and -1, "
                   "or 1 and 0",
                   name, n, builder->n_positive ? "+1" : "-1", seen);
}

static enum hm_status check_content(const struct hm_rows_builder *builder,
                                    const struct hm_rows_source *source, struct hm_err *err)
{
    if (builder->n_rows == 0)
        return hm_fail(err, HM_EINPUT, "%s: there are no rows in it", source->file[0]);
    if (builder->n_positive == 0 || builder->n_positive == builder->n_rows)
        return one_class(builder, source, err);
    if (builder->n_nonzero == 0)
        return hm_fail(err, HM_EINPUT, "%s: none of the %llu rows has a feature", source->file[0],
                       (unsigned long long)builder->n_rows);
    return HM_OK;
}

/* ---- from the builder to rows ---- */

static enum hm_status build_in_memory(const struct hm_rows_builder *builder,
                                      const struct hm_builder_plan *plan, struct hm_rows *rows,
                                      const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_image_writer writer;
    enum hm_status status = hm_image_to_memory(&writer, &plan->image, err);
    if (status != HM_OK)
        return status;
    status = hm_builder_write(builder, plan, &writer, progress, err);
    if (status == HM_OK)
        status = hm_image_finish(&writer, rows, err);
    hm_image_fini(&writer);
    if (status != HM_OK)
        return status;
    rows->n_positive = builder->n_positive;
    rows->order_hash = hm_order_hash(rows->order, rows->n_features);
    return HM_OK;
}

/* Where the rows go: into the cache when there is a place for it, and from there into the address
 * space, so that all processes of a host share them; else into private memory. A full disk must not
 * end a run. */
static enum hm_status settle(const struct hm_rows_builder *builder,
                             const struct hm_builder_plan *plan, const struct hm_cache *cache,
                             const char **place, struct hm_rows *rows,
                             const struct hm_progress *progress, struct hm_err *err)
{
    if (*place) {
        enum hm_status status = hm_rows_cache_write(cache, *place, builder, plan, progress, err);
        if (status == HM_OK && (*place = hm_rows_cache_load(cache, rows)))
            return HM_OK;
        if (status == HM_ESTOPPED)
            return status;
        *place = NULL;
    }
    return build_in_memory(builder, plan, rows, progress, err);
}

/* The files must be the ones that the fingerprint was taken of. */
static enum hm_status check_unchanged(const struct hm_cache *cache,
                                      const struct hm_rows_source *source, struct hm_err *err)
{
    struct hm_cache now;
    enum hm_status status = hm_rows_cache_find(&now, source, err);
    if (status == HM_OK && memcmp(now.fingerprint, cache->fingerprint, sizeof now.fingerprint) != 0)
        return hm_fail(err, HM_EINPUT,
                       "%s: changed while it was read; start again when it is complete",
                       source->file[0]);
    return status;
}

static enum hm_status build(const struct hm_rows_source *source, const struct hm_cache *cache,
                            const char **place, struct hm_rows *rows,
                            const struct hm_progress *progress, double *text_bytes,
                            struct hm_err *err)
{
    struct hm_rows_builder builder;
    struct hm_builder_plan plan = {0};
    hm_builder_init(&builder);
    enum hm_status status = parse_files(&builder, source, progress, err);
    if (status == HM_OK)
        status = check_content(&builder, source, err);
    if (status == HM_OK)
        status = check_unchanged(cache, source, err);
    if (status == HM_OK)
        status = hm_builder_plan(&builder, source->n_features, &plan, err);
    if (status == HM_OK)
        status = settle(&builder, &plan, cache, place, rows, progress, err);
    *text_bytes = builder.text_bytes;
    hm_builder_plan_fini(&plan);
    hm_builder_fini(&builder);
    return status;
}

/* Builds unless another process does so first; *place becomes the cache used, or NULL. */
static enum hm_status build_once(struct hm_rows *rows, struct hm_cache *cache,
                                 const struct hm_rows_source *source,
                                 const struct hm_progress *progress,
                                 struct hm_rows_load_stats *stats, const char **place,
                                 struct hm_err *err)
{
    const char *writable;
    enum hm_status status = hm_cache_lock(cache, progress, &writable, err);
    if (status != HM_OK)
        return status;
    *place = hm_rows_cache_load(cache, rows);
    stats->from_cache = *place != NULL;
    if (!*place) {
        *place = writable;
        status = build(source, cache, place, rows, progress, &stats->text_bytes, err);
    }
    hm_cache_unlock(cache);
    return status;
}

static enum hm_status open_cached(struct hm_rows *rows, struct hm_cache *cache,
                                  const struct hm_rows_source *source,
                                  const struct hm_progress *progress,
                                  struct hm_rows_load_stats *stats, struct hm_err *err)
{
    const char *place = hm_rows_cache_load(cache, rows);
    enum hm_status status = HM_OK;
    stats->from_cache = place != NULL;
    if (!place)
        status = build_once(rows, cache, source, progress, stats, &place, err);
    if (status == HM_OK && place)
        snprintf(stats->cache_path, sizeof stats->cache_path, "%s", place);
    return status;
}

enum hm_status hm_rows_open(struct hm_rows *rows, const struct hm_rows_source *source,
                            const struct hm_progress *progress, struct hm_rows_load_stats *stats,
                            struct hm_err *err)
{
    assert(rows && source);
    struct hm_rows_load_stats ignored;
    struct hm_cache cache;
    stats = stats ? stats : &ignored;
    *stats = (struct hm_rows_load_stats){0};
    *rows = (struct hm_rows){0};
    enum hm_status status = check_usage(source, err);
    if (status == HM_OK)
        status = hm_rows_cache_find(&cache, source, err);
    if (status != HM_OK)
        return status;
    if (source->no_cache)
        hm_cache_forbid(&cache);
    return open_cached(rows, &cache, source, progress, stats, err);
}

void hm_rows_close(struct hm_rows *rows)
{
    if (rows->map)
        munmap(rows->map, rows->map_bytes);
    *rows = (struct hm_rows){0};
}

/* ---- renumbering ---- */

static uint32_t largest_of(const uint32_t *order, uint32_t n)
{
    uint32_t largest = 0;
    for (uint32_t i = 0; i < n; i++)
        largest = order[i] > largest ? order[i] : largest;
    return largest;
}

/* rank_of[source feature] = new rank, [n]; the order must name no feature twice. */
static enum hm_status invert(const uint32_t *order, uint32_t n_features, uint32_t *rank_of,
                             uint32_t n, struct hm_err *err)
{
    for (uint32_t i = 0; i < n; i++)
        rank_of[i] = HM_RANK_NONE;
    for (uint32_t rank = 0; rank < n_features; rank++) {
        if (rank_of[order[rank]] != HM_RANK_NONE)
            return hm_fail(err, HM_EINPUT, "the order of features names feature %u twice",
                           order[rank] + 1);
        rank_of[order[rank]] = rank;
    }
    return HM_OK;
}

/* From the rows' present ranks to the new ones, [rows->n_features]. */
static void compose(const struct hm_rows *rows, const uint32_t *rank_of, uint32_t n, uint32_t *map)
{
    for (uint32_t r = 0; r < rows->n_features; r++)
        map[r] = rows->order[r] < n ? rank_of[rows->order[r]] : HM_RANK_NONE;
}

/* How many non-zeros stay; *lost is a present rank that is met and goes, or HM_RANK_NONE. */
static uint64_t count_kept(const struct hm_rows *rows, const uint32_t *map, uint32_t *lost)
{
    uint64_t kept = 0;
    *lost = HM_RANK_NONE;
    for (uint64_t k = 0; k < rows->n_nonzero; k++) {
        uint32_t rank = rows->id16 ? rows->id16[k] : rows->id32[k];
        if (map[rank] != HM_RANK_NONE)
            kept++;
        else
            *lost = rank;
    }
    return kept;
}

static enum hm_status rewrite(struct hm_rows *rows, const struct hm_arrange *arrange,
                              const struct hm_image *image, struct hm_err *err)
{
    struct hm_image_writer writer;
    struct hm_rows fresh;
    enum hm_status status = hm_image_to_memory(&writer, image, err);
    if (status != HM_OK)
        return status;
    status = hm_arrange_write(arrange, &writer, NULL, err);
    if (status == HM_OK)
        status = hm_image_finish(&writer, &fresh, err);
    hm_image_fini(&writer);
    if (status != HM_OK)
        return status;
    fresh.n_positive = rows->n_positive;
    fresh.order_hash = hm_order_hash(fresh.order, fresh.n_features);
    hm_rows_close(rows);
    *rows = fresh;
    return HM_OK;
}

static enum hm_status reorder(struct hm_rows *rows, const uint32_t *order, uint32_t n_features,
                              uint32_t *map, int drop_unknown, struct hm_err *err)
{
    uint32_t lost;
    uint64_t kept = count_kept(rows, map, &lost);
    if (lost != HM_RANK_NONE && !drop_unknown)
        return hm_fail(err, HM_EINPUT,
                       "feature %u is not among the %u features of the order asked for",
                       rows->order[lost] + 1, n_features);
    struct hm_image image = hm_image_layout(rows->n_rows, kept, n_features);
    struct hm_arrange arrange = {.from = rows, .rank_of = map, .order = order};
    return rewrite(rows, &arrange, &image, err);
}

enum hm_status hm_rows_reorder(struct hm_rows *rows, const uint32_t *order, uint32_t n_features,
                               int drop_unknown, struct hm_err *err)
{
    assert(rows && order);
    if (n_features == rows->n_features && memcmp(order, rows->order, 4 * (size_t)n_features) == 0)
        return HM_OK;
    if (n_features == 0 || n_features > HM_FEATURES_MAX ||
        largest_of(order, n_features) >= HM_FEATURES_MAX)
        return hm_fail(err, HM_EINPUT, "an order of features beyond the limit of %d",
                       HM_FEATURES_MAX);
    uint32_t n = largest_of(order, n_features) + 1;
    uint32_t *rank_of = malloc(n * sizeof *rank_of), *map = malloc(rows->n_features * sizeof *map);
    enum hm_status status = HM_OK;
    if (!rank_of || !map)
        status = hm_fail(err, HM_ENOMEM, "no memory to renumber the rows");
    if (status == HM_OK)
        status = invert(order, n_features, rank_of, n, err);
    if (status == HM_OK) {
        compose(rows, rank_of, n, map);
        status = reorder(rows, order, n_features, map, drop_unknown, err);
    }
    free(rank_of);
    free(map);
    return status;
}

/* ---- touching ---- */

static void populate(const void *from, const void *to)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)from / page * page,
              end = (uintptr_t)to;
    if (at >= end || madvise((void *)at, end - at, MADV_POPULATE_READ) == 0)
        return;
    for (; at < end; at += page)
        (void)*(const volatile char *)(at < (uintptr_t)from ? (uintptr_t)from : at);
}

void hm_rows_populate(const struct hm_rows *rows, uint64_t from, uint64_t to)
{
    assert(from <= to);
    assert(to <= rows->n_rows);
    uint64_t a = rows->start[from], b = rows->start[to];
    populate(rows->start + from, rows->start + to + 1);
    populate(rows->label + from, rows->label + to);
    populate(rows->value + a, rows->value + b);
    if (rows->id16)
        populate(rows->id16 + a, rows->id16 + b);
    else
        populate(rows->id32 + a, rows->id32 + b);
}
