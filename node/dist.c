#include "node/dist.h"

#include "models/decimal.h"
#include "models/portable_math.h"
#include "node/quote.h"
#include "node/small_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGMA_MAX 20. /* of a lognormal: e^(6 * 20) is still far from overflow */

enum { NAME_MAX_BYTES = 4095 };

struct hm_dist_trace {
    uint32_t n;
    char *name; /* as it was given */
    uint64_t us[];
};

/* ---- traces ---- */

/* The line without comment and white space around it; ends at its newline, which becomes a NUL. */
static char *trimmed(char *line)
{
    line[strcspn(line, "#")] = 0;
    line += strspn(line, " \t\r");
    size_t n = strlen(line);
    while (n && strchr(" \t\r", line[n - 1]))
        line[--n] = 0;
    return line;
}

static enum hm_status take_values(struct hm_dist_trace *trace, const char *path, char *text,
                                  size_t n, struct hm_err *err)
{
    unsigned line = 1;
    for (char *p = text, *end; p < text + n; p = end + 1, line++) {
        double us;
        end = memchr(p, '\n', (size_t)(text + n - p));
        end = end ? end : text + n;
        *end = 0;
        int whole = strlen(p) == (size_t)(end - p); /* no NUL in it */
        char *value = trimmed(p);
        if (!*value && whole)
            continue;
        if (!whole || !hm_units_duration(value, 1, &us) || us < 0 ||
            us > (double)HM_DURATION_MAX_US)
            return hm_fail(err, HM_EINPUT,
                           "%s:%u: '%s' is no duration; expected one a line: microseconds, or a "
                           "number with a unit us, ms, s, m or h, up to 1000h",
                           path, line, hm_quote(value).text);
        if (trace->n == HM_TRACE_VALUES_MAX)
            return hm_fail(err, HM_EINPUT, "%s:%u: a trace has at most %d values", path, line,
                           HM_TRACE_VALUES_MAX);
        trace->us[trace->n++] = (uint64_t)(us + .5);
    }
    if (!trace->n)
        return hm_fail(err, HM_EINPUT, "%s holds no durations; expected one a line", path);
    return HM_OK;
}

static size_t count_lines(const char *text, size_t n)
{
    size_t lines = 1;
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    return lines < HM_TRACE_VALUES_MAX ? lines : HM_TRACE_VALUES_MAX;
}

static enum hm_status open_trace(struct hm_dist *dist, const char *name, const char *folder,
                                 struct hm_err *err)
{
    char path[2 * NAME_MAX_BYTES], *text;
    size_t n;
    if (!folder)
        return hm_fail(err, HM_EINPUT, "'trace:%s': traces cannot be used here",
                       hm_quote(name).text);
    if (!*name || strlen(name) > NAME_MAX_BYTES)
        return hm_fail(err, HM_EINPUT, "'trace:%s': expected the name of a file after the colon",
                       hm_quote(name).text);
    snprintf(path, sizeof path, "%s%s%s", *name == '/' ? "" : folder,
             *name == '/' || !*folder ? "" : "/", name);
    enum hm_status status = hm_file_read(path, HM_TRACE_BYTES_MAX, &text, &n, err);
    if (!status) {
        dist->trace = calloc(1, sizeof *dist->trace + count_lines(text, n) * sizeof(uint64_t));
        if (!dist->trace || !(dist->trace->name = strdup(name)))
            status = hm_fail(err, HM_ENOMEM, "no memory to read %s", path);
    }
    if (!status)
        status = take_values(dist->trace, path, text, n, err);
    free(text);
    return status;
}

/* ---- reading ---- */

static const struct {
    const char *name;
    enum hm_dist_kind kind;
    unsigned n_arguments;
    const char *example;
} kinds[] = {
    {"const", HM_DIST_CONST, 1, "const:90ms"},
    {"uniform", HM_DIST_UNIFORM, 2, "uniform:10ms,20ms"},
    {"gauss", HM_DIST_GAUSS, 2, "gauss:17ms,3ms"},
    {"lognormal", HM_DIST_LOGNORMAL, 2, "lognormal:200us,0.5"},
    {"trace", HM_DIST_TRACE, 0, "trace:FILE"},
};

enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* One of the arguments, up to the comma or the end. */
static enum hm_status take_argument(const char **p, int is_number, double *value,
                                    struct hm_err *err)
{
    char text[64];
    size_t n = strcspn(*p, ",");
    snprintf(text, sizeof text, "%.*s", (int)(n < sizeof text ? n : sizeof text - 1), *p);
    *p += n;
    if (!is_number)
        return hm_duration_parse(text, value, err);
    const char *end = hm_decimal_double(text, value);
    if (!end || *end || !(*value >= 0) || *value > SIGMA_MAX)
        return hm_fail(err, HM_EINPUT,
                       "'%s' is no deviation of a logarithm; expected a number from 0 to %g",
                       hm_quote(text).text, SIGMA_MAX);
    return HM_OK;
}

static enum hm_status take_arguments(struct hm_dist *dist, unsigned kind, const char *p,
                                     struct hm_err *err)
{
    const char *all = p;
    double value[2] = {0, 0};
    for (unsigned i = 0; i < kinds[kind].n_arguments; i++) {
        if (i && *p++ != ',')
            return hm_fail(err, HM_EINPUT,
                           "'%s:%s': two numbers are expected, separated by a comma, such as %s",
                           kinds[kind].name, hm_quote(all).text, kinds[kind].example);
        enum hm_status status =
            take_argument(&p, i && kinds[kind].kind == HM_DIST_LOGNORMAL, &value[i], err);
        if (status)
            return hm_context(err, status, "'%s:%s'", kinds[kind].name, hm_quote(all).text);
    }
    if (*p)
        return hm_fail(err, HM_EINPUT, "'%s:%s': more was said than expected, which is %s",
                       kinds[kind].name, hm_quote(all).text, kinds[kind].example);
    if (kinds[kind].kind == HM_DIST_UNIFORM && value[1] < value[0])
        return hm_fail(err, HM_EINPUT, "'%s:%s': the second duration is below the first",
                       kinds[kind].name, hm_quote(all).text);
    *dist = (struct hm_dist){.kind = kinds[kind].kind, .a = value[0], .b = value[1]};
    return HM_OK;
}

enum hm_status hm_dist_parse(struct hm_dist *dist, const char *text, const char *folder,
                             struct hm_err *err)
{
    *dist = (struct hm_dist){0};
    size_t n = strcspn(text, ":");
    for (unsigned i = 0; i < N_KINDS; i++) {
        if (strlen(kinds[i].name) != n || strncmp(text, kinds[i].name, n) != 0 || !text[n])
            continue;
        if (kinds[i].kind != HM_DIST_TRACE)
            return take_arguments(dist, i, text + n + 1, err);
        dist->kind = HM_DIST_TRACE;
        enum hm_status status = open_trace(dist, text + n + 1, folder, err);
        if (status)
            hm_dist_fini(dist);
        return status;
    }
    return hm_fail(err, HM_EINPUT,
                   "'%s' is no distribution; expected const:90ms, uniform:10ms,20ms, "
                   "gauss:17ms,3ms, lognormal:200us,0.5 or trace:FILE",
                   hm_quote(text).text);
}

enum hm_status hm_dist_parse_nodes(struct hm_dist *dist, struct hm_node_set *nodes,
                                   const char *text, const char *folder, struct hm_err *err)
{
    const char *at = strrchr(text, '@');
    *nodes = (struct hm_node_set){0};
    *dist = (struct hm_dist){0};
    if (at && strspn(at + 1, "0123456789,-*") != strlen(at + 1))
        at = NULL; /* of a trace's name */
    enum hm_status status = hm_node_set_parse(nodes, at ? at + 1 : "*", err);
    char *alone = status ? NULL : strndup(text, at ? (size_t)(at - text) : strlen(text));
    if (!status && !alone)
        status = hm_fail(err, HM_ENOMEM, "no memory for a distribution");
    if (!status)
        status = hm_dist_parse(dist, alone, folder, err);
    free(alone);
    if (status)
        hm_node_set_fini(nodes);
    return status;
}

/* ---- drawing ---- */

static uint64_t rounded(double us)
{
    if (!(us > 0))
        return 0;
    return us < (double)HM_DURATION_MAX_US ? (uint64_t)(us + .5) : HM_DURATION_MAX_US;
}

uint64_t hm_dist_draw(const struct hm_dist *dist, struct hm_rng *rng, uint32_t *position)
{
    switch (dist->kind) {
    case HM_DIST_NONE:
        return 0;
    case HM_DIST_CONST:
        return rounded(dist->a);
    case HM_DIST_UNIFORM:
        return rounded(dist->a + (dist->b - dist->a) * hm_rng_unit(rng));
    case HM_DIST_GAUSS:
        return rounded(dist->a + dist->b * hm_portable_normal(rng));
    case HM_DIST_LOGNORMAL:
        return rounded(dist->a * hm_portable_exp(dist->b * hm_portable_normal(rng)));
    case HM_DIST_TRACE: {
        uint32_t at = *position % dist->trace->n;
        *position = at + 1;
        return dist->trace->us[at];
    }
    }
    return 0;
}

/* ---- writing ---- */

size_t hm_dist_print(const struct hm_dist *dist, char text[HM_DIST_TEXT_MAX])
{
    char a[HM_NUMBER_TEXT_MAX], b[HM_NUMBER_TEXT_MAX];
    hm_duration_print(dist->a, a);
    if (dist->kind == HM_DIST_LOGNORMAL)
        hm_number_print(dist->b, b);
    else
        hm_duration_print(dist->b, b);
    *text = 0;
    for (unsigned i = 0; i < N_KINDS; i++)
        if (kinds[i].kind == dist->kind) {
            if (dist->kind == HM_DIST_TRACE)
                return (size_t)snprintf(text, HM_DIST_TEXT_MAX, "trace:%s", dist->trace->name);
            return (size_t)snprintf(text, HM_DIST_TEXT_MAX, "%s:%s%s%s", kinds[i].name, a,
                                    kinds[i].n_arguments > 1 ? "," : "",
                                    kinds[i].n_arguments > 1 ? b : "");
        }
    return 0;
}

bool hm_dist_same(const struct hm_dist *x, const struct hm_dist *y)
{
    if (x->kind != y->kind || x->a != y->a || x->b != y->b)
        return false;
    if (x->kind != HM_DIST_TRACE)
        return true;
    return x->trace->n == y->trace->n &&
           memcmp(x->trace->us, y->trace->us, x->trace->n * sizeof *x->trace->us) == 0;
}

void hm_dist_fini(struct hm_dist *dist)
{
    if (dist->trace)
        free(dist->trace->name);
    free(dist->trace);
    *dist = (struct hm_dist){0};
}
