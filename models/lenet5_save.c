/* LeNet5 as safetensors. Names, shapes and order are PyTorch's; inputs are pixels / 255. */
#include "models/lenet5.h"
#include "models/npy.h"
#include "models/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void hm_lenet5_parts(const struct hm_model *model, struct hm_parts *parts)
{
    *parts = (struct hm_parts){0};
    for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
        struct hm_lenet5_tensor tensor = hm_lenet5_tensor(hm_lenet5_of(model)->channels, t);
        hm_parts_add(parts, tensor.name, tensor.n_dims, tensor.dim);
    }
}

void hm_lenet5_weights(const struct hm_model *model, const uint32_t *b, uint64_t steps, float *out)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    (void)steps;
    for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
        double grid = ldexp(1, lenet5->layout.tensor[t].grid_exp);
        uint32_t n = hm_lenet5_tensor(lenet5->channels, t).n;
        for (uint32_t i = 0; i < n; i++)
            *out++ = (float)((int32_t)b[hm_lenet5_place(lenet5->channels, t, i)] * grid);
    }
}

enum hm_status hm_lenet5_unweights(const struct hm_model *model, const float *w, uint64_t steps,
                                   uint32_t *b, struct hm_err *err)
{
    const struct hm_lenet5_model *lenet5 = hm_lenet5_of(model);
    enum hm_status status = HM_OK;
    size_t at = 0;
    (void)steps;
    memset(b, 0, hm_layout_n(&lenet5->layout) * sizeof *b);
    for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
        double grid = ldexp(1, lenet5->layout.tensor[t].grid_exp);
        uint32_t n = hm_lenet5_tensor(lenet5->channels, t).n;
        for (uint32_t i = 0; i < n && !status; i++, at++)
            status =
                hm_parts_units(w[at], grid, at, &b[hm_lenet5_place(lenet5->channels, t, i)], err);
    }
    return status;
}

enum hm_status hm_lenet5_save(struct hm_model *model, const uint32_t *b, uint64_t steps,
                              const char *path, struct hm_err *err)
{
    const char *dot = strrchr(path, '.');
    int npy = dot && strcmp(dot, ".npy") == 0;
    if (!npy && (!dot || strcmp(dot, ".safetensors") != 0))
        return hm_fail(err, HM_EUSAGE, "%s: unknown format; lenet5 exports .safetensors and .npy",
                       path);
    struct hm_safetensor tensor[HM_PARTS_MAX];
    struct hm_parts parts;
    hm_lenet5_parts(model, &parts);
    for (unsigned t = 0; t < parts.n; t++) {
        const struct hm_part *part = &parts.part[t];
        tensor[t] = (struct hm_safetensor){part->name, part->n_dims, part->dim, part->at, part->n};
    }
    float *w = malloc(hm_parts_numbers(&parts) * sizeof *w);
    if (!w)
        return hm_fail(err, HM_ENOMEM, "%s: out of memory", path);
    hm_lenet5_weights(model, b, steps, w);
    enum hm_status status = npy ? hm_npy_write(path, w, 1, hm_parts_numbers(&parts), err)
                                : hm_safetensors_write(path, tensor, parts.n, w, err);
    free(w);
    return status;
}
