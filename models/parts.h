/* The weights of a model as the field's tools know them: parts with names and shapes, one after the
 * other, in weights' units. What exports, norms and trajectories are made of. */
#ifndef HM_MODELS_PARTS_H
#define HM_MODELS_PARTS_H

#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

struct hm_model;

enum { HM_PARTS_MAX = 16, HM_PART_DIMS_MAX = 4 };

struct hm_part {
    const char *name; /* lives as long as the program */
    unsigned n_dims;
    uint32_t dim[HM_PART_DIMS_MAX];
    size_t at, n; /* numbers at .. at + n of all parts; n is the product of dim */
};

struct hm_parts {
    unsigned n;
    struct hm_part part[HM_PARTS_MAX];
};

/* Appends a part behind those already there; its n is computed. */
void hm_parts_add(struct hm_parts *parts, const char *name, unsigned n_dims, const uint32_t *dim);

/* Numbers of all parts. */
size_t hm_parts_numbers(const struct hm_parts *parts);

/* w in units of the grid, as B has it. HM_EINPUT beyond the range; number: which weight it is, for
 * the text. */
enum hm_status hm_parts_units(float w, double grid, size_t number, uint32_t *units,
                              struct hm_err *err);

/* Euclidean norms: of each part, and of all weights. */
struct hm_norms {
    unsigned n;
    const char *name[HM_PARTS_MAX]; /* live as long as the program */
    double part[HM_PARTS_MAX], all;
};

/* w [hm_parts_numbers]. Sums are doubles, in the order of the numbers. */
struct hm_norms hm_norms_of(const struct hm_parts *parts, const float *w);

#endif
