/* Payloads of HELLO and HELLO_OK. */
#include "tests/fuzzing.h"
#include "tests/wire_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wire_check_hello(data, size);
    return 0;
}
