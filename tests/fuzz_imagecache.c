/* The binary cache of images. Where the input says so, the fields that make a cache current and its
 * checksums are set right, so that what they guard is reached. */
#include "models/images_cache.h"
#include "tests/fuzzing.h"

#include <stdlib.h>
#include <xxhash.h>

enum { FILE_BYTES_MAX = 1 << 17, PAGE = 4096, HEADER_BYTES = 72, SHAPE_AT = 32 };
enum { CHECKSUMS_AT = 48, SELF_AT = 64 };

/* The size of the file that the header asks for, if that can be had. */
static size_t make_sound(uint8_t *bytes, size_t n, uint8_t flags)
{
    static const uint32_t lead[] = {1, 0x01020304, 1, 0, 2, 0}; /* version, order, fingerprint */
    uint32_t shape[4];
    memcpy(bytes, "hmimgs\r\n", 8);
    memcpy(bytes + 8, lead, sizeof lead);
    memcpy(shape, bytes + SHAPE_AT, sizeof shape);
    uint64_t pixels =
        (uint64_t)(shape[0] % 256) * (shape[1] % 8) * (shape[2] % 64) * (shape[3] % 64);
    uint64_t labels_at = (PAGE + pixels + PAGE - 1) / PAGE * PAGE, end = labels_at + shape[0] % 256;
    if (flags & 2 && end <= FILE_BYTES_MAX) {
        uint64_t sum[] = {XXH3_64bits(bytes + PAGE, pixels),
                          XXH3_64bits(bytes + labels_at, shape[0] % 256)};
        memcpy(bytes + CHECKSUMS_AT, sum, sizeof sum);
        n = (size_t)end;
    }
    uint64_t self = XXH3_64bits(bytes, SELF_AT);
    memcpy(bytes + SELF_AT, &self, sizeof self);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t flags = fuzz_u8(&fuzz), *bytes = calloc(1, FILE_BYTES_MAX);
    size_t left = fuzz_left(&fuzz), n = left < FILE_BYTES_MAX - PAGE ? left : FILE_BYTES_MAX - PAGE;
    assert(bytes);
    size_t head = n < HEADER_BYTES ? n : HEADER_BYTES;
    if (n) { /* else there may be no place where they are */
        memcpy(bytes, fuzz.at, head);
        memcpy(bytes + PAGE, fuzz.at + head, n - head);
    }
    n = n > head ? n - head + PAGE : head;
    if (flags & 1)
        n = make_sound(bytes, n, flags);
    struct hm_cache cache = {.fingerprint = {1, 2}, .lock_fd = -1};
    struct hm_images images = {0};
    strcpy(cache.place[0], fuzz_file(0, bytes, n));
    free(bytes);
    if (hm_images_cache_load(&cache, &images))
        for (uint32_t i = 0; i < images.n; i++)
            assert(images.label[i] < HM_CLASSES);
    else
        assert(!images.map);
    hm_images_close(&images);
    return 0;
}
