/* Files that datasets are made into: complete under their names, or not there. */
#ifndef HM_MODELS_SYNTH_FILE_H
#define HM_MODELS_SYNTH_FILE_H

#include "sparse/status.h"

/* Makes the folder where it is missing, and the folders that it lies in. */
enum hm_status hm_synth_folder(const char *dir, struct hm_err *err);

/* Has `write` write dir/name to a file descriptor, under another name at first. */
enum hm_status hm_synth_file(const char *dir, const char *name,
                             enum hm_status (*write)(void *context, int fd, struct hm_err *err),
                             void *context, struct hm_err *err);

/* Writes n bytes where fd stands. */
enum hm_status hm_synth_put(int fd, const void *bytes, unsigned long n, struct hm_err *err);

#endif
