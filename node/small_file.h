/* Files that are read as a whole. */
#ifndef HM_NODE_SMALL_FILE_H
#define HM_NODE_SMALL_FILE_H

#include "sparse/status.h"

#include <stddef.h>

/* Reads a regular file of at most `most` bytes; *text [*n] is the caller's to free and has a NUL
 * behind it; NULL after a failure. Never waits, as a pipe could make it. HM_EIO, HM_EINPUT (no such
 * file, or a larger one), HM_ENOMEM with a sentence that names the file. */
enum hm_status hm_file_read(const char *path, size_t most, char **text, size_t *n,
                            struct hm_err *err);

#endif
