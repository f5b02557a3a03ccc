#include "tools/config_file.h"

#include "tools/cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 17 };

struct entries {
    const char *path;
    struct config_entry *entry; /* [CONFIG_ENTRIES_MAX] */
    unsigned n;
};

static void where(const char *path, unsigned line)
{
    fprintf(stderr, "hogmesh: --config %s: ", path);
    if (line)
        fprintf(stderr, "line %u: ", line);
}

int config_refuse(const char *path, const struct config_entry *entry, const char *why, ...)
{
    va_list args;
    va_start(args, why);
    where(path, entry->line);
    fprintf(stderr, "'%s' = '%s': ", entry->name, entry->value);
    vfprintf(stderr, why, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_USAGE;
}

static int fail_at(const char *path, unsigned line, const char *text)
{
    where(path, line);
    fprintf(stderr, "%s\n", text);
    return EXIT_FAILED;
}

static int add_entry(struct entries *e, const char *name, size_t name_n, const char *value,
                     size_t value_n, unsigned line)
{
    if (!name_n || name_n > CONFIG_NAME_MAX || !value_n || value_n > CONFIG_VALUE_MAX)
        return fail_at(e->path, line, "NAME = VALUE is expected, such as lambda = 1e-4");
    if (e->n == CONFIG_ENTRIES_MAX)
        return fail_at(e->path, line, "too many entries; the most are 64");
    struct config_entry *entry = &e->entry[e->n];
    memcpy(entry->name, name, name_n);
    memcpy(entry->value, value, value_n);
    entry->line = line;
    for (unsigned i = 0; i < e->n; i++)
        if (strcmp(e->entry[i].name, entry->name) == 0)
            return fail_at(e->path, line, "this option is given a second time");
    e->n++;
    return EXIT_DONE;
}

/* ---- lines ---- */

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && strchr(" \t\r", *p))
        p++;
    return p;
}

static const char *trim(const char *from, const char *end)
{
    while (end > from && strchr(" \t\r", end[-1]))
        end--;
    return end;
}

static int read_line(struct entries *e, const char *p, const char *end, unsigned line)
{
    const char *remark = memchr(p, '#', (size_t)(end - p));
    end = trim(p, remark ? remark : end);
    p = skip_blanks(p, end);
    if (p == end)
        return EXIT_DONE;
    const char *equals = memchr(p, '=', (size_t)(end - p));
    if (!equals)
        return fail_at(e->path, line, "NAME = VALUE is expected, such as lambda = 1e-4");
    const char *value = skip_blanks(equals + 1, end);
    return add_entry(e, p, (size_t)(trim(p, equals) - p), value, (size_t)(end - value), line);
}

static int read_lines(struct entries *e, const char *text)
{
    int status = EXIT_DONE;
    for (unsigned line = 1; !status && *text; line++) {
        size_t n = strcspn(text, "\n");
        status = read_line(e, text, text + n, line);
        text += n + (text[n] == '\n');
    }
    return status;
}

/* ---- JSON ---- */

static int read_json(struct entries *e, const char *text)
{
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error), *value;
    if (!object)
        return fail_at(e->path, (unsigned)(error.line > 0 ? error.line : 0), error.text);
    int status = EXIT_DONE;
    const char *name;
    json_object_foreach(object, name, value)
    {
        char number[64];
        const char *said = json_string_value(value);
        if (json_is_number(value)) {
            snprintf(number, sizeof number, "%.17g", json_number_value(value));
            said = number;
        }
        status = said ? add_entry(e, name, strlen(name), said, strlen(said), 0)
                      : fail_at(e->path, 0, "values are to be numbers or texts");
        if (status)
            break;
    }
    json_decref(object);
    return status;
}

/* ---- the file ---- */

static int read_text(const char *path, char *text)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return fail_at(path, 0, strerror(errno));
    size_t n = fread(text, 1, FILE_BYTES_MAX, file);
    int failed = ferror(file) ? errno : 0;
    fclose(file);
    if (failed)
        return fail_at(path, 0, strerror(failed));
    if (n == FILE_BYTES_MAX || memchr(text, 0, n))
        return fail_at(path, 0, "this is no text of options");
    text[n] = 0;
    return EXIT_DONE;
}

int config_read(const char *path, struct config_entry **entry, unsigned *n)
{
    static struct config_entry kept[CONFIG_ENTRIES_MAX]; /* a command has one such file */
    struct entries e = {path, kept, 0};
    memset(kept, 0, sizeof kept);
    char *text = malloc(FILE_BYTES_MAX + 1);
    int status = text ? read_text(path, text) : fail_at(path, 0, "no memory");
    if (!status) {
        const char *first = text + strspn(text, " \t\r\n");
        status = *first == '{' ? read_json(&e, first) : read_lines(&e, text);
    }
    free(text);
    *entry = status ? NULL : kept;
    *n = status ? 0 : e.n;
    return status;
}
