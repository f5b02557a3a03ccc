/* The two vectors at the head of a DELTA's payload. */
#include "tests/fuzzing.h"
#include "tests/wire_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wire_check_spans(data, size);
    return 0;
}
