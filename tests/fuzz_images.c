/* Files of images, one or two that belong together, of any format. */
#include "models/images.h"
#include "tests/fuzzing.h"

static uint64_t touch(const struct hm_images *images)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < images->n * (uint64_t)hm_image_bytes(images); i++)
        sum += images->pixel[i];
    for (uint32_t i = 0; i < images->n; i++)
        assert(images->label[i] < HM_CLASSES);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    size_t first = fuzz_u8(&fuzz) << 4, left = fuzz_left(&fuzz);
    first = first < left ? first : left;
    const char *file[] = {fuzz_file(0, fuzz.at, first),
                          fuzz_file(1, fuzz.at + first, left - first)};
    struct hm_images images;
    struct hm_err err = {""};
    enum hm_status status = hm_images_open(&images, file, first < left ? 2 : 1, 1, NULL, &err);
    assert((status == HM_OK) == !err.text[0]);
    assert(status != HM_ENOMEM && status != HM_EIO);
    if (status == HM_OK)
        touch(&images);
    else
        assert(!images.map);
    hm_images_close(&images);
    return 0;
}
