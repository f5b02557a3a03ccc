/* Payloads of BEAT. */
#include "tests/fuzzing.h"
#include "tests/wire_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wire_check_beat(data, size);
    return 0;
}
