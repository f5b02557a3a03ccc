/* LIBLINEAR's model file, as a start: lines "name value" up to "w", then a line for each feature,
 * and one for the bias where there is one. */
#include "models/svm.h"

#include "models/decimal.h"
#include "models/text_lines.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct hm_lines lines;
    float *w;          /* [n] of the source's features, then the bias */
    size_t n;          /* features that the model has room for */
    long features;     /* that the file says it has; -1: not yet */
    double bias, sign; /* factor of the bias' weight, below 0: none; 1 or -1: of the first label */
    size_t row, left_out, met;
    int in_weights;
};

static enum hm_status take_header(struct reader *r, const char *line, struct hm_err *err)
{
    int classes, first, second;
    size_t n = strcspn(line, "\n");
    if (strncmp(line, "nr_class ", 9) == 0)
        return sscanf(line, "nr_class %d", &classes) == 1 && classes == 2
                   ? HM_OK
                   : hm_fail(err, HM_EINPUT, "'%.*s'; two classes are expected", (int)n, line);
    if (strncmp(line, "label ", 6) == 0) {
        if (sscanf(line, "label %d %d", &first, &second) != 2 || first == second)
            return hm_fail(err, HM_EINPUT, "'%.*s'; two labels are expected", (int)n, line);
        r->sign = first > second ? 1 : -1;
        return HM_OK;
    }
    if (strncmp(line, "nr_feature ", 11) == 0)
        return sscanf(line, "nr_feature %ld", &r->features) == 1 && r->features >= 0
                   ? HM_OK
                   : hm_fail(err, HM_EINPUT, "'%.*s'; a number is expected", (int)n, line);
    if (strncmp(line, "bias ", 5) == 0)
        return hm_decimal_double(line + 5, &r->bias)
                   ? HM_OK
                   : hm_fail(err, HM_EINPUT, "'%.*s'; a number is expected", (int)n, line);
    r->in_weights = n >= 1 && *line == 'w' && strspn(line + 1, " ") + 1 == n;
    if (r->in_weights && r->features < 0)
        return hm_fail(err, HM_EINPUT, "weights without 'nr_feature' before them");
    if (r->in_weights || strncmp(line, "solver_type ", 12) == 0)
        return HM_OK;
    return hm_fail(err, HM_EINPUT,
                   "'%.*s': this is no model of LIBLINEAR; that, .npy or .safetensors is expected "
                   "for svm",
                   n < 40 ? (int)n : 40, line);
}

static enum hm_status take_weight(struct reader *r, const char *line, struct hm_err *err)
{
    double value;
    const char *end = hm_decimal_double(line, &value);
    if (!end || *(end + strspn(end, " \t")) != '\n' || !isfinite(value))
        return hm_fail(err, HM_EINPUT, "'%.*s': one finite number is expected",
                       (int)strcspn(line, "\n") < 40 ? (int)strcspn(line, "\n") : 40, line);
    size_t row = r->row++;
    if (row < (size_t)r->features && row < r->n) {
        r->w[row] = (float)(r->sign * value);
        r->met += value != 0;
    } else if (row < (size_t)r->features) {
        r->left_out += value != 0;
    } else if (row == (size_t)r->features && r->bias >= 0) {
        r->w[r->n] = (float)(r->sign * value * r->bias);
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
    size_t expected = r->features < 0 ? 0 : (size_t)r->features + (r->bias >= 0);
    if (!r->in_weights || r->row != expected)
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
    struct reader r = {.w = w, .n = parts.part[0].n, .features = -1, .bias = -1, .sign = 1};
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
