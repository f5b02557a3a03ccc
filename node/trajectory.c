#include "node/trajectory.h"

#include "models/npy.h"
#include "models/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4200, LINE_BYTES = 4096 };

struct hm_trajectory {
    const struct hm_model *model;
    char label[HM_LABEL_MAX + 1], array[PATH_BYTES], index[PATH_BYTES];
    size_t n; /* numbers of a row */
    float *row;
    uint64_t n_points;
    enum hm_status status; /* of the first failure, with its error */
    struct hm_err err;
};

/* Files are open only while they are written to: there may be as many as nodes of a world. */
static int reach(const char *path, int flags, struct hm_err *err)
{
    int fd = open(path, flags | O_CLOEXEC, 0666);
    if (fd < 0)
        hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
    return fd;
}

/* Closes; what is delayed until then fails here. */
static enum hm_status leave(int fd, const char *path, enum hm_status status, struct hm_err *err)
{
    if (status)
        hm_context(err, status, "%s", path);
    if (close(fd) != 0 && !status)
        status = hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
    return status;
}

static enum hm_status put_at(int fd, uint64_t at, const void *bytes, size_t n, struct hm_err *err)
{
    if (lseek(fd, (off_t)at, SEEK_SET) < 0)
        return hm_fail(err, HM_EIO, "%s", strerror(errno));
    return hm_file_put(fd, bytes, n, err);
}

static void head_of(const struct hm_trajectory *t, uint64_t n_points, char head[HM_NPY_HEADER])
{
    char shape[48];
    snprintf(shape, sizeof shape, "(%llu, %zu)", (unsigned long long)n_points, t->n);
    hm_npy_header("<f4", shape, head);
}

static uint64_t end_of(const struct hm_trajectory *t)
{
    return HM_NPY_HEADER + t->n_points * t->n * sizeof *t->row;
}

/* ---- the index ---- */

static size_t add_parts(const struct hm_model *model, char *line, size_t at)
{
    struct hm_parts parts;
    model->ops->parts(model, &parts);
    for (unsigned i = 0; i < parts.n; i++) {
        const struct hm_part *part = &parts.part[i];
        at += (size_t)snprintf(line + at, LINE_BYTES - at, "%s{\"name\":\"%s\",\"shape\":[",
                               i ? "," : "", part->name);
        for (unsigned d = 0; d < part->n_dims; d++)
            at += (size_t)snprintf(line + at, LINE_BYTES - at, d ? ",%u" : "%u", part->dim[d]);
        at += (size_t)snprintf(line + at, LINE_BYTES - at, "],\"at\":%zu,\"n\":%zu}", part->at,
                               part->n);
    }
    return at;
}

static size_t first_line(const struct hm_trajectory *t, char line[LINE_BYTES])
{
    size_t at = (size_t)snprintf(
        line, LINE_BYTES, "{\"label\":\"%s\",\"workload\":\"%s\",\"numbers\":%zu,\"parts\":[",
        t->label, t->model->ops->name, t->n);
    at = add_parts(t->model, line, at);
    return at + (size_t)snprintf(line + at, LINE_BYTES - at, "]}\n");
}

static enum hm_status add_line(struct hm_trajectory *t, const struct hm_curve_point *point,
                               bool final, struct hm_err *err)
{
    char line[LINE_BYTES];
    int n = snprintf(line, sizeof line,
                     "{\"point\":%llu,\"label\":\"%s\",\"seconds\":%.6f,\"steps\":%llu,"
                     "\"own_steps\":%llu,\"final\":%s}\n",
                     (unsigned long long)t->n_points, t->label, point->seconds,
                     (unsigned long long)point->steps, (unsigned long long)point->own_steps,
                     final ? "true" : "false");
    int fd = reach(t->index, O_WRONLY | O_APPEND, err);
    if (fd < 0)
        return HM_EIO;
    off_t end = lseek(fd, 0, SEEK_END);
    enum hm_status status = hm_file_put(fd, line, (size_t)n, err);
    if (status && ftruncate(fd, end) != 0) /* half a line is no line of an index */
        hm_context(err, status, "%s", strerror(errno));
    return leave(fd, t->index, status, err);
}

/* ---- the array ---- */

static enum hm_status put_row(struct hm_trajectory *t, int fd, struct hm_err *err)
{
    char head[HM_NPY_HEADER];
    enum hm_status status = put_at(fd, end_of(t), t->row, t->n * sizeof *t->row, err);
    head_of(t, t->n_points + 1, head);
    if (!status)
        status = put_at(fd, 0, head, sizeof head, err);
    if (status && ftruncate(fd, (off_t)end_of(t)) != 0) /* which only frees room on a full disk */
        hm_context(err, status, "%s", strerror(errno));
    return status;
}

static enum hm_status add_row(struct hm_trajectory *t, struct hm_err *err)
{
    int fd = reach(t->array, O_WRONLY, err);
    return fd < 0 ? HM_EIO : leave(fd, t->array, put_row(t, fd, err), err);
}

/* ---- beginning ---- */

static enum hm_status begin_file(const char *path, const char *bytes, size_t n, struct hm_err *err)
{
    int fd = reach(path, O_WRONLY | O_CREAT | O_TRUNC, err);
    return fd < 0 ? HM_EIO : leave(fd, path, hm_file_put(fd, bytes, n, err), err);
}

static enum hm_status begin(struct hm_trajectory *t, struct hm_err *err)
{
    char head[HM_NPY_HEADER], line[LINE_BYTES];
    head_of(t, 0, head);
    enum hm_status status = begin_file(t->array, head, sizeof head, err);
    return status ? status : begin_file(t->index, line, first_line(t, line), err);
}

/* The points of the array that is there, by its header; those behind it are of a row that was not
 * complete. */
static enum hm_status count_points(struct hm_trajectory *t, struct hm_err *err)
{
    char head[HM_NPY_HEADER + 1] = "", same[HM_NPY_HEADER];
    unsigned long long n = 0;
    int fd = reach(t->array, O_RDONLY, err);
    if (fd < 0)
        return HM_EIO;
    ssize_t got = read(fd, head, HM_NPY_HEADER);
    const char *shape = got == HM_NPY_HEADER ? strstr(head + 10, "'shape': (") : NULL;
    if (shape)
        n = strtoull(shape + strlen("'shape': ("), NULL, 10);
    head_of(t, n, same);
    off_t size = lseek(fd, 0, SEEK_END);
    close(fd);
    t->n_points = n;
    if (shape && memcmp(head, same, sizeof same) == 0 &&
        n <= ((uint64_t)size - HM_NPY_HEADER) / (t->n * sizeof *t->row))
        return HM_OK;
    return hm_fail(err, HM_EINPUT,
                   "%s: an array of points of %zu float32 is expected, to which more can be added; "
                   "move it away, or leave --trajectory away",
                   t->array, t->n);
}

/* The index has to be of the same weights. */
static enum hm_status check_index(const struct hm_trajectory *t, struct hm_err *err)
{
    char line[LINE_BYTES], theirs[LINE_BYTES];
    size_t n = first_line(t, line);
    int fd = reach(t->index, O_RDONLY, err);
    if (fd < 0)
        return HM_EIO;
    ssize_t got = read(fd, theirs, n);
    close(fd);
    if (got == (ssize_t)n && memcmp(line, theirs, n) == 0)
        return HM_OK;
    return hm_fail(err, HM_EINPUT,
                   "%s, line 1: the index of %s is expected, to which more can be added; move both "
                   "away, or leave --trajectory away",
                   t->index, t->array);
}

static enum hm_status open_files(struct hm_trajectory *t, bool goes_on, struct hm_err *err)
{
    if (!goes_on || access(t->array, F_OK) != 0)
        return begin(t, err);
    enum hm_status status = count_points(t, err);
    return status ? status : check_index(t, err);
}

enum hm_status hm_trajectory_open(struct hm_trajectory **out, const struct hm_model *model,
                                  const char *label, const char *path, bool goes_on,
                                  struct hm_err *err)
{
    struct hm_parts parts;
    struct hm_trajectory *t = calloc(1, sizeof *t);
    *out = NULL;
    if (!t)
        return hm_fail(err, HM_ENOMEM, "no memory for a trajectory");
    model->ops->parts(model, &parts);
    t->model = model;
    t->n = hm_parts_numbers(&parts);
    t->row = malloc(t->n * sizeof *t->row);
    snprintf(t->label, sizeof t->label, "%s", label);
    enum hm_status status = HM_OK;
    if ((size_t)snprintf(t->array, sizeof t->array, "%s.npy", path) >= sizeof t->array ||
        (size_t)snprintf(t->index, sizeof t->index, "%s.jsonl", path) >= sizeof t->index)
        status = hm_fail(err, HM_EUSAGE, "%.40s...: the path is too long", path);
    else if (!t->row)
        status = hm_fail(err, HM_ENOMEM, "no memory for a point of %zu numbers", t->n);
    else
        status = open_files(t, goes_on, err);
    if (status) {
        hm_trajectory_close(t);
        return hm_context(err, status, "trajectory");
    }
    *out = t;
    return HM_OK;
}

/* ---- growing ---- */

enum hm_status hm_trajectory_add(struct hm_trajectory *t, const uint32_t *b,
                                 const struct hm_curve_point *point, bool final, struct hm_err *err)
{
    if (!t->status) {
        t->model->ops->weights(t->model, b, point->steps, t->row);
        t->status = add_row(t, &t->err);
        if (!t->status)
            t->status = add_line(t, point, final, &t->err);
        if (t->status)
            hm_context(&t->err, t->status, "trajectory, point %llu",
                       (unsigned long long)t->n_points);
        t->n_points += !t->status;
    }
    return t->status ? hm_fail(err, t->status, "%s", t->err.text) : HM_OK;
}

uint64_t hm_trajectory_points(const struct hm_trajectory *t)
{
    return t->n_points;
}

size_t hm_trajectory_bytes(const struct hm_model *model)
{
    struct hm_parts parts;
    model->ops->parts(model, &parts);
    return hm_parts_numbers(&parts) * sizeof(float);
}

void hm_trajectory_close(struct hm_trajectory *t)
{
    if (!t)
        return;
    free(t->row);
    free(t);
}
