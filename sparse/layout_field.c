#include "sparse/layout_field.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void hm_fields_set_layout(struct hm_fields *fields, const struct hm_layout *layout)
{
    char text[HM_FIELD_VALUE_MAX + 1] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < layout->n_tensors; i++) {
        const struct hm_tensor *t = &layout->tensor[i];
        int n = snprintf(text + at, sizeof text - at, "%s%s:%ux%u:%d", i ? "," : "", t->name,
                         t->rows, t->cols, t->grid_exp);
        assert(n > 0 && (size_t)n < sizeof text - at);
        at += (size_t)n;
    }
    hm_fields_set(fields, "tensors", "%s", text);
}

enum hm_status hm_fields_layout(const struct hm_fields *fields, struct hm_layout *layout,
                                struct hm_err *err)
{
    const char *text = hm_fields_get(fields, "tensors");
    if (!text)
        return hm_fail(err, HM_EINPUT, "configuration: field 'tensors' is missing");
    *layout = (struct hm_layout){0};
    while (*text) {
        char name[HM_TENSOR_NAME_MAX + 1];
        unsigned rows, cols;
        int grid_exp, used = 0;
        if (sscanf(text, "%31[a-z0-9_.]:%ux%u:%d%n", name, &rows, &cols, &grid_exp, &used) != 4 ||
            (text[used] && text[used] != ','))
            return hm_fail(err, HM_EINPUT,
                           "configuration: field 'tensors': '%.40s' is not name:ROWSxCOLS:GRID",
                           text);
        enum hm_status status = hm_layout_add(layout, name, rows, cols, grid_exp, err);
        if (status)
            return hm_context(err, status, "configuration: field 'tensors'");
        text += used + (text[used] == ',');
    }
    return HM_OK;
}
