/* Words by their spelling in upper case. */
#ifndef HM_MODELS_WORD_INDEX_H
#define HM_MODELS_WORD_INDEX_H

#include "models/vectors_file.h"

struct hm_word_index {
    uint32_t n;            /* vectors that take part: the first so many */
    int as_is;             /* case matters */
    struct hm_words forms; /* the spellings */
    uint32_t *form_of;     /* [n] each vector's spelling; HM_WORD_NONE when it is too long */
    uint32_t *first;       /* [forms.n] the first vector of each */
};

/* Of the first `n` vectors. The caller ends with hm_word_index_fini, also after a failure. */
enum hm_status hm_word_index_init(struct hm_word_index *index, const struct hm_vectors *vectors,
                                  uint32_t n, int as_is, struct hm_err *err);
void hm_word_index_fini(struct hm_word_index *index);

/* The spelling of a word, or HM_WORD_NONE: no vector has it. */
uint32_t hm_word_index_find(const struct hm_word_index *index, const char *word, size_t length);

#endif
