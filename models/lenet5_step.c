/* LeNet5's gradient on shared weights, and the step that it leads to. A thread works on a copy of
 * W, made when it begins: what others add meanwhile would otherwise reach one half of the pass. */
#include "models/lenet5.h"

#include "models/shuffle.h"

#include <string.h>

/* Places in a thread's scratch, each at a multiple of 64 bytes. */
struct places {
    size_t kernels, w, g, image, label, end;
};

static size_t aligned(size_t n)
{
    return (n + 63) / 64 * 64;
}

static struct places places_of(const struct hm_lenet5_model *lenet5)
{
    struct places p = {0};
    p.w = aligned(lenet5->kernels->scratch_bytes);
    p.g = p.w + aligned((lenet5->n + HM_LENET5_BEYOND) * sizeof(float));
    p.image = p.g + aligned(lenet5->n * sizeof(float));
    p.label = p.image + aligned(lenet5->base.batch * sizeof(const uint8_t *));
    p.end = p.label + aligned(lenet5->base.batch);
    return p;
}

void hm_lenet5_sizes(struct hm_lenet5_model *lenet5)
{
    struct hm_model *base = &lenet5->base;
    base->scratch_bytes = places_of(lenet5).end;
    base->state_floats = hm_optimiser_state(&lenet5->optimiser, lenet5->n);
    base->read_floats = lenet5->optimiser.compensate > 0 ? lenet5->n : 0;
    base->grad_max = lenet5->n;
}

uint32_t hm_lenet5_example(const struct hm_lenet5_model *lenet5, const struct hm_shard *shard,
                           uint64_t position)
{
    uint32_t n = (uint32_t)shard->n, all = hm_lenet5_images_of(lenet5, shard)->n;
    uint64_t pass = position / n;
    uint32_t k = hm_shuffle((uint32_t)(position % n), n, shard->key + pass);
    if (shard->index)
        return shard->index[k];
    return n == all ? k : hm_shuffle((uint32_t)shard->begin + k, all, lenet5->seed);
}

/* The mean gradient of the step's examples, at W as it is now; the scratch keeps that W. */
static double gradient(const struct hm_lenet5_model *lenet5, const struct hm_shard *shard,
                       const struct hm_step *step, float *g)
{
    struct places p = places_of(lenet5);
    uint8_t *scratch = step->scratch, *label = scratch + p.label;
    float *w = (float *)(void *)(scratch + p.w);
    const uint8_t **image = (const uint8_t **)(void *)(scratch + p.image);
    const struct hm_images *images = hm_lenet5_images_of(lenet5, shard);
    size_t bytes = hm_image_bytes(images);
    lenet5->dense->read(step->w, w, lenet5->n);
    if (step->ahead)
        lenet5->dense->read_ahead(step->ahead, step->reach, w, lenet5->n);
    for (uint64_t i = 0; i < step->n; i++) {
        uint32_t example = hm_lenet5_example(lenet5, shard, step->from + i);
        image[i] = images->pixel + example * bytes;
        label[i] = images->label[example];
    }
    struct hm_lenet5_batch batch = {image, label, (unsigned)step->n, lenet5->dropout,
                                    hm_mix(shard->key ^ hm_mix(step->from))};
    return lenet5->kernels->grad(scratch + p.kernels, w, &batch, g);
}

static const float *weights_read(const struct hm_lenet5_model *lenet5, const struct hm_step *step)
{
    const uint8_t *scratch = step->scratch;
    return (const float *)(const void *)(scratch + places_of(lenet5).w);
}

void hm_lenet5_grad(const struct hm_model *model, const struct hm_shard *shard,
                    const struct hm_step *step, struct hm_grad *grad)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    float *g = grad->value + grad->n_values;
    grad->span[grad->n_spans++] = (struct hm_span){
        0, (uint32_t)lenet5->n, (float)hm_optimiser_rate(&lenet5->optimiser, step->t)};
    grad->n_values += (uint32_t)lenet5->n;
    grad->loss += gradient(lenet5, shard, step, g);
    if (step->read)
        memcpy(step->read, weights_read(lenet5, step), lenet5->n * sizeof *step->read);
}

void hm_lenet5_apply(const struct hm_model *model, struct hm_step *step, const struct hm_grad *grad)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    const float *g = grad->value;
    for (uint32_t i = 0; i < grad->n_spans; g += grad->span[i++].n)
        hm_optimiser_add(&lenet5->optimiser, lenet5->dense, g, step->read,
                         (double)grad->span[i].rate, step, lenet5->n);
}

void hm_lenet5_step(const struct hm_model *model, const struct hm_shard *shard,
                    struct hm_step *step)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    uint8_t *scratch = step->scratch;
    float *g = (float *)(void *)(scratch + places_of(lenet5).g);
    const float *read = lenet5->optimiser.compensate > 0 ? weights_read(lenet5, step) : NULL;
    gradient(lenet5, shard, step, g);
    hm_optimiser_add(&lenet5->optimiser, lenet5->dense, g, read,
                     hm_optimiser_rate(&lenet5->optimiser, step->t), step, lenet5->n);
}
