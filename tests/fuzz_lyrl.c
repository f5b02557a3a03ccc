/* The two files of LYRL2004, topics and vectors; in the input a line "=" lies between them. */
#include "models/rows.h"
#include "tests/fuzzing.h"
#include "tests/rows_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size ? memmem(data, size, "\n=\n", 3) : NULL;
    size_t n_topics = cut ? (size_t)(cut - data) + 1 : size;
    size_t n_vectors = cut ? size - n_topics - 2 : 0;
    struct hm_rows_source source = {.n_files = 1, .no_cache = 1, .topic = "CCAT"};
    source.topics = fuzz_file(0, data, n_topics);
    source.file[0] = fuzz_file(1, cut ? cut + 3 : NULL, n_vectors);
    source.n_features = size & 7 ? 5000 : ROWS_CHECK_FEATURES;
    rows_check_source(&source);
    return 0;
}
