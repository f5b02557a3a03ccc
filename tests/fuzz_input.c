/* Files that may be compressed: whatever the bytes, reading ends, in words or in data, and takes
 * memory that does not grow with what comes out. */
#include "models/input.h"
#include "tests/fuzzing.h"

#include <stdlib.h>

enum { PIECE = 1 << 14, READ_MAX = 1 << 16 /* the rest of a bomb is more of the same */ };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t piece[PIECE];
    struct hm_err err = {""};
    struct hm_input *input = NULL;
    enum hm_status status = hm_input_open(&input, fuzz_file(0, data, size), &err);
    assert((status == HM_OK) == (input != NULL));
    size_t n = 1;
    for (size_t total = 0; status == HM_OK && n && total < READ_MAX; total += n) {
        status = hm_input_read(input, piece, sizeof piece, &n, &err);
        assert(n <= sizeof piece);
        assert(!n || status == HM_OK);
    }
    assert((status == HM_OK) == !err.text[0]);
    assert(status != HM_EIO && status != HM_EUSAGE);
    if (input)
        assert(hm_input_size(input) == size && hm_input_position(input) <= size);
    hm_input_close(input);
    return 0;
}
