/* Word vectors in word2vec's file formats.
 *
 *     "71480 100\n", then for each word          the vectors and how long they are
 *         "the 0.25 -1.5 ...\n"                  text
 *         "the " float32 little-endian ... "\n"  binary; the line end may be missing
 */
#ifndef HM_MODELS_VECTORS_FILE_H
#define HM_MODELS_VECTORS_FILE_H

#include "models/grow.h"
#include "models/words.h"
#include "sparse/progress.h"
#include "sparse/status.h"

enum { HM_VECTOR_MAX = 1 << 16 /* components */ };

struct hm_vectors {
    uint32_t n, dim;
    float *value;          /* [n][dim], finite */
    struct hm_words words; /* [n], in the order of the file: usually by falling count */
    uint32_t n_twice;      /* words that came again: the first one counts, as in gensim */
    struct hm_grow room;   /* private: of value */
};

/* Reads a file, which may be compressed; text or binary is told by what is in it. Words that are no
 * UTF-8 get U+FFFD for each such byte, as word2vec cuts long ones anywhere. Memory grows with what
 * is read, whatever the first line says. Errors name file and line, or which vector: a first line
 * that is not two numbers, other counts than it says, numbers that cannot be read or are not
 * finite, words that are empty or too long. The caller ends with hm_vectors_close, also after a
 * failure. */
enum hm_status hm_vectors_read(struct hm_vectors *vectors, const char *path,
                               const struct hm_progress *progress, struct hm_err *err);
void hm_vectors_close(struct hm_vectors *vectors);

/* For those who have vectors from elsewhere: an empty set of that dimension, and adding to it.
 * value [dim] is copied. A word that is there already is counted in n_twice. Errors: memory. */
void hm_vectors_init(struct hm_vectors *vectors, uint32_t dim);
enum hm_status hm_vectors_add(struct hm_vectors *vectors, const char *word, size_t length,
                              const float *value, struct hm_err *err);

/* Where the vectors come from that are written. */
struct hm_vectors_source {
    uint32_t n, dim;
    const char *(*word)(const void *context, uint32_t i);
    void (*vector)(const void *context, uint32_t i, float *out /* [dim] */);
    const void *context;
};

/* Writes a file in the format that its extension names, .bin or .txt (.vec is text, too): complete
 * under its name, or not at all. Numbers in text read back as the same floats. */
enum hm_status hm_vectors_write(const struct hm_vectors_source *source, const char *path,
                                struct hm_err *err);

/* 1 when hm_vectors_write would take this name. */
int hm_vectors_can_write(const char *path);

#endif
