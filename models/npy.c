#include "models/npy.h"

#include "models/whole_file.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MAGIC = 6, /* bytes; the version's two and the header's length follow */
    HEADER_MAX = 65536,
    NUMBER = 4,
    PIECE = 512, /* numbers */
};

static const char FIX[] = "numpy.save(FILE, array.astype('<f4')) writes such a file";

/* ---- writing ---- */

void hm_npy_header(const char *descr, const char *shape, char header[HM_NPY_HEADER])
{
    static const char magic[10] = "\x93NUMPY\x01\x00\x76\x00"; /* 0x76 bytes follow */
    char text[HM_NPY_HEADER - sizeof magic];
    int used = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                        descr, shape);
    assert(used > 0 && (size_t)used < sizeof text);
    memset(text + used, ' ', sizeof text - (size_t)used);
    text[sizeof text - 1] = '\n';
    memcpy(header, magic, sizeof magic);
    memcpy(header + sizeof magic, text, sizeof text);
}

struct array {
    const float *w;
    uint64_t rows, columns;
};

static enum hm_status write_array(void *context, int fd, struct hm_err *err)
{
    const struct array *array = context;
    char header[HM_NPY_HEADER], shape[48];
    if (array->rows == 1)
        snprintf(shape, sizeof shape, "(%llu,)", (unsigned long long)array->columns);
    else
        snprintf(shape, sizeof shape, "(%llu, %llu)", (unsigned long long)array->rows,
                 (unsigned long long)array->columns);
    hm_npy_header("<f4", shape, header);
    enum hm_status status = hm_file_put(fd, header, sizeof header, err);
    return status ? status : hm_file_put(fd, array->w, array->rows * array->columns * NUMBER, err);
}

enum hm_status hm_npy_write(const char *path, const float *w, uint64_t rows, uint64_t columns,
                            struct hm_err *err)
{
    struct array array = {w, rows, columns};
    return hm_whole_file(path, write_array, &array, err);
}

/* ---- reading ---- */

/* A header's text: a dictionary as Python writes it. */
struct text {
    const char *at, *end;
};

static void skip_blanks(struct text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n'))
        t->at++;
}

/* Whether the next thing is `what`, which is then gone. */
static int take(struct text *t, const char *what)
{
    size_t n = strlen(what);
    skip_blanks(t);
    if ((size_t)(t->end - t->at) < n || memcmp(t->at, what, n) != 0)
        return 0;
    t->at += n;
    return 1;
}

static int take_number(struct text *t, uint64_t *out)
{
    const char *from;
    skip_blanks(t);
    *out = 0;
    for (from = t->at; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
        if (*out > UINT32_MAX)
            return 0;
        *out = *out * 10 + (uint64_t)(*t->at - '0');
    }
    return t->at > from;
}

/* (5,) or (3, 5). */
static int take_shape(struct text *t, struct hm_npy *npy)
{
    npy->n_rows = 1;
    if (!take(t, "(") || !take_number(t, &npy->n_columns))
        return 0;
    if (!take(t, ","))
        return 0; /* no tuple: Python writes (5,) */
    if (take(t, ")"))
        return 1;
    npy->n_rows = npy->n_columns;
    if (!take_number(t, &npy->n_columns))
        return 0;
    take(t, ",");
    return take(t, ")");
}

/* Each key once, in any order. */
static const char *parse_text(struct text t, struct hm_npy *npy)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };
    int seen = 0, key = 0;
    if (!take(&t, "{"))
        return "its header is no dictionary";
    for (int more = !take(&t, "}"); more;) {
        if (take(&t, "'descr':")) {
            key = DESCR;
            npy->width = take(&t, "'<f4'") ? NUMBER : take(&t, "'<f8'") ? 2 * NUMBER : 0;
            if (!npy->width)
                return "its numbers are not float32 ('<f4')";
        } else if (take(&t, "'fortran_order':")) {
            key = ORDER;
            if (!take(&t, "False"))
                return "its numbers lie column by column";
        } else if (take(&t, "'shape':")) {
            key = SHAPE;
            if (!take_shape(&t, npy))
                return "its shape is not (columns,) or (rows, columns)";
        } else {
            return "its header has a key that is none of descr, fortran_order and shape";
        }
        if (seen & key)
            return "its header says something twice";
        seen |= key;
        int comma = take(&t, ",");
        more = !take(&t, "}");
        if (more && !comma)
            return "its header is no dictionary";
    }
    skip_blanks(&t);
    if (t.at != t.end)
        return "its header goes on behind the dictionary";
    return seen == ALL ? NULL : "its header lacks descr, fortran_order or shape";
}

enum hm_status hm_npy_parse(const uint8_t *bytes, size_t n, struct hm_npy *npy, struct hm_err *err)
{
    const char *wrong = NULL;
    *npy = (struct hm_npy){0};
    if (n < 12 || memcmp(bytes, "\x93NUMPY", MAGIC) != 0)
        wrong = "it is no array of numpy";
    else if (bytes[MAGIC] != 1 && bytes[MAGIC] != 2)
        wrong = "its version is neither 1.0 nor 2.0";
    if (!wrong) {
        size_t head = bytes[MAGIC] == 1 ? 10 : 12, length = bytes[8] | (size_t)bytes[9] << 8;
        length |= bytes[MAGIC] == 2 ? (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24 : 0;
        npy->begins = head + length;
        if (npy->begins > n)
            wrong = "it ends within its header";
        else
            wrong = parse_text(
                (struct text){(const char *)bytes + head, (const char *)bytes + head + length},
                npy);
    }
    return wrong ? hm_fail(err, HM_EINPUT, "%s; %s", wrong, FIX) : HM_OK;
}

static enum hm_status check_length(const struct hm_npy_file *f, struct hm_err *err)
{
    struct stat st;
    uint64_t n = f->npy.n_rows * f->npy.n_columns; /* each below 2^36 */
    if (f->npy.n_columns && n / f->npy.n_columns != f->npy.n_rows)
        return hm_fail(err, HM_EINPUT, "%s: its shape is too large", f->path);
    if (fstat(fileno(f->file), &st) || (uint64_t)st.st_size < f->npy.begins ||
        ((uint64_t)st.st_size - f->npy.begins) / f->npy.width < n)
        return hm_fail(err, HM_EINPUT, "%s: it ends before its %llu x %llu numbers do", f->path,
                       (unsigned long long)f->npy.n_rows, (unsigned long long)f->npy.n_columns);
    return HM_OK;
}

enum hm_status hm_npy_open(struct hm_npy_file *f, const char *path, struct hm_err *err)
{
    static _Thread_local uint8_t head[HEADER_MAX];
    *f = (struct hm_npy_file){.path = path, .file = fopen(path, "rb")};
    if (!f->file)
        return hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
    size_t n = fread(head, 1, sizeof head, f->file);
    enum hm_status status = hm_npy_parse(head, n, &f->npy, err);
    status = status ? hm_context(err, status, "%s", path) : check_length(f, err);
    if (!status && fseek(f->file, (long)f->npy.begins, SEEK_SET))
        status = hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
    if (status)
        hm_npy_close(f);
    return status;
}

/* The file's order of bytes, whatever this machine's is. */
static uint64_t bits_of(const uint8_t *from, unsigned width)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < width; i++)
        bits |= (uint64_t)from[i] << 8 * i;
    return bits;
}

static float number_of(const uint8_t *from, unsigned width)
{
    uint64_t wide = bits_of(from, width);
    uint32_t narrow = (uint32_t)wide;
    float x;
    double y;
    memcpy(&x, &narrow, sizeof x);
    memcpy(&y, &wide, sizeof y);
    return width == NUMBER ? x : (float)y;
}

/* n numbers, which are those from `at` on of all that the file has. */
static enum hm_status take_numbers(const struct hm_npy *npy, const uint8_t *from, uint64_t at,
                                   uint64_t n, float *out, struct hm_err *err)
{
    for (uint64_t k = 0; k < n; k++) {
        out[k] = number_of(from + k * npy->width, npy->width);
        if (!isfinite(out[k]))
            return hm_fail(err, HM_EINPUT,
                           "row %llu, column %llu is %g; a finite number is expected",
                           (unsigned long long)((at + k) / npy->n_columns),
                           (unsigned long long)((at + k) % npy->n_columns), (double)out[k]);
    }
    return HM_OK;
}

enum hm_status hm_npy_numbers(const uint8_t *bytes, size_t n, const struct hm_npy *npy, float *out,
                              struct hm_err *err)
{
    const uint64_t all = npy->n_rows * npy->n_columns; /* each below 2^36 */
    if (npy->n_columns &&
        (all / npy->n_columns != npy->n_rows || (n - npy->begins) / npy->width < all))
        return hm_fail(err, HM_EINPUT, "it ends before its %llu x %llu numbers do",
                       (unsigned long long)npy->n_rows, (unsigned long long)npy->n_columns);
    return take_numbers(npy, bytes + npy->begins, 0, all, out, err);
}

enum hm_status hm_npy_next(struct hm_npy_file *f, float *out, struct hm_err *err)
{
    const unsigned width = f->npy.width;
    assert(f->row < f->npy.n_rows);
    for (uint64_t i = 0, n; i < f->npy.n_columns; i += n) {
        uint8_t piece[PIECE * 2 * NUMBER];
        n = f->npy.n_columns - i < PIECE ? f->npy.n_columns - i : PIECE;
        if (fread(piece, width, n, f->file) != n)
            return hm_fail(err, HM_EIO, "%s: it has become shorter while it was read", f->path);
        enum hm_status status =
            take_numbers(&f->npy, piece, f->row * f->npy.n_columns + i, n, out + i, err);
        if (status)
            return hm_context(err, status, "%s", f->path);
    }
    f->row++;
    return HM_OK;
}

void hm_npy_close(struct hm_npy_file *f)
{
    if (f->file)
        fclose(f->file);
    f->file = NULL;
}
