#include "models/vectors_file.h"

#include "models/decimal.h"
#include "models/input.h"
#include "models/text_lines.h"
#include "models/tokens.h"
#include "models/whole_file.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HM_SMALL_BUFFERS /* for fuzzing, where a file is a kilobyte */
enum { PIECE = 256 };
#else
enum { PIECE = 1 << 20 };
#endif

enum { HEAD_BYTES_MAX = 64 }; /* of the first line */

/* ---- a set of vectors ---- */

void hm_vectors_init(struct hm_vectors *vectors, uint32_t dim)
{
    assert(dim > 0 && dim <= HM_VECTOR_MAX);
    *vectors = (struct hm_vectors){.dim = dim};
}

void hm_vectors_close(struct hm_vectors *vectors)
{
    hm_words_fini(&vectors->words);
    hm_grow_free(&vectors->room);
    *vectors = (struct hm_vectors){0};
}

enum hm_status hm_vectors_add(struct hm_vectors *vectors, const char *word, size_t length,
                              const float *value, struct hm_err *err)
{
    size_t bytes = vectors->dim * sizeof *value;
    uint32_t i = hm_words_add(&vectors->words, word, length);
    if (i == HM_WORD_NONE)
        return hm_words_full(&vectors->words, err);
    if (i < vectors->n) {
        vectors->n_twice++;
        return HM_OK;
    }
    if (hm_grow_reserve(&vectors->room, (i + (size_t)1) * bytes) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory for more than %u vectors", vectors->n);
    vectors->value = (float *)(void *)vectors->room.base;
    memcpy(vectors->value + (size_t)i * vectors->dim, value, bytes);
    vectors->n++;
    return HM_OK;
}

/* ---- reading ---- */

/* What is read, and how far. */
struct reader {
    struct hm_vectors *vectors;
    const char *path;
    const struct hm_progress *progress;
    uint64_t n_announced, n_read;
    size_t head_bytes;      /* of the first line, with its end */
    struct hm_input *input; /* binary */
    struct hm_lines lines;  /* text */
    uint8_t *buffer; /* [room] binary: bytes from `at` on are unread, `filled` of them there */
    size_t room, at, filled;
    int ended;
    float *value; /* [dim] */
};

static enum hm_status no_head(const struct reader *reader, struct hm_err *err)
{
    return hm_fail(err, HM_EINPUT,
                   "%s: line 1: two numbers are expected, how many vectors there are and how many "
                   "components each has; is this a file of word2vec's formats?",
                   reader->path);
}

/* "N DIM\n" at the beginning of text [n]. */
static enum hm_status read_head(struct reader *reader, const char *text, size_t n,
                                struct hm_err *err)
{
    char line[HEAD_BYTES_MAX + 1], rest;
    uint64_t count, dim;
    size_t length = n < HEAD_BYTES_MAX ? n : HEAD_BYTES_MAX;
    const char *end = memchr(text, '\n', length);
    if (!end || memchr(text, 0, (size_t)(end - text)) || *text < '0' || *text > '9')
        return no_head(reader, err);
    length = (size_t)(end - text);
    memcpy(line, text, length);
    line[length] = 0;
    if (strspn(line, "0123456789 \t\r") != length ||
        sscanf(line, "%12" SCNu64 " %12" SCNu64 " %c", &count, &dim, &rest) != 2)
        return no_head(reader, err);
    if (!count || count > HM_WORDS_MAX || !dim || dim > HM_VECTOR_MAX)
        return hm_fail(err, HM_EINPUT,
                       "%s: line 1: %" PRIu64 " vectors of %" PRIu64
                       " components; 1 to %d of 1 to %d are expected",
                       reader->path, count, dim, HM_WORDS_MAX, HM_VECTOR_MAX);
    reader->n_announced = count;
    reader->head_bytes = length + 1;
    hm_vectors_init(reader->vectors, (uint32_t)dim);
    reader->value = malloc(dim * sizeof *reader->value);
    return reader->value ? HM_OK : hm_fail(err, HM_ENOMEM, "%s: out of memory", reader->path);
}

/* Whether what follows a word looks like numbers in text: floats would have to be made so. */
static int looks_like_text(const struct reader *reader, const char *p, const char *end)
{
    const char *space = memchr(p, ' ', (size_t)(end - p));
    if (!space)
        return 1;
    size_t n = (size_t)(end - space), most = 4 * (size_t)reader->vectors->dim;
    for (size_t i = 0; i < n && i < most && space[i] != '\n'; i++)
        if (!strchr("0123456789+-.eEinfaINFA \t\r", space[i]) || !space[i])
            return 0;
    return 1;
}

/* The word as it is kept: UTF-8. Returns its length, 0 when it is too long or none. */
static size_t clean_word(const char *from, size_t n, char to[HM_WORD_BYTES_MAX + HM_UTF8_BYTES_MAX])
{
    const uint8_t *p = (const uint8_t *)from, *end = p + n;
    size_t length = 0;
    while (p < end && length <= HM_WORD_BYTES_MAX) {
        uint32_t c;
        unsigned k = hm_utf8_decode(p, end, &c);
        p += k ? k : 1;
        length += hm_utf8_encode(k ? c : HM_REPLACEMENT, (uint8_t *)to + length);
    }
    return length <= HM_WORD_BYTES_MAX ? length : 0;
}

static enum hm_status take(struct reader *reader, const char *word, size_t n, struct hm_err *err)
{
    char clean[HM_WORD_BYTES_MAX + HM_UTF8_BYTES_MAX];
    size_t length = clean_word(word, n, clean);
    int shown = n < 40 ? (int)n : 40;
    if (!length || memchr(clean, 0, length))
        return hm_fail(err, HM_EINPUT, "vector %llu has no word, or one that cannot be",
                       (unsigned long long)reader->n_read + 1);
    for (uint32_t k = 0; k < reader->vectors->dim; k++)
        if (!isfinite(reader->value[k]))
            return hm_fail(err, HM_EINPUT, "component %u of '%.*s' is not finite", k + 1, shown,
                           word);
    reader->n_read++;
    return hm_vectors_add(reader->vectors, clean, length, reader->value, err);
}

/* ---- text ---- */

static enum hm_status read_numbers(struct reader *reader, const char *p, struct hm_err *err)
{
    uint32_t k = 0;
    for (;;) {
        while (*p == ' ' || *p == '\t')
            p++;
        if (*p == '\n')
            break;
        const char *from = p;
        float value;
        p = hm_decimal_float(p, &value);
        if (!p || (*p != ' ' && *p != '\t' && *p != '\n'))
            return hm_fail(
                err, HM_EINPUT, "component %u '%.*s': a finite number is expected", k + 1,
                (int)strcspn(from, " \t\n") < 40 ? (int)strcspn(from, " \t\n") : 40, from);
        if (k == reader->vectors->dim)
            return hm_fail(err, HM_EINPUT, "more than the %u components of line 1",
                           reader->vectors->dim);
        reader->value[k++] = value;
    }
    return k == reader->vectors->dim
               ? HM_OK
               : hm_fail(err, HM_EINPUT, "%u components; line 1 says %u", k, reader->vectors->dim);
}

static enum hm_status read_line(void *context, const char *line, struct hm_err *err)
{
    struct reader *reader = context;
    size_t n = strcspn(line, " \t\n");
    if (reader->lines.number == 1 || *line == '\n')
        return HM_OK;
    if (reader->n_read == reader->n_announced)
        return hm_fail(err, HM_EINPUT, "more than the %llu vectors of line 1",
                       (unsigned long long)reader->n_announced);
    enum hm_status status = read_numbers(reader, line + n, err);
    return status ? status : take(reader, line, n, err);
}

static enum hm_status read_text(struct reader *reader, struct hm_err *err)
{
    enum hm_status status = hm_lines_open(&reader->lines, reader->path, reader->progress, err);
    if (!status)
        status = hm_lines_each(&reader->lines, read_line, reader, err);
    hm_lines_close(&reader->lines);
    return status;
}

/* ---- binary ---- */

/* Sees to it that n unread bytes are there; *short_of = 1 when the file is over before that. */
static enum hm_status need(struct reader *reader, size_t n, int *short_of, struct hm_err *err)
{
    *short_of = 0;
    while (reader->filled - reader->at < n) {
        size_t got, kept = reader->filled - reader->at;
        memmove(reader->buffer, reader->buffer + reader->at, kept);
        reader->at = 0;
        reader->filled = kept;
        enum hm_status status =
            hm_input_read(reader->input, reader->buffer + kept, reader->room - kept, &got, err);
        if (status)
            return status;
        reader->filled += got;
        *short_of = got == 0;
        if (!got)
            return HM_OK;
        if (hm_report(reader->progress, "read vectors", (double)hm_input_position(reader->input),
                      (double)hm_input_size(reader->input), "bytes"))
            return hm_fail(err, HM_ESTOPPED, "%s: stopped while reading", reader->path);
    }
    return HM_OK;
}

static enum hm_status is_short(const struct reader *reader, struct hm_err *err)
{
    return hm_fail(err, HM_EINPUT, "%s: ends within vector %llu of %llu", reader->path,
                   (unsigned long long)reader->n_read + 1, (unsigned long long)reader->n_announced);
}

/* The bytes of the next word; line ends before it belong to the vector before. */
static enum hm_status find_word(struct reader *reader, size_t *n, struct hm_err *err)
{
    int over = 0;
    enum hm_status status = HM_OK;
    do
        status = need(reader, 1, &over, err);
    while (!status && !over && reader->buffer[reader->at] == '\n' && ++reader->at);
    for (*n = 0; !status && !over; ++*n) {
        status = need(reader, *n + 1, &over, err);
        if (status || over || reader->buffer[reader->at + *n] == ' ')
            break;
        if (*n > 4 * HM_WORD_BYTES_MAX)
            return hm_fail(err, HM_EINPUT, "%s: vector %llu: a word of more than %d bytes",
                           reader->path, (unsigned long long)reader->n_read + 1, HM_WORD_BYTES_MAX);
    }
    return status || !over ? status : is_short(reader, err);
}

static void get_floats(const uint8_t *from, float *to, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++, from += 4) {
        uint32_t bits = (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
                        (uint32_t)from[3] << 24;
        memcpy(to + k, &bits, 4);
    }
}

static enum hm_status read_vector(struct reader *reader, struct hm_err *err)
{
    size_t n, bytes = 4 * (size_t)reader->vectors->dim;
    int over = 0;
    enum hm_status status = find_word(reader, &n, err);
    if (!status)
        status = need(reader, n + 1 + bytes, &over, err);
    if (status || over)
        return status ? status : is_short(reader, err);
    const uint8_t *word = reader->buffer + reader->at;
    get_floats(word + n + 1, reader->value, reader->vectors->dim);
    reader->at += n + 1 + bytes;
    status = take(reader, (const char *)word, n, err);
    return status ? hm_context(err, status, "%s", reader->path) : HM_OK;
}

static enum hm_status read_binary(struct reader *reader, struct hm_err *err)
{
    int over = 0;
    reader->at = reader->head_bytes;
    enum hm_status status = HM_OK;
    while (!status && reader->n_read < reader->n_announced)
        status = read_vector(reader, err);
    do
        status = status ? status : need(reader, 1, &over, err);
    while (!status && !over && reader->buffer[reader->at] == '\n' && ++reader->at);
    if (!status && !over)
        status = hm_fail(err, HM_EINPUT, "%s: goes on after the %llu vectors that it announces",
                         reader->path, (unsigned long long)reader->n_announced);
    return status;
}

/* ---- either ---- */

/* The beginning of the file, with room for whatever is needed at once. */
static enum hm_status begin(struct reader *reader, struct hm_err *err)
{
    int over = 0;
    reader->room = PIECE + 8 * HM_WORD_BYTES_MAX + 4 * HM_VECTOR_MAX;
    reader->buffer = malloc(reader->room);
    if (!reader->buffer)
        return hm_fail(err, HM_ENOMEM, "%s: out of memory", reader->path);
    enum hm_status status = hm_input_open(&reader->input, reader->path, err);
    if (!status)
        status = need(reader, HEAD_BYTES_MAX + HM_WORD_BYTES_MAX + 64, &over, err);
    return status ? status : read_head(reader, (char *)reader->buffer, reader->filled, err);
}

enum hm_status hm_vectors_read(struct hm_vectors *vectors, const char *path,
                               const struct hm_progress *progress, struct hm_err *err)
{
    struct reader reader = {.vectors = vectors, .path = path, .progress = progress};
    *vectors = (struct hm_vectors){0};
    enum hm_status status = begin(&reader, err);
    if (!status) {
        const char *text = (const char *)reader.buffer;
        status = looks_like_text(&reader, text + reader.head_bytes, text + reader.filled)
                     ? read_text(&reader, err)
                     : read_binary(&reader, err);
    }
    if (!status && reader.n_read < reader.n_announced)
        status =
            hm_fail(err, HM_EINPUT, "%s: only %llu of the %llu vectors of line 1 are there", path,
                    (unsigned long long)reader.n_read, (unsigned long long)reader.n_announced);
    hm_input_close(reader.input);
    free(reader.buffer);
    free(reader.value);
    return status;
}

/* ---- writing ---- */

static int is_text(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (!dot)
        return -1;
    return strcmp(dot, ".txt") == 0 || strcmp(dot, ".vec") == 0 ? 1
           : strcmp(dot, ".bin") == 0                           ? 0
                                                                : -1;
}

int hm_vectors_can_write(const char *path)
{
    return is_text(path) >= 0;
}

struct writer {
    const struct hm_vectors_source *source;
    int text;
};

static size_t put_text(char *to, const float *value, uint32_t dim)
{
    char *p = to;
    for (uint32_t k = 0; k < dim; k++) {
        *p++ = ' ';
        p = hm_decimal_put(p, value[k]);
    }
    *p++ = '\n';
    return (size_t)(p - to);
}

static size_t put_floats(char *to, const float *value, uint32_t dim)
{
    uint8_t *p = (uint8_t *)to;
    *p++ = ' ';
    for (uint32_t k = 0; k < dim; k++) {
        uint32_t bits;
        memcpy(&bits, value + k, 4);
        for (int b = 0; b < 4; b++)
            *p++ = (uint8_t)(bits >> 8 * b);
    }
    *p++ = '\n';
    return (size_t)((char *)p - to);
}

static enum hm_status write_vectors(void *context, int fd, struct hm_err *err)
{
    const struct writer *writer = context;
    const struct hm_vectors_source *source = writer->source;
    size_t most = HM_WORD_BYTES_MAX + 8 + 20 * (size_t)source->dim;
    char *text = malloc(PIECE + HEAD_BYTES_MAX + most);
    float *value = malloc(source->dim * sizeof *value);
    enum hm_status status = text && value ? HM_OK : hm_fail(err, HM_ENOMEM, "out of memory");
    size_t n = status ? 0 : (size_t)sprintf(text, "%u %u\n", source->n, source->dim);
    for (uint32_t i = 0; i < source->n && !status; i++) {
        source->vector(source->context, i, value);
        n = (size_t)(stpcpy(text + n, source->word(source->context, i)) - text);
        n += writer->text ? put_text(text + n, value, source->dim)
                          : put_floats(text + n, value, source->dim);
        if (n < PIECE)
            continue;
        status = hm_file_put(fd, text, n, err);
        n = 0;
    }
    if (!status)
        status = hm_file_put(fd, text, n, err);
    free(text);
    free(value);
    return status;
}

enum hm_status hm_vectors_write(const struct hm_vectors_source *source, const char *path,
                                struct hm_err *err)
{
    struct writer writer = {source, is_text(path)};
    if (writer.text < 0)
        return hm_fail(err, HM_EUSAGE,
                       "%s: unknown format; word vectors are written as .bin (word2vec's binary "
                       "format) or .txt (its text format)",
                       path);
    return hm_whole_file(path, write_vectors, &writer, err);
}
