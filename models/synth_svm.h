/* An RCV1-shaped dataset out of nothing: for benchmarks and for machines without data.
 *
 * Documents of 8 to 900 tokens are drawn from a mixture of 103 topics in four categories over
 * Zipf-like features whose document frequencies follow those measured on RCV1; weights are
 * unit-norm log tf-idf; the label is the category of the main topic with some labels flipped, tuned
 * so that a linear SVM ends near 6 % error, as it does on RCV1's CCAT. Row r depends on (seed, r)
 * alone, so any machine can make any shard.
 */
#ifndef HM_MODELS_SYNTH_SVM_H
#define HM_MODELS_SYNTH_SVM_H

#include "sparse/progress.h"
#include "sparse/status.h"

#include <stdint.h>

struct hm_synth_svm {
    uint64_t seed;
    uint64_t train_rows; /* at least 1; 781,265 by default, as in RCV1 (LYRL2004's test part,
                            larger, is the one trained on) */
    uint64_t test_rows;  /* 23,149; 0: no test.svm */
    unsigned
        threads; /* rows are made by so many threads (1 to 64); the files do not depend on it */
};

enum {
    HM_SYNTH_SVM_FEATURES = 47236,
    HM_SYNTH_SVM_TRAIN_ROWS = 781265,
    HM_SYNTH_SVM_TEST_ROWS = 23149
};

/* Writes dir/train.svm and dir/test.svm (svmlight text, values with 6 significant digits), making
 * dir when it is missing. Each file is written to a temporary name and renamed when complete. The
 * same parameters give the same bytes on every machine: integers and exactly defined double
 * arithmetic decide them, no library's log or exp. The test rows are those that follow the training
 * rows; features are weighed by the first 23,149 rows of the seed, whatever part is asked for.
 * progress is called from the calling thread. */
enum hm_status hm_synth_svm_write(const struct hm_synth_svm *synth, const char *dir,
                                  const struct hm_progress *progress, struct hm_err *err);

#endif
