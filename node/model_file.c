/* A trained model in one file: what made it, how many steps, B. The contents of a kept file:
 *
 *     the configuration and the bulk data
 *     steps (u64), number of coordinates (u64), B (u32 each, little-endian)
 */
#include "node/checkpoint.h"
#include "node/kept_file.h"
#include "node/node_state.h"
#include "sparse/hash.h"

#include <stdlib.h>

static const char kind[] = "model";

void hm_model_hash(const struct hm_fields *config, uint64_t steps, const uint32_t *b, size_t n,
                   char hex[65])
{
    struct hm_hash hash;
    uint8_t head[16], digest[HM_HASH_BYTES];
    struct hm_writer w = hm_writer_of(head, sizeof head);
    hm_put_u64(&w, hm_config_fingerprint(config));
    hm_put_u64(&w, steps);
    hm_hash_init(&hash);
    hm_hash_update(&hash, head, sizeof head);
    hm_hash_update(&hash, b, n * sizeof b[0]);
    hm_hash_final(&hash, digest);
    hm_hash_hex(digest, hex);
}

enum hm_status hm_model_file_write(const char *path, const struct hm_fields *config,
                                   const uint8_t *bulk, size_t bulk_n, uint64_t steps,
                                   const uint32_t *b, size_t n, struct hm_err *err)
{
    struct hm_kept_writer writer;
    struct hm_sink sink = {hm_kept_put, &writer};
    hm_kept_begin(&writer, path, kind);
    enum hm_status status = hm_kept_put_config(&sink, config, bulk, bulk_n, err);
    hm_sink_u64(&sink, steps);
    hm_kept_put_b(&sink, b, n);
    return hm_kept_commit(&writer, status, NULL, err);
}

enum hm_status hm_node_save(const struct hm_node *node, const char *path, struct hm_err *err)
{
    return hm_model_file_write(path, &node->config, node->bulk, node->bulk_n, node->report.steps,
                               node->weights.b, node->weights.n, err);
}

static enum hm_status read_model(struct hm_model_file *file, const uint8_t *bytes, size_t n,
                                 struct hm_err *err)
{
    struct hm_reader r;
    enum hm_status status =
        hm_kept_open(bytes, n, kind, "the output of a run's --out, model.hm", &r, err);
    if (status || (status = hm_kept_get_config(&r, &file->config, &file->layout, &file->bulk,
                                               &file->bulk_n, err)))
        return status;
    file->steps = hm_get_u64(&r);
    if ((status = hm_kept_get_b(&r, &file->layout, &file->b, err)))
        return status;
    if (hm_reader_left(&r))
        return hm_fail(err, HM_ECORRUPT, "the weights do not fit the configuration");
    return HM_OK;
}

/* A checkpoint is a model too: that of its base. */
static enum hm_status read_checkpoint(struct hm_model_file *file, const uint8_t *bytes, size_t n,
                                      struct hm_err *err)
{
    struct hm_checkpoint c;
    enum hm_status status = hm_checkpoint_decode(bytes, n, NULL, &c, err);
    if (status)
        return status;
    file->config = c.config;
    file->layout = c.layout;
    file->steps = hm_mesh_resume_steps(&c.mesh);
    file->b = c.b;
    file->bulk = c.bulk;
    file->bulk_n = c.bulk_n;
    c.b = NULL;
    c.bulk = NULL;
    hm_checkpoint_fini(&c);
    return HM_OK;
}

enum hm_status hm_model_file_open(struct hm_model_file *file, const char *path, struct hm_err *err)
{
    *file = (struct hm_model_file){0};
    uint8_t *bytes;
    size_t n;
    enum hm_status status = hm_kept_read(path, NULL, &bytes, &n, err);
    if (!status)
        status = hm_kept_is(bytes, n, HM_CHECKPOINT_KIND) ? read_checkpoint(file, bytes, n, err)
                                                          : read_model(file, bytes, n, err);
    if (!status)
        hm_model_hash(&file->config, file->steps, file->b, hm_layout_n(&file->layout),
                      file->model_hash);
    free(bytes);
    return status ? hm_context(err, status, "%s", path) : HM_OK;
}

void hm_model_file_close(struct hm_model_file *file)
{
    free(file->b);
    free(file->bulk);
    *file = (struct hm_model_file){0};
}
