#include "models/vocab.h"

#include "models/tokens.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

uint64_t hm_vocab_fingerprint(const struct hm_vocab *vocab)
{
    return XXH3_64bits_withSeed(vocab->count, 8 * (size_t)vocab->n,
                                XXH3_64bits(vocab->text, vocab->start[vocab->n]));
}

/* Whether word i is one, and in its place behind the one before. */
static int word_sound(const struct hm_vocab *vocab, uint32_t i)
{
    const char *word = hm_vocab_word(vocab, i);
    uint32_t from = vocab->start[i], to = vocab->start[i + 1];
    if (word[to - from - 1] || !hm_is_word(word, to - from - 1) || !vocab->count[i])
        return 0;
    if (i == 0 || vocab->count[i] < vocab->count[i - 1])
        return 1;
    return vocab->count[i] == vocab->count[i - 1] && strcmp(hm_vocab_word(vocab, i - 1), word) < 0;
}

int hm_vocab_sound(const struct hm_vocab *vocab, uint64_t text_bytes)
{
    uint64_t total = 0;
    if (vocab->start[0] != 0 || vocab->start[vocab->n] != text_bytes)
        return 0;
    for (uint32_t i = 0; i < vocab->n; i++)
        if (vocab->start[i + 1] <= vocab->start[i] || vocab->start[i + 1] > text_bytes)
            return 0;
    for (uint32_t i = 0; i < vocab->n; i++) {
        if (!word_sound(vocab, i) || vocab->count[i] > HM_COUNT_MAX - total)
            return 0;
        total += vocab->count[i];
    }
    return total == vocab->total;
}

int hm_vocab_alloc(struct hm_vocab *vocab, struct hm_vocab_arrays *arrays, uint32_t n,
                   size_t text_bytes)
{
    uint64_t *count = malloc(8 * (size_t)n + 4 * ((size_t)n + 1) + text_bytes);
    if (!count)
        return -1;
    arrays->count = count;
    arrays->start = (uint32_t *)(void *)(count + n);
    arrays->text = (char *)(arrays->start + n + 1);
    *vocab = (struct hm_vocab){
        .n = n, .count = count, .start = arrays->start, .text = arrays->text, .own = count};
    return 0;
}

enum hm_status hm_vocab_copy(struct hm_vocab *to, const struct hm_vocab *from, struct hm_err *err)
{
    struct hm_vocab_arrays arrays;
    uint32_t n = from->n;
    *to = (struct hm_vocab){0};
    if (hm_vocab_alloc(to, &arrays, n, from->start[n]) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory for a vocabulary of %u words", n);
    memcpy(arrays.count, from->count, 8 * (size_t)n);
    memcpy(arrays.start, from->start, 4 * ((size_t)n + 1));
    memcpy(arrays.text, from->text, from->start[n]);
    to->total = from->total;
    to->fingerprint = from->fingerprint;
    return HM_OK;
}

void hm_vocab_close(struct hm_vocab *vocab)
{
    free(vocab->own);
    *vocab = (struct hm_vocab){0};
}

/* ---- packed ---- */

size_t hm_vocab_packed_bytes(const struct hm_vocab *vocab)
{
    return 4 + 8 * (size_t)vocab->n + vocab->start[vocab->n];
}

static void put(uint8_t *to, uint64_t x, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (uint8_t)(x >> 8 * i);
}

static uint64_t get(const uint8_t *from, int n)
{
    uint64_t x = 0;
    for (int i = 0; i < n; i++)
        x |= (uint64_t)from[i] << 8 * i;
    return x;
}

void hm_vocab_pack(const struct hm_vocab *vocab, uint8_t *to)
{
    put(to, vocab->n, 4);
    for (uint32_t i = 0; i < vocab->n; i++)
        put(to + 4 + 8 * (size_t)i, vocab->count[i], 8);
    memcpy(to + 4 + 8 * (size_t)vocab->n, vocab->text, vocab->start[vocab->n]);
}

/* Finds the words in text [n_text] that ends with a NUL; whether there are as many as announced. */
static int find_words(const char *text, size_t n_text, uint32_t *start, uint32_t n)
{
    size_t at = 0;
    for (uint32_t i = 0; i < n && at < n_text; i++) {
        at += strlen(text + at) + 1;
        start[i + 1] = (uint32_t)at;
        if (i + 1 == n)
            return at == n_text;
    }
    return n == 0 && n_text == 0;
}

static int unpack(struct hm_vocab *vocab, const struct hm_vocab_arrays *to, const uint8_t *bytes,
                  size_t n_text)
{
    uint32_t n = vocab->n;
    memcpy(to->text, bytes + 4 + 8 * (size_t)n, n_text);
    to->start[0] = 0;
    for (uint32_t i = 0; i < n; i++) {
        to->count[i] = get(bytes + 4 + 8 * (size_t)i, 8);
        vocab->total += to->count[i];
    }
    if (n_text && to->text[n_text - 1] != 0)
        return -1;
    if (!find_words(to->text, n_text, to->start, n) || !hm_vocab_sound(vocab, n_text))
        return -1;
    vocab->fingerprint = hm_vocab_fingerprint(vocab);
    return 0;
}

enum hm_status hm_vocab_unpack(struct hm_vocab *vocab, const uint8_t *bytes, size_t n_bytes,
                               struct hm_err *err)
{
    *vocab = (struct hm_vocab){0};
    uint64_t n = n_bytes < 4 ? 0 : get(bytes, 4);
    if (n_bytes < 4 || n > HM_WORDS_MAX || n > (n_bytes - 4) / 8 || n_bytes > UINT32_MAX)
        return hm_fail(err, HM_EINPUT, "a vocabulary that is not as long as it says");
    size_t n_text = n_bytes - 4 - 8 * (size_t)n;
    struct hm_vocab_arrays to;
    if (hm_vocab_alloc(vocab, &to, (uint32_t)n, n_text) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory for a vocabulary of %llu words",
                       (unsigned long long)n);
    if (unpack(vocab, &to, bytes, n_text) == 0)
        return HM_OK;
    hm_vocab_close(vocab);
    return hm_fail(err, HM_EINPUT, "a vocabulary whose words or counts are not in order");
}
