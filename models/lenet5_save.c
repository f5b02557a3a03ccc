/* LeNet5 as safetensors (https://github.com/huggingface/safetensors): the length of a JSON header,
 * the header, numbers. Names, shapes and order are PyTorch's; inputs are pixels / 255. */
#include "models/lenet5.h"
#include "models/whole_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 4096, PARAMETERS_MAX = 62006 };

struct job {
    const struct hm_lenet5_model *lenet5;
    const uint32_t *b;
};

/* {"conv1.weight":{"dtype":"F32","shape":[6,1,5,5],"data_offsets":[0,600]},...}, with blanks up to
 * a multiple of 8. */
static size_t write_header(unsigned channels, char out[HEADER_MAX])
{
    size_t n = 0;
    uint32_t at = 0;
    for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
        struct hm_lenet5_tensor tensor = hm_lenet5_tensor(channels, t);
        n += (size_t)snprintf(out + n, HEADER_MAX - n, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[",
                              t ? "," : "{\"__metadata__\":{\"format\":\"pt\"},", tensor.name);
        for (unsigned d = 0; d < tensor.n_dims; d++)
            n += (size_t)snprintf(out + n, HEADER_MAX - n, d ? ",%u" : "%u", tensor.dim[d]);
        n += (size_t)snprintf(out + n, HEADER_MAX - n, "],\"data_offsets\":[%u,%u]}", 4 * at,
                              4 * (at + tensor.n));
        at += tensor.n;
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
    const struct hm_lenet5_model *lenet5 = job->lenet5;
    char header[HEADER_MAX];
    size_t n = write_header(lenet5->channels, header);
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n >> (8 * i));
    uint8_t *number = malloc(4 * PARAMETERS_MAX), *to = number;
    if (!number)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
        double grid = ldexp(1, lenet5->layout.tensor[t].grid_exp);
        for (uint32_t i = 0; i < hm_lenet5_tensor(lenet5->channels, t).n; i++, to += 4)
            put_float(to, (float)((int32_t)job->b[hm_lenet5_place(lenet5->channels, t, i)] * grid));
    }
    enum hm_status status = hm_file_put(fd, length, sizeof length, err);
    if (!status)
        status = hm_file_put(fd, header, n, err);
    if (!status)
        status = hm_file_put(fd, number, (size_t)(to - number), err);
    free(number);
    return status;
}

enum hm_status hm_lenet5_save(struct hm_model *model, const uint32_t *b, uint64_t steps,
                              const char *path, struct hm_err *err)
{
    struct job job = {hm_lenet5_of(model), b};
    const char *dot = strrchr(path, '.');
    (void)steps;
    if (!dot || strcmp(dot, ".safetensors") != 0)
        return hm_fail(err, HM_EUSAGE, "%s: unknown format; lenet5 exports .safetensors", path);
    return hm_whole_file(path, write_all, &job, err);
}
