/* How often rows of the two tables meet in training, for the saturating sum. In skip-gram a kept
 * word is an input with window + 1 positives in the mean, each with K negatives; as an output it is
 * met as often, and besides as others' negative. In CBOW the mean of its context is one input for
 * it, and each word of a context gets all of that input's gradient, of which its own part is one
 * share. */
#include "models/word2vec.h"

#include <math.h>
#include <stdlib.h>

static double kept(const struct hm_w2v_model *w2v, uint32_t word)
{
    return ((double)w2v->sampler.keep[word] + 1) * 0x1p-32;
}

enum hm_status hm_w2v_meetings_open(struct hm_w2v_model *w2v, struct hm_err *err)
{
    const uint32_t n = w2v->vocab->n;
    double most = 0;
    free(w2v->accept);
    w2v->accept = malloc(n * sizeof *w2v->accept);
    if (!w2v->accept)
        return hm_fail(err, HM_ENOMEM, "word2vec: no memory for the chances of %u words", n);
    for (uint32_t i = 0; i < n; i++)
        most = fmax(most, sqrt(sqrt((double)w2v->vocab->count[i])) * kept(w2v, i));
    for (uint32_t i = 0; i < n; i++) {
        double part = sqrt(sqrt((double)w2v->vocab->count[i])) * kept(w2v, i) / most;
        w2v->accept[i] = (uint32_t)(part * 4294967295.0);
    }
    return HM_OK;
}

void hm_w2v_meetings(const struct hm_model *model, unsigned tensor, float *out)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    const uint64_t *count = w2v->vocab->count;
    const uint32_t n = w2v->vocab->n;
    const double positives = w2v->shape.cbow ? 1 : w2v->shape.window + 1, k = w2v->shape.negative;
    double all = 0, all_kept = 0, noise = 0;
    for (uint32_t i = 0; i < n; i++) {
        all += (double)count[i];
        all_kept += (double)count[i] * kept(w2v, i);
        noise += pow((double)count[i], .75);
    }
    for (uint32_t i = 0; i < n; i++) {
        double word = (double)count[i] / all * kept(w2v, i);
        double drawn = all_kept / all * pow((double)count[i], .75) / noise;
        out[i] = (float)(tensor == 0 ? positives * (1 + k) * word : positives * (word + k * drawn));
    }
}

/* Inputs meet outputs as these are drawn for negatives; outputs meet inputs as the text has them.
 */
uint32_t hm_w2v_met(const struct hm_model *model, unsigned tensor, struct hm_rng *rng)
{
    const struct hm_w2v_model *w2v = hm_w2v_of(model);
    for (;;) {
        uint32_t word = hm_w2v_draw(&w2v->sampler, hm_rng_next(rng));
        if (tensor == 0 || (uint32_t)(hm_rng_next(rng) >> 32) <= w2v->accept[word])
            return word;
    }
}
