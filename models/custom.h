/* Parameters that a program brings along and trains by itself: the workload "custom". It has no
 * data and makes no steps; what it knows is names, shapes, grids and first values.
 *
 * Tensors may be many and of any shape, so they do not become tensors of the layout one by one:
 * those of a grid lie in one, each without padding within it and beginning at a multiple of 16
 * floats.
 */
#ifndef HM_MODELS_CUSTOM_H
#define HM_MODELS_CUSTOM_H

#include "models/model.h"

enum {
    HM_CUSTOM_TENSORS_MAX = 16384,
    HM_CUSTOM_NAME_MAX = 127,
    HM_CUSTOM_DIMS_MAX = 8,
    HM_CUSTOM_GRID_EXP = -16,        /* of a tensor that is given none: weights within +-64 */
    HM_CUSTOM_BATCH_MAX = 1 << 20,   /* examples */
    HM_CUSTOM_BULK_MAX = 900 * 1024, /* bytes, so that it fits into a message */
};

struct hm_custom_tensor {
    char name[HM_CUSTOM_NAME_MAX + 1];
    unsigned n_dims;
    uint32_t dim[HM_CUSTOM_DIMS_MAX];
    size_t n;      /* numbers: the product of dim */
    size_t number; /* the first one among those of all tensors */
    int grid_exp;
    size_t at; /* first coordinate of the layout, once there is one */
};

/* Zeroed at first. */
struct hm_custom {
    unsigned n, room;
    struct hm_custom_tensor *tensor; /* [n] */
    size_t n_numbers;
    int32_t *first; /* [n_numbers] first values in grid units; NULL: zeros */
    int adopts;     /* the mesh's first values, whatever its own are */
    int marks;      /* who adds says where (hm_model.marks) */
};

/* Appends a tensor. initial [product of dim], finite, is copied; NULL: zeros. Errors (name, shape,
 * grid, a value out of the grid's range, memory) leave everything as it was. */
enum hm_status hm_custom_add(struct hm_custom *custom, const char *name, unsigned n_dims,
                             const uint32_t *dim, int grid_exp, const float *initial,
                             struct hm_err *err);
void hm_custom_fini(struct hm_custom *custom);

/* Fixes where the tensors lie. */
enum hm_status hm_custom_arrange(struct hm_custom *custom, struct hm_layout *layout,
                                 struct hm_err *err);

/* As the fields of a configuration have them: tensors, and first values. */
enum { HM_CUSTOM_TEXT = 80 };
void hm_custom_describe(const struct hm_custom *custom, char text[HM_CUSTOM_TEXT]);
void hm_custom_describe_first(const struct hm_custom *custom, char text[HM_CUSTOM_TEXT]);

/* Everything as bytes for joiners and files, and back; first values only where they fit into
 * HM_CUSTOM_BULK_MAX: *with_first. pack: to be freed, NULL without memory. unpack: bytes of a peer,
 * checked; custom is zeroed before and to be finished also after a failure. */
uint8_t *hm_custom_pack(const struct hm_custom *custom, size_t *n);
enum hm_status hm_custom_unpack(struct hm_custom *custom, const uint8_t *bytes, size_t n,
                                int *with_first, struct hm_err *err);

#endif
