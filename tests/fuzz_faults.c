/* libFuzzer entry: bytes that somebody offers as a fault plan. Seeds are in
 * tests/golden/fuzz/faults/. */
#include "tests/faults_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    faults_check(data, size);
    return 0;
}
