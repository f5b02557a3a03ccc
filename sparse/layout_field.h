/* A layout as the value of the field "tensors": "v:1x47236:-5,b:1x1:-18". */
#ifndef HM_SPARSE_LAYOUT_FIELD_H
#define HM_SPARSE_LAYOUT_FIELD_H

#include "sparse/fields.h"
#include "sparse/layout.h"

void hm_fields_set_layout(struct hm_fields *fields, const struct hm_layout *layout);

/* HM_EINPUT when the field is missing or says no layout. */
enum hm_status hm_fields_layout(const struct hm_fields *fields, struct hm_layout *layout,
                                struct hm_err *err);

#endif
