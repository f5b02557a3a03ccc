/* The cache of a text, and packed vocabularies. Where the input says so, the fields that make a
 * cache current and its checksums are set right, so that what they guard is reached. */
#include "models/corpus_cache.h"
#include "tests/fuzzing.h"

#include <stdlib.h>
#include <xxhash.h>

enum { FILE_BYTES_MAX = 1 << 16, PAGE = HM_CORPUS_ALIGN };

/* Where the sections lie, as models/corpus_cache.h has it; the end of the last one. */
static uint64_t lay_out(const struct hm_corpus_header *h, struct hm_corpus_layout *layout)
{
    uint64_t bytes[HM_CORPUS_SECTIONS] = {8 * (uint64_t)h->n_vocab, 4 * ((uint64_t)h->n_vocab + 1),
                                          h->text_bytes, 4 * h->n_ids};
    uint64_t end = sizeof *h;
    for (int s = 0; s < HM_CORPUS_SECTIONS; s++) {
        layout->at[s] = (end + PAGE - 1) / PAGE * PAGE;
        layout->bytes[s] = bytes[s];
        end = layout->at[s] + bytes[s];
    }
    return end;
}

/* Small counts, and sections in their places, one after the other from the input. */
static size_t fill_sections(struct fuzz *fuzz, struct hm_corpus_header *h, uint8_t *file)
{
    struct hm_corpus_layout layout;
    h->n_vocab %= 32;
    h->n_ids %= 128;
    h->text_bytes %= 256;
    uint64_t end = lay_out(h, &layout);
    for (int s = 0; s < HM_CORPUS_SECTIONS; s++) {
        size_t n = (size_t)layout.bytes[s];
        for (size_t i = 0; i < n; i++)
            file[layout.at[s] + i] =
                s == HM_CORPUS_TEXT || i % (s ? 4 : 8) == 0 ? fuzz_u8(fuzz) : 0;
        h->checksum[s] = XXH3_64bits(file + layout.at[s], n);
    }
    return (size_t)end;
}

/* What is told by the sections: sums and numbers of lines. */
static void set_sums(struct hm_corpus_header *h, const uint8_t *file)
{
    struct hm_corpus_layout layout;
    uint32_t word;
    lay_out(h, &layout);
    h->total = h->n_lines = 0;
    for (uint32_t i = 0; i < h->n_vocab; i++)
        h->total += file[layout.at[HM_CORPUS_COUNT] + 8 * (size_t)i];
    for (uint64_t i = 0; i < h->n_ids; i++) {
        memcpy(&word, file + layout.at[HM_CORPUS_ID] + 4 * i, 4);
        h->n_lines += word == h->n_vocab;
    }
    h->n_words = h->n_ids - h->n_lines;
    h->vocab_fingerprint =
        XXH3_64bits_withSeed(file + layout.at[HM_CORPUS_COUNT], 8 * (size_t)h->n_vocab,
                             XXH3_64bits(file + layout.at[HM_CORPUS_TEXT], (size_t)h->text_bytes));
}

static void check_load(const char *path)
{
    struct hm_cache cache = {.fingerprint = {1, 2}, .lock_fd = -1};
    struct hm_corpus corpus = {0};
    int damaged = 0;
    strcpy(cache.place[0], path);
    if (hm_corpus_cache_load(&cache, &corpus, &damaged)) {
        assert(hm_vocab_sound(&corpus.vocab, corpus.vocab.start[corpus.vocab.n]));
        for (uint64_t i = 0; i < corpus.n_ids; i++)
            assert(corpus.id[i] <= corpus.vocab.n);
        assert(corpus.n_words + corpus.n_lines == corpus.n_ids);
    } else {
        assert(!corpus.map);
    }
    hm_corpus_close(&corpus);
}

static void check_unpack(const uint8_t *bytes, size_t n)
{
    struct hm_vocab vocab;
    if (hm_vocab_unpack(&vocab, bytes, n, NULL) == HM_OK)
        assert(hm_vocab_packed_bytes(&vocab) == n);
    else
        assert(!vocab.own);
    hm_vocab_close(&vocab);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t flags = fuzz_u8(&fuzz), *file = calloc(1, FILE_BYTES_MAX);
    struct hm_corpus_header h;
    size_t n = sizeof h, left = fuzz_left(&fuzz);
    assert(file);
    if (left)
        check_unpack(fuzz.at, left);
    for (size_t i = 0; i < sizeof h; i++)
        ((uint8_t *)&h)[i] = fuzz_u8(&fuzz);
    if (flags & 1) {
        memcpy(h.magic, HM_CORPUS_MAGIC, sizeof h.magic);
        h.version = HM_CORPUS_VERSION;
        h.byte_order = 0x01020304;
        h.fingerprint[0] = 1;
        h.fingerprint[1] = 2;
    }
    if (flags & 2)
        n = fill_sections(&fuzz, &h, file);
    if ((flags & 6) == 6)
        set_sums(&h, file);
    if (flags & 1)
        h.self = XXH3_64bits(&h, offsetof(struct hm_corpus_header, self));
    memcpy(file, &h, sizeof h);
    check_load(fuzz_file(0, file, n));
    free(file);
    return 0;
}
