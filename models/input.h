/* Reading a file that may be compressed, as one stream of bytes. The one file that knows
 * libarchive. */
#ifndef HM_MODELS_INPUT_H
#define HM_MODELS_INPUT_H

#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

struct hm_input;

/* Opens path; plain, .gz, .bz2, .xz, .zst and single-file .zip and .tar are recognised by content.
 * The caller closes it. Errors: missing, unreadable, a directory, an archive of several files. */
enum hm_status hm_input_open(struct hm_input **input, const char *path, struct hm_err *err);

/* Behind the error of a path that does not exist (any other status and error stays as it is): what
 * fetches published data. Returns status. */
enum hm_status hm_input_hint(enum hm_status status, const char *path, struct hm_err *err);

/* Reads up to `room` bytes into `into`; *n_read = 0 at the end. A truncated or corrupt archive is
 * HM_ECORRUPT, saying how many bytes were good. */
enum hm_status hm_input_read(struct hm_input *input, void *into, size_t room, size_t *n_read,
                             struct hm_err *err);

/* Position in the file as stored (compressed bytes), and its size: for progress. */
uint64_t hm_input_position(const struct hm_input *input);
uint64_t hm_input_size(const struct hm_input *input);

void hm_input_close(struct hm_input *input); /* NULL is fine */

#endif
