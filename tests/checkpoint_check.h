/* What must hold for any bytes whatever that stand between the first line and the hash of a
 * checkpoint, for the tests and the fuzzer alike: refused with a reason, nothing owned; or
 * accepted, and written again it is a checkpoint that says the same. */
#ifndef HM_TESTS_CHECKPOINT_CHECK_H
#define HM_TESTS_CHECKPOINT_CHECK_H

#include "node/checkpoint.h"
#include "sparse/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char checkpoint_line[] = "hogmesh checkpoint 1\n";

/* The file around these contents, to be freed. */
static inline uint8_t *checkpoint_sealed(const uint8_t *contents, size_t n, size_t *file_n)
{
    size_t n_line = sizeof checkpoint_line - 1;
    uint8_t *file = malloc(n_line + n + HM_HASH_BYTES);
    assert(file);
    memcpy(file, checkpoint_line, n_line);
    if (n)
        memcpy(file + n_line, contents, n);
    struct hm_hash hash;
    hm_hash_init(&hash);
    hm_hash_update(&hash, file, n_line + n);
    hm_hash_final(&hash, file + n_line + n);
    *file_n = n_line + n + HM_HASH_BYTES;
    return file;
}

struct checkpoint_bytes {
    uint8_t *at;
    size_t n, room;
};

static inline void checkpoint_put(void *context, const void *bytes, size_t n)
{
    struct checkpoint_bytes *to = context;
    if (to->room - to->n < n) {
        to->room = 2 * (to->n + n);
        to->at = realloc(to->at, to->room);
        assert(to->at);
    }
    memcpy(to->at + to->n, bytes, n);
    to->n += n;
}

/* The contents of a checkpoint's file, to be freed. */
static inline struct checkpoint_bytes checkpoint_contents(const struct hm_checkpoint *checkpoint)
{
    struct checkpoint_bytes to = {.n = 0};
    struct hm_sink sink = {checkpoint_put, &to};
    enum hm_status status = hm_checkpoint_encode(checkpoint, &sink, NULL);
    assert(status == HM_OK);
    return to;
}

static inline enum hm_status checkpoint_decode(const uint8_t *contents, size_t n,
                                               struct hm_checkpoint *out, struct hm_err *err)
{
    size_t file_n;
    uint8_t *file = checkpoint_sealed(contents, n, &file_n);
    enum hm_status status = hm_checkpoint_decode(file, file_n, NULL, out, err);
    free(file);
    return status;
}

/* Returns 1 when the contents were accepted. */
static inline int checkpoint_check(const uint8_t *contents, size_t n)
{
    struct hm_checkpoint one, two;
    struct hm_err err = {""};
    enum hm_status status = checkpoint_decode(contents, n, &one, &err);
    if (status) {
        assert(err.text[0] && !one.b && !one.owed && !one.bulk && !one.state && !one.mesh.stream);
        return 0;
    }
    /* Headers of deltas may have wider integers than needed, so the bytes may differ once. */
    struct checkpoint_bytes first = checkpoint_contents(&one);
    assert(first.n <= n);
    status = checkpoint_decode(first.at, first.n, &two, &err);
    assert(status == HM_OK);
    struct checkpoint_bytes second = checkpoint_contents(&two);
    assert(second.n == first.n && memcmp(second.at, first.at, first.n) == 0);
    free(first.at);
    free(second.at);
    hm_checkpoint_fini(&one);
    hm_checkpoint_fini(&two);
    return 1;
}

#endif
