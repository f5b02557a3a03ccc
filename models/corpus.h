/* A text corpus as numbers: what Word2Vec trains on.
 *
 * Text becomes words (models/tokens.h), words that occur often enough become ids: 0 is the most
 * frequent one. What is mapped is shared by the processes of a host.
 *
 *     "the cat sat\non the mat\n"  ->  the 0, ...; id = 0 2 5 END 4 0 3 END
 *
 * Lines are never cut: windows of context reach over the whole of a line, however long it is.
 */
#ifndef HM_MODELS_CORPUS_H
#define HM_MODELS_CORPUS_H

#include "models/vocab.h"
#include "sparse/progress.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HM_CORPUS_FILES_MAX = 64,
    HM_CORPUS_MIN_COUNT = 5,     /* as in word2vec */
    HM_CORPUS_CUT_REACH = 10000, /* ids among which hm_corpus_cut looks for the end of a line */
};

struct hm_corpus {
    struct hm_vocab vocab;
    const uint32_t
        *id; /* [n_ids], each <= vocab.n; vocab.n marks the end of a line. Words outside
                of the vocabulary are left out; no line is empty; the last id is a mark */
    uint64_t n_ids;
    uint64_t n_words; /* ids that are words: n_ids - n_lines */
    uint64_t n_lines; /* with at least one word of the vocabulary */

    /* What was met in the text. */
    uint64_t n_tokens;   /* words, in the vocabulary or not */
    uint64_t n_bytes;    /* uncompressed */
    uint64_t n_invalid;  /* bytes that are not UTF-8: each counts as U+FFFD */
    uint64_t n_too_long; /* words longer than HM_WORD_BYTES_MAX, which are left out */

    /* How it was read. */
    int from_cache;        /* the cache was current and used */
    int cache_was_damaged; /* a cache that should have been current failed its checks */
    char cache_path[4096]; /* the cache used or written; empty when none could be written */

    void *map; /* private */
    size_t map_bytes;
};

struct hm_corpus_options {
    uint64_t min_count; /* words that occur less often are left out; 0: HM_CORPUS_MIN_COUNT, or 1
                           when the vocabulary is given */
    uint32_t vocab_max; /* most words of the vocabulary, the most frequent ones; 0: no limit */
    int lowercase;      /* letters and digits only, in lower case */
    const char *vocab_file;       /* ids and counts come from this file (vocab.h); or NULL */
    const struct hm_vocab *vocab; /* the same from memory, for test sets; or NULL */
    int no_cache;                 /* 1: neither read nor write the cache */
    unsigned threads;             /* that read; 0: 1 */
};

/* Reads text files, one after the other as one corpus: plain, .gz, .bz2, .xz, .zst, .zip. A line
 * ends at '\n', at the word "</s>" and at the end of a file. Or maps the cache beside the first
 * file when it is current; its checksums are verified and its ids are within range then. The same
 * files and options give the same corpus on every machine, by any number of threads. Caches are
 * those of cache_file.h ("FILE.hmcache" for one file without options, "FILE.HASH.hmcache"); of
 * several processes that miss one at once, one builds it and the others wait. Memory while reading:
 * all different words of the text, for each thread; ids go through a nameless file beside the
 * cache. Errors name file and line: missing or damaged files, a NUL byte, 64 MiB without white
 * space, no word that occurs often enough, more than HM_WORDS_MAX different words, the vocabulary
 * file's, HM_ESTOPPED. On failure *corpus owns nothing and nothing half-written stays. Threads:
 * any; not the same file from two threads. */
enum hm_status hm_corpus_open(struct hm_corpus *corpus, const char *const *file, unsigned n_files,
                              const struct hm_corpus_options *options,
                              const struct hm_progress *progress, struct hm_err *err);

void hm_corpus_close(struct hm_corpus *corpus);

/* Says in a line each what of a text is not as one may think: bytes that are not UTF-8, words that
 * are too long. */
void hm_corpus_remark(uint64_t n_invalid, uint64_t n_too_long,
                      void (*say)(void *context, const char *text), void *context);

/* Where to cut the corpus near `at` (<= n_ids), for shards and held-out parts: behind the first
 * line end from there on when one comes within HM_CORPUS_CUT_REACH ids, at `at` itself otherwise
 * (one endless line). Never falls as `at` grows; 0 and n_ids stay themselves. */
uint64_t hm_corpus_cut(const struct hm_corpus *corpus, uint64_t at);

#endif
