/* Named tensors of floats in a file (https://github.com/huggingface/safetensors): the length of a
 * JSON header, the header, numbers. */
#ifndef HM_MODELS_SAFETENSORS_H
#define HM_MODELS_SAFETENSORS_H

#include "models/parts.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum { HM_SAFETENSORS_DIMS_MAX = 8, HM_SAFETENSORS_NAME_MAX = 127 };

struct hm_safetensor {
    const char *name; /* printable ASCII without quotes and backslashes */
    unsigned n_dims;
    const uint32_t *dim; /* [n_dims] */
    size_t at, n;        /* numbers at .. at + n of what is written; n is the product of dim */
};

/* Writes tensors [n] of w, which follow each other without gaps: complete under its name, or not at
 * all. */
enum hm_status hm_safetensors_write(const char *path, const struct hm_safetensor *tensor,
                                    unsigned n, const float *w, struct hm_err *err);

/* Tensors of a file, bytes [n] of it in all, that have the parts' names go to w [hm_parts_numbers];
 * others are left out. HM_EINPUT, naming it, for one that is missing, has another shape or other
 * numbers than finite F32, and for what is no such file. */
enum hm_status hm_safetensors_take(const uint8_t *bytes, size_t n, const struct hm_parts *parts,
                                   float *w, struct hm_err *err);

#endif
