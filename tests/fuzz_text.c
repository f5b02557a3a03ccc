/* Texts, plain or compressed, and vocabulary files: in the input a line "=" lies between a
 * vocabulary and a text. */
#include "models/corpus.h"
#include "tests/fuzzing.h"

#include <stdlib.h>

/* What every corpus promises, whatever its text. */
static void check_corpus(const struct hm_corpus *corpus)
{
    uint32_t mark = corpus->vocab.n, last = mark;
    uint64_t n_lines = 0;
    assert(corpus->n_ids && hm_vocab_sound(&corpus->vocab, corpus->vocab.start[mark]));
    for (uint64_t i = 0; i < corpus->n_ids; i++) {
        assert(corpus->id[i] <= mark && (corpus->id[i] != mark || last != mark));
        last = corpus->id[i];
        n_lines += last == mark;
        uint64_t cut = hm_corpus_cut(corpus, i);
        assert(cut >= i && cut <= corpus->n_ids);
    }
    assert(last == mark && n_lines == corpus->n_lines);
    assert(corpus->n_words == corpus->n_ids - n_lines && corpus->n_words <= corpus->n_tokens);
}

static void check_packed(const struct hm_vocab *vocab)
{
    size_t n = hm_vocab_packed_bytes(vocab);
    uint8_t *bytes = malloc(n);
    struct hm_vocab again;
    assert(bytes);
    hm_vocab_pack(vocab, bytes);
    enum hm_status status = hm_vocab_unpack(&again, bytes, n, NULL);
    assert(status == HM_OK && again.fingerprint == vocab->fingerprint);
    assert(again.fingerprint == hm_vocab_fingerprint(&again));
    hm_vocab_close(&again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t flags = fuzz_u8(&fuzz);
    const uint8_t *text = fuzz.at, *cut = NULL;
    size_t n = fuzz_left(&fuzz);
    struct hm_corpus_options options = {.min_count = flags & 2 ? 1 : 2,
                                        .vocab_max = flags & 4 ? 3 : 0,
                                        .lowercase = flags & 1,
                                        .no_cache = 1,
                                        .threads = (flags & 0x38) == 0x38 ? 2 : 1};
    if (n && (cut = memmem(text, n, "\n=\n", 3))) {
        options.vocab_file = fuzz_file(1, text, (size_t)(cut - text) + 1);
        n -= (size_t)(cut + 3 - text);
        text = cut + 3;
    }
    const char *path = fuzz_file(0, text, n);
    struct hm_corpus corpus;
    struct hm_err err = {""};
    enum hm_status status = hm_corpus_open(&corpus, &path, 1, &options, NULL, &err);
    assert((status == HM_OK) == !err.text[0]);
    assert(status != HM_ENOMEM && status != HM_EIO);
    if (status == HM_OK) {
        check_corpus(&corpus);
        check_packed(&corpus.vocab);
    } else {
        assert(!corpus.map);
    }
    hm_corpus_close(&corpus);
    return 0;
}
