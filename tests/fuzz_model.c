/* Model files. An odd first byte: the checksum at the end is made right. */
#include "node/node.h"
#include "sparse/hash.h"
#include "tests/fuzzing.h"

#include <stdlib.h>

static void check(const struct hm_model_file *file)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < hm_layout_n(&file->layout); i++)
        sum += file->b[i];
    for (size_t i = 0; i < file->bulk_n; i++)
        sum += file->bulk[i];
    assert(sum || !file->bulk_n || file->bulk);
    assert(strlen(file->model_hash) == 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t sound = fuzz_u8(&fuzz) & 1;
    size_t n = fuzz_left(&fuzz);
    uint8_t *bytes = malloc(n + HM_HASH_BYTES);
    assert(bytes);
    if (n)
        memcpy(bytes, fuzz.at, n);
    struct hm_hash hash;
    hm_hash_init(&hash);
    hm_hash_update(&hash, bytes, n);
    hm_hash_final(&hash, bytes + n);
    struct hm_model_file file;
    struct hm_err err = {""};
    enum hm_status status =
        hm_model_file_open(&file, fuzz_file(0, bytes, n + (sound ? HM_HASH_BYTES : 0)), &err);
    free(bytes);
    assert((status == HM_OK) == !err.text[0]);
    if (status == HM_OK)
        check(&file);
    hm_model_file_close(&file);
    return 0;
}
