/* The gradient of the SVM in V form, apart from the step that it leads to: for delays, servers and
 * tests.
 *
 * W holds V and b, with w = V / c and c = lambda (T0 + t). The hinge loss max(0, 1 - y (V.x / c +
 * b)) of a violator has the derivative -y x / c by V and -y by b; what svm_step.c adds, y x to V
 * and 0.01 y / c to b, is -c and -0.01 / c times that. Regularisation is in c alone.
 */
#include "models/svm.h"

#include "models/feed.h"
#include "models/svm_step.h"

static const struct hm_svm_model *of(const struct hm_model *model)
{
    return (const struct hm_svm_model *)(const void *)model;
}

size_t hm_svm_longest_of(const struct hm_rows *rows)
{
    uint64_t most = 0;
    for (uint64_t r = 0; r < rows->n_rows; r++) {
        uint64_t n = rows->start[r + 1] - rows->start[r];
        most = n > most ? n : most;
    }
    return (size_t)most;
}

size_t hm_svm_longest_row(const struct hm_svm_model *svm)
{
    return svm->options.fed ? svm->options.fed->longest : hm_svm_longest_of(&svm->train);
}

size_t hm_svm_grad_max(const struct hm_svm_model *svm)
{
    return (hm_svm_longest_row(svm) + 1) * svm->base.batch;
}

/* g += u x_r; neighbouring features make one span. */
static void append_row(struct hm_grad *grad, const struct hm_rows *rows, uint64_t r, float u,
                       uint32_t at, float rate)
{
    struct hm_span *span = NULL;
    for (uint64_t k = rows->start[r]; k < rows->start[r + 1]; k++) {
        uint32_t i = at + hm_row_id(rows, k);
        if (!span || span->at + span->n != i) {
            span = &grad->span[grad->n_spans++];
            *span = (struct hm_span){i, 0, rate};
        }
        span->n++;
        grad->value[grad->n_values++] = u * rows->value[k];
    }
}

static void append_one(struct hm_grad *grad, float g, uint32_t at, float rate)
{
    grad->span[grad->n_spans++] = (struct hm_span){at, 1, rate};
    grad->value[grad->n_values++] = g;
}

void hm_svm_grad(const struct hm_model *model, const struct hm_shard *shard,
                 const struct hm_step *step, struct hm_grad *grad)
{
    const struct hm_svm_model *svm = of(model);
    const struct hm_rows *rows = hm_svm_rows_of(svm, shard);
    const uint32_t v = (uint32_t)hm_tensor_at(&svm->layout.tensor[0]),
                   bias = (uint32_t)hm_tensor_at(&svm->layout.tensor[1]);
    const float c = (float)(svm->lambda * (svm->t0 + step->t)), b = hm_cell_get(step->w + bias);
    for (uint64_t i = step->from; i < step->from + step->n; i++) {
        uint64_t r = hm_svm_row_at(svm, shard, i % shard->n);
        float y = (float)rows->label[r], z = hm_svm_row_dot(rows, r, step->w + v) + b * c;
        if (!(y * z < c))
            continue;
        grad->loss += 1 - (double)(y * z) / (double)c;
        append_row(grad, rows, r, -y / c, v, c);
        append_one(grad, -y, bias, (float)HM_SVM_BIAS_RATE / c);
    }
}
