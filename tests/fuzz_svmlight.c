/* svmlight text, plain or compressed, with and without lists of labels. */
#include "models/rows.h"
#include "tests/fuzzing.h"
#include "tests/rows_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t flags = fuzz_u8(&fuzz);
    struct hm_rows_source source = {.n_files = 1, .no_cache = 1};
    source.file[0] = fuzz_file(0, fuzz.at, fuzz_left(&fuzz));
    source.n_features = flags & 1 ? 100 : flags & 4 ? ROWS_CHECK_FEATURES : 5000;
    source.topic = flags & 2 ? "3" : NULL;
    rows_check_source(&source);
    return 0;
}
