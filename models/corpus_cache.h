/* A corpus in a file that every process of the host maps (cache_file.h).
 *
 *   page 0   struct hm_corpus_header
 *   then     counts, starts and texts of the vocabulary, and the ids, each at a multiple of 4096
 */
#ifndef HM_MODELS_CORPUS_CACHE_H
#define HM_MODELS_CORPUS_CACHE_H

#include "models/cache_file.h"
#include "models/corpus.h"
#include "models/corpus_read.h"

#define HM_CORPUS_MAGIC "hmtext\r\n" /* the line end notices a transfer in text mode */

enum { HM_CORPUS_VERSION = 1, HM_CORPUS_ALIGN = 4096 };
enum { HM_CORPUS_COUNT, HM_CORPUS_START, HM_CORPUS_TEXT, HM_CORPUS_ID, HM_CORPUS_SECTIONS };

/* In the byte order of the machine; nothing lies between the fields. */
struct hm_corpus_header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t fingerprint[2];
    uint64_t n_ids, n_words, n_lines, n_tokens, n_bytes, n_invalid, n_too_long;
    uint64_t total, vocab_fingerprint, text_bytes;
    uint32_t n_vocab, unused;
    uint64_t checksum[HM_CORPUS_SECTIONS]; /* XXH3 of every section */
    uint64_t self;                         /* XXH3 of the fields above */
};

struct hm_corpus_layout {
    uint64_t at[HM_CORPUS_SECTIONS], bytes[HM_CORPUS_SECTIONS], total;
};

/* Where the sections lie in a file of that size, from counts that nobody has checked; -1 when it is
 * no such file. */
int hm_corpus_layout(const struct hm_corpus_header *header, uint64_t file_bytes,
                     struct hm_corpus_layout *layout);

/* The cache of a corpus. Errors: a file that does not exist. */
enum hm_status hm_corpus_cache_find(struct hm_cache *cache, const char *const *file,
                                    unsigned n_files, const struct hm_corpus_options *options,
                                    struct hm_err *err);

/* Maps a current cache: fills *corpus, but from_cache and cache_path, and returns its place, or
 * NULL. Everything in it has been checked. *damaged is set when there was one that is not what it
 * was written as. */
const char *hm_corpus_cache_load(const struct hm_cache *cache, struct hm_corpus *corpus,
                                 int *damaged);

/* Maps a file written by hm_corpus_write; the same. */
int hm_corpus_map(int fd, struct hm_corpus *corpus);

/* Writes a corpus, as a cache with that fingerprint, to a file. HM_EINPUT when no word of the text
 * is in the vocabulary. */
enum hm_status hm_corpus_write(const struct hm_text *text, const uint64_t fingerprint[2], int fd,
                               const struct hm_progress *progress, struct hm_err *err);

#endif
