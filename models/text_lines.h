/* The lines of a text file that may be compressed, one at a time, for parsers that look ahead
 * without asking. */
#ifndef HM_MODELS_TEXT_LINES_H
#define HM_MODELS_TEXT_LINES_H

#include "models/input.h"
#include "sparse/progress.h"
#include "sparse/status.h"

#include <stddef.h>
#include <stdint.h>

enum { HM_LINE_BYTES_MAX = 64 << 20 };

struct hm_lines {
    struct hm_input *input;
    const struct hm_progress *progress;
    const char *path;
    char what[128]; /* "read train.svm", for progress */
    char *buffer;   /* [room + slack] */
    size_t room, at, filled;
    int ended;
    uint64_t number; /* of the line last delivered, from 1 */
    uint64_t bytes;  /* of text read so far */
};

/* Opens path, which must outlive lines. The caller finishes with hm_lines_close, also after a
 * failure. */
enum hm_status hm_lines_open(struct hm_lines *lines, const char *path,
                             const struct hm_progress *progress, struct hm_err *err);

/* Points *line at the next line, *length characters without its end ("\n" or "\r\n"; the last one
 * may lack it), or at NULL after the last. line[*length] is '\n' and 16 more bytes can be read
 * behind it. The line is valid, and may be written to, until the next call. Errors: those of
 * hm_input_read; a NUL byte; a line above HM_LINE_BYTES_MAX; HM_ESTOPPED. Errors about the text
 * name file and line. */
enum hm_status hm_lines_next(struct hm_lines *lines, char **line, size_t *length,
                             struct hm_err *err);

/* Hands every line to take(context, line), as hm_lines_next delivers it; its error gets file and
 * line put before it and ends the reading. */
enum hm_status hm_lines_each(struct hm_lines *lines,
                             enum hm_status (*take)(void *context, const char *line,
                                                    struct hm_err *err),
                             void *context, struct hm_err *err);

void hm_lines_close(struct hm_lines *lines); /* twice is fine */

#endif
