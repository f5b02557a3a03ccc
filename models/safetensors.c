#include "models/safetensors.h"

#include "models/whole_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 16 /* numbers */ };

/* ---- writing ---- */

struct job {
    const struct hm_safetensor *tensor;
    unsigned n;
    const float *w;
};

/* {"conv1.weight":{"dtype":"F32","shape":[6,1,5,5],"data_offsets":[0,600]},...}, with blanks up to
 * a multiple of 8. Returns its length, as snprintf does for a room that is too small. */
static size_t write_header(const struct job *job, char *out, size_t room)
{
    size_t n = 0;
#define PUT(...)                                                                                   \
    n += (size_t)snprintf(out + (n < room ? n : room), n < room ? room - n : 0, __VA_ARGS__)
    PUT("{\"__metadata__\":{\"format\":\"pt\"}");
    for (unsigned t = 0; t < job->n; t++) {
        const struct hm_safetensor *tensor = &job->tensor[t];
        PUT(",\"%s\":{\"dtype\":\"F32\",\"shape\":[", tensor->name);
        for (unsigned d = 0; d < tensor->n_dims; d++)
            PUT(d ? ",%u" : "%u", tensor->dim[d]);
        PUT("],\"data_offsets\":[%zu,%zu]}", 4 * tensor->at, 4 * (tensor->at + tensor->n));
    }
    PUT("}%*s", (int)((8 - (n + 1) % 8) % 8), "");
#undef PUT
    return n;
}

static void put_float(uint8_t *to, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(bits >> (8 * i));
}

static enum hm_status put_numbers(const struct job *job, int fd, uint8_t *piece, struct hm_err *err)
{
    const struct hm_safetensor *last = job->n ? &job->tensor[job->n - 1] : NULL;
    size_t n = last ? last->at + last->n : 0;
    enum hm_status status = HM_OK;
    for (size_t from = 0; from < n && !status; from += PIECE) {
        size_t take = n - from < PIECE ? n - from : PIECE;
        for (size_t i = 0; i < take; i++)
            put_float(piece + 4 * i, job->w[from + i]);
        status = hm_file_put(fd, piece, 4 * take, err);
    }
    return status;
}

static enum hm_status write_all(void *context, int fd, struct hm_err *err)
{
    const struct job *job = context;
    size_t n = write_header(job, NULL, 0);
    char *header = malloc(n + 1);
    uint8_t length[8], *piece = malloc(4 * PIECE);
    enum hm_status status = header && piece ? HM_OK : hm_fail(err, HM_ENOMEM, "out of memory");
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n >> (8 * i));
    if (!status)
        status = hm_file_put(fd, length, sizeof length, err);
    if (!status) {
        write_header(job, header, n + 1);
        status = hm_file_put(fd, header, n, err);
    }
    if (!status)
        status = put_numbers(job, fd, piece, err);
    free(header);
    free(piece);
    return status;
}

enum hm_status hm_safetensors_write(const char *path, const struct hm_safetensor *tensor,
                                    unsigned n, const float *w, struct hm_err *err)
{
    struct job job = {tensor, n, w};
    return hm_whole_file(path, write_all, &job, err);
}
