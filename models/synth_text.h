/* A small corpus with planted analogies out of nothing, for machines without data.
 *
 * Words come in five kinds of twenty pairs, as countries and capitals do: the two of a pair share a
 * subject, the firsts and the seconds of a kind share a role. A line is about one of them, and has
 * words of its subject, words of its role and words that are everywhere. So what stands around a
 * word is the sum of what its subject and its role bring along, and a trainer that is right finds
 * that A is to B as C is to D within seconds. Line i depends on (seed, i) alone, in integers: the
 * same bytes on every machine.
 */
#ifndef HM_MODELS_SYNTH_TEXT_H
#define HM_MODELS_SYNTH_TEXT_H

#include "sparse/progress.h"
#include "sparse/status.h"

#include <stdint.h>

enum { HM_SYNTH_TEXT_LINES = 100000 };

struct hm_synth_text {
    uint64_t seed;
    uint64_t n_lines; /* at least 1, of 16 words on average */
};

/* Writes train.txt, questions.txt (sections ": NAME" and lines "A B C D", as questions-words.txt)
 * and pairs.txt ("A<tab>B<tab>SCORE") to dir, making it when it is missing; each is complete under
 * its name or not there. */
enum hm_status hm_synth_text_write(const struct hm_synth_text *synth, const char *dir,
                                   const struct hm_progress *progress, struct hm_err *err);

#endif
