/* How good word vectors are: analogies and word pairs, with the same numbers as gensim's
 * evaluate_word_analogies and evaluate_word_pairs; and a word's neighbours.
 *
 * Words are compared in upper case unless told otherwise; of several that are the same then, the
 * first one in the file of vectors counts. Questions with words that are not among the first
 * `restrict_vocab` vectors are left out, and counted.
 */
#ifndef HM_MODELS_WORD_EVAL_H
#define HM_MODELS_WORD_EVAL_H

#include "models/vectors_file.h"

enum { HM_RESTRICT_VOCAB = 300000, HM_SECTIONS_OF_QUESTIONS_MAX = 1000, HM_SECTION_NAME_MAX = 63 };

struct hm_eval_options {
    uint32_t restrict_vocab; /* 0: HM_RESTRICT_VOCAB */
    int case_sensitive;
    unsigned threads;
    const char *isa; /* of the kernels; NULL or "auto": the best there is */
};

struct hm_section {
    char name[HM_SECTION_NAME_MAX + 1];
    uint64_t n, n_right; /* questions asked, and answered right */
    uint64_t n_unknown;  /* left out */
};

struct hm_analogies {
    unsigned n_sections;
    struct hm_section *section; /* [n_sections], to be freed */
    struct hm_section total;
};

/* Asks the questions of a file: lines "A B C D" (A is to B as C is to D; right when D is nearest to
 * B - A + C, the three aside; of equally near words the first one in the file of vectors), sections
 * ": NAME". Errors name file and line: a line that is not four words, questions before the first
 * section, no questions at all; HM_ESTOPPED. On failure nothing is owned. */
enum hm_status hm_eval_analogies(const struct hm_vectors *vectors, const char *path,
                                 const struct hm_eval_options *options,
                                 struct hm_analogies *analogies, const struct hm_progress *progress,
                                 struct hm_err *err);

struct hm_pairs {
    uint64_t n, n_unknown;    /* pairs compared, and left out */
    double spearman, pearson; /* of the scores and the cosines; NaN for fewer than 2 pairs */
};

/* Compares with what people say of word pairs: lines "WORD WORD ... SCORE ...", between tabs, or
 * blanks where there are none. The score is the first field after the words that is a number
 * (SimLex-999 has a part of speech before it). A first line without one is a heading; blank lines
 * and lines that begin with '#' are skipped. Errors name file and line. */
enum hm_status hm_eval_pairs(const struct hm_vectors *vectors, const char *path,
                             const struct hm_eval_options *options, struct hm_pairs *pairs,
                             const struct hm_progress *progress, struct hm_err *err);

/* Spearman's rank correlation, ties having their mean rank; Pearson's. n >= 2; NaN where one of
 * them is constant. ranks: HM_ENOMEM is NaN, too. */
double hm_spearman(const double *x, const double *y, size_t n);
double hm_pearson(const double *x, const double *y, size_t n);

/* A word and its cosine. */
struct hm_near {
    float cosine;
    uint32_t word;
};

/* The `top` words nearest to the sum of words, each with its weight (unit vectors are added), those
 * words aside: near [top]; returns how many there are. -1 without memory. Among the first
 * restrict_vocab vectors, 0: all. */
int hm_nearest(const struct hm_vectors *vectors, const uint32_t *word, const float *weight,
               unsigned n_words, uint32_t restrict_vocab, struct hm_near *near, unsigned top);

#endif
