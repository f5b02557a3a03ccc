/* LeNet5 as safetensors (https://github.com/huggingface/safetensors): the length of a JSON header,
 * the header, numbers. Names, shapes and order are PyTorch's; inputs are pixels / 255. */
#include "models/lenet5.h"
#include "models/whole_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 4096 };

struct job {
    const struct hm_model *model;
    const uint32_t *b;
    uint64_t steps;
};

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

/* {"conv1.weight":{"dtype":"F32","shape":[6,1,5,5],"data_offsets":[0,600]},...}, with blanks up to
 * a multiple of 8. */
static size_t write_header(const struct hm_parts *parts, char out[HEADER_MAX])
{
    size_t n = 0;
    for (unsigned t = 0; t < parts->n; t++) {
        const struct hm_part *part = &parts->part[t];
        n += (size_t)snprintf(out + n, HEADER_MAX - n, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[",
                              t ? "," : "{\"__metadata__\":{\"format\":\"pt\"},", part->name);
        for (unsigned d = 0; d < part->n_dims; d++)
            n += (size_t)snprintf(out + n, HEADER_MAX - n, d ? ",%u" : "%u", part->dim[d]);
        n += (size_t)snprintf(out + n, HEADER_MAX - n, "],\"data_offsets\":[%zu,%zu]}",
                              4 * part->at, 4 * (part->at + part->n));
    }
    out[n++] = '}';
    while (n % 8)
        out[n++] = ' ';
    return n;
}

static void put_float(uint8_t *to, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(bits >> (8 * i));
}

static enum hm_status write_all(void *context, int fd, struct hm_err *err)
{
    const struct job *job = context;
    struct hm_parts parts;
    char header[HEADER_MAX];
    hm_lenet5_parts(job->model, &parts);
    size_t n = write_header(&parts, header), n_numbers = hm_parts_numbers(&parts);
    uint8_t length[8], *number = malloc(n_numbers * 4);
    float *w = malloc(n_numbers * sizeof *w);
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n >> (8 * i));
    enum hm_status status = HM_OK;
    if (number && w) {
        hm_lenet5_weights(job->model, job->b, job->steps, w);
        for (size_t i = 0; i < n_numbers; i++)
            put_float(number + 4 * i, w[i]);
    } else {
        status = hm_fail(err, HM_ENOMEM, "out of memory");
    }
    if (!status)
        status = hm_file_put(fd, length, sizeof length, err);
    if (!status)
        status = hm_file_put(fd, header, n, err);
    if (!status)
        status = hm_file_put(fd, number, 4 * n_numbers, err);
    free(number);
    free(w);
    return status;
}

enum hm_status hm_lenet5_save(struct hm_model *model, const uint32_t *b, uint64_t steps,
                              const char *path, struct hm_err *err)
{
    struct job job = {model, b, steps};
    const char *dot = strrchr(path, '.');
    if (!dot || strcmp(dot, ".safetensors") != 0)
        return hm_fail(err, HM_EUSAGE, "%s: unknown format; lenet5 exports .safetensors", path);
    return hm_whole_file(path, write_all, &job, err);
}
