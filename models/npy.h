/* Arrays for numpy, and of it (versions 1.0 and 2.0 of its format): float32, little-endian, row by
 * row. Read as well: float64, which are rounded. */
#ifndef HM_MODELS_NPY_H
#define HM_MODELS_NPY_H

#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { HM_NPY_HEADER = 128 };

/* A header of HM_NPY_HEADER bytes, version 1.0; the numbers follow. descr as numpy names the type
 * ("<f4"), shape as a tuple ("(3, 5)", "(3,)"); at most 60 characters of it. */
void hm_npy_header(const char *descr, const char *shape, char header[HM_NPY_HEADER]);

/* Writes float32, little-endian, row by row: (rows, columns), or (columns,) where rows is 1. w
 * [rows][columns]. Complete under its name, or not at all. */
enum hm_status hm_npy_write(const char *path, const float *w, uint64_t rows, uint64_t columns,
                            struct hm_err *err);

struct hm_npy {
    uint64_t n_rows, n_columns; /* (n,) is one row of n */
    size_t begins;              /* bytes before the numbers */
    unsigned width;             /* bytes of a number: 4 or 8 */
};

/* What the first n bytes of a file (all of them, or 64 KB) say. HM_EINPUT for what is no array of
 * numpy, or one of another type or order; the text says what is expected, and how to make it. */
enum hm_status hm_npy_parse(const uint8_t *bytes, size_t n, struct hm_npy *npy, struct hm_err *err);

/* All numbers of a file that is in memory, bytes [n], of which the header is parsed: to out
 * [n_rows * n_columns]. HM_EINPUT for one that is shorter, and as hm_npy_next. */
enum hm_status hm_npy_numbers(const uint8_t *bytes, size_t n, const struct hm_npy *npy, float *out,
                              struct hm_err *err);

/* An array in a file, to be read row by row. One thread. */
struct hm_npy_file {
    struct hm_npy npy;
    FILE *file;
    const char *path; /* borrowed */
    uint64_t row;     /* read so far */
};

/* A file that is shorter than its shape says is refused. On failure there is nothing to close. */
enum hm_status hm_npy_open(struct hm_npy_file *file, const char *path, struct hm_err *err);

/* The next row into out [n_columns]; HM_EINPUT for what is no finite number, with its place. */
enum hm_status hm_npy_next(struct hm_npy_file *file, float *out, struct hm_err *err);
void hm_npy_close(struct hm_npy_file *file);

#endif
