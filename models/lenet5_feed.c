/* LeNet5 at a feeder and at the trainers that it feeds. Files may hold the images of one class
 * after the other, so a feeder takes them in an order of its own. */
#include "models/feed.h"
#include "models/feed_codec.h"
#include "models/lenet5.h"
#include "models/shuffle.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { EPOCHS = 10, BATCH = 256, SAMPLE = 4096 };

static size_t bytes_of(unsigned channels)
{
    return channels == 1 ? 28 * 28 : 3 * 32 * 32;
}

static struct hm_images images_of(unsigned channels, uint32_t n, const uint8_t *label,
                                  const uint8_t *pixel)
{
    const unsigned side = channels == 1 ? 28 : 32;
    return (struct hm_images){.n = n,
                              .channels = channels,
                              .height = side,
                              .width = side,
                              .pixel = pixel,
                              .label = label};
}

/* ---- the feeder ---- */

static const struct hm_images *set_of(const struct hm_model *model, enum hm_set set)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    return set == HM_TEST_SET ? &lenet5->test : &lenet5->train;
}

static void facts(const struct hm_model *model, struct hm_fields *facts)
{
    const struct hm_images *images = set_of(model, HM_TRAIN_SET);
    hm_fields_set(facts, "channels", "%u", images->channels);
    hm_fields_set(facts, "classes", "%d", HM_CLASSES);
}

static int told(const struct hm_model *model, enum hm_set set, unsigned i, uint64_t *from,
                uint64_t *n)
{
    const uint64_t all = set_of(model, set)->n;
    *from = 0;
    *n = set == HM_TRAIN_SET && all > SAMPLE ? SAMPLE : all;
    return !i && all;
}

static uint64_t begins(const struct hm_model *model, uint64_t block, uint64_t blocks,
                       uint32_t batch)
{
    (void)batch;
    return set_of(model, HM_TRAIN_SET)->n * block / blocks;
}

static size_t encode(const struct hm_model *model, enum hm_set set, uint64_t key, uint64_t from,
                     uint64_t n, uint8_t *out, size_t room, uint64_t *taken)
{
    const struct hm_images *images = set_of(model, set);
    const size_t bytes = hm_image_bytes(images), most = (room - HM_FEED_ID_BYTES_MAX) / (1 + bytes);
    uint8_t *label, *pixel;
    *taken = n < most ? n : most;
    hm_feed_put_images((uint32_t)*taken, out, &label, &pixel);
    for (uint64_t i = 0; i < *taken; i++) {
        uint32_t k = (uint32_t)(from + i);
        if (set == HM_TRAIN_SET)
            k = hm_shuffle(k, images->n, key);
        label[i] = images->label[k];
        memcpy(pixel + i * bytes, images->pixel + k * bytes, bytes);
    }
    return hm_feed_images_bytes((uint32_t)*taken, bytes);
}

/* ---- a trainer ---- */

/* The pieces of a set as one, in memory that hm_images_close gives back. */
static enum hm_status open_set(struct hm_images *images, const struct hm_fed *fed,
                               const struct hm_fed_set *told, unsigned channels, struct hm_err *err)
{
    const size_t bytes = bytes_of(channels);
    const uint8_t *label, *pixel;
    uint64_t total = 0;
    uint32_t n;
    for (unsigned i = 0; i < told->n; i++) {
        const struct hm_fed_piece *piece = &told->piece[i];
        if (hm_feed_get_images(piece->bytes, piece->n, fed->batch, bytes, &n, &label, &pixel))
            return hm_fail(err, HM_ECORRUPT, "piece %u of its images is malformed", i);
        total += n;
    }
    if (!total)
        return HM_OK;
    uint8_t *memory =
        mmap(NULL, total * (1 + bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || total > UINT32_MAX)
        return hm_fail(err, HM_ENOMEM, "no memory for %llu images", (unsigned long long)total);
    *images = images_of(channels, (uint32_t)total, memory, memory + total);
    images->map = memory;
    images->map_bytes = total * (1 + bytes);
    for (uint64_t i = 0, at = 0; i < told->n; i++, at += n) {
        const struct hm_fed_piece *piece = &told->piece[i];
        hm_feed_get_images(piece->bytes, piece->n, fed->batch, bytes, &n, &label, &pixel);
        memcpy(memory + at, label, n);
        memcpy(memory + total + at * bytes, pixel, n * bytes);
    }
    return HM_OK;
}

enum hm_status hm_lenet5_open_fed(struct hm_lenet5_model *lenet5, struct hm_err *err)
{
    const struct hm_fed *fed = lenet5->options.fed;
    double channels = 0, classes;
    enum hm_status status = hm_feed_check("lenet5", &lenet5->options, err);
    if (status)
        return status;
    status = hm_fields_number(&fed->facts, "channels", 1, 3, &channels, err);
    if (!status)
        status = hm_fields_number(&fed->facts, "classes", HM_CLASSES, HM_CLASSES, &classes, err);
    if (!status && channels == 2)
        status = hm_fail(err, HM_EINPUT, "images of 2 channels; 1 or 3 is expected");
    if (!status)
        status = open_set(&lenet5->train, fed, &fed->sample, (unsigned)channels, err);
    if (!status && !lenet5->train.n)
        status = hm_fail(err, HM_ECORRUPT, "it tells no sample of its images");
    if (!status && !lenet5->options.n_test)
        status = open_set(&lenet5->test, fed, &fed->test, (unsigned)channels, err);
    return status ? hm_context(err, status, "the feeder's facts") : HM_OK;
}

static size_t slot_head(void)
{
    return (sizeof(struct hm_images) + 63) / 64 * 64;
}

static size_t slot_bytes(const struct hm_model *model)
{
    const struct hm_fed *fed = hm_lenet5_of(model)->options.fed;
    return slot_head() + (fed->bytes_max + 127) / 64 * 64;
}

static int decode(const struct hm_model *model, const uint8_t *bytes, size_t n, void *slot,
                  struct hm_shard *shard)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    const struct hm_fed *fed = lenet5->options.fed;
    const unsigned channels = lenet5->train.channels;
    const uint8_t *label, *pixel;
    uint8_t *copy = (uint8_t *)slot + slot_head();
    uint32_t count;
    if (n > fed->bytes_max)
        return -1;
    memcpy(copy, bytes, n);
    if (hm_feed_get_images(copy, n, fed->batch, bytes_of(channels), &count, &label, &pixel))
        return -1;
    struct hm_images *images = slot;
    *images = images_of(channels, count, label, pixel);
    *shard = (struct hm_shard){.n = count, .fed = images};
    return 0;
}

const struct hm_feed_ops hm_lenet5_feed = {
    .epochs = EPOCHS,
    .batch = BATCH,
    .batch_min = 1,
    .facts = facts,
    .told = told,
    .begins = begins,
    .encode = encode,
    .slot_bytes = slot_bytes,
    .decode = decode,
};
