#include "protocol/config.h"

#include "protocol/bytes.h"
#include "sparse/hash.h"

#include <string.h>

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
