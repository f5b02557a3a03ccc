#include "models/safetensors.h"

#include "models/whole_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 16 /* numbers */ };

/* ---- writing ---- */

struct job {
    const struct hm_safetensor *tensor;
    unsigned n;
    const float *w;
};

/* {"conv1.weight":{"dtype":"F32","shape":[6,1,5,5],"data_offsets":[0,600]},...}, with blanks up to
 * a multiple of 8. Returns its length, as snprintf does for a room that is too small. */
static size_t write_header(const struct job *job, char *out, size_t room)
{
    size_t n = 0;
#define PUT(...)                                                                                   \
    n += (size_t)snprintf(out + (n < room ? n : room), n < room ? room - n : 0, __VA_ARGS__)
    PUT("{\"__metadata__\":{\"format\":\"pt\"}");
    for (unsigned t = 0; t < job->n; t++) {
        const struct hm_safetensor *tensor = &job->tensor[t];
        PUT(",\"%s\":{\"dtype\":\"F32\",\"shape\":[", tensor->name);
        for (unsigned d = 0; d < tensor->n_dims; d++)
            PUT(d ? ",%u" : "%u", tensor->dim[d]);
        PUT("],\"data_offsets\":[%zu,%zu]}", 4 * tensor->at, 4 * (tensor->at + tensor->n));
    }
    PUT("}%*s", (int)((8 - (n + 1) % 8) % 8), "");
#undef PUT
    return n;
}

static void put_float(uint8_t *to, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(bits >> (8 * i));
}

static enum hm_status put_numbers(const struct job *job, int fd, uint8_t *piece, struct hm_err *err)
{
    const struct hm_safetensor *last = job->n ? &job->tensor[job->n - 1] : NULL;
    size_t n = last ? last->at + last->n : 0;
    enum hm_status status = HM_OK;
    for (size_t from = 0; from < n && !status; from += PIECE) {
        size_t take = n - from < PIECE ? n - from : PIECE;
        for (size_t i = 0; i < take; i++)
            put_float(piece + 4 * i, job->w[from + i]);
        status = hm_file_put(fd, piece, 4 * take, err);
    }
    return status;
}

static enum hm_status write_all(void *context, int fd, struct hm_err *err)
{
    const struct job *job = context;
    size_t n = write_header(job, NULL, 0);
    char *header = malloc(n + 1);
    uint8_t length[8], *piece = malloc(4 * PIECE);
    enum hm_status status = header && piece ? HM_OK : hm_fail(err, HM_ENOMEM, "out of memory");
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)n >> (8 * i));
    if (!status)
        status = hm_file_put(fd, length, sizeof length, err);
    if (!status) {
        write_header(job, header, n + 1);
        status = hm_file_put(fd, header, n, err);
    }
    if (!status)
        status = put_numbers(job, fd, piece, err);
    free(header);
    free(piece);
    return status;
}

enum hm_status hm_safetensors_write(const char *path, const struct hm_safetensor *tensor,
                                    unsigned n, const float *w, struct hm_err *err)
{
    struct job job = {tensor, n, w};
    return hm_whole_file(path, write_all, &job, err);
}

/* ---- reading ---- */

/* The header's text: JSON, of which only what the format allows is understood. */
struct text {
    const char *begin, *at, *end;
};

static void skip_blanks(struct text *t)
{
    while (t->at < t->end && strchr(" \t\r\n", *t->at) && *t->at)
        t->at++;
}

/* Whether the next thing is c, which is then gone. */
static int take_char(struct text *t, char c)
{
    skip_blanks(t);
    if (t->at == t->end || *t->at != c)
        return 0;
    t->at++;
    return 1;
}

/* A string, cut where it is longer than the room; escapes, which metadata may have and names of
 * parts have not, stay as they are. */
static int take_string(struct text *t, char out[HM_SAFETENSORS_NAME_MAX + 1])
{
    size_t n = 0;
    if (!take_char(t, '"'))
        return 0;
    for (; t->at < t->end && *t->at != '"'; t->at++) {
        if ((unsigned char)*t->at < ' ')
            return 0;
        if (n < HM_SAFETENSORS_NAME_MAX)
            out[n++] = *t->at;
        if (*t->at == '\\' && ++t->at == t->end)
            return 0;
    }
    out[n] = 0;
    return take_char(t, '"');
}

static int take_number(struct text *t, uint64_t *out)
{
    skip_blanks(t);
    const char *from = t->at;
    for (*out = 0; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
        if (*out > UINT64_MAX / 16)
            return 0;
        *out = *out * 10 + (uint64_t)(*t->at - '0');
    }
    return t->at > from;
}

/* [1, 2]; *n of at most `room`. */
static int take_list(struct text *t, uint64_t *out, unsigned room, unsigned *n)
{
    if (!take_char(t, '['))
        return 0;
    *n = 0;
    if (take_char(t, ']'))
        return 1;
    do
        if (*n == room || !take_number(t, &out[(*n)++]))
            return 0;
    while (take_char(t, ','));
    return take_char(t, ']');
}

/* {"format": "pt"}: texts alone. */
static int skip_metadata(struct text *t)
{
    char ignored[HM_SAFETENSORS_NAME_MAX + 1];
    if (!take_char(t, '{'))
        return 0;
    if (take_char(t, '}'))
        return 1;
    do
        if (!take_string(t, ignored) || !take_char(t, ':') || !take_string(t, ignored))
            return 0;
    while (take_char(t, ','));
    return take_char(t, '}');
}

/* A tensor as the header has it. */
struct entry {
    char name[HM_SAFETENSORS_NAME_MAX + 1], dtype[HM_SAFETENSORS_NAME_MAX + 1];
    unsigned n_dims;
    uint64_t dim[HM_SAFETENSORS_DIMS_MAX], offset[2];
};

/* Each key once, in any order. */
static int take_entry(struct text *t, struct entry *entry)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    char key[HM_SAFETENSORS_NAME_MAX + 1];
    unsigned n = 0, seen = 0;
    if (!take_char(t, '{'))
        return 0;
    do {
        unsigned what = 0;
        int ok = take_string(t, key) && take_char(t, ':');
        if (ok && strcmp(key, "dtype") == 0)
            what = take_string(t, entry->dtype) ? DTYPE : 0;
        else if (ok && strcmp(key, "shape") == 0)
            what = take_list(t, entry->dim, HM_SAFETENSORS_DIMS_MAX, &entry->n_dims) ? SHAPE : 0;
        else if (ok && strcmp(key, "data_offsets") == 0)
            what = take_list(t, entry->offset, 2, &n) && n == 2 ? OFFSETS : 0;
        if (!what || seen & what)
            return 0;
        seen |= what;
    } while (take_char(t, ','));
    return seen == ALL && take_char(t, '}');
}

static float get_float(const uint8_t *from)
{
    uint32_t bits = (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
                    (uint32_t)from[3] << 24;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

enum { SHAPE_BYTES = 256 };

/* "6 x 1 x 5 x 5" */
static void print_shape(const uint64_t *dim, unsigned n_dims, char out[SHAPE_BYTES])
{
    size_t n = (size_t)snprintf(out, SHAPE_BYTES, n_dims ? "" : "one number");
    for (unsigned d = 0; d < n_dims && n < SHAPE_BYTES; d++)
        n += (size_t)snprintf(out + n, SHAPE_BYTES - n, d ? " x %llu" : "%llu",
                              (unsigned long long)dim[d]);
}

static enum hm_status check_shape(const struct entry *entry, const struct hm_part *part,
                                  struct hm_err *err)
{
    char found[SHAPE_BYTES], expected[SHAPE_BYTES];
    uint64_t dim[HM_PART_DIMS_MAX];
    int same = entry->n_dims == part->n_dims;
    for (unsigned d = 0; d < part->n_dims; d++) {
        dim[d] = part->dim[d];
        same = same && entry->dim[d] == dim[d];
    }
    if (same)
        return HM_OK;
    print_shape(entry->dim, entry->n_dims, found);
    print_shape(dim, part->n_dims, expected);
    return hm_fail(err, HM_EINPUT,
                   "tensor '%s' has the shape %s, another shape than %s, the model's", part->name,
                   found, expected);
}

static enum hm_status take_tensor(const struct entry *entry, const struct hm_part *part,
                                  const uint8_t *data, size_t n_data, float *w, struct hm_err *err)
{
    enum hm_status status = check_shape(entry, part, err);
    if (status)
        return status;
    if (strcmp(entry->dtype, "F32") != 0)
        return hm_fail(err, HM_EINPUT,
                       "tensor '%s' has numbers of type %.20s; F32 is expected: save "
                       "model.float()",
                       part->name, entry->dtype);
    if (entry->offset[0] > entry->offset[1] || entry->offset[1] > n_data ||
        entry->offset[1] - entry->offset[0] != 4 * (uint64_t)part->n)
        return hm_fail(
            err, HM_EINPUT,
            "tensor '%s' lies at %llu to %llu of %zu bytes; %llu bytes are expected: is the "
            "file cut off?",
            part->name, (unsigned long long)entry->offset[0], (unsigned long long)entry->offset[1],
            n_data, 4 * (unsigned long long)part->n);
    for (size_t i = 0; i < part->n; i++) {
        w[part->at + i] = get_float(data + entry->offset[0] + 4 * i);
        if (!isfinite(w[part->at + i]))
            return hm_fail(err, HM_EINPUT,
                           "tensor '%s': number %zu is %g; a finite one is expected", part->name, i,
                           (double)w[part->at + i]);
    }
    return HM_OK;
}

/* What a file is read into, and which parts it has had: where in the file they lie. */
struct taker {
    const struct hm_parts *parts;
    const uint8_t *data;
    size_t n_data;
    float *w;
    struct {
        uint64_t begin, end;
        int found;
    } place[HM_PARTS_MAX];
};

/* No two tensors share bytes, and each is there once. */
static enum hm_status take_place(struct taker *taker, unsigned i, const struct entry *entry,
                                 struct hm_err *err)
{
    const struct hm_part *part = taker->parts->part;
    if (taker->place[i].found)
        return hm_fail(err, HM_EINPUT, "tensor '%s' is there twice", part[i].name);
    for (unsigned k = 0; k < taker->parts->n; k++)
        if (taker->place[k].found && entry->offset[0] < taker->place[k].end &&
            taker->place[k].begin < entry->offset[1])
            return hm_fail(err, HM_EINPUT,
                           "tensors '%s' and '%s' lie in the same bytes; each has its own in a "
                           "sound file",
                           part[k].name, part[i].name);
    taker->place[i].begin = entry->offset[0];
    taker->place[i].end = entry->offset[1];
    taker->place[i].found = 1;
    return HM_OK;
}

static enum hm_status no_header(const struct text *t, struct hm_err *err)
{
    return hm_fail(err, HM_EINPUT,
                   "its header is not that of safetensors from character %zu on; {\"NAME\": "
                   "{\"dtype\": ..., \"shape\": ..., \"data_offsets\": ...}, ...} is expected",
                   (size_t)(t->at - t->begin) + 1);
}

/* One member of the header. */
static enum hm_status take_member(struct text *t, struct taker *taker, struct hm_err *err)
{
    const struct hm_parts *parts = taker->parts;
    struct entry entry = {0};
    if (!take_string(t, entry.name) || !take_char(t, ':'))
        return no_header(t, err);
    int metadata = strcmp(entry.name, "__metadata__") == 0;
    if (!(metadata ? skip_metadata(t) : take_entry(t, &entry)))
        return hm_fail(err, HM_EINPUT, "the header says of '%.40s' what cannot be understood",
                       entry.name);
    for (unsigned i = 0; i < parts->n && !metadata; i++)
        if (strcmp(parts->part[i].name, entry.name) == 0) {
            enum hm_status status =
                take_tensor(&entry, &parts->part[i], taker->data, taker->n_data, taker->w, err);
            return status ? status : take_place(taker, i, &entry, err);
        }
    return HM_OK;
}

enum hm_status hm_safetensors_take(const uint8_t *bytes, size_t n, const struct hm_parts *parts,
                                   float *w, struct hm_err *err)
{
    uint64_t length = 0;
    for (int i = 7; i >= 0 && n >= 8; i--)
        length = length << 8 | bytes[i];
    if (n < 8 || length > n - 8)
        return hm_fail(err, HM_EINPUT,
                       "it ends within its header: %zu bytes, of which the header is said to take "
                       "%llu; is the file cut off?",
                       n, (unsigned long long)length);
    const char *begin = (const char *)bytes + 8;
    struct text t = {begin, begin, begin + length};
    struct taker taker = {
        .parts = parts, .data = bytes + 8 + length, .n_data = n - 8 - length, .w = w};
    enum hm_status status = HM_OK;
    if (!take_char(&t, '{'))
        return no_header(&t, err);
    if (!take_char(&t, '}')) {
        do
            status = take_member(&t, &taker, err);
        while (!status && take_char(&t, ','));
        if (!status && !take_char(&t, '}'))
            status = no_header(&t, err);
    }
    skip_blanks(&t);
    if (!status && t.at != t.end)
        status = no_header(&t, err);
    for (unsigned i = 0; i < parts->n && !status; i++)
        if (!taker.place[i].found)
            status = hm_fail(err, HM_EINPUT,
                             "tensor '%s' is missing; the names are those of hogmesh export",
                             parts->part[i].name);
    return status;
}
