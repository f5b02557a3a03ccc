/* Files of analogy questions and of word pairs, asked of a few vectors. */
#include "models/word_eval.h"
#include "tests/fuzzing.h"

#include <math.h>
#include <stdlib.h>

enum { DIM = 3 };

static void make_vectors(struct hm_vectors *vectors)
{
    static const char *const word[] = {"a",
                                       "b",
                                       "C",
                                       "c",
                                       "d",
                                       "stra\xC3\x9F"
                                       "e",
                                       "x1",
                                       "zero"};
    static const float value[][DIM] = {{1, 0, 0}, {1, 1, 0}, {0, 0, 1},    {0, 1, 1},
                                       {0, 1, 1}, {1, 2, 3}, {-1, 0, .5f}, {0, 0, 0}};
    hm_vectors_init(vectors, DIM);
    for (size_t i = 0; i < sizeof word / sizeof word[0]; i++) {
        enum hm_status status = hm_vectors_add(vectors, word[i], strlen(word[i]), value[i], NULL);
        assert(status == HM_OK);
    }
}

static void check_analogies(const struct hm_vectors *vectors, const char *path,
                            const struct hm_eval_options *options)
{
    struct hm_analogies analogies;
    struct hm_err err = {""};
    enum hm_status status = hm_eval_analogies(vectors, path, options, &analogies, NULL, &err);
    assert((status == HM_OK) == !err.text[0]);
    assert(status != HM_ENOMEM && status != HM_EIO);
    assert((status == HM_OK) == (analogies.section != NULL));
    uint64_t n = 0;
    for (unsigned i = 0; i < analogies.n_sections; i++) {
        assert(analogies.section[i].n_right <= analogies.section[i].n);
        assert(strlen(analogies.section[i].name) <= HM_SECTION_NAME_MAX);
        n += analogies.section[i].n;
    }
    assert(n == analogies.total.n);
    free(analogies.section);
}

static void check_pairs(const struct hm_vectors *vectors, const char *path,
                        const struct hm_eval_options *options)
{
    struct hm_pairs pairs;
    struct hm_err err = {""};
    enum hm_status status = hm_eval_pairs(vectors, path, options, &pairs, NULL, &err);
    assert((status == HM_OK) == !err.text[0]);
    assert(status != HM_ENOMEM && status != HM_EIO);
    assert(status || pairs.n || pairs.n_unknown);
    assert(!isfinite(pairs.spearman) || fabs(pairs.spearman) <= 1);
    assert(!isfinite(pairs.pearson) || fabs(pairs.pearson) <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t flags = fuzz_u8(&fuzz);
    const char *path = fuzz_file(0, fuzz.at, fuzz_left(&fuzz));
    struct hm_eval_options options = {
        .restrict_vocab = flags & 1 ? 4 : 0, .case_sensitive = flags >> 1 & 1, .threads = 1};
    struct hm_vectors vectors;
    make_vectors(&vectors);
    if (flags & 4)
        check_analogies(&vectors, path, &options);
    else
        check_pairs(&vectors, path, &options);
    hm_vectors_close(&vectors);
    return 0;
}
