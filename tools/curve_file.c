#include "tools/curve_file.h"

#include "node/view.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Means over the gradients measured since the point before. */
static void add_currencies(json_t *json, const struct hm_currency_sums *c)
{
    double n = (double)c->n;
    json_object_set_new(json, "updates", hm_json_number(c->updates / n));
    json_object_set_new(json, "distance_relative", hm_json_number(c->relative / n));
    json_object_set_new(json, "cosine", hm_json_number(1 - c->turn / (double)c->n_turn));
}

json_t *curve_point_json(const struct hm_curve_point *p)
{
    json_t *norms = json_object();
    for (unsigned i = 0; i < p->norms.n; i++)
        json_object_set_new(norms, p->norms.name[i], hm_json_number(p->norms.part[i]));
    json_t *json = json_pack(
        "{s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "label", p->label, "seconds",
        hm_json_number(p->seconds), "steps", (json_int_t)p->steps, "own_steps",
        (json_int_t)p->own_steps, "loss", hm_json_number(p->score.loss), "cost",
        hm_json_number(p->score.cost), "train_loss", hm_json_number(p->train_loss), "accuracy",
        hm_json_number(p->score.accuracy), "norm", hm_json_number(p->norms.all), "norms", norms);
    if (p->currencies.n)
        add_currencies(json, &p->currencies);
    return json;
}

void curve_point_write(const struct hm_curve_point *point, FILE *file)
{
    json_t *json = curve_point_json(point);
    json_dumpf(json, file, JSON_REAL_PRECISION(10));
    putc('\n', file);
    json_decref(json);
}

static enum hm_status append(const char *path, const char *mode, const struct hm_curve_point *point,
                             struct hm_err *err)
{
    FILE *file = fopen(path, mode);
    if (!file)
        return hm_fail(err, HM_EIO, "%s: %s", path, strerror(errno));
    curve_point_write(point, file);
    int failed = fflush(file) != 0 || ferror(file), reason = errno;
    fclose(file);
    return failed ? hm_fail(err, HM_EIO, "%s: %s", path, strerror(reason)) : HM_OK;
}

void curve_file_add(struct curve_file *curve, const char *dir, int goes_on,
                    const struct hm_curve_point *point)
{
    char path[4096];
    struct hm_err err = {""};
    int begun = goes_on || strcmp(curve->label, point->label) == 0;
    if (curve->status)
        return;
    snprintf(path, sizeof path, "%s/curve-%s.jsonl", dir, point->label);
    memcpy(curve->label, point->label, sizeof curve->label);
    curve->status = append(path, begun ? "a" : "w", point, &err);
    if (curve->status && (curve->err = malloc(sizeof *curve->err)) != NULL)
        *curve->err = err;
}

enum hm_status curve_file_close(struct curve_file *curve, struct hm_err *err)
{
    enum hm_status status = curve->status;
    if (status && curve->err)
        hm_fail(err, status, "%s", curve->err->text);
    else if (status)
        hm_fail(err, status, "a curve could not be written");
    free(curve->err);
    *curve = (struct curve_file){.status = HM_OK};
    return status;
}
