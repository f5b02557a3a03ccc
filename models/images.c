#include "models/images.h"

#include "models/images_cache.h"
#include "models/images_read.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

/* ---- from files to memory ---- */

static enum hm_status check_pairs(const struct hm_images_builder *builder, struct hm_err *err)
{
    if (!builder->n_pixels)
        return hm_fail(err, HM_EINPUT, "%s: labels, but no file of images beside it",
                       builder->last_labels);
    if (!builder->n_labels)
        return hm_fail(err, HM_EINPUT, "%s: images, but no file of labels beside it",
                       builder->last_pixels);
    if (builder->n_pixels != builder->n_labels)
        return hm_fail(err, HM_EINPUT, "%s: %llu images up to here, but %llu labels up to %s",
                       builder->last_pixels, (unsigned long long)builder->n_pixels,
                       (unsigned long long)builder->n_labels, builder->last_labels);
    return HM_OK;
}

/* IDX files come in pairs: when both of one are read there must be as many of each. */
static enum hm_status read_files(struct hm_images_builder *builder, const char *const *file,
                                 unsigned n_files, const struct hm_progress *progress,
                                 struct hm_err *err)
{
    enum hm_status status = HM_OK;
    for (unsigned i = 0; i < n_files && !status; i++)
        status = hm_image_file_read(builder, file[i], progress, err);
    return status ? status : check_pairs(builder, err);
}

/* Pixels and labels in one piece of memory, which the images own. */
static enum hm_status settle(struct hm_images_builder *builder, struct hm_images *images,
                             struct hm_err *err)
{
    size_t n_pixels = builder->pixel.used, n = builder->label.used;
    if (hm_grow_reserve(&builder->pixel, n_pixels + n) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory for %zu images", n);
    memcpy(builder->pixel.base + n_pixels, builder->label.base, n);
    *images = (struct hm_images){.n = (uint32_t)n,
                                 .channels = builder->channels,
                                 .height = builder->height,
                                 .width = builder->width,
                                 .pixel = builder->pixel.base,
                                 .label = builder->pixel.base + n_pixels,
                                 .map = builder->pixel.base,
                                 .map_bytes = builder->pixel.room};
    builder->pixel = (struct hm_grow){0};
    return HM_OK;
}

/* The files must be the ones that the fingerprint was taken of. */
static enum hm_status check_unchanged(const struct hm_cache *cache, const char *const *file,
                                      unsigned n_files, struct hm_err *err)
{
    struct hm_cache now;
    enum hm_status status = hm_images_cache_find(&now, file, n_files, err);
    if (!status && memcmp(now.fingerprint, cache->fingerprint, sizeof now.fingerprint) != 0)
        return hm_fail(err, HM_EINPUT,
                       "%s: changed while it was read; start again when it is complete", file[0]);
    return status;
}

/* ---- and into the cache ---- */

/* A full disk must not end a run: then the images stay in private memory. */
static void share(const struct hm_cache *cache, const char *place, struct hm_images *images)
{
    struct hm_images mapped;
    if (!place || hm_images_cache_write(cache, place, images, NULL) ||
        !hm_images_cache_load(cache, &mapped))
        return;
    hm_images_close(images);
    *images = mapped;
}

static enum hm_status build(struct hm_images *images, struct hm_cache *cache,
                            const char *const *file, unsigned n_files,
                            const struct hm_progress *progress, struct hm_err *err)
{
    struct hm_images_builder builder = {0};
    const char *place;
    enum hm_status status = hm_cache_lock(cache, progress, &place, err);
    if (status)
        return status;
    if (!hm_images_cache_load(cache, images)) { /* nobody else built it meanwhile */
        status = read_files(&builder, file, n_files, progress, err);
        if (!status)
            status = check_unchanged(cache, file, n_files, err);
        if (!status)
            status = settle(&builder, images, err);
        if (!status)
            share(cache, place, images);
        hm_images_builder_fini(&builder);
    }
    hm_cache_unlock(cache);
    return status;
}

enum hm_status hm_images_open(struct hm_images *images, const char *const *file, unsigned n_files,
                              int no_cache, const struct hm_progress *progress, struct hm_err *err)
{
    assert(images && file);
    struct hm_cache cache;
    *images = (struct hm_images){0};
    if (!n_files || n_files > HM_IMAGES_FILES_MAX)
        return hm_fail(err, HM_EUSAGE, "a set of images is 1 to %d files, not %u",
                       HM_IMAGES_FILES_MAX, n_files);
    enum hm_status status = hm_images_cache_find(&cache, file, n_files, err);
    if (status)
        return status;
    if (no_cache)
        hm_cache_forbid(&cache);
    if (hm_images_cache_load(&cache, images))
        return HM_OK;
    return build(images, &cache, file, n_files, progress, err);
}

void hm_images_close(struct hm_images *images)
{
    if (images->map)
        munmap(images->map, images->map_bytes);
    *images = (struct hm_images){0};
}
