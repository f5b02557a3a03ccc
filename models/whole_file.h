/* Files that are complete under their names, or not there. */
#ifndef HM_MODELS_WHOLE_FILE_H
#define HM_MODELS_WHOLE_FILE_H

#include "sparse/status.h"

#include <stddef.h>

/* Makes the folder where it is missing, and the folders that it lies in. */
enum hm_status hm_folder_make(const char *dir, struct hm_err *err);

/* Has `write` write the file to a descriptor, under another name at first. */
enum hm_status hm_whole_file(const char *path,
                             enum hm_status (*write)(void *context, int fd, struct hm_err *err),
                             void *context, struct hm_err *err);

/* Writes n bytes where fd stands. */
enum hm_status hm_file_put(int fd, const void *bytes, size_t n, struct hm_err *err);

#endif
