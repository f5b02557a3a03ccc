/* A set of words, each with a number by the order in which they came, and a count. */
#ifndef HM_MODELS_WORDS_H
#define HM_MODELS_WORDS_H

#include "models/grow.h"
#include "models/vocab.h"
#include "sparse/status.h"

#define HM_WORD_NONE UINT32_MAX

/* Where a word is found. Words have no NUL in them, so a head whose last byte is 0 is all of the
 * word: most words are found without a look at their text. */
struct hm_word_slot {
    uint32_t hash, number; /* number + 1; 0: empty */
    uint64_t head;         /* the first 8 bytes, the first one lowest, and zeros */
};

struct hm_words {
    uint32_t n, n_slots;
    struct hm_grow text;       /* one word after the other, each with a NUL behind it */
    struct hm_grow start;      /* uint32_t [n + 1] */
    struct hm_grow count;      /* uint64_t [n]; 0 for a new word; the user's */
    struct hm_word_slot *slot; /* [n_slots] */
};

/* Zeros are an empty set. */
void hm_words_fini(struct hm_words *words);

/* The number of the word text [n], which is added when it is new (n <= HM_WORD_BYTES_MAX);
 * HM_WORD_NONE without memory, or when there are HM_WORDS_MAX or 4 GiB of them. */
uint32_t hm_words_add(struct hm_words *words, const void *text, size_t n);

/* The number of the word, or HM_WORD_NONE. Any number of threads while nobody adds. */
uint32_t hm_words_find(const struct hm_words *words, const void *text, size_t n);

/* The same in two steps, for who has many words at hand: a large set is not in the cache, and where
 * a word may be is fetched while others are looked at. */
struct hm_word_key {
    const void *text; /* [n]; borrowed until the second step */
    uint32_t n, hash;
    uint64_t head;
};

/* Of a word that is followed by 8 bytes that may be read, whatever they are. */
struct hm_word_key hm_words_key(const struct hm_words *words, const void *text, size_t n);

uint32_t hm_words_add_key(struct hm_words *words, const struct hm_word_key *key);
uint32_t hm_words_find_key(const struct hm_words *words, const struct hm_word_key *key);

static inline const char *hm_words_text(const struct hm_words *words, uint32_t i)
{
    return (const char *)words->text.base + ((const uint32_t *)(const void *)words->start.base)[i];
}

static inline size_t hm_words_length(const struct hm_words *words, uint32_t i)
{
    const uint32_t *start = (const uint32_t *)(const void *)words->start.base;
    return start[i + 1] - start[i] - 1;
}

static inline uint64_t *hm_words_count(const struct hm_words *words, uint32_t i)
{
    return (uint64_t *)(void *)words->count.base + i;
}

/* What is wrong when hm_words_add fails. */
enum hm_status hm_words_full(const struct hm_words *words, struct hm_err *err);

/* A vocabulary of the words that are counted at least min_count times, all of them or the vocab_max
 * most frequent ones. id_of [words->n], unless NULL, gets each word's id, or HM_WORD_NONE. It may
 * be empty. Errors: memory; counts that add up to more than 2^53. */
enum hm_status hm_words_rank(const struct hm_words *words, uint64_t min_count, uint32_t vocab_max,
                             struct hm_vocab *vocab, uint32_t *id_of, struct hm_err *err);

/* The words of a vocabulary, numbered by their ids. */
enum hm_status hm_words_of_vocab(struct hm_words *words, const struct hm_vocab *vocab,
                                 struct hm_err *err);

#endif
