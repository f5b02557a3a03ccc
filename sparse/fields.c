#include "sparse/fields.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The caller's locale may write a comma where the mesh expects a point. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static locale_t enter_c_locale(void)
{
    pthread_once(&once, make_locale);
    return uselocale(c_locale);
}

static size_t find(const struct hm_fields *fields, const char *name, int *found)
{
    size_t i = 0;
    int order = 1;
    while (i < fields->n && (order = strcmp(fields->field[i].name, name)) < 0)
        i++;
    *found = i < fields->n && order == 0;
    return i;
}

void hm_fields_set(struct hm_fields *fields, const char *name, const char *format, ...)
{
    assert(strlen(name) <= HM_FIELD_NAME_MAX);
    int found;
    size_t i = find(fields, name, &found);
    if (!found) {
        assert(fields->n < HM_FIELDS_MAX);
        memmove(&fields->field[i + 1], &fields->field[i],
                (fields->n - i) * sizeof fields->field[0]);
        fields->n++;
    }
    struct hm_field *field = &fields->field[i];
    snprintf(field->name, sizeof field->name, "%s", name);
    va_list args;
    va_start(args, format);
    locale_t callers = enter_c_locale();
    int n = vsnprintf(field->value, sizeof field->value, format, args);
    uselocale(callers);
    va_end(args);
    assert(n >= 0 && (size_t)n < sizeof field->value);
}

const char *hm_fields_get(const struct hm_fields *fields, const char *name)
{
    int found;
    size_t i = find(fields, name, &found);
    return found ? fields->field[i].value : NULL;
}

static enum hm_status missing(const char *name, struct hm_err *err)
{
    return hm_fail(err, HM_EINPUT, "configuration: field '%s' is missing", name);
}

enum hm_status hm_fields_number(const struct hm_fields *fields, const char *name, double lo,
                                double hi, double *out, struct hm_err *err)
{
    const char *text = hm_fields_get(fields, name);
    if (!text)
        return missing(name, err);
    char *end;
    locale_t callers = enter_c_locale();
    double x = strtod(text, &end);
    uselocale(callers);
    if (!*text || *end || !(x >= lo && x <= hi))
        return hm_fail(err, HM_EINPUT,
                       "configuration: field '%s' is '%.40s'; a number from %g to %g is expected",
                       name, text, lo, hi);
    *out = x;
    return HM_OK;
}

enum hm_status hm_fields_u64(const struct hm_fields *fields, const char *name, uint64_t *out,
                             struct hm_err *err)
{
    const char *text = hm_fields_get(fields, name);
    if (!text)
        return missing(name, err);
    char *end;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        return hm_fail(err, HM_EINPUT,
                       "configuration: field '%s' is '%.40s'; a whole number is expected", name,
                       text);
    *out = x;
    return HM_OK;
}
