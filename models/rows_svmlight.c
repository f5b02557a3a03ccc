#include "models/decimal.h"
#include "models/input.h"
#include "models/rows_parse.h"
#include "models/text_lines.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct hm_rows_builder *builder;
    struct hm_lines lines;
    struct hm_row_scratch row;
    int lists;     /* a topic is given: labels are lists, and +1 means that it is in the list */
    double wanted; /* that topic */
    uint32_t n_features_max;
};

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int ends_field(char c)
{
    return is_blank(c) || c == '\n' || c == '#';
}

/* Says what is wrong with the label field at p. */
static enum hm_status explain(const struct reader *reader, const char *p, struct hm_err *err)
{
    int n = 0, colon = 0, comma = 0;
    for (; !ends_field(p[n]) && n < 40; n++) {
        colon |= p[n] == ':';
        comma |= p[n] == ',';
    }
    if (colon || n == 0)
        return hm_fail(err, HM_EINPUT, "the label is missing: a line is LABEL FEATURE:VALUE ...");
    for (int i = 0; i < n; i++)
        if (p[i] < ' ' || p[i] > '~')
            return hm_fail(err, HM_EINPUT, "the label is not text; is this an svmlight file?");
    if (comma && !reader->lists)
        return hm_fail(err, HM_EINPUT,
                       "label '%.*s' is a list: choose the label that counts as +1 with --topic", n,
                       p);
    return hm_fail(err, HM_EINPUT, "label '%.*s': a finite number%s is expected", n, p,
                   reader->lists ? ", or several with commas between them," : "");
}

/* Reads "3,17,33" or nothing at all; *label says whether the wanted one is among them. */
static enum hm_status read_list(const struct reader *reader, const char **p, int8_t *label,
                                struct hm_err *err)
{
    const char *q = *p;
    double value;
    *label = -1;
    while (!ends_field(*q)) {
        q = hm_decimal_double(q, &value);
        if (!q || !isfinite(value) || (*q != ',' && !ends_field(*q)))
            return explain(reader, *p, err);
        hm_builder_see(reader->builder, value);
        if (value == reader->wanted)
            *label = 1;
        q += *q == ',';
    }
    *p = q;
    return HM_OK;
}

static enum hm_status read_number(const struct reader *reader, const char **p, int8_t *label,
                                  struct hm_err *err)
{
    double value;
    const char *q = hm_decimal_double(*p, &value);
    if (!q || !isfinite(value) || !ends_field(*q))
        return explain(reader, *p, err);
    hm_builder_see(reader->builder, value);
    *label = value > 0 ? 1 : -1;
    *p = q;
    return HM_OK;
}

static enum hm_status read_row(void *context, const char *line, struct hm_err *err)
{
    struct reader *reader = context;
    const char *p = line;
    int8_t label = -1;
    enum hm_status status = HM_OK;
    if (reader->lines.number == 1 && memcmp(p, "\xEF\xBB\xBF", 3) == 0)
        p += 3; /* a byte order mark, as some editors leave it */
    while (is_blank(*p))
        p++;
    if (*p == '\n' || *p == '#')
        return HM_OK;
    if (!reader->lists)
        status = read_number(reader, &p, &label, err);
    else if (!is_blank(*line)) /* a line that starts with a blank has an empty list */
        status = read_list(reader, &p, &label, err);
    if (status == HM_OK)
        status = hm_row_parse(&reader->row, p, reader->n_features_max, err);
    return status == HM_OK ? hm_builder_add(reader->builder, &reader->row, label, err) : status;
}

static enum hm_status want(struct reader *reader, const char *topic, struct hm_err *err)
{
    char text[32];
    size_t n = strlen(topic);
    reader->lists = 1;
    if (n + HM_DECIMAL_SLACK < sizeof text) {
        memset(text, '\n', sizeof text);
        memcpy(text, topic, n);
        const char *end = hm_decimal_double(text, &reader->wanted);
        if (end == text + n)
            return HM_OK;
    }
    return hm_fail(err, HM_EUSAGE,
                   "--topic '%s': the labels of svmlight files are numbers (names need --topics, a "
                   "file that explains "
                   "them)",
                   topic);
}

enum hm_status hm_svmlight_read(struct hm_rows_builder *builder, const char *path,
                                const struct hm_rows_source *source,
                                const struct hm_progress *progress, struct hm_err *err)
{
    struct reader reader = {.builder = builder};
    reader.n_features_max = source->n_features ? source->n_features : HM_FEATURES_MAX;
    enum hm_status status = source->topic ? want(&reader, source->topic, err) : HM_OK;
    if (status == HM_OK)
        status = hm_row_scratch_init(&reader.row, err);
    if (status == HM_OK)
        status = hm_input_hint(hm_lines_open(&reader.lines, path, progress, err), path, err);
    if (status == HM_OK)
        status = hm_lines_each(&reader.lines, read_row, &reader, err);
    builder->text_bytes += (double)reader.lines.bytes;
    hm_lines_close(&reader.lines);
    hm_row_scratch_fini(&reader.row);
    return status;
}
