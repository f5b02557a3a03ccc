#include "protocol/config.h"

#include "protocol/bytes.h"
#include "sparse/hash.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static enum hm_status missing(const char *name, struct hm_err *err)
{
    return hm_fail(err, HM_EINPUT, "configuration: field '%s' is missing", name);
}

enum hm_status hm_config_adopt(struct hm_fields *config, const struct hm_field *field, size_t n,
                               struct hm_err *err)
{
    if (n > HM_FIELDS_MAX)
        return hm_fail(err, HM_EINPUT, "configuration: %zu fields; at most %d are allowed", n,
                       HM_FIELDS_MAX);
    for (size_t i = 1; i < n; i++)
        if (strcmp(field[i - 1].name, field[i].name) >= 0)
            return hm_fail(err, HM_EINPUT, "configuration: fields are not sorted by name at '%s'",
                           field[i].name);
    memcpy(config->field, field, n * sizeof field[0]);
    config->n = n;
    return HM_OK;
}

const struct hm_field *hm_config_conflict(const struct hm_fields *config,
                                          const struct hm_field *asked, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *ours = hm_fields_get(config, asked[i].name);
        if (!ours || strcmp(ours, asked[i].value) != 0)
            return &asked[i];
    }
    return NULL;
}

uint64_t hm_config_fingerprint(const struct hm_fields *config)
{
    struct hm_hash hash;
    hm_hash_init(&hash);
    hm_hash_update(&hash, "hogmesh", 7);
    uint8_t version = HM_WIRE_VERSION;
    hm_hash_update(&hash, &version, 1);
    for (size_t i = 0; i < config->n; i++) {
        uint8_t bytes[sizeof config->field[0] + 2 * HM_VARINT_MAX];
        struct hm_writer w = hm_writer_of(bytes, sizeof bytes);
        hm_put_string(&w, config->field[i].name, strlen(config->field[i].name));
        hm_put_string(&w, config->field[i].value, strlen(config->field[i].value));
        hm_hash_update(&hash, bytes, (size_t)(w.at - bytes));
    }
    uint8_t digest[HM_HASH_BYTES];
    hm_hash_final(&hash, digest);
    struct hm_reader r = hm_reader_of(digest, sizeof digest);
    uint64_t fingerprint = hm_get_u64(&r);
    return fingerprint ? fingerprint : 1;
}

void hm_config_set_layout(struct hm_fields *config, const struct hm_layout *layout)
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
    hm_fields_set(config, "tensors", "%s", text);
}

enum hm_status hm_config_layout(const struct hm_fields *config, struct hm_layout *layout,
                                struct hm_err *err)
{
    const char *text = hm_fields_get(config, "tensors");
    if (!text)
        return missing("tensors", err);
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
