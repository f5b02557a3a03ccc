/* Word2Vec's view of a corpus: words by their number, what subsampling leaves of them, and the
 * draws of negatives.
 *
 * Which words are left out depends on seed, pass and number of the word alone, not on who takes it
 * nor in which pieces: so a piece knows the words on either side of it as its neighbours see them.
 */
#ifndef HM_MODELS_WORD2VEC_TEXT_H
#define HM_MODELS_WORD2VEC_TEXT_H

#include "sparse/rng.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

#define HM_W2V_NO_WORD UINT32_MAX

/* Ids with marks at the ends of lines, borrowed, and a way to find the words between them. */
struct hm_w2v_text {
    const uint32_t *id; /* [n_ids] words; `mark` ends a line */
    uint64_t n_ids, n_words;
    uint32_t mark;
    uint64_t *at; /* id of every so many-th word */
};

/* On failure nothing is owned. */
enum hm_status hm_w2v_text_open(struct hm_w2v_text *text, const uint32_t *id, uint64_t n_ids,
                                uint32_t mark, struct hm_err *err);
void hm_w2v_text_close(struct hm_w2v_text *text);

/* The same with the caller's room for the index, [hm_w2v_text_index(n_ids)]; not to be closed. */
size_t hm_w2v_text_index(uint64_t n_ids);
void hm_w2v_text_place(struct hm_w2v_text *text, const uint32_t *id, uint64_t n_ids, uint32_t mark,
                       uint64_t *index);

/* Where word `number` < n_words stands in id. */
uint64_t hm_w2v_text_seek(const struct hm_w2v_text *text, uint64_t number);

/* Words before id[at], at <= n_ids. */
uint64_t hm_w2v_text_number(const struct hm_w2v_text *text, uint64_t at);

/* Chances by the counts of the vocabulary. */
struct hm_w2v_sampler {
    uint32_t n;
    uint32_t *keep; /* [n] a word is kept when 32 random bits are not above that */
    struct hm_w2v_alias {
        uint32_t least, other; /* draws of this cell above `least` are `other` instead */
    } * alias;                 /* [n] */
};

/* A word with part f of the text is kept with probability (sqrt(f / sample) + 1) sample / f, as
 * word2vec does it; sample 0: always. Negatives have probabilities that go by count^(3/4). The same
 * counts give the same tables on every machine. count [n], n >= 1, at least 1 each. On failure
 * nothing is owned. */
enum hm_status hm_w2v_sampler_open(struct hm_w2v_sampler *sampler, const uint64_t *count,
                                   uint32_t n, double sample, struct hm_err *err);
void hm_w2v_sampler_close(struct hm_w2v_sampler *sampler);

/* A negative: index by the high half of 64 random bits, kept or not by the low one. */
static inline uint32_t hm_w2v_draw(const struct hm_w2v_sampler *sampler, uint64_t bits)
{
    uint32_t i = (uint32_t)(((bits >> 32) * sampler->n) >> 32);
    const struct hm_w2v_alias *alias = &sampler->alias[i];
    return (uint32_t)bits > alias->least ? alias->other : i;
}

static inline int hm_w2v_keeps(const struct hm_w2v_sampler *sampler, uint64_t key, uint64_t number,
                               uint32_t word)
{
    return (uint32_t)(hm_mix(key + number) >> 32) <= sampler->keep[word];
}

/* A run of words that subsampling leaves, with neighbours. Words of different lines have different
 * numbers in `line`, and beyond the ends there is HM_W2V_NO_WORD in lines of their own. */
struct hm_w2v_run {
    unsigned n;            /* words of the piece itself */
    uint32_t *word, *line; /* [-reach .. n + reach), and HM_W2V_NO_WORD for 64 more */
};

/* uint32_t of room that hm_w2v_take needs for pieces of up to `most` words. */
size_t hm_w2v_run_room(unsigned most, unsigned reach);

/* What is left of words from .. from + n of the text, n <= most, between first and end (numbers of
 * words, first <= from, from + n <= end), with `reach` kept words on either side as far as their
 * line goes. room [hm_w2v_run_room] is written and stays with the run. */
struct hm_w2v_run hm_w2v_take(const struct hm_w2v_text *text, const struct hm_w2v_sampler *sampler,
                              uint64_t key, uint64_t from, unsigned n, uint64_t first, uint64_t end,
                              unsigned most, unsigned reach, uint32_t *room);

#endif
