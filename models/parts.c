#include "models/parts.h"

#include "sparse/layout.h"

#include <assert.h>
#include <math.h>

void hm_parts_add(struct hm_parts *parts, const char *name, unsigned n_dims, const uint32_t *dim)
{
    assert(parts->n < HM_PARTS_MAX);
    assert(n_dims <= HM_PART_DIMS_MAX);
    struct hm_part part = {.name = name, .n_dims = n_dims, .at = hm_parts_numbers(parts), .n = 1};
    for (unsigned d = 0; d < n_dims; d++) {
        part.dim[d] = dim[d];
        part.n *= dim[d];
    }
    parts->part[parts->n++] = part;
}

size_t hm_parts_numbers(const struct hm_parts *parts)
{
    const struct hm_part *last = parts->n ? &parts->part[parts->n - 1] : NULL;
    return last ? last->at + last->n : 0;
}

enum hm_status hm_parts_units(float w, double grid, size_t number, uint32_t *units,
                              struct hm_err *err)
{
    double x = rint((double)w / grid);
    if (!(fabs(x) <= HM_RANGE))
        return hm_fail(err, HM_EINPUT, "weight %zu is %g; at most %g is expected", number,
                       (double)w, HM_RANGE * grid);
    *units = (uint32_t)(int32_t)x;
    return HM_OK;
}

struct hm_norms hm_norms_of(const struct hm_parts *parts, const float *w)
{
    struct hm_norms norms = {.n = parts->n};
    double all = 0;
    for (unsigned i = 0; i < parts->n; i++) {
        const struct hm_part *part = &parts->part[i];
        double sum = 0;
        for (size_t k = part->at; k < part->at + part->n; k++)
            sum += (double)w[k] * (double)w[k];
        norms.name[i] = part->name;
        norms.part[i] = sqrt(sum);
        all += sum;
    }
    norms.all = sqrt(all);
    return norms;
}
