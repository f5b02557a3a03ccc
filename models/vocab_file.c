/* Vocabularies as text. */
#include "models/text_lines.h"
#include "models/tokens.h"
#include "models/whole_file.h"
#include "models/words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct reader {
    struct hm_words words;
    struct hm_grow file; /* uint8_t [words.n] the file that named the word last, from 1 */
    struct hm_lines lines;
    unsigned which; /* the file that is read, from 1 */
};

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* As much of a field as a message shows. */
static int shown(size_t n)
{
    return n < 40 ? (int)n : 40;
}

static int read_count(const char *text, size_t n, uint64_t *count)
{
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9' || *count > HM_COUNT_MAX)
            return -1;
        *count = *count * 10 + (uint64_t)(text[i] - '0');
    }
    return n && *count <= HM_COUNT_MAX ? 0 : -1;
}

static enum hm_status add(struct reader *reader, const char *word, size_t n, uint64_t count,
                          struct hm_err *err)
{
    uint32_t i = hm_words_add(&reader->words, word, n);
    if (i == HM_WORD_NONE || hm_grow_reserve(&reader->file, (size_t)i + 1) != 0)
        return hm_words_full(&reader->words, err);
    if (reader->file.base[i] == reader->which)
        return hm_fail(err, HM_EINPUT, "the word '%.*s' for the second time", shown(n), word);
    reader->file.base[i] = (uint8_t)reader->which;
    uint64_t *sum = hm_words_count(&reader->words, i);
    *sum += count;
    if (*sum > HM_COUNT_MAX)
        return hm_fail(err, HM_EINPUT, "the counts of '%.*s' add up to more than 2^53", shown(n),
                       word);
    return HM_OK;
}

static enum hm_status read_line(void *context, const char *line, struct hm_err *err)
{
    struct reader *reader = context;
    size_t n = (size_t)((const char *)rawmemchr(line, '\n') - line);
    uint64_t count;
    while (n && is_blank(line[n - 1]))
        n--;
    if (!n)
        return HM_OK;
    size_t at = n, length;
    while (at && !is_blank(line[at - 1]))
        at--;
    for (length = at; length && is_blank(line[length - 1]);)
        length--;
    if (!length)
        return hm_fail(err, HM_EINPUT, "'%.*s': a line is WORD COUNT, and here one is missing",
                       shown(n), line);
    if (read_count(line + at, n - at, &count) != 0)
        return hm_fail(err, HM_EINPUT,
                       "count '%.*s' of '%.*s': a whole number from 1 to 2^53 is expected (a line "
                       "is WORD COUNT)",
                       shown(n - at), line + at, shown(length), line);
    if (length == 4 && memcmp(line, "</s>", 4) == 0)
        return HM_OK;
    if (!count)
        return hm_fail(err, HM_EINPUT, "count 0 of '%.*s': at least 1 is expected", shown(length),
                       line);
    if (!hm_is_word(line, length))
        return hm_fail(err, HM_EINPUT,
                       "word '%.*s': UTF-8 without white space, of 1 to %d bytes, is expected",
                       shown(length), line, HM_WORD_BYTES_MAX);
    return add(reader, line, length, count, err);
}

static enum hm_status read_file(struct reader *reader, const char *path,
                                const struct hm_progress *progress, struct hm_err *err)
{
    enum hm_status status = hm_lines_open(&reader->lines, path, progress, err);
    if (!status)
        status = hm_lines_each(&reader->lines, read_line, reader, err);
    hm_lines_close(&reader->lines);
    return status;
}

static enum hm_status rank(const struct reader *reader, const char *path, uint64_t min_count,
                           uint32_t vocab_max, struct hm_vocab *vocab, struct hm_err *err)
{
    enum hm_status status = hm_words_rank(&reader->words, min_count, vocab_max, vocab, NULL, err);
    if (status)
        return hm_context(err, status, "%s", path);
    if (vocab->n)
        return HM_OK;
    hm_vocab_close(vocab);
    if (!reader->words.n)
        return hm_fail(err, HM_EINPUT, "%s: no word in it; lines WORD COUNT are expected", path);
    return hm_fail(err, HM_EINPUT,
                   "%s: none of its %u words is counted %llu times or more; lower --min-count",
                   path, reader->words.n, (unsigned long long)min_count);
}

enum hm_status hm_vocab_read(struct hm_vocab *vocab, const char *const *file, unsigned n_files,
                             uint64_t min_count, uint32_t vocab_max,
                             const struct hm_progress *progress, struct hm_err *err)
{
    struct reader reader = {.which = 0};
    enum hm_status status = HM_OK;
    *vocab = (struct hm_vocab){0};
    if (n_files == 0 || n_files > HM_VOCAB_FILES_MAX)
        return hm_fail(err, HM_EUSAGE, "1 to %d vocabulary files can be read, not %u",
                       HM_VOCAB_FILES_MAX, n_files);
    while (!status && reader.which < n_files) {
        const char *path = file[reader.which++];
        status = read_file(&reader, path, progress, err);
    }
    if (!status)
        status = rank(&reader, file[0], min_count, vocab_max, vocab, err);
    hm_words_fini(&reader.words);
    hm_grow_free(&reader.file);
    return status;
}

/* ---- writing ---- */

static enum hm_status write_words(void *context, int fd, struct hm_err *err)
{
    const struct hm_vocab *vocab = context;
    enum { ROOM = 1 << 16 };
    char text[ROOM + HM_WORD_BYTES_MAX + 32];
    size_t n = 0;
    enum hm_status status = HM_OK;
    for (uint32_t i = 0; i < vocab->n && !status; i++) {
        n += (size_t)sprintf(text + n, "%s %llu\n", hm_vocab_word(vocab, i),
                             (unsigned long long)vocab->count[i]);
        if (n < ROOM && i + 1 < vocab->n)
            continue;
        status = hm_file_put(fd, text, n, err);
        n = 0;
    }
    return status;
}

enum hm_status hm_vocab_write(const struct hm_vocab *vocab, const char *path, struct hm_err *err)
{
    return hm_whole_file(path, write_words, (void *)(uintptr_t)vocab, err);
}
