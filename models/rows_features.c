#include "models/rows_features.h"

#include "models/decimal.h"
#include "models/rows.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_MAX = 40 };

enum hm_status hm_row_scratch_init(struct hm_row_scratch *row, struct hm_err *err)
{
    row->n = 0;
    row->id = malloc(HM_ROW_NONZEROS_MAX * sizeof *row->id);
    row->value = malloc(HM_ROW_NONZEROS_MAX * sizeof *row->value);
    if (row->id && row->value)
        return HM_OK;
    hm_row_scratch_fini(row);
    return hm_fail(err, HM_ENOMEM, "out of memory");
}

void hm_row_scratch_fini(struct hm_row_scratch *row)
{
    free(row->id);
    free(row->value);
    *row = (struct hm_row_scratch){0};
}

static inline const char *skip_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* The field at p for a message: printable, cut short. */
static const char *shown(const char *p, char text[SHOWN_MAX + 4])
{
    size_t n = 0;
    for (; *p != ' ' && *p != '\t' && *p != '\n' && n < SHOWN_MAX; p++)
        text[n++] = *p >= ' ' && *p < 127 ? *p : '?';
    memcpy(text + n, n == SHOWN_MAX ? "..." : "", n == SHOWN_MAX ? 4 : 1);
    return text;
}

/* Says what is wrong with the field at p, which the fast path refused. previous: feature before it,
 * 0 for none. */
static enum hm_status explain(const char *p, uint32_t previous, uint32_t max, struct hm_err *err)
{
    char text[SHOWN_MAX + 4];
    float value;
    uint64_t id = 0;
    const char *q = p;
    for (; *q >= '0' && *q <= '9'; q++)
        id = id < 1u << 30 ? id * 10 + (uint64_t)(*q - '0') : id;
    if (q == p)
        return hm_fail(err, HM_EINPUT, "'%s': a field FEATURE:VALUE is expected", shown(p, text));
    if (*q != ':')
        return hm_fail(err, HM_EINPUT, "'%s': a ':' is expected after the feature number",
                       shown(p, text));
    if (id == 0)
        return hm_fail(err, HM_EINPUT, "feature 0: features count from 1; renumber them");
    if (id > max)
        return hm_fail(err, HM_EINPUT, "feature %.*s: the largest feature allowed here is %u",
                       (int)(q - p < 20 ? q - p : 20), p, max);
    if (id <= previous)
        return hm_fail(err, HM_EINPUT,
                       "feature %u after %u: features must ascend within a line; sort them",
                       (unsigned)id, previous);
    const char *end = hm_decimal_float_slow(++q, &value);
    if (*q == ' ' || *q == '\t' || *q == '\n')
        return hm_fail(err, HM_EINPUT, "feature %u has no value after its ':'", (unsigned)id);
    return hm_fail(err, HM_EINPUT, "value of feature %u is '%s': a finite %snumber is expected",
                   (unsigned)id, shown(q, text), end ? "32-bit " : "");
}

/* "qid:N" groups rows for ranking; we have no use for it. Returns what follows, or p. */
static const char *skip_qid(const char *p)
{
    if (memcmp(p, "qid:", 4) != 0)
        return p;
    for (p += 4; *p >= '0' && *p <= '9';)
        p++;
    return skip_blanks(p);
}

enum hm_status hm_row_parse(struct hm_row_scratch *row, const char *p, uint32_t n_features_max,
                            struct hm_err *err)
{
    uint32_t previous = 0;
    size_t n = 0;
    p = skip_qid(skip_blanks(p));
    for (; *p != '\n' && *p != '#'; p = skip_blanks(p)) {
        uint64_t chars = hm_load8(p);
        unsigned digits = hm_digits8(chars);
        uint32_t id = hm_value8(chars, digits);
        const char *q = p + digits;
        for (; *q >= '0' && *q <= '9' && id <= n_features_max && id < 1u << 27; q++)
            id = id * 10 + (uint32_t)(*q - '0'); /* the ninth digit */
        if (*q != ':' || id <= previous || id > n_features_max)
            return explain(p, previous, n_features_max, err);
        float value;
        q = hm_decimal_float(q + 1, &value);
        if (!q || !isfinite(value) || (*q != ' ' && *q != '\n' && *q != '\t'))
            return explain(p, previous, n_features_max, err);
        if (n == HM_ROW_NONZEROS_MAX)
            return hm_fail(err, HM_EINPUT, "more than %d features in one row", HM_ROW_NONZEROS_MAX);
        row->id[n] = id - 1;
        row->value[n++] = value;
        previous = id;
        p = q;
    }
    row->n = n;
    return HM_OK;
}
