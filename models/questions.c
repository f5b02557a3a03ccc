#include "models/questions.h"

#include "models/decimal.h"
#include "models/input.h"
#include "models/text_lines.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 64, QUESTIONS_MAX = 1 << 26 };

struct field {
    const char *at;
    size_t n;
};

static int shown(size_t n)
{
    return n < 40 ? (int)n : 40;
}

/* The fields of a line that ends with '\n': between tabs if `tabs`, else between blanks. Returns
 * how many there are; the first FIELDS_MAX are given. */
static unsigned split(const char *p, int tabs, struct field *field)
{
    const char *gap = tabs ? "\t\n" : " \t\n";
    unsigned n = 0;
    while (*p != '\n') {
        size_t length = strcspn(p, gap);
        if (n < FIELDS_MAX)
            field[n] = (struct field){p, length};
        n += tabs || length > 0;
        p += length;
        if (*p != '\n')
            p++;
    }
    return n;
}

static int is_empty(const char *line)
{
    return line[strspn(line, " \t")] == '\n';
}

/* ---- questions ---- */

struct question_reader {
    struct hm_questions *questions;
    const struct hm_word_index *index;
    struct hm_lines lines;
};

static enum hm_status begin_section(struct hm_questions *questions, const char *line,
                                    struct hm_err *err)
{
    const char *name = line + strspn(line, ": \t");
    size_t n = strcspn(name, "\n");
    if (questions->n_sections == HM_SECTIONS_OF_QUESTIONS_MAX)
        return hm_fail(err, HM_EINPUT, "more than %d sections", HM_SECTIONS_OF_QUESTIONS_MAX);
    if (!questions->section)
        questions->section = calloc(HM_SECTIONS_OF_QUESTIONS_MAX, sizeof *questions->section);
    if (!questions->section)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    struct hm_section *section = &questions->section[questions->n_sections++];
    n = n < HM_SECTION_NAME_MAX ? n : HM_SECTION_NAME_MAX;
    while (n && ((name[n] & 0xC0) == 0x80 || name[n - 1] == ' ' || name[n - 1] == '\t'))
        n--; /* neither within a character nor with blanks at the end */
    memcpy(section->name, name, n);
    return HM_OK;
}

static enum hm_status add_question(struct question_reader *reader, const struct field *field,
                                   struct hm_err *err)
{
    struct hm_questions *questions = reader->questions;
    struct hm_question question = {.section = questions->n_sections - 1};
    int known = 1;
    for (int i = 0; i < 4; i++) {
        question.form[i] = hm_word_index_find(reader->index, field[i].at, field[i].n);
        known &= question.form[i] != HM_WORD_NONE;
    }
    struct hm_section *section = &questions->section[question.section];
    section->n += (uint64_t)known;
    section->n_unknown += (uint64_t)!known;
    if (!known)
        return HM_OK;
    if (questions->n == QUESTIONS_MAX ||
        hm_grow_reserve(&questions->question, (questions->n + 1) * sizeof question) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory for more than %zu questions", questions->n);
    ((struct hm_question *)(void *)questions->question.base)[questions->n++] = question;
    return HM_OK;
}

static enum hm_status read_question(void *context, const char *line, struct hm_err *err)
{
    struct question_reader *reader = context;
    struct field field[FIELDS_MAX];
    if (is_empty(line))
        return HM_OK;
    if (*line == ':')
        return begin_section(reader->questions, line, err);
    unsigned n = split(line, 0, field);
    if (n != 4)
        return hm_fail(err, HM_EINPUT, "'%.*s': four words are expected, here are %u",
                       shown(strcspn(line, "\n")), line, n);
    if (!reader->questions->n_sections)
        return hm_fail(err, HM_EINPUT,
                       "a question before the first section; a line ': NAME' begins one");
    return add_question(reader, field, err);
}

enum hm_status hm_questions_read(struct hm_questions *questions, const char *path,
                                 const struct hm_word_index *index,
                                 const struct hm_progress *progress, struct hm_err *err)
{
    struct question_reader reader = {.questions = questions, .index = index};
    uint64_t n = 0;
    *questions = (struct hm_questions){0};
    enum hm_status status = hm_lines_open(&reader.lines, path, progress, err);
    hm_input_hint(status, path, err);
    if (!status)
        status = hm_lines_each(&reader.lines, read_question, &reader, err);
    hm_lines_close(&reader.lines);
    for (unsigned i = 0; i < questions->n_sections; i++)
        n += questions->section[i].n + questions->section[i].n_unknown;
    if (!status && !n)
        status = hm_fail(err, HM_EINPUT,
                         "%s: no questions in it; sections ': NAME' and lines of four words are "
                         "expected",
                         path);
    return status;
}

void hm_questions_fini(struct hm_questions *questions)
{
    hm_grow_free(&questions->question);
    free(questions->section);
    *questions = (struct hm_questions){0};
}

/* ---- pairs ---- */

struct pair_reader {
    struct hm_pair_list *pairs;
    const struct hm_word_index *index;
    struct hm_lines lines;
    int begun; /* a line has been taken, be it the heading */
};

/* The first field after the words that is a number; -1 when none is. */
static int find_score(const struct field *field, unsigned n, double *score)
{
    for (unsigned i = 2; i < n; i++) {
        const char *end = hm_decimal_double(field[i].at, score);
        if (field[i].n && end == field[i].at + field[i].n && isfinite(*score))
            return 0;
    }
    return -1;
}

static enum hm_status add_pair(struct pair_reader *reader, const struct field *field, double score,
                               struct hm_err *err)
{
    struct hm_pair_list *pairs = reader->pairs;
    struct hm_scored_pair pair = {.score = score};
    for (int i = 0; i < 2; i++)
        pair.form[i] = hm_word_index_find(reader->index, field[i].at, field[i].n);
    if (pair.form[0] == HM_WORD_NONE || pair.form[1] == HM_WORD_NONE) {
        pairs->n_unknown++;
        return HM_OK;
    }
    if (pairs->n == QUESTIONS_MAX ||
        hm_grow_reserve(&pairs->pair, (pairs->n + 1) * sizeof pair) != 0)
        return hm_fail(err, HM_ENOMEM, "no memory for more than %zu pairs", pairs->n);
    ((struct hm_scored_pair *)(void *)pairs->pair.base)[pairs->n++] = pair;
    return HM_OK;
}

static enum hm_status read_pair(void *context, const char *line, struct hm_err *err)
{
    struct pair_reader *reader = context;
    struct field field[FIELDS_MAX];
    double score;
    if (is_empty(line) || *line == '#')
        return HM_OK;
    const char *tab = strpbrk(line, "\t\n");
    unsigned n = split(line, *tab == '\t', field);
    int first = !reader->begun, found = find_score(field, n < FIELDS_MAX ? n : FIELDS_MAX, &score);
    reader->begun = 1;
    if (found == 0 && field[0].n && field[1].n)
        return add_pair(reader, field, score, err);
    if (first && n > 2)
        return HM_OK;
    return hm_fail(err, HM_EINPUT,
                   "'%.*s': two words and a number, between tabs or blanks, are expected",
                   shown(strcspn(line, "\n")), line);
}

enum hm_status hm_pairs_read(struct hm_pair_list *pairs, const char *path,
                             const struct hm_word_index *index, const struct hm_progress *progress,
                             struct hm_err *err)
{
    struct pair_reader reader = {.pairs = pairs, .index = index};
    *pairs = (struct hm_pair_list){0};
    enum hm_status status = hm_lines_open(&reader.lines, path, progress, err);
    hm_input_hint(status, path, err);
    if (!status)
        status = hm_lines_each(&reader.lines, read_pair, &reader, err);
    hm_lines_close(&reader.lines);
    if (!status && !pairs->n && !pairs->n_unknown)
        status = hm_fail(err, HM_EINPUT,
                         "%s: no pairs in it; lines of two words and a number are expected", path);
    return status;
}

void hm_pairs_fini(struct hm_pair_list *pairs)
{
    hm_grow_free(&pairs->pair);
    *pairs = (struct hm_pair_list){0};
}
