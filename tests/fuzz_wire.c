/* libFuzzer entry: the first byte chooses the decoder, the rest are bytes from a peer.
 *
 *     clang -fsanitize=fuzzer,address,undefined ... tests/fuzz_wire.c, then: fuzz_wire
 * -max_len=4200 corpus/
 */
#include "tests/wire_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int (*const check[])(const uint8_t *, size_t) = {
        wire_check_header,
        wire_check_spans,
        wire_check_beat,
        wire_check_hello,
        wire_check_vector,
    };
    if (size > 0)
        check[data[0] % (sizeof check / sizeof *check)](data + 1, size - 1);
    return 0;
}
