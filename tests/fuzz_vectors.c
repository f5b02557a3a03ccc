/* Word vectors, text or binary, plain or compressed. */
#include "models/vectors_file.h"
#include "tests/fuzzing.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hm_vectors vectors;
    struct hm_err err = {""};
    enum hm_status status = hm_vectors_read(&vectors, fuzz_file(0, data, size), NULL, &err);
    assert((status == HM_OK) == !err.text[0]);
    assert(status != HM_ENOMEM && status != HM_EIO);
    if (status == HM_OK) {
        assert(vectors.n && vectors.dim && vectors.n == vectors.words.n);
        for (size_t i = 0; i < (size_t)vectors.n * vectors.dim; i++)
            assert(isfinite(vectors.value[i]));
        for (uint32_t i = 0; i < vectors.n; i++)
            assert(hm_words_find(&vectors.words, hm_words_text(&vectors.words, i),
                                 hm_words_length(&vectors.words, i)) == i);
    }
    hm_vectors_close(&vectors);
    return 0;
}
