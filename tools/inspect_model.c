/* hogmesh inspect: a trained model. */
#include "tools/inspect.h"

#include "node/node.h"
#include "protocol/config.h"

#include <math.h>

static json_t *tensor_json(const struct hm_tensor *t, const uint32_t *b)
{
    const uint32_t *from = b + hm_tensor_at(t);
    uint64_t n_nonzero = 0;
    int64_t largest = 0;
    double square = 0;
    for (uint64_t r = 0; r < t->rows; r++)
        for (uint64_t c = 0; c < t->cols; c++) {
            int64_t x = (int32_t)from[r * t->stride + c], size = x < 0 ? -x : x;
            n_nonzero += x != 0;
            largest = size > largest ? size : largest;
            square += (double)x * (double)x;
        }
    return json_pack("{s:s, s:I, s:I, s:i, s:I, s:f, s:I, s:f}", "name", t->name, "rows",
                     (json_int_t)t->rows, "cols", (json_int_t)t->cols, "grid_exp", (int)t->grid_exp,
                     "nonzero", (json_int_t)n_nonzero, "norm", ldexp(sqrt(square), t->grid_exp),
                     "largest_units", (json_int_t)largest, "range_used",
                     (double)largest / HM_RANGE);
}

json_t *inspect_config(const struct hm_fields *config)
{
    json_t *json = json_object();
    for (size_t i = 0; i < config->n; i++)
        json_object_set_new(json, config->field[i].name, json_string(config->field[i].value));
    return json;
}

json_t *inspect_tensors(const struct hm_layout *layout, const uint32_t *b)
{
    json_t *json = json_array();
    for (uint32_t i = 0; i < layout->n_tensors; i++)
        json_array_append_new(json, tensor_json(&layout->tensor[i], b));
    return json;
}

static json_t *model_json(const struct hm_model_file *file)
{
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:I, s:o, s:s}", "kind", "model", "steps", inspect_u64(file->steps),
        "fingerprint", inspect_hex64(hm_config_fingerprint(&file->config)), "config",
        inspect_config(&file->config), "bulk_bytes", (json_int_t)file->bulk_n, "tensors",
        inspect_tensors(&file->layout, file->b), "model_hash", file->model_hash);
}

enum hm_status inspect_model(const char *path, json_t **json, struct hm_err *err)
{
    struct hm_model_file file;
    *json = NULL;
    enum hm_status status = hm_model_file_open(&file, path, err);
    if (!status)
        *json = model_json(&file);
    hm_model_file_close(&file);
    return status;
}
