#include "node/curve.h"

#include <math.h>
#include <stdlib.h>

static enum hm_status measure_norms(const struct hm_model *model, const uint32_t *b,
                                    struct hm_curve_point *point, struct hm_err *err)
{
    struct hm_parts parts;
    model->ops->parts(model, &parts);
    float *w = malloc(hm_parts_numbers(&parts) * sizeof *w);
    if (!w)
        return hm_fail(err, HM_ENOMEM, "no memory for a copy of the weights");
    model->ops->weights(model, b, point->steps, w);
    point->norms = hm_norms_of(&parts, w);
    free(w);
    return HM_OK;
}

enum hm_status hm_curve_measure(struct hm_model *model, const uint32_t *b, enum hm_set set,
                                struct hm_curve_point *point, struct hm_err *err)
{
    struct hm_score train = {0};
    enum hm_status status = model->ops->score(model, b, point->steps, set, 1, &point->score, err);
    if (!status && model->ops->probes && set == HM_TEST_SET)
        status = model->ops->score(model, b, point->steps, HM_TRAIN_SET, 1, &train, err);
    point->train_loss = train.n ? train.loss : NAN;
    return status ? status : measure_norms(model, b, point, err);
}

void hm_curve_add(struct hm_curve *curve, const struct hm_curve_point *point)
{
    if (!curve->point)
        curve->point = malloc(HM_CURVE_MAX * sizeof *curve->point);
    if (!curve->point)
        return;
    if (curve->n == HM_CURVE_MAX) {
        for (size_t i = 0; i < HM_CURVE_MAX / 2; i++)
            curve->point[i] = curve->point[2 * i];
        curve->n = HM_CURVE_MAX / 2;
    }
    curve->point[curve->n++] = *point;
}

void hm_curve_fini(struct hm_curve *curve)
{
    free(curve->point);
    *curve = (struct hm_curve){0};
}
