/* Word vectors, wherever they are. */
#ifndef HM_TOOLS_VECTORS_H
#define HM_TOOLS_VECTORS_H

#include "models/vectors_file.h"

/* Of a folder written by --out, of a model or a checkpoint of word2vec, or of a file in word2vec's
 * formats. The caller ends with hm_vectors_close, also after a failure. */
enum hm_status vectors_load(struct hm_vectors *vectors, const char *path,
                            const struct hm_progress *progress, struct hm_err *err);

#endif
