#include "models/import.h"

#include "models/grow.h"
#include "models/input.h"
#include "models/npy.h"
#include "models/safetensors.h"
#include "sparse/hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE = 1 << 20, SAFETENSORS_LENGTH = 8, HEAD = 512 };

/* ---- the file as bytes ---- */

/* All of it, or its first `most` bytes, into `into`; as it is after decompression. */
static enum hm_status read_bytes(const char *path, size_t most, struct hm_grow *into,
                                 struct hm_err *err)
{
    struct hm_input *input;
    enum hm_status status = hm_input_open(&input, path, err);
    if (status)
        return status;
    for (size_t got = 1; got && into->used < most && !status; into->used += got) {
        size_t room = most - into->used < PIECE ? most - into->used : PIECE;
        if (hm_grow_reserve(into, into->used + room) != 0)
            status = hm_fail(err, HM_ENOMEM, "%s: no memory for it", path);
        else
            status = hm_input_read(input, into->base + into->used, room, &got, err);
        got = status ? 0 : got;
    }
    hm_input_close(input);
    return status;
}

/* What can be read but once, and folders, which are named so when they are opened. */
static int is_stream(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

enum hm_status hm_import_name(struct hm_train_options *options, struct hm_err *err)
{
    struct hm_input *input;
    struct hm_hash hash;
    uint8_t digest[HM_HASH_BYTES];
    if (!options->init)
        return HM_OK;
    if (is_stream(options->init))
        return hm_fail(err, HM_EINPUT,
                       "--init: %s: is no regular file; it is read more than once, so save what "
                       "comes out of it in one",
                       options->init);
    uint8_t *piece = malloc(PIECE);
    if (!piece)
        return hm_fail(err, HM_ENOMEM, "--init %s: out of memory", options->init);
    enum hm_status status = hm_input_open(&input, options->init, err);
    hm_hash_init(&hash);
    for (size_t n = 1; n && !status;) {
        status = hm_input_read(input, piece, PIECE, &n, err);
        hm_hash_update(&hash, piece, status ? 0 : n);
    }
    hm_hash_final(&hash, digest);
    for (size_t i = 0; i + 1 < sizeof options->init_hash; i += 2)
        snprintf(options->init_hash + i, 3, "%02x", digest[i / 2]);
    if (!status)
        hm_input_close(input);
    free(piece);
    return status ? hm_context(err, status, "--init") : HM_OK;
}

/* ---- formats of any model ---- */

static enum hm_status take_npy(const uint8_t *bytes, size_t n_bytes, const struct hm_parts *parts,
                               float *w, struct hm_err *err)
{
    struct hm_npy npy;
    const size_t all = hm_parts_numbers(parts), first = parts->part[0].n;
    enum hm_status status = hm_npy_parse(bytes, n_bytes, &npy, err);
    if (status)
        return status;
    const uint64_t rows = npy.n_rows, columns = npy.n_columns, n = rows * columns;
    if ((columns && n / columns != rows) || (n != all && n != first))
        return hm_fail(err, HM_EINPUT,
                       "%llu x %llu numbers; the model has %zu, of which its first part, '%s', has "
                       "%zu",
                       (unsigned long long)rows, (unsigned long long)columns, all,
                       parts->part[0].name, first);
    return hm_npy_numbers(bytes, n_bytes, &npy, w, err);
}

static int is_safetensors(const uint8_t *head, size_t n)
{
    return n > SAFETENSORS_LENGTH && head[SAFETENSORS_LENGTH] == '{' && !head[7] && !head[6];
}

/* A format that is read from memory, as it is after decompression. */
static enum hm_status take_whole(const char *path, const struct hm_parts *parts, float *w,
                                 enum hm_status (*take)(const uint8_t *bytes, size_t n,
                                                        const struct hm_parts *parts, float *w,
                                                        struct hm_err *err),
                                 struct hm_err *err)
{
    struct hm_grow all = {0};
    enum hm_status status = read_bytes(path, SIZE_MAX, &all, err);
    if (!status) {
        status = take(all.base, all.used, parts, w, err);
        status = status ? hm_context(err, status, "%s", path) : HM_OK;
    }
    hm_grow_free(&all);
    return status;
}

static enum hm_status take_any(const struct hm_model *model, const char *path, float *w,
                               void (*say)(void *context, const char *text), void *context,
                               struct hm_err *err)
{
    struct hm_grow head = {0};
    struct hm_parts parts;
    model->ops->parts(model, &parts);
    enum hm_status status = read_bytes(path, HEAD, &head, err);
    const uint8_t *bytes = head.base;
    if (status)
        ;
    else if (head.used > 6 && memcmp(bytes, "\x93NUMPY", 6) == 0)
        status = take_whole(path, &parts, w, take_npy, err);
    else if (is_safetensors(bytes, head.used))
        status = take_whole(path, &parts, w, hm_safetensors_take, err);
    else if (model->ops->import)
        status = model->ops->import(model, path, w, say, context, err);
    else
        status =
            hm_fail(err, HM_EINPUT, "%s: unknown format; .safetensors or .npy is expected for %s",
                    path, model->ops->name);
    hm_grow_free(&head);
    return status;
}

/* ---- B0 ---- */

/* Whether this is the file that the mesh begins with. */
static enum hm_status check_name(const struct hm_model *model,
                                 const struct hm_train_options *options, struct hm_err *err)
{
    struct hm_train_options read = {.init = options->init};
    if (!options->init)
        return hm_fail(err, HM_EREFUSED,
                       "field 'initial': the mesh begins with the weights of a file (%s); add "
                       "--init and the same file here",
                       model->initial);
    enum hm_status status = hm_import_name(&read, err);
    if (!status && strcmp(read.init_hash, model->initial) != 0)
        status = hm_fail(err, HM_EREFUSED,
                         "field 'initial': the mesh begins with the weights of another file (%s) "
                         "than %s (%s)",
                         model->initial, options->init, read.init_hash);
    return status;
}

/* As far as times tell: what was hashed is what was read. */
static int same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

enum hm_status hm_import_begin(const struct hm_model *model, const struct hm_train_options *options,
                               struct hm_weights *weights,
                               void (*say)(void *context, const char *text), void *context,
                               struct hm_err *err)
{
    model->ops->init(model, weights);
    if (!model->initial[0])
        return HM_OK;
    struct hm_parts parts;
    struct stat before = {0}, after = {0};
    if (options->init)
        stat(options->init, &before);
    enum hm_status status = check_name(model, options, err);
    if (status)
        return status;
    model->ops->parts(model, &parts);
    float *w = malloc(hm_parts_numbers(&parts) * sizeof *w);
    if (!w)
        return hm_fail(err, HM_ENOMEM, "--init: no memory for %zu weights",
                       hm_parts_numbers(&parts));
    model->ops->weights(model, weights->b, 0, w); /* what the file does not have stays */
    status = take_any(model, options->init, w, say, context, err);
    stat(options->init, &after);
    if (!same_file(&before, &after))
        status = hm_fail(err, HM_EINPUT,
                         "%s: was changed while it was read; try again when it is complete",
                         options->init);
    if (!status)
        status = model->ops->unweights(model, w, 0, weights->b, err);
    free(w);
    return status ? hm_context(err, status, "--init") : HM_OK;
}
