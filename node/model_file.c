/* A trained model in one file: what made it, how many steps, B. Written whole or not at all,
 * checked when read.
 *
 *     "hogmesh model 1\n"
 *     the configuration and the bulk data, as in HELLO_OK, with a varint length before
 *     steps (u64), number of coordinates (u64), B (u32 each, little-endian)
 *     BLAKE2b-256 of everything before
 */
#include "node/node_state.h"
#include "protocol/bytes.h"
#include "sparse/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char magic[] = "hogmesh model 1\n";

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

enum hm_status hm_node_save(const struct hm_node *node, const char *path, struct hm_err *err)
{
    size_t bound = hm_hello_bound(node->config.field, node->config.n, 0, node->bulk_n);
    size_t n_b = node->weights.n * sizeof(uint32_t),
           room = sizeof magic + 10 + bound + 16 + n_b + HM_HASH_BYTES;
    uint8_t *bytes = malloc(room), *hello = malloc(bound);
    if (!bytes || !hello) {
        free(bytes);
        free(hello);
        return hm_fail(err, HM_ENOMEM, "%s: no memory to write the model", path);
    }
    struct hm_writer w = hm_writer_of(bytes, room);
    hm_put_bytes(&w, magic, sizeof magic - 1);
    hm_put_string(&w, hello,
                  hm_hello_encode(node->config.field, node->config.n, NULL, 0, node->bulk,
                                  node->bulk_n, hello));
    free(hello);
    hm_put_u64(&w, node->report.steps);
    hm_put_u64(&w, node->weights.n);
    hm_put_bytes(&w, node->weights.b, n_b);
    struct hm_hash hash;
    hm_hash_init(&hash);
    hm_hash_update(&hash, bytes, (size_t)(w.at - bytes));
    hm_hash_final(&hash, w.at);
    w.at += HM_HASH_BYTES;

    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.tmp%d", path, (int)getpid());
    FILE *file = fopen(temporary, "wb");
    int failed = !file ||
                 fwrite(bytes, 1, (size_t)(w.at - bytes), file) != (size_t)(w.at - bytes) ||
                 fflush(file) || fsync(fileno(file));
    int e = errno;
    if (file)
        failed |= fclose(file) != 0;
    if (!failed && rename(temporary, path) != 0) {
        failed = 1;
        e = errno;
    }
    free(bytes);
    if (failed)
        unlink(temporary);
    return failed ? hm_fail(err, HM_EIO, "%s: cannot write: %s", path, strerror(e)) : HM_OK;
}

static uint8_t *read_all(const char *path, size_t *n, struct hm_err *err)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long size = -1;
    if (file && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0) {
        rewind(file);
        bytes = malloc((size_t)size + 1);
        if (bytes && fread(bytes, 1, (size_t)size, file) != (size_t)size) {
            free(bytes);
            bytes = NULL;
        }
    }
    if (!bytes)
        hm_fail(err, HM_EIO, "%s: cannot read: %s", path, strerror(errno));
    if (file)
        fclose(file);
    *n = (size_t)size;
    return bytes;
}

static enum hm_status parse(struct hm_model_file *file, const uint8_t *bytes, size_t n,
                            struct hm_err *err)
{
    uint8_t digest[HM_HASH_BYTES];
    size_t n_magic = sizeof magic - 1;
    if (n < n_magic || memcmp(bytes, magic, n_magic) != 0)
        return hm_fail(err, HM_EINPUT,
                       "not a model file (expected the output of a run's --out, model.hm)");
    if (n < n_magic + HM_HASH_BYTES)
        return hm_fail(err, HM_ECORRUPT, "the file is truncated after %zu bytes", n);
    struct hm_hash hash;
    hm_hash_init(&hash);
    hm_hash_update(&hash, bytes, n - HM_HASH_BYTES);
    hm_hash_final(&hash, digest);
    if (memcmp(digest, bytes + n - HM_HASH_BYTES, HM_HASH_BYTES) != 0)
        return hm_fail(err, HM_ECORRUPT,
                       "the file fails its checksum: it was truncated or altered");
    struct hm_reader r = hm_reader_of(bytes + n_magic, n - n_magic - HM_HASH_BYTES);
    size_t n_hello = (size_t)hm_get_varint(&r), n_fields, n_peers;
    const uint8_t *hello = hm_get_bytes(&r, n_hello), *bulk;
    struct hm_field *field = calloc(HM_FIELDS_MAX, sizeof *field);
    struct hm_peer_entry peer[1];
    int bad = !hello || !field ||
              hm_hello_decode(hello, n_hello, field, HM_FIELDS_MAX, &n_fields, peer, 1, &n_peers,
                              &bulk, &file->bulk_n);
    enum hm_status status = bad ? hm_fail(err, HM_ECORRUPT, "malformed configuration")
                                : hm_config_adopt(&file->config, field, n_fields, err);
    free(field);
    if (status || (status = hm_config_layout(&file->config, &file->layout, err)))
        return status;
    file->steps = hm_get_u64(&r);
    uint64_t n_b = hm_get_u64(&r);
    if (r.bad || n_b != hm_layout_n(&file->layout) || hm_reader_left(&r) != n_b * sizeof(uint32_t))
        return hm_fail(err, HM_ECORRUPT, "the weights do not fit the configuration");
    file->b = malloc((size_t)n_b * sizeof(uint32_t));
    file->bulk = malloc(file->bulk_n + 1);
    if (!file->b || !file->bulk)
        return hm_fail(err, HM_ENOMEM, "no memory for the model");
    memcpy(file->b, r.at, (size_t)n_b * sizeof(uint32_t));
    memcpy(file->bulk, bulk, file->bulk_n);
    hm_model_hash(&file->config, file->steps, file->b, (size_t)n_b, file->model_hash);
    return HM_OK;
}

enum hm_status hm_model_file_open(struct hm_model_file *file, const char *path, struct hm_err *err)
{
    *file = (struct hm_model_file){0};
    size_t n;
    uint8_t *bytes = read_all(path, &n, err);
    if (!bytes)
        return HM_EIO;
    enum hm_status status = parse(file, bytes, n, err);
    free(bytes);
    return status ? hm_context(err, status, "%s", path) : HM_OK;
}

void hm_model_file_close(struct hm_model_file *file)
{
    free(file->b);
    free(file->bulk);
    *file = (struct hm_model_file){0};
}
