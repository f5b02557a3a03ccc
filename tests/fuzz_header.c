/* Headers of messages from a peer. */
#include "tests/fuzzing.h"
#include "tests/wire_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wire_check_header(data, size);
    return 0;
}
