/* The Word2Vec workload's insides, shared by models/word2vec*.c. */
#ifndef HM_MODELS_WORD2VEC_H
#define HM_MODELS_WORD2VEC_H

#include "models/corpus.h"
#include "models/model.h"
#include "models/word2vec_blocks.h"

enum { HM_W2V_BATCH_MAX = 8192, HM_W2V_CHUNK = 8192 };

/* Pairs of words, each with its K negatives, that losses are estimated on: always the same ones. */
struct hm_w2v_probe {
    uint64_t n;
    uint32_t *word; /* [n][2 + negative]: input, output, negatives; HM_W2V_NO_WORD: none */
};

struct hm_w2v_model {
    struct hm_model base;
    struct hm_train_options options;
    struct hm_corpus train, test;      /* of --train and --test; test has the vocabulary of train */
    const struct hm_vocab *vocab;      /* NULL: none is known */
    struct hm_vocab own_vocab;         /* of --vocab, where there is no text */
    struct hm_w2v_text text, held_out; /* to train on; to test */
    uint32_t *fed[2];                  /* by enum hm_set: ids that feeders told, or NULL */
    struct hm_w2v_sampler sampler;
    struct hm_w2v_probe probe[2]; /* by enum hm_set */
    uint32_t *accept;             /* [words] a drawn negative serves as a kept word of the text when
                                     32 random bits are not above that */

    struct hm_w2v_shape shape;
    const struct hm_w2v_kernels *kernels;
    double lr, sample;
    int falls; /* the rate, with mesh-wide words */
    uint64_t seed;
    uint8_t *packed; /* the vocabulary, for files and joiners */
    size_t n_packed;
    struct hm_layout layout;
};

static inline const struct hm_w2v_model *hm_w2v_of(const struct hm_model *model)
{
    return (const struct hm_w2v_model *)(const void *)model;
}

static inline struct hm_w2v_tables hm_w2v_tables_of(const struct hm_w2v_model *w2v, hm_cell *w)
{
    return (struct hm_w2v_tables){w + hm_tensor_at(&w2v->layout.tensor[0]),
                                  w + hm_tensor_at(&w2v->layout.tensor[1])};
}

/* The learning rate falls with the words that the mesh has trained on, to a ten-thousandth, unless
 * the schedule is constant. */
double hm_w2v_rate(const struct hm_model *model, double t);

/* word2vec_step.c */
void hm_w2v_sizes(struct hm_w2v_model *w2v); /* of scratch and gradient */
void hm_w2v_step(const struct hm_model *model, const struct hm_shard *shard, struct hm_step *step);
void hm_w2v_grad(const struct hm_model *model, const struct hm_shard *shard,
                 const struct hm_step *step, struct hm_grad *grad);

/* word2vec_meet.c */
enum hm_status hm_w2v_meetings_open(struct hm_w2v_model *w2v, struct hm_err *err);
void hm_w2v_meetings(const struct hm_model *model, unsigned tensor, float *out);
uint32_t hm_w2v_met(const struct hm_model *model, unsigned tensor, struct hm_rng *rng);
/* word2vec_feed.c */
enum hm_status hm_w2v_open_fed(struct hm_w2v_model *w2v, struct hm_err *err);

/* word2vec_score.c */
enum hm_status hm_w2v_probe_open(struct hm_w2v_probe *probe, const struct hm_w2v_model *w2v,
                                 const struct hm_w2v_text *text, struct hm_err *err);
void hm_w2v_probe_close(struct hm_w2v_probe *probe);
enum hm_status hm_w2v_score(struct hm_model *model, const uint32_t *b, uint64_t steps,
                            enum hm_set set, unsigned threads, struct hm_score *score,
                            struct hm_err *err);

/* word2vec_save.c */
void hm_w2v_parts(const struct hm_model *model, struct hm_parts *parts);
void hm_w2v_weights(const struct hm_model *model, const uint32_t *b, uint64_t steps, float *out);
enum hm_status hm_w2v_unweights(const struct hm_model *model, const float *w, uint64_t steps,
                                uint32_t *b, struct hm_err *err);
/* Word vectors; those of words that are not in the vocabulary are left out. */
enum hm_status hm_w2v_import(const struct hm_model *model, const char *path, float *w,
                             void (*say)(void *context, const char *text), void *context,
                             struct hm_err *err);
enum hm_status hm_w2v_save(struct hm_model *model, const uint32_t *b, uint64_t steps,
                           const char *path, struct hm_err *err);

#endif
