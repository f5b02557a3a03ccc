/* The model that synthetic documents are drawn from: topics over Zipf-like features. */
#ifndef HM_MODELS_SYNTH_MODEL_H
#define HM_MODELS_SYNTH_MODEL_H

#include "models/synth_svm.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HM_SYNTH_TOPICS = 103,
    HM_SYNTH_CATEGORIES = 4,
    HM_SYNTH_TOKENS_MIN = 8,
    HM_SYNTH_TOKENS_MAX = 900
};

/* A slot of an alias table (Walker 1977): of 2^32 draws that fall on it, `threshold` mean the first
 * feature. */
struct hm_synth_slot {
    uint32_t threshold;
    uint16_t feature, other;
};

struct hm_synth_model {
    uint64_t seed;
    struct hm_synth_slot
        *slot; /* [TOPICS + 1][HM_SYNTH_SVM_FEATURES], the last one without a topic */
    double topic_end[HM_SYNTH_TOPICS];      /* cumulative probabilities */
    int category_end[HM_SYNTH_CATEGORIES];  /* the topics of a category are neighbours */
    double log_tf[HM_SYNTH_TOKENS_MAX + 1]; /* 1 + ln n */
    double *idf;                            /* [HM_SYNTH_SVM_FEATURES] */
};

/* One document. Scratch of one thread: all zero before its first use. */
struct hm_synth_document {
    int8_t label;
    unsigned n;                            /* features */
    uint16_t feature[HM_SYNTH_TOKENS_MAX]; /* ascending, from 0 */
    double value[HM_SYNTH_TOKENS_MAX];     /* tf-idf, unit norm */
    const struct hm_synth_slot *drawn[HM_SYNTH_TOKENS_MAX];
    uint32_t fraction[HM_SYNTH_TOKENS_MAX];
    uint64_t met[(HM_SYNTH_SVM_FEATURES + 63) / 64];
    uint16_t count[HM_SYNTH_SVM_FEATURES];
};

/* Makes the model (about 40 MB) of a seed. */
enum hm_status hm_synth_model_init(struct hm_synth_model *model, uint64_t seed, struct hm_err *err);
void hm_synth_model_fini(struct hm_synth_model *model);

/* Draws document number `row`, which depends on seed and row alone. Threads: any, each with its own
 * document. */
void hm_synth_draw(const struct hm_synth_model *model, uint64_t row,
                   struct hm_synth_document *document);

#endif
