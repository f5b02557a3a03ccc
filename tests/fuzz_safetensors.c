/* Files of named tensors, for a model of three parts. An odd first byte: the length of the header
 * is made right, that is up to the first zero. */
#include "models/safetensors.h"
#include "tests/fuzzing.h"

#include <math.h>
#include <stdlib.h>

enum { LENGTH = 8, NUMBERS = 9 };

static struct hm_parts parts_of(void)
{
    struct hm_parts parts = {0};
    hm_parts_add(&parts, "a.weight", 2, (uint32_t[]){2, 3});
    hm_parts_add(&parts, "b", 1, (uint32_t[]){2});
    hm_parts_add(&parts, "c", 0, NULL);
    assert(hm_parts_numbers(&parts) == NUMBERS);
    return parts;
}

static void put_length(uint8_t *bytes, size_t n)
{
    const uint8_t *end = n > LENGTH ? memchr(bytes + LENGTH, 0, n - LENGTH) : NULL;
    uint64_t length = end ? (uint64_t)(end - bytes - LENGTH) : n > LENGTH ? n - LENGTH : 0;
    for (size_t i = 0; i < LENGTH && i < n; i++)
        bytes[i] = (uint8_t)(length >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    const struct hm_parts parts = parts_of();
    float w[NUMBERS];
    struct hm_err err = {""};
    uint8_t sound = fuzz_u8(&fuzz) & 1;
    size_t n = fuzz_left(&fuzz);
    uint8_t *bytes =
        malloc(n + !n); /* of its own length, so that a sanitizer sees what lies beyond */
    assert(bytes);
    if (n)
        memcpy(bytes, fuzz.at, n);
    if (sound)
        put_length(bytes, n);
    for (unsigned i = 0; i < NUMBERS; i++)
        w[i] = NAN; /* where nothing is put, it shows */
    enum hm_status status = hm_safetensors_take(bytes, n, &parts, w, &err);
    free(bytes);
    assert(status == HM_OK || status == HM_EINPUT);
    assert((status == HM_OK) == !err.text[0]);
    for (unsigned i = 0; i < NUMBERS && !status; i++)
        assert(isfinite(w[i]));
    return 0;
}
