/* Payloads of STATE_REQ and STATE_META. */
#include "tests/fuzzing.h"
#include "tests/wire_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wire_check_vector(data, size);
    return 0;
}
