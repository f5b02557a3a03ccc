/* The SVM in w form: W holds w itself, and an optimiser (optimiser.h) makes the steps. V form is
 * faster by far and has no room for one.
 *
 * With the mean subgradient of a batch of n examples, y (w.x + b) < 1 for the violators,
 *
 *     g = -1/n sum of y x,  g_b = -1/n sum of y
 *     w -= n (1 - m) eta (g + lambda w),  b -= n (1 - m) eta g_b / 100
 *
 * and momentum m, clipping (of both by their common norm) and compensation in between. eta is the
 * step of one example, as in V form, of the schedule at the time when the batch ends. 1 - m: what a
 * gradient moves w by in the course of time, velocity and all, is the same with and without
 * momentum. So with the inverse schedule and m = 0 this is V form's recursion to the letter:
 * w' = (c w + sum of y x) / c'.
 *
 * Decay moves every weight, so a batch costs as much as the model is wide; a thread works on a copy
 * of W, made when the batch begins.
 */
#include "models/svm.h"
#include "models/svm_step.h"

#include <string.h>

/* Places in a thread's scratch, in floats: W as it was read, the gradient, the values of a row. */
struct places {
    size_t w, g, x, end;
};

static const struct hm_svm_model *of(const struct hm_model *model)
{
    return (const struct hm_svm_model *)(const void *)model;
}

static struct places places_of(const struct hm_svm_model *svm)
{
    size_t n = hm_layout_n(&svm->layout);
    return (struct places){0, n, 2 * n, 2 * n + svm->seen_max};
}

void hm_svm_w_sizes(struct hm_svm_model *svm)
{
    struct hm_model *base = &svm->base;
    size_t n = hm_layout_n(&svm->layout);
    svm->seen_max = svm->dropout > 0 ? hm_svm_longest_row(svm) : 0;
    base->scratch_bytes = places_of(svm).end * sizeof(float);
    base->state_floats = hm_optimiser_state(&svm->optimiser, n);
    base->read_floats = svm->optimiser.compensate > 0 ? n : 0;
    base->grad_max = n;
}

/* ---- gradients ---- */

/* The values of a row as they are seen at a position: all, or what dropout leaves, enlarged so that
 * their mean is the same. */
static const float *seen(const struct hm_svm_model *svm, const struct hm_rows *rows, uint64_t r,
                         uint64_t key, float *room)
{
    const float *x = rows->value + rows->start[r];
    if (!(svm->dropout > 0))
        return x;
    const float enlarged = 1 / (1 - svm->dropout);
    const uint64_t dropped = (uint64_t)((double)svm->dropout * 0x1p32);
    for (uint64_t k = 0; k < rows->start[r + 1] - rows->start[r]; k++) {
        uint64_t draw = hm_mix(key + hm_row_id(rows, rows->start[r] + k)) >> 32;
        room[k] = draw < dropped ? 0 : enlarged * x[k];
    }
    return room;
}

/* The mean gradient of the step's examples, at W as it is now; the scratch keeps that W. */
static double gradient(const struct hm_svm_model *svm, const struct hm_shard *shard,
                       const struct hm_step *step, float *g)
{
    const struct hm_rows *rows = hm_svm_rows_of(svm, shard);
    const size_t n = hm_layout_n(&svm->layout), bias = hm_tensor_at(&svm->layout.tensor[1]);
    float *scratch = step->scratch, *w = scratch + places_of(svm).w,
          *room = scratch + places_of(svm).x;
    double loss = 0;
    svm->dense->read(step->w, w, n);
    if (step->ahead)
        svm->dense->read_ahead(step->ahead, step->reach, w, n);
    memset(g, 0, n * sizeof *g);
    for (uint64_t i = step->from; i < step->from + step->n; i++) {
        uint64_t r = hm_svm_row_at(svm, shard, i % shard->n);
        const float *x = seen(svm, rows, r, hm_mix(shard->key ^ hm_mix(i)), room);
        float y = (float)rows->label[r], z = y * (hm_row_dot_of(rows, r, x, w) + w[bias]);
        if (!(z < 1))
            continue;
        hm_row_add_of(rows, r, x, -y / (float)step->n, g);
        g[bias] -= y / (float)step->n;
        loss += 1 - (double)z;
    }
    return loss;
}

static double rate_of(const struct hm_svm_model *svm, const struct hm_step *step)
{
    double ends = step->t + (double)step->n * (double)step->t_per_step;
    return (double)step->n * (1 - (double)svm->optimiser.momentum) *
           hm_optimiser_rate(&svm->optimiser, ends);
}

void hm_svm_w_grad(const struct hm_model *model, const struct hm_shard *shard,
                   const struct hm_step *step, struct hm_grad *grad)
{
    const struct hm_svm_model *svm = of(model);
    const uint32_t n = (uint32_t)hm_layout_n(&svm->layout),
                   bias = (uint32_t)hm_tensor_at(&svm->layout.tensor[1]);
    const float rate = (float)rate_of(svm, step);
    grad->span[grad->n_spans++] = (struct hm_span){0, bias, rate};
    grad->span[grad->n_spans++] =
        (struct hm_span){bias, n - bias, rate * svm->optimiser.apart.rate};
    grad->loss += gradient(svm, shard, step, grad->value + grad->n_values);
    grad->n_values += n;
    if (step->read)
        memcpy(step->read, (const float *)step->scratch + places_of(svm).w, n * sizeof *step->read);
}

/* ---- steps ---- */

void hm_svm_w_apply(const struct hm_model *model, struct hm_step *step, const struct hm_grad *grad)
{
    const struct hm_svm_model *svm = of(model);
    hm_optimiser_add(&svm->optimiser, svm->dense, grad->value, step->read,
                     (double)grad->span[0].rate, step, hm_layout_n(&svm->layout));
}

void hm_svm_w_step(const struct hm_model *model, const struct hm_shard *shard, struct hm_step *step)
{
    const struct hm_svm_model *svm = of(model);
    const struct places places = places_of(svm);
    float *scratch = step->scratch, *g = scratch + places.g;
    gradient(svm, shard, step, g);
    hm_optimiser_add(&svm->optimiser, svm->dense, g,
                     svm->optimiser.compensate > 0 ? scratch + places.w : NULL,
                     (double)(float)rate_of(svm, step), step, hm_layout_n(&svm->layout));
}
