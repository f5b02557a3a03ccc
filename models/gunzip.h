/* Gzip streams by zlib, because libarchive inflates them without looking at their checksums. */
#ifndef HM_MODELS_GUNZIP_H
#define HM_MODELS_GUNZIP_H

#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

struct hm_gunzip;

/* Reads from fd, which stays the caller's, from its start; NULL: no memory, or not seekable. */
struct hm_gunzip *hm_gunzip_open(int fd);

/* As hm_input_read. Members that follow one another are one stream; what follows the last and is no
 * member is ignored, as gzip does. The error does not name the file. */
enum hm_status hm_gunzip_read(struct hm_gunzip *gunzip, void *into, size_t room, size_t *n_read,
                              struct hm_err *err);

uint64_t hm_gunzip_position(const struct hm_gunzip *gunzip); /* compressed bytes taken from fd */

void hm_gunzip_close(struct hm_gunzip *gunzip); /* NULL is fine */

#endif
