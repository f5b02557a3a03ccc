/* Files of analogy questions and of word pairs, as text. */
#ifndef HM_MODELS_QUESTIONS_H
#define HM_MODELS_QUESTIONS_H

#include "models/word_eval.h"
#include "models/word_index.h"

/* A question, as spellings of an index. */
struct hm_question {
    uint32_t form[4];
    uint32_t section;
};

struct hm_questions {
    struct hm_grow question; /* struct hm_question [n], all of whose words are known */
    size_t n;
    struct hm_section *section; /* [n_sections] with names, n and n_unknown */
    unsigned n_sections;
};

/* Reads questions. The caller ends with hm_questions_fini, also after a failure. Errors as
 * hm_eval_analogies. */
enum hm_status hm_questions_read(struct hm_questions *questions, const char *path,
                                 const struct hm_word_index *index,
                                 const struct hm_progress *progress, struct hm_err *err);
void hm_questions_fini(struct hm_questions *questions);

struct hm_scored_pair {
    uint32_t form[2];
    double score;
};

struct hm_pair_list {
    struct hm_grow pair; /* struct hm_scored_pair [n], both of whose words are known */
    size_t n;
    uint64_t n_unknown;
};

/* Reads word pairs; the same. */
enum hm_status hm_pairs_read(struct hm_pair_list *pairs, const char *path,
                             const struct hm_word_index *index, const struct hm_progress *progress,
                             struct hm_err *err);
void hm_pairs_fini(struct hm_pair_list *pairs);

#endif
