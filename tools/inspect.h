/* What `hogmesh inspect` knows of each kind of file. Whatever the bytes are, these functions say
 * what they hold or refuse them; none of them trusts a length or a count that it has not checked.
 *
 * A capture is a file with messages as they were on the wire, for looking at them later:
 *
 *     "hogmesh capture 1\n"
 *     for each message:  header length (u32), payload length (u32), header, payload    all
 * little-endian
 */
#ifndef HM_TOOLS_INSPECT_H
#define HM_TOOLS_INSPECT_H

#include "protocol/wire.h"

#include <jansson.h>
#include <stdio.h>

/* In each case *json is a new object of the caller's. Where only a part could be decoded it is what
 * that part says, and the status is not HM_OK; NULL when nothing could be. */

/* A message: header [header_n], payload [payload_n]. payload NULL: there is the header alone. */
enum hm_status inspect_message(const uint8_t *header, size_t header_n, const uint8_t *payload,
                               size_t payload_n, json_t **json, struct hm_err *err);

/* A packed body of which nothing else is known: the range of blocks is the smallest that fits. */
enum hm_status inspect_packed(const uint8_t *packed, size_t n, json_t **json, struct hm_err *err);

/* A model file, such as model.hm. */
enum hm_status inspect_model(const char *path, json_t **json, struct hm_err *err);

/* A checkpoint, NAME.ckpt. */
enum hm_status inspect_checkpoint(const char *path, json_t **json, struct hm_err *err);

/* A dataset's cache, FILE.hmcache: of rows, of images, of text. */
enum hm_status inspect_cache(const char *path, json_t **json, struct hm_err *err);
enum hm_status inspect_images(const char *path, json_t **json, struct hm_err *err);
enum hm_status inspect_corpus(const char *path, json_t **json, struct hm_err *err);

/* Parts of caches. What all headers begin with: magic, version, byte order; XXH3 of the header at
 * its end, at self_at. */
enum hm_status inspect_cache_head(const uint8_t *bytes, size_t self_at, unsigned version,
                                  struct hm_err *err);

struct inspect_section {
    const char *name;
    uint64_t at, bytes, checksum;
};

/* Reads the sections of the file and puts them into *json, with what their checksums say; the error
 * is about the first one that fails. */
enum hm_status inspect_sections(json_t *json, FILE *file, const struct inspect_section *section,
                                unsigned n, struct hm_err *err);

/* Parts of models and checkpoints. */
json_t *inspect_config(const struct hm_fields *config);
json_t *inspect_tensors(const struct hm_layout *layout, const uint32_t *b);

/* A number as JSON has it: integers beyond its range become text. */
json_t *inspect_u64(uint64_t x);

/* 16 hexadecimal digits, as lives, digests and fingerprints are written. */
json_t *inspect_hex64(uint64_t x);

#endif
