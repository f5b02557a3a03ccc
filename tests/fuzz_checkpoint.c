/* libFuzzer entry: the input stands between the first line of a checkpoint and its hash. */
#include "tests/checkpoint_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    checkpoint_check(data, size);
    return 0;
}
