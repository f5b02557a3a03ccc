/* LIBLINEAR's model file, as a start: lines "name value" up to "w", then a line for each feature,
 * and one for the bias where there is one. */
#include "models/svm.h"

#include "models/decimal.h"
#include "models/text_lines.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_MAX = 40 }; /* characters of a line, in messages */

struct reader {
    struct hm_lines lines;
    float *w;          /* [n] of the source's features, then the bias */
    size_t n;          /* features that the model has room for */
    long features;     /* that the file says it has; -1: not yet */
    double bias, sign; /* factor of the bias' weight, below 0: none; 1 or -1: of the first label,
                          0: not yet known */
    size_t row, left_out, met;
    int in_weights;
};

/* "NAME number ...", so many numbers and nothing else; lines end where they end, without a NUL. */
static int take_numbers(const char *line, double *to, unsigned n)
{
    const char *at = line + strcspn(line, " \n");
    for (unsigned i = 0; i < n; i++) {
        at += strspn(at, " \t");
        at = hm_decimal_double(at, &to[i]);
        if (!at || !isfinite(to[i]) || !strchr(" \t\n", *at))
            return 0;
    }
    return at[strspn(at, " \t")] == '\n';
}

static int is_whole(double x, double lo, double hi)
{
    return x >= lo && x <= hi && x == floor(x);
}

/* What of a line a message shows. */
static int shown(const char *line)
{
    size_t n = strcspn(line, "\n");
    return n < SHOWN_MAX ? (int)n : SHOWN_MAX;
}

static enum hm_status wrong(const char *line, const char *expected, struct hm_err *err)
{
    return hm_fail(err, HM_EINPUT, "'%.*s'; %s", shown(line), line, expected);
}

static enum hm_status take_label(struct reader *r, const char *line, struct hm_err *err)
{
    double label[2];
    if (!take_numbers(line, label, 2) || !is_whole(label[0], INT_MIN, INT_MAX) ||
        !is_whole(label[1], INT_MIN, INT_MAX) || label[0] == label[1])
        return wrong(line, "two labels are expected, whole numbers", err);
    r->sign = label[0] > label[1] ? 1 : -1;
    return HM_OK;
}

static enum hm_status take_w(const struct reader *r, struct hm_err *err)
{
    const char *missing = r->features < 0 ? "nr_feature" : r->sign == 0 ? "label" : NULL;
    if (missing)
        return hm_fail(err, HM_EINPUT,
                       "weights, and no line '%s' before them; a model that tells two classes "
                       "apart is expected",
                       missing);
    return HM_OK;
}

static int is_field(const char *line, const char *name)
{
    size_t n = strlen(name);
    return strncmp(line, name, n) == 0 && line[n] == ' ';
}

static enum hm_status take_header(struct reader *r, const char *line, struct hm_err *err)
{
    double x;
    if (is_field(line, "nr_class"))
        return take_numbers(line, &x, 1) && x == 2 ? HM_OK
                                                   : wrong(line, "two classes are expected", err);
    if (is_field(line, "label"))
        return take_label(r, line, err);
    if (is_field(line, "nr_feature")) {
        if (!take_numbers(line, &x, 1) || !is_whole(x, 0, INT_MAX))
            return wrong(line, "a whole number is expected", err);
        r->features = (long)x;
        return HM_OK;
    }
    if (is_field(line, "bias"))
        return take_numbers(line, &r->bias, 1) ? HM_OK
                                               : wrong(line, "a finite number is expected", err);
    r->in_weights = *line == 'w' && line[1 + strspn(line + 1, " \t")] == '\n';
    if (r->in_weights)
        return take_w(r, err);
    return is_field(line, "solver_type")
               ? HM_OK
               : wrong(line,
                       "this is no model of LIBLINEAR that tells two classes apart; that, .npy or "
                       ".safetensors is expected for svm",
                       err);
}

/* Weights are floats from here on: what is too large for one is refused where it stands. */
static enum hm_status take_weight(struct reader *r, const char *line, struct hm_err *err)
{
    double value;
    const char *end = hm_decimal_double(line, &value);
    float w = end ? (float)(r->sign * value) : NAN;
    if (!end || end[strspn(end, " \t")] != '\n' || !isfinite(w))
        return wrong(line, "one finite number is expected, with a point, below 3e38", err);
    size_t row = r->row++;
    if (row < (size_t)r->features && row < r->n) {
        r->w[row] = w;
        r->met += value != 0;
    } else if (row < (size_t)r->features) {
        r->left_out += value != 0;
    } else if (row == (size_t)r->features && r->bias >= 0) {
        r->w[r->n] = (float)(r->sign * value * r->bias);
        if (!isfinite(r->w[r->n]))
            return wrong(line, "times the bias of its header that is no finite number", err);
    } else {
        return hm_fail(err, HM_EINPUT, "more weights than the %ld features of its header",
                       r->features);
    }
    return HM_OK;
}

static enum hm_status take_line(void *context, const char *line, struct hm_err *err)
{
    struct reader *r = context;
    return r->in_weights ? take_weight(r, line, err) : take_header(r, line, err);
}

static enum hm_status check_end(const struct reader *r, const char *path, struct hm_err *err)
{
    if (!r->in_weights)
        return hm_fail(err, HM_EINPUT,
                       "%s: it ends without a line 'w' and weights; a model of LIBLINEAR, .npy or "
                       ".safetensors is expected for svm",
                       path);
    size_t expected = (size_t)r->features + (r->bias >= 0);
    if (r->row != expected)
        return hm_fail(err, HM_EINPUT, "%s: it ends after %zu weights; %zu are expected", path,
                       r->row, expected);
    if (!r->met && r->left_out)
        return hm_fail(err, HM_EINPUT,
                       "%s: all of its weights are of features beyond the %zu of the data", path,
                       r->n);
    return HM_OK;
}

enum hm_status hm_svm_import(const struct hm_model *model, const char *path, float *w,
                             void (*say)(void *context, const char *text), void *context,
                             struct hm_err *err)
{
    struct hm_parts parts;
    char text[256];
    hm_svm_parts(model, &parts);
    struct reader r = {.w = w, .n = parts.part[0].n, .features = -1, .bias = -1};
    memset(w, 0, hm_parts_numbers(&parts) * sizeof *w);
    enum hm_status status = hm_lines_open(&r.lines, path, NULL, err);
    if (!status)
        status = hm_lines_each(&r.lines, take_line, &r, err);
    hm_lines_close(&r.lines);
    if (!status)
        status = check_end(&r, path, err);
    if (!status && say && r.left_out) {
        snprintf(text, sizeof text,
                 "%zu weights of %.100s are of features that the data does not have; they are left "
                 "out",
                 r.left_out, path);
        say(context, text);
    }
    return status;
}
