/* The words of a corpus, numbered by falling count.
 *
 * Equal counts are in the order of the words' bytes, so that everybody who counts the same words
 * gives them the same ids. As a file a vocabulary is text, a line "WORD COUNT" for each word, as
 * word2vec and gensim write it.
 */
#ifndef HM_MODELS_VOCAB_H
#define HM_MODELS_VOCAB_H

#include "sparse/progress.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HM_VOCAB_FILES_MAX = 64,
    HM_WORD_BYTES_MAX = 1000,
    HM_WORDS_MAX = 1 << 27, /* different words of a text, in or out of the vocabulary */
};

#define HM_COUNT_MAX ((uint64_t)1 << 53) /* what counts may add up to */

struct hm_vocab {
    uint32_t n;
    const uint64_t *count; /* [n] falling, at least 1 */
    const uint32_t *start; /* [n + 1] offsets into text, ascending */
    const char *text; /* the words in their order, each with a NUL behind it; UTF-8 without white
                         space */
    uint64_t total;   /* sum of count */
    uint64_t
        fingerprint; /* of the words in order and of their counts: equal hashes, same vocabulary */
    void *own;       /* private: the one allocation behind the arrays, or NULL (a corpus') */
};

/* Word i, NUL-terminated. */
static inline const char *hm_vocab_word(const struct hm_vocab *vocab, uint32_t i)
{
    return vocab->text + vocab->start[i];
}

static inline uint32_t hm_vocab_length(const struct hm_vocab *vocab, uint32_t i)
{
    return vocab->start[i + 1] - vocab->start[i] - 1;
}

/* What .fingerprint has to be. */
uint64_t hm_vocab_fingerprint(const struct hm_vocab *vocab);

/* Whether the arrays (start[n] = text_bytes) are those of a vocabulary: words in their order, each
 * one a word, counts that add up to total. For what comes from files and peers. */
int hm_vocab_sound(const struct hm_vocab *vocab, uint64_t text_bytes);

/* Reads vocabulary files, which may be compressed, and adds up the counts of the same word: the
 * vocabularies of shards become that of the whole. Words below min_count are dropped, then all but
 * the vocab_max most frequent ones (0: no limit). The lines may be in any order; "</s>", word2vec's
 * end of a line, is skipped. Errors name file, line and field: no count, a count that is no number
 * from 1 to 2^53, a word that is empty, too long, no UTF-8 or twice in a file; no word at all. The
 * caller ends with hm_vocab_close. */
enum hm_status hm_vocab_read(struct hm_vocab *vocab, const char *const *file, unsigned n_files,
                             uint64_t min_count, uint32_t vocab_max,
                             const struct hm_progress *progress, struct hm_err *err);

/* Writes "WORD COUNT" lines: complete under its name, or not at all. */
enum hm_status hm_vocab_write(const struct hm_vocab *vocab, const char *path, struct hm_err *err);

/* Another vocabulary with the same words and counts, which owns its arrays. */
enum hm_status hm_vocab_copy(struct hm_vocab *to, const struct hm_vocab *from, struct hm_err *err);

/* For those who make one: room for n words of text_bytes in all, NULs included, that belongs to
 * vocab; returns -1 without memory. The fingerprint is the caller's to set when the arrays are
 * filled, and the sum. */
struct hm_vocab_arrays {
    uint64_t *count;
    uint32_t *start;
    char *text;
};
int hm_vocab_alloc(struct hm_vocab *vocab, struct hm_vocab_arrays *arrays, uint32_t n,
                   size_t text_bytes);

/* As bytes for files and messages: n (u32), counts (u64), texts with their NULs, little-endian.
 * hm_vocab_unpack checks all of it, copies what it needs, and refuses what is no vocabulary. */
size_t hm_vocab_packed_bytes(const struct hm_vocab *vocab);
void hm_vocab_pack(const struct hm_vocab *vocab, uint8_t *to /* [packed_bytes] */);
enum hm_status hm_vocab_unpack(struct hm_vocab *vocab, const uint8_t *bytes, size_t n,
                               struct hm_err *err);

void hm_vocab_close(struct hm_vocab *vocab);

#endif
