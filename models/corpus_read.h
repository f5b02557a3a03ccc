/* Reads text into words and numbers, by several threads.
 *
 * One thread reads and cuts the text into blocks between words; the others turn blocks into
 * numbers, each with a set of words of its own; the first one takes the blocks back in their order
 * and puts the numbers into a file without a name, the spool. When all is read, the sets are joined
 * and the words put in order, and whoever writes the corpus goes through the spool once more. So
 * nothing is dropped on the way, and what comes out does not depend on who read what.
 */
#ifndef HM_MODELS_CORPUS_READ_H
#define HM_MODELS_CORPUS_READ_H

#include "models/corpus.h"
#include "models/words.h"

enum { HM_READERS_MAX = 16 };

struct hm_text {
    struct hm_vocab vocab;
    uint64_t n_tokens, n_bytes, n_invalid, n_too_long; /* as in hm_corpus */
    uint32_t n_different; /* words, in the vocabulary or not; 0 with a given one */
    uint64_t n_spooled;   /* numbers, marks included */
    unsigned n_readers;
    uint32_t *id_of[HM_READERS_MAX]; /* a reader's numbers as ids; NULL: they are ids */
    int spool;                       /* the file; -1: none */
};

/* Reads the files. Takes over `spool`, an empty file; -1: only words are wanted, not the text.
 * Errors as hm_corpus_open; the caller ends with hm_text_close, also after failure. A vocabulary
 * that is given by the options, or read from the file that they name, is copied. */
enum hm_status hm_text_read(struct hm_text *text, const char *const *file, unsigned n_files,
                            const struct hm_corpus_options *options, int spool,
                            const struct hm_progress *progress, struct hm_err *err);
void hm_text_close(struct hm_text *text);

/* Goes through the text once more: hands ids and marks, as a corpus has them, to put(context, id,
 * n), a piece at a time. Can be repeated. */
enum hm_status hm_text_ids(const struct hm_text *text,
                           enum hm_status (*put)(void *context, const uint32_t *id, size_t n,
                                                 struct hm_err *err),
                           void *context, const struct hm_progress *progress, struct hm_err *err);

#endif
