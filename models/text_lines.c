#include "models/text_lines.h"

#include "models/decimal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Large enough that a refill is rare, small enough to stay in the second-level cache. */
enum { BUFFER_BYTES = 1 << 19 };

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

enum hm_status hm_lines_open(struct hm_lines *lines, const char *path,
                             const struct hm_progress *progress, struct hm_err *err)
{
    *lines = (struct hm_lines){.path = path, .progress = progress, .room = BUFFER_BYTES};
    snprintf(lines->what, sizeof lines->what, "read %s", base_name(path));
    lines->buffer = malloc(lines->room + HM_DECIMAL_SLACK + 1);
    if (!lines->buffer)
        return hm_fail(err, HM_ENOMEM, "%s: out of memory", path);
    return hm_input_open(&lines->input, path, err);
}

/* Makes room behind the unread bytes: moves them to the front, or doubles the buffer for a long
 * line. */
static enum hm_status make_room(struct hm_lines *lines, struct hm_err *err)
{
    size_t kept = lines->filled - lines->at;
    memmove(lines->buffer, lines->buffer + lines->at, kept);
    lines->at = 0;
    lines->filled = kept;
    if (kept < lines->room)
        return HM_OK;
    if (kept >= HM_LINE_BYTES_MAX)
        return hm_fail(err, HM_EINPUT, "%s: line %llu: longer than %d MiB; is this a text file?",
                       lines->path, (unsigned long long)lines->number + 1, HM_LINE_BYTES_MAX >> 20);
    char *larger = realloc(lines->buffer, 2 * lines->room + HM_DECIMAL_SLACK + 1);
    if (!larger)
        return hm_fail(err, HM_ENOMEM, "%s: out of memory", lines->path);
    lines->buffer = larger;
    lines->room *= 2;
    return HM_OK;
}

static enum hm_status refill(struct hm_lines *lines, struct hm_err *err)
{
    size_t n;
    enum hm_status status = make_room(lines, err);
    if (status == HM_OK)
        status = hm_input_read(lines->input, lines->buffer + lines->filled,
                               lines->room - lines->filled, &n, err);
    if (status != HM_OK)
        return status;
    lines->ended = n == 0;
    lines->filled += n;
    lines->bytes += n;
    if (hm_report(lines->progress, lines->what, (double)hm_input_position(lines->input),
                  (double)hm_input_size(lines->input), "bytes"))
        return hm_fail(err, HM_ESTOPPED, "%s: stopped while reading", lines->path);
    return HM_OK;
}

/* Finds the end of the line that starts at `at`; NULL when the text is over. */
static enum hm_status find_end(struct hm_lines *lines, char **end, struct hm_err *err)
{
    size_t searched = 0;
    for (;;) {
        char *from = lines->buffer + lines->at;
        size_t held = lines->filled - lines->at;
        *end = held > searched ? memchr(from + searched, '\n', held - searched) : NULL;
        if (*end)
            return HM_OK;
        if (lines->ended) {
            *end = held ? from + held
                        : NULL; /* a last line without its newline: the slack has room for one */
            return HM_OK;
        }
        searched = held;
        enum hm_status status = refill(lines, err);
        if (status != HM_OK)
            return status;
    }
}

enum hm_status hm_lines_next(struct hm_lines *lines, char **line, size_t *length,
                             struct hm_err *err)
{
    char *end;
    *line = NULL;
    *length = 0;
    enum hm_status status = find_end(lines, &end, err);
    if (status != HM_OK || !end)
        return status;
    char *from = lines->buffer + lines->at;
    lines->at = (size_t)(end - lines->buffer) + (end < lines->buffer + lines->filled);
    lines->number++;
    if (end > from && end[-1] == '\r')
        end--;
    *end = '\n';
    if (memchr(from, 0, (size_t)(end - from)))
        return hm_fail(err, HM_EINPUT, "%s: line %llu: a NUL byte; this is not a text file",
                       lines->path, (unsigned long long)lines->number);
    *line = from;
    *length = (size_t)(end - from);
    return HM_OK;
}

enum hm_status hm_lines_each(struct hm_lines *lines,
                             enum hm_status (*take)(void *context, const char *line,
                                                    struct hm_err *err),
                             void *context, struct hm_err *err)
{
    char *line;
    size_t length;
    for (;;) {
        enum hm_status status = hm_lines_next(lines, &line, &length, err);
        if (status != HM_OK || !line)
            return status;
        status = take(context, line, err);
        if (status != HM_OK)
            return hm_context(err, status, "%s: line %llu", lines->path,
                              (unsigned long long)lines->number);
    }
}

void hm_lines_close(struct hm_lines *lines)
{
    hm_input_close(lines->input);
    free(lines->buffer);
    lines->input = NULL;
    lines->buffer = NULL;
}
