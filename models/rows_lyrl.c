#include "models/input.h"
#include "models/rows_parse.h"
#include "models/text_lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXAMPLES = 8, TOPIC_BYTES_MAX = 64 };

/* What reading a qrels file needs beside its result. */
struct topics_reader {
    struct hm_topics *topics;
    struct hm_lines lines;
    const char *topic;
    size_t topic_length;
    int found;
    char example[EXAMPLES]
                [TOPIC_BYTES_MAX + 1]; /* topics met, for the message about an unknown one */
    int n_examples;
};

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const char *skip_blanks(const char *p)
{
    while (is_blank(*p))
        p++;
    return p;
}

/* A document number; returns what follows or NULL. */
static const char *read_document(const char *p, uint32_t *document)
{
    uint64_t n = 0;
    const char *q = p;
    for (; *q >= '0' && *q <= '9'; q++)
        n = n < HM_DOCUMENT_MAX ? n * 10 + (uint64_t)(*q - '0') : n;
    if (q == p || n >= HM_DOCUMENT_MAX || (!is_blank(*q) && *q != '\n'))
        return NULL;
    *document = (uint32_t)n;
    return q;
}

static void keep_example(struct topics_reader *reader, const char *name, size_t length)
{
    for (int i = 0; i < reader->n_examples; i++)
        if (strncmp(reader->example[i], name, length) == 0 && !reader->example[i][length])
            return;
    memcpy(reader->example[reader->n_examples], name, length);
    reader->example[reader->n_examples++][length] = 0;
}

static enum hm_status mark(struct hm_topics *topics, uint32_t document, int wanted,
                           struct hm_err *err)
{
    if (hm_grow_reserve(&topics->document, (size_t)document + 1) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory for document %u", document);
    if (document >= topics->document.used)
        topics->document.used = (size_t)document + 1;
    topics->document.base[document] |= (uint8_t)(HM_TOPICS_SOME | (wanted ? HM_TOPICS_WANTED : 0));
    return HM_OK;
}

/* "CCAT 2286 1": the last field says how relevant; 0 would mean that the document does not have the
 * topic. */
static enum hm_status read_judgement(void *context, const char *line, struct hm_err *err)
{
    struct topics_reader *reader = context;
    uint32_t document;
    const char *name = skip_blanks(line), *p = name;
    if (*name == '\n')
        return HM_OK;
    while (!is_blank(*p) && *p != '\n')
        p++;
    size_t length = (size_t)(p - name);
    p = length <= TOPIC_BYTES_MAX ? read_document(skip_blanks(p), &document) : NULL;
    p = p ? skip_blanks(p) : NULL;
    if (!p || (*p != '0' && *p != '1') || *skip_blanks(p + 1) != '\n')
        return hm_fail(err, HM_EINPUT,
                       "a line TOPIC DOCUMENT 1 is expected, as in \"CCAT 2286 1\"");
    if (reader->n_examples < EXAMPLES)
        keep_example(reader, name, length);
    if (*p == '0')
        return HM_OK;
    int wanted = length == reader->topic_length && memcmp(name, reader->topic, length) == 0;
    reader->found |= wanted;
    return mark(reader->topics, document, wanted, err);
}

static enum hm_status unknown_topic(const struct topics_reader *reader, struct hm_err *err)
{
    char list[EXAMPLES * (TOPIC_BYTES_MAX + 2) + 1] = "";
    size_t at = 0;
    for (int i = 0; i < reader->n_examples; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "",
                               reader->example[i]);
    if (!reader->n_examples)
        return hm_fail(err, HM_EINPUT, "%s: no topics in the file; a line is TOPIC DOCUMENT 1",
                       reader->lines.path);
    return hm_fail(err, HM_EINPUT,
                   "%s: no document has the topic '%s'; topics there are, for example, %s",
                   reader->lines.path, reader->topic, list);
}

enum hm_status hm_topics_read(struct hm_topics *topics, const char *path, const char *topic,
                              const struct hm_progress *progress, struct hm_err *err)
{
    struct topics_reader reader = {.topics = topics, .topic = topic, .topic_length = strlen(topic)};
    *topics = (struct hm_topics){.path = path};
    enum hm_status status =
        hm_input_hint(hm_lines_open(&reader.lines, path, progress, err), path, err);
    if (status == HM_OK)
        status = hm_lines_each(&reader.lines, read_judgement, &reader, err);
    if (status == HM_OK && !reader.found)
        status = unknown_topic(&reader, err);
    hm_lines_close(&reader.lines);
    return status;
}

void hm_topics_fini(struct hm_topics *topics)
{
    hm_grow_free(&topics->document);
}

struct reader {
    struct hm_rows_builder *builder;
    const struct hm_topics *topics;
    struct hm_lines lines;
    struct hm_row_scratch row;
    uint32_t n_features_max;
};

static enum hm_status read_row(void *context, const char *line, struct hm_err *err)
{
    struct reader *reader = context;
    uint32_t document;
    const char *p = skip_blanks(line);
    if (*p == '\n' || *p == '#')
        return HM_OK;
    p = read_document(p, &document);
    if (!p)
        return hm_fail(err, HM_EINPUT,
                       "a document number is expected: a line is DOCUMENT FEATURE:VALUE ...");
    const struct hm_grow *known = &reader->topics->document;
    uint8_t is = document < known->used ? known->base[document] : 0;
    if (!is)
        return hm_fail(err, HM_EINPUT,
                       "document %u has no topics in %s; is it the right topics file?", document,
                       reader->topics->path);
    enum hm_status status = hm_row_parse(&reader->row, p, reader->n_features_max, err);
    if (status != HM_OK)
        return status;
    return hm_builder_add(reader->builder, &reader->row, is & HM_TOPICS_WANTED ? 1 : -1, err);
}

enum hm_status hm_lyrl_read(struct hm_rows_builder *builder, const char *path,
                            const struct hm_topics *topics, const struct hm_rows_source *source,
                            const struct hm_progress *progress, struct hm_err *err)
{
    struct reader reader = {.builder = builder, .topics = topics};
    reader.n_features_max = source->n_features ? source->n_features : HM_FEATURES_MAX;
    enum hm_status status = hm_row_scratch_init(&reader.row, err);
    if (status == HM_OK)
        status = hm_input_hint(hm_lines_open(&reader.lines, path, progress, err), path, err);
    if (status == HM_OK)
        status = hm_lines_each(&reader.lines, read_row, &reader, err);
    builder->text_bytes += (double)reader.lines.bytes;
    hm_lines_close(&reader.lines);
    hm_row_scratch_fini(&reader.row);
    return status;
}
