#define XXH_INLINE_ALL /* words are a few bytes long: the call would cost as much as the hash */
#include "models/words.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#ifdef HM_SMALL_BUFFERS /* for fuzzing, where a text is a kilobyte */
enum { FIRST_SLOTS = 1 << 6 };
#else
enum { FIRST_SLOTS = 1 << 16 };
#endif

void hm_words_fini(struct hm_words *words)
{
    hm_grow_free(&words->text);
    hm_grow_free(&words->start);
    hm_grow_free(&words->count);
    free(words->slot);
    *words = (struct hm_words){0};
}

/* Most words are a head and nothing else, and one product mixes that well enough. */
static uint32_t hash_of(const void *text, size_t n, uint64_t head)
{
    if (n > 8)
        return (uint32_t)XXH3_64bits(text, n);
    head *= 0x9E3779B97F4A7C15u;
    return (uint32_t)(head >> 32) ^ (uint32_t)(head >> 12);
}

static uint64_t load(const uint8_t *p, size_t n)
{
    uint64_t x = 0;
    for (size_t i = 0; i < n; i++)
        x |= (uint64_t)p[i] << 8 * i;
    return x;
}

static uint64_t head_of(const void *text, size_t n)
{
    const uint8_t *p = text;
    if (n >= 8)
        return load(p, 8);
    if (n >= 4)
        return load(p, 4) | load(p + n - 4, 4) << 8 * (n - 4);
    return load(p, n);
}

static struct hm_word_key key_of(const void *text, size_t n, uint64_t head)
{
    return (struct hm_word_key){text, (uint32_t)n, hash_of(text, n, head), head};
}

struct hm_word_key hm_words_key(const struct hm_words *words, const void *text, size_t n)
{
    uint64_t head = load(text, 8);
    struct hm_word_key key = key_of(text, n, n < 8 ? head & (((uint64_t)1 << 8 * n) - 1) : head);
    if (words->n_slots)
        __builtin_prefetch(&words->slot[key.hash & (words->n_slots - 1)]);
    return key;
}

/* The slot that holds the word, or the empty one where it belongs. */
static uint32_t find_slot(const struct hm_words *words, const struct hm_word_key *key)
{
    uint32_t mask = words->n_slots - 1, at = key->hash & mask;
    for (const struct hm_word_slot *slot; (slot = &words->slot[at])->number; at = (at + 1) & mask) {
        uint32_t i = slot->number - 1;
        if (slot->hash == key->hash && slot->head == key->head &&
            (key->head >> 56 == 0 || (hm_words_length(words, i) == key->n &&
                                      memcmp(hm_words_text(words, i), key->text, key->n) == 0)))
            break;
    }
    return at;
}

static int enlarge(struct hm_words *words)
{
    uint32_t n = words->n_slots ? 2 * words->n_slots : FIRST_SLOTS;
    struct hm_word_slot *slot = calloc(n, sizeof *slot);
    if (!slot)
        return -1;
    for (uint32_t i = 0; i < words->n_slots; i++) {
        if (!words->slot[i].number)
            continue;
        uint32_t at = words->slot[i].hash & (n - 1);
        while (slot[at].number)
            at = (at + 1) & (n - 1);
        slot[at] = words->slot[i];
    }
    free(words->slot);
    words->slot = slot;
    words->n_slots = n;
    return 0;
}

static int make_room(struct hm_words *words, size_t n)
{
    size_t number = (size_t)words->n + 1;
    if (number > HM_WORDS_MAX || words->text.used + n + 1 > UINT32_MAX)
        return -1;
    return hm_grow_reserve(&words->text, words->text.used + n + 1) ||
           hm_grow_reserve(&words->start, 4 * (number + 1)) ||
           hm_grow_reserve(&words->count, 8 * number);
}

uint32_t hm_words_add_key(struct hm_words *words, const struct hm_word_key *key)
{
    const size_t n = key->n;
    assert(n <= HM_WORD_BYTES_MAX);
    if (2 * (uint64_t)words->n >= words->n_slots && enlarge(words) != 0)
        return HM_WORD_NONE;
    uint32_t at = find_slot(words, key);
    if (words->slot[at].number)
        return words->slot[at].number - 1;
    if (make_room(words, n) != 0)
        return HM_WORD_NONE;
    memcpy(words->text.base + words->text.used, key->text, n);
    words->text.base[words->text.used + n] = 0;
    words->text.used += n + 1;
    uint32_t i = words->n++, *start = (uint32_t *)(void *)words->start.base;
    start[i + 1] = (uint32_t)words->text.used;
    words->slot[at] = (struct hm_word_slot){key->hash, i + 1, key->head};
    return i;
}

uint32_t hm_words_find_key(const struct hm_words *words, const struct hm_word_key *key)
{
    return words->n_slots ? words->slot[find_slot(words, key)].number - 1 : HM_WORD_NONE;
}

uint32_t hm_words_add(struct hm_words *words, const void *text, size_t n)
{
    struct hm_word_key key = key_of(text, n, head_of(text, n));
    return hm_words_add_key(words, &key);
}

uint32_t hm_words_find(const struct hm_words *words, const void *text, size_t n)
{
    struct hm_word_key key = key_of(text, n, head_of(text, n));
    return hm_words_find_key(words, &key);
}

enum hm_status hm_words_full(const struct hm_words *words, struct hm_err *err)
{
    if (words->n >= HM_WORDS_MAX || words->text.used + HM_WORD_BYTES_MAX >= UINT32_MAX)
        return hm_fail(err, HM_EINPUT,
                       "more than %u different words, %zu bytes of them; is this a "
                       "text?",
                       words->n, words->text.used);
    return hm_fail(err, HM_ENOMEM, "no memory for more than %u different words", words->n);
}

/* ---- the order ---- */

/* A word with what mostly decides its place. */
struct key {
    uint64_t count,
        head; /* the first 8 bytes, the first one highest, so that it sorts as they do */
    const char *text;
    uint32_t length, number;
};

static int compare(const void *one, const void *other)
{
    const struct key *a = one, *b = other;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    if (a->head != b->head)
        return a->head < b->head ? -1 : 1;
    return strcmp(a->text, b->text);
}

static struct key *sorted(const struct hm_words *words, uint64_t min_count, uint32_t *n)
{
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < words->n; i++)
        n_kept += *hm_words_count(words, i) >= min_count;
    struct key *key = malloc((n_kept + (size_t)1) * sizeof *key);
    *n = 0;
    for (uint32_t i = 0; key && i < words->n; i++) {
        const char *text = hm_words_text(words, i);
        size_t length = hm_words_length(words, i);
        uint64_t count = *hm_words_count(words, i);
        if (count >= min_count)
            key[(*n)++] = (struct key){count, __builtin_bswap64(head_of(text, length)), text,
                                       (uint32_t)length, i};
    }
    if (key)
        qsort(key, *n, sizeof *key, compare);
    return key;
}

/* The arrays of a vocabulary of the first n keys; the caller has reckoned the sum. */
static int settle(const struct key *key, uint32_t n, struct hm_vocab *vocab)
{
    size_t text_bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        text_bytes += key[i].length + (size_t)1;
    struct hm_vocab_arrays to;
    uint64_t total = vocab->total;
    if (hm_vocab_alloc(vocab, &to, n, text_bytes) != 0)
        return -1;
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        to.count[i] = key[i].count;
        to.start[i] = at;
        memcpy(to.text + at, key[i].text, key[i].length + (size_t)1);
        at += key[i].length + 1;
    }
    to.start[n] = at;
    vocab->total = total;
    vocab->fingerprint = hm_vocab_fingerprint(vocab);
    return 0;
}

enum hm_status hm_words_rank(const struct hm_words *words, uint64_t min_count, uint32_t vocab_max,
                             struct hm_vocab *vocab, uint32_t *id_of, struct hm_err *err)
{
    uint32_t n;
    struct key *key = sorted(words, min_count > 1 ? min_count : 1, &n);
    enum hm_status status = HM_OK;
    *vocab = (struct hm_vocab){0};
    n = vocab_max && vocab_max < n ? vocab_max : n;
    for (uint32_t i = 0; key && !status && i < n; i++) {
        vocab->total += key[i].count;
        if (key[i].count > HM_COUNT_MAX || vocab->total > HM_COUNT_MAX)
            status = hm_fail(err, HM_EINPUT, "the counts add up to more than 2^53");
    }
    if (!key || (!status && settle(key, n, vocab) != 0))
        status = hm_fail(err, HM_ENOMEM, "no memory to put %u words in order", words->n);
    if (!status && id_of) {
        memset(id_of, 0xFF, words->n * sizeof *id_of);
        for (uint32_t i = 0; i < n; i++)
            id_of[key[i].number] = i;
    }
    free(key);
    return status;
}

enum hm_status hm_words_of_vocab(struct hm_words *words, const struct hm_vocab *vocab,
                                 struct hm_err *err)
{
    *words = (struct hm_words){0};
    for (uint32_t i = 0; i < vocab->n; i++)
        if (hm_words_add(words, hm_vocab_word(vocab, i), hm_vocab_length(vocab, i)) ==
            HM_WORD_NONE) {
            enum hm_status status = hm_words_full(words, err);
            hm_words_fini(words);
            return status;
        }
    return HM_OK;
}
