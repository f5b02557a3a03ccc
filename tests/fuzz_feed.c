/* What feeders send: the first bytes choose the workload and what its data is like, the rest is the
 * message. */
#include "tests/feed_check.h"
#include "tests/fuzzing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    const uint8_t kind = fuzz_u8(&fuzz);
    const uint32_t most = (uint32_t)fuzz_uint(&fuzz, 2);
    const uint8_t small = fuzz_u8(&fuzz);
    const uint8_t *bytes = fuzz.at;
    const size_t n = fuzz_left(&fuzz);
    switch (kind % 4) {
    case 0:
        feed_check_words(bytes, n, most + 1, small * 8);
        break;
    case 1:
        feed_check_rows(bytes, n, most + 1, small, 64, 1024);
        break;
    case 2: /* ids of 32 bits */
        feed_check_rows(bytes, n, (most + 2) << 16, small, 64, 1024);
        break;
    default:
        feed_check_images(bytes, n, small, most % 64);
    }
    return 0;
}
